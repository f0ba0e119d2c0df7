"""The record of one search: as Python has it, as it is signed, and as SQL shows it.

Rules:
    - The signed body holds everything that a row of ``audit.searches`` shows, and a row is read
      from the body alone: nothing is shown that was not signed.
    - What the fields are, and how each is written and read, says :mod:`~affidavit.engine.search.
      fields` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.ledger.commitments import VERSION, Commitments, opened_members
from affidavit.catalog.ledger.entry import SEARCH, Draft
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.values.canonical import canonical, parsed, us_of
from affidavit.engine.search.fields import FIELDS
from affidavit.errors import InvalidQueryError, LengthMismatchError, RecordNotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from affidavit.catalog.ledger.verifier import Entry
    from affidavit.engine.search.fields import AuditField
    from affidavit.engine.search.options import Lineage

KIND: Final = SEARCH


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
        context: What the scope says of the request.
        key_id: The key that signed it.
        signature: The Ed25519 signature of its canonical bytes.
    """

    model_id: str | None
    model_version: str | None
    query_lineage: Lineage
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
    context: Mapping[str, Any] | None = None
    key_id: str | None = None
    signature: bytes | None = None

    def __post_init__(self) -> None:
        _check_lists(self)

    def __repr__(self) -> str:
        when = "" if self.executed_at is None else f" at {self.executed_at.isoformat()}"
        return (
            f"SearchRecord({self.query_id!r}, {len(self.top_k_result_ids)} rows of "
            f"{self.table_name} version {self.table_version}, by {self.actor!r}{when})"
        )

    def replaced(self, **changes: Any) -> SearchRecord:  # noqa: ANN401 - each field's own
        """Return the record with some fields changed, quicker than ``dataclasses.replace``."""
        new = object.__new__(SearchRecord)
        for put, value in zip(_SETTERS, _ALL(self), strict=True):
            put(new, value)
        return completed(new, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a dict."""
        return {name: getattr(self, name) for name in _NAMES}


_NAMES: Final = tuple(each.name for each in fields(SearchRecord))
_ALL: Final = attrgetter(*_NAMES)
_SETTERS: Final = tuple(getattr(SearchRecord, name).__set__ for name in _NAMES)


def completed(record: SearchRecord, **changes: Any) -> SearchRecord:  # noqa: ANN401 - as above
    """Return a record that nobody else has yet, with some of its fields changed in place."""
    for name, value in changes.items():
        object.__setattr__(record, name, value)
    return record


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

_LEDGERS_ALL: Final = tuple(each.name for each in FIELDS if each.ledgers)
_COMMITTED: Final = frozenset(each.name for each in FIELDS if each.committed)
_VERSION: Final = canonical(VERSION)
_GIVEN: Final = tuple(each for each in FIELDS if not each.ledgers)
_GIVEN_OF: Final = attrgetter(*(each.name for each in _GIVEN))
_CHECK: Final = tuple((each.name, each.form.kept, each.form.check) for each in _GIVEN)
_WRITE: Final = tuple((each.name, each.form.write) for each in _GIVEN)


def checked_record(given: object) -> SearchRecord:
    """Return a copy of a caller's record with the types that it must have.

    Raises:
        InvalidQueryError: ``given`` is no record, or a field has another type; it is named.
        LengthMismatchError: There is not one score for each id.
    """
    if isinstance(given, Mapping):
        known = set(_NAMES)
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
    changes = {}
    for (name, kept, check), value in zip(_CHECK, _GIVEN_OF(given), strict=True):
        if type(value) is not kept and value is not None:
            changes[name] = check(value, name)
    return given.replaced(**changes)


def draft_record(record: SearchRecord) -> Draft:
    """Return ``record`` as an entry of the ledger.

    Raises:
        InvalidQueryError: A field cannot be written as JSON; it is named.
    """
    assert record.query_id is not None
    assert record.executed_at is not None
    rows = [(str(each), None) for each in record.top_k_result_ids]
    written = _written(record)
    committed = Commitments({name: written[name] for name in _COMMITTED})
    members = {name: value or b"null" for name, value in written.items()}
    return Draft(
        KIND, record.query_id, us_of(record.executed_at),
        {**members, **committed.members, "v": _VERSION}, rows=rows, opened=committed.opened,
    )  # fmt: skip


def _written(record: SearchRecord) -> dict[str, bytes | None]:
    """Return what a record says, each member in canonical JSON; ``None`` for what it has not."""
    return {
        name: None if value is None else write(value, name)
        for (name, write), value in zip(_WRITE, _GIVEN_OF(record), strict=True)
    }


def is_as_signed(record: SearchRecord, entry: Entry) -> bool:
    """Return whether a record, whose types were checked, says what an entry's body does."""
    stored, said = record_of(entry), _written(record)
    same = all(getattr(record, name) == getattr(stored, name) for name in _LEDGERS_ALL)
    return same and said == _written(stored)


# --- from what was signed -------------------------------------------------------------------------

_GONE: Final[dict[str, Any]] = {"top_k_result_ids": [], "retrieval_scores": []}
"""What a record shows in place of lists that were erased."""

_LATER: Final = dict.fromkeys(each.name for each in FIELDS if each.since > 1)
"""What a body of the first version does not have."""

_IN_BODY: Final = tuple(each.name for each in FIELDS if each.in_body)
_READ: Final = tuple((each.name, each.form.read) for each in FIELDS if each.form.read is not None)


def record_of(entry: Entry) -> SearchRecord:
    """Return the record that an entry's body holds, as far as it was not erased.

    Raises:
        RecordNotFoundError: The body is no search record.
    """
    body = _body(entry)
    try:
        said = {name: body[name] for name in _IN_BODY}
        for name, read in _READ:
            said[name] = read(said[name])
        return SearchRecord(**said, signature=entry.signature)
    except (KeyError, TypeError, ValueError, OverflowError, InvalidQueryError) as error:
        raise _unreadable(entry) from error


def _body(entry: Entry) -> dict[str, Any]:
    """Return what an entry says: its body, and what its commitments are of."""
    try:
        body = parsed(entry.body)
        if body.get("v") == VERSION:
            opened = opened_members(getattr(entry, "opened", None))
            body |= {**dict.fromkeys(_COMMITTED), **_GONE}
            body |= {name: value for name, (_, value) in opened.items()}
        else:
            body |= _LATER
    except (AttributeError, ValueError, RecursionError, LedgerProblem) as error:  # it was changed
        raise _unreadable(entry) from error
    if not isinstance(body, dict):
        raise _unreadable(entry)
    return body


def _unreadable(entry: Entry) -> RecordNotFoundError:
    return RecordNotFoundError(f"entry {entry.seq} is no search record: verify the ledger")


# --- in SQL ---------------------------------------------------------------------------------------

SEARCHES_SCHEMA: Final = pa.schema([pa.field(each.name, each.form.arrow) for each in FIELDS])
"""The columns of ``audit.searches``."""

_BY_NAME: Final = {each.name: each for each in FIELDS}


def records_batch(entries: Sequence[Entry], columns: Sequence[str]) -> pa.RecordBatch:
    """Return ``columns`` of the records in ``entries``, a row each."""
    if not columns:
        return pa.RecordBatch.from_arrays([pa.nulls(len(entries))], names=["_"]).select([])
    shown = [_BY_NAME[name] for name in columns]
    needed = not all(each.on_entry for each in shown)
    bodies = [_body(entry) for entry in entries] if needed else []
    arrays = [pa.array(_values(each, entries, bodies), each.form.arrow) for each in shown]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _values(
    field: AuditField, entries: Sequence[Entry], bodies: Sequence[dict[str, Any]]
) -> list[Any]:
    if field.on_entry:
        return [getattr(entry, field.name) for entry in entries]
    said, show = [body.get(field.name) for body in bodies], field.form.show
    return said if show is None else list(map(show, said))
