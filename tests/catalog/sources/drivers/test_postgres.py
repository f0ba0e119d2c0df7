"""PostgreSQL's driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
    from tests.support.pg_server import PgServer

    import affidavit


def test_a_url_may_name_neither_a_user_nor_a_host(
    session: affidavit.Session, pg_server: PgServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL lost two of its slashes, and libpq took it for a list of options."""
    url = pg_server.database("nobody", "CREATE TABLE t AS SELECT 1 AS id")
    monkeypatch.setenv("PGUSER", "postgres")
    session.attach("pg", url.replace("postgres@", ""))
    assert session.sql("SELECT * FROM pg.public.t").to_pylist() == [{"id": 1}]
