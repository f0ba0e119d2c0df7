"""The record of one read: as it is signed, as Python has it, and as SQL shows it.

Rules:
    - What may have to be let go one day (texts, values, ids, what the rows hash to) is committed to
      by salted hashes, and stands beside the body: see :mod:`affidavit.catalog.ledger.commitments`.
    - A read whose rows left before it was over has two entries: ``read`` with the status ``open``
      before the first of them, and ``read-closed`` at its end, which says all and names the first.
      An open one that no closed one follows is evidence: nobody writes its end later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.ledger.commitments import VERSION, Commitments, opened_members
from affidavit.catalog.ledger.entry import Draft
from affidavit.catalog.values.canonical import canonical, datetime_of, from_us, to_us
from affidavit.engine.reads.parameters import shown
from affidavit.errors import RecordNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from affidavit.catalog.ledger.entry import StoredEntry

KIND: Final = "read"
CLOSED: Final = "read-closed"

OPEN: Final = "open"
OK: Final = "ok"
REFUSED: Final = "refused"
FAILED: Final = "failed"
ABANDONED: Final = "abandoned"

_TIME: Final = pa.timestamp("us", "UTC")
TABLES_TYPE: Final = pa.list_(
    pa.struct(
        [
            pa.field("name", pa.string()),
            pa.field("table_id", pa.string()),
            pa.field("version", pa.int64()),
            pa.field("columns", pa.list_(pa.string())),
            pa.field("filter", pa.string()),
            pa.field("rows", pa.int64()),
            pa.field("lake_id", pa.string()),
        ]
    )
)


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """What one statement or handle was given, or was refused.

    Attributes:
        seq: The record's number in the ledger.
        opened_seq: The number of the entry that was written before its first row left, if its rows
            were too many to be held.
        read_id: A UUIDv7.
        kind: The statement's kind, or the handle's door.
        status: ``open``, ``ok``, ``refused``, ``failed`` or ``abandoned``.
        error_class: What the error was called, if there was one.
        actor: Who asked, as the session says.
        principal: Who was authenticated, behind a server.
        client: Through which program, behind a server.
        request_id: The caller's word for the request.
        source: Through what.
        workspace: Where.
        tenant: For whom; ``None`` for the shared scope.
        text: The statement; ``None`` where it was erased.
        parameters: Its parameters as JSON has them, by name.
        tables: What it read: ``name``, ``table_id``, ``version``, ``columns``, ``filter``, ``rows``
            (where the policy is ``rows``), ``lake_id`` (of another lake) and ``source`` (of files:
            how many, their ``bytes`` and ``sha256``).
        searches: The searches that ran inside it, by their ids.
        rows_returned: How many rows left.
        result_schema: Their columns: name and type of each.
        result_sha256: Their digest; ``None`` where it was erased, or nothing left.
        lineage: Where the question comes from, as the caller says.
        context: What the scope says of the request.
        executed_at: When it was asked, UTC.
        logged_at: When this was written, UTC.
        duration_us: How long it took, in microseconds.
        journal_seq: The last entry of the ledger when it began.
        level: Whether the rows' keys are on record too: ``reads`` or ``rows``.
        is_ordered: Whether the statement says in which order its rows come, or reads one table.
        key_id: The key that signed it.
        signature: The Ed25519 signature of its canonical bytes.
    """

    seq: int
    opened_seq: int | None
    read_id: str
    kind: str
    status: str
    error_class: str | None
    actor: str
    principal: str | None
    client: str | None
    request_id: str | None
    source: str
    workspace: str
    tenant: str | None
    text: str | None
    parameters: dict[str, Any] | None
    tables: list[dict[str, Any]]
    searches: list[str]
    rows_returned: int | None
    result_schema: list[list[str]] | None
    result_sha256: str | None
    lineage: Any
    context: dict[str, Any] | None
    executed_at: datetime
    logged_at: datetime
    duration_us: int | None
    journal_seq: int | None
    level: str
    is_ordered: bool
    key_id: str | None
    signature: bytes | None

    def __repr__(self) -> str:
        tables = ", ".join(each["name"] for each in self.tables)
        return (
            f"ReadRecord({self.read_id!r}, {self.kind} {self.status}, {self.rows_returned} rows of "
            f"{tables or 'no table'}, by {self.actor!r} at {self.executed_at.isoformat()})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a dict."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class Said:
    """What an entry of a read says, before it has a number.

    Attributes:
        read_id: The read.
        is_closing: Whether it is the end of one that was open.
        at_us: When the read was asked, in microseconds since the epoch.
        stated: The members that stand in the clear.
        values: Those that are committed to; ``None`` for what there is not, bytes for what is
            canonical JSON already.
        salt: The salt of the result's digest.
        rows: The keys that the index of rows gets, and how each was given.
    """

    read_id: str
    is_closing: bool
    at_us: int
    stated: Mapping[str, object]
    values: Mapping[str, object]
    salt: bytes
    rows: Sequence[tuple[str, str]] = ()

    def draft(self) -> Draft:
        """Return it as an entry of the ledger."""
        entry_id = f"{self.read_id}-closed" if self.is_closing else self.read_id
        stated = {
            "v": VERSION, "entry_id": entry_id, "created_at": from_us(self.at_us),
            "read_id": self.read_id, **self.stated,
        }  # fmt: skip
        written = {
            name: value if value is None or isinstance(value, bytes) else canonical(value, name)
            for name, value in self.values.items()
        }
        committed = Commitments(written, {"result_sha256": self.salt})
        members = {
            name: b"null" if value is None else canonical(value, name)
            for name, value in stated.items()
        }
        return Draft(
            CLOSED if self.is_closing else KIND, entry_id, self.at_us,
            {**members, **committed.members}, rows=self.rows, opened=committed.opened,
        )  # fmt: skip


def read_of(entry: StoredEntry) -> ReadRecord:
    """Return the record that an entry holds.

    Raises:
        RecordNotFoundError: It is no record of a read.
    """
    try:
        body = entry.fields()
        told = {name: value for name, (_, value) in opened_members(entry.opened).items()}
        filters = told.get("filters") or {}
        sources = told.get("sources") or {}
        tables = [
            {**each, "filter": filters.get(each["name"]), "source": sources.get(each["name"])}
            for each in body["tables"]
        ]
        return ReadRecord(
            seq=entry.seq, opened_seq=body["opened_seq"], read_id=body["read_id"],
            kind=body["statement"], status=body["status"], error_class=body["error_class"],
            actor=body["actor"], principal=body["principal"], client=body["client"],
            request_id=body["request_id"], source=body["source"], workspace=body["workspace"],
            tenant=body["tenant"], text=told.get("text"), parameters=shown(told.get("parameters")),
            tables=tables, searches=body["searches"], rows_returned=body["rows_returned"],
            result_schema=told.get("result_schema"), result_sha256=told.get("result_sha256"),
            lineage=told.get("lineage"), context=told.get("context"),
            executed_at=datetime_of(to_us(body["created_at"])),
            logged_at=datetime_of(to_us(body["logged_at"])), duration_us=body["duration_us"],
            journal_seq=body["journal_seq"], level=body["level"], is_ordered=body["is_ordered"],
            key_id=body["key_id"],
            signature=entry.signature,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        msg = f"entry {entry.seq} is no record of a read: verify the ledger"
        raise RecordNotFoundError(msg) from error


# --- in SQL ---------------------------------------------------------------------------------------


def _json(value: object) -> str | None:
    """Return JSON as it is shown: an integer may be larger than canonical JSON has it."""
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


READS_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("opened_seq", pa.int64()),
        pa.field("read_id", pa.string()),
        *(pa.field(name, pa.string()) for name in ("kind", "status", "error_class")),
        *(pa.field(name, pa.string()) for name in ("tenant", "actor", "principal", "client")),
        *(pa.field(name, pa.string()) for name in ("request_id", "source", "workspace")),
        pa.field("text", pa.string()),
        pa.field("parameters", pa.string()),
        pa.field("tables", TABLES_TYPE),
        pa.field("searches", pa.list_(pa.string())),
        pa.field("rows_returned", pa.int64()),
        pa.field("result_schema", pa.string()),
        pa.field("result_sha256", pa.string()),
        pa.field("lineage", pa.string()),
        pa.field("context", pa.string()),
        pa.field("executed_at", _TIME),
        pa.field("logged_at", _TIME),
        pa.field("duration_us", pa.int64()),
        pa.field("journal_seq", pa.int64()),
        pa.field("level", pa.string()),
        pa.field("is_ordered", pa.bool_()),
        pa.field("key_id", pa.string()),
        pa.field("signature", pa.binary()),
    ]
)
"""The columns of ``audit.reads``."""

_AS_JSON: Final = frozenset({"parameters", "result_schema", "lineage", "context"})


def reads_batch(records: Sequence[ReadRecord], columns: Sequence[str]) -> pa.RecordBatch:
    """Return ``columns`` of ``records``, a row each."""
    if not columns:
        return pa.RecordBatch.from_arrays([pa.nulls(len(records))], names=["_"]).select([])
    arrays = []
    for name in columns:
        values = [getattr(each, name) for each in records]
        shown = [_json(value) for value in values] if name in _AS_JSON else values
        arrays.append(pa.array(shown, READS_SCHEMA.field(name).type))
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
