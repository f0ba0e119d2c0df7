"""A server is asked in bounded time, over TLS that is trusted, and what it sends is whole."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.web_files import WebFiles, certificate

import affidavit
from affidavit.catalog.sources.web import wire
from affidavit.errors import SourceError, StatementCancelledError, StatementTimeoutError

if TYPE_CHECKING:
    from pathlib import Path

CSV = b"a,b\n1,x\n2,y\n"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"cut": 5}, "ends early: 5 of 12 bytes"),
        ({"chunked": True, "cut": 8}, "ends early"),
        ({"headers": {"Content-Encoding": "br"}}, "sends it as 'br', unasked"),
        ({"length": -1}, "does not say how long it is"),
        ({"status": 404}, "answers 404 Not Found"),
        ({"status": 503}, "answers 503 Service Unavailable"),
        ({"status": 206}, "answers 206"),
        ({"status": 304}, "answers 304"),
    ],
)
def test_what_is_not_whole_is_not_read(session, web: WebFiles, told: dict, why: str) -> None:
    url = web.put("/t.csv", CSV, **told)
    with pytest.raises(SourceError, match=f"'{url}'.*{why}"):
        session.sql(f"SELECT * FROM '{url}'")
    with pytest.raises(SourceError, match=f"'{url}'.*{why}"):
        session.attach("t", url)
    assert session.tables().num_rows == 0
    url = web.put("/t.csv", CSV, chunked=True)
    assert session.sql(f"SELECT sum(a) AS s FROM '{url}'").to_pylist() == [{"s": 3}]


def test_a_host_that_is_not_there_is_named(session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x.csv"
    with pytest.raises(SourceError, match=f"'{url}': its server cannot be reached"):
        session.sql(f"SELECT * FROM '{url}'")


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_server_that_does_not_go_on_is_not_waited_for(
    session, web: WebFiles, monkeypatch: pytest.MonkeyPatch, *, is_begun: bool
) -> None:
    """The limits of time are ours, and the statement's own comes before them."""
    monkeypatch.setattr(wire, "READ_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = web.put("/t.csv", CSV, waits=True, length=99)
        if not is_begun:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.csv"
        with pytest.raises(SourceError, match="does not answer within 0.1 seconds"):
            session.sql(f"SELECT * FROM '{url}'")
        monkeypatch.setattr(wire, "READ_TIMEOUT_S", 60)
        with pytest.raises(StatementTimeoutError):
            session.sql(f"SELECT * FROM '{url}'", timeout=0.1)


@pytest.mark.parametrize("attaches", [False, True])
def test_a_download_is_cancelled_with_its_statement(
    session, web: WebFiles, *, attaches: bool
) -> None:
    url = web.put("/t.csv", CSV, waits=True, length=99)
    told: list[BaseException] = []

    def read() -> None:
        try:
            session.attach("t", url) if attaches else session.sql(f"SELECT * FROM '{url}'")
        except StatementCancelledError as error:
            told.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    assert web.answering.wait(30)
    assert session.cancel() == 1
    reading.join(30)
    assert len(told) == 1


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


def test_a_server_is_read_whose_certificate_is_trusted(
    tmp_path: Path, web: WebFiles, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure = WebFiles(trusted)
    url = secure.put("/t.csv", CSV)
    try:
        with affidavit.connect(tmp_path / "lake") as session:
            with pytest.raises(SourceError, match=f"'{url}'.*certificate is not trusted: self"):
                session.sql(f"SELECT * FROM '{url}'")
            with pytest.raises(SourceError, match="cannot be reached|ends early"):
                session.sql(f"SELECT * FROM '{web.url('/t.csv').replace('http', 'https')}'")
        assert secure.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        with affidavit.connect(tmp_path / "lake") as session:
            assert session.sql(f"SELECT a FROM '{url}'").num_rows == 2
            away = secure.leads("/on", web.put("/t.csv", CSV))
            with pytest.raises(SourceError, match="leads on to http://127.0.0.1.*without TLS"):
                session.sql(f"SELECT * FROM '{away}'")
            secure.put("/t.csv", CSV, waits=True, length=99)
            with pytest.raises(StatementTimeoutError):
                session.sql(f"SELECT * FROM '{url}'", timeout=0.2)
            assert web.asked == []
    finally:
        secure.stop()
