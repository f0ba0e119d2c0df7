"""A process that has imported the engine, and forks for every script that a test wants run.

Rules:
    - It opens no lake and starts no thread: a fork of it is as a process that has imported, and no more.
    - A fork ends as Python does, at the end of this module: its threads are waited for, and what is
      registered with ``atexit`` is called.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import socket
import sys
import tempfile
import types
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

IMPORTED = (
    "affidavit.engine.session.connect", "affidavit.engine.fronts.aio.connect", "lance",
    "tests.support.killing", "tests.support.sealed",
)  # fmt: skip
"""What most scripts import."""

LENGTH_BYTES = 8


def serve(asked: socket.socket) -> dict[str, Any] | None:
    """Fork for what is asked until nobody asks any more; return in a fork what it is to run.

    A request is JSON after its length, and comes with four files: the three of the process, and
    one that is told its status.
    """
    ends: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(asked, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fd in ends:
                    ready.unregister(key.fd)
                    _tell_end(key.fd, *ends.pop(key.fd))
                    continue
                head, files, _, _ = socket.recv_fds(asked, LENGTH_BYTES, 4)
                if not head:
                    return None
                request = json.loads(_read(asked, int.from_bytes(head, "big")))
                pid = os.fork()
                if not pid:
                    told = [file for _, file in ends.values()]
                    _become(request, files[:3], [asked.fileno(), files[3], *ends, *told])
                    return dict(request)
                asked.sendall(pid.to_bytes(LENGTH_BYTES, "big"))
                end = os.pidfd_open(pid)
                ends[end] = (pid, files[3])
                ready.register(end, selectors.EVENT_READ)
                for file in files[:3]:
                    os.close(file)


def _read(asked: socket.socket, length: int) -> bytes:
    with asked.makefile("rb") as given:
        return given.read(length)


def _tell_end(end: int, pid: int, told: int) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(told, str(status).encode())
    os.close(told)
    os.close(end)


def _become(request: dict[str, Any], files: list[int], others: list[int]) -> None:
    """Be the process that is asked for: its files, environment, folder and arguments."""
    for at, file in enumerate(files):
        os.dup2(file, at)
    for file in (*files, *others):
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # it may be another by that
    os.chdir(request["folder"])
    sys.argv = ["-c", *request["arguments"]]


def run(script: str) -> None:
    """Run a script as the program that this is."""
    program = types.ModuleType("__main__")
    sys.modules["__main__"] = program
    exec(compile(script, "<string>", "exec"), program.__dict__)


def main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    importlib.import_module("tests.support.disks").wait_for_none()
    warnings.filterwarnings("ignore", "lance is not fork-safe")  # it has not begun anything yet
    gc.collect()
    gc.freeze()
    asked = socket.socket(fileno=int(sys.argv[1]))
    request = serve(asked)
    asked.detach()
    if request is not None:
        run(request["script"])


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    main()
