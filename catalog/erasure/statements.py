"""The log of statements: texts that are let go, and rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.journal.erasing import ranges_of
from affidavit.catalog.ledger.statements import STATEMENT_COLUMNS, TEXT, UNREAD
from affidavit.catalog.ledger.verification.gone import LETTING_GO, SaidGone
from affidavit.catalog.ledger.verifier import commitment
from affidavit.catalog.sql.predicate import In
from affidavit.catalog.store.protocol import ROWID, own
from affidavit.catalog.store.tables import STATEMENTS
from affidavit.catalog.values.canonical import canonical, from_us

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from affidavit.catalog.erasure.pending import Pending
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.store.protocol import Reader, Writer

ROWS_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Logged:
    """A row of the log.

    Attributes:
        rowid: Its identity in the store.
        at: Its number among those that are covered; ``None`` if it is not.
        before: The digest of the log before it.
        digest: And with it.
        salt: That of its text's commitment.
        said: What it says, by column.
    """

    rowid: int
    at: int | None
    before: bytes
    digest: bytes | None
    salt: bytes | None
    said: dict[str, Any]


@dataclass(slots=True)
class LetGo:
    """What is let go of the log, as the entry says it.

    Attributes:
        rows: How many rows, or texts.
        texts: The numbers of those whose texts are gone, and are committed to.
        unread: Those whose texts are gone that their digests were made of.
        dropped: The stretch of rows that are gone, likewise.
        uncovered: How many rows are gone that no digest covered.
        held: When the first row was that would be due and stays; ``None`` if none does.
    """

    rows: int = 0
    texts: list[int] = field(default_factory=list)
    unread: list[Sequence[object]] = field(default_factory=list)
    dropped: list[Sequence[object]] = field(default_factory=list)
    uncovered: int = 0
    held: str | None = None

    def told(self) -> dict[str, object]:
        """Return it as the entry's member ``log`` has it."""
        return {
            "rows": self.rows, "texts": ranges_of(self.texts), "unread": self.unread,
            "dropped": self.dropped, "uncovered": self.uncovered,
        }  # fmt: skip


def logged(reader: Reader, ledger: Ledger) -> Iterator[Logged]:
    """Yield the rows of a tenant's log, oldest first, numbered as verifying numbers them."""
    gone = SaidGone.of(ledger.entries(reader, In("kind", LETTING_GO)))
    columns = (ROWID, "digest", "salt", *STATEMENT_COLUMNS)
    pages = reader.rows(STATEMENTS, columns, own(ledger.tenant), batch_rows=ROWS_AT_ONCE)
    at, before = 0, bytes(32)
    for rowid, digest, salt, *said in chain.from_iterable(pages):
        row = dict(zip(STATEMENT_COLUMNS, said, strict=True))
        if not isinstance(digest, bytes):
            yield Logged(int(rowid or 0), None, b"", None, None, row)
            continue
        while (gap := gone.dropped.get(at)) is not None:
            at, before = gap.end, gap.after
        kept_salt = salt if isinstance(salt, bytes) else None
        yield Logged(int(rowid or 0), at, before, digest, kept_salt, row)
        at, before = at + 1, digest


def let_go_of_texts(
    writer: Writer, ledger: Ledger, is_wanted: Callable[[dict[str, Any]], bool]
) -> LetGo:
    """Destroy the texts, and errors, of the rows that are wanted; the rows stay.

    An error of before has what it said; it is part of the digest, and goes as an old text does.
    """
    found = LetGo()
    wanted = [row for row in logged(writer, ledger) if row.said[TEXT] and is_wanted(row.said)]
    for row in wanted:
        values: dict[str, Any] = {TEXT: None}
        if row.at is not None and row.salt is not None and not _tells(row.said["error"]):
            values["salt"] = None
            values["committed"] = commitment(row.salt, TEXT, canonical(row.said[TEXT]))
            found.texts.append(row.at)
        elif row.at is not None:
            assert row.digest is not None
            values |= {"salt": None, "error": _class_of(row.said["error"]), "committed": UNREAD}
            found.unread.append([row.at, row.at + 1, row.before.hex(), row.digest.hex()])
        else:
            values["error"] = _class_of(row.said["error"])
        writer.update_where(STATEMENTS, values, In(ROWID, (row.rowid,)))
    found.rows = len(wanted)
    return found


def tables_of(said: dict[str, Any], *columns: str) -> set[str]:
    """Return the names of the tables that a statement read and wrote, without their schemas."""
    lines = [
        line
        for column in columns or ("tables_read", "tables_written")
        if isinstance(said[column], str)
        for line in said[column].split("\n")
    ]
    return {line.partition("@")[0].rpartition(".")[2] for line in lines if line}


def is_theirs(
    pending: Pending, names: frozenset[str], times: list[int], said: dict[str, Any]
) -> bool:
    """Return whether a statement wrote the rows, or has one of their values."""
    if tables_of(said, "tables_written") & names:
        begun, lasted = int(said["executed_at"] or 0), int(said["duration_us"] or 0)
        if any(begun <= at <= begun + lasted for at in times):
            return True
    needles = pending.needles
    if not needles:
        return False
    told = said["error"]
    return needles.in_sql(said["text"]) or (isinstance(told, str) and needles.in_text(told))


def _tells(error: object) -> bool:
    return isinstance(error, str) and ":" in error


def _class_of(error: object) -> str | None:
    return error.partition(":")[0] if isinstance(error, str) else None


def let_go_of_rows(
    writer: Writer, ledger: Ledger, before_us: int, held: Collection[str] = ()
) -> LetGo:
    """Drop the oldest rows of the log, as far as all are older than a time.

    The first that names one of the tables ``held`` stays, and so does what is newer.
    """
    found, rowids = LetGo(), []
    first: Logged | None = None
    last: Logged | None = None
    for row in logged(writer, ledger):
        if int(row.said["executed_at"] or 0) >= before_us:
            break
        if not tables_of(row.said).isdisjoint(held):
            found.held = from_us(int(row.said["executed_at"] or 0))
            break
        rowids.append(row.rowid)
        if row.at is None:
            found.uncovered += 1
        else:
            first, last = first or row, row
    if first is not None and last is not None:
        assert last.at is not None
        assert last.digest is not None
        gap = [first.at, last.at + 1, first.before.hex(), last.digest.hex()]
        found.dropped.append(gap)
    writer.delete(STATEMENTS, rowids)
    found.rows = len(rowids)
    return found
