"""A connection to a lake's store that is not affidavit's: for those who read it, or forge it.

Statements are as SQLite has them. PostgreSQL is taught the two functions that it lacks.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from affidavit.catalog.lake.elsewhere.said import find_elsewhere
from tests.support.stores import URL, copy_schema, is_postgres, schema_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BUSY = (sqlite3.OperationalError, psycopg.errors.LockNotAvailable)
"""What is raised where another writes for longer than is waited."""

_TAUGHT = """
    SELECT pg_advisory_xact_lock(1);
    CREATE SCHEMA IF NOT EXISTS beside;
    CREATE OR REPLACE FUNCTION beside.zeroblob(length int) RETURNS bytea IMMUTABLE
        RETURN decode(repeat('00', length), 'hex');
    CREATE OR REPLACE FUNCTION beside.replace(whole bytea, old bytea, new bytea) RETURNS bytea
        IMMUTABLE LANGUAGE sql AS $$SELECT string_agg(part, new) FROM (
            SELECT decode(hex, 'hex') AS part FROM string_to_table(
                regexp_replace(encode(whole, 'hex'), '(..)', '\\1 ', 'g'),
                regexp_replace(encode(old, 'hex'), '(..)', '\\1 ', 'g')) AS hex) parts$$"""


class _Postgres:
    """A schema, in SQLite's words."""

    def __init__(self, connection: Any, writers: int) -> None:
        self._connection = connection
        self._writers = writers

    def execute(self, text: str, values: Sequence[object] = ()) -> Any:
        if text == "BEGIN IMMEDIATE":
            text = f"BEGIN; SELECT pg_advisory_xact_lock({self._writers})"
        text = re.sub(r"\bx'([0-9a-fA-F]*)'", r"'\\x\1'::bytea", text)
        if not values:
            return self._connection.execute(text)
        return self._connection.execute(text.replace("%", "%%").replace("?", "%s"), values)


@contextmanager
def beside(lake: Path, timeout_s: float = 30.0) -> Iterator[Any]:
    """Yield what executes statements, each in a transaction of its own."""
    if not is_postgres():
        with closing(
            sqlite3.connect(lake / "catalog.db", timeout_s, isolation_level=None)
        ) as store:
            yield store
        return
    from affidavit.catalog.store.postgres.address import parse_address
    from affidavit.catalog.store.postgres.keys import lock_key

    url = schema_url(os.environ[URL], lake)
    said = find_elsewhere(lake)
    if said is not None and said.was_made:  # a folder that was copied has its schema copied too
        copy_schema(url, said.lake_id)
    address = parse_address(url)
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        connection.execute(_TAUGHT)
        connection.execute(f"SET lock_timeout = {max(int(timeout_s * 1000), 1)}")
        connection.execute(f"SET search_path = {address.schema}, beside")
        yield _Postgres(connection, lock_key(address.schema, "lake"))


def tamper(lake: Path, text: str) -> None:
    """Run a statement on a lake's store beside affidavit."""
    with beside(lake) as store:
        store.execute(text)
