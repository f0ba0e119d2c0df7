"""A read that is run again on what it read, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from affidavit.catalog.ledger.commitments import opened_members
from affidavit.catalog.model.moment import Moment
from affidavit.catalog.sources.files.evidence import are_as_read
from affidavit.catalog.sql.names import TEMP_SCHEMA
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.values.digest import digest, rows_set_digest
from affidavit.engine.reads.parameters import read, statement_digest, written
from affidavit.engine.reads.record import OK, read_of
from affidavit.engine.statement.parameters import arrow_params, row_of
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import AffidavitError, InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.engine.reads.record import ReadRecord

RUN_AGAIN = ("query", "execute")
"""The kinds of statements that can be run again by themselves."""

REPRODUCED, DRIFT, UNORDERED, GONE = "REPRODUCED", "DRIFT", "UNORDERED", "EVIDENCE_GONE"
UNREPEATABLE = "UNREPEATABLE"

_MOMENTS = frozenset({"current_date", "current_time", "current_timestamp"})
_CHANGING = _MOMENTS | {"now", "rand", "random", "today", "uuid"} | {
    "current_actor", "current_source", "current_tenant", "current_user", "current_workspace",
    "session_user",
}  # fmt: skip
"""What gives another value each time that it is asked: words, and functions."""


class Runs(Protocol):
    """Runs a statement on the lake as it was at a moment."""

    def __call__(self, moment: Moment, text: str, params: Mapping[str, Any]) -> pa.Table:
        """Return its rows."""

    def look(self, catalog: Catalog, name: str) -> dict[str, Any] | None:
        """Return what there is to say now of the files that a table of that name is."""


def rerun(
    entry: StoredEntry,
    run: Runs,
    text: str | None,
    params: Mapping[str, Any] | None,
    look: Callable[[str], dict[str, Any] | None],
) -> tuple[str, str]:
    """Return what became of a read, and why: an outcome and a sentence.

    Args:
        entry: Its record, checked before.
        run: Runs a statement as of a moment.
        look: Returns what there is to say now of the files that a table of that name is.
        text: The statement, where the record does not hold it.
        params: Its parameters, likewise.

    Raises:
        InvalidQueryError: It gave no rows, is of a kind that cannot be run again, or the record
            does not hold the statement and none was given, or another.
    """
    record = read_of(entry)
    if record.status != OK:
        msg = f"read {record.read_id!r} is {record.status}: there is nothing to compare with"
        raise InvalidQueryError(msg)
    told = opened_members(entry.opened)
    if record.kind not in {"to_arrow", *RUN_AGAIN}:
        msg = f"read {record.read_id!r} is of kind {record.kind!r}: only queries are run again"
        raise InvalidQueryError(msg)
    if "result_sha256" not in told:
        return GONE, "what its rows hashed to was erased"
    given: Mapping[str, Any] = {}
    if record.kind == "to_arrow":
        text = f"SELECT * FROM {'.'.join(map(quoted, record.tables[0]['name'].split('.')))}"
    else:
        text, given = _statement(record, told, text, params)
    other = entry.fields().get("lake_id")
    if other is not None:
        return GONE, f"it was read in the lake {other}, of which this is but the record"
    if any(each["name"].startswith(f"{TEMP_SCHEMA}.") for each in record.tables):
        return GONE, "it read a temporary table, which went with its session"
    gone = _changed_files(record, look)
    if gone is not None:
        return GONE, gone
    sources = tuple(
        (each["name"], each["version"])
        for each in record.tables
        if each["table_id"] is None and each["version"] is not None
    )
    try:
        rows = run(Moment(seq=_before(record), sources=sources), text, given)
    except AffidavitError as error:
        return GONE, f"it cannot be run on what it read: {error}"
    outcome, reason = _judged(record, told, rows)
    changing = _changing(text) if outcome == DRIFT else None
    if changing is not None:
        return UNREPEATABLE, f"{changing} gives another value each time, and so other rows"
    return outcome, reason


def _before(record: ReadRecord) -> int:
    """Return the last entry when a read began; -1 where there was none yet."""
    return -1 if record.journal_seq is None else record.journal_seq


def _when(record: ReadRecord) -> str:
    if record.journal_seq is None:
        return "as of before the first entry"
    return f"as of entry {record.journal_seq}"


def _changing(text: str) -> str | None:
    """Return what a statement calls that gives another value each time; a view's is not seen."""
    tokens = parse_statement(text).tokens
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        word = token.text.lower()
        is_call = following is not None and following.text == "("
        if word in _MOMENTS or (word in _CHANGING and is_call):
            return word
    return None


def _changed_files(record: ReadRecord, look: Callable[[str], dict[str, Any] | None]) -> str | None:
    """Return which files are not those that were read, if some are not."""
    for table in record.tables:
        was = table.get("source")
        if was is None or "files" not in was or table["lake_id"] is not None:
            continue
        now = look(table["name"])
        if now is None:
            return f"{table['name']!r} has no versions, and its files cannot be read any more"
        if not are_as_read(was, now):
            what = "SHA-256" if "sha256" in was else "ETags of SHA-256"
            return (
                f"{table['name']!r} has no versions, and its files are others now: "
                f"{was['files']} of {was['bytes']:,} bytes were read, with {what} "
                f"{was.get('sha256', was.get('etags'))}; there are {now['files']} of "
                f"{now['bytes']:,} bytes"
            )
    return None


def _statement(
    record: ReadRecord,
    told: Mapping[str, tuple[bytes, Any]],
    text: str | None,
    params: Mapping[str, Any] | None,
) -> tuple[str, Mapping[str, Any]]:
    """Return the statement and parameters of a record: those given, else those that it holds."""
    kept = told["parameters"][1] if "parameters" in told else None
    given = read(kept) if params is None else arrow_params(params)
    wanted = text if text is not None else record.text
    salt, _ = told["result_sha256"]
    found = None
    if wanted is not None:
        found = statement_digest(salt, wanted, kept if params is None else written(row_of(given)))
    _, stated = told.get("statement_sha256", (b"", None))
    if wanted is not None and found == stated:
        return wanted, given
    if text is None and params is None:
        msg = (
            f"read {record.read_id!r} holds its statement without literals and parameters: pass "
            "text= and params=, or connect with store_queries=True beforehand"
        )
        raise InvalidQueryError(msg)
    msg = f"this is not the statement of read {record.read_id!r}: its SHA-256 differs"
    raise InvalidQueryError(msg)


def _judged(
    record: ReadRecord, told: Mapping[str, tuple[bytes, Any]], rows: pa.Table
) -> tuple[str, str]:
    salt, stated = told["result_sha256"]
    first = record.seq if record.opened_seq is None else record.opened_seq
    if digest(rows, salt) == stated:
        return REPRODUCED, f"{_when(record)} it gives the same rows"
    _, as_set = told.get("rows_set_sha256", (b"", None))
    if as_set is not None and rows_set_digest(rows) == as_set:
        return REPRODUCED, (
            f"{_when(record)} it gives the same rows, in an order that the statement leaves open"
        )
    if _before(record) >= first:
        return GONE, "it read what a transaction had written that was rolled back"
    for each in record.tables:
        source = each.get("source") or {}
        is_looked_at = "files" in source and each["lake_id"] is None
        if each["table_id"] is None and each["version"] is None and not is_looked_at:
            was = " and ".join(map(repr, source.get("snapshots", ())))
            moment = f": it was read at its snapshot {was}" if was else ""
            return GONE, f"{each['name']!r} has no versions, and gives other rows now{moment}"
    if record.rows_returned != rows.num_rows:
        return DRIFT, f"it gave {record.rows_returned} rows, and gives {rows.num_rows}"
    if as_set is None and not record.is_ordered:
        return UNORDERED, "it gives as many rows, and the statement leaves their order open"
    return DRIFT, f"of its {rows.num_rows} rows some are others, or stand in another order"
