"""What a search that ran is recorded as: pure."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from affidavit.catalog.sql.quoting import lance_in
from affidavit.catalog.values.canonical import datetime_of
from affidavit.engine.search.options import PARAMETERS
from affidavit.engine.search.record import SearchRecord

if TYPE_CHECKING:
    import numpy.typing as npt

    from affidavit.engine.search.request import CompletedSearch, SearchRequest
    from affidavit.triggers.rules.near import Match


def query_digest(request: SearchRequest) -> str:
    """Return the SHA-256 of a request's query: its vector, or for a text search its text."""
    if request.vector is None:
        return _text_digest(request.text or "")
    return _vector_digest(request.vector)


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _vector_digest(vector: npt.NDArray[np.float32]) -> str:
    return hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest()


def describe(
    search: CompletedSearch,
    *,
    store_query: bool,
    recall: float | None,
    lake_id: str | None = None,
) -> SearchRecord:
    """Return the record of a search that ran, in ``lake_id`` if it is kept in another lake."""
    request, identity = search.request, search.request.identity
    index = search.index or {}
    vector = request.vector if store_query else None
    return SearchRecord(
        model_id=request.model,
        model_version=request.model_version,
        query_lineage=request.lineage,
        top_k_result_ids=[str(each) for each in search.ids],
        retrieval_scores=search.scores,
        query_id=search.query_id,
        table_name=request.info.name,
        table_version=request.version,
        table_id=request.info.table_id,
        index_name=index.get("name"),
        index_uuid=index.get("uuid"),
        exact=search.exact,
        mode=request.mode,
        k_requested=request.k,
        k_returned=search.rows.num_rows,
        filter=request.where,
        params=_parameters(request) | ({} if lake_id is None else {"lake_id": lake_id}),
        query_sha256=query_digest(request),
        query_vector=None if vector is None else vector.tolist(),
        query_text=request.text if store_query else None,
        recall=recall,
        executed_at=datetime_of(search.started_at_us),
        duration_us=search.duration_us,
        journal_seq=request.journal_seq,
        actor=identity.actor,
        source=identity.source,
        workspace=identity.workspace,
        context=json.loads(identity.context) if identity.context else None,
    )


def _parameters(request: SearchRequest) -> dict[str, Any]:
    parameters = {name: getattr(request, name) for name in PARAMETERS}
    parameters["select"] = list(request.select)
    if request.columns is not None and len(named := _named_columns(request)) > 1:
        parameters["column"] = named
    if request.mode == "hybrid":
        parameters["text_sha256"] = _text_digest(request.text or "")
    return parameters


def _named_columns(request: SearchRequest) -> list[str]:
    """Return the column of vectors and those of words, as ``column=`` names them."""
    return [*([request.column] if request.mode == "hybrid" and request.column else ()),
            *(request.columns or ())]  # fmt: skip


def describe_match(
    match: Match, query_id: str, at_us: int, journal_seq: int | None, *, store_query: bool
) -> SearchRecord:
    """Return the record of what a standing search found in a change."""
    identity = match.identity
    vector = np.asarray(match.query, np.float32)
    return SearchRecord(
        model_id=None,
        model_version=None,
        query_lineage={"trigger": match.trigger, "within": match.within},
        top_k_result_ids=[str(each) for each in match.ids],
        retrieval_scores=match.distances,
        query_id=query_id,
        table_name=match.table,
        table_version=match.version,
        table_id=match.table_id,
        exact=True,
        mode="vector",
        k_requested=len(match.ids),
        k_returned=len(match.ids),
        filter=lance_in(match.key, match.ids, bare=True),
        params={"column": match.column, "metric": match.metric, "exact": True},
        query_sha256=_vector_digest(vector),
        query_vector=vector.tolist() if store_query else None,
        executed_at=datetime_of(at_us),
        duration_us=0,
        journal_seq=journal_seq,
        actor=identity.actor,
        source=identity.source,
        workspace=identity.workspace,
        context=json.loads(identity.context) if identity.context else None,
    )
