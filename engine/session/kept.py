"""Where what a session reads is put on record: in its lake, or in another that takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from affidavit.catalog.lake.lake import open_lake
from affidavit.catalog.ledger.guard import Guard
from affidavit.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.lake.lake import Lake
    from affidavit.engine.session.options import Options


@dataclass(frozen=True, slots=True)
class Kept:
    """Where records are kept.

    Attributes:
        lake: The lake whose ledgers have them.
        guard: Checks these before they are written to.
        read: The lake that is read, if that is another.
    """

    lake: Lake
    guard: Guard
    read: Lake | None = None

    def close(self) -> None:
        """Release the lake, if it was opened for the records alone."""
        if self.read is not None:
            self.lake.close()


def kept_records(lake: Lake, guard: Guard, options: Options, on_sealed: Callable[[], None]) -> Kept:
    """Return where the records of what is read in ``lake`` go.

    ``on_sealed`` is called when there may be some to seal, or segments of them to merge.

    Raises:
        AffidavitError: The lake that is to take them cannot be opened to be written, or is a copy
            of the one that is read.
    """
    if options.records is None:
        return Kept(lake, guard)
    own = replace(
        options.lake, read_only=False, store=None, journal_url=None, memory_limit=None,
        spill_to=None,
    )  # fmt: skip
    other = open_lake(options.records.path, own, keys=options.records.keys, on_sealed=on_sealed)
    if other.lake_id == lake.lake_id:
        other.close()
        msg = (
            f"the lake at {str(other.path)!r} is the one that is read, or a copy of it: its "
            "records would be taken for that one's own, so give records= another folder"
        )
        raise LakeError(msg)
    return Kept(other, Guard(other.store, other.ledgers, options.witness), lake)
