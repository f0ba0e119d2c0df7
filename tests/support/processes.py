"""Scripts in processes of their own, which may be killed.

A Python that is begun imports the engine, which takes longer than most of what a test asks of it: so
scripts run in forks of a process that has imported it (see forking.py). What a test asks of how a
Python begins, of what it imports or of how much memory it takes runs in one that is begun anew.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Self

from tests.support.forking import LENGTH_BYTES

FORKING = Path(__file__).with_name("forking.py")
TIMEOUT_S = 300.0


def run_python(script: str, *arguments: object, status: int = 0, anew: bool = False) -> str:
    """Run a script, and return what it printed; fail where its status is another.

    Args:
        script: What runs.
        arguments: What it finds in ``sys.argv``.
        status: With which status it is to end; ``-9`` where it is killed.
        anew: Whether in a Python that is begun for it.
    """
    if anew or not hasattr(os, "pidfd_open"):
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout
    with Child(script, *arguments) as child:
        said, complaint = child.communicate()
    assert child.returncode == status, complaint
    return said


class Child:
    """A process that runs a script, as far as a test needs it the same as ``subprocess.Popen``.

    Args:
        script: What runs.
        arguments: What it finds in ``sys.argv``.
    """

    def __init__(self, script: str, *arguments: object) -> None:
        self.returncode: int | None = None
        theirs, stdin = os.pipe()
        stdout, says = os.pipe()
        self._status, tells = os.pipe()
        self._complaint = tempfile.TemporaryFile()  # noqa: SIM115 - as long as it is
        request = {
            "script": script, "arguments": list(map(str, arguments)),
            "environment": dict(os.environ), "folder": str(Path.cwd()),
        }  # fmt: skip
        files = [theirs, says, self._complaint.fileno(), tells]
        self.pid = _forking().fork(json.dumps(request).encode(), files)
        for file in (theirs, says, tells):
            os.close(file)
        self.stdin: IO[str] = os.fdopen(stdin, "w")
        self.stdout: IO[str] = os.fdopen(stdout)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return its status if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float = TIMEOUT_S) -> int:
        """Return its status once it has ended."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a script", timeout)
            self.returncode = int(os.read(self._status, 16))
        return self.returncode

    def communicate(self, given: str = "", timeout: float = TIMEOUT_S) -> tuple[str, str]:
        """Return what it still prints and what it complained of, once it has ended."""
        deadline = time.monotonic() + timeout
        with suppress(BrokenPipeError):
            self.stdin.write(given)
            self.stdin.close()
        said = []
        reader = threading.Thread(target=lambda: said.append(self.stdout.read()))
        reader.start()
        reader.join(timeout)
        self.wait(max(deadline - time.monotonic(), 0))
        self._complaint.seek(0)
        complaint = self._complaint.read().decode()
        self._close()
        return said[0], complaint

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        self._close()

    def _close(self) -> None:
        if self.stdout.closed:
            return
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()
        self._complaint.close()
        os.close(self._status)


class Forking:
    """The process that forks."""

    def __init__(self) -> None:
        self._asks, asked = socket.socketpair()
        self._one_at_a_time = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, str(FORKING), str(asked.fileno())],
            stdin=subprocess.DEVNULL, pass_fds=[asked.fileno()], start_new_session=True,
        )  # fmt: skip
        asked.close()

    def fork(self, request: bytes, files: list[int]) -> int:
        """Return the process that runs what is requested."""
        with self._one_at_a_time:
            socket.send_fds(self._asks, [len(request).to_bytes(LENGTH_BYTES, "big")], files)
            self._asks.sendall(request)
            return int.from_bytes(self._asks.recv(LENGTH_BYTES), "big")

    def close(self) -> None:
        self._asks.close()
        self._process.wait()


@cache
def _forking() -> Forking:
    made = Forking()
    atexit.register(made.close)
    return made
