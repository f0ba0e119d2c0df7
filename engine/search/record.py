"""The record of one search: as Python has it, as it is signed, and as SQL shows it.

Rules:
    - The signed body holds everything that a row of ``audit.searches`` shows, and a row is read
      from the body alone: nothing is shown that was not signed.
    - Ids are texts. Scores are JSON numbers; NaN, the infinities and -0.0, which canonical JSON
      has no numbers for, are the texts ``NaN``, ``Infinity``, ``-Infinity`` and ``-0``.
    - A stored query vector is the base64 of its float32 values, little-endian.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from affidavit.catalog.ledger.entry import Draft
from affidavit.catalog.values.canonical import (
    canonical,
    datetime_of,
    from_float,
    from_us,
    parsed,
    to_float,
    to_us,
    us_of,
)
from affidavit.errors import InvalidQueryError, LengthMismatchError, RecordNotFoundError

if TYPE_CHECKING:
    from affidavit.catalog.ledger.verifier import Entry

KIND: Final = "search"
_TEXTS: Final = (
    "query_id", "tenant", "actor", "source", "workspace", "model_id", "model_version",
    "table_name", "table_id", "index_name", "index_uuid", "mode", "filter", "query_sha256",
    "query_text", "key_id",
)  # fmt: skip
_INTEGERS: Final = (
    "seq", "table_version", "k_requested", "k_returned", "duration_us", "journal_seq",
)  # fmt: skip
_BOOLEANS: Final = ("exact", "logged")


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """What one search asked, of which data and model, and what came back.

    The engine makes one for every search. Make one yourself to put a search that was run elsewhere
    on record with ``session.audit.log``: what is left out stays unknown, and what the ledger says
    for itself (``tenant``, ``seq``, ``key_id``, ``signature``) is ignored.

    Attributes:
        model_id: The embedding model.
        model_version: Its version.
        query_lineage: Where the query comes from, as the caller says: any JSON.
        top_k_result_ids: The keys of the rows that came back, best first.
        retrieval_scores: Their distances or scores.
        query_id: A UUIDv7.
        table_name: The table that was searched.
        table_version: Its version.
        table_id: Its identity, which survives renaming.
        index_name: The vector index that was used, if one was.
        index_uuid: That index's identity.
        exact: Whether every vector was compared.
        mode: ``vector``, ``text`` or ``hybrid``.
        k_requested: How many rows were asked for.
        k_returned: How many came back.
        filter: The SQL predicate that was applied before the search.
        params: The other parameters: metric, nprobes, columns...
        query_sha256: The SHA-256 of the query: of the float32 vector, little-endian, or of the
            text in UTF-8 for a text search; hexadecimal.
        query_vector: The query vector, only where queries are stored.
        query_text: The query text, likewise.
        recall: Which share of the true nearest came back, where that was measured.
        executed_at: When it began, UTC.
        duration_us: How long it took, in microseconds.
        journal_seq: The last entry of the ledger when it began.
        actor: Who asked.
        source: Through what.
        workspace: Where.
        tenant: For whom; ``None`` for the shared scope.
        seq: The record's number in the ledger.
        logged: Whether it was logged by a caller, and not seen by the engine itself.
        key_id: The key that signed it.
        signature: The Ed25519 signature of its canonical bytes.
    """

    model_id: str | None
    model_version: str | None
    query_lineage: Any
    top_k_result_ids: Sequence[str]
    retrieval_scores: Sequence[float]
    query_id: str | None = None
    table_name: str | None = None
    table_version: int | None = None
    table_id: str | None = None
    index_name: str | None = None
    index_uuid: str | None = None
    exact: bool | None = None
    mode: str | None = None
    k_requested: int | None = None
    k_returned: int | None = None
    filter: str | None = None
    params: Mapping[str, Any] | None = None
    query_sha256: str | None = None
    query_vector: Sequence[float] | None = None
    query_text: str | None = None
    recall: float | None = None
    executed_at: datetime | None = None
    duration_us: int | None = None
    journal_seq: int | None = None
    actor: str | None = None
    source: str | None = None
    workspace: str | None = None
    tenant: str | None = None
    seq: int | None = None
    logged: bool = False
    key_id: str | None = None
    signature: bytes | None = None

    def __post_init__(self) -> None:
        _check_lists(self)

    def replaced(self, **changes: Any) -> SearchRecord:  # noqa: ANN401 - each field's own
        """Return the record with some fields changed, quicker than ``dataclasses.replace``."""
        new = object.__new__(SearchRecord)
        for put, value in zip(_SETTERS, _ALL(self), strict=True):
            put(new, value)
        for name, value in changes.items():
            object.__setattr__(new, name, value)
        return new

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a dict."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS: Final = tuple(each.name for each in fields(SearchRecord))
_ALL: Final = attrgetter(*_FIELDS)
_SETTERS: Final = tuple(getattr(SearchRecord, name).__set__ for name in _FIELDS)


def _check_lists(record: SearchRecord) -> None:
    for name in ("top_k_result_ids", "retrieval_scores"):
        value = getattr(record, name)
        unordered = isinstance(value, str | bytes | Mapping | AbstractSet)
        if unordered or not hasattr(value, "__len__"):
            msg = f"{name} must be a list, got {type(value).__name__}"
            raise InvalidQueryError(msg)
    ids, scores = record.top_k_result_ids, record.retrieval_scores
    if len(ids) != len(scores):
        raise LengthMismatchError(top_k_result_ids=len(ids), retrieval_scores=len(scores))


# --- to what is signed ----------------------------------------------------------------------------

_LEDGERS_OWN: Final = frozenset({"seq", "tenant", "key_id", "signature"})
_PLAIN: Final = [n for n in (*_TEXTS, *_INTEGERS, *_BOOLEANS) if n not in _LEDGERS_OWN]


def checked_record(given: object) -> SearchRecord:
    """Return a caller's record with the types that it must have.

    Raises:
        InvalidQueryError: ``given`` is no record, or a field has another type; it is named.
        LengthMismatchError: There is not one score for each id.
    """
    if isinstance(given, Mapping):
        known = set(_FIELDS)
        unknown = sorted(set(map(str, given)) - known)
        if unknown:
            msg = f"a search record has no field {unknown[0]!r}; it has {sorted(known)}"
            raise InvalidQueryError(msg)
        try:
            given = SearchRecord(**given)
        except TypeError as error:
            msg = f"this is no search record: {error}"
            raise InvalidQueryError(msg) from error
    if not isinstance(given, SearchRecord):
        msg = f"expected a SearchRecord or a dict, got {type(given).__name__}"
        raise InvalidQueryError(msg)
    _check_lists(given)  # once more: ``replaced`` does not
    for names, kind in ((_TEXTS, str), (_INTEGERS, int), (_BOOLEANS, bool)):
        for name in names:
            value = getattr(given, name)
            if value is None or name in _LEDGERS_OWN:
                continue
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                msg = f"{name} must be {kind.__name__}, got {type(value).__name__}: {value!r}"
                raise InvalidQueryError(msg)
    others: tuple[tuple[str, type], ...] = (("executed_at", datetime), ("params", Mapping))
    for name, expected in others:
        value = getattr(given, name)
        if value is not None and not isinstance(value, expected):
            msg = f"{name} must be a {expected.__name__.lower()}, got {type(value).__name__}"
            raise InvalidQueryError(msg)
    return given.replaced(
        top_k_result_ids=_checked_ids(given.top_k_result_ids),
        retrieval_scores=_checked_scores(given.retrieval_scores),
        recall=None if given.recall is None else _checked_float(given.recall, "recall"),
        query_vector=_checked_vector(given.query_vector),
    )


def _checked_ids(given: Sequence[object]) -> list[str]:
    if set(map(type, given)) <= {str}:
        return list(given)  # type: ignore[arg-type]  # texts, all of them
    return [_checked_id(each) for each in given]


def _checked_scores(given: Sequence[object]) -> list[float]:
    if set(map(type, given)) <= {float}:
        return list(given)  # type: ignore[arg-type]  # numbers, all of them
    return [_checked_float(score, "retrieval_scores") for score in given]


def _checked_id(value: object) -> str:
    if value is None or isinstance(value, bytes):
        msg = f"top_k_result_ids must be texts or numbers, got {value!r}"
        raise InvalidQueryError(msg)
    return str(value)


def _checked_float(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        msg = f"{name} must be numbers, got {type(value).__name__}: {value!r}"
        raise InvalidQueryError(msg)
    try:
        return float(value)
    except OverflowError as error:
        msg = f"{name} must be numbers that a float can hold: {error}"
        raise InvalidQueryError(msg) from error


def _checked_vector(value: object) -> list[float] | None:
    if value is None:
        return None
    try:
        given = np.asarray(value)
        with np.errstate(over="ignore"):  # too large for float32 is infinity, refused below
            vector = given.astype("<f4")
    except (TypeError, ValueError) as error:
        msg = f"query_vector must be a list of numbers: {error}"
        raise InvalidQueryError(msg) from error
    if given.dtype.kind not in "fiu" or given.ndim != 1 or not np.isfinite(vector).all():
        msg = (
            f"query_vector must be a list of finite float32 numbers, got {type(value).__name__} "
            f"of shape {given.shape} and type {given.dtype}"
        )
        raise InvalidQueryError(msg)
    values: list[float] = vector.tolist()
    return values


def draft_record(record: SearchRecord) -> Draft:
    """Return ``record`` as an entry of the ledger.

    Raises:
        InvalidQueryError: A field cannot be written as JSON; it is named.
    """
    assert record.query_id is not None
    assert record.executed_at is not None
    at_us = us_of(record.executed_at)
    ids = [str(each) for each in record.top_k_result_ids]
    return Draft(KIND, record.query_id, at_us, _members(record, at_us), row_ids=ids)


def _members(record: SearchRecord, at_us: int) -> dict[str, bytes]:
    members = {}
    for name in _PLAIN:
        value = getattr(record, name)
        members[name] = b"null" if value is None else canonical(value, name)
    vector = record.query_vector
    members["executed_at"] = canonical(from_us(at_us))
    members["params"] = canonical(record.params, "params")
    members["query_lineage"] = canonical(record.query_lineage, "query_lineage")
    members["query_vector"] = b"null" if vector is None else canonical(_packed(vector))
    ids = [str(each) for each in record.top_k_result_ids]
    members["top_k_result_ids"] = canonical(ids, "top_k_result_ids")
    members["retrieval_scores"] = _written_scores(record.retrieval_scores)
    members["recall"] = canonical(None if record.recall is None else from_float(record.recall))
    return members


def _written_scores(scores: Sequence[float]) -> bytes:
    """Return scores as canonical JSON, all at once where each is a plain number."""
    if set(map(type, scores)) == {float}:
        text = ",".join(map(repr, scores)) + ","
        # no exponent, no nan or inf, and no zero, which may be negative
        if "e" not in text and "n" not in text and 0.0 not in scores:
            return b"[%s]" % text.replace(".0,", ",")[:-1].encode()
    return canonical([from_float(each) for each in scores])


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


def _unpacked(text: str) -> list[float]:
    values: list[float] = np.frombuffer(base64.b64decode(text), dtype="<f4").tolist()
    return values


def signed_members(record: SearchRecord) -> dict[str, bytes]:
    """Return every member of the body that ``record``, whose types were checked, was signed with.

    Raises:
        InvalidQueryError: It lacks something that every signed record has.
    """
    signed = isinstance(record.signature, bytes) and isinstance(record.seq, int)
    if not signed or record.executed_at is None or record.executed_at.utcoffset() is None:
        msg = "this record was never signed: it lacks a signature, a number or a time"
        raise InvalidQueryError(msg)
    own = {name: canonical(getattr(record, name), name) for name in ("seq", "tenant", "key_id")}
    return {**_members(record, us_of(record.executed_at)), **own, "kind": canonical(KIND)}


# --- from what was signed -------------------------------------------------------------------------


def record_of(entry: Entry) -> SearchRecord:
    """Return the record that an entry's body holds.

    Raises:
        RecordNotFoundError: The body is no search record.
    """
    body = _body(entry)
    try:
        return SearchRecord(
            **{name: body[name] for name in (*_TEXTS, *_INTEGERS, *_BOOLEANS)},
            query_lineage=body["query_lineage"],
            top_k_result_ids=body["top_k_result_ids"],
            retrieval_scores=[to_float(score) for score in body["retrieval_scores"]],
            params=body["params"],
            query_vector=None if body["query_vector"] is None else _unpacked(body["query_vector"]),
            recall=None if body["recall"] is None else to_float(body["recall"]),
            executed_at=datetime_of(to_us(body["executed_at"])),
            signature=entry.signature,
        )
    except (KeyError, TypeError, ValueError, OverflowError, InvalidQueryError) as error:
        raise _unreadable(entry) from error


def _body(entry: Entry) -> dict[str, Any]:
    try:
        body = parsed(entry.body)
    except (AttributeError, ValueError, RecursionError) as error:  # somebody changed it
        raise _unreadable(entry) from error
    if not isinstance(body, dict):
        raise _unreadable(entry)
    return body


def _unreadable(entry: Entry) -> RecordNotFoundError:
    return RecordNotFoundError(f"entry {entry.seq} is no search record: verify the ledger")


# --- in SQL ---------------------------------------------------------------------------------------


def _field(name: str) -> pa.Field:
    special = {
        "params": pa.string(), "query_lineage": pa.string(), "query_vector": pa.list_(pa.float32()),
        "top_k_result_ids": pa.list_(pa.string()), "retrieval_scores": pa.list_(pa.float64()),
        "recall": pa.float64(), "executed_at": pa.timestamp("us", "UTC"),
        "signature": pa.binary(),
    }  # fmt: skip
    by_kind = {
        **dict.fromkeys(_TEXTS, pa.string()),
        **dict.fromkeys(_INTEGERS, pa.int64()),
        **dict.fromkeys(_BOOLEANS, pa.bool_()),
    }
    return pa.field(name, special.get(name) or by_kind[name])


SEARCHES_SCHEMA: Final = pa.schema(
    [
        _field(name)
        for name in (
            "seq", "query_id", "tenant", "actor", "source", "workspace", "model_id",
            "model_version", "table_name", "table_version", "table_id", "index_name", "index_uuid",
            "exact", "mode", "k_requested", "k_returned", "filter", "params", "query_sha256",
            "query_vector", "query_text", "query_lineage", "top_k_result_ids", "retrieval_scores",
            "recall", "executed_at", "duration_us", "journal_seq", "logged", "key_id", "signature",
        )
    ]
)  # fmt: skip
"""The columns of ``audit.searches``."""


def records_batch(entries: Sequence[Entry], columns: Sequence[str]) -> pa.RecordBatch:
    """Return ``columns`` of the records in ``entries``, a row each."""
    schema = pa.schema([SEARCHES_SCHEMA.field(name) for name in columns])
    bodies = [] if set(columns) <= {"seq", "signature"} else [_body(entry) for entry in entries]
    arrays = [pa.array(_values(name, entries, bodies), schema.field(name).type) for name in columns]
    if not columns:
        return pa.RecordBatch.from_arrays([pa.nulls(len(entries))], names=["_"]).select([])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _values(name: str, entries: Sequence[Entry], bodies: list[dict[str, Any]]) -> list[Any]:
    if name == "signature":
        return [entry.signature for entry in entries]
    if name == "seq":
        return [entry.seq for entry in entries]
    raw = [body.get(name) for body in bodies]
    if name in {"params", "query_lineage"}:
        return [None if value is None else canonical(value).decode() for value in raw]
    if name == "retrieval_scores":
        return [[to_float(score) for score in scores or ()] for scores in raw]
    if name == "recall":
        return [None if value is None else to_float(value) for value in raw]
    if name == "query_vector":
        return [None if value is None else _unpacked(value) for value in raw]
    if name == "executed_at":
        return [to_us(str(value)) for value in raw]
    return raw
