"""Foreign keys, checks and generated columns beside SQLite: the same statements, the same rows."""

from __future__ import annotations

import os
import random
import sqlite3
from typing import TYPE_CHECKING

import pytest

import affidavit
from affidavit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

STATEMENTS = int(os.environ.get("AFFIDAVIT_FUZZ", "480"))
"""How many statements are run in all."""

SEEDS = 12
ACTIONS = ["NO ACTION", "RESTRICT", "CASCADE", "SET NULL"]
TABLES = ("p", "c", "g")
PAST_EVERY = 20


def definitions(rng: random.Random) -> list[str]:
    """Return the tables of one run: a parent, a child that refers to it, and the child's child."""
    a, b, c, d, e = (rng.choice(ACTIONS) for _ in range(5))
    return [
        "CREATE TABLE p (id INT PRIMARY KEY, u INT UNIQUE, v INT CHECK (v > 0 AND v < 9), "
        "CONSTRAINT apart CHECK (u <> v))",
        f"CREATE TABLE c (id INT PRIMARY KEY, pid INT REFERENCES p ON DELETE {a} ON UPDATE {b}, "
        "w INT, twice INT GENERATED ALWAYS AS (w * 2 + id) STORED, "
        f"up INT REFERENCES c(id) ON DELETE {rng.choice(['CASCADE', 'SET NULL', 'NO ACTION'])}, "
        f"FOREIGN KEY (w) REFERENCES p(u) ON DELETE {c})",
        f"CREATE TABLE g (id INT PRIMARY KEY, cid INT REFERENCES c(id) ON DELETE {d} "
        f"ON UPDATE {e}, n INT CHECK (n IS NULL OR n % 2 = 0))",
    ]


def value(rng: random.Random) -> str:
    return rng.choice(["NULL", *map(str, range(-1, 8))])


def statement(rng: random.Random) -> str:
    key, other = rng.randrange(8), rng.randrange(8)
    row = {
        "p": f"(id, u, v) VALUES ({key}, {value(rng)}, {value(rng)})",
        "c": f"(id, pid, w, up) VALUES ({key}, {value(rng)}, {value(rng)}, {value(rng)})",
        "g": f"(id, cid, n) VALUES ({key}, {value(rng)}, {value(rng)})",
    }
    sets = {
        "p": [f"id = {other}", f"u = {value(rng)}", f"v = {value(rng)}"],
        "c": [f"id = {other}", f"pid = {value(rng)}", f"w = {value(rng)}", f"up = {value(rng)}"],
        "g": [f"cid = {value(rng)}", f"n = {value(rng)}"],
    }
    table = rng.choice(TABLES)
    where = rng.choice([f"id = {key}", f"id = {key}", f"id IN ({key}, {other})", f"id > {key}"])
    match rng.randrange(8):
        case 0 | 1 | 2 | 3:
            return f"INSERT INTO {table} {row[table]}"
        case 4 | 5:
            return f"UPDATE {table} SET {rng.choice(sets[table])} WHERE id = {key}"
        case 6:
            return f"DELETE FROM {table} WHERE {where}"
        case _:
            one = ", ".join(name for name in ("u = 7", "v = 3"))
            return f"INSERT INTO p {row['p']} ON CONFLICT (id) DO UPDATE SET {one}"


def rows_of(ask, table: str) -> list[tuple[object, ...]]:
    return ask(f"SELECT * FROM {table} ORDER BY id")


@pytest.fixture(params=range(SEEDS))
def beside(request, tmp_path) -> Iterator[tuple[random.Random, affidavit.Session, sqlite3.Connection]]:  # fmt: skip
    rng = random.Random(request.param)
    with affidavit.connect(tmp_path / "lake", durability="normal") as session:
        lite = sqlite3.connect(":memory:", isolation_level=None)
        lite.execute("PRAGMA foreign_keys = ON")
        for text in definitions(rng):
            session.sql(text)
            lite.execute(text)
        yield rng, session, lite
        lite.close()


def test_what_sqlite_refuses_is_refused_and_what_it_does_is_done(beside) -> None:
    rng, session, lite = beside

    def ours(text: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in session.sql(text).to_pylist()]

    past: list[tuple[int, dict[str, list[tuple[object, ...]]]]] = []
    ran: list[str] = []
    for at in range(STATEMENTS // SEEDS):
        text = statement(rng)
        ran.append(text)
        try:
            lite.execute(text)
            refused = None
        except sqlite3.IntegrityError as error:
            refused = str(error)
        try:
            session.sql(text)
            ours_refused = None
        except errors.ConstraintError as error:
            ours_refused = str(error)
        assert (refused is None) == (ours_refused is None), (ran, refused, ours_refused)
        theirs = {table: rows_of(lambda q: lite.execute(q).fetchall(), table) for table in TABLES}
        assert {table: rows_of(ours, table) for table in TABLES} == theirs, ran
        if at % PAST_EVERY == 0:
            [(seq,)] = ours("SELECT max(seq) FROM journal")
            past.append((seq, theirs))
    for seq, then in past:
        for table in TABLES:
            assert rows_of(ours, f"as_of('{table}', {seq})") == then[table]
    assert session.ledger.verify(data=True)
