"""Intents: what makes a vector table and its journal agree whatever happens in between.

A change of a vector table is two commits, Lance's and the store's, and a process may die between
them. So what is going to happen is written down first, as an intent; Lance's commit carries the
intent's name in its transaction properties; and the store's commit, with the events, removes it.
An intent that is left over is settled by who next holds the table's lock: Lance's own history says
whether the change happened, and if it did its events are written then.

Rules:
    - An intent is written, and settled, under the table's lock: one whose lock is taken belongs to
      a writer that is alive.
    - Lance operations that take no properties (indexes, compaction, restoring, altering) are told
      by the version: under the lock no other writer of ours makes one.
"""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from affidavit.catalog.journal.events import Batch, Event, events_of
from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.lake.vectors.dataset_files import files_of
from affidavit.catalog.model import clock
from affidavit.catalog.model.change import Message
from affidavit.catalog.model.definition import data_table, parse_definition
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import INTENTS
from affidavit.catalog.tables.files import list_files, unlist, unlist_removed
from affidavit.errors import AffidavitError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import lance

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.store.transactions import Transactions

INTENT: Final = "affidavit.intent"
"""The Lance transaction property that names the intent of a commit."""

LOAD: Final = -1
"""The version of an intent whose table is being loaded: nothing names it yet."""

CLEANUP: Final = -2
"""The version of an intent whose table's old versions are being removed."""

_COLUMNS: Final = columns_of(INTENTS)


@dataclass(frozen=True, slots=True)
class Intent:
    """A change of a vector table that is about to happen, or a load of a mutable one.

    Attributes:
        intent_id: Its name.
        table_id: The table.
        version_before: The version that it is made from; :data:`LOAD` for a load,
            :data:`CLEANUP` where old versions are removed.
        marked: Whether Lance's commit carries its name.
        rows_added: By how many rows the table grows.
        batches: The events that say what happened, if it did; for a load, if it came to nothing.
        messages: What triggers send for it, if it did, by the batch that it comes with.
    """

    intent_id: str
    table_id: str
    version_before: int
    marked: bool
    rows_added: int
    batches: tuple[Batch, ...]
    messages: tuple[tuple[Message, ...], ...]

    @property
    def properties(self) -> dict[str, str]:
        """What Lance's commit carries."""
        return {INTENT: self.intent_id}

    def tell(self, writer: Writer, batch: Batch) -> None:
        """Let ``batch`` be what is written down if a load comes to nothing."""
        told = {"batches": _batches_json((batch,))}
        writer.update_where(INTENTS, told, Compare("=", "intent_id", self.intent_id))

    def finish(self, writer: Writer) -> None:
        """Remove the intent, in the transaction that says that it happened.

        What that put off is written, for what refuses it to do so before Lance commits.
        """
        writer.delete_where(INTENTS, Compare("=", "intent_id", self.intent_id))
        writer.finish()


@contextmanager
def intended(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    changes: Sequence[Change],
    *,
    rows_added: int = 0,
    marked: bool = False,
) -> Iterator[Intent]:
    """Declare ``changes`` of a table whose lock is held; the block makes them, or raises.

    The block ends the intent with :meth:`Intent.finish`. If it raises, whether the change happened
    all the same is found out at once.
    """
    now_us = clock.now_us()
    batches = tuple(
        Batch(
            each.table, each.table_id, each.identity, now_us, f"intent-{uuid4().hex}",
            events_of(each),
        )
        for each in changes
    )  # fmt: skip
    messages = tuple(tuple(each.messages or ()) for each in changes)
    intent = Intent(
        uuid4().hex, info.table_id, int(dataset.version), marked, rows_added, batches, messages
    )
    with catalog.write() as writer:
        declare(writer, intent)
    try:
        yield intent
    except BaseException:
        with suppress(AffidavitError):  # the first error is the one to report; it is settled later
            settle(catalog, info, catalog.lake.datasets.latest(info))
        raise


@contextmanager
def cleaning(catalog: Catalog, info: TableInfo) -> Iterator[None]:
    """Take from the list what the block removes of a table whose lock is held."""
    intent = Intent(
        uuid4().hex, info.table_id, CLEANUP, marked=False, rows_added=0, batches=(), messages=()
    )
    home = catalog.lake.datasets.path(info)
    there = files_of(home)
    with catalog.write() as writer:
        declare(writer, intent)
    try:
        yield
    finally:
        left = files_of(home)
        with catalog.write() as writer:
            unlist(writer, info, [path for path in there if path not in left])
            intent.finish(writer)


def declare(writer: Writer, intent: Intent) -> None:
    """Write ``intent`` down."""
    writer.insert(INTENTS, _COLUMNS, [_row(intent)])


def settle(catalog: Catalog, info: TableInfo, dataset: lance.LanceDataset) -> int:
    """Settle what was left over for a table whose lock is held; return how many intents were.

    Those that happened get their events now, and the others are forgotten.
    """
    with catalog.read() as reader:
        rows = reader.select(INTENTS, _COLUMNS, _of_table(info.table_id))
    for row in rows:
        intent = _intent(row)
        with catalog.write() as writer:
            if intent.version_before == CLEANUP:
                unlist_removed(catalog, writer, info, dataset)
            elif _happened(intent, dataset):
                transaction = catalog.transactions.current()
                assert transaction is not None
                version = int(dataset.version)
                for batch, messages in zip(intent.batches, intent.messages, strict=True):
                    seq = None
                    if catalog.journal.is_kept(writer):
                        known = replace(batch, events=_versioned(batch.events, version))
                        seq = catalog.journal.append(writer, known, transaction)
                    catalog.send(writer, messages, seq, version)
                catalog.touch(writer, info, rows=intent.rows_added)
                catalog.show(writer, info, version)
                versions = range(intent.version_before + 1, version + 1)
                list_files(catalog, writer, info, versions)
                _redefine(catalog, writer, info, intent)
            intent.finish(writer)
    return len(rows)


def _redefine(catalog: Catalog, writer: Writer, info: TableInfo, intent: Intent) -> None:
    """Let the catalog know what an ``alter`` made of the table."""
    for batch in intent.batches:
        for event in batch.events:
            text = json.loads(event.new_value or "{}").get("definition")
            if text is not None:
                catalog.redefine(writer, info, parse_definition(info.kind, text))


def _happened(intent: Intent, dataset: lance.LanceDataset) -> bool:
    if dataset.version <= intent.version_before:
        return False
    if not intent.marked:
        return True
    try:
        transaction = dataset.read_transaction(intent.version_before + 1)
    except (OSError, ValueError, RuntimeError):
        return False  # that version is gone: a stranger cleaned up, and nobody can tell
    found: dict[str, Any] = getattr(transaction, "transaction_properties", None) or {}
    return found.get(INTENT) == intent.intent_id


def _versioned(events: Sequence[Event], version: int) -> list[Event]:
    """Return events with the version that Lance made, where it was not known beforehand."""
    found = []
    for event in events:
        told = json.loads(event.new_value or "{}")
        told.setdefault("version_after", version)
        found.append(replace(event, new_value=json.dumps(told, sort_keys=True)))
    return found


def settle_all(lake: Lake, transactions: Transactions) -> None:
    """Settle what processes that died left over, in every table that nobody is writing."""
    for tenant in lake.store.tenants(INTENTS):
        catalog = Catalog(lake, Identity(tenant), transactions)
        with catalog.read() as reader:
            rows = reader.select(INTENTS, ("table_id",), own(tenant))
        for table_id in sorted({str(row[0]) for row in rows}):
            with suppress(StoreBusyError), lake.store.lock(table_id, timeout_s=0):
                _settle_table(catalog, table_id)


def _settle_table(catalog: Catalog, table_id: str) -> None:
    with catalog.read() as reader:
        info = catalog.by_id(reader, table_id)
    if info is not None:
        settle(catalog, info, catalog.lake.datasets.latest(info))
        return
    with catalog.read() as reader:
        rows = reader.select(INTENTS, ("intent_id", "version_before"), _of_table(table_id))
    for intent_id, version_before in rows:
        if version_before == LOAD:
            abandon(catalog, str(intent_id))
    with catalog.write() as writer:  # the table was dropped since
        writer.delete_where(INTENTS, _of_table(table_id))


def abandon(catalog: Catalog, intent_id: str) -> None:
    """Remove what was loaded of a table that nothing names, whose lock is held."""
    with catalog.write() as writer:
        rows = writer.select(INTENTS, _COLUMNS, Compare("=", "intent_id", intent_id))
        for intent in map(_intent, rows):
            transaction = catalog.transactions.current()
            assert transaction is not None
            for batch in intent.batches:
                catalog.journal.append(writer, batch, transaction)
            writer.drop_table(data_table(intent.table_id))
            intent.finish(writer)


def _of_table(table_id: str) -> Compare:
    return Compare("=", "table_id", table_id)


# --- as the store has them ------------------------------------------------------------------------


def _batches_json(batches: Sequence[Batch]) -> str:
    told = [
        {
            "entity_type": each.entity_type,
            "table_id": each.table_id,
            "identity": asdict(each.identity),
            "at_us": each.at_us,
            "tx_id": each.tx_id,
            "events": [asdict(event) for event in each.events],
        }
        for each in batches
    ]
    return json.dumps(told)


def _row(intent: Intent) -> tuple[str | int, ...]:
    return (
        intent.intent_id, intent.table_id, intent.version_before, int(intent.marked),
        intent.rows_added, _batches_json(intent.batches),
        json.dumps([[_message_json(each) for each in messages] for messages in intent.messages]),
    )  # fmt: skip


def _message_json(message: Message) -> dict[str, Any]:
    return {**asdict(message), "data": base64.b64encode(message.data).decode()}


def _message(told: dict[str, Any]) -> Message:
    identity, data = Identity(**told["identity"]), base64.b64decode(told["data"])
    return Message(**{**told, "identity": identity, "data": data})


def _intent(row: Sequence[Any]) -> Intent:
    intent_id, table_id, version_before, marked, rows_added, text, told = row
    batches = tuple(
        Batch(
            each["entity_type"], each["table_id"], Identity(**each["identity"]), each["at_us"],
            each["tx_id"], [Event(**event) for event in each["events"]],
        )
        for each in json.loads(text)
    )  # fmt: skip
    sent = json.loads(told) if told else [[] for _ in batches]
    messages = tuple(tuple(map(_message, each)) for each in sent)
    return Intent(intent_id, table_id, version_before, bool(marked), rows_added, batches, messages)
