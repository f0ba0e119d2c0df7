"""P11, P6: statements that change rows do what SQLite and DuckDB do, and the past is as they left it.

``AFFIDAVIT_FUZZ_STATEMENTS`` says how many statements a run has, ``AFFIDAVIT_FUZZ_SEED`` which.
"""

from __future__ import annotations

import os
import random
import sqlite3
from typing import TYPE_CHECKING

import duckdb
import pytest

import affidavit
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Callable

STATEMENTS = int(os.environ.get("AFFIDAVIT_FUZZ_STATEMENTS", "120"))
SEED = int(os.environ.get("AFFIDAVIT_FUZZ_SEED", "7"))
REMEMBERED_EVERY = 10

SCHEMA = (
    "CREATE TABLE t (id BIGINT PRIMARY KEY, k BIGINT UNIQUE, n BIGINT DEFAULT 4, s VARCHAR)",
    "CREATE TABLE u (id BIGINT, n BIGINT)",
    "INSERT INTO u VALUES (1, 1), (2, NULL), (3, 3), (3, 4), (NULL, 5)",
)

Rows = list[tuple[object, ...]]


class Statements:
    """Draws statements that mean the same to each of the three."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def __call__(self) -> str:
        makes = (self._insert, self._insert, self._update, self._delete, self._select_into)
        return self._draw.choice(makes)()

    def _value(self) -> str:
        return self._draw.choice(["NULL", *map(str, range(6))])

    def _rows(self, most: int) -> str:
        ids = self._draw.sample(range(12), self._draw.randint(1, most))
        keys = self._draw.sample(range(20), len(ids))
        keyed = [str(key) if self._draw.random() < 0.8 else "NULL" for key in keys]
        return ", ".join(
            f"({at}, {key}, {self._value()}, '{self._draw.choice('abc')}')"
            for at, key in zip(ids, keyed, strict=True)
        )

    def _insert(self) -> str:
        plain = self._draw.choice(
            [
                "INSERT INTO t VALUES {rows}",
                "INSERT INTO t VALUES {rows} ON CONFLICT DO NOTHING",
                "INSERT INTO t VALUES {rows} ON CONFLICT (id) DO NOTHING",
                "INSERT INTO t VALUES {rows} ON CONFLICT (id) DO UPDATE SET n = excluded.n, s = 'u'",
                "INSERT INTO t VALUES {rows} ON CONFLICT (id) DO UPDATE "
                "SET n = t.n + coalesce(excluded.n, 1) WHERE {condition}",
                "INSERT OR IGNORE INTO t VALUES {rows}",
                "INSERT OR REPLACE INTO t VALUES {one}",
            ]
        )
        return plain.format(
            rows=self._rows(4), one=self._rows(1), condition=self._condition("t.")
        ) + " RETURNING id, k, n, s"  # fmt: skip

    def _select_into(self) -> str:
        return (
            f"INSERT INTO t (id, n) SELECT id + {self._draw.randint(10, 40)}, n FROM t "
            f"WHERE {self._condition('t.')} RETURNING id, k, n, s"
        )

    def _update(self) -> str:
        value = self._draw.choice(
            [
                "n + 1", "NULL", "CASE WHEN n IS NULL THEN 0 WHEN n > 3 THEN n - 3 ELSE n * 2 END",
                "(SELECT max(u.n) FROM u WHERE u.id = t.n)", "(SELECT count(*) FROM u WHERE u.id = t.n)",
                "coalesce(n, (SELECT min(n) FROM u))", "id - n",
            ]
        )  # fmt: skip
        text = self._draw.choice(["s", "'x'", "s || 'y'", "upper(s)", "substr(s, 1, 1)"])
        return (
            f"UPDATE t SET n = {value}, s = {text} WHERE {self._condition('t.')} "
            "RETURNING id, k, n, s"
        )

    def _delete(self) -> str:
        return (
            f"DELETE FROM t WHERE {self._condition('t.')} AND id % 3 = {self._draw.randint(0, 2)} "
            "RETURNING id, k, n, s"
        )

    def _condition(self, of: str) -> str:
        one = self._draw.choice(
            [
                f"{of}n = {self._value()}", f"{of}n IS NULL", f"{of}k > {self._draw.randint(0, 20)}",
                f"{of}n IN (SELECT u.n FROM u)", f"{of}n NOT IN (SELECT u.n FROM u)",
                f"{of}n NOT IN (SELECT u.n FROM u WHERE u.n IS NOT NULL)",
                f"EXISTS (SELECT 1 FROM u WHERE u.id = {of}n)",
                f"NOT EXISTS (SELECT 1 FROM u WHERE u.id = {of}n AND u.n > 2)",
                f"EXISTS (SELECT count(*) FROM u WHERE u.id = {of}n)",
                f"(SELECT count(*) FROM u WHERE u.id = {of}n) = 0",
                f"{of}s = 'a' AND 'a' = {of}s", f"{of}s LIKE 'a%'", "1 = 1",
                f"{of}n BETWEEN 1 AND 4", f"{of}k IS NOT NULL",
            ]
        )  # fmt: skip
        shape = self._draw.random()
        if shape < 0.4:
            return f"({one})"
        if shape < 0.55:
            return f"(NOT ({one}))"
        word = "AND" if shape < 0.8 else "OR"
        return f"({one} {word} {self._condition(of)})"


def ran(run: Callable[[str], Rows], text: str, errors: type[Exception]) -> Rows | None:
    """Return the rows of a statement, sorted; ``None`` if it was refused."""
    try:
        rows = run(text)
    except errors:
        return None
    return in_order(rows)


def in_order(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: [(value is None, str(value)) for value in row])


def asked(session: affidavit.Session, text: str) -> Rows:
    return [tuple(row.values()) for row in session.sql(text).to_pylist()]


@pytest.mark.parametrize("peer", ["sqlite", "duckdb"])
def test_p11_changes_are_those_of_other_databases(session: affidavit.Session, peer: str) -> None:
    """Every statement gives, and leaves, the same rows; ``as_of`` shows each state that was."""
    other = sqlite3.connect(":memory:") if peer == "sqlite" else duckdb.connect(":memory:")
    if peer == "sqlite":
        other.execute("PRAGMA case_sensitive_like = ON")
    failed = sqlite3.Error if peer == "sqlite" else duckdb.Error
    for text in SCHEMA:
        session.sql(text)
        other.execute(text)
    draw, past = Statements(SEED), list[tuple[int, Rows]]()
    for number in range(STATEMENTS):
        text = draw()
        wanted = ran(lambda sql: list(other.execute(sql).fetchall()), text, failed)
        if wanted is None and peer == "duckdb":
            continue  # DuckDB refuses more than is wrong: a key that is freed and taken at once
        got = ran(lambda sql: asked(session, sql), text, AffidavitError)
        assert got == wanted, f"statement {number}: {text}"
        left = in_order(list(other.execute("SELECT * FROM t").fetchall()))
        assert in_order(asked(session, "SELECT * FROM t")) == left, f"statement {number}: {text}"
        if number % REMEMBERED_EVERY == 0:
            [(seq,)] = asked(session, "SELECT max(seq) FROM journal")
            past.append((int(seq), left))  # type: ignore[call-overload]
    for seq, rows in past:
        assert in_order(asked(session, f"SELECT * FROM as_of('t', {seq})")) == rows
    other.close()
