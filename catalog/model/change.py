"""The seam for what must happen with every mutation: the journal, and change triggers.

Every mutation of a mutable or vector table passes :meth:`ChangeListener.on_change` exactly once,
inside the transaction that makes it: what a listener writes through the writer is committed with
the mutation or not at all, and a listener that raises stops the mutation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from affidavit.catalog.model.definition import MutableDefinition
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Writer


@dataclass(frozen=True, slots=True)
class Change:
    """One mutation.

    Attributes:
        identity: Who made it, for which tenant.
        table_id: The table's identity, which survives renaming.
        schema: The SQL schema that the table is in.
        table: The table's name.
        kind: The name of the table's :class:`~affidavit.catalog.model.definition.TableKind`.
        action: ``create``, ``insert``, ``update``, ``delete``, ``truncate``, ``drop``, ``alter``,
            ``index``, ``optimize``, ``tag`` or ``restore``.
        rows: How many rows it touched.
        before: The rows as they were, for ``update``, ``delete`` and ``truncate``.
        after: The rows as they are, for ``insert`` and ``update``, in the order of ``before``.
            A bulk load of a vector table has no images in memory: read its versions.
        rowids: The rows' identities in the store, for a mutable table.
        version_before: The table's version before: Lance's for a vector table.
        version_after: The table's version after.
        mutable: What a mutable table is.
        definition: What a table that was created or altered is from then on, as JSON.
        sql: The statement that would make a table which was created.
        keys_sha256: For rows of a vector table, a digest of their keys.
        detail: What else there is to say, such as the columns that an ``alter`` added.
        loses: The columns that an ``alter`` or ``restore`` takes away, or gives another name or
            type.
        messages: What triggers send because of it; ``None`` where they were not asked yet.
        events: What the journal says of it; ``None`` where that is still to be put together.
    """

    identity: Identity
    table_id: str
    schema: str
    table: str
    kind: str
    action: str
    rows: int = 0
    before: pa.Table | None = None
    after: pa.Table | None = None
    version_before: int | None = None
    version_after: int | None = None
    detail: str = ""
    rowids: Sequence[int] = ()
    mutable: MutableDefinition | None = None
    definition: str = ""
    sql: str = ""
    keys_sha256: str = ""
    loses: Sequence[str] = ()
    messages: Sequence[Message] | None = None
    events: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """An event that a trigger publishes if a change happens.

    Attributes:
        topic_id: The topic that it is published to.
        trigger: The trigger's name.
        kind: ``change`` or ``near``.
        rows: How many rows it has.
        data: The rows, as the topic's log keeps them; their ``seq`` is still to be filled in.
        identity: Who made the change.
        detail: What else its trigger has to say, as JSON.
        part: Its number among the events that one trigger publishes for the change.
    """

    topic_id: str
    trigger: str
    kind: str
    rows: int
    data: bytes
    identity: Identity
    detail: str = ""
    part: int = 0


class ChangeLook(Protocol):
    """What looks at the rows of one change as they pass, for the triggers of its table."""

    def see(self, before: pa.Table | None, after: pa.Table | None) -> None:
        """Look at some of the rows."""

    def messages(self) -> list[Message]:
        """Return what is to be sent, now that all rows were seen."""


class ChangeListener(Protocol):
    """What is told of every change while the change can still be stopped."""

    def on_change(self, change: Change, writer: Writer) -> None:
        """Note ``change``; write only through ``writer``, and raise to refuse."""
