"""Which transaction a thread or async task is in."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING

from affidavit.errors import TransactionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from affidavit.catalog.store.protocol import Store, Writer

_current: ContextVar[Mapping[int, Transaction]] = ContextVar(
    "affidavit_transactions", default=MappingProxyType({})
)


class Transaction:
    """An open transaction of one tenant. What a statement in it reads sees what it wrote."""

    def __init__(self, writer: Writer, tenant: str, stack: ExitStack) -> None:
        self.writer = writer
        self.tenant = tenant
        self._stack = stack
        self.open = True

    def end(self, error: BaseException | None = None) -> None:
        """Commit, or roll back if there was an ``error``."""
        self.open = False
        if error is None:
            self._stack.close()
        else:
            self._stack.__exit__(type(error), error, error.__traceback__)


class _RolledBackError(Exception):
    """Thrown into the store's transaction to make it roll back."""


class Transactions:
    """The transactions of one store, each visible only to the context that began it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def current(self) -> Transaction | None:
        """Return this thread's or task's open transaction."""
        found = _current.get().get(id(self))
        return found if found is not None and found.open else None

    def begin(self, tenant: str) -> Transaction:
        """Open a transaction, waiting for other writers.

        Raises:
            TransactionError: This context is in one already.
        """
        if self.current() is not None:
            msg = "a transaction is open already: COMMIT or ROLLBACK it first"
            raise TransactionError(msg)
        stack = ExitStack()
        writer = stack.enter_context(self._store.write(tenant))
        transaction = Transaction(writer, tenant, stack)
        _current.set({**_current.get(), id(self): transaction})
        return transaction

    def _take(self, verb: str) -> Transaction:
        transaction = self.current()
        if transaction is None:
            msg = f"{verb} without a transaction: BEGIN one first"
            raise TransactionError(msg)
        _current.set({k: v for k, v in _current.get().items() if k != id(self)})
        return transaction

    def commit(self) -> None:
        """Commit this context's transaction."""
        self._take("COMMIT").end()

    def rollback(self) -> None:
        """Roll this context's transaction back."""
        transaction = self._take("ROLLBACK")
        with suppress(_RolledBackError):
            transaction.end(_RolledBackError())

    @contextmanager
    def transaction(self, tenant: str) -> Iterator[Transaction]:
        """Commit what the block did, or roll all of it back if it raises."""
        transaction = self.begin(tenant)
        try:
            yield transaction
        except BaseException:
            if transaction.open:
                self.rollback()
            raise
        if transaction.open:
            self.commit()

    def rollback_all(self) -> None:
        """Roll back what this context left open."""
        if self.current() is not None:
            self.rollback()
