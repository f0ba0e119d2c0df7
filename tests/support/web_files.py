"""A server of files on this machine, which remembers what it was asked for."""

from __future__ import annotations

import http.server
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass
class Served:
    """What is answered at a path.

    Attributes:
        body: The file.
        headers: What is said of it besides its length.
        status: What the answer is.
        length: How long it is said to be; less than nothing is not said.
        chunked: Whether it is sent in chunks, and their end left out if it is ``cut``.
        cut: How many bytes are sent before the server hangs up.
        waits: Whether the server waits behind its headers until it is stopped or cleared.
    """

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    length: int | None = None
    chunked: bool = False
    cut: int | None = None
    waits: bool = False


class WebFiles:
    """The server; with a ``certificate`` it speaks TLS.

    Attributes:
        files: What it has, by path.
        asked: The paths that it was asked for, and with which validator.
        answering: Set once it waits.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.answering, self._go_on = threading.Event(), threading.Event()
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Say nothing of who hung up."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.scheme = "http" if certificate is None else "https"
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def put(self, path: str, body: bytes = b"", media_type: str = "", **told: Any) -> str:
        """Serve a file, and return its URL."""
        headers = dict(told.pop("headers", {}))
        if media_type:
            headers["Content-Type"] = media_type
        self.files[path] = Served(body, headers, **told)
        return self.url(path)

    def leads(self, path: str, to: str, status: int = 302) -> str:
        """Lead on from a path, and return its URL."""
        return self.put(path, status=status, headers={"Location": to})

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked_for = handler.headers.get("If-None-Match") or handler.headers.get("If-Modified-Since")
        self.asked.append((handler.path, asked_for))
        found = self.files.get(handler.path)
        if found is None:
            handler.send_error(404)
            return
        known = {found.headers.get("ETag"), found.headers.get("Last-Modified")} - {None}
        if asked_for is not None and asked_for in known:
            handler.send_response(304)
            handler.end_headers()
            return
        handler.send_response(found.status)
        for name, value in found.headers.items():
            handler.send_header(name, value)
        length = len(found.body) if found.length is None else found.length
        if found.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        elif length >= 0:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        self._send(handler, found)

    def _send(self, handler: http.server.BaseHTTPRequestHandler, found: Served) -> None:
        body = found.body[: found.cut]
        if found.chunked:
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
            body += b"" if found.cut is not None else b"0\r\n\r\n"
        handler.wfile.write(body)
        handler.close_connection = True
        if found.waits:
            handler.wfile.flush()
            self.answering.set()
            self._go_on.wait()

    def clear(self) -> None:
        """Forget what it has and was asked for, and let go of who waits."""
        self._go_on.set()
        self.files.clear()
        self.asked.clear()
        self.answering, self._go_on = threading.Event(), threading.Event()

    def stop(self) -> None:
        self.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def certificate(folder: Path) -> Path:
    """Make a certificate of this machine that nobody signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
