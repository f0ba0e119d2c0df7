"""Statements about other statements, cut into what they say: EXPLAIN, PREPARE, EXECUTE, COPY."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from affidavit.catalog.sql.quoting import quoted_text
from affidavit.engine.statement.definitions import expect_end
from affidavit.engine.statement.grammar import read, skip_expression, skip_group, skip_type
from affidavit.engine.statement.spelling.copying import (
    CopyOptions,
    parse_options,
    parse_settings,
)
from affidavit.engine.statement.statement import Statement, parse_statement
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.sql.lexer import Cursor


@dataclass(frozen=True, slots=True)
class Explain:
    """EXPLAIN: of what, and whether it is to run."""

    inner: Statement
    analyze: bool


def parse_explain(cursor: Cursor) -> Explain:
    """Move past EXPLAIN [ANALYZE] [VERBOSE] [FORMAT ...] statement."""
    cursor.expect("EXPLAIN")
    analyze = False
    while cursor.peek() in {"ANALYZE", "VERBOSE"} or cursor.peek() == "FORMAT":
        analyze = analyze or cursor.peek() == "ANALYZE"
        cursor.skip(2 if cursor.peek() == "FORMAT" else 1)
    if cursor.done:
        msg = "EXPLAIN needs a statement to explain"
        raise SqlError(msg)
    return Explain(parse_statement(cursor.rest()), analyze)


@dataclass(frozen=True, slots=True)
class Prepare:
    """PREPARE: the statement's name, and its parameters' types as they are written."""

    name: str
    types: tuple[str, ...]
    text: str


def parse_prepare(cursor: Cursor) -> Prepare:
    """Move past PREPARE name [(types)] AS statement."""
    cursor.expect("PREPARE")
    name = cursor.name("a name")
    types: list[str] = []
    if cursor.accept("("):
        types = _listed(cursor, skip_type)
        cursor.expect(")")
    cursor.expect("AS")
    return Prepare(name, tuple(types), cursor.rest())


@dataclass(frozen=True, slots=True)
class Execute:
    """EXECUTE: a prepared statement's name, and its values as they are written."""

    name: str
    values: tuple[str, ...]


def parse_execute(cursor: Cursor) -> Execute:
    """Move past EXECUTE name [(values)]."""
    cursor.expect("EXECUTE")
    name, named = cursor.name("a prepared statement"), cursor.at
    values: list[str] = []
    if cursor.accept("(") and cursor.peek() != ")":
        values = _listed(cursor, skip_expression)
    if len(cursor.tokens) > named:
        cursor.expect(")")
    if not cursor.done:
        raise SqlError(f"EXECUTE takes (values), found {cursor.found()}")
    return Execute(name, tuple(values))


def _listed(cursor: Cursor, skip: Callable[[Cursor], None]) -> list[str]:
    """Move past what stands between commas, and return each."""
    found = [read(cursor, skip)]
    while cursor.accept(","):
        found.append(read(cursor, skip))
    return found


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY: where to, and the statement before and after that, without comments.

    Attributes:
        before: What stands before the location.
        location: Where to.
        options: What is said of the files; of DataFusion's own clauses the format alone.
        after: These clauses.
    """

    before: str
    location: str
    options: CopyOptions
    after: str = ""

    def to(self, location: str, kind: str, options: Mapping[str, str]) -> str:
        """Return the statement with another location, a format, and its options."""
        given = {} if "OPTIONS" in self.after.upper().split() else dict(options)
        told = replace(self.options, format=kind, options=given).text
        return " ".join(filter(None, (self.before, quoted_text(location), told, self.after)))


def parse_copy(cursor: Cursor) -> Copy:
    """Move past COPY ... TO 'location' ...."""
    cursor.expect("COPY")
    if cursor.peek() == "(":
        skip_group(cursor)
    else:
        cursor.name("a table, or a query in brackets")
        while cursor.accept("."):
            cursor.name("a table")
    cursor.expect("TO")
    before, location = cursor.spaced(0, cursor.at), cursor.literal("COPY ... TO 'path'")
    if cursor.peek() in {"(", "WITH"} and (cursor.peek() == "(" or cursor.peek(1) == "("):
        options = parse_options(cursor)
        expect_end(cursor, "COPY")
        return Copy(before, location, options)
    start = at = cursor.at
    while at < len(cursor.tokens) and cursor.tokens[at].keyword != "STORED":
        at += 1
    cursor.move(at)
    stored = cursor.name("a format") if cursor.accept("STORED", "AS") else ""
    after = f"{cursor.spaced(start, at)} {cursor.spaced(cursor.at)}".strip()
    return Copy(before, location, CopyOptions(stored.upper()), after)


@dataclass(frozen=True, slots=True)
class Attach:
    """ATTACH: what, as what, and how it is read."""

    location: str
    name: str
    options: dict[str, str]
    if_not_exists: bool


def parse_attach(cursor: Cursor) -> Attach:
    """Move past ATTACH [DATABASE] [IF NOT EXISTS] 'location' AS name [(option value, ...)]."""
    cursor.expect("ATTACH")
    cursor.accept("DATABASE")
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    location = cursor.literal("ATTACH 'path or URL' AS name")
    if not cursor.accept("AS"):
        raise SqlError("ATTACH needs a name: write ATTACH 'path or URL' AS name")
    token = cursor.token
    if token is not None and token.kind == "string":
        msg = "the path or URL stands before AS and the name behind it, as in ATTACH 't.csv' AS t"
        raise SqlError(msg)
    name, options = cursor.name("a name"), {}
    if cursor.accept("("):
        options = parse_settings(cursor)
    expect_end(cursor, "ATTACH")
    return Attach(location, name, options, if_not_exists)


def parse_detach(cursor: Cursor) -> tuple[str, bool]:
    """Move past DETACH [DATABASE] [IF EXISTS] name, and return the name and whether it may lack."""
    cursor.expect("DETACH")
    cursor.accept("DATABASE")
    missing_ok = cursor.accept("IF", "EXISTS")
    name = cursor.name("what is attached")
    expect_end(cursor, "DETACH")
    return name, missing_ok


@dataclass(frozen=True, slots=True)
class CopyFrom:
    """COPY ... FROM: into which table and columns, from where, and how that is read."""

    target: tuple[str, ...]
    columns: tuple[str, ...]
    location: str
    options: CopyOptions


def is_copy_from(cursor: Cursor) -> bool:
    """Return whether a COPY reads files: FROM stands outside of brackets, and no TO does."""
    words = [token.keyword for token in cursor.tokens if token.depth == 0]
    return "FROM" in words and "TO" not in words[: words.index("FROM")]


def parse_copy_from(cursor: Cursor) -> CopyFrom:
    """Move past COPY table [(columns)] FROM 'location' [[WITH] (options)]."""
    cursor.expect("COPY")
    target = [cursor.name("a table")]
    while cursor.accept("."):
        target.append(cursor.name("a table"))
    columns = cursor.names("a column") if cursor.peek() == "(" else ()
    cursor.expect("FROM")
    location = cursor.literal("COPY ... FROM 'path'")
    options = CopyOptions() if cursor.done else parse_options(cursor)
    expect_end(cursor, "COPY")
    if options.parts:
        raise SqlError("COPY ... FROM takes no PARTITION_BY: folders say their columns themselves")
    return CopyFrom(tuple(target), columns, location, options)
