"""MERGE INTO target USING source ON condition WHEN ... THEN ...: parsed, and turned into one query.

The query is a full outer join of target and source. For each row that some WHEN applies to, it
gives the number of the first one, the target's old values, and the values that the WHEN computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import edited, tokenize
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.sql.spelling import KEYWORDS, is_name
from affidavit.engine.statement.assignments import (
    Target,
    check_columns,
    parse_assignments,
    parse_target,
    skip_assignments,
)
from affidavit.engine.statement.clauses import common_tables, parse_returning
from affidavit.engine.statement.grammar import read_expression, skip_group
from affidavit.engine.statement.reading.functions import MERGE_ACTION
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET, Part
from affidavit.errors import ColumnNotFoundError, SqlError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from affidavit.catalog.sql.lexer import Cursor, Edit, Token

ACTION: Final = "__merge_action"
"""The column that says it, where the target may have one of that name."""

MATCHED: Final = "matched"
NOT_IN_TARGET: Final = "not matched"
NOT_IN_SOURCE: Final = "not matched by source"

_STANDS: Final = {
    MATCHED: '{t}._rowid IS NOT NULL AND {s}."__source" IS NOT NULL',
    NOT_IN_TARGET: "{t}._rowid IS NULL",
    NOT_IN_SOURCE: '{s}."__source" IS NULL',
}


def with_action(clause: str, known: Sequence[str]) -> str:
    """Return what RETURNING lists, with the column that says what was done for its name.

    ``merge_action()`` always means that; ``merge_action`` where the target has no such column.
    """
    return edited(clause, _actions(tokenize(clause), known))


def _actions(tokens: Sequence[Token], known: Sequence[str]) -> Iterator[Edit]:
    for at, token in enumerate(tokens):
        is_call = [each.text for each in tokens[at + 1 : at + 3]] == ["(", ")"]
        before = tokens[at - 1].text if at else ","
        if token.name != MERGE_ACTION or before == "." or before.upper() == "AS":
            continue
        last = at + 2 if is_call else at
        behind = tokens[last + 1].text if last + 1 < len(tokens) else ","
        if is_call or (MERGE_ACTION not in known and behind not in {".", "("}):
            is_alone = not token.depth and (before, behind) == (",", ",")
            told = f"{ACTION} AS {MERGE_ACTION}" if is_alone else ACTION
            yield token.start, tokens[last].end, told


@dataclass(frozen=True, slots=True)
class When:
    """One WHEN clause.

    Attributes:
        moment: Which rows it is for.
        condition: What must hold besides; empty for nothing.
        action: ``update``, ``delete``, ``insert``, ``nothing`` or ``error``.
        sets: What an UPDATE sets.
        columns: What an INSERT names.
        expressions: What it inserts there.
        by: Whether the values are the source's columns, by ``name`` or ``position``.
    """

    moment: str
    condition: str
    action: str
    sets: Part | None = None
    columns: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()
    by: str = ""

    def values(
        self,
        known: Sequence[str],
        table: str,
        alias: str,
        source: Sequence[str] = (),
        called: str = "",
        given: Sequence[str] | None = None,
    ) -> dict[str, str]:
        """Return column to expression, checked against the target's columns.

        Args:
            known: The target's columns.
            table: What it is called.
            alias: What the statement calls it.
            source: The source's columns, where all of them are meant.
            called: What the statement calls the source.
            given: The columns that values without names are for; all of them by default.
        """
        given = known if given is None else given
        if self.by:
            return self._of_source(known if self.by == "name" else given, table, source, called)
        if self.sets is not None:
            return parse_assignments(self.sets.cursor(), known, table, alias)
        if self.action != "insert":
            return {}
        if not self.expressions:
            return {}
        columns = self.columns or tuple(given)
        check_columns(columns, known, table)
        if len(columns) != len(self.expressions):
            msg = f"MERGE inserts {len(self.expressions)} values into {len(columns)} columns"
            raise SqlError(msg)
        return dict(zip(columns, self.expressions, strict=True))

    def _of_source(
        self, known: Sequence[str], table: str, source: Sequence[str], called: str
    ) -> dict[str, str]:
        """Return the source's columns, for those of the same names or places."""
        columns = list(source) if self.by == "name" else list(known)[: len(source)]
        check_columns(columns, known, table)
        if len(columns) != len(source):
            msg = f"MERGE gives {len(source)} columns, and {table!r} takes {len(known)}"
            raise SqlError(msg)
        pairs = zip(columns, source, strict=True)
        return {column: f"{quoted(called)}.{quoted(name)}" for column, name in pairs}


@dataclass(frozen=True, slots=True)
class Merge:
    """A parsed MERGE, with the common tables before it."""

    prefix: str
    target: Target
    source: str
    source_alias: str
    condition: str
    whens: tuple[When, ...] = field(default=())
    using: tuple[str, ...] = ()
    returning: str = ""

    @property
    def needs_source(self) -> bool:
        """Whether the names of the source's columns must be known."""
        return bool(self.returning or self.using or any(when.by for when in self.whens))

    def joined(self, source: Sequence[str], known: Sequence[str]) -> str:
        """Return the condition: ON's, or that the columns of USING are equal."""
        if not self.using:
            return self.condition
        target, called = quoted(self.target.alias), quoted(self.source_alias)
        for column in self.using:
            for where, columns in ((self.target.name, known), (self.source_alias, source)):
                if column not in columns:
                    raise ColumnNotFoundError(column, table=where, known=columns)
        return " AND ".join(
            f"{target}.{quoted(column)} = {called}.{quoted(column)}" for column in self.using
        )

    def query(
        self,
        values: Sequence[dict[str, str]],
        condition: str,
        known: Collection[str],
        beside: str = "",
    ) -> str:
        """Return the one query.

        Args:
            values: Each WHEN's, whose columns are ``__<when>_<at>``.
            condition: What joins target and source.
            known: The target's columns.
            beside: What is to be selected besides, with a comma before.

        Raises:
            SqlError: A WHEN names a column of the row that there is not.
        """
        target, source = quoted(self.target.alias), quoted(self.source_alias)
        tests = [self._test(when, known) for when in self.whens]
        number = " ".join(f"WHEN {test} THEN {at}" for at, test in enumerate(tests))
        computed = [
            f"CASE WHEN {tests[at]} THEN ({self._seen(self.whens[at], value, known)}) END "
            f"AS __{at}_{position}"
            for at, given in enumerate(values)
            for position, value in enumerate(given.values())
        ]
        columns = ", ".join([f"{target}.*", f"CASE {number} END AS __clause", *computed])
        return (
            f"{self.prefix} SELECT * FROM (SELECT {columns}{beside} "
            f'FROM "{DML_SCHEMA}".{DML_TARGET} AS {target} '
            f'FULL OUTER JOIN (SELECT *, TRUE AS "__source" FROM {self.source}) AS {source} '
            f"ON ({condition})) WHERE __clause IS NOT NULL"
        )

    def _seen(self, when: When, expression: str, known: Collection[str]) -> str:
        """Return an expression of a WHEN with its names as those of the one row that it has."""
        target, source = self.target.alias, self.source_alias
        if when.moment == MATCHED:
            return expression
        only, other = (source, target) if when.moment == NOT_IN_TARGET else (target, source)
        columns = {each.casefold() for each in known}
        tokens, edits = tokenize(expression), list[tuple[int, int, str]]()
        for at, token in enumerate(tokens):
            if not _is_free(tokens, at):
                continue
            if at + 1 < len(tokens) and tokens[at + 1].text == ".":
                if token.name == other != only:
                    row = "target" if other == target else "source"
                    msg = f"WHEN {when.moment.upper()} has no row of the {row}: {other!r} names it"
                    raise SqlError(msg)
            elif str(token.name).casefold() in columns:
                edits.append((token.start, token.start, f"{quoted(only)}."))
        return edited(expression, edits)

    def _test(self, when: When, known: Collection[str]) -> str:
        stands = _STANDS[when.moment].format(
            t=quoted(self.target.alias), s=quoted(self.source_alias)
        )
        condition = self._seen(when, when.condition, known)
        return f"({stands} AND ({condition}))" if condition else f"({stands})"


def _is_free(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a column or table is named at a place, and in no query within."""
    token, before, after = tokens[at], tokens[at - 1 : at], tokens[at + 1 : at + 2]
    if token.name is None or token.keyword in KEYWORDS or not is_name(tokens, at):
        return False
    if before and (before[0].text in {".", "::"} or before[0].kind == "string"):
        return False
    if after and (after[0].text == ":" or after[0].keyword == "FROM"):
        return False
    depth = token.depth
    for here in range(at, -1, -1):
        if tokens[here].depth < depth:
            depth = tokens[here].depth
            if tokens[here + 1].keyword in {"SELECT", "WITH", "VALUES"}:
                return False
    return True


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
    using: tuple[str, ...] = ()
    condition = ""
    if cursor.accept("USING"):
        using = cursor.names("a column")
    else:
        cursor.expect("ON")
        condition = read_expression(cursor)
    whens = []
    while cursor.peek() == "WHEN":
        whens.append(_parse_when(cursor))
    if not whens:
        raise SqlError(f"MERGE needs at least one WHEN clause, found {cursor.found()}")
    returning = parse_returning(cursor)
    if not cursor.done:
        raise SqlError(f"expected WHEN, RETURNING or the end of MERGE, found {cursor.found()}")
    return Merge(prefix, target, source, alias, condition, tuple(whens), using, returning)


def _parse_source(cursor: Cursor) -> tuple[str, str]:
    """Move past ``table [alias [(columns)]]``, and return it so, and what it is called."""
    start = cursor.at
    name = ""
    if cursor.peek() == "(":
        skip_group(cursor)
    elif cursor.token is not None and cursor.token.kind == "string":
        cursor.skip()
    else:
        name = cursor.name("a source")
        while cursor.accept("."):
            name = cursor.name("a source")
    if cursor.accept("AS") or not name or cursor.peek() not in {"ON", "USING"}:
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
    if cursor.accept("ERROR"):
        return When(moment, condition, "error")
    cursor.expect("UPDATE")
    if by := _parse_by(cursor):
        _refuse_no_source(moment)
        cursor.accept("*")
        return When(moment, condition, "update", by=by)
    cursor.accept("SET")
    if cursor.accept("*") or cursor.done or cursor.peek() in {"WHEN", "RETURNING"}:
        _refuse_no_source(moment)
        return When(moment, condition, "update", by="name")
    start = cursor.at
    skip_assignments(cursor)
    return When(moment, condition, "update", sets=Part.since(start, cursor))


def _parse_insert(cursor: Cursor, moment: str, condition: str) -> When:
    if cursor.accept("DO", "NOTHING"):
        return When(moment, condition, "nothing")
    if cursor.accept("ERROR"):
        return When(moment, condition, "error")
    cursor.expect("INSERT")
    by = _parse_by(cursor)
    if by or cursor.peek() in {"*", "WHEN", "RETURNING", ""}:
        cursor.accept("*")
        return When(moment, condition, "insert", by=by or "position")
    if cursor.accept("DEFAULT", "VALUES"):
        return When(moment, condition, "insert")
    columns = cursor.names("a column") if cursor.peek() == "(" else ()
    cursor.expect("VALUES")
    cursor.expect("(")
    expressions = [read_expression(cursor)]
    while cursor.accept(","):
        expressions.append(read_expression(cursor))
    cursor.expect(")")
    return When(moment, condition, "insert", columns=columns, expressions=tuple(expressions))


def _parse_by(cursor: Cursor) -> str:
    """Move past BY NAME or BY POSITION, and return which."""
    for word in ("NAME", "POSITION"):
        if cursor.accept("BY", word):
            return word.lower()
    return ""


def _refuse_no_source(moment: str) -> None:
    if moment == NOT_IN_SOURCE:
        msg = "WHEN NOT MATCHED BY SOURCE has no row of the source: write UPDATE SET column = value"
        raise SqlError(msg)
