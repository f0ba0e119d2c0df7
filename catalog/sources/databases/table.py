"""What a database has: its tables, their columns, and the queries that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.sources.databases.dialect import Dialect


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of a source's table.

    Attributes:
        name: Its name.
        type: The Arrow type that its values are given as.
        declared: The type in the database's words.
        expression: How it is selected, where not by its name.
        compares: Whether the database compares it as its Arrow type, so that filters may be sent.
        compared: The type that it is compared as there, where that is another one.
        cast: The database's type that what is written to it is cast to, where it takes no less.
        orders: Whether the database orders rows by all of a value, however long it is.
        mark: The condition, as SQL, that a value cannot be given; the expression is NULL then.
    """

    name: str
    type: pa.DataType
    declared: str
    expression: str = ""
    compares: bool = True
    compared: pa.DataType | None = None
    cast: str = ""
    orders: bool = True
    mark: str = ""


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table or view of a source.

    Attributes:
        schema: The schema that it is in.
        name: Its name.
        columns: Its columns, in order.
        key: The columns of its primary key, if all of them are integers.
        rows: About how many rows it has; ``None`` if the database has not said.
        identity: The columns of its primary key, of whatever types: what a row is called by.
        query: What is read instead of a table, as SQL, if it is one.
        is_written: Whether the query was written here: it changes nothing, and may be asked twice.
        bases: What it reads, each as a query without rows: a column may have another type by now.
    """

    schema: str
    name: str
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...] = ()
    rows: int | None = None
    identity: tuple[str, ...] = ()
    query: str = ""
    is_written: bool = False
    bases: tuple[Select, ...] = ()

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns as they are given."""
        return pa.schema([pa.field(each.name, each.type) for each in self.columns])

    @property
    def compared(self) -> dict[str, pa.DataType]:
        """The types of the columns that filters may be sent for."""
        return {each.name: each.compared or each.type for each in self.columns if each.compares}

    @property
    def ordered(self) -> dict[str, pa.DataType]:
        """The types of the columns that rows may be ordered by: of what is given as it is there."""
        return {
            each.name: each.type
            for each in self.columns
            if each.compares and each.orders and not each.expression
        }

    def sound(self, dialect: Dialect) -> dict[str, pa.DataType]:
        """The types of those of them that have no value there that cannot be given here."""
        if not dialect.typed:
            return {}
        # a decimal may be NaN, or have more digits
        return {name: kind for name, kind in self.ordered.items() if not pt.is_decimal(kind)}

    def quoted(self, dialect: Dialect) -> str:
        """Return its name as SQL."""
        if self.query:
            return f"(\n{self.query}\n) AS {dialect.quoted(self.name)}"
        return f"{dialect.quoted(self.schema)}.{dialect.quoted(self.name)}"

    def chosen(self, names: Iterable[str]) -> list[SourceColumn]:
        """Return columns by their names."""
        known = {each.name: each for each in self.columns}
        return [known[name] for name in names]


@dataclass(frozen=True, slots=True)
class Select:
    """A query for rows of one table.

    Attributes:
        dialect: The SQL that it is written in.
        table: The table.
        columns: The columns that are asked for.
        conditions: What the rows must meet, each as SQL.
        is_exact: Whether no other rows meet them than those that are wanted, and those that have a
            value that cannot be given, where that is an error.
        is_counted: Whether there are no such rows, so that the database may count them.
        tops: What of the rows is enough: each a condition, or none, and how many come in which
            order, as SQL.
        is_short: Whether these are few.
        bad_is_null: Whether a value that cannot be given is NULL, and no error.
    """

    dialect: Dialect
    table: SourceTable
    columns: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    is_exact: bool = False
    is_counted: bool = False
    tops: tuple[tuple[str, str], ...] = ()
    is_short: bool = False
    bad_is_null: bool = False

    @property
    def marked(self) -> list[str]:
        """The columns that have a mark, which is selected behind all columns."""
        return [each.name for each in self.table.chosen(self.columns) if each.mark]

    @property
    def keyed(self) -> Select:
        """The query with what its rows are called by."""
        missing = [name for name in self.table.identity if name not in self.columns]
        return replace(self, columns=(*self.columns, *missing))

    @property
    def schema(self) -> pa.Schema:
        """The columns as they are to be given."""
        return pa.schema([self.table.arrow_schema.field(name) for name in self.columns])

    @property
    def whole(self) -> Select:
        """The query for all rows: what is wanted of them is found here."""
        return replace(self, conditions=(), is_exact=False, is_counted=False)

    @property
    def empty(self) -> Select:
        """The query without any rows."""
        return replace(self, conditions=(), tops=(("", "LIMIT 0"),))

    def where(self, condition: str) -> Select:
        """Return the query for those of its rows that meet ``condition`` too."""
        return replace(self, conditions=(*self.conditions, condition)) if condition else self

    def text(self, what: str = "", also: str = "") -> str:
        """Return it as SQL; ``what`` is selected instead of the columns, ``also`` follows."""
        quoted = self.dialect.quoted
        chosen = self.table.chosen(self.columns)
        columns = [each.expression or quoted(each.name) for each in chosen]
        columns += [f"({each.mark}) IS TRUE" for each in chosen if each.mark]
        text = f"SELECT {what or ', '.join(columns) or '1'} FROM {self.table.quoted(self.dialect)}"
        tops = [
            _where(text, (*self.conditions, *([condition] if condition else []))) + f" {first}"
            for condition, first in self.tops or [("", also)]
        ]
        if len(tops) == 1:
            return tops[0].rstrip()
        return " UNION ALL ".join(f"SELECT * FROM ({top}) AS t{n}" for n, top in enumerate(tops))


def _where(text: str, conditions: Sequence[str]) -> str:
    if not conditions:
        return text
    return f"{text} WHERE {' AND '.join(f'({each})' for each in conditions)}"
