"""Standing searches: which rows of a change are near to a query, and the record of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import pyarrow as pa

from affidavit.catalog.values.arrays import take_rows
from affidavit.triggers.rules.event import image, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.lake.outbox import Changer
    from affidavit.catalog.model.change import Change, Message
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Writer
    from affidavit.triggers.rules.trigger import Trigger

MATCHES_A_RECORD: Final = 1000
"""A standing search that matches more rows at once is put on record in parts."""


@dataclass(frozen=True, slots=True)
class Match:
    """Rows that a standing search found in one change.

    Attributes:
        trigger: The standing search, by name.
        table: The table that changed.
        table_id: Its identity.
        version: The version with the change.
        key: The key column.
        ids: The keys of the rows, nearest first.
        distances: How far each is.
        query: The vector that it looks for.
        within: How far a row may be.
        metric: By which distance.
        column: The vector column.
        identity: Who made the change.
    """

    trigger: str
    table: str
    table_id: str
    version: int | None
    key: str
    ids: list[int | str]
    distances: list[float]
    query: tuple[float, ...]
    within: float
    metric: str
    column: str
    identity: Identity


class MatchRecorder(Protocol):
    """What puts the finds of standing searches on record: the engine's audit."""

    def __call__(self, catalog: Changer, writer: Writer, match: Match) -> None:
        """Record ``match`` in the transaction of ``writer``, or raise to stop the change."""


# --- finding --------------------------------------------------------------------------------------


def near_rows(trigger: Trigger, rows: pa.Table, schema: pa.Schema) -> list[pa.Array]:
    """Return the distances and images of the rows that are near enough, nearest first."""
    distances = distances_to(rows[trigger.column], trigger.query, trigger.metric)
    assert trigger.within is not None
    with np.errstate(invalid="ignore"):
        near = np.flatnonzero(distances <= trigger.within)
    near = near[np.argsort(distances[near], kind="stable")]
    found = take_rows(rows, near)
    return [
        pa.array(distances[near], pa.float64()),
        image(found, found.num_rows, schema.field("new").type),
    ]


def distances_to(
    vectors: pa.ChunkedArray, query: Sequence[float], metric: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return how far each vector is from ``query``, as Lance measures it; NaN for NULL.

    ``l2`` is the squared Euclidean distance, ``cosine`` 1 - cos, ``dot`` 1 - the dot product.
    """
    column = whole(vectors)
    found = np.full(len(column), np.nan)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    if not there.any():
        return found
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    rows, wanted = flat.reshape(-1, len(query)), np.asarray(query, np.float64)
    if metric == "l2":
        distances = ((rows - wanted) ** 2).sum(axis=1)
    elif metric == "dot":
        distances = 1 - rows @ wanted
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
            distances = 1 - (rows @ wanted) / norms
    found[there] = distances
    return found


# --- recording ------------------------------------------------------------------------------------


def detail_of(trigger: Trigger, change: Change, key: str) -> str:
    """Return what a record of a standing search says besides its finds; :func:`matches` reads it.

    It is written down with the change's intent, and read after a crash.
    """
    return json.dumps(
        {
            "table": change.table, "table_id": change.table_id, "key": key,
            "query": trigger.query, "within": trigger.within, "metric": trigger.metric,
            "column": trigger.column,
        }
    )  # fmt: skip


def matches(message: Message, rows: pa.RecordBatch, version: int | None) -> Iterator[Match]:
    """Yield what a standing search's message found, in parts that one record can hold each."""
    told = json.loads(message.detail)
    ids = rows.column("new").field(told["key"]).to_pylist()
    distances = rows.column("distance").to_pylist()
    for at in range(0, len(ids), MATCHES_A_RECORD):
        yield Match(
            trigger=message.trigger, table=told["table"], table_id=told["table_id"],
            version=version, key=told["key"], ids=ids[at : at + MATCHES_A_RECORD],
            distances=distances[at : at + MATCHES_A_RECORD], query=tuple(told["query"]),
            within=told["within"], metric=told["metric"], column=told["column"],
            identity=message.identity,
        )  # fmt: skip
