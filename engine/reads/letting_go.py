"""What records say of a row that is erased: what its rows hash to is let go with it.

Whoever has the salt of a result's digest could try values until the digest is that. Without it the
record stands as it did, and only says that it was: the entry of the erasure names it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.commitments import opened_members, without
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER, RESULTS
from affidavit.engine.reads.records import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from affidavit.catalog.journal.records.records import Records
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.store.protocol import Reader, Writer

OF_ROWS: Final = frozenset({"result_sha256", "rows_set_sha256"})
"""The members of a record that are made of the values of rows."""

SEQS_AT_ONCE: Final = 500


def let_go_of_row(writer: Writer, tenant: str, row_id: str) -> list[list[object]]:
    """Destroy what records that are not sealed say of the values of a row, and return what it was.

    Returns:
        The number of each record, and the members that are gone: what the entry that says why has
        as ``records``.
    """
    found = writer.select(RESULTS, ("seq", "how"), own(tenant, Compare("=", "row_id", row_id)))
    seqs = sorted({int(seq or 0) for seq, how in found if how is not None})
    gone: list[list[object]] = []
    for at in range(0, len(seqs), SEQS_AT_ONCE):
        page = In("seq", tuple(seqs[at : at + SEQS_AT_ONCE]))
        for seq, opened in writer.select(LEDGER, ("seq", "opened"), own(tenant, page)):
            members = sorted(OF_ROWS & opened_members(opened).keys())
            if not members:
                continue
            assert isinstance(opened, bytes)
            left = without(opened, frozenset(members))
            writer.update_where(LEDGER, {"opened": left}, own(tenant, Compare("=", "seq", seq)))
            gone.append([seq, members])
    return gone


@contextmanager
def letting_go_of_row(
    records: Records, row_id: str
) -> Iterator[Callable[[Writer], list[list[object]]]]:
    """Hold a tenant's records, and yield what does :func:`let_go_of_row` for all of them.

    It is called once, in the transaction that says why. Segments are written anew beforehand.
    """
    gone: list[list[object]] = []

    def sealed(reader: Reader) -> list[int]:
        pages = records.entries.giving(reader, [row_id])
        return [entry.seq for page in pages for entry in page if entry.kind in KINDS]

    def change(entry: StoredEntry) -> bytes | None:
        members = sorted(OF_ROWS & opened_members(entry.opened).keys())
        if not members:
            return entry.opened
        gone.append([entry.seq, members])
        return without(entry.opened, frozenset(members))

    with records.erasing.rewriting(sealed, change) as found:

        def let_go(writer: Writer) -> list[list[object]]:
            found.apply(writer)
            return [*gone, *let_go_of_row(writer, records.kept.tenant, row_id)]

        yield let_go
