"""What people wait for on large tables: counts, joins, changes of one row, many rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa

import affidavit
from bench import plain_sqlite
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.samples import eight_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Plan

ROWS: Final = 1_000_000
AT_ONCE: Final = 1_000
WIDE: Final = 1_800
"""How many columns a wide table has."""


def large(plan: Plan) -> Iterator[Figure]:
    """Yield what reads and changes of a large table take, beside DuckDB."""
    rows = plan.size(ROWS)
    data = eight_columns(rows)
    with (
        affidavit.connect(plan.folder / "lake", journal=False) as session,
        duckdb.connect(plan.folder / "plain.duckdb") as plain,
    ):
        for name in ("t", "u"):
            plain.execute(f"CREATE TABLE {name} AS SELECT * FROM data")
            session.create_table(name, data, primary_key="id")
        for text, bound in (
            ("SELECT count(*) AS n FROM t", Bound("measured", "at most", 1.5)),
            (
                "SELECT count(*) AS n, sum(u.price) AS s FROM t JOIN u ON t.id = u.id",
                Bound("measured", "at most", 250),
            ),
        ):
            own, others = take_turns(
                lambda _, text=text: session.sql(text).to_arrow(),
                lambda _, text=text: plain.sql(text).to_arrow_table(),
                rounds=9, warmup=1,
            )  # fmt: skip
            yield Figure(
                f"{text}, {rows:,} rows", "ms", milliseconds(own), milliseconds(others), "DuckDB",
                (bound,),
            )  # fmt: skip
        update = "UPDATE t SET price = 1.5 WHERE name = ?"
        own, others = take_turns(
            lambda at: session.sql(update, [f"article number {at}"]),
            lambda at: plain.execute(update, [f"article number {at}"]),
            rounds=15, warmup=4,
        )  # fmt: skip
        yield Figure(
            f"UPDATE of one row by another column, {rows:,} rows", "ms", milliseconds(own),
            milliseconds(others), "DuckDB", (Bound("measured", "at most", 6),),
        )  # fmt: skip


def gathered(plan: Plan) -> Iterator[Figure]:
    """Yield what many rows at once take, journaled, beside ``sqlite3``."""
    rounds = plan.size(50, least=5)
    data = eight_columns((rounds + 2) * AT_ONCE * 3)
    ready, dicts = plain_sqlite.tuples(data), data.to_pylist()
    one = f"INSERT INTO t VALUES ({', '.join('?' * 8)})"
    with (
        affidavit.connect(plan.folder / "lake") as session,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        table = session.create_table("t", schema=data.schema, primary_key="id")
        plain_sqlite.create(plain, "t")

        def by_calls(at: int) -> None:
            with session.transaction():
                for row in dicts[at * AT_ONCE : (at + 1) * AT_ONCE]:
                    table.insert(row)

        def by_statements(at: int) -> None:
            first = (at + rounds + 2) * AT_ONCE
            with session.transaction():
                for row in dicts[first : first + AT_ONCE]:
                    session.sql(one, [*row.values()])

        def at_once(at: int) -> None:
            first = (at + 2 * (rounds + 2)) * AT_ONCE
            table.insert(dicts[first : first + AT_ONCE])

        def others(at: int) -> None:
            plain_sqlite.fill(plain, "t", ready[at * AT_ONCE : (at + 1) * AT_ONCE])

        calls, statements, whole, baseline = take_turns(
            by_calls, by_statements, at_once, others, rounds=rounds, warmup=1
        )
    for name, times, limit in (
        (f"{AT_ONCE:,} inserts in a transaction, by calls", calls, 150),
        (f"{AT_ONCE:,} inserts in a transaction, in SQL", statements, 300),
        (f"insert of {AT_ONCE:,} dicts", whole, 18),
    ):
        yield Figure(
            name, "ms", milliseconds(times), milliseconds(baseline), "sqlite3 executemany",
            (Bound("measured", "at most", limit),),
        )  # fmt: skip


def wide(plan: Plan) -> Iterator[Figure]:
    """Yield what a change of one row of many columns takes."""
    data = pa.table({"id": [1, 2, 3], **{f"c{at}": [0.5, 1.5, 2.5] for at in range(WIDE)}})
    with affidavit.connect(plan.folder / "lake") as session:
        for name, columns in (("wide", data), ("slim", data.select(range(8)))):
            session.create_table(name, columns, primary_key="id")
        own, others = take_turns(
            *(
                lambda at, name=name: session.sql(f"UPDATE {name} SET c5 = {at}.5 WHERE id = 2")
                for name in ("wide", "slim")
            ),
            rounds=7, warmup=1,
        )  # fmt: skip
    yield Figure(
        f"UPDATE of one row of {WIDE:,} columns", "ms", milliseconds(own), milliseconds(others),
        "the same of 8", (Bound("measured", "at most", 500),),
    )  # fmt: skip


def attached(plan: Plan) -> Iterator[Figure]:
    """Yield how many rows a second of an attached DuckDB file are read, beside DuckDB itself."""
    rows = plan.size(6 * ROWS)
    path = plan.folder / "x.duckdb"
    text = "SELECT sum(v) AS v, sum(k) AS k FROM {} WHERE k % 7 <> 3"
    with duckdb.connect(path) as plain:
        plain.execute(
            "CREATE TABLE t AS SELECT range AS id, range % 1000 AS k, random() AS v "
            f"FROM range({rows})"
        )
    with affidavit.connect(plan.folder / "lake") as session:
        session.attach("d", f"duckdb://{path}")
        own = take_turns(
            lambda _: session.sql(text.format("d.main.t")).to_arrow(), rounds=5, warmup=1
        )[0]
    with duckdb.connect(path, read_only=True) as plain:
        others = take_turns(
            lambda _: plain.sql(text.format("t")).to_arrow_table(), rounds=5, warmup=1
        )[0]
    yield Figure(
        f"sums over {rows:,} rows of an attached DuckDB file", "rows/s", per_second(rows, own),
        per_second(rows, others), "DuckDB itself", (Bound("ratio", "at least", 0.25),),
    )  # fmt: skip


def slopes(plan: Plan) -> Iterator[Figure]:
    """Yield how much longer a change of all rows takes of three times as many."""
    rows = plan.size(100_000)
    with affidavit.connect(plan.folder / "lake") as session:
        for name, count in (("small", rows), ("large", 3 * rows)):
            session.create_table(name, eight_columns(count), primary_key="id")
        for verb in ("UPDATE {} SET price = price + 1", "TRUNCATE {}"):
            small, three = (
                take_turns(
                    lambda _, table=table: session.sql(verb.format(table)), rounds=1  # noqa: B023 - called at once
                )[0]
                for table in ("small", "large")
            )  # fmt: skip
            yield Figure(
                f"{verb.split()[0]} of all of {3 * rows:,} rows", "ms", milliseconds(three),
                3 * milliseconds(small), "three times what a third takes",
                (Bound("ratio", "at most", 1.05),),
            )  # fmt: skip
