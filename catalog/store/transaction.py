"""One transaction of a tenant: what it reads, from when it holds the writer, and how it ends.

Rules:
    - Nothing is taken before it is needed. The first read fixes the snapshot that is read until the
      first change; the first change opens the store's writer, which then is what is read.
    - What was read at the snapshot is as it was when the writer is opened, or nothing is written.
    - A savepoint before the first change is a note: there is nothing yet that it could bring back.
    - It knows no thread: whoever holds it may read, write and end it, one at a time.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, nullcontext
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.catalog.store.forks import Process
from affidavit.catalog.store.loops import holds_writer
from affidavit.errors import ConflictError, TransactionError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextlib import AbstractContextManager

    from affidavit.catalog.store.loops import Asked
    from affidavit.catalog.store.protocol import Reader, Store, Writer

    Look = Callable[[Reader], Hashable]
    """Finds a version in a store."""


class State(Enum):
    """How far a transaction has come."""

    OPEN = "open"
    CHANGED = "changed"
    ENDED = "ended"


_NEXT: Final = {
    (State.OPEN, "change"): State.CHANGED,
    (State.OPEN, "end"): State.ENDED,
    (State.CHANGED, "end"): State.ENDED,
}
"""What may happen, and what becomes of it."""


class _RolledBackError(Exception):
    """Thrown into the store's transaction, or a savepoint of it, to undo what was written."""


class _Savepoint:
    """A place in a transaction that it can be brought back to; a note until it is opened."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.undone: list[Callable[[], None]] = []
        self._block: AbstractContextManager[None] | None = None

    def open(self, writer: Writer) -> None:
        block = writer.savepoint()
        block.__enter__()
        self._block = block

    def close(self, *, undo: bool) -> None:
        """Keep what was written since, or ``undo`` it."""
        block, self._block = self._block, None
        if block is not None:
            _leave(block, undo=undo)


def _leave(block: AbstractContextManager[object], *, undo: bool) -> None:
    """Leave a block as if it had come to its end, or had raised."""
    if not undo:
        block.__exit__(None, None, None)
        return
    error = _RolledBackError()
    try:
        block.__exit__(type(error), error, None)
    except _RolledBackError:
        pass
    finally:
        del error  # it holds its traceback, and so this frame: a circle that only garbage ends


class Transaction:
    """An open transaction of one tenant. What a statement in it reads sees what it wrote.

    Args:
        store: Where.
        tenant: Whose it is.
        releases: Whether rows reach the caller before it is committed: it is the caller's own, and
            not one statement's.
        on_change: Called once it holds the writer.
        asked: Who asks in it, where callers do.

    Attributes:
        policies: The policies of tables that were taken away in it, or went with their tables: it
            may yet be rolled back, so what is read in it is on record as they want it.
    """

    def __init__(
        self,
        store: Store,
        tenant: str,
        *,
        releases: bool,
        on_change: Callable[[Transaction], None] = lambda _: None,
        asked: Asked | None = None,
    ) -> None:
        self.tenant = tenant
        self.releases = releases
        self._store = store
        self._on_change = on_change
        self._asked = asked
        self._process = Process("the transaction")
        self._state = State.OPEN
        self._moving = threading.RLock()
        self._snapshot = ExitStack()
        self._written: AbstractContextManager[object] = nullcontext()
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._seen: dict[Hashable, tuple[Hashable, Look]] = {}
        self._savepoints: list[_Savepoint] = []
        self.policies: list[str | None] = []
        self._on_end: list[Callable[[bool], None]] = []

    @property
    def open(self) -> bool:
        """Whether it is neither committed nor rolled back."""
        return self._state is not State.ENDED

    @property
    def is_here(self) -> bool:
        """Whether this is the process that began it, and no fork of it."""
        return self._process.is_here

    @property
    def has_changed(self) -> bool:
        """Whether it holds the store's writer."""
        return self._state is State.CHANGED

    @cached_property
    def tx_id(self) -> str:
        """What the journal calls the transaction."""
        return uuid4().hex

    def _after(self, event: str) -> State:
        """Return what becomes of it.

        Raises:
            TransactionError: It is over.
        """
        try:
            return _NEXT[self._state, event]
        except KeyError:
            self.refuse_ended()
            raise

    def refuse_ended(self) -> None:
        """Raise TransactionError if it is over."""
        if not self.open:
            msg = "this transaction is over: begin another one"
            raise TransactionError(msg)

    # --- reading and writing -------------------------------------------------------------------

    @property
    def reader(self) -> Reader:
        """What is read in it: the snapshot of its first read, and its own writes once it has any.

        Raises:
            TransactionError: It is over.
        """
        with self._moving:
            self.refuse_ended()
            if self._writer is not None:
                return self._writer
            if self._reader is None:
                self._reader = self._snapshot.enter_context(self._store.read(self.tenant))
            return self._reader

    def saw(self, reader: Reader, name: Hashable, version: Hashable, look: Look) -> None:
        """Note which version of something was read, and how it is looked up.

        What is read through the writer is as it is until the end, and needs no note.
        """
        with self._moving:
            if self._writer is None and reader is self._reader:
                self._seen.setdefault(name, (version, look))

    @property
    def writer(self) -> Writer:
        """What writes; opened by whoever asks first, who waits for other writers.

        Raises:
            ConflictError: What was read has been changed by another transaction since. Nothing is
                held, and this one still reads what it read.
            StoreBusyError: Other writers held the store for the whole timeout.
            TransactionError: It is over; or only the event loop in this thread, which would stand
                still, can end who holds the store.
        """
        with self._moving:
            if self._writer is None:
                state = self._after("change")
                self._writer = self._opened()
                self._state = state
                self._on_change(self)
            self.refuse_ended()
            return self._writer

    def _opened(self) -> Writer:
        opened = self._store.write(self.tenant)
        try:
            writer = opened.__enter__()
            self._check(writer)
            for savepoint in self._savepoints:
                savepoint.open(writer)
        except BaseException:
            for savepoint in reversed(self._savepoints):
                savepoint.close(undo=True)
            _leave(opened, undo=True)
            raise
        self._written = opened
        if self._asked is not None:
            holds_writer(self._store.holds, self._asked)
        return writer

    def _check(self, writer: Writer) -> None:
        moved = [str(name) for name, (was, look) in self._seen.items() if look(writer) != was]
        if moved:
            names = ", ".join(map(repr, sorted(moved)))
            msg = (
                f"{names} changed after this transaction had read it, and before its first change: "
                "ROLLBACK, and run the transaction again"
            )
            raise ConflictError(msg, names=moved)

    # --- savepoints ----------------------------------------------------------------------------

    def savepoint(self, name: str) -> None:
        """Note a place to come back to; of two of one name the later is meant."""
        with self._moving:
            self.refuse_ended()
            made = _Savepoint(name)
            if self._writer is not None:
                made.open(self._writer)
            self._savepoints.append(made)

    def rollback_to(self, name: str) -> None:
        """Undo what was written since a savepoint, which stays.

        Raises:
            TransactionError: There is none of that name.
        """
        with self._moving:
            at = self._place_of(name)
            for savepoint in reversed(self._savepoints[at:]):
                savepoint.close(undo=True)
            calls = [call for savepoint in self._savepoints[at:] for call in savepoint.undone]
            self._savepoints[at].undone.clear()
            del self._savepoints[at + 1 :]
            if self._writer is not None:
                self._savepoints[at].open(self._writer)
        for call in calls:
            call()

    def release(self, name: str) -> None:
        """Forget a savepoint, and those after it; what was written since stays.

        Raises:
            TransactionError: There is none of that name.
        """
        with self._moving:
            at = self._place_of(name)
            for savepoint in reversed(self._savepoints[at:]):
                savepoint.close(undo=False)
            for outer in self._savepoints[:at][-1:]:
                outer.undone.extend(call for each in self._savepoints[at:] for call in each.undone)
            del self._savepoints[at:]

    def _place_of(self, name: str) -> int:
        self.refuse_ended()
        for at in reversed(range(len(self._savepoints))):
            if self._savepoints[at].name == name:
                return at
        known = sorted({each.name for each in self._savepoints})
        msg = f"no savepoint {name!r} in this transaction; there are {known}"
        raise TransactionError(msg)

    # --- its end -------------------------------------------------------------------------------

    def on_end(self, call: Callable[[bool], None]) -> None:
        """Call ``call`` once this is over, with whether it was committed."""
        self._on_end.append(call)

    def on_undo(self, call: Callable[[], None]) -> None:
        """Call ``call`` if what was done up to now is undone by a savepoint, before the end.

        It takes no lock, and may be called from wherever a result is dropped.
        """
        for inner in self._savepoints[-1:]:
            inner.undone.append(call)

    def commit(self) -> None:
        """Keep what was written.

        Raises:
            TransactionError: It is over.
            ForkedError: This is a fork of the process that began it, which alone ends it.
            AffidavitError: It could not be committed, and was rolled back.
        """
        self._process.refuse_forked()
        self._end(undo=False)

    def rollback(self) -> None:
        """Undo what was written.

        Raises:
            TransactionError: It is over.
        """
        self._end(undo=True)

    def close(self) -> None:
        """Undo what was written, unless it is over, or another process'."""
        if not self.is_here:
            return
        with self._moving:
            if self.open:
                self._end(undo=True)

    def _end(self, *, undo: bool) -> None:
        with self._moving:
            state, committed = self._after("end"), False
            try:
                self._state = state
                self._finish(undo=undo)
                committed = not undo
            finally:
                self._savepoints.clear()
                with ExitStack() as calls:  # each is made, whatever another of them raises
                    for call in reversed(self._on_end):
                        calls.callback(call, committed)
                    calls.callback(self._snapshot.close)

    def _finish(self, *, undo: bool) -> None:
        if self._asked is not None and self._writer is not None:
            holds_writer(self._store.holds, None)
        try:
            for savepoint in reversed(self._savepoints):
                savepoint.close(undo=undo)
            _leave(self._written, undo=undo)
        except BaseException:  # an interrupt too; where all was done, this does nothing
            _leave(self._written, undo=True)
            raise
