"""Running a recorded search again, and saying what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.model.moment import Moment
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.engine.audit.description import query_digest
from affidavit.engine.search.among import ROW_ID
from affidavit.engine.search.options import PARAMETERS, options_of
from affidavit.engine.search.ranking import Ranking, ranking_of
from affidavit.engine.search.request import build_request, with_vector
from affidavit.engine.search.searcher import complete
from affidavit.errors import (
    AffidavitError,
    ColumnNotFoundError,
    InvalidQueryError,
    StoreError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.reads.rerun import Runs
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import Query, SearchRequest

_DESCRIPTIVE: Final = frozenset({"select", "text_sha256"})


class Outcome(StrEnum):
    """What a replay found."""

    REPRODUCED = "REPRODUCED"
    ANN_MISS = "ANN_MISS"
    DRIFT = "DRIFT"
    EVIDENCE_GONE = "EVIDENCE_GONE"
    UNORDERED = "UNORDERED"
    UNREPEATABLE = "UNREPEATABLE"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a recorded search or read.

    Attributes:
        query_id: The record.
        outcome: ``REPRODUCED``: an exact search of the recorded version finds what is recorded.
            ``ANN_MISS``: it finds more, and the recorded search, run again, finds what is recorded:
            the index missed it. ``DRIFT``: neither finds what is recorded. ``EVIDENCE_GONE``: the
            version that was searched is no longer there. Of a read ``REPRODUCED``: it gives the
            same rows; ``DRIFT``: others; ``EVIDENCE_GONE``: what it read is no longer there;
            ``UNORDERED``: as many, which cannot be compared, for their order is left open;
            ``UNREPEATABLE``: others, since it asks for the time or for chance.
        recall: Which share of the true nearest is recorded; ``None`` if the evidence is gone.
        missed: The true nearest that are not recorded.
        reason: The outcome in a sentence.
    """

    query_id: str
    outcome: Outcome
    recall: float | None
    missed: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"


def judge(record: SearchRecord, again: Ranking, truth: Ranking) -> Verdict:
    """Return the verdict on ``record``: ``again`` ran it as it was, ``truth`` exactly."""
    kept = Ranking(tuple(record.top_k_result_ids), tuple(record.retrieval_scores), truth.k)
    recall = kept.recall_of(truth)
    missed = kept.lacking(truth)
    assert record.query_id is not None
    if kept.agrees(truth):
        reason = f"an exact search of version {record.table_version} finds the same rows"
        return Verdict(record.query_id, Outcome.REPRODUCED, 1.0, (), reason)
    if kept.agrees(again):
        reason = (
            f"the same search finds the same rows, and an exact one finds {len(missed)} that the "
            f"index missed: recall {recall:.0%}"
        )
        return Verdict(record.query_id, Outcome.ANN_MISS, recall, missed, reason)
    reason = "neither the same search nor an exact one finds what was recorded"
    return Verdict(record.query_id, Outcome.DRIFT, recall, missed, reason)


class Evidence:
    """What a record refers to, as far as it is still there."""

    def __init__(self, catalog: Catalog, models: Models, run: Runs) -> None:
        self._catalog = catalog
        self._models = models
        self._run = run

    def replay(self, record: SearchRecord, query: Query | None, text: str | None) -> Verdict:
        """Run ``record`` again.

        Args:
            record: The record, already verified.
            query: The query, where the record does not hold it: a vector, or text.
            text: The words of a hybrid search, likewise.

        Raises:
            InvalidQueryError: No query is stored or given, or the given one is not the recorded.
        """
        try:
            info, dataset = self._data(record)
            request = self._request(record, info, dataset, *_asked(record, query, text))
        except _GoneError as gone:
            return _gone(record, str(gone))
        try:
            self._find_rows(record, request)
            again = complete(request)
            truth = again if again.exact else complete(replace(request, exact=True))
        except AffidavitError as error:  # it could be searched when the record was made
            return _gone(record, f"version {record.table_version} cannot be searched: {error}")
        return judge(record, ranking_of(again), ranking_of(truth))

    def _find_rows(self, record: SearchRecord, request: SearchRequest) -> None:
        """Find the rows that a condition left, by SQL, as of the entry that was the newest then."""
        if request.among is None:
            return
        info, dataset = request.info, request.dataset
        if record.journal_seq is None:
            msg = f"record {record.query_id} does not say when its filter read other tables"
            raise InvalidQueryError(msg)
        key = vector_definition(info).key
        table = quoted_text(f"{info.schema}.{info.name}")
        keys = self._run(
            Moment(seq=record.journal_seq),
            f"SELECT {quoted(key)} FROM as_of({table}, 'v{dataset.version}') AS "
            f"{quoted(info.name)} WHERE ({request.where}\n)",
            {},
        ).column(0)  # fmt: skip
        rows = dataset.scanner(columns=[key], with_row_id=True).to_table()
        kept = rows.filter(pc.is_in(rows[key], keys.cast(rows[key].type)))
        request.among.find_by(lambda: kept[ROW_ID])

    def _data(self, record: SearchRecord) -> tuple[TableInfo, lance.LanceDataset]:
        if record.table_version is None or not (record.table_id or record.table_name):
            raise _GoneError("the record names no table and version of this lake")
        catalog = self._catalog
        with catalog.read() as reader:
            if record.table_id is not None:
                info = catalog.by_id(reader, record.table_id)
            else:
                info = catalog.find(reader, str(record.table_name), MAIN_SCHEMA)
        if info is None or not KINDS[info.kind].has_versions:
            raise _GoneError(f"table {record.table_name!r} was dropped")
        try:
            return catalog.lake.datasets.as_of(info, record.table_version, is_signed=False)
        except (InvalidQueryError, StoreError, TableNotFoundError) as error:
            msg = f"version {record.table_version} of {info.name!r} is gone"
            raise _GoneError(msg) from error

    def _request(
        self,
        record: SearchRecord,
        info: TableInfo,
        dataset: lance.LanceDataset,
        query: Query,
        text: str | None,
    ) -> SearchRequest:
        given = dict(record.params or {})
        unknown = sorted(set(given) - PARAMETERS - _DESCRIPTIVE)
        if unknown or record.query_sha256 is None:
            lacking = f"has a parameter {unknown[0]!r}" if unknown else "has no hash of its query"
            msg = (
                f"record {record.query_id} {lacking}, so no search here can be told to be the same"
            )
            raise InvalidQueryError(msg)
        options = options_of({
            **{name: value for name, value in given.items() if name in PARAMETERS},
            "mode": record.mode, "text": text, "where": record.filter, "model": record.model_id,
            "select": (),
        })  # fmt: skip
        try:
            unencoded = build_request(
                self._catalog, info, dataset, self._models, query, record.k_requested,
                options,
            )  # fmt: skip
        except ColumnNotFoundError as error:
            msg = f"version {record.table_version} is not what was searched: {error}"
            raise _GoneError(msg) from error
        request = with_vector(unencoded, self._models)
        hashed = given.get("text_sha256")
        if query_digest(request) != record.query_sha256 or (
            hashed is not None and query_digest(replace(request, vector=None)) != hashed
        ):
            msg = f"this is not the query of record {record.query_id}: its SHA-256 differs"
            raise InvalidQueryError(msg)
        return request


def _asked(record: SearchRecord, query: Query | None, text: str | None) -> tuple[Query, str | None]:
    """Return the query of ``record`` and its words: those given, else those that it holds."""
    if query is None and text is None:
        query, text = record.query_vector, record.query_text
    if record.mode == "text":
        query, text = text if query is None else query, None
    if query is None:
        msg = (
            f"record {record.query_id} holds only the hash of its query: pass query= "
            "(and text= for a hybrid search), or connect with store_queries=True beforehand"
        )
        raise InvalidQueryError(msg)
    return query, text


class _GoneError(AffidavitError):
    """What a record refers to is no longer there."""


def _gone(record: SearchRecord, reason: str) -> Verdict:
    assert record.query_id is not None
    return Verdict(record.query_id, Outcome.EVIDENCE_GONE, None, (), reason)
