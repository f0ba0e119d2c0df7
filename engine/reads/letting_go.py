"""What records say of a row that is erased: what its rows hash to is let go with it.

Whoever has the salt of a result's digest could try values until the digest is that. Without it the
record stands as it did, and only says that it was: the entry of the erasure names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.commitments import opened_members, without
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER, RESULTS

if TYPE_CHECKING:
    from affidavit.catalog.store.protocol import Writer

OF_ROWS: Final = frozenset({"result_sha256", "rows_set_sha256"})
"""The members of a record that are made of the values of rows."""

SEQS_AT_ONCE: Final = 500


def let_go_of_row(writer: Writer, tenant: str, row_id: str) -> list[list[object]]:
    """Destroy what records say of the values of a row, and return what was of each.

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
