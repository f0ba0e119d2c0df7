"""Attempts: statements and searches that were refused or failed, on record like those that ran.

Rules:
    - A refusal (another's table, a path, a right) is on record from the floor ``searches`` on, any
      other failure where what it read is, for its error may tell a value. Of the error its class is
      told, and of its text nothing.
    - A table that is another tenant's and one that does not exist are one refusal: whoever reads
      the record learns no more than whoever was refused.
    - An attempt that cannot be put on record stays refused: its own error is the one to raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.policy import READS, SEARCHES, at_least, stricter
from affidavit.catalog.model.release import Reading
from affidavit.engine.reads.record import FAILED, REFUSED
from affidavit.engine.reads.recording import Recording
from affidavit.errors import (
    AffidavitError,
    NoTenantError,
    PathNotAllowedError,
    ReadOnlyError,
    TableNotFoundError,
    TopicNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.model.release import Asked
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.reads.recording import Beside

REFUSALS: Final = (
    NoTenantError, PathNotAllowedError, ReadOnlyError, TableNotFoundError, TopicNotFoundError,
)  # fmt: skip
"""What is told to who reaches for what is not theirs."""


class Attempts:
    """Puts attempts on record.

    Args:
        keep: Puts an entry on record.
        floor: What is put on record of everything.
        lake_id: The lake that is asked, where its records are kept in another.
    """

    def __init__(
        self, keep: Callable[[Beside], None], floor: str, lake_id: str | None = None
    ) -> None:
        self._keep = keep
        self._lake_id = lake_id
        self._floor = floor

    def note(self, asked: Asked, transactions: Transactions, error: BaseException) -> None:
        """Put on record that what somebody asked was refused or failed, if it is to be."""
        is_refused = isinstance(error, REFUSALS)
        tables = {} if is_refused else dict(asked.tables)
        level = stricter(self._floor, *(each.level for each in tables.values()))
        if not at_least(level, SEARCHES if is_refused else READS):
            return
        attempt = Recording(
            Reading(asked, transactions), READS if is_refused else level, lake_id=self._lake_id
        )
        for key, each in tables.items():
            attempt.reading.note(each, key)
        try:
            self._keep(attempt.closing(REFUSED if is_refused else FAILED, error))
        except AffidavitError as second:
            if str(second) != str(error):
                error.add_note(f"and the attempt could not be put on record: {second}")
