"""What handles on both kinds of table share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from affidavit.catalog.sql.expression import condition_of, delete_text, select_text, update_text
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.altering.policy import set_policy
from affidavit.catalog.tables.reading import key_of
from affidavit.catalog.values.python.arguments import checked_by_name
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.expression import Rows, Statements


class TableHandle(ABC):
    """A table by name; it always reads and writes the table as it is now."""

    def __init__(
        self, catalog: Catalog, statements: Statements, name: str, schema: str = MAIN_SCHEMA
    ) -> None:
        self._catalog = catalog
        self._statements = statements
        self._schema = schema
        self.name = name

    def __len__(self) -> int:
        return self.count()

    @abstractmethod
    def _info(self) -> TableInfo:
        """Return what the table is now."""

    @property
    def audit(self) -> str | None:
        """What reads of the table leave on record, in every session: ``reads``, ``rows`` or none.

        ``reads`` is one signed record a statement or handle read, ``rows`` one with the keys of the
        rows that it was given. Setting it is an event of the journal.
        """
        return self._info().audit

    @audit.setter
    def audit(self, level: str | None) -> None:
        set_policy(self._catalog, self._info(), level)

    @abstractmethod
    def count(self) -> int:
        """Return how many rows there are."""

    def update(
        self,
        set: Mapping[str, object],  # noqa: A002 - SQL's word
        where: str,
        *,
        params: Mapping[str, object] | None = None,
    ) -> int:
        """Set columns of the matching rows, and return how many there were.

        Args:
            set: Column to value; ``affidavit.expr("n + 1")`` for an SQL expression.
            where: An SQL predicate; ``"true"`` for every row.
            params: The values of the parameters that it names, as ``$name``.
        """
        if not checked_by_name(set, "set"):
            msg = "update needs at least one column to set"
            raise InvalidQueryError(msg)
        given = checked_by_name(params or {}, "params")
        text, values = update_text(self._schema, self.name, set, _checked_where(where), given)
        return self._statements.run(text, values)

    def delete(
        self,
        where: str | None = None,
        *,
        keys: object = None,
        params: Mapping[str, object] | None = None,
    ) -> int:
        """Delete rows, and return how many there were.

        Args:
            where: Those that match an SQL predicate.
            keys: Or those of these keys: one, or a list; of a key of several columns tuples, or
                dicts. A key that no row has is passed over.
            params: The values of the parameters that ``where`` names, as ``$name``.
        """
        if (where is None) == (keys is None):
            msg = "delete takes where= or keys=: one of them"
            raise InvalidQueryError(msg)
        if keys is None:
            text = delete_text(self._schema, self.name, _checked_where(where))
            return self._statements.run(text, dict(checked_by_name(params or {}, "params")))
        if params is not None:
            raise InvalidQueryError("params= are of where=: keys= are values themselves")
        named = self._of_keys(keys)
        if named is None:
            return 0
        return self._statements.run(delete_text(self._schema, self.name, named[0]), named[1])

    def _of_keys(self, keys: object) -> tuple[str, dict[str, Any]] | None:
        columns = [column for column in key_of(self._info()) if column != ROWID]
        return condition_of(keys, columns, self.name)

    def get(self, keys: object) -> Rows:
        """Return the rows of these keys, in no particular order, as a query's result.

        ``keys`` is one or a list of them; of a key of several columns tuples, or dicts. A key that
        no row has is passed over.

        Raises:
            ConstraintError: The table has no primary key.
            InvalidQueryError: A key is NULL, or has other columns.
        """
        named = self._of_keys(keys) or ("false", {})
        return self._statements.rows(select_text(self._schema, self.name, named[0]), named[1])


def _checked_where(where: object) -> str:
    if not isinstance(where, str) or not where.strip():
        msg = f"where must be an SQL predicate such as 'id = 3', or 'true' for all; got {where!r}"
        raise InvalidQueryError(msg)
    return where
