"""What workers settle outside of transactions: what comes at one time is committed together.

Rules:
    - Whoever waits for a commit has it when the call returns; threads that wait share one.
    - What a worker gathers is committed within the time that it asked for, when it looks for more
      events, or when it closes. What a crash takes is delivered again: it was not settled.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.predicate import And, Compare, In
from affidavit.catalog.store.forks import Process
from affidavit.catalog.store.group_commit import GroupCommit
from affidavit.catalog.store.loops import refuse_own_writer
from affidavit.catalog.store.tables import DELIVERIES
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Store, Writer
    from affidavit.catalog.topics.consumer import Consumer
    from affidavit.triggers.subscriptions.delivery import Lease

    Step = Callable[[Writer], None]
    """What is done in a transaction; done again where another of them failed."""

GATHERED_MAX: Final = 1000
"""How many acknowledgements wait at most; whoever brings another commits them."""

OFFSETS_MAX: Final = 500
"""How many events one statement names."""

_log: Final = logging.getLogger("affidavit")


class _Timer(threading.Timer):
    """One that keeps no program from its end."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        super().__init__(seconds, call)
        self.daemon = True


class Settling:
    """Commits steps in a group a tenant, for one opened lake. Safe across threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._process = Process("the session")
        self._groups: dict[str, GroupCommit[Step, bool]] = {}

    def commit(self, tenant: str, step: Step) -> None:
        """Do ``step`` in a transaction, which is committed when this returns.

        Raises:
            ForkedError: This is a fork of the process, whose threads may be committing.
        """
        self._process.refuse_forked()
        refuse_own_writer(self._store.holds)
        self._group(tenant).submit(step)

    def _group(self, tenant: str) -> GroupCommit[Step, bool]:
        known = self._groups.get(tenant)
        if known is not None:
            return known
        return self._groups.setdefault(tenant, GroupCommit(lambda each: self._do(tenant, each)))

    def _do(self, tenant: str, steps: Sequence[Step]) -> list[bool]:
        with self._store.write(tenant) as writer:
            for step in steps:
                step(writer)
        return [True] * len(steps)


@dataclass(frozen=True, slots=True)
class Part:
    """What was gathered: leases that were settled, and those that were handed out and were not."""

    settled: dict[Lease, None] = field(default_factory=dict)
    handed: dict[Lease, None] = field(default_factory=dict)

    def settle(self, lease: Lease) -> None:
        """Note that a delivery was dealt with."""
        self.handed.pop(lease, None)
        self.settled[lease] = None

    def after(self, earlier: Part) -> Part:
        """Return this with what was gathered ``earlier`` and not committed."""
        handed = {
            lease: None for lease in (earlier.handed | self.handed) if lease not in self.settled
        }
        return Part(earlier.settled | self.settled, handed)


def own_deliveries(consumer: Consumer, *conditions: Predicate) -> And:
    """Return the predicate for what a consumer has in hand, and meets ``conditions``."""
    return And((Compare("=", "consumer_id", consumer.consumer_id), *conditions))


def write_part(writer: Writer, consumer: Consumer, part: Part) -> None:
    """Settle what was gathered, and count what was handed out; not what is another's by now.

    A consumer that was moved meanwhile has other leases of the same events.
    """
    for held in _held(consumer, part.settled):
        writer.delete_where(DELIVERIES, held)
    for held in _held(consumer, part.handed):
        writer.update_where(DELIVERIES, {"attempts": 1}, held)


def _held(consumer: Consumer, leases: Iterable[Lease]) -> Iterator[Predicate]:
    """Yield the predicates for leases, those of one token together."""
    for token, some in groupby(leases, lambda lease: lease.token):
        offsets = tuple(lease.offset for lease in some)
        for at in range(0, len(offsets), OFFSETS_MAX):
            part = In("offset", offsets[at : at + OFFSETS_MAX])
            yield own_deliveries(consumer, part, Compare("=", "token", token))


class Gathered:
    """What one worker settled and handed out lately, committed within a time.

    Args:
        within_s: How long an acknowledgement waits at most.
        write: Commits what was gathered.

    Attributes:
        is_open: Whether more may be gathered.
        is_late: Whether committing in the background failed: who comes next commits, and is told.
    """

    def __init__(self, within_s: float, write: Callable[[Part], None]) -> None:
        self.is_open = True
        self.is_late = False
        self._within_s = within_s
        self._write = write
        self._part = Part()
        self._changing = threading.Lock()
        self._committing = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def waiting(self) -> int:
        """How many acknowledgements are not committed."""
        return len(self._part.settled)

    def has_settled(self, lease: Lease) -> bool:
        """Return whether a delivery was dealt with, and that is not committed."""
        return lease in self._part.settled

    def hand_out(self, lease: Lease) -> None:
        """Have a delivery counted."""
        with self._changing:
            self._part.handed[lease] = None
            self._begin()

    def settle(self, lease: Lease) -> None:
        """Have a delivery settled for good."""
        with self._changing:
            self._part.settle(lease)
            self._begin()
        if self.is_late or self.waiting > GATHERED_MAX:
            self.commit()

    def _begin(self) -> None:
        if self._timer is None:
            self._timer = _Timer(self._within_s, self._commit_late)
            self._timer.start()

    def _commit_late(self) -> None:
        self._timer = None
        try:
            self.commit()
        except AffidavitError as error:
            self.is_late = True
            _log.warning("acknowledgements wait for the next call: %s", error)

    @contextmanager
    def taken(self) -> Iterator[Part]:
        """Hand over what was gathered, to be committed in the block; take it back if it raises."""
        with self._changing:
            part, self._part = self._part, Part()
        try:
            yield part
        except BaseException:
            with self._changing:
                self._part = self._part.after(part)
            raise
        self.is_late = False

    def commit(self) -> None:
        """Commit what was gathered, and wait for what is being committed."""
        with self._committing, self.taken() as part:
            if part.settled or part.handed:
                self._write(part)

    def close(self) -> None:
        """Gather nothing more, and commit what there is."""
        self.is_open = False
        timer = self._timer
        if timer is not None:
            timer.cancel()
        self.commit()
