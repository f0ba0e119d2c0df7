"""MERGE INTO target USING source ON condition WHEN ... THEN ...: parsed, and turned into one query.

The query is a full outer join of target and source. For each row that some WHEN applies to, it
gives the number of the first one, the target's old values, and the values that the WHEN computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.assignments import (
    Target,
    parse_assignments,
    parse_target,
    skip_assignments,
)
from affidavit.engine.statement.clauses import common_tables
from affidavit.engine.statement.grammar import read_expression, skip_group
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET, Part
from affidavit.errors import ColumnNotFoundError, SqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.sql.lexer import Cursor

MATCHED: Final = "matched"
NOT_IN_TARGET: Final = "not matched"
NOT_IN_SOURCE: Final = "not matched by source"

_STANDS: Final = {
    MATCHED: '{t}._rowid IS NOT NULL AND {s}."__source" IS NOT NULL',
    NOT_IN_TARGET: "{t}._rowid IS NULL",
    NOT_IN_SOURCE: '{s}."__source" IS NULL',
}


@dataclass(frozen=True, slots=True)
class When:
    """One WHEN clause.

    Attributes:
        moment: Which rows it is for.
        condition: What must hold besides; empty for nothing.
        action: ``update``, ``delete``, ``insert`` or ``nothing``.
        values: Column to expression, for ``update`` and ``insert``.
    """

    moment: str
    condition: str
    action: str
    sets: Part | None = None
    columns: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()

    def values(self, known: Sequence[str], table: str, alias: str) -> dict[str, str]:
        """Return column to expression, checked against the target's columns."""
        if self.sets is not None:
            return parse_assignments(self.sets.cursor(), known, table, alias)
        if self.action != "insert":
            return {}
        columns = self.columns or tuple(known)
        for column in columns:
            if column not in known:
                raise ColumnNotFoundError(column, table=table, known=known)
        if len(columns) != len(self.expressions):
            msg = f"MERGE inserts {len(self.expressions)} values into {len(columns)} columns"
            raise SqlError(msg)
        return dict(zip(columns, self.expressions, strict=True))


@dataclass(frozen=True, slots=True)
class Merge:
    """A parsed MERGE, with the common tables before it."""

    prefix: str
    target: Target
    source: str
    source_alias: str
    condition: str
    whens: tuple[When, ...] = field(default=())

    def query(self, values: Sequence[dict[str, str]]) -> str:
        """Return the one query; ``values`` are each WHEN's, whose columns are ``__<when>_<at>``."""
        target, source = quoted(self.target.alias), quoted(self.source_alias)
        tests = [self._test(when) for when in self.whens]
        number = " ".join(f"WHEN {test} THEN {at}" for at, test in enumerate(tests))
        computed = [
            f"CASE WHEN {tests[at]} THEN ({value}) END AS __{at}_{position}"
            for at, given in enumerate(values)
            for position, value in enumerate(given.values())
        ]
        columns = ", ".join([f"{target}.*", f"CASE {number} END AS __clause", *computed])
        return (
            f"{self.prefix} SELECT * FROM (SELECT {columns} "
            f'FROM "{DML_SCHEMA}".{DML_TARGET} AS {target} '
            f'FULL OUTER JOIN (SELECT *, TRUE AS "__source" FROM {self.source}) AS {source} '
            f"ON ({self.condition})) WHERE __clause IS NOT NULL"
        )

    def _test(self, when: When) -> str:
        stands = _STANDS[when.moment].format(
            t=quoted(self.target.alias), s=quoted(self.source_alias)
        )
        return f"({stands} AND ({when.condition}))" if when.condition else f"({stands})"


def parse_merge(cursor: Cursor) -> Merge:
    """Move past MERGE INTO ... USING ... ON ... WHEN ....

    Raises:
        SqlError: A clause is missing or cannot be read.
    """
    prefix = common_tables(cursor).text
    cursor.expect("MERGE")
    cursor.expect("INTO")
    target = parse_target(cursor, "USING")
    cursor.expect("USING")
    source, alias = _parse_source(cursor)
    cursor.expect("ON")
    condition = read_expression(cursor)
    whens = []
    while cursor.peek() == "WHEN":
        whens.append(_parse_when(cursor))
    if not whens:
        raise SqlError(f"MERGE needs at least one WHEN clause, found {cursor.found()}")
    if not cursor.done:
        raise SqlError(f"expected WHEN or the end of MERGE, found {cursor.found()}")
    return Merge(prefix, target, source, alias, condition, tuple(whens))


def _parse_source(cursor: Cursor) -> tuple[str, str]:
    """Move past ``table [alias [(columns)]]``, and return it so, and what it is called."""
    start = cursor.at
    if cursor.peek() == "(":
        skip_group(cursor)
        name = ""
    else:
        name = cursor.name("a source")
        while cursor.accept("."):
            name = cursor.name("a source")
    if cursor.accept("AS") or not name or cursor.peek() != "ON":
        name = cursor.name("an alias for the source")
        if cursor.peek() == "(":
            skip_group(cursor)
    return cursor.between(start, cursor.at), name


def _parse_when(cursor: Cursor) -> When:
    cursor.expect("WHEN")
    moment = MATCHED
    if cursor.accept("NOT"):
        cursor.expect("MATCHED")
        moment = NOT_IN_TARGET
        if cursor.accept("BY", "SOURCE"):
            moment = NOT_IN_SOURCE
        else:
            cursor.accept("BY", "TARGET")
    else:
        cursor.expect("MATCHED")
    condition = read_expression(cursor) if cursor.accept("AND") else ""
    cursor.expect("THEN")
    if moment == NOT_IN_TARGET:
        return _parse_insert(cursor, moment, condition)
    if cursor.accept("DELETE"):
        return When(moment, condition, "delete")
    if cursor.accept("DO", "NOTHING"):
        return When(moment, condition, "nothing")
    cursor.expect("UPDATE", "SET")
    start = cursor.at
    skip_assignments(cursor)
    return When(moment, condition, "update", sets=Part.since(start, cursor))


def _parse_insert(cursor: Cursor, moment: str, condition: str) -> When:
    if cursor.accept("DO", "NOTHING"):
        return When(moment, condition, "nothing")
    cursor.expect("INSERT")
    columns = cursor.names("a column") if cursor.peek() == "(" else ()
    cursor.expect("VALUES")
    cursor.expect("(")
    expressions = [read_expression(cursor)]
    while cursor.accept(","):
        expressions.append(read_expression(cursor))
    cursor.expect(")")
    return When(moment, condition, "insert", columns=columns, expressions=tuple(expressions))
