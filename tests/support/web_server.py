"""uvicorn with so many workers on a free port of 127.0.0.1, stopped by who started it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.support.marks import may_start_server

READY_S = 60.0
STOPPED_S = 60.0


class WebServer:
    """The application of ``tests.support.web_app`` on a lake, in processes of its own."""

    def __init__(self, lake: Path, log: Path, *, workers: int) -> None:
        self._lake = lake
        self._log = log
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    def __enter__(self) -> Self:
        may_start_server()
        command = [
            sys.executable, "-m", "uvicorn", "tests.support.web_app:app", "--host", "127.0.0.1",
            "--port", "0", "--workers", str(self._workers), "--no-access-log",
        ]  # fmt: skip
        root = Path(__file__).parents[2]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=root, env=os.environ | {"WEB_LAKE": str(self._lake)},
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            self.url = self._ready()
        except BaseException:
            self.stop()
            raise
        return self

    def _ready(self) -> str:
        """Return where it is, once every worker is there."""
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            found = re.search(r"running on (http://127\.0\.0\.1:\d+)", self.log)
            if found and self.log.count("Application startup complete") >= self._workers:
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"no server after {READY_S:g} s: {self.log}")

    def stop(self) -> int:
        """Stop it, and return its exit code."""
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOPPED_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its workers too
                process.wait()
                raise
        return process.returncode

    def __exit__(self, *_: object) -> None:
        self.stop()
