"""How long it takes to erase one row, from where the lake has it: of a table, of a vector table."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

import affidavit
from bench.harness import Bound, Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Plan

ROWS: Final = 1_000_000
VECTORS: Final = 100_000
DIMENSION: Final = 128
TABLE_S: Final = 2.0
VECTORS_S: Final = 10.0


def erasure(plan: Plan) -> Iterator[Figure]:
    """Yield what erasing one row takes, beside deleting one in the same lake."""
    with affidavit.connect(plan.folder / "lake") as session:
        yield _of_table(plan, session)
        yield _of_vectors(plan, session)


def _timed(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def _of_table(plan: Plan, session: affidavit.Session) -> Figure:
    count = plan.size(ROWS, least=10_000)
    ids = np.arange(count)
    names = [f"name {at}" for at in range(count)]
    rows = pa.table({"id": ids, "name": names, "age": ids % 90})
    session.create_table("people", rows, primary_key="id")
    session.journal.flush()
    deleted = _timed(lambda: session.table("people").delete("id = 1"))
    taken = _timed(lambda: session.erase("people", count // 2, reason="measured"))
    return Figure(
        f"erasing one of {count:,} rows", "s", taken, deleted,
        "deleting one of them", (Bound("measured", "at most", TABLE_S),),
    )  # fmt: skip


def _of_vectors(plan: Plan, session: affidavit.Session) -> Figure:
    count = plan.size(VECTORS, least=2_000)
    vectors = np.random.default_rng(0).normal(size=(count, DIMENSION)).astype("f4")
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION)
    notes = [f"note {at} of something" for at in range(count)]
    table = session.create_vector_table(
        "docs", pa.table({"id": np.arange(count), "note": notes, "vector": column})
    )
    table.create_index("vector")
    table.create_index("note", "FTS")
    deleted = _timed(lambda: table.delete("id = 1"))
    taken = _timed(lambda: session.erase("docs", count // 2, reason="measured"))
    return Figure(
        f"erasing one of {count:,} vectors, with two indexes", "s", taken, deleted,
        "deleting one of them", (Bound("measured", "at most", VECTORS_S),),
    )  # fmt: skip
