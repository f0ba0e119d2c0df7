"""Sealed records: what sealing searches costs, what they take, and how fast they are found.

Millions of them are written as sealing writes them, and not searched one by one: of a search that
was really made, with other ids, salts and hashes.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

import affidavit
from affidavit.catalog.journal.records.form import RECORDS, table_of
from affidavit.catalog.journal.segments.writing import write_segment
from affidavit.catalog.model import clock
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.samples import SEED, search_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.harness import Plan

RECORDS_FOUND: Final = int(os.environ.get("AFFIDAVIT_BENCH_RECORDS", "1_000_000"))
"""Among how many sealed records some are looked for; 10_000_000 is what the figure is meant for."""

ROWS: Final = 10_000_000
"""How many rows the table has that the records say they gave."""

RECORDS_A_SEGMENT: Final = 640_000
"""What sealing and merging come to."""

TABLE_RECORDS: Final = 16_384
SEGMENTS: Final = "SELECT sum(records) AS records, sum(bytes) AS bytes FROM audit.segments"


def records(plan: Plan) -> Iterator[Figure]:
    """Yield what sealing costs, and what sealed records take and how they are found."""
    yield from _sealing(plan)
    yield from _finding(plan)


# --- sealing --------------------------------------------------------------------------------------


def _sealing(plan: Plan) -> Iterator[Figure]:
    batch, rounds, count = 1000, 3, plan.size(16_000)
    with affidavit.connect(plan.folder / "lake") as session:
        own = session._catalog().journal.records  # noqa: SLF001 - its threshold is nobody's to set
        own.sealing.flush_threshold = 10 * rounds * count  # sealed by flush() alone

        def fill(at: int) -> None:
            for first in range(0, count, batch):
                session.audit.log(search_records(batch, ROWS, first=at * count + first))

        written: list[float] = []

        def write(_: int) -> None:
            with own.kept.store.read(own.kept.tenant) as reader:
                waiting = own.kept.waiting(reader)
                assert waiting is not None
                tables = list(waiting.tables())
                started = perf_counter()
                write_segment(own.kept.folder, RECORDS, lambda: iter(tables))
                written.append(perf_counter() - started)

        _, sealed = take_turns(
            write, lambda _: own.sealing.flush(), rounds=rounds, warmup=1, before=fill
        )
        told = session.sql(SEGMENTS).to_pylist()[0]
        index = sum(path.stat().st_size for path in _files(plan.folder / "lake", ".entities"))
        assert session.ledger.verify(progress=False, data=False)
    yield Figure(
        f"writing {count:,} searches as a segment, k = 10", "/s", per_second(count, written[1:]),
        per_second(count, sealed), "with taking them out of the store",
        (Bound("measured", "at least", 100_000),),
    )  # fmt: skip
    yield Figure(
        f"sealing {count:,} searches, k = 10, out of the store", "/s", per_second(count, sealed),
        per_second(count, written[1:]), "writing the segment alone",
    )  # fmt: skip
    yield Figure(
        "a sealed search, k = 10, on disk", "bytes", told["bytes"] / told["records"],
        index / (2 * told["records"]), "its part of the index, beside it",
        (Bound("measured", "at most", 600),),
    )  # fmt: skip


def _files(lake: Path, ending: str) -> list[Path]:
    return [path for path in (lake / "records").rglob("*") if path.name.endswith(ending)]


# --- finding --------------------------------------------------------------------------------------


def _finding(plan: Plan) -> Iterator[Figure]:
    count, rounds = plan.size(RECORDS_FOUND), plan.size(60, least=20)
    lake = plan.folder / "found"
    with affidavit.connect(lake) as session:
        session.audit.log(search_records(1, ROWS))
        seconds, picked = _make(session, count)
    logging.getLogger("affidavit").setLevel(logging.ERROR)  # its head knows of one of them
    text = "SELECT * FROM audit.searches WHERE query_id = $id"
    named = "SELECT * FROM audit.results WHERE row_id = $id"
    with affidavit.connect(lake, read_only=True, audit="searches") as session:
        given, by_id, by_sql, by_row = take_turns(
            lambda at: session.audit.received(picked[at][1]),
            lambda at: session.audit.get(picked[at][0]),
            lambda at: session.sql(text, id=picked[at][0]).to_arrow(),
            lambda at: session.sql(named, id=picked[at][1]).to_arrow(),
            rounds=rounds, warmup=5,
        )  # fmt: skip
        received = [len(session.audit.received(row_id)) for _, row_id in picked[:rounds]]
        assert min(received) >= 1
        (scanned,) = take_turns(
            lambda _: session.sql("SELECT count(*) FROM audit.segments").to_arrow(), rounds=3
        )
    logging.getLogger("affidavit").setLevel(logging.NOTSET)
    size = sum(path.stat().st_size for path in _files(lake, ""))
    for what, times in (
        ("audit.received(key)", given), ("audit.get(query_id)", by_id),
        ("audit.searches by query_id, in SQL", by_sql), ("audit.results by row_id, in SQL", by_row),
    ):  # fmt: skip
        yield Figure(
            f"{what}, {count:,} sealed records", "ms", milliseconds(times),
            milliseconds(scanned), "a statement that reads none of them",
            (Bound("measured", "at most", 20),),
            {
                "p95_ms": float(np.percentile(times, 95)) * 1000,
                "records_a_key": float(np.mean(received)),
                "made_per_s": count / seconds,
                "bytes_a_record_with_index": size / count,
            },
        )  # fmt: skip


def _make(session: affidavit.Session, count: int) -> tuple[float, list[tuple[str, str]]]:
    """Write ``count`` records as sealed; return how long it took, and ids and rows of some."""
    kept = session._catalog().journal.records.kept  # noqa: SLF001 - nobody searches so often
    random = np.random.default_rng(SEED)
    picked: list[tuple[str, str]] = []
    started = perf_counter()
    with kept.store.read(kept.tenant) as reader:
        made = kept.waiting(reader)
        assert made is not None
        (entry,) = pa.concat_tables(made.tables()).to_pylist()

    copies = _Copies(entry)

    def tables(first: int, end: int) -> Iterator[pa.Table]:
        for low in range(first, end, TABLE_RECORDS):
            rows = list(copies.rows(low, min(low + TABLE_RECORDS, end), random))
            picked.append(rows[0][1])
            yield table_of([row for row, _ in rows])

    for first in range(10, count + 10, RECORDS_A_SEGMENT):
        end = min(first + RECORDS_A_SEGMENT, count + 10)
        segment = write_segment(kept.folder, RECORDS, partial(tables, first, end))
        with kept.store.write(kept.tenant) as writer:
            kept.add_segment(writer, segment)
    chosen = random.permutation(len(picked))
    return perf_counter() - started, [picked[at % len(picked)] for at in [*chosen] * 10]


class _Copies:
    """Records like one that was made, of other queries and with other hashes.

    Args:
        entry: The record, as it is sealed.
    """

    def __init__(self, entry: dict[str, Any]) -> None:
        body, opened = entry["body"], entry["opened"]
        ids = opened.partition('"top_k_result_ids":["')[2].partition("]]")[0]
        hashes = [part[:64] for part in body.split('"c:')[1:]]
        salts = [part[:32] for part in opened.split('":["')[1:] if part[:32].isalnum()]
        self._body = _cut(body, [(entry["entry_id"], "id"), *((each, "hash") for each in hashes)])
        self._opened = _cut(opened, [(ids[34:], "rows"), *((each, "salt") for each in salts)])

    def rows(
        self, first: int, end: int, random: np.random.Generator
    ) -> Iterator[tuple[tuple[Any, ...], tuple[str, str]]]:
        """Yield those of these numbers as the store has them, and the id and a row of each."""
        at_us = clock.now_us()
        given = random.integers(0, ROWS, (end - first, 10)).tolist()
        for seq, row_ids in zip(range(first, end), given, strict=True):
            query_id, drawn = clock.uuid7(at_us + seq), random.bytes(512).hex()
            words = {"id": query_id, "rows": '["' + '","'.join(map(str, row_ids)) + '"'}
            body, opened = _filled(self._body, words, drawn), _filled(self._opened, words, drawn)
            yield (
                seq, "search", query_id, at_us + seq, body, random.bytes(64), random.bytes(32),
                opened,
            ), (query_id, str(row_ids[0]))  # fmt: skip


def _cut(text: str, places: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return a text in parts, each with what comes after it: what stood there is to be another."""
    found = sorted((text.index(each), len(each), what) for each, what in places)
    parts, end = [], 0
    for at, length, what in found:
        parts.append((text[end:at], what))
        end = at + length
    return [*parts, (text[end:], "")]


def _filled(parts: list[tuple[str, str]], words: dict[str, str], drawn: str) -> bytes:
    told = []
    for at, (text, what) in enumerate(parts):
        size = {"hash": 64, "salt": 32}.get(what, 0)
        told += [text, words.get(what) or drawn[64 * at : 64 * at + size]]
    return "".join(told).encode()
