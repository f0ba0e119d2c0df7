"""Who a session acts for, and what is its own: its transaction, and how long it lives.

Rules:
    - A session is one caller's. What it begins, prepares, sets and attaches of memory is seen by no
      other, and goes with it.
    - Nothing here knows a thread or a task: a session may be handed on between them, and a block
      may be left in another one than it was entered in.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self
from uuid import uuid4

from affidavit.catalog.model.identity import UNSET, Identity
from affidavit.catalog.values.python.arguments import checked_switch
from affidavit.engine.plan.state import PlanState
from affidavit.engine.session.work import Work
from affidavit.errors import ClosedError, NoTenantError, ReadOnlyError, TransactionError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from affidavit.catalog.lake.queries import Queries
    from affidavit.catalog.model.identity import _Unset
    from affidavit.catalog.model.moment import Moment
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.store.transaction import Transaction
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.reads.attempts import Attempts
    from affidavit.engine.session.instance import Instance
    from affidavit.engine.statement.shown import Shown


class Own:
    """What one session has of its own.

    Attributes:
        transactions: Its transactions.
        work: What it runs.
        state: What it prepared, set, and attached of memory.
    """

    def __init__(
        self, transactions: Transactions, queries: Queries, shown: Shown, attempts: Attempts
    ) -> None:
        self.transactions = transactions
        self.work = Work(queries, shown, lambda query, why: attempts.note(query, transactions, why))
        self.state = PlanState()

    def close(self) -> None:
        """Stop what runs, roll back what is open, and let go of the rest."""
        try:
            self.work.close()
            self.transactions.close()
        finally:
            self.state.clear()


class Caller:
    """One caller, on what an instance holds; a context manager that closes itself.

    Args:
        instance: The opened lake.
        identity: Who asks.
        reach: What statements may reach.
        scoped: Whether another session made it: then closing it leaves the lake open.
        at: The moment that is read, if not now.
        own: What it has of its own, where it is another's that it shows.
        within: The one transaction that it is good for, if it is for one.
        opener: The session that made it, which is not closed for want of a name before it is.
    """

    def __init__(
        self,
        instance: Instance,
        identity: Identity,
        reach: Reach,
        *,
        scoped: bool = False,
        at: Moment | None = None,
        own: Own | None = None,
        within: Transaction | None = None,
        opener: Caller | None = None,
    ) -> None:
        self._instance = instance
        self._opener = opener
        self._identity = identity
        self._reach = reach.held_by(uuid4().hex, instance.reach.own)
        self._scoped = scoped
        self._at = at
        self._within = within
        self._is_view = own is not None
        if own is None:
            transactions = instance.transactions(identity)
            own = Own(transactions, instance.lake.queries, instance.shown, instance.attempts)
        self._own = own

    # --- who -----------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Who asks."""
        return self._identity

    @property
    def tenant(self) -> str | None:
        """Whose tables are seen and written; ``None`` for the shared scope."""
        return self._identity.shown_tenant

    @property
    def is_scoped(self) -> bool:
        """Whether another session made this one."""
        return self._scoped

    @property
    def actor(self) -> str:
        """Who acts."""
        return self._identity.actor

    def scope(
        self,
        *,
        tenant: str | _Unset | None = UNSET,
        actor: str | None = None,
        source: str | None = None,
        workspace: str | None = None,
        reason: str | None = None,
        context: Mapping[str, Any] | None = None,
        allowed_paths: Iterable[str | os.PathLike[str]] | None = None,
        allowed_urls: Iterable[str] | None = None,
    ) -> Self:
        """Return a session of its own that acts for somebody else; close it, or use it in ``with``.

        It has its own transaction, prepared statements, settings and frames, and nothing of this
        one but its identity, where that is not given anew, and the moment that it reads. This
        session stays what it is. Closing the session that opened the lake closes it too.

        Statements in a scope with a ``tenant`` may name no path unless ``allowed_paths`` has it,
        and connect nowhere but to ``allowed_urls``; tables that were attached before are read as
        ever. A scope can be scoped further, and never to another tenant.

        ``context`` is what is known of the request, such as its address, id and purpose: it stands
        in every record of a search or read, committed to by a salted hash.

        Raises:
            InvalidQueryError: ``context`` is no JSON object, or has more than 8,192 bytes.
            NoTenantError: ``tenant`` cannot name one, or this session is another tenant's scope.
            PathNotAllowedError: A path or URL lies outside of what this session may reach.
            ClosedError: This session was closed.
        """
        self._instance.refuse_forked()
        self._refuse_closed()
        identity = self._identity.narrowed(
            tenant=tenant, actor=actor, source=source, workspace=workspace, reason=reason,
            context=context,
        )  # fmt: skip
        if self._scoped and self._identity.scoped and identity.tenant != self._identity.tenant:
            msg = f"a session scoped to tenant {self.tenant!r} cannot act for another"
            raise NoTenantError(msg)
        reach, given = self._reach, (allowed_paths, allowed_urls)
        if not isinstance(tenant, type(UNSET)) or given != (None, None):
            reach = reach.within(allowed_paths or (), allowed_urls or ())
        return type(self)(self._instance, identity, reach, scoped=True, at=self._at, opener=self)

    def _view(self, *, at: Moment | None = None, within: Transaction | None = None) -> Self:
        """Return this session's own state, as it is at a moment or for one transaction."""
        return type(self)(
            self._instance, self._identity, self._reach, scoped=True, at=at or self._at,
            own=self._own, within=within,
        )  # fmt: skip

    # --- transactions --------------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, immediate: bool = False) -> Iterator[Self]:
        """Commit what the block does to mutable tables, or roll all of it back if it raises.

        Yields the session, good for this transaction alone: ``tx.sql``, ``tx.commit``,
        ``tx.rollback``, ``tx.savepoint``; it refuses all once that is over. The session itself is
        in the transaction too, in whichever thread or task, one statement at a time, and is in none
        afterwards. Nobody else is.

        The transaction takes nothing until it needs it. What its first read saw is what it reads
        until its first change; that waits for other writers, who wait for this one from then on.
        ``immediate`` waits for them now. Vector tables commit on their own and refuse to be changed
        inside.

        Raises:
            TransactionError: There is a transaction already; or this one did nothing for
                ``transaction_idle_s`` while it kept others from writing, and was rolled back.
            ConflictError: Tables that it read were changed before its first change. Run it again.
        """
        self._refuse_past_or_read_only()
        checked_switch(immediate, "immediate")
        transactions = self._own.transactions
        with transactions.block(self._identity.tenant, immediate=immediate) as begun:
            yield self._view(within=begun)

    def begin(self, *, immediate: bool = False) -> None:
        """Begin a transaction, as :meth:`transaction` does, until :meth:`commit` or ``rollback``.

        Raises:
            TransactionError: There is one already.
        """
        self._refuse_past_or_read_only()
        checked_switch(immediate, "immediate")
        self._own.transactions.begin(self._identity.tenant, immediate=immediate)

    def commit(self) -> None:
        """Keep what the open transaction did.

        Raises:
            TransactionError: There is none.
        """
        self._refuse_ended()
        self._own.transactions.commit()

    def rollback(self) -> None:
        """Undo what the open transaction did.

        Raises:
            TransactionError: There is none.
        """
        self._refuse_ended()
        self._own.transactions.rollback()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block did in the open transaction, and only that, if it raises.

        Raises:
            TransactionError: There is no transaction.
        """
        self._refuse_ended()
        transactions, name = self._own.transactions, f"block {uuid4().hex}"
        with transactions.turn():
            begun = transactions.required("SAVEPOINT")
            begun.savepoint(name)
        try:
            yield
        except BaseException:
            if begun.open and begun.is_here:
                with transactions.turn():
                    begun.rollback_to(name)
                    begun.release(name)
            raise
        self._instance.refuse_forked()
        with transactions.turn():
            begun.release(name)

    def _refuse_ended(self) -> None:
        """Raise TransactionError if this is for a transaction that is over."""
        self._instance.refuse_forked()
        if self._within is not None and not self._within.open:
            with self._own.transactions.turn():  # why, if nobody was told
                self._within.refuse_ended()

    def _refuse_past_or_read_only(self) -> None:
        self._refuse_ended()
        if self._at is not None or self._instance.lake.read_only:
            msg = "this session only reads: it has nothing to begin a transaction for"
            raise ReadOnlyError(msg)

    # --- the end -------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether this session, or the one that opened its lake, was closed."""
        return self._instance.closed or self._own.transactions.closed

    def _refuse_closed(self) -> None:
        self._own.transactions.refuse_closed()
        if self._instance.closed:
            msg = "the session is closed: connect again"
            raise ClosedError(msg)

    def close(self) -> None:
        """Roll back what is open, and let go of what was prepared, set and attached of memory.

        Closing the session that :func:`connect` returned releases the lake, and closes every scope.

        Raises:
            TransactionError: This is inside a block of :meth:`transaction`.
        """
        if not self._is_view and self._own.transactions.is_in_block:
            msg = "the session cannot be closed inside its own transaction: leave the block first"
            raise TransactionError(msg)
        self._end()

    def _end(self) -> None:
        if self._is_view or self._instance.closed or not self._instance.is_here:
            return  # in a forked process what is open is the other's
        if self._scoped:
            self._own.close()
        else:
            self._instance.close()
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __reduce__(self) -> NoReturn:
        msg = (
            "a Session cannot be copied or pickled: it owns what it has open. Use session.scope() "
            "for another one here, and affidavit.connect() in another process"
        )
        raise TypeError(msg)

    def __del__(self) -> None:
        own = getattr(self, "_own", None)
        if own is None or self._is_view or self._instance.closed or not self._instance.is_here:
            return
        if self._scoped:  # its handles and results may go on; nobody can end its transaction
            if not sys.is_finalizing():
                own.transactions.abandon()
            return
        warnings.warn(
            f"unclosed session on {self._instance.lake.path}",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        if not sys.is_finalizing():  # then the next to open the lake does what is left to do
            self._end()

    def __repr__(self) -> str:
        who = f", actor={self.actor!r}" if self.actor else ""
        return f"Session({str(self._instance.lake.path)!r}, tenant={self.tenant!r}{who})"


def own_of(caller: Caller) -> Own:
    """Return what a session has of its own, for who asks it from threads of theirs.

    Raises:
        ForkedError: This is a fork of the process that opened the lake: it has no such threads.
    """
    caller._instance.refuse_forked()  # noqa: SLF001 - this module's own
    return caller._own  # noqa: SLF001 - as above
