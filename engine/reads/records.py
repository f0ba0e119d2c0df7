"""Records of reads, found in a ledger, and what a receipt says held to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.ledger.commitments import check_opened, opened_members
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.sql.predicate import In
from affidavit.engine.reads.checked import Given, checked
from affidavit.engine.reads.receipt import Receipt
from affidavit.engine.reads.record import CLOSED, KIND, read_of
from affidavit.errors import InvalidQueryError, RecordNotFoundError, SignatureMismatchError

if TYPE_CHECKING:
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.reads.checked import Checked

KINDS: Final = (KIND, CLOSED)


def find_read(reader: Reader, ledger: Ledger, read_id: str) -> StoredEntry | None:
    """Return the entry that tells of a read in all: its end, if it has one.

    Where others wrote for long the end may have its number before the beginning has.
    """
    names = In("entry_id", (read_id, f"{read_id}-closed"))
    found = ledger.entries(reader, names, In("kind", KINDS))
    return max(found, key=lambda each: each.kind == CLOSED, default=None)


def given_rows(entry: StoredEntry) -> list[dict[str, Any]]:
    """Return the rows that a read gave, as far as its record has their keys."""
    record = read_of(entry)
    _, lists = opened_members(entry.opened).get("ids", (b"", None))
    names = {each["table_id"]: plain_name(each["name"]) for each in record.tables}
    return [
        {
            "read_id": record.read_id, "seq": record.seq, "table_id": each["table_id"],
            "table_name": names.get(each["table_id"]), "row_id": row_id, "how": each["how"],
            "actor": record.actor, "executed_at": record.executed_at,
        }
        for each in lists or ()
        for row_id in each.get("ids", ())
    ]  # fmt: skip


def plain_name(name: str) -> str:
    """Return what a table is called elsewhere: without the schema that most are in."""
    return name.removeprefix(f"{MAIN_SCHEMA}.")


def gave(entry: StoredEntry, row_id: str) -> list[tuple[str | None, str | None]]:
    """Return the tables, by identity and name, of which a read gave the row of that name."""
    rows = given_rows(entry)
    return [(each["table_id"], each["table_name"]) for each in rows if each["row_id"] == row_id]


def check_read(reader: Reader, ledger: Ledger, entry: StoredEntry) -> None:
    """Raise SignatureMismatchError unless an entry of a read is what was signed."""
    keys = {key.key_id: key for key in ledger.keys(reader)}
    try:
        fields = entry.fields()
        key = keys.get(str(fields.get("key_id")))
        check_opened(fields, entry.opened)
        signed = key is not None and key.verifies(entry.signature or b"", entry.body)
    except LedgerProblem:
        signed = False
    if not signed or entry.leaf != entry.leaf_hash:
        msg = f"entry {entry.seq} is not what was signed: verify the ledger"
        raise SignatureMismatchError(msg)


def answers(reader: Reader, ledger: Ledger, receipt: object, rows: object) -> Checked:
    """Return whether ``rows`` are what the engine gave for a receipt.

    Rows of other types are what was given if in the types of the result they are: of a frame that
    kept integers with a NULL among them as floats, of a file that was read back.

    Raises:
        InvalidQueryError: It is no receipt.
        RecordNotFoundError: No record of this tenant's ledger is the receipt's, as where it is of
            another lake; or what the rows hashed to was erased.
        SignatureMismatchError: The record is not what was signed.
    """
    if not isinstance(receipt, Receipt):
        msg = f"expected the receipt of a result, got {type(receipt).__name__}"
        raise InvalidQueryError(msg)
    entry = find_read(reader, ledger, receipt.read_id)
    if entry is None:  # its number may be another: a transaction that is rolled back takes it along
        why = "the receipt is of another lake or tenant"
        if receipt.seq is None:
            why += ", or its record waits for another writer: ask again once that is done"
        msg = f"no entry of this tenant's ledger is read {receipt.read_id!r}: {why}"
        raise RecordNotFoundError(msg)
    check_read(reader, ledger, entry)
    told = opened_members(entry.opened)
    if "result_sha256" not in told:
        msg = f"what the rows of read {receipt.read_id!r} hashed to was erased"
        raise RecordNotFoundError(msg)
    salt, stated = told["result_sha256"]
    _, columns = told.get("result_schema", (b"", None))
    _, as_set = told.get("rows_set_sha256", (b"", None))
    given = Given(salt, stated, columns, entry.fields().get("rows_returned"), as_set)
    return checked(given, receipt, rows)
