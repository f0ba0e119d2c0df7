"""Between a client and PostgreSQL: hands on what both say, and cuts where a test says so."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

READ_BYTES = 65536
COMMIT = b"; COMMIT\x00"


class PgProxy:
    """A port of this machine that leads to a server's socket.

    Attributes:
        cut: Where the next COMMIT is cut: ``before`` it comes to the server, ``in`` it, once the
            server has it; ``after`` the server has answered; ``half``, where the server learns of
            nothing; ``None`` for not at all.
        is_shut: Whether nobody is let through any more.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        folder = parse_qs(parts.query)["host"][0]
        self._server = str(next(Path(folder).glob(".s.PGSQL.*[0-9]")))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.cut: str | None = None
        self.is_shut = False
        self._open: list[socket.socket] = []
        self._unheard: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()
        port = self._listening.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self.is_shut:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._server)
                except OSError:  # it is not running just now
                    _end(client)
                    _end(server)
                    continue
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._hand_on, args=(*ends, client), daemon=True
                    ).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(READ_BYTES):
                if source is client and COMMIT in data and self.cut is not None:
                    self._cut(data, client, target)
                    return
                if source in self._unheard:
                    break
                target.sendall(data)
        for each in (source, target):
            _end(each)

    def _cut(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        where, self.cut = self.cut, None
        if where == "after":
            self._unheard.add(server)
            server.sendall(data)
            return
        if where == "in":
            server.sendall(data)
        _end(client)
        if where != "half":
            _end(server)

    def cut_all(self) -> None:
        """Cut what is open now."""
        for each in self._open:
            _end(each)
        self._open.clear()

    def close(self) -> None:
        _end(self._listening)
        self.cut_all()


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
