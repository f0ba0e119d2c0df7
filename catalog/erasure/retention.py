"""``session.retention``: for how long what is kept, and letting go of what is older.

Rules:
    - Nothing goes by itself: a run lets go of what is due, and reports.
    - What is held stays, and what would have to go with it.
    - Roots and leaves stay: what is left verifies. What went is said by an entry of the ledger.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from affidavit.catalog.erasure.kinds import KINDS_KEPT, Due, kind_of
from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import RETENTIONS
from affidavit.catalog.values.canonical import datetime_of, from_us
from affidavit.catalog.values.durations import kept_us
from affidavit.catalog.values.python.arguments import checked_text
from affidavit.errors import InvalidQueryError, ReadOnlyError, RecordNotFoundError, TransactionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime, timedelta

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.values.types import StoreValue

SET: Final = "retention-set"
"""The kind of the entry that says for how long something is kept from now on."""


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long something is kept.

    Attributes:
        what: What it is.
        keep: For how long, as it was said.
        reason: Why, as it was said.
        actor: Who said so.
        created_at: When, UTC.
        ran_at: When what is older was last let go of, UTC; ``None`` if never.
    """

    what: str
    keep: str
    reason: str
    actor: str
    created_at: datetime
    ran_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """What one run let go of.

    Attributes:
        what: Of what.
        before: What is older than this was due, UTC.
        let_go: How much went: events, records, rows or versions.
        held: What was due and stays, since it is held.
    """

    what: str
    before: datetime
    let_go: int
    held: tuple[str, ...] = ()

    def __str__(self) -> str:
        held = f"; held: {', '.join(self.held)}" if self.held else ""
        return f"{self.what}: {self.let_go:,} from before {self.before:%Y-%m-%d %H:%M}{held}"


class Retention:
    """For how long one tenant keeps what; in SQL the table ``system.retention``."""

    def __init__(self, catalog: Catalog, settle: Callable[[], object]) -> None:
        self._catalog = catalog
        self._settle = settle

    def __repr__(self) -> str:
        return f"Retention({', '.join(f'{each.what}: {each.keep}' for each in self)})"

    def __iter__(self) -> Iterator[Kept]:
        return iter(self.list())

    def list(self) -> list[Kept]:
        """Return for how long what is kept; what is not among them is kept for ever."""
        with self._catalog.read() as reader:
            return [kept for kept, _ in _kept(reader, self._catalog.tenant)]

    def set(self, what: str, keep: str | timedelta | None, *, reason: str = "") -> None:
        """Keep something for so long from now on; what is older goes with the next :meth:`run`.

        Args:
            what: ``journal``, ``searches``, ``reads``, ``records``, ``statements``, ``topics``,
                ``dead_letters``, ``versions`` of vector tables, or one topic: ``topics.NAME``.
            keep: A ``timedelta``, or text such as ``6y``, ``18mo``, ``90d``, ``12h``; ``None`` for
                ever. A month has 31 days and a year 366.
            reason: Why, for the ledger.

        Raises:
            InvalidQueryError: There is nothing of that name, or it is no duration.
        """
        name, why = kind_of(what), checked_text(reason, "reason")
        if keep is not None:
            kept_us(keep)
        told = None if keep is None else keep if isinstance(keep, str) else _written(keep)
        catalog = self._writable("retention is set")
        with catalog.write() as writer:
            writer.delete_where(RETENTIONS, own(catalog.tenant, Compare("=", "what", name)))
            if told is not None:
                now = clock.now_us()
                row = (name, told, why, catalog.identity.actor, now, None, None)
                writer.insert(RETENTIONS, columns_of(RETENTIONS), [row])
            catalog.ledger.note(writer, SET, catalog.identity, what=name, keep=told, reason=why)

    def run(self, what: str | None = None) -> Sequence[RetentionRun]:
        """Let go of what is older than it is kept, and return what that was.

        Args:
            what: Of one of the kinds of :meth:`set` alone; of all that have a retention by default.

        Raises:
            RecordNotFoundError: ``what`` has no retention.
            TransactionError: A transaction is open, which could not take this back.
        """
        catalog = self._writable("what is old is let go")
        wanted = None if what is None else kind_of(what)
        with catalog.read() as reader:
            every = [each for each, _ in _kept(reader, catalog.tenant)]
        kept = [each for each in every if wanted in {None, each.what}]
        if wanted is not None and not kept:
            msg = f"{wanted!r} is kept for ever: session.retention.set({wanted!r}, '6y') first"
            raise RecordNotFoundError(msg)
        self._settle()
        names = frozenset(each.what for each in every)
        return [self._ran(catalog, each, names) for each in kept]

    def _ran(self, catalog: Catalog, kept: Kept, names: frozenset[str]) -> RetentionRun:
        before_us = max(clock.now_us() - kept_us(kept.keep), 0)
        kind, _, name = kept.what.partition(".")
        apart = frozenset(each.partition(".")[2] for each in names if each.startswith(f"{kind}."))
        due = Due(catalog, before_us, kept.keep, kept.reason, name or None, apart)
        let_go, held = KINDS_KEPT[kind](due)
        found = RetentionRun(kept.what, datetime_of(before_us), let_go, tuple(held))
        told = {**asdict(found), "before": from_us(before_us)}
        with catalog.write() as writer:
            values: dict[str, StoreValue] = {"ran_at": clock.now_us(), "report": json.dumps(told)}
            by_name = own(catalog.tenant, Compare("=", "what", kept.what))
            writer.update_where(RETENTIONS, values, by_name)
        return found

    def _writable(self, what: str) -> Catalog:
        catalog = self._catalog
        catalog.refuse_past()
        if catalog.lake.read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)
        if catalog.transactions.current() is not None:
            msg = f"{what} outside of transactions: COMMIT or ROLLBACK first"
            raise TransactionError(msg)
        return catalog


def _written(keep: timedelta) -> str:
    """Return a duration as text that is read back."""
    return f"{keep.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def _kept(reader: Reader, tenant: str) -> list[tuple[Kept, str | None]]:
    """Return for how long a tenant keeps what, and what the last run told."""
    columns = columns_of(RETENTIONS)
    rows = reader.select(RETENTIONS, columns, own(tenant), order_by=("what",))
    found = []
    for what, keep, reason, actor, created_at, ran_at, report in rows:
        if not isinstance(keep, str) or not isinstance(created_at, int):
            msg = f"what the store says of the retention of {what!r} cannot be read"
            raise InvalidQueryError(msg)
        ran = datetime_of(ran_at) if isinstance(ran_at, int) else None
        kept = Kept(str(what), keep, str(reason), str(actor), datetime_of(created_at), ran)
        found.append((kept, None if report is None else str(report)))
    return found


def shown(reader: Reader, tenant: str) -> list[dict[str, object]]:
    """Return the rows of ``system.retention``."""
    return [{**asdict(kept), "report": report} for kept, report in _kept(reader, tenant)]
