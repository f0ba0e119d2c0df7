"""What it costs to say which rows were handed over."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

import affidavit
from affidavit.catalog.values.digest import SET_ROWS_MAX, rows_set_digest
from bench.harness import Bound, Figure, per_second, take_turns
from bench.samples import SEED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Plan

GB: Final = 1e9
COLUMNS: Final = 8
"""How many columns of each sort of number there are; of text half as many."""

DIMENSION: Final = 384
WORDS: Final = 1000


def digest(plan: Plan) -> Iterator[Figure]:
    """Yield how fast rows are hashed, in one thread, against as many bytes in one piece."""
    rows = plan.size(1_000_000)
    random = np.random.default_rng(SEED)
    words = pa.array([f"the words of the row that has number {at}" for at in range(WORDS)])
    texts = [words.take(pa.array(random.integers(0, WORDS, rows))) for _ in range(COLUMNS // 2)]
    numbers = [pa.array(random.random(rows)) for _ in range(COLUMNS)]
    numbers += [pa.array(random.integers(0, rows, rows)) for _ in range(COLUMNS)]
    holes = [pa.array(each.to_numpy(), mask=random.random(rows) < 0.1) for each in numbers]
    vectors = pa.array(random.random(rows // 20 * DIMENSION, np.float32))
    wide = [*numbers, *texts]
    for label, arrays in (
        ("numbers and text", wide),
        ("numbers with NULLs", holes),
        ("text in views", [each.cast(pa.string_view()) for each in texts]),
        (f"vectors of {DIMENSION}", [pa.FixedSizeListArray.from_arrays(vectors, DIMENSION)]),
    ):
        yield _hashed(label, _table(arrays), _bytes(arrays))
    few = _table(wide)[:SET_ROWS_MAX]
    times, baseline = take_turns(
        lambda _: rows_set_digest(few), lambda _: affidavit.digest(few), rounds=3, warmup=1
    )
    yield Figure(
        f"digest of {len(few):,} rows in no order", "/s", per_second(len(few), times),
        per_second(len(few), baseline), "their digest in order",
    )  # fmt: skip


def _table(arrays: list[pa.Array]) -> pa.Table:
    return pa.table(arrays, names=[str(at) for at in range(len(arrays))])


def _bytes(arrays: list[pa.Array]) -> int:
    """Return how many bytes the values have that are hashed: views as the text that they show."""
    plain = [a.cast(pa.string()) if pa.types.is_string_view(a.type) else a for a in arrays]
    return sum(each.nbytes for each in plain)


def _hashed(label: str, table: pa.Table, size: int) -> Figure:
    whole = np.random.default_rng(SEED).bytes(size)
    times, baseline = take_turns(
        lambda _: affidavit.digest(table), lambda _: hashlib.sha256(whole).digest(),
        rounds=3, warmup=1,
    )  # fmt: skip
    return Figure(
        f"digest of {label}, {size / 1e6:,.0f} MB", "GB/s", per_second(size, times) / GB,
        per_second(size, baseline) / GB, "SHA-256 of as many bytes",
        (Bound("measured", "at least", 1.2),),
    )  # fmt: skip
