"""What the benchmarks store: vectors of clusters, rows of common types, and search records."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

import affidavit

if TYPE_CHECKING:
    from collections.abc import Iterator

    Vectors = np.ndarray[Any, np.dtype[np.float32]]

SEED: Final = 20_240_229
CLUSTERS: Final = 256
SPREAD: Final = 0.5
"""The standard deviation within a cluster, where that of the clusters' centres is 1."""

_EPOCH: Final = datetime(2024, 2, 29, tzinfo=UTC)


# --- vectors -------------------------------------------------------------------------------------


def clustered(rows: int, dimension: int, queries: int) -> tuple[Vectors, Vectors]:
    """Return vectors to store and vectors to look for, both drawn from the same clusters."""
    random = np.random.default_rng(SEED)
    centres = random.standard_normal((CLUSTERS, dimension), dtype=np.float32)
    drawn = random.standard_normal((rows + queries, dimension), dtype=np.float32)
    drawn *= SPREAD
    drawn += centres[random.integers(0, CLUSTERS, rows + queries)]
    return drawn[:rows], drawn[rows:]


def vector_rows(texts: list[str], vectors: Vectors) -> pa.Table:
    """Return a table of ``id``, ``text`` and ``vector``."""
    flat = pa.array(vectors.reshape(-1))
    return pa.table(
        {
            "id": pa.array(range(len(texts)), pa.int64()),
            "text": pa.array(texts),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )


# --- rows ----------------------------------------------------------------------------------------

EIGHT_COLUMNS: Final = pa.schema(
    [
        ("id", pa.int64()),
        ("quantity", pa.int32()),
        ("price", pa.float64()),
        ("weight", pa.float64()),
        ("name", pa.string()),
        ("city", pa.string()),
        ("sold_at", pa.timestamp("us")),
        ("paid", pa.bool_()),
    ]
)


def eight_columns(rows: int) -> pa.Table:
    """Return rows of integers, floats, texts, timestamps and booleans, ``id`` from 0 on."""
    random = np.random.default_rng(SEED)
    start = np.datetime64(_EPOCH.replace(tzinfo=None), "us")
    columns = [
        np.arange(rows),
        random.integers(0, 1000, rows),
        random.random(rows) * 100,
        random.random(rows),
        [f"article number {at}" for at in range(rows)],
        [f"city {number}" for number in random.integers(0, 500, rows)],
        start + np.arange(rows).astype("timedelta64[s]"),
        random.random(rows) < 0.5,
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, EIGHT_COLUMNS, strict=True)]
    return pa.table(arrays, schema=EIGHT_COLUMNS)


def one_row(at: int) -> dict[str, object]:
    """Return one row of :data:`EIGHT_COLUMNS` as a dict."""
    return {
        "id": at,
        "quantity": at % 1000,
        "price": at * 0.25,
        "weight": 0.5,
        "name": f"article number {at}",
        "city": f"city {at % 500}",
        "sold_at": (_EPOCH + timedelta(seconds=at)).replace(tzinfo=None),
        "paid": at % 2 == 0,
    }


def measurements(rows: int) -> pa.Table:
    """Return ``id``, one of 100 ``station``s, ``level`` and ``reading``, to be grouped."""
    random = np.random.default_rng(SEED)
    return pa.table(
        {
            "id": np.arange(rows),
            "station": pa.array([f"station {number}" for number in range(100)]).take(
                pa.array(random.integers(0, 100, rows))
            ),
            "level": random.integers(0, 1_000_000, rows),
            "reading": random.random(rows),
        }
    )


def events(rows: int) -> pa.RecordBatchReader:
    """Return a stream of ``id``, ``value`` and ``label``."""
    schema = pa.schema([("id", pa.int64()), ("value", pa.float64()), ("label", pa.string())])
    size = 50_000

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, size):
            ids = np.arange(first, min(first + size, rows))
            labels = [f"event {number:09d}" for number in ids]
            yield pa.record_batch([pa.array(ids), pa.array(ids / 7), pa.array(labels)], schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


# --- records of searches -------------------------------------------------------------------------


def search_records(
    count: int, rows: int, *, k: int = 10, first: int = 0
) -> list[affidavit.SearchRecord]:
    """Return records such as the engine makes, each of ``k`` of a table's ``rows`` rows.

    ``first`` numbers the first one: others have other rows.
    """
    random = np.random.default_rng((SEED, first))
    ids = random.integers(0, rows, (count, k)).astype(str).tolist()
    scores = np.sort(random.random((count, k)), axis=1).tolist()
    parameters = {
        "column": "vector", "exact": False, "metric": "cosine", "nprobes": 20,
        "refine_factor": 10, "select": ["id", "text"],
    }  # fmt: skip
    return [
        affidavit.SearchRecord(
            "minilm", "2", {"question": first + at}, ids[at], scores[at], table_name="articles",
            table_version=2, table_id="1d84b40b36f44e00a55ff05b2538fae1", index_name="vector_idx",
            index_uuid="76587d55-9cfb-427e-92fa-9067d383d4aa", exact=False, mode="vector",
            k_requested=k, params=parameters, query_sha256=hashlib.sha256(b"%d" % at).hexdigest(),
            duration_us=4931, journal_seq=first + at,
        )
        for at in range(count)
    ]  # fmt: skip
