"""What has triggers, as the catalog asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from affidavit.catalog.journal.note import Author

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.model.change import Change, ChangeLook, Message
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer


class Changer(Author, Protocol):
    """Who changes a table: a catalog, which asks the outbox and is not known here."""

    @property
    def tenant(self) -> str:
        """Whose change it is, as the store writes it."""

    def by_id(self, reader: Reader, table_id: str) -> TableInfo | None:
        """Return the table of that identity as it is now; ``None`` if it was dropped."""


class Outbox(Protocol):
    """What has triggers, and sends what they publish in the transaction of the change."""

    def has_triggers(self, reader: Reader, table_id: str) -> bool:
        """Return whether a table has any."""

    def look(self, catalog: Changer, reader: Reader, change: Change) -> ChangeLook | None:
        """Return what looks at the rows of ``change``; ``None`` if no trigger asks for it.

        Raises:
            InvalidTriggerError: A trigger could not go on after the change.
        """

    def send(
        self,
        catalog: Changer,
        writer: Writer,
        messages: Sequence[Message],
        *,
        seq: int | None,
        version: int | None,
    ) -> None:
        """Publish ``messages`` of a change.

        Args:
            catalog: Of the tenant whose change it is.
            writer: The transaction that makes it, or says that it was made.
            messages: What :meth:`ChangeLook.messages` returned.
            seq: The number of the change's first journal event, if one is kept.
            version: The version of a vector table that it made.
        """
