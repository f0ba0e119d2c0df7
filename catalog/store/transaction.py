"""Which transaction a thread or async task is in."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import uuid4

from affidavit.errors import TransactionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from affidavit.catalog.store.protocol import Store, Writer

_blocks: ContextVar[Mapping[int, Transaction]] = ContextVar(
    "affidavit_transactions", default=MappingProxyType({})
)


class Transaction:
    """An open transaction of one tenant. What a statement in it reads sees what it wrote.

    Attributes:
        writer: The store's transaction.
        tenant: Whose it is.
        releases: Whether rows reach the caller before it is committed: it is the caller's own, and
            not one statement's.
        open: Whether it is neither committed nor rolled back.
    """

    def __init__(self, writer: Writer, tenant: str, stack: ExitStack, *, releases: bool) -> None:
        self.writer = writer
        self.tenant = tenant
        self.releases = releases
        self._stack = stack
        self._on_end: list[Callable[[bool], None]] = []
        self._thread = threading.current_thread()
        self.open = True

    def end(self, error: BaseException | None = None) -> None:
        """Commit, or roll back if there was an ``error``."""
        self.open = False
        committed = False
        try:
            if error is None:
                self._stack.close()
                committed = True
            else:
                self._stack.__exit__(type(error), error, error.__traceback__)
        finally:
            with ExitStack() as calls:  # each is made, whatever another of them raises
                for call in reversed(self._on_end):
                    calls.callback(call, committed)

    @property
    def is_here(self) -> bool:
        """Whether it is open, and was opened by this thread."""
        return self.open and self._thread is threading.current_thread()

    @property
    def is_orphan(self) -> bool:
        """Whether it is open, and the thread that opened it is gone."""
        return self.open and not self._thread.is_alive()

    @cached_property
    def tx_id(self) -> str:
        """What the journal calls the transaction."""
        return uuid4().hex

    def on_end(self, call: Callable[[bool], None]) -> None:
        """Call ``call`` once this is over, with whether it was committed."""
        self._on_end.append(call)


class _RolledBackError(Exception):
    """Thrown into the store's transaction to make it roll back."""


class Transactions:
    """The transactions of one opened lake, each seen only by the thread that began it.

    A ``with`` block's transaction belongs to its thread and async task. One that SQL's BEGIN opened
    belongs to its thread, since nothing says where it ends but a later statement.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begun: dict[int, Transaction] = {}

    def current(self) -> Transaction | None:
        """Return the transaction that a statement here is part of."""
        for found in (_blocks.get().get(id(self)), self._begun.get(threading.get_ident())):
            # a thread may inherit another's context, or a dead one's number
            if found is not None and found.is_here:
                return found
        return None

    def _open(self, tenant: str, *, releases: bool) -> Transaction:
        if self.current() is not None:
            msg = "a transaction is open already: COMMIT or ROLLBACK it first"
            raise TransactionError(msg)
        self._end_orphans()
        stack = ExitStack()
        writer = stack.enter_context(self._store.write(tenant))
        return Transaction(writer, tenant, stack, releases=releases)

    def begin(self, tenant: str) -> None:
        """Open a transaction until :meth:`commit` or :meth:`rollback`, waiting for other writers.

        Raises:
            TransactionError: There is one already.
        """
        self._begun[threading.get_ident()] = self._open(tenant, releases=True)

    def _end_orphans(self) -> None:
        """Roll back what threads that are gone left open."""
        for number, transaction in list(self._begun.items()):
            if transaction.is_orphan:
                del self._begun[number]
                _roll_back(transaction)

    def _taken(self, verb: str, tenant: str) -> Transaction:
        transaction = self.current()
        if transaction is None:
            msg = f"{verb} without a transaction: BEGIN one first"
            raise TransactionError(msg)
        if transaction.tenant != tenant:
            msg = f"{verb} of a transaction that belongs to another tenant"
            raise TransactionError(msg)
        self._begun.pop(threading.get_ident(), None)
        return transaction

    def commit(self, tenant: str) -> None:
        """Commit the tenant's transaction that is open here."""
        self._taken("COMMIT", tenant).end()

    def rollback(self, tenant: str) -> None:
        """Roll the tenant's transaction that is open here back."""
        _roll_back(self._taken("ROLLBACK", tenant))

    @contextmanager
    def transaction(self, tenant: str, *, releases: bool = False) -> Iterator[Transaction]:
        """Commit what the block did, or roll all of it back if it raises."""
        transaction = self._open(tenant, releases=releases)
        token = _blocks.set({**_blocks.get(), id(self): transaction})
        try:
            yield transaction
        except BaseException:
            if transaction.open:
                _roll_back(transaction)
            raise
        finally:
            _blocks.reset(token)
        if transaction.open:
            transaction.end()

    def rollback_all(self) -> None:
        """Roll back whatever BEGIN opened and nobody ended.

        Raises:
            TransactionError: This is inside a ``with`` block's transaction.
        """
        block = _blocks.get().get(id(self))
        if block is not None and block.is_here:
            msg = "the session cannot be closed inside its own transaction: leave the block first"
            raise TransactionError(msg)
        while self._begun:
            _, transaction = self._begun.popitem()
            if transaction.open:
                _roll_back(transaction)


def _roll_back(transaction: Transaction) -> None:
    with suppress(_RolledBackError):
        transaction.end(_RolledBackError())
