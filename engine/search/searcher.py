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
from affidavit.catalog.model import clock
from affidavit.engine.search.among import ROW_ID
from affidavit.engine.search.helpers import at_once
from affidavit.engine.search.nearest import (
    BATCH_THREADS_MAX,
    Nearest,
    asks_once,
    nearest,
    nearest_ids,
    nearest_of_all,
    taken,
)
from affidavit.engine.search.request import CompletedSearch, FailedSearch, with_vector
from affidavit.engine.search.vector_index import fused_candidates
from affidavit.engine.search.words import SCORE, best_by_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.search.hooks import Hooks
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import SearchRequest

RRF_K: Final = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""


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

    @property
    def has_hooks(self) -> bool:
        """Whether a caller's own code may be asked of a search."""
        return len(self._hooks) > 0

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
            return self._put_on_record(_complete_all(ready))
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


def complete(request: SearchRequest) -> CompletedSearch:
    """Run ``request`` in Lance, without hooks."""
    started_at_us, started = clock.now_us(), perf_counter_ns()
    with lance_errors(f"searching {request.info.name!r}"):
        found = _FIND[request.mode](request)
    return _completed(request, found, started_at_us, started)


def _completed(
    request: SearchRequest, found: Nearest, started_at_us: int, started_ns: int
) -> CompletedSearch:
    duration_us = (perf_counter_ns() - started_ns) // 1000
    query_id = clock.uuid7(started_at_us)
    return CompletedSearch(
        request, found.rows, found.index, found.exact, started_at_us, duration_us, query_id
    )


def _complete_all(requests: Sequence[SearchRequest]) -> list[CompletedSearch]:
    """Run requests that are alike but for what they look for."""
    if len(requests) == 1:
        return [complete(requests[0])]
    if not asks_once(requests):
        with ThreadPoolExecutor(min(BATCH_THREADS_MAX, len(requests))) as pool:
            return list(pool.map(complete, requests))
    started_at_us, started = clock.now_us(), perf_counter_ns()
    with lance_errors(f"searching {requests[0].info.name!r}"):
        found = nearest_of_all(requests)
    return [
        _completed(request, each, started_at_us, started)
        for request, each in zip(requests, found, strict=True)
    ]


def released(search: CompletedSearch) -> pa.Table:
    """Return the rows with the columns that the caller asked for."""
    return search.rows.select([*search.request.select, search.request.score_column])


# --- by text -------------------------------------------------------------------------------------


def _text(request: SearchRequest) -> Nearest:
    """Return the best ``k`` rows by BM25."""
    rows = taken(request, best_by_words(request, request.k), SCORE)
    return Nearest(rows, None, exact=True)


# --- by both -------------------------------------------------------------------------------------


def _hybrid(request: SearchRequest) -> Nearest:
    """Return the best ``k`` rows by reciprocal rank fusion of both searches, which run at once."""
    candidates = fused_candidates(request.k)
    halves: list[Callable[[], Any]] = [
        lambda: nearest_ids(request, candidates),
        lambda: best_by_words(request, candidates),
    ]
    near, worded = at_once(lambda half: half(), halves)
    order, scores = fuse(near.rows[ROW_ID].to_pylist(), worded[ROW_ID].to_pylist())
    best = pa.table(
        {
            ROW_ID: pa.array(order[: request.k], pa.uint64()),
            SCORE: pa.array(scores[: request.k], pa.float32()),
        }
    )
    return replace(near, rows=taken(request, best, SCORE))


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


_FIND: Final[Mapping[str, Callable[[SearchRequest], Nearest]]] = {
    "vector": nearest,
    "text": _text,
    "hybrid": _hybrid,
}
