"""Passwords of attached databases are used, and kept nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from tests.support.databases import PASSWORD

import affidavit
from affidavit.errors import AffidavitError, SourceError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.pg_server import PgServer


@pytest.fixture(scope="module")
def locked(pg_server: PgServer) -> str:
    """The URL, without a password, of a server that asks ``locked`` for one."""
    pg_server.database("vault", "CREATE TABLE t AS SELECT 1 AS x", "GRANT SELECT ON t TO public")
    rules = pg_server.data / "pg_hba.conf"
    rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
    pg_server.run(
        "DROP ROLE IF EXISTS locked",
        f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'",
        "SELECT pg_reload_conf()",
    )
    return pg_server.url("vault", user="locked")


def with_password(url: str, password: str) -> str:
    return url.replace("locked@", f"locked:{quote(password, safe='')}@")


def secrets(password: str) -> Iterator[bytes]:
    yield password.encode()
    yield quote(password, safe="").encode()
    yield quote(password).encode()


def test_a_password_is_kept_nowhere(
    lake: Path, locked: str, caplog: pytest.LogCaptureFixture
) -> None:
    with affidavit.connect(lake, store_queries=True) as session:
        session.attach("pg", with_password(locked, PASSWORD))
        assert session.sql("SELECT x FROM pg.public.t").to_pylist() == [{"x": 1}]
        with pytest.raises(AffidavitError) as caught:
            session.sql("SELECT nothing FROM pg.public.t")
        shown = [str(caught.value), repr(caught.value), repr(session), caplog.text]
        shown += [str(session.sql("SELECT * FROM audit.statements").to_pylist())]
        for table in ("system.journal", "system.ledger", "system.sources"):
            shown.append(str(session.sql(f"SELECT * FROM {table}").to_pylist()))
        shown += [
            str(each) for each in session._instance.planner(session.identity).attached.values()
        ]
        kept = [*shown, *(_bytes(lake))]
        # "vault" is in the URL: the same search would have found a password there
        assert any(b"vault" in each for each in kept if isinstance(each, bytes))
    kept += _bytes(lake)
    for secret in secrets(PASSWORD):
        for each in kept:
            text = each.encode() if isinstance(each, str) else each
            assert secret not in text
    with affidavit.connect(lake) as session, pytest.raises(SourceError, match="'pg'") as caught:
        session.sql("SELECT x FROM pg.public.t").to_arrow()
    assert "password" in str(caught.value)


def _bytes(lake: Path) -> list[bytes]:
    return [each.read_bytes() for each in lake.rglob("*") if each.is_file()]


def test_a_wrong_password_is_an_error_without_it(session: affidavit.Session, locked: str) -> None:
    wrong = "wr0ng/one here"
    for url, options in (
        (with_password(locked, wrong), {}),
        (locked, {"password": wrong}),
        (locked, {"password": lambda: wrong}),
    ):
        with pytest.raises(SourceError, match="'pg'") as caught:
            session.attach("pg", url, **options)
        for secret in secrets(wrong):
            assert secret.decode() not in f"{caught.value} {caught.value!r}"
        assert "wr0ng" not in str(caught.value.__context__)


def test_a_password_comes_as_an_argument_a_function_or_a_variable(
    lake: Path, locked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with affidavit.connect(lake) as session:
        for password in (PASSWORD, lambda: PASSWORD):
            session.attach("pg", locked, password=password)
            assert session.sql("SELECT x FROM pg.public.t").to_pylist() == [{"x": 1}]
            session.detach("pg")
        monkeypatch.setenv("AFFIDAVIT_PASSWORD_PG", PASSWORD)
        session.attach("pg", locked)
    with affidavit.connect(lake) as session:
        assert session.sql("SELECT x FROM pg.public.t").to_pylist() == [{"x": 1}]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:12#hidden@h/db",
        "postgresql://u:12/hidden@h/db",
        "postgresql://u:12?hidden@h/db",
        "postgresql://u:hidden@h:port/db",
        "postgresql://u@h/db?sslpassword=hidden",
    ],
)
def test_a_url_whose_password_cannot_be_told_is_not_repeated(
    session: affidavit.Session, lake: Path, url: str
) -> None:
    with pytest.raises(SourceError) as caught:
        session.attach("pg", url)
    assert "hidden" not in f"{caught.value!r} {caught.value}"
    assert not any(b"hidden" in each for each in _bytes(lake))


def test_a_password_in_the_query_is_not_kept(lake: Path, locked: str) -> None:
    url = f"{locked}&pass%77ord={quote(PASSWORD, safe='')}"
    with affidavit.connect(lake) as session:
        session.attach("pg", url)
        assert session.sql("SELECT x FROM pg.public.t").to_pylist() == [{"x": 1}]
    for secret in secrets(PASSWORD):
        assert not any(secret in each for each in _bytes(lake))


def test_a_reopened_lake_knows_its_files(lake: Path, lite: Path, duck: Path) -> None:
    with affidavit.connect(lake) as session:
        session.attach("lite", f"sqlite://{lite}")
        session.attach("duck", f"duckdb://{duck}")
    with affidavit.connect(lake) as session:
        assert session.sql("SELECT * FROM lite.main.b").to_arrow().num_rows == 3
        assert session.sql("SELECT * FROM duck.main.a").to_arrow().num_rows == 5
        os.unlink(lite)  # noqa: PTH108
        session.detach("lite")
    with affidavit.connect(lake) as session, pytest.raises(SqlError):
        session.sql("SELECT * FROM lite.main.b")
