"""The column list of a CREATE TABLE, and a column that ALTER TABLE adds, cut into what they say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.rules import ACTIONS, NO_ACTION
from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.assignments import Name, parse_name
from affidavit.engine.statement.defining.sequences import (
    NumberOptions,
    parse_options,
)
from affidavit.engine.statement.defining.types import UNTYPED, parse_type
from affidavit.engine.statement.grammar import read_expression
from affidavit.engine.statement.honoured import unexpected
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.engine.statement.defining.types import ColumnType

CONSTRAINTS: Final = ("PRIMARY", "UNIQUE", "CONSTRAINT", "FOREIGN", "CHECK")
"""What a constraint of a table begins with."""

_OPTIONS: Final = frozenset(
    {"PRIMARY", "UNIQUE", "DEFAULT", "NOT", "NULL", "CONSTRAINT", "CHECK", "REFERENCES", "COMMENT",
     "GENERATED", "COLLATE", "AS", "ON", "AUTO_INCREMENT", "AUTOINCREMENT", "IDENTITY"}
)  # fmt: skip
"""What may follow a column's name in the place of its type."""


OPTIONS_TOLD: Final = (
    "',', ')', NOT NULL, DEFAULT, CHECK, UNIQUE, PRIMARY KEY, REFERENCES or GENERATED"
)
"""What may follow a column's type."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key as it is written; without a ``key`` it is the other table's primary one."""

    columns: tuple[str, ...]
    table: Name
    key: tuple[str, ...] = ()
    on_delete: str = NO_ACTION
    on_update: str = NO_ACTION
    name: str = ""


@dataclass(frozen=True, slots=True)
class NewColumn:
    """A column as it is written.

    Attributes:
        name: Its name.
        type: Its type.
        nullable: Whether NULL may stand there.
        default: What it is where nothing is given.
        generated: What it is computed of.
        numbers: How its rows are numbered, if they are.
        always: Whether nobody may give a row another number.
        comment: What it is for.
        if_not_exists: Whether ALTER TABLE leaves one that is there as it is.
    """

    name: str
    type: ColumnType = UNTYPED
    nullable: bool = True
    default: str | None = None
    generated: str | None = None
    numbers: NumberOptions | None = None
    always: bool = False
    comment: str | None = None
    if_not_exists: bool = False

    @property
    def text(self) -> str:
        """The column as DataFusion reads it."""
        null = "" if self.nullable else " NOT NULL"
        default = "" if self.default is None else f" DEFAULT {self.default}"
        return f"{quoted(self.name)} {self.type.sql}{null}{default}".rstrip()


@dataclass(frozen=True, slots=True)
class Unique:
    """A UNIQUE as it is written."""

    columns: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class NewCheck:
    """A CHECK as it is written."""

    sql: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a CREATE TABLE says in brackets: columns, and what is asked of rows.

    Attributes:
        columns: The columns.
        primary_key: The columns of the key.
        unique: Other keys.
        checks: Conditions.
        references: Foreign keys.
        like: The tables whose columns are taken over.
        comment: What the table is for.
    """

    columns: tuple[NewColumn, ...] = ()
    primary_key: tuple[str, ...] = ()
    unique: tuple[Unique, ...] = ()
    checks: tuple[NewCheck, ...] = ()
    references: tuple[Reference, ...] = ()
    like: tuple[Name, ...] = field(default=())
    comment: str | None = None

    @property
    def defaults(self) -> Mapping[str, str]:
        """Each column's default, where it has one."""
        return {each.name: each.default for each in self.columns if each.default is not None}

    @property
    def text(self) -> str:
        """The columns as DataFusion reads them."""
        return f"({', '.join(each.text for each in self.columns)})" if self.columns else ""


def parse_constraints(cursor: Cursor) -> Constraints:
    """Move past the column list, if it stands here."""
    found = Constraints()
    if not cursor.accept("("):
        return found
    if cursor.peek() == ")":
        raise SqlError("a table has at least one column")
    while True:
        if cursor.peek() in CONSTRAINTS and _is_constraint(cursor):
            found = parse_constraint(cursor, found)
        elif cursor.accept("LIKE"):
            found = replace(found, like=(*found.like, parse_name(cursor)))
        else:
            found = _with_column(cursor, found)
        if not cursor.accept(","):
            break
        if cursor.peek() == ")":
            break
    if cursor.peek() != ")":
        raise unexpected(cursor, "',' or ')' after a column")
    cursor.expect(")")
    if found.like and (len(found.like) > 1 or found != Constraints(like=found.like)):
        raise SqlError("(LIKE t) stands alone: create the table so, and ALTER it")
    names = [each.name for each in found.columns]
    if len(set(names)) != len(names):
        raise SqlError(f"the table would have two columns of one name: {names}")
    if not found.like and cursor.accept("COMMENT"):
        cursor.accept("=")
        found = replace(found, comment=cursor.literal("a comment in quotes"))
    return found


def _is_constraint(cursor: Cursor) -> bool:
    """Whether the word here is no column's name."""
    if cursor.peek() == "CHECK":
        return cursor.peek(1) == "("
    return cursor.peek() not in {"PRIMARY", "FOREIGN"} or cursor.peek(1) == "KEY"


# --- constraints of the table --------------------------------------------------------------------


def parse_constraint(cursor: Cursor, found: Constraints) -> Constraints:
    """Move past one constraint of a table, and return ``found`` with it.

    Raises:
        SqlError: None stands here.
    """
    name = cursor.name("a constraint's name") if cursor.accept("CONSTRAINT") else ""
    if cursor.accept("PRIMARY", "KEY"):
        if found.primary_key:
            raise SqlError("a table has one PRIMARY KEY: list its columns in brackets")
        found = replace(found, primary_key=cursor.names("a column"))
    elif cursor.accept("UNIQUE"):
        cursor.accept("KEY")
        found = replace(found, unique=(*found.unique, Unique(cursor.names("a column"), name)))
    elif cursor.accept("CHECK"):
        found = replace(found, checks=(*found.checks, NewCheck(_bracketed(cursor), name)))
    elif cursor.accept("FOREIGN", "KEY"):
        columns = cursor.names("a column")
        cursor.expect("REFERENCES")
        found = replace(found, references=(*found.references, _reference(cursor, columns, name)))
    else:
        raise unexpected(cursor, "PRIMARY KEY, UNIQUE, CHECK or FOREIGN KEY")
    _refuse_deferred(cursor)
    return found


def _bracketed(cursor: Cursor) -> str:
    cursor.expect("(")
    start = cursor.at
    sql = read_expression(cursor)
    _refuse_values(cursor, start, "a condition")
    cursor.expect(")")
    return sql


def _reference(cursor: Cursor, columns: tuple[str, ...], name: str) -> Reference:
    """Move past what follows REFERENCES."""
    table = parse_name(cursor)
    key = cursor.names("a column") if cursor.peek() == "(" else ()
    if key and len(key) != len(columns):
        raise SqlError(f"{len(columns)} columns cannot refer to {len(key)}: {columns} to {key}")
    found = Reference(columns, table, key, name=name)
    while True:
        if cursor.accept("ON", "DELETE"):
            found = replace(found, on_delete=_action(cursor))
        elif cursor.accept("ON", "UPDATE"):
            found = replace(found, on_update=_action(cursor))
        elif cursor.accept("MATCH", "SIMPLE"):
            pass
        elif cursor.peek() == "MATCH":
            raise SqlError("MATCH FULL and MATCH PARTIAL are not supported: write MATCH SIMPLE")
        else:
            return found


def _action(cursor: Cursor) -> str:
    for action in ACTIONS:
        if cursor.accept(*action.split()):
            return action
    if cursor.accept("SET", "DEFAULT"):
        raise SqlError("SET DEFAULT is not supported: write SET NULL or CASCADE")
    raise SqlError(f"expected {', '.join(ACTIONS)}, found {cursor.found()}")


def _refuse_deferred(cursor: Cursor) -> None:
    if cursor.accept("NOT", "DEFERRABLE"):
        cursor.accept("INITIALLY", "IMMEDIATE")
    if cursor.peek() in {"DEFERRABLE", "INITIALLY"}:
        raise SqlError("DEFERRABLE is not supported: a constraint is checked at once")


# --- columns -------------------------------------------------------------------------------------


def _with_column(cursor: Cursor, found: Constraints) -> Constraints:
    """Move past one column, whose type may be left out where a query has it."""
    column = NewColumn(cursor.name("a column"))
    if cursor.peek() not in {",", ")", ""} | _OPTIONS:
        column = _typed(column, parse_type(cursor))
    while not cursor.done and cursor.peek() not in {",", ")"}:
        name = cursor.name("a constraint's name") if cursor.accept("CONSTRAINT") else ""
        only = (column.name,)
        if cursor.accept("PRIMARY", "KEY"):
            if found.primary_key:
                raise SqlError("a table has one PRIMARY KEY: PRIMARY KEY (a, b) for two columns")
            found = replace(found, primary_key=only)
            cursor.accept("ASC")
        elif cursor.accept("UNIQUE"):
            found = replace(found, unique=(*found.unique, Unique(only, name)))
        elif cursor.accept("CHECK"):
            found = replace(found, checks=(*found.checks, NewCheck(_bracketed(cursor), name)))
        elif cursor.accept("REFERENCES"):
            found = replace(found, references=(*found.references, _reference(cursor, only, name)))
        else:
            column = _with_option(cursor, column)
        _refuse_deferred(cursor)
    return replace(found, columns=(*found.columns, column))


def _typed(column: NewColumn, kind: ColumnType) -> NewColumn:
    numbers = NumberOptions() if kind.is_serial else None
    return replace(column, type=kind, nullable=not kind.is_serial, numbers=numbers)


def _with_option(cursor: Cursor, column: NewColumn) -> NewColumn:
    """Move past what a column says of itself alone, and return it with that."""
    if cursor.accept("NOT", "NULL"):
        return replace(column, nullable=False)
    if cursor.accept("NULL"):
        return column
    if cursor.accept("DEFAULT"):
        _refuse_second(column, "DEFAULT")
        return replace(column, default=read_default(cursor))
    if cursor.peek() in {"AUTOINCREMENT", "AUTO_INCREMENT", "IDENTITY"}:
        _refuse_second(column, cursor.peek())
        cursor.skip()
        return replace(column, nullable=False, numbers=parse_options(cursor, bracketed=True))
    if cursor.accept("GENERATED"):
        _refuse_second(column, "GENERATED")
        return _generated(cursor, column)
    if cursor.peek() == "AS" and cursor.peek(1) == "(":
        _refuse_second(column, "AS")
        return _computed(cursor, column)
    if cursor.accept("COMMENT"):
        return replace(column, comment=cursor.literal("a comment in quotes"))
    raise unexpected(cursor, OPTIONS_TOLD)


def _refuse_second(column: NewColumn, word: str) -> None:
    if any(x is not None for x in (column.default, column.generated, column.numbers)):
        raise SqlError(f"column {column.name!r} has one DEFAULT, GENERATED or {word}: choose one")


def _generated(cursor: Cursor, column: NewColumn) -> NewColumn:
    """Move past what follows GENERATED."""
    if cursor.accept("BY", "DEFAULT"):
        cursor.accept("ON", "NULL")
        always = False
    else:
        cursor.expect("ALWAYS")
        always = True
    if cursor.peek() == "AS" and cursor.peek(1) == "IDENTITY":
        cursor.skip(2)
        numbers = parse_options(cursor, bracketed=True)
        return replace(column, nullable=False, numbers=numbers, always=always)
    if not always:
        raise SqlError("expected GENERATED BY DEFAULT AS IDENTITY")
    return _computed(cursor, column)


def _computed(cursor: Cursor, column: NewColumn) -> NewColumn:
    cursor.expect("AS")
    sql = _bracketed(cursor)
    if cursor.peek() == "VIRTUAL":
        raise SqlError("VIRTUAL is not supported: write STORED, or compute it in a view")
    cursor.accept("STORED")
    return replace(column, generated=sql)


def read_default(cursor: Cursor) -> str:
    """Move past a default, and return it; it is kept, and a parameter's value would not be.

    Raises:
        SqlError: It has a parameter, or a query.
    """
    start = cursor.at
    default = read_expression(cursor)
    for token in cursor.tokens[start : cursor.at]:
        if token.kind == "placeholder":
            raise SqlError(f"a DEFAULT is kept without values: write one in place of {token.text}")
        if token.keyword == "SELECT":
            raise SqlError("a DEFAULT is computed without a table: it has no query")
    return default


def differs_by_row(default: str) -> bool:
    """Return whether a default may be another for each row that it is computed for."""
    return any(token.name in _CHANCE for token in tokenize(default))


_CHANCE: Final = frozenset({"nextval", "random", "rand", "uuid"})
"""The functions that give each row another value."""


def _refuse_values(cursor: Cursor, start: int, what: str) -> None:
    """Raise SqlError if what stands since ``start`` has a parameter."""
    for token in cursor.tokens[start : cursor.at]:
        if token.kind == "placeholder":
            raise SqlError(f"{what} is kept without values: write one in place of {token.text}")


def parse_new_column(cursor: Cursor) -> tuple[NewColumn, Constraints]:
    """Move past [COLUMN] [IF NOT EXISTS] name type ..., to the end; return what it asks of rows."""
    cursor.accept("COLUMN")
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    found = _with_column(cursor, Constraints())
    [column] = found.columns
    if not column.type.sql:
        raise SqlError(f"column {column.name!r} needs a type")
    if found.primary_key:
        raise SqlError("PRIMARY KEY is not supported in ADD COLUMN: make a table that has one")
    return replace(column, if_not_exists=if_not_exists), replace(found, columns=())
