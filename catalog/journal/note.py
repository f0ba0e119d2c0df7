"""Notes in the journal: what is no table was made, changed or dropped, or left the lake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from affidavit.catalog.journal.events import WHOLE, Batch, Event
from affidavit.catalog.model import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.store.transactions import Transactions


class Author(Protocol):
    """Who writes a note: a catalog, which rests on the journal and is not known here."""

    @property
    def identity(self) -> Identity:
        """Who did it, for which tenant."""

    @property
    def journal(self) -> Journal:
        """The tenant's journal."""

    @property
    def transactions(self) -> Transactions:
        """Which transaction this is in."""


def note(
    author: Author,
    writer: Writer,
    kind: str,
    name: str,
    action: str,
    told: Mapping[str, object] | None = None,
) -> None:
    """Write down what happened to something, in the transaction that is open, if a journal is kept.

    Args:
        author: Who did it.
        writer: That transaction's.
        kind: What the thing is: ``topic``, ``trigger``, ``source``.
        name: What it is called.
        action: What happened to it: ``create``, ``alter``, ``drop``, ``attach`` and the like.
        told: What else there is to say, as JSON holds it.
    """
    if not author.journal.is_kept(writer):
        return
    transaction = author.transactions.current()
    assert transaction is not None
    value = None if told is None else json.dumps(told, sort_keys=True, ensure_ascii=False)
    event = Event(name, WHOLE, action, None, value)
    batch = Batch(kind, None, author.identity, clock.now_us(), transaction.tx_id, [event])
    author.journal.append(writer, batch, transaction)
