"""Searches: by vector, by text, and by both, over Lance.

Every search, however it was written, goes through :class:`Searcher`: hooks before, Lance, the
record, hooks after, and only then the rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa

from affidavit.catalog.lake.vectors.datasets import lance_errors
from affidavit.catalog.lake.vectors.text_indexes import TEXT_INDEX
from affidavit.catalog.model import clock
from affidavit.catalog.sql.quoting import lance_name
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.engine.search.among import ROW_ID
from affidavit.engine.search.request import CompletedSearch, FailedSearch, with_vector
from affidavit.engine.search.words import best_by_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lance.lance.indices import IndexDescription

    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.search.hooks import Hooks
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import SearchRequest

WIDENED_NPROBES: Final = 8
"""How many times more partitions a search looks at before it compares every vector."""

RRF_K: Final = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

FUSED_CANDIDATES_MIN: Final = 50
BATCH_THREADS_MAX: Final = 8


class Beside(Protocol):
    """An entry that is put on record with searches, of which it tells."""

    @property
    def identity(self) -> Identity:
        """Whose it is."""

    @property
    def transactions(self) -> Transactions | None:
        """Those of the session that asks."""

    def draft(self, searches: Sequence[str]) -> Draft:
        """Return the entry; ``searches`` are the ids of the records that go with it."""

    def entered(self, entry: StoredEntry | None) -> None:
        """Note that it is durable; without an entry where it waits for its number."""


class RecordKeeper(Protocol):
    """What puts searches on record."""

    def open(self, identity: Identity) -> None:
        """Raise if nothing could be put on record for ``identity``; it may read the store."""

    def check(self, request: SearchRequest) -> None:
        """Raise if ``request`` could not be put on record; nothing is read or waited for."""

    def record(
        self, searches: Sequence[CompletedSearch], beside: Beside | None = None
    ) -> Sequence[SearchRecord | None]:
        """Put ``searches``, which are one tenant's, on record; raise to keep their rows back.

        ``beside`` goes with them, in the same commit.
        """

    def record_beside(self, beside: Beside) -> None:
        """Put on record what goes with no search."""

    def keep(self, search: CompletedSearch) -> None:
        """Put on record a search that nobody waits for; it is asked again where that failed."""


class Searcher:
    """Runs searches under a session's hooks, and puts them on record.

    Those of a session's method are :meth:`run_batch` on the caller's thread. One inside SQL is in
    two parts: :meth:`attempt`, on whichever thread runs the plan, and :meth:`settle`, on the
    caller's.
    """

    def __init__(self, hooks: Hooks, models: Models, keeper: RecordKeeper) -> None:
        self._hooks = hooks
        self._models = models
        self._keeper = keeper

    def run_batch(self, requests: Sequence[SearchRequest]) -> list[CompletedSearch]:
        """Run searches; hooks see them together, and all may be released to the caller or none.

        Raises:
            AffidavitError: A search or a hook failed. No rows may be released.
        """
        ready = list(requests)
        try:
            ready = [with_vector(request, self._models) for request in requests]
            for request in ready:
                self.open(request.identity)
                self._ask(request)
            for request in ready:  # on the caller's thread, once no hook has refused
                if request.among is not None:
                    request.among.rows()
            return self._put_on_record(self._complete(ready))
        except BaseException as error:
            for request in ready:
                self._hooks.failed(request, error)
            raise

    # --- in two parts --------------------------------------------------------------------------

    def open(self, identity: Identity) -> None:
        """Raise unless searches of ``identity`` can be put on record."""
        self._keeper.open(identity)

    def attempt(self, request: SearchRequest) -> CompletedSearch | FailedSearch:
        """Run one search whose rows may not be released before it is settled.

        What it asks of the model, the hooks' ``before`` and Lance happens on the thread that calls
        it, which may be any. It never waits for the store.
        """
        try:
            request = with_vector(request, self._models)
            self._ask(request)
            return complete(request)
        except BaseException as error:  # noqa: BLE001 - whoever settles it tells the hooks
            return FailedSearch(request, error)

    def settle(
        self,
        attempts: Sequence[CompletedSearch | FailedSearch],
        beside: Beside | None = None,
    ) -> list[CompletedSearch]:
        """Put what ran on record and let the hooks know of all; then rows may be released.

        The searches are one statement's, and so one tenant's: hooks see them together. ``beside``
        is an entry of the read that they are part of, which goes with them.

        Raises:
            AffidavitError: A record or a hook failed. No rows may be released.
        """
        completed = []
        for each in attempts:
            if isinstance(each, FailedSearch):
                self._hooks.failed(each.request, each.error)
            else:
                completed.append(each)
        if not completed:
            if beside is not None:
                self._keeper.record_beside(beside)
            return []
        try:
            return self._put_on_record(completed, beside)
        except BaseException as error:
            for search in completed:
                self._hooks.failed(search.request, error)
            raise

    def keep(self, search: CompletedSearch) -> None:
        """Put on record a search whose rows are released to nobody.

        By itself: it ran before what its session may have begun by now.
        """
        self._keeper.keep(replace(search, request=replace(search.request, transactions=None)))

    def _ask(self, request: SearchRequest) -> None:
        self._keeper.check(request)
        self._hooks.before(request)

    def _put_on_record(
        self, completed: Sequence[CompletedSearch], beside: Beside | None = None
    ) -> list[CompletedSearch]:
        records = self._keeper.record(completed, beside)
        recorded = [
            replace(search, record=record)
            for search, record in zip(completed, records, strict=True)
        ]
        self._hooks.after(recorded)
        return recorded

    def _complete(self, requests: Sequence[SearchRequest]) -> list[CompletedSearch]:
        if len(requests) == 1:
            return [complete(requests[0])]
        with ThreadPoolExecutor(min(BATCH_THREADS_MAX, len(requests))) as pool:
            return list(pool.map(complete, requests))


def complete(request: SearchRequest) -> CompletedSearch:
    """Run ``request`` in Lance, without hooks."""
    started_at_us, started = clock.now_us(), perf_counter_ns()
    with lance_errors(f"searching {request.info.name!r}"):
        if request.mode == "text":
            rows, index, exact = _text(request, request.k), None, True
        elif request.mode == "vector":
            rows, index, exact = _nearest(request, request.k)
        else:
            rows, index, exact = _hybrid(request)
    duration_us = (perf_counter_ns() - started) // 1000
    query_id = clock.uuid7(started_at_us)
    return CompletedSearch(request, rows, index, exact, started_at_us, duration_us, query_id)


def released(search: CompletedSearch) -> pa.Table:
    """Return the rows with the columns that the caller asked for."""
    return search.rows.select(search.request.schema.names)


def _columns(request: SearchRequest) -> list[str]:
    key = vector_definition(request.info).key
    return [*dict.fromkeys([key, *request.select])]


# --- by vector -----------------------------------------------------------------------------------


def _index_on(request: SearchRequest) -> dict[str, Any] | None:
    """Return the vector index that serves the request, if there is one."""
    if request.exact or request.metric != vector_definition(request.info).metric:
        return None
    for index in request.dataset.describe_indices():
        if index.field_names == [request.column] and index.index_type != TEXT_INDEX:
            return _described(index)
    return None


def _described(index: IndexDescription) -> dict[str, Any]:
    """Return an index as hooks see it; of several segments the oldest stands for it."""
    segment = index.segments[0]
    return {
        "name": index.name, "type": index.index_type, "uuid": segment.uuid,
        "fields": index.field_names, "version": segment.dataset_version_at_last_update,
        "fragment_ids": segment.fragment_ids, "base_id": segment.base_id,
    }  # fmt: skip


def _nearest(request: SearchRequest, k: int) -> tuple[pa.Table, dict[str, Any] | None, bool]:
    """Return the nearest ``k`` rows, the index that found them, and whether they are the true ones.

    An index may find fewer than ``k`` under a filter: then more partitions are searched, and at
    last every vector is compared, so that ``min(k, matching)`` rows come back.
    """
    index = _index_on(request)
    if index is None:
        return _scan_nearest(request, k, use_index=False), None, True
    rows = _scan_nearest(request, k, nprobes=request.nprobes)
    if rows.num_rows < k and rows.num_rows < _reachable(request, k):
        rows = _scan_nearest(request, k, nprobes=request.nprobes * WIDENED_NPROBES)
        if rows.num_rows < _reachable(request, k):
            return _scan_nearest(request, k, use_index=False), None, True
    return rows, index, False


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


def _scan_nearest(
    request: SearchRequest, k: int, *, nprobes: int | None = None, use_index: bool = True
) -> pa.Table:
    """Return the nearest ``k`` rows that the condition leaves."""
    among = request.among
    condition = request.condition if among is None else among.condition()

    def scan(count: int, columns: Sequence[str] = (), **options: Any) -> pa.Table:  # noqa: ANN401 - Lance's
        nearest: dict[str, Any] = {
            "column": request.column,
            "q": request.vector,
            "k": count,
            "metric": request.metric,
            "use_index": use_index,
        }
        if use_index:
            nearest |= {"nprobes": nprobes, "refine_factor": request.refine_factor}
        return request.dataset.scanner(
            columns=[*columns, "_distance"], nearest=nearest, **options
        ).to_table()

    if among is None or condition is not None:
        return scan(k, _columns(request), filter=condition, prefilter=True)
    total = int(request.dataset.count_rows())
    best = among.best(k, total, lambda count: scan(count, with_row_id=True))
    return taken(request, best, "_distance")


def taken(request: SearchRequest, best: pa.Table, score: str) -> pa.Table:
    """Return rows, which are told by their ids, with their columns and scores, in that order."""
    rows = request.dataset._take_rows(best[ROW_ID].to_pylist(), columns=_columns(request))  # noqa: SLF001 - Lance has no other way by row id
    return rows.append_column(score, best[score])


# --- by text -------------------------------------------------------------------------------------


def _text(request: SearchRequest, k: int) -> pa.Table:
    """Return the best ``k`` rows by BM25."""
    return taken(request, best_by_words(request, k), "_score")


# --- by both -------------------------------------------------------------------------------------


def _hybrid(request: SearchRequest) -> tuple[pa.Table, dict[str, Any] | None, bool]:
    """Return the best ``k`` rows by reciprocal rank fusion of both searches."""
    candidates = max(request.k, FUSED_CANDIDATES_MIN)
    near, index, exact = _nearest(request, candidates)
    worded = _text(request, candidates)
    key = vector_definition(request.info).key
    order, scores = fuse(near[key].to_pylist(), worded[key].to_pylist())
    rows = pa.concat_tables([near.drop_columns(["_distance"]), worded.drop_columns(["_score"])])
    first_at = {value: at for at, value in reversed(list(enumerate(rows[key].to_pylist())))}
    best = rows.take(pa.array([first_at[value] for value in order[: request.k]], pa.int64()))
    column = pa.array(scores[: request.k], pa.float32())
    return best.append_column(pa.field("_score", pa.float32()), column), index, exact


def fuse(*rankings: Sequence[object]) -> tuple[list[object], np.ndarray[Any, Any]]:
    """Return every ranked item, best first, and its score: the sum of ``1 / (60 + rank)``.

    Ranks count from 1. Items of one score keep the order in which they were first met.
    """
    scores: dict[object, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (RRF_K + rank)
    order = sorted(scores, key=lambda item: -scores[item])
    return order, np.array([scores[item] for item in order])
