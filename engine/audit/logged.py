"""Searches that were run elsewhere, as they are put on record here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model import clock
from affidavit.catalog.values.canonical import datetime_of, instant_us
from affidavit.engine.audit.settings import checked_lineage
from affidavit.engine.search.record import SearchRecord, checked_record, completed, draft_record
from affidavit.errors import AffidavitError, InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.ledger.entry import Draft
    from affidavit.catalog.model.identity import Identity

QUERY_ID_LENGTH_MAX: Final = 1_000

_SHOWN_MAX: Final = 40
_OF_KEYS: Final = re.compile(r"key-\d+")
_COUNTS: Final = ("table_version", "k_requested", "k_returned", "duration_us", "journal_seq")


def drafted(
    records: object, identity: Identity, now_us: int
) -> Iterator[tuple[SearchRecord, Draft]]:
    """Yield each of a caller's ``records`` completed, and its entry.

    Raises:
        InvalidQueryError: They are no list, or one of them is no record; the message says which.
        LengthMismatchError: Ids and scores have different lengths.
        LineageTooLargeError: A lineage is larger than allowed.
    """
    one = isinstance(records, SearchRecord | Mapping | str)
    if one or not isinstance(records, Iterable):
        msg = f"expected a list of records, got {type(records).__name__}"
        raise InvalidQueryError(msg)
    for at, each in enumerate(records):
        try:
            record = _completed(each, identity, now_us)
            yield record, draft_record(record)
        except InvalidQueryError as error:
            msg = f"record {at}: {error}"
            raise InvalidQueryError(msg) from error
        except AffidavitError as error:
            error.add_note(f"this is record {at} of those to be logged")
            raise


def _completed(given: object, identity: Identity, now_us: int) -> SearchRecord:
    record = checked_record(given)
    checked_lineage(record.query_lineage)
    if record.query_id is not None:
        _check_id(record.query_id)
    _check_counts(record)
    moment = record.executed_at
    at_us = now_us if moment is None else instant_us(moment, "executed_at")
    return completed(
        record,
        query_id=clock.uuid7(at_us) if record.query_id is None else record.query_id,
        executed_at=datetime_of(at_us),
        actor=identity.actor if record.actor is None else record.actor,
        source=identity.source if record.source is None else record.source,
        workspace=identity.workspace if record.workspace is None else record.workspace,
        k_returned=len(record.top_k_result_ids),
        logged=True,
    )


def _check_id(query_id: str) -> None:
    if not query_id or "\x00" in query_id or len(query_id) > QUERY_ID_LENGTH_MAX:
        shown = repr(query_id[:_SHOWN_MAX]) + ("..." if len(query_id) > _SHOWN_MAX else "")
        msg = (
            f"query_id must have 1 to {QUERY_ID_LENGTH_MAX:,} characters and no NUL, got "
            f"{len(query_id):,}: {shown}; leave it out to be given one"
        )
        raise InvalidQueryError(msg)
    if _OF_KEYS.fullmatch(query_id):
        msg = f"query_id {query_id!r} is what the ledger calls a key: choose another"
        raise InvalidQueryError(msg)


def _check_counts(record: SearchRecord) -> None:
    for name in _COUNTS:
        value = getattr(record, name)
        if value is not None and value < 0:
            msg = f"{name} must be 0 or more, got {value}"
            raise InvalidQueryError(msg)
