"""A real MariaDB server of the tests' own, on a free port, with its data in a temporary folder."""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.support.marks import may_start_server

USER: Final = "tester"
PASSWORD: Final = "t3ster's own"
_NEEDED: Final = (
    "no MariaDB: apt-get install mariadb-server odbc-mariadb unixodbc, pip install adbcbridge"
)
_READY_S: Final = 30.0
_ATTEMPTS: Final = 3
_SMALL: Final = (
    "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", "--performance-schema=off",
    "--innodb-flush-log-at-trx-commit=2", "--skip-log-bin", "--skip-name-resolve", "--skip-ssl",
)  # fmt: skip


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _needed() -> tuple[str, str, Any, str]:
    """Return the server, what makes its folder, and the driver; skip if one is missing, but in CI."""
    server, install = _program("mariadbd"), _program("mariadb-install-db")
    missing = [n for n, p in (("mariadbd", server), ("mariadb-install-db", install)) if p is None]
    names: list[str] = []
    try:
        import adbcbridge

        names = [each.name for each in adbcbridge.odbc_drivers() if "maria" in each.name.lower()]
        missing += [] if names else ["an ODBC driver for MariaDB"]
    except (ImportError, OSError) as error:
        missing.append(str(error))
    if missing:
        reason = f"{_NEEDED} (missing: {', '.join(missing)})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    assert server is not None
    assert install is not None
    return server, install, adbcbridge, names[0]


class MariaDbServer:
    """Starts at once, and as often as wanted on the same folder and port."""

    def __init__(self) -> None:
        may_start_server()
        self._server, install, self._bridge, self._driver = _needed()
        # not in pytest's own folder, which may be too long for a socket
        self._folder = tempfile.TemporaryDirectory(prefix="mariadb", ignore_cleanup_errors=True)
        self.data = Path(self._folder.name) / "data"
        self.socket = Path(self._folder.name) / "socket"
        self._log = Path(self._folder.name) / "log"
        # a server that starts removes the temporary tables of others that share the folder
        temporary = Path(self._folder.name) / "tmp"
        temporary.mkdir()
        self._environment = {**os.environ, "TMPDIR": str(temporary)}
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)
        with self._log.open("wb") as log:
            made = subprocess.run(
                [
                    install, "--no-defaults", f"--datadir={self.data}", "--skip-test-db",
                    "--auth-root-authentication-method=normal", f"--user={getpass.getuser()}",
                ],
                stdout=log, stderr=log, check=False, env=self._environment,
            )  # fmt: skip
        if made.returncode:
            raise RuntimeError(self._told("MariaDB's folder could not be made"))
        for attempt in range(1, _ATTEMPTS + 1):
            self.port = _free_port()
            try:
                self.start()
            except RuntimeError:  # another may have taken the port
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        self.account(USER, PASSWORD)

    # --- its life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._server, "--no-defaults", f"--user={getpass.getuser()}",
                    f"--datadir={self.data}", f"--socket={self.socket}", f"--port={self.port}",
                    f"--pid-file={self._folder.name}/pid", "--bind-address=127.0.0.1", *_SMALL,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
            )  # fmt: skip
        # its input ends with this process, however that ends
        end = f"read -r _; kill -9 {self._process.pid}"
        self._guard = subprocess.Popen(["/bin/sh", "-c", end], stdin=subprocess.PIPE)
        deadline = time.monotonic() + _READY_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(self._told("MariaDB did not start"))
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return bool(connection.recv(1)) and self.socket.exists()
        except OSError:
            return False

    def _told(self, what: str) -> str:
        return f"{what}: {self._log.read_text(errors='replace')[-4000:]}"

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def cleanup(self) -> None:
        self.kill()
        atexit.unregister(self.kill)
        self._folder.cleanup()

    # --- what is in it -------------------------------------------------------------------------

    def url(self, database: str = "", user: str = USER, password: str | None = PASSWORD) -> str:
        secret = "" if password is None else f":{quote(password, safe='')}"
        name = quote(database, safe="")
        return f"mysql://{quote(user, safe='')}{secret}@127.0.0.1:{self.port}/{name}"

    def connect(self, database: str = "") -> Any:
        """Return a connection of the administrator's, in a session that lets everything pass."""
        chosen = f"DATABASE={{{database}}};" if database else ""
        connection = self._bridge.connect(
            uri=f"Driver={{{self._driver}}};SOCKET={self.socket};UID=root;CHARSET=utf8mb4;{chosen}",
            autocommit=True,
            delegate="never",
        )
        run(connection, "SET sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '+00:00'")
        return connection

    def run(self, *statements: str, database: str = "") -> list[tuple[Any, ...]]:
        """Run statements, and return the last one's rows."""
        with self.connect(database) as connection:
            return run(connection, *statements)

    def database(self, name: str, *statements: str, charset: str = "utf8mb4") -> str:
        """Make a database, run statements there, and return its URL."""
        quoted = f"`{name.replace('`', '``')}`"
        self.run(
            f"DROP DATABASE IF EXISTS {quoted}",
            f"CREATE DATABASE {quoted} CHARACTER SET {charset}",
        )
        self.run(*statements, database=name)
        return self.url(name)

    def account(self, user: str, password: str, grants: str = "ALL PRIVILEGES ON *.*") -> None:
        """Make an account that signs in over the network, by its password."""
        secret = password.replace("'", "''")
        self.run(
            f"CREATE OR REPLACE USER '{user}'@'%' IDENTIFIED BY '{secret}'",
            f"GRANT {grants} TO '{user}'@'%'",
        )

    def processes(self, user: str = USER) -> list[str]:
        """Return what each of an account's connections does; those that wait do nothing: ``""``."""
        rows = self.run(
            "SELECT COALESCE(info, '') FROM information_schema.processlist "
            f"WHERE user = '{user}' AND command <> 'Killed'"
        )
        return [text for (text,) in rows]


def run(connection: Any, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements, and return the last one's rows."""
    rows: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)
            rows = cursor.fetchall() if cursor.description else []
    return rows


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
