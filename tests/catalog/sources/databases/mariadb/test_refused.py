"""MariaDB: what is refused, and which passwords work and are kept nowhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

import affidavit
from affidavit.errors import AffidavitError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.mariadb_server import MariaDbServer


BOUND_S = 20.0


# --- what is refused ------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_an_error_soon(session: affidavit.Session) -> None:
    for place in ("127.0.0.1:1", "nowhere.invalid"):
        began = time.monotonic()
        with pytest.raises(SourceError, match="'away'"):
            session.attach("away", f"mysql://nobody:pw@{place}/db")
        assert time.monotonic() - began < BOUND_S


@pytest.mark.slow
def test_a_server_that_says_nothing_is_an_error_soon(session: affidavit.Session) -> None:
    import socket

    with socket.socket() as dumb:
        dumb.bind(("127.0.0.1", 0))
        dumb.listen()
        began = time.monotonic()
        with pytest.raises(SourceError, match="'away'"):
            session.attach(
                "away", f"mysql://u:pw@127.0.0.1:{dumb.getsockname()[1]}/db?connect_timeout=1"
            )
        assert time.monotonic() - began < BOUND_S


def test_a_database_that_is_not_there_is_named(
    session: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    with pytest.raises(SourceError, match=r"'away'.*nothere"):
        session.attach("away", mariadb_server.url("nothere"))


@pytest.mark.parametrize(
    "option", ["force_tls=1", "ssl_verify=1", "tls_version=TLSv1.3", "ssl_ca=/x.pem"]
)
def test_encryption_that_the_server_has_not_is_an_error(
    session: affidavit.Session, url: str, option: str
) -> None:
    """The ODBC driver goes on in the clear, unless it is to verify the certificate."""
    with pytest.raises(SourceError, match=r"'my'.*(?i:ssl|tls)"):
        session.attach("my", f"{url}?{option}")


@pytest.mark.parametrize("option", ["sslmode", "charset", "SERVER", "pwd", "init%5Fcommand"])
def test_an_option_that_is_not_known_is_named(
    session: affidavit.Session, lake: Path, url: str, option: str
) -> None:
    with pytest.raises(SourceError) as caught:
        session.attach("my", f"{url}?{option}=h1dden")
    assert option.replace("%5F", "_") in str(caught.value)
    assert "h1dden" not in str(caught.value)
    assert not any(b"h1dden" in each for each in files(lake))


def test_a_missing_driver_is_named(
    session: affidavit.Session, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("adbcbridge.odbc_drivers", list)
        with pytest.raises(SourceError, match="odbc-mariadb"):
            session.attach("my", url)
    monkeypatch.setitem(sys.modules, "adbcbridge", None)
    with pytest.raises(SourceError) as caught:
        session.attach("my", url)
    assert "affidavit[mysql]" in str(caught.value)


# --- passwords ------------------------------------------------------------------------------------


PASSWORDS = [
    "s3cr3t p@ss/w%rd", "br}ace{s}}", "semi;colon=x", "per%41cent", "q'u\"o`te", "päßw😀rd", "a:b@c#d?e&f",
    "back\\slash", "}x;SERVER=elsewhere",
]  # fmt: skip


@pytest.fixture
def locked(mariadb_server: MariaDbServer) -> Iterator[Callable[[str], str]]:
    """Return what gives the URL, without it, of an account with a password."""
    mariadb_server.database("vault", "CREATE TABLE t AS SELECT 1 AS x")

    def make(password: str) -> str:
        mariadb_server.account("locked", password, "SELECT ON vault.*")
        return mariadb_server.url("vault", "locked", None)

    yield make
    mariadb_server.run("DROP USER IF EXISTS 'locked'@'%'")


def forms(password: str) -> set[str]:
    return {password, quote(password, safe=""), quote(password), password.replace("}", "}}")}


def files(lake: Path) -> list[bytes]:
    return [each.read_bytes() for each in lake.rglob("*") if each.is_file()]


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_works_however_it_comes_and_is_kept_nowhere(
    lake: Path,
    locked: Callable[[str], str],
    password: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = locked(password)
    with_password = url.replace("locked@", f"locked:{quote(password, safe='')}@")
    shown: list[str] = []
    with affidavit.connect(lake, store_queries=True) as session:
        for given, options in (
            (with_password, {}),
            (f"{url}?password={quote(password, safe='')}", {}),
            (url, {"password": password}),
            (url, {"password": lambda: password}),
        ):
            session.attach("my", given, **options)
            assert session.sql("SELECT x FROM my.vault.t").to_pylist() == [{"x": 1}]
            with pytest.raises(AffidavitError) as caught:
                session.sql("SELECT nothing FROM my.vault.t").to_arrow()
            shown += [str(caught.value), repr(caught.value), repr(session)]
            attached = session._instance.planner(session.identity).attached
            shown += [f"{each} {each!r}" for each in attached.values()]
            session.detach("my")
        session.attach("my", given, **options)
        for table in ("audit.statements", "system.journal", "system.ledger", "system.sources"):
            shown.append(str(session.sql(f"SELECT * FROM {table}").to_pylist()))
    monkeypatch.setenv("AFFIDAVIT_PASSWORD_MY", password)
    with affidavit.connect(lake) as session:
        assert session.sql("SELECT x FROM my.vault.t").to_pylist() == [{"x": 1}]
    kept = files(lake)
    assert any(b"vault" in each for each in kept), "the search would find a password too"
    for secret in forms(password):
        assert not any(secret in each for each in [*shown, caplog.text])
        assert not any(secret.encode() in each for each in kept)


@pytest.mark.parametrize("wrong", ["wr0ng/one here", "wr0ng}x;", "wr0ng'é%"])
def test_a_wrong_password_is_an_error_without_it(
    session: affidavit.Session, locked: Callable[[str], str], wrong: str
) -> None:
    url = locked("right")
    for given, options in (
        (url.replace("locked@", f"locked:{quote(wrong, safe='')}@"), {}),
        (url, {"password": wrong}),
        (url, {"password": lambda: wrong}),
    ):
        with pytest.raises(SourceError, match=r"'my'.*Access denied") as caught:
            session.attach("my", given, **options)
        assert "wr0ng" not in f"{caught.value} {caught.value!r} {caught.value.__context__}"


def test_a_password_in_the_query_is_masked(session: affidavit.Session, lake: Path) -> None:
    with pytest.raises(SourceError, match="'my'") as caught:
        session.attach("my", "mysql://u@127.0.0.1:1/db?pass%77ord=h1dden")
    assert "h1dden" not in f"{caught.value!r} {caught.value} {caught.value.__context__}"
    assert not any(b"h1dden" in each for each in files(lake))
