"""An opened lake, and all that its sessions have in common."""

from __future__ import annotations

import atexit
import logging
import threading
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from affidavit.catalog.checking.opening import warn_of_versions
from affidavit.catalog.erasure.erasure import finish_all
from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.lake.lake import open_lake
from affidavit.catalog.ledger.guard import Guard
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.model.policy import STATEMENTS, at_least
from affidavit.catalog.sources.kinds import parse_url
from affidavit.catalog.sources.reach import Reach
from affidavit.catalog.sources.registry import remembered
from affidavit.catalog.store.forks import WORKING
from affidavit.catalog.store.transactions import Transactions
from affidavit.catalog.tables.copies.files import remove_unnamed, write_files
from affidavit.catalog.tables.intents import settle_all
from affidavit.catalog.tables.upkeep.gathering import gather_due
from affidavit.catalog.topics.log import evict_old
from affidavit.engine.audit.gate import Gate
from affidavit.engine.audit.recorder import Recorder
from affidavit.engine.plan.contexts import Contexts, Runtime
from affidavit.engine.plan.planner import Planner
from affidavit.engine.plan.settings import hold_loggers
from affidavit.engine.plan.tenant import TenantEngine
from affidavit.engine.plan.tenants import TenantEngines
from affidavit.engine.plan.workers import start_workers
from affidavit.engine.reads.attempts import Attempts
from affidavit.engine.run.log import StatementLog
from affidavit.engine.search.hooks import Hooks
from affidavit.engine.search.models import Models
from affidavit.engine.search.searcher import Searcher
from affidavit.engine.session.housekeeping import Housekeeper
from affidavit.engine.session.kept import kept_records
from affidavit.engine.session.work import closed
from affidavit.engine.statement.shown import Shown
from affidavit.errors import ClosedError, StoreBusyError
from affidavit.triggers.predicates.expressions import RowExpressions
from affidavit.triggers.rules.outbox import TriggerOutbox
from affidavit.triggers.subscriptions.exchange import Exchange

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from affidavit.catalog.journal.journal import Journals
    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.store.transaction import Transaction
    from affidavit.engine.session.options import Options

CLOSING_TIMEOUT_S: Final = 1.0
"""How long an instance that closes waits for other writers."""

END_S: Final = 1.0
"""How long a program that is at its end waits for the threads that nobody joined."""

_log: Final = logging.getLogger("affidavit")
_OPEN: Final[WeakSet[Instance]] = WeakSet()
"""What a program may leave open when it is at its end."""


class Instance:
    """What the sessions on one opened lake share.

    Args:
        path: The lake's folder.
        options: What it is opened with.
        identity: Who opens it.
    """

    def __init__(self, path: str | os.PathLike[str], options: Options, identity: Identity) -> None:
        hold_loggers()  # first: what has logged once keeps the level that it had then
        start_workers()
        self.closed = False
        self.hooks = Hooks()
        self.models = Models()
        self.witness = options.witness
        self.shown = Shown(literals=options.audit.store_queries)
        self.housekeeper = Housekeeper()
        self._merger = Housekeeper()
        self._turn_s = options.lake.busy_timeout_s
        self._idle_s = options.transaction_idle_s
        self._opened: WeakSet[Transactions] = WeakSet()
        self._changing = threading.Lock()
        self._engines = TenantEngines(self._engine)
        wake = self.housekeeper.wake
        with ExitStack() as opened:
            lake = open_lake(path, options.lake, keys=options.keys, on_sealed=self._merger.wake)
            opened.callback(lake.close)
            self.guard = Guard(lake.store, lake.ledgers, options.witness)
            self._kept = kept_records(lake, self.guard, options, self._merger.wake)
            opened.callback(self._kept.close)
            self.recorder = Recorder(
                self._kept.lake, options.audit, self._kept.guard, wake, read=self._kept.read
            )
            outbox = TriggerOutbox(lake.news, self.recorder.record_match)
            self.lake: Lake = replace(
                lake, outbox=outbox, expressions=RowExpressions(), models=self.models
            )
            self.reach = Reach(own=(*lake.folders.own, *lake.places.elsewhere, *options.own_files))
            self._runtime = Runtime(lake.memory)
            self.exchange = Exchange(self.lake, options.broker, wake)
            opened.callback(self.exchange.close)
            self.searcher = Searcher(self.hooks, self.models, self.recorder)
            self.attempts = Attempts(
                self.recorder.record_beside, options.audit.mode, self.recorder.lake_id
            )
            self.gate = Gate(self.searcher, self.recorder, wake)
            logs = at_least(options.audit.mode, STATEMENTS) and not lake.read_only
            self.statements = (
                StatementLog(lake.store, lake.ledgers, self.guard, self.shown, wake)
                if logs
                else None
            )
            self._add_tasks()
            self._recover(identity)
            opened.pop_all()
        _OPEN.add(self)

    @property
    def is_here(self) -> bool:
        """Whether this is the process that opened the lake, and no fork of it."""
        return self.lake.queries.process.is_here

    def refuse_forked(self) -> None:
        """Raise ForkedError if this is a fork of the process that opened the lake."""
        self.lake.queries.process.refuse_forked()

    @property
    def _journals(self) -> list[Journals]:
        """The journals of the lake, and of the one that takes its records if that is another."""
        lakes = (self.lake,) if self._kept.read is None else (self.lake, self._kept.lake)
        return [each.journals for each in lakes]

    def _add_tasks(self) -> None:
        if self.statements is not None:
            self.housekeeper.add(self.statements.flush_if_free)
        self.housekeeper.add(self.gate.settle_late)
        self.housekeeper.add(self.recorder.settle)
        self.housekeeper.add(self._kept.guard.keep_checkpoints)
        self.housekeeper.add(self.exchange.tidy)
        for journals in self._journals:
            self._merger.add(journals.seal_records)
            if journals is not self.lake.journals or not self.lake.read_only:
                self._merger.add(journals.compact)
        if not self.lake.read_only:
            self._merger.add(partial(write_files, self.lake))

        if not self.lake.read_only:
            self._merger.add(partial(gather_due, self.lake))

    def _recover(self, identity: Identity) -> None:
        """Check the ledger, and finish what a crash left half done."""
        self.guard.open(identity.tenant)
        if not self._kept.lake.read_only:
            self.recorder.recover()
        if not self.lake.read_only:
            settle_all(self.lake, Transactions(self.lake.store))
            remove_unnamed(self.lake)
            finish_all(self.lake, self.settle_records)
        warn_of_versions(Catalog(self.lake, identity, Transactions(self.lake.store)))
        self.recorder.note_if_off(identity)

    def settle_records(self) -> None:
        """Write what waits to be on record: searches beside transactions, statements."""
        self.gate.settle_late()
        self.recorder.settle()
        if self.statements is not None:
            self.statements.flush()

    def transactions(self, identity: Identity) -> Transactions:
        """Return the transactions of a session that is opened now, and acts for ``identity``.

        Raises:
            ClosedError: The lake was closed.
        """
        log = self.statements
        begun = _untold if log is None else partial(log.follow, identity)
        made = Transactions(
            self.lake.store, idle_s=self._idle_s, turn_s=self._turn_s, on_begin=begun
        )
        with self._changing:
            if self.closed:
                msg = "the session is closed: connect again"
                raise ClosedError(msg)
            self._opened.add(made)
        return made

    def planner(self, identity: Identity) -> TenantEngine:
        """Return what plans for the identity's tenant."""
        return self._engines.of(identity.tenant)

    def _engine(self, tenant: str) -> TenantEngine:
        """Make what plans for a tenant, with the sources that the lake remembers."""
        own = Catalog(self.lake, Identity(tenant), Transactions(self.lake.store), gate=self.gate)
        contexts = Contexts(self._runtime)
        made = TenantEngine(own, self.searcher, self.models, contexts, prepares=Planner)
        with self.lake.store.read(tenant) as reader:
            known = remembered(reader, tenant)
        for name, url, kept in known:  # connected to when it is first named
            made.attach(made.open(name, parse_url(url), self.reach.of_kept(kept)))
        return made

    def close(self) -> None:
        """Roll back what is open, write what waits, keep a checkpoint, and release the lake."""
        with self._changing:
            self.closed = True
            opened = list(self._opened)
        with ExitStack() as closing:  # each is rolled back, whatever another raises, and then
            closing.callback(self._release)
            for transactions in opened:
                closing.callback(transactions.close)
            closing.callback(self.lake.queries.close, closed)

    def _release(self) -> None:
        try:
            if not self._kept.lake.read_only:
                self._kept.lake.store.hurry(CLOSING_TIMEOUT_S)
            self.exchange.close()
            for journals in self._journals:
                journals.stop()
            self._merger.stop()
            self.housekeeper.stop()
            _unless_busy(self.gate.settle_late)
            _unless_busy(self.recorder.close)
            if not self.lake.read_only:
                self._tidy()
            elif self._kept.read is not None:
                for journal in self._kept.lake.journals.opened():
                    _unless_busy(journal.tidy)
                _unless_busy(partial(self._kept.guard.keep_checkpoints, now=True))
        finally:
            with ExitStack() as stack:
                stack.callback(self._kept.close)
                stack.callback(self.lake.close)
                self._engines.close()

    def _tidy(self) -> None:
        """Do what is due; what another writer keeps from being done is left to who opens next."""
        tasks: list[Callable[[], object]] = []
        if self.statements is not None:
            tasks.append(self.statements.flush)
        tasks.append(partial(evict_old, self.lake.store))
        tasks.append(partial(write_files, self.lake))
        tasks += [journal.tidy for journal in self.lake.journals.opened()]
        tasks.append(partial(self.guard.keep_checkpoints, now=True))
        with ExitStack() as stack:  # each is done, and then the last error is raised
            for task in reversed(tasks):
                stack.callback(_unless_busy, task)


def _end() -> None:
    """Stop what runs, and close what reads, while the interpreter can still do it.

    DataFusion's threads call us as long as a plan runs, and what is cancelled in a database is
    cancelled by a thread: once Python has none any more, a result that was left half-read would
    keep the program from its end. And a thread that is in the midst of a statement when Python ends
    would take the process with it.
    """
    WORKING.refuse_more()
    here = [each for each in list(_OPEN) if each.is_here]
    for instance in here:
        if not instance.closed:
            instance.lake.queries.close(closed)
    WORKING.wait(END_S, lambda: any(each.lake.queries.is_busy for each in here))


atexit.register(_end)


def _untold(_: Transaction) -> None:
    """Log nothing of a transaction."""


def _unless_busy(task: Callable[[], object]) -> None:
    try:
        task()
    except StoreBusyError:
        _log.info("closing while another writer holds the lake: %s was left out", task)
