"""What failed among the tables of one statement, as it was raised: DataFusion turns it into text.

Rules:
    - The first error that a provider raised is kept: those after it follow from it.
    - A view or external table that cannot be planned fails nobody until it is read, since a column
      may be of its name. Why is kept with the table, and is no failure of the statement any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.errors import FunctionNotFoundError

if TYPE_CHECKING:
    from affidavit.errors import AffidavitError


class Failures:
    """The errors of one statement's tables.

    Attributes:
        first: What a provider raised first; ``None`` if none did.
    """

    def __init__(self) -> None:
        self.first: BaseException | None = None
        self._unplanned: dict[tuple[str, str], AffidavitError] = {}

    def add(self, error: BaseException) -> None:
        """Keep what a provider raised, unless one did before."""
        if self.first is None:
            self.first = error

    def forget(self) -> None:
        """Forget what was raised: the statement is planned anew."""
        self.first = None

    def keep_unplanned(self, key: tuple[str, str], error: AffidavitError) -> None:
        """Keep why a table could not be planned, until it is read."""
        if isinstance(error, FunctionNotFoundError):  # whose text is not the caller's own
            name = ".".join(each for each in key if each != MAIN_SCHEMA)
            error = FunctionNotFoundError(error.name, where=f"view {name!r}: ")
        self._unplanned[key] = error
        self.forget()

    def refuse_unplanned(self, key: tuple[str, str]) -> None:
        """Raise why a table could not be planned, if it could not."""
        if key in self._unplanned:
            raise self._unplanned[key]
