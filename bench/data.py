"""What it costs that data is covered, and to check it: rows, files, what changed, opening."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

import affidavit
from affidavit.catalog.checking.opening import warn_of_versions
from affidavit.catalog.ledger.ledger import Ledger
from affidavit.catalog.store.covering.elements import rows_sum
from affidavit.catalog.store.covering.multiset import element
from affidavit.catalog.store.covering.writer import CoveredWriter
from affidavit.catalog.store.protocol import Cover, StoreColumn, StoreTable
from affidavit.catalog.values.types import Kind
from bench.harness import Bound, Figure, milliseconds, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.ledger.head import Head
    from affidavit.catalog.store.protocol import Writer
    from bench.harness import Plan

ROWS: Final = 1_000_000
DIMENSION: Final = 128
TABLES: Final = 1_000
CHANGES: Final = 1_000
NOTE: Final = {"name": "a name", "value": 1.5, "at": 7, "text": "some more of it"}


def data(plan: Plan) -> Iterator[Figure]:
    """Yield what covering data costs where it is written, and what checking it takes."""
    yield _state(plan)
    yield _insert(plan)
    yield from _verify(plan)
    yield _opening(plan)


def _state(plan: Plan) -> Figure:
    count = plan.size(200_000)
    columns = [StoreColumn(f"c{at}", Kind.TEXT) for at in range(5)]
    table = StoreTable("data_x", tuple(columns), cover=Cover(is_ordered=True))
    rows = [(at, at, "a name", "4609434218613702656", 7, "some more of it") for at in range(count)]
    started = perf_counter()
    rows_sum(table, table.name, table.covered, rows)
    took_us = (perf_counter() - started) / count * 1e6
    started = perf_counter()
    for at in range(count):
        element(b"%080d" % at)
    hashed_us = (perf_counter() - started) / count * 1e6
    return Figure(
        "state of a row of five columns", "us", took_us, hashed_us, "SHAKE128 of as many bytes",
        (Bound("measured", "at most", 5),),
    )  # fmt: skip


def _insert(plan: Plan) -> Figure:
    """Return one-row inserts with sums, and the same code without them, in turns."""
    summed, moved = Ledger._summed_up, CoveredWriter._move  # noqa: SLF001 - to leave them out

    def unsummed(_: Ledger, writer: Writer, old: Head | None, _size: int) -> int | None:
        writer.moves()
        return None if old is None else old.data

    with affidavit.connect(plan.folder / "insert", durability="normal") as session:
        table = session.create_table("t", [{"id": -1, **NOTE}], primary_key="id")

        def covered(at: int) -> None:
            table.insert({"id": 2 * at, **NOTE})

        def plain(at: int) -> None:
            Ledger._summed_up, CoveredWriter._move = unsummed, lambda *_: None  # type: ignore[assignment, method-assign]  # noqa: SLF001
            try:
                table.insert({"id": 2 * at + 1, **NOTE})
            finally:
                Ledger._summed_up, CoveredWriter._move = summed, moved  # type: ignore[method-assign]  # noqa: SLF001

        with_sums, without = take_turns(
            covered, plain, rounds=plan.size(2000, least=100), warmup=100
        )
    return Figure(
        "one-row inserts, covered", "/s", 1000 / milliseconds(with_sums),
        1000 / milliseconds(without), "the same without sums", (Bound("ratio", "at least", 0.9),),
    )  # fmt: skip


def _verify(plan: Plan) -> Iterator[Figure]:
    count = plan.size(ROWS)
    with affidavit.connect(plan.folder / "verify", durability="normal") as session:
        session.create_table("notes", _notes(count), primary_key="id")
        session.create_vector_table("docs", _vectors(count))
        started = perf_counter()
        assert session.ledger.verify(data=False)
        ledger_s = perf_counter() - started
        started = perf_counter()
        assert session.verify_data()
        data_s = perf_counter() - started
        yield Figure(
            f"verify(data=True) of {count:,} rows and {count:,} vectors, beyond the ledger's", "s",
            data_s, ledger_s, "the ledger's own check", (Bound("measured", "at most", 20),),
        )  # fmt: skip
        size = session.ledger.size
        for at in range(CHANGES):
            session.table("notes").update({"value": at}, f"id = {at}")
        started = perf_counter()
        assert session.ledger.verify(since=size)
        since_s = perf_counter() - started
        yield Figure(
            f"verify(since=) after {CHANGES:,} changes", "s", since_s, ledger_s + data_s,
            "all of it", (Bound("measured", "at most", 1),),
        )  # fmt: skip


def _notes(count: int) -> pa.Table:
    numbers = pa.array(range(count), pa.int64())
    texts = pa.array([f"note {at}" for at in range(count)])
    return pa.table({"id": numbers, "text": texts, "value": pa.array(np.arange(count) / 7)})


def _vectors(count: int) -> pa.Table:
    values = np.random.default_rng(5).normal(size=(count, DIMENSION)).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), DIMENSION)
    return pa.table({"id": pa.array(range(count), pa.int64()), "vector": vectors})


def _opening(plan: Plan) -> Figure:
    count = plan.size(TABLES)
    rows = pa.table({"id": [1], "vector": [[1.0, 0.0]]})
    with affidavit.connect(plan.folder / "many", durability="normal") as session:
        for at in range(count):
            session.create_vector_table(f"t{at}", rows)
        catalog = session._catalog()  # noqa: SLF001 - what opening does, by itself
        times = []
        for _ in range(20):
            started = perf_counter()
            warn_of_versions(catalog)
            times.append(perf_counter() - started)
        started = perf_counter()
        for home in (plan.folder / "many" / "vectors" / "default").iterdir():
            list((home / "_versions").iterdir())
        listed = perf_counter() - started
    return Figure(
        f"versions of {count:,} vector tables compared, as a lake opens", "ms",
        milliseconds(times), listed * 1000, "listing their folders",
        (Bound("measured", "at most", 100),),
    )  # fmt: skip
