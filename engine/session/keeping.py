"""What a session lets go of, and what it holds on to: erasures, holds, retention, functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from affidavit.catalog.erasure.chosen import chosen_by_key
from affidavit.catalog.erasure.erasure import Erasure
from affidavit.catalog.erasure.holds import hold, release
from affidavit.catalog.erasure.retention import Retention
from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.values.python.arguments import checked_reason, checked_switch
from affidavit.engine.run.update import rows_where
from affidavit.engine.session.arguments import named_parameters, split_name
from affidavit.engine.session.caller import Caller
from affidavit.engine.session.given.functions import Functions
from affidavit.errors import InvalidQueryError, ReadOnlyError, TransactionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from affidavit.catalog.erasure.report import ErasureReport
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.trace import Trace
    from affidavit.catalog.model.change import ChangeListener
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.run.executor import Executor
    from affidavit.engine.search.models import Models
    from affidavit.engine.session.arguments import Params


class Keeping(Caller, ABC):
    """What a session does besides asking: it answers for what is kept."""

    @abstractmethod
    def _catalog(self, trace: Trace | None = None) -> Catalog:
        """Return what the session sees of the lake."""

    @abstractmethod
    def _executor(self, trace: Trace | None = None) -> Executor:
        """Return what runs the session's statements."""

    # --- letting go ----------------------------------------------------------------------------

    def erase(
        self,
        table: str,
        key: object = None,
        *,
        where: str | None = None,
        params: Params | None = None,
        reason: str,
        keys: bool = False,
    ) -> ErasureReport:
        """Delete rows of a table and destroy their values, for good, wherever this lake has them.

        They leave the table, every event of the journal, every older version and index of a vector
        table, topics that triggers filled, dead letters, the log of statements, and whatever else
        records say with such a value in it: queries, parameters, lineage, what results hashed to.
        Every proof goes on holding. What is beyond reach is named in the report, whose certificate
        is an entry of the ledger and a file.

        Rows of other tables stay, whatever they have in common with these.

        Args:
            table: The table's name.
            key: The key of the row, whether it is in the table still or was; a list for several, a
                tuple or dict for a key of several columns.
            where: An SQL predicate for rows that are in the table now, instead.
            params: What its ``$name``, ``$1`` or ``?`` stand for.
            reason: Why, for the ledger and the certificate.
            keys: Take the rows' keys out of others' records and events too. By default a key is a
                pseudonym, and who was given the row stays on record.

        A second call is harmless: it finishes what a reader had held up, and reports 0.

        Raises:
            HoldError: A row is held.
            RecordNotFoundError: No such row is there, or was.
            InvalidQueryError: There is neither a key nor a condition, or both, or no reason.
            StoreError: Somebody reads the state of before; call it again when that has ended, or
                open the lake anew: that finishes it.
            TransactionError: A transaction is open, which could not take this back.
        """
        checked_switch(keys, "keys")
        why = checked_reason(reason)
        if (key is None) == (where is None):
            msg = "say which rows are to be erased: by key=, or by where="
            raise InvalidQueryError(msg)
        catalog, info = self._kept_table(table, "values are erased")
        if where is not None:
            named = named_parameters(params, {})
            chosen = rows_where(self._executor(), info.schema, info.name, where, named)
        else:
            with catalog.read() as reader:
                chosen = chosen_by_key(catalog, reader, info, key)
        return Erasure(catalog, self._instance.settle_records).erase(
            info, chosen, why, keys_too=keys
        )

    def hold(self, table: str, key: object = None, *, case: str) -> None:
        """Let nobody erase a row, a list of rows, or without ``key`` any row of a table.

        Retention lets go of nothing of them either. ``system.holds`` lists what is held; that it is
        is an entry of the ledger.

        Args:
            table: The table.
            key: As :meth:`erase` takes it.
            case: What it is held for, which must be said to end it.
        """
        catalog, info = self._kept_table(table, "rows are held")
        hold(catalog, info, self._held_ids(catalog, info, key), checked_reason(case, "case"))

    def release_hold(self, table: str, key: object = None, *, case: str) -> None:
        """End what :meth:`hold` began.

        Raises:
            RecordNotFoundError: There is no such hold.
        """
        catalog, info = self._kept_table(table, "holds are released")
        release(catalog, info, self._held_ids(catalog, info, key), checked_reason(case, "case"))

    def _held_ids(self, catalog: Catalog, info: TableInfo, key: object) -> Iterable[str | None]:
        if key is None:
            return [None]
        with catalog.read() as reader:
            return sorted(chosen_by_key(catalog, reader, info, key).ids)

    def _kept_table(self, table: str, what: str) -> tuple[Catalog, TableInfo]:
        """Return a table whose rows are kept here, and what sees it."""
        catalog = self._catalog()
        if catalog.lake.read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)
        catalog.refuse_past()
        if catalog.transactions.current() is not None:
            msg = f"{what} outside of transactions: COMMIT or ROLLBACK first"
            raise TransactionError(msg)
        schema, name = split_name(table)
        with catalog.read() as reader:
            info = catalog.get(reader, name, schema)
        catalog.refuse_shared(info)
        if not KINDS[info.kind].has_rows:
            msg = f"{name!r} is a {KINDS[info.kind].word}, which has no rows of its own"
            raise InvalidQueryError(msg)
        return catalog, info

    @property
    def retention(self) -> Retention:
        """For how long what is kept: set, listed, and let go of when it is due."""
        return Retention(self._catalog(), self._instance.settle_records)

    @property
    def models(self) -> Models:
        """The embedding models that encode queries given as text, and texts of rows."""
        return self._instance.models

    @property
    def functions(self) -> Functions:
        """Python functions that this session's statements call, and no other's."""
        self._instance.refuse_forked()
        self._refuse_closed()
        return Functions(self._instance.planner(self._identity), self._own.state)

    # --- the seam for changes ------------------------------------------------------------------

    def add_change_listener(self, listener: ChangeListener) -> None:
        """Tell ``listener`` of every mutation, inside the transaction that makes it.

        On a session that :meth:`scope` made: of every mutation of its tenant.
        """
        tenant = self._identity.tenant if self._scoped else None
        self._instance.lake.listeners.add(listener, tenant)

    def remove_change_listener(self, listener: ChangeListener) -> None:
        """Stop telling ``listener``."""
        self._instance.lake.listeners.remove(listener)
