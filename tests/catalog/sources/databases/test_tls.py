"""TLS that cannot be had, and hosts that never answer, are errors soon."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from tests.support.databases import BOUND_S, PASSWORD
from tests.support.web_files import certificate

import affidavit
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answer each connection on a free port in a thread of its own, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                with suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            done.set()
            with suppress(OSError):
                socket.create_connection(server.getsockname(), timeout=1).close()
            thread.join()


@pytest.mark.parametrize(
    ("mode", "told"),
    [("require", "not support SSL"), ("verify-full", "root certificate|certificate")],
)
def test_tls_that_cannot_be_had_is_an_error_soon(
    session: affidavit.Session, tmp_path: Path, mode: str, told: str
) -> None:
    """The server's side of PostgreSQL's SSLRequest: it has no TLS, or a certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))

    def answer(connection: socket.socket) -> None:
        connection.recv(8)
        if mode == "require":
            connection.sendall(b"N")
            return
        connection.sendall(b"S")
        with (
            suppress(OSError, ssl.SSLError),
            context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            ) as wrapped,
        ):
            wrapped.do_handshake()
            wrapped.recv(1)

    began = time.monotonic()
    with listening(answer) as port, pytest.raises(SourceError, match=told) as raised:
        url = f"postgresql://ada:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/x?sslmode={mode}"
        session.attach("pg", url)
    assert "source 'pg'" in str(raised.value)
    assert PASSWORD not in str(raised.value)
    assert time.monotonic() - began < BOUND_S
    assert session.sql("SELECT * FROM system.sources").to_pylist() == []


@pytest.mark.slow
def test_a_host_that_never_answers_is_given_up(session: affidavit.Session) -> None:
    began = time.monotonic()
    with (
        listening(lambda connection: connection.recv(1 << 16) and connection.recv(1)) as port,
        pytest.raises(SourceError, match="'pg'.*timeout"),
    ):
        session.attach("pg", f"postgresql://ada@127.0.0.1:{port}/x?connect_timeout=2")
    assert time.monotonic() - began < BOUND_S
