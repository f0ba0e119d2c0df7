"""What an async session keeps apart: its audit, ledger, journal, topics and triggers, awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.erasure.retention import Retention
from affidavit.engine.audit.audit import Audit
from affidavit.engine.fronts.aio.asking import Awaited, awaited, awaited_as, each
from affidavit.engine.fronts.aio.result import AsyncResult
from affidavit.engine.result.result import Result
from affidavit.engine.session.journal import JournalHandle
from affidavit.engine.session.ledger import LedgerHandle
from affidavit.triggers.subscriptions.start import BEGINNING
from affidavit.triggers.topics import Topics
from affidavit.triggers.triggers import Triggers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from affidavit.engine.audit.appender import RecordListener
    from affidavit.triggers.subscriptions.delivery import Delivery
    from affidavit.triggers.subscriptions.start import Start


class AsyncAudit(Awaited[Audit]):
    """The records of searches and reads, awaited."""

    get = awaited(Audit.get)
    get_read = awaited(Audit.get_read)
    check = awaited(Audit.check)
    recent = awaited(Audit.recent)
    received = awaited(Audit.received)
    verify = awaited(Audit.verify)
    replay = awaited(Audit.replay)
    log = awaited(Audit.log)
    release = awaited(Audit.release)

    @property
    def mode(self) -> str:
        """What is put on record: ``off``, ``searches``, ``statements``, ``reads`` or ``rows``."""
        return self._of.mode

    def add_listener(self, listener: RecordListener) -> None:
        """Tell ``listener`` of every record, in the thread that writes it."""
        self._of.add_listener(listener)


class AsyncLedger(Awaited[LedgerHandle]):
    """The tenant's ledger, awaited."""

    checkpoint = awaited(LedgerHandle.checkpoint)
    prove = awaited(LedgerHandle.prove)
    export = awaited(LedgerHandle.export)
    verify = awaited(LedgerHandle.verify)
    verify_data = awaited(LedgerHandle.verify_data)
    rotate_key = awaited(LedgerHandle.rotate_key)

    @property
    def origin(self) -> str:
        """What the ledger is called in its checkpoints and keys."""
        return self._of.origin

    async def size(self) -> int:
        """Return how many entries there are."""
        return await self._ask(lambda ledger: ledger.size)

    async def public_key(self) -> str:
        """Return the key that verifies the newest entries."""
        return await self._ask(lambda ledger: ledger.public_key)


class AsyncJournal(Awaited[JournalHandle]):
    """The journal of every mutation, awaited."""

    record = awaited(JournalHandle.record)
    record_insert = awaited(JournalHandle.record_insert)
    record_update = awaited(JournalHandle.record_update)
    record_ingest = awaited(JournalHandle.record_ingest)
    flush = awaited(JournalHandle.flush)
    erase = awaited(JournalHandle.erase)
    retain = awaited(JournalHandle.retain)
    history = awaited_as(JournalHandle.history, AsyncResult, Result.close)
    recent = awaited_as(JournalHandle.recent, AsyncResult, Result.close)
    stats = awaited(JournalHandle.stats)


class AsyncRetention(Awaited[Retention]):
    """For how long what is kept, awaited."""

    list = awaited(Retention.list)
    set = awaited(Retention.set)
    run = awaited(Retention.run)


class AsyncTopics(Awaited[Topics]):
    """The topics, awaited; a subscription is an async iterator as it is."""

    list = awaited(Topics.list)
    get = awaited(Topics.get)
    register = awaited(Topics.register)
    retain = awaited(Topics.retain)
    drop = awaited(Topics.drop)
    publish = awaited(Topics.publish)
    subscribe = awaited(Topics.subscribe)
    seek = awaited(Topics.seek)
    drop_consumer = awaited(Topics.drop_consumer)

    async def replay(
        self, name: str, where: str | None = None, from_offset: Start = BEGINNING
    ) -> AsyncIterator[Delivery]:
        """Yield the events that a topic has now, from some event on."""
        found = await self._ask(Topics.replay, name, where, from_offset)
        async for delivery in each(self._asker, found):
            yield delivery

    async def ack(self, delivery: Delivery) -> None:
        """Say that a delivery was dealt with; in a transaction, with it or not at all."""
        await self._asker.ask(delivery.ack)

    async def nak(self, delivery: Delivery, delay: float = 0.0, reason: str = "") -> None:
        """Ask for a delivery again, after ``delay`` seconds."""
        await self._asker.ask(delivery.nak, delay, reason)

    async def term(self, delivery: Delivery, reason: str = "") -> None:
        """Give a delivery up: it goes to the dead letters now."""
        await self._asker.ask(delivery.term, reason)


class AsyncTriggers(Awaited[Triggers]):
    """Change triggers and standing searches, awaited."""

    list = awaited(Triggers.list)
    on = awaited(Triggers.on)
    near = awaited(Triggers.near)
    drop = awaited(Triggers.drop)
