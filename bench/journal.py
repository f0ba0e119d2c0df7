"""The journal: what writing events costs, sealing and reading them, and tables of the past.

A journal of the full size is made by a process of its own, whose memory is watched.
"""

from __future__ import annotations

import json
import subprocess
import sys
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

import affidavit
from affidavit.catalog.journal.events import Batch, Event
from affidavit.engine.session.journal import SHOWN
from bench import plain_sqlite
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.memory import PeakMemory
from bench.samples import EIGHT_COLUMNS, SEED, eight_columns, one_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.harness import Plan

EVENTS: Final = 10_000_000
ENTITY_TYPES: Final = ("article", "customer", "order", "shipment")
EVENTS_AN_ENTITY: Final = 10
BATCH_EVENTS: Final = 50_000
"""How many events one transaction has."""

SEGMENTS: Final = "SELECT count(*) AS files, sum(bytes) AS bytes FROM system.segments"
ACTIONS: Final = "SELECT action, count(*) AS n FROM journal GROUP BY action"


# --- writing --------------------------------------------------------------------------------------


def journaled(plan: Plan) -> Iterator[Figure]:
    """Yield how many rows a second are inserted, each with its event, in a batch and one by one."""
    yield _batch_figure(plan)
    yield _row_figure(plan)


def _batch_figure(plan: Plan) -> Figure:
    rows, rounds = plan.size(100_000), 5
    data = eight_columns(rows)
    with (
        affidavit.connect(plan.folder / "batches") as session,
        affidavit.connect(plan.folder / "plain batches", journal=False) as other,
    ):
        tables, others = (
            [
                each.create_table(f"t_{at}", schema=EIGHT_COLUMNS, primary_key="id")
                for at in range(rounds + 1)
            ]
            for each in (session, other)
        )
        times, baseline = take_turns(
            lambda at: tables[at].insert(data), lambda at: others[at].insert(data),
            rounds=rounds, warmup=1,
        )  # fmt: skip
        assert session.journal.stats()["total_events_created"] == (rounds + 1) * (rows + 1)
    return Figure(
        f"batch insert, {rows:,} rows, 8 columns, an event each", "rows/s",
        per_second(rows, times), per_second(rows, baseline), "the same without a journal",
        (Bound("measured", "at least", 60_000),),
    )  # fmt: skip


def _row_figure(plan: Plan) -> Figure:
    rounds, commits = 7, plan.size(500)
    count = (rounds + 1) * commits
    rows, values = [one_row(at) for at in range(count)], plain_sqlite.tuples(eight_columns(count))
    text = "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    with (
        affidavit.connect(plan.folder / "rows") as session,
        affidavit.connect(plan.folder / "plain rows", journal=False) as other,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        table, without = (
            each.create_table("t", schema=EIGHT_COLUMNS, primary_key="id")
            for each in (session, other)
        )
        plain_sqlite.create(plain, "t")

        def insert(at: int, into: affidavit.MutableTable) -> None:
            for row in rows[at * commits : (at + 1) * commits]:
                into.insert(row)

        def others(at: int) -> None:
            for row in values[at * commits : (at + 1) * commits]:
                plain_sqlite.commit(plain, text, row)

        times, quicker, baseline = take_turns(
            lambda at: insert(at, table), lambda at: insert(at, without), others,
            rounds=rounds, warmup=1,
        )  # fmt: skip
    return Figure(
        "insert of one row, 8 columns, with its event", "/s", per_second(commits, times),
        per_second(commits, baseline), "sqlite3, WAL, synchronous=FULL",
        (Bound("measured", "at least", 1000),),
        {"without_journal_per_s": per_second(commits, quicker)},
    )  # fmt: skip


# --- making a journal -----------------------------------------------------------------------------


def batches(session: affidavit.Session, count: int) -> Iterator[Batch]:
    """Yield ``count`` events of ``count / EVENTS_AN_ENTITY`` entities of several types.

    Nine of ten are updates of a field; the tenth is an insert with the whole row.
    """
    random = np.random.default_rng(SEED)
    entities = max(1, count // EVENTS_AN_ENTITY)
    for number, first in enumerate(range(0, count, BATCH_EVENTS)):
        size = min(BATCH_EVENTS, count - first)
        kind = ENTITY_TYPES[number % len(ENTITY_TYPES)]
        ids = random.integers(0, entities, size).tolist()
        numbers = random.integers(0, 1_000_000, (size, 2)).tolist()
        events = [
            Event(f"{at}", "*", "insert", None, f'{{"id":{at},"quantity":{old},"city":"{new}"}}')
            if old % 10 == 0
            else Event(f"{at}", "quantity", "update", f"{old}", f"{new}")
            for at, (old, new) in zip(ids, numbers, strict=True)
        ]
        yield Batch(kind, uuid4().hex, session.identity, time_ns() // 1000, uuid4().hex, events)


def append(session: affidavit.Session, batch: Batch) -> None:
    """Write ``batch`` down in a transaction of its own."""
    catalog = session._catalog()  # noqa: SLF001 - a million rows would be the table's benchmark
    with catalog.write() as writer:
        transaction = catalog.transactions.current()
        assert transaction is not None
        catalog.journal.append(writer, batch, transaction)


# --- sealing --------------------------------------------------------------------------------------


def seal(plan: Plan) -> Iterator[Figure]:
    """Yield how many events a second are sealed, and how many bytes they take."""
    events, rounds = plan.size(200_000), 3
    with affidavit.connect(plan.folder / "lake") as session:
        own = session._catalog().journal.sealing  # noqa: SLF001 - its threshold is nobody's to set
        own.flush_threshold = 10 * events  # sealed by flush() alone
        folder = plan.folder / "lake" / "journal" / "default"

        def fill(_: int) -> None:
            for each in batches(session, events):
                append(session, each)

        def write(_: int) -> None:
            newest = max(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
            pq.write_table(pq.read_table(newest), plan.folder / "plain.parquet", compression="zstd")

        times, baseline = take_turns(
            lambda _: own.flush(), write, rounds=rounds, warmup=1, before=fill
        )
        sealed = session.sql(SEGMENTS).to_pylist()[0]
    yield Figure(
        f"sealing {events:,} events", "/s", per_second(events, times),
        per_second(events, baseline), "pyarrow reads and writes the file",
        (Bound("measured", "at least", 300_000),),
        {"bytes_an_event": sealed["bytes"] / ((rounds + 1) * events)},
    )  # fmt: skip


# --- a large journal ------------------------------------------------------------------------------


def journal(plan: Plan) -> Iterator[Figure]:
    """Yield what a large journal takes, and how long reading it takes."""
    count, lake = plan.size(EVENTS), plan.folder / "lake"
    made = _measure(lake, "make", count)
    named = made["bytes"] + made["index_bytes"]
    lying = sum(path.stat().st_size for path in (lake / "journal").rglob("*") if path.is_file())
    yield Figure(
        f"a journal of {count:,} events, sealed and merged, on disk", "bytes/event", named / count,
        made["bytes"] / count, "without the index",
        details={
            "events_per_s": count / made["seconds"],
            "segments": made["files"],
            "with_merged_files_bytes": lying / count,
        },
    )  # fmt: skip
    yield Figure(
        f"peak memory growth, writing and sealing {count:,} events", "MB", made["growth_mb"],
        made["growth_mb"], "itself", (Bound("measured", "at most", 500),),
    )  # fmt: skip
    yield from _reading(lake, count, plan)
    read = _measure(lake, "read", count)
    yield Figure(
        f"peak memory growth, reading {count:,} events", "MB", read["growth_mb"],
        read["growth_mb"], "itself", (Bound("measured", "at most", 500),),
    )  # fmt: skip


def _reading(lake: Path, count: int, plan: Plan) -> Iterator[Figure]:
    rounds, scans = plan.size(200, least=50), 3
    picks = np.random.default_rng(SEED).integers(0, count // EVENTS_AN_ENTITY, rounds + 5)
    wanted = [str(pick) for pick in picks]
    text = "SELECT * FROM journal WHERE entity_id = $id"
    with affidavit.connect(lake, read_only=True) as session:
        times, by_sql = take_turns(
            lambda at: session.journal.history(wanted[at]).to_arrow(),
            lambda at: session.sql(text, id=wanted[at]).to_arrow(),
            rounds=rounds, warmup=5,
        )  # fmt: skip
        (baseline,) = take_turns(lambda at: _scan_all(session, wanted[at]), rounds=scans)
        found = session.journal.history(wanted[0]).num_rows
        assert found == session.sql(text, id=wanted[0]).num_rows == _scan_all(session, wanted[0])
        newest, ordered = take_turns(
            lambda _: session.journal.recent(100).to_arrow(),
            lambda _: session.sql("SELECT * FROM journal ORDER BY seq DESC LIMIT 100").to_arrow(),
            rounds=scans, warmup=1,
        )  # fmt: skip
        (grouped,) = take_turns(lambda _: session.sql(ACTIONS).to_arrow(), rounds=scans, warmup=1)
    (plain,) = take_turns(lambda _: _group_by_pyarrow(lake), rounds=scans)
    for what, found_in in (("history(entity_id)", times), ("WHERE entity_id = in SQL", by_sql)):
        yield Figure(
            f"{what} p95, {count:,} events", "ms", float(np.percentile(found_in, 95)) * 1000,
            milliseconds(baseline), "scanning every segment",
            (Bound("measured", "at most", 50),), {"p50_ms": milliseconds(found_in)},
        )  # fmt: skip
    yield Figure(
        f"recent(100), {count:,} events", "ms", milliseconds(newest), milliseconds(ordered),
        "ORDER BY seq DESC LIMIT 100 in SQL", (Bound("measured", "at most", 10),),
    )  # fmt: skip
    yield Figure(
        f"count(*) GROUP BY action, {count:,} events", "ms", milliseconds(grouped),
        milliseconds(plain), "pyarrow on the same files", (Bound("measured", "at most", 2000),),
    )  # fmt: skip


def _scan_all(session: affidavit.Session, entity_id: str) -> int:
    catalog = session._catalog()  # noqa: SLF001 - nobody else would read them all
    filters = pc.field("entity_id") == entity_id
    with catalog.read() as reader:
        return sum(part.num_rows for part in catalog.journal.events.scan(reader, SHOWN, filters))


def _group_by_pyarrow(lake: Path) -> None:
    for path in (lake / "journal").rglob("*.parquet"):
        pq.read_table(path, columns=["action"]).group_by("action").aggregate([([], "count_all")])


def _measure(lake: Path, how: str, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.journal", str(lake), how, str(count)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(told)
    return measured


# --- the past -------------------------------------------------------------------------------------


def past(plan: Plan) -> Iterator[Figure]:
    """Yield how long a table takes as of before many events, which touched few or all rows."""
    rows, later, rounds = plan.size(100_000), plan.size(1_000_000), 3
    for part in (100, 10, 1):
        touched = rows // part
        with affidavit.connect(plan.folder / f"lake-{part}") as session:
            session.create_table("t", eight_columns(rows), primary_key="id")
            moment = session.ledger.size - 1
            for _ in range(later // touched):
                session.sql("UPDATE t SET quantity = quantity + 1 WHERE id < $n", n=touched)
            session.journal.flush()
            before = f"SELECT sum(quantity) AS q FROM as_of('t', {moment})"
            texts = (before, "SELECT sum(quantity) AS q FROM t")
            was, now = (session.sql(text).to_pylist()[0]["q"] for text in texts)
            assert now - was == later
            times, baseline = take_turns(*map(_reader, (session,) * 2, texts), rounds=rounds)
        yield Figure(
            f"as_of, {rows:,} rows, {later:,} events later on {touched:,} of them", "ms",
            milliseconds(times), milliseconds(baseline), "the same table now",
            (Bound("measured", "at most", 1000),),
        )  # fmt: skip


def _reader(session: affidavit.Session, text: str) -> Callable[[int], object]:
    return lambda _: session.sql(text).to_arrow()


def main(lake: str, how: str, count: str) -> None:
    """Make a journal, or read one, and print what that took as JSON."""
    make = how == "make"
    with (
        affidavit.connect(lake, read_only=not make) as session,
        PeakMemory() as peak,
    ):
        started = perf_counter()
        if make:
            for batch in batches(session, int(count)):
                append(session, batch)
            session.journal.flush()
            session._catalog().journal.merging.compact()  # noqa: SLF001 - what the background has not done
        else:
            session.sql(ACTIONS).to_arrow()
            session.journal.recent(100).to_arrow()
            session.journal.history("7").to_arrow()
            read = sum(batch.num_rows for batch in session.sql("SELECT * FROM journal").batches())
            assert read == int(count)
        seconds = perf_counter() - started
        told = session.sql(SEGMENTS).to_pylist()[0]
        told["index_bytes"] = 8 * session.journal.stats()["total_events_created"]
    print(json.dumps({**told, "growth_mb": peak.growth_mb, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
