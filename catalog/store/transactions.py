"""The transactions of one session: the one that its caller began, and those of its statements.

Rules:
    - A transaction that a caller begins is the session's, whichever thread or task asks, and ends
      in whichever. One statement at a time is in it; a second waits for its turn.
    - A statement outside of it has a transaction of its own, which the thread that runs it sees,
      and the threads that work for it.
    - Who holds the store's writer and does nothing is rolled back in the end, and is told so.
    - Nobody else's transactions are known here.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from affidavit.catalog.store.forks import WORKING
from affidavit.catalog.store.loops import Asked, refuse_own_turn
from affidavit.catalog.store.settled import settled
from affidavit.catalog.store.transaction import Transaction
from affidavit.catalog.store.turn import Place
from affidavit.errors import ClosedError, TransactionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from affidavit.catalog.store.protocol import Store
    from affidavit.catalog.store.settled import Held
    from affidavit.errors import AffidavitError

IDLE_S: Final = 30.0
"""How long a transaction may hold the store's writer and do nothing, unless it is said."""

TURN_S: Final = 30.0
"""How long a statement waits for its turn in a transaction, unless it is said."""


class Transactions:
    """The transactions of one session.

    Args:
        store: Where.
        idle_s: How long a transaction may hold the store's writer and do nothing.
        turn_s: How long a statement waits for its turn in a transaction.
        on_begin: Called with each transaction that the caller begins.

    Attributes:
        asked: Who asks in the transaction that the caller began.
    """

    def __init__(
        self,
        store: Store,
        *,
        idle_s: float = IDLE_S,
        turn_s: float = TURN_S,
        on_begin: Callable[[Transaction], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._on_begin = on_begin
        self._idle_s = idle_s
        self._turn_s = turn_s
        self.asked = Asked()
        self._main = Place()
        self._apart: dict[int, Place] = {}
        self._statements: dict[int, Transaction] = {}
        self._closed = False

    def _place(self) -> Place:
        return self._apart.get(threading.get_ident(), self._main)

    # --- whose turn it is ----------------------------------------------------------------------

    def current(self) -> Transaction | None:
        """Return the transaction that a statement here is part of."""
        here = self._statements.get(threading.get_ident())
        if here is not None and here.open:
            return here
        return self.begun

    @property
    def begun(self) -> Transaction | None:
        """The transaction that the caller began, if it is open."""
        begun = self._place().begun
        return begun if begun is not None and begun.open else None

    @property
    def policies(self) -> Sequence[str | None]:
        """The policies that were taken away in the transaction that the caller began."""
        begun = self.begun
        return () if begun is None else begun.policies

    @property
    def is_in_block(self) -> bool:
        """Whether a block of :meth:`block` was entered and not left."""
        return self._place().blocks > 0

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    def refuse_closed(self) -> None:
        """Raise ClosedError if the session was closed."""
        if self._closed:
            msg = "the session is closed: connect again, or open another scope"
            raise ClosedError(msg)

    @settled
    def turn(self) -> Iterator[None]:
        """Let one statement into the transaction that the caller began; without one, let any.

        Raises:
            TransactionError: Another statement was in it for the whole time, or is one that a task
                of the event loop in this thread waits for; or the transaction was rolled back since
                nobody used it, and this is the first to be told.
            ClosedError: The session was closed, or the program is at its end.
        """
        self.refuse_closed()
        working = WORKING.begin()
        try:
            yield from self._turn(self._place())
        finally:
            WORKING.end(working)

    def _turn(self, place: Place) -> Iterator[None]:
        place.tell()
        if place.begun is None or threading.get_ident() in self._statements:
            yield
            return
        held = self._wait(place)
        try:
            place.tell()
            self.asked.note()
            yield
        finally:
            place.touch()
            held.give_back()

    def _wait(self, place: Place) -> Held:
        held = place.turn.take(0)
        if held is None:
            refuse_own_turn(place.turn.holder)
            held = place.turn.take(self._turn_s)
        if held is None:
            msg = (
                f"another statement was in this session's transaction for {self._turn_s:g} s, and "
                "one at a time is: wait for it, or use a session of your own, as scope() gives"
            )
            raise TransactionError(msg)
        return held

    @contextmanager
    def joined(self, transaction: Transaction | None) -> Iterator[None]:
        """Make this thread part of ``transaction``, whose statement waits for it meanwhile."""
        if transaction is None or self.current() is transaction:
            yield
            return
        with self._here(transaction):
            yield

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let this thread have nothing to do with the transaction that the caller began.

        What it begins itself is its own, and is rolled back with the block if it is open then.
        """
        here = threading.get_ident()
        place = self._apart[here] = Place()
        try:
            yield
        finally:
            left = place.take()
            del self._apart[here]
            if left is not None:
                left.close()

    # --- a statement's -------------------------------------------------------------------------

    @settled
    def transaction(self, tenant: str) -> Iterator[Transaction]:
        """Commit what one statement did, or roll all of it back if it raises."""
        transaction = Transaction(self._store, tenant, releases=False)
        try:
            _ = transaction.writer
            with self._here(transaction):
                yield transaction
            transaction.commit()
        except BaseException:
            transaction.close()
            raise

    @settled
    def _here(self, transaction: Transaction) -> Iterator[None]:
        here = threading.get_ident()
        before = self._statements.get(here)
        self._statements[here] = transaction
        try:
            yield
        finally:
            del self._statements[here]
            if before is not None:
                self._statements[here] = before

    # --- a caller's ----------------------------------------------------------------------------

    def begin(self, tenant: str, *, immediate: bool = False) -> Transaction:
        """Open a transaction until :meth:`commit` or :meth:`rollback`.

        It takes nothing before it needs it; ``immediate`` opens the writer now.

        Raises:
            TransactionError: There is one already.
            StoreBusyError: The writer was asked for, and others held it for the whole timeout.
        """
        self.refuse_closed()
        place = self._place()
        held = self._wait(place)
        try:
            place.tell()
            if self.current() is not None:
                msg = "a transaction is open already: COMMIT or ROLLBACK it first"
                raise TransactionError(msg)
            made = Transaction(
                self._store, tenant, releases=True, on_change=lambda _: self._watch(place),
                asked=self.asked,
            )  # fmt: skip
            self.asked.forget()
            self.asked.note()
            place.put(made)
            if immediate:
                try:
                    _ = made.writer
                except BaseException:
                    place.take()
                    made.close()
                    raise
            self._on_begin(made)
            return made
        finally:
            held.give_back()

    def commit(self) -> None:
        """Commit the transaction that the caller began.

        Raises:
            TransactionError: There is none.
        """
        with self._ending("COMMIT") as transaction:
            transaction.commit()

    def rollback(self) -> None:
        """Roll the transaction that the caller began back.

        Raises:
            TransactionError: There is none.
        """
        with self._ending("ROLLBACK") as transaction:
            transaction.rollback()

    @settled
    def _ending(self, verb: str) -> Iterator[Transaction]:
        with self.turn():
            self.required(verb)
            taken = self._place().take()
            assert taken is not None
            try:
                yield taken
            finally:
                taken.close()

    def required(self, verb: str) -> Transaction:
        """Return the transaction that the caller began.

        Raises:
            TransactionError: There is none.
        """
        begun = self.begun
        if begun is None:
            msg = f"{verb} without a transaction: BEGIN one first"
            raise TransactionError(msg)
        return begun

    @settled
    def block(self, tenant: str, *, immediate: bool = False) -> Iterator[Transaction]:
        """Commit what the block did, or roll all of it back if it raises.

        It may be left in another thread or task than it was entered in. Where it was ended inside,
        leaving it does nothing.

        Raises:
            TransactionError: There is a transaction already; or this one was rolled back since
                nobody used it, and nobody was told yet.
            ClosedError: The session was closed meanwhile, which rolled this one back.
        """
        transaction = self.begin(tenant, immediate=immediate)
        place = self._place()
        place.enter_block()
        try:
            yield transaction
            self._leave(place, transaction)
        except BaseException:
            self._leave(place, transaction, undo=True)
            raise
        finally:
            place.leave_block()

    def _leave(self, place: Place, transaction: Transaction, *, undo: bool = False) -> None:
        if not transaction.is_here:  # nor is who may have its turn
            if not undo:
                transaction.commit()  # refuses
            return
        held = place.turn.take(self._turn_s)
        try:
            is_over = not transaction.open
            if place.begun is transaction:
                place.take()
            if held is not None and not undo and not is_over:
                transaction.commit()
        finally:
            transaction.close()
            if held is not None:
                held.give_back()
        if undo:
            return
        if is_over:
            place.tell()
        elif held is None:
            msg = "a statement was still in the transaction when it was to end: it was rolled back"
            raise TransactionError(msg)

    # --- who does nothing ----------------------------------------------------------------------

    def _watch(self, place: Place) -> None:
        """Look after a while whether a transaction that holds the writer is used."""
        ref = weakref.ref(self)  # a session that nobody holds is not kept by its clock
        arguments = (ref, place, place.watched(), self._idle_s)
        threading.Thread(
            target=_look, args=arguments, name="affidavit-transaction", daemon=True
        ).start()

    def end_idle(self, place: Place, begun: Transaction) -> float | None:
        """Roll a transaction back that nobody has used for too long.

        Returns:
            When to look again, in seconds; ``None`` for never.
        """
        left_s = place.left_s(self._idle_s)
        if left_s > 0:
            return left_s
        held = place.turn.take(0)
        if held is None:  # a statement is in it
            return self._idle_s
        try:
            if place.begun is begun:
                msg = (
                    f"the transaction held the lake's writer {place.overstayed(self._idle_s)}, and "
                    "was rolled back: begin it again, or raise transaction_idle_s="
                )
                place.take(TransactionError(msg))
                begun.rollback()
            return None
        finally:
            held.give_back()

    # --- its end -------------------------------------------------------------------------------

    def abandon(self, why: AffidavitError | None = None) -> None:
        """Roll back what the caller began, if it is open; who is in its block is told ``why``."""
        taken = self._main.take(why)
        if taken is not None:
            taken.close()

    def close(self) -> None:
        """Roll back what the caller began, and refuse every statement from now on."""
        self._closed = True
        msg = (
            "the session was closed, and its open transaction rolled back: connect again, and run "
            "the transaction again"
        )
        self.abandon(ClosedError(msg))


def _look(
    ref: weakref.ref[Transactions], place: Place, gone: threading.Event, wait_s: float
) -> None:
    """Look now and then whether a transaction is used, until it is over."""
    begun, left_s = place.begun, wait_s
    while begun is not None and not gone.wait(left_s):
        session = ref()
        again_s = None if session is None else session.end_idle(place, begun)
        if again_s is None:
            return
        left_s = again_s
        del session
