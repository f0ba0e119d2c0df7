"""Searches by vector: the nearest rows, of one query or of many at once.

Rules:
    - An index may find fewer than ``k`` rows under a condition. Then more partitions are searched,
      and at last every vector is compared, so that ``min(k, matching)`` rows come back.
    - Queries of one batch that ask alike are one scan of Lance's. Whatever it finds too few rows
      for is asked by itself, as it is where there is no batch.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from lance.dataset import ScannerBuilder

from affidavit.catalog.sql.quoting import lance_name
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.engine.search.among import ROW_ID
from affidavit.engine.search.helpers import at_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.engine.search.request import SearchRequest

WIDENED_NPROBES: Final = 8
"""How many times more partitions a search looks at before it compares every vector."""

COLUMNS_MAX: Final = 64
"""Rows with more columns are found by their ids first: to plan 2,000 takes Lance 0.5 s."""

BATCH_THREADS_MAX: Final = 8
QUERIES_MAX: Final = 64
DISTANCE: Final = "_distance"
QUERY: Final = "query_index"
"""What says in a scan of many queries which of them a row was found for."""


class Scan(ScannerBuilder):  # type: ignore[misc]  # Lance's classes are untyped
    """A scan that nobody makes a frame of pandas of: for those Lance copies all that was asked."""

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]  # what Lance copies of it
        return {}


@dataclass(frozen=True, slots=True)
class Nearest:
    """What was found.

    Attributes:
        rows: Rows with their distances, ascending.
        index: The index that found them; ``None`` if every vector was compared.
        exact: Whether they are the true nearest.
    """

    rows: pa.Table
    index: Mapping[str, Any] | None
    exact: bool


def columns_of(request: SearchRequest) -> list[str]:
    """Return the columns that are read of the rows that were found, the key first."""
    key = vector_definition(request.info).key
    return [*dict.fromkeys([key, *request.select])]


def nearest(request: SearchRequest) -> Nearest:
    """Return the nearest ``k`` rows with the columns that are asked for."""
    columns = columns_of(request)
    if len(columns) <= COLUMNS_MAX and not _is_chosen_later(request):
        return _nearest(request, request.k, columns)
    found = nearest_ids(request, request.k)
    return replace(found, rows=taken(request, found.rows, DISTANCE))


def nearest_ids(request: SearchRequest, k: int) -> Nearest:
    """Return the ids of the nearest ``k`` rows."""
    return _nearest(request, k, None)


def _nearest(request: SearchRequest, k: int, columns: Sequence[str] | None) -> Nearest:
    index = None if request.exact else request.index
    if index is not None:
        rows = _scan(request, k, columns, nprobes=request.nprobes)
        if rows.num_rows < k and rows.num_rows < (reachable := _reachable(request, k)):
            rows = _scan(request, k, columns, nprobes=request.nprobes * WIDENED_NPROBES)
            index = None if rows.num_rows < reachable else index
    if index is None:
        return Nearest(_scan(request, k, columns), None, exact=True)
    return Nearest(rows, dict(index.described), exact=False)


def _reachable(request: SearchRequest, k: int) -> int:
    """Return how many rows a search could find: those with a vector that the condition leaves."""
    assert request.column is not None
    present = f"{lance_name(request.column)} IS NOT NULL"
    condition = request.condition
    if request.among is not None:
        condition = request.among.condition()
        if condition is None:
            found = request.dataset.scanner(columns=[], filter=present, with_row_id=True).to_table()
            return min(k, len(np.intersect1d(request.among.rows(), found[ROW_ID])))
    condition = present if condition is None else f"({condition}) AND {present}"
    return min(k, int(request.dataset.count_rows(filter=condition)))


def _is_chosen_later(request: SearchRequest) -> bool:
    """Return whether rows are too many to be named to Lance, and are told apart once found."""
    return request.among is not None and not request.among.are_listed


def _scan(
    request: SearchRequest, k: int, columns: Sequence[str] | None, *, nprobes: int | None = None
) -> pa.Table:
    """Return the nearest ``k`` rows that the condition leaves, or their ids without ``columns``.

    Without ``nprobes`` every vector is compared.
    """
    vector = pa.array(request.vector)  # which Lance makes of any other, and takes longer
    if not _is_chosen_later(request):
        return _asked(request, vector, k, columns, nprobes)
    among = request.among
    assert among is not None
    total = int(request.dataset.count_rows())
    whole = replace(request, among=None)
    return among.best(k, total, lambda count: _asked(whole, vector, count, None, nprobes))


def _asked(
    request: SearchRequest,
    query: pa.Array | list[pa.Array],
    k: int,
    columns: Sequence[str] | None,
    nprobes: int | None,
) -> pa.Table:
    """Ask Lance once, of one vector or of many."""
    wanted: dict[str, Any] = {
        "column": request.column, "q": query, "k": k, "metric": request.metric,
        "use_index": nprobes is not None,
    }  # fmt: skip
    if nprobes is not None:
        wanted |= {"nprobes": nprobes, "refine_factor": request.refine_factor}
    among = request.among
    condition = request.condition if among is None else among.condition()
    scan = Scan(request.dataset).columns([*(columns or ()), DISTANCE]).nearest(**wanted)
    if columns is None:
        scan.with_row_id()
    if condition is not None:
        scan.filter(condition).prefilter(True)
    return scan.to_scanner().to_table()


def taken(request: SearchRequest, best: pa.Table, score: str) -> pa.Table:
    """Return rows, which are told by their ids, with their columns and scores, in that order."""
    rows = request.dataset._take_rows(best[ROW_ID].to_pylist(), columns=columns_of(request))  # noqa: SLF001 - Lance has no other way by row id
    return rows.append_column(score, best[score])


# --- many at once ---------------------------------------------------------------------------------


def nearest_of_all(requests: Sequence[SearchRequest]) -> list[Nearest]:
    """Return what each of the requests finds, which are alike but for their vectors.

    Lance works a scan's queries off one after another, so as many scans as there are processors
    run at once, of :data:`QUERIES_MAX` queries at most.
    """
    scans = min(BATCH_THREADS_MAX, os.cpu_count() or 1)
    size = min(QUERIES_MAX, math.ceil(len(requests) / scans))
    shares = [requests[at : at + size] for at in range(0, len(requests), size)]
    found: list[Nearest] = []
    for at in range(0, len(shares), scans):
        for share in at_once(_share, shares[at : at + scans]):
            found += share
    return found


def _share(requests: Sequence[SearchRequest]) -> list[Nearest]:
    first = requests[0]
    index = None if first.exact else first.index
    columns, nprobes = columns_of(first), None if index is None else first.nprobes
    queries = [pa.array(each.vector) for each in requests]
    found = _asked(first, queries, first.k, columns, nprobes)
    counts = np.bincount(found[QUERY].to_numpy(), minlength=len(requests))
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows, used = found.drop_columns([QUERY]), {} if index is None else index.described
    return [
        nearest(request)
        if index is not None and count < request.k
        else Nearest(rows.slice(start, count), dict(used) or None, index is None)
        for request, start, count in zip(requests, starts, counts, strict=False)
    ]


def asks_once(requests: Sequence[SearchRequest]) -> bool:
    """Return whether requests are alike but for their vectors, and can be one scan."""
    first = requests[0]
    return (
        first.mode == "vector"
        and len({_alike(each) for each in requests}) == 1
        and QUERY not in first.columns_there.names
        and len(columns_of(first)) <= COLUMNS_MAX
        and not _is_chosen_later(first)
    )


def _alike(request: SearchRequest) -> tuple[object, ...]:
    return (
        request.mode, request.info.table_id, request.version, request.k, request.condition,
        id(request.among), request.select, request.column, request.metric, request.exact,
        request.nprobes, request.refine_factor,
    )  # fmt: skip
