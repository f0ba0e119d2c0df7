"""How a file of the web is asked for: one request, in bounded time, that anybody may end.

Rules:
    - A server has so long to be reached, to begin its answer, and to send the next of it. The file
      itself may take long: whoever waits for it can end that.
    - An answer is what it says of its length, or no answer: what cannot be told to be whole is not
      read.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.error import URLError
from urllib.request import (
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from affidavit.catalog.sources.web.urls import address_of, asked_for
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 30.0
"""How long a server may take to begin its answer, and from one part of it to the next."""

CHUNK_BYTES: Final = 256 * 1024


class Line:
    """What leads to a server while it is asked."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self.is_cut = False

    def take(self, made: socket.socket) -> None:
        """Note what it is, once it is connected."""
        made.settimeout(READ_TIMEOUT_S)
        self._socket = made
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        """End it, from any thread: who waits for the server waits no longer."""
        self.is_cut = True
        if self._socket is not None:
            with suppress(OSError):  # TLS is not ended politely: another thread is in its midst
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    @contextmanager
    def cut_after(self, seconds: float | None) -> Iterator[None]:
        """End it unless the block has ended by then."""
        if seconds is None:
            yield
            return
        timer = threading.Timer(max(seconds, 0), self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class Wire:
    """Asks servers for files."""

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """Whose certificates are trusted: the machine's, or what SSL_CERT_FILE says; read once."""
        return ssl.create_default_context()

    def ask(
        self, url: str, headers: Mapping[str, str], line: Line, *, is_alone: bool
    ) -> HTTPResponse:
        """Return what a server answers, whatever that is; close it.

        Args:
            url: The file.
            headers: What is said besides.
            line: Leads there from now on.
            is_alone: Whether nothing of the process is used: no proxy that its environment names.

        Raises:
            SourceError: It cannot be reached, is not trusted, or does not answer in time.
        """
        opener = OpenerDirector()
        is_plain = address_of(url).scheme == "http"  # of this machine, which no proxy reaches
        opener.add_handler(ProxyHandler({} if is_alone or is_plain else None))
        opener.add_handler(_Http(line) if is_plain else _Https(line, self._trust))
        opener.add_handler(_AsItCame())
        said = {"User-Agent": "affidavit", "Accept": "*/*", "Accept-Encoding": "identity"}
        request = Request(asked_for(url), headers={**said, **headers})  # noqa: S310 - it is https
        with _errors(line), line.cut_after(CONNECT_TIMEOUT_S + READ_TIMEOUT_S):
            answer: HTTPResponse | None = opener.open(request, timeout=CONNECT_TIMEOUT_S)
        assert answer is not None, "there is what opens its scheme"
        return answer


def length_of(answer: HTTPResponse) -> int | None:
    """Return how many bytes an answer says that its file has; ``None`` if it says where it ends.

    Raises:
        SourceError: It says neither.
    """
    if answer.length is None and not answer.chunked:
        msg = "its server does not say how long it is, and so nobody can tell whether it is whole"
        raise SourceError(msg)
    return answer.length


def chunks(answer: HTTPResponse, length: int | None, line: Line) -> Iterator[bytes]:
    """Yield what an answer holds, as it comes.

    Raises:
        SourceError: It ends early.
    """
    received = 0
    while length is None or received < length:
        wanted = CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - received)
        with _errors(line):
            chunk = answer.read1(wanted)
        if not chunk:
            break
        received += len(chunk)
        yield chunk
    if length is not None and received < length:
        raise SourceError(f"it ends early: {received:,} of {length:,} bytes came")


@contextmanager
def _errors(line: Line) -> Iterator[None]:
    """Tell what goes wrong on the way to a server as a SourceError."""
    try:
        yield
    except (OSError, HTTPException, UnicodeError) as error:
        raise SourceError(_told(error, line)) from error


def _told(error: Exception, line: Line) -> str:
    is_asked = not isinstance(error, URLError)  # until then urllib tells it so
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its server's certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, TimeoutError) or line.is_cut:
        limit_s = READ_TIMEOUT_S if is_asked else CONNECT_TIMEOUT_S
        return f"its server does not answer within {limit_s:g} seconds"
    if isinstance(cause, HTTPException):
        return f"its server's answer ends early, or is none ({type(cause).__name__})"
    return f"its server {'breaks off' if is_asked else 'cannot be reached'}: {cause}"


# --- urllib's own, with a line that can be cut ----------------------------------------------------


class _Plain(HTTPConnection):
    def __init__(self, line: Line, *args: Any, **options: Any) -> None:  # noqa: ANN401 - http.client's
        super().__init__(*args, **options)
        self._line = line

    def connect(self) -> None:
        super().connect()
        self._line.take(self.sock)


class _Secure(HTTPSConnection):
    def __init__(self, line: Line, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(*args, **options)
        self._line = line

    def connect(self) -> None:
        super().connect()
        self._line.take(self.sock)


class _Http(HTTPHandler):
    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_Plain, self._line), req)


class _Https(HTTPSHandler):
    def __init__(self, line: Line, trust: ssl.SSLContext) -> None:
        super().__init__(context=trust)
        self._line = line
        self._trust = trust

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_Secure, self._line), req, context=self._trust)


class _AsItCame(HTTPErrorProcessor):
    """Hands on whatever a server answers, and follows nothing."""

    def http_response(self, _request: Request, response: HTTPResponse) -> HTTPResponse:
        return response

    def https_response(self, _request: Request, response: HTTPResponse) -> HTTPResponse:
        return response
