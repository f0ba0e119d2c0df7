"""Which sequences a default asks: ``nextval('name')`` and ``currval('name')``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.sql.lexer import Cursor, tokenize
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.errors import ConstraintError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader

CALLS: Final = ("nextval", "currval")


def parse_sequence_name(cursor: Cursor) -> tuple[str, str]:
    """Move past a sequence's name in quotes, as ``nextval`` has it; return schema and name.

    Raises:
        SqlError: None stands here.
    """
    written = cursor.literal("a sequence's name in single quotes")
    if cursor.accept("::"):
        cursor.name("regclass")
    inner = Cursor(written, tokenize(written))
    parts = [inner.name("a sequence")]
    while inner.accept("."):
        parts.append(inner.name("a sequence"))
    if parts[0] == CATALOG and len(parts) == 3:  # noqa: PLR2004 - catalog, schema, sequence
        del parts[0]
    if not inner.done or len(parts) > 2:  # noqa: PLR2004 - schema, sequence
        raise SqlError(f"{written!r} is no name of a sequence")
    return (MAIN_SCHEMA, *parts)[-2:]  # type: ignore[return-value]  # two of one or two more


def calls_in(text: str) -> Iterator[tuple[int, int, str, tuple[str, str]]]:
    """Yield each call, the last first: where it begins and ends, its word, schema and name.

    Raises:
        SqlError: A call names no sequence in quotes.
    """
    lowered = text.lower()
    if not any(call in lowered for call in CALLS):
        return
    tokens = tokenize(text)
    for at in range(len(tokens) - 3, -1, -1):
        token = tokens[at]
        if token.kind != "word" or token.name not in CALLS or tokens[at + 1].text != "(":
            continue
        cursor = Cursor(text, tokens, at + 2)
        name = parse_sequence_name(cursor)
        cursor.expect(")")
        yield token.start, tokens[cursor.at - 1].end, token.name, name


def sequences_of(text: str) -> set[tuple[str, str]]:
    """Return schema and name of each sequence that an expression asks."""
    return {name for *_, name in calls_in(text)}


def defaults_of(catalog: Catalog, reader: Reader, info: TableInfo) -> list[tuple[TableInfo, str]]:
    """Return the columns whose default asks a sequence, each with its table."""
    return [
        (other, column)
        for other in catalog.tables(reader)
        if isinstance(other.definition, MutableDefinition) and other.tenant == info.tenant
        for column, sql in other.definition.defaults.items()
        if (info.schema, info.name) in sequences_of(sql)
    ]


def refuse_asked(catalog: Catalog, reader: Reader, info: TableInfo) -> None:
    """Raise ConstraintError if a default asks a sequence, by its name."""
    for other, column in defaults_of(catalog, reader, info):
        msg = (
            f"sequence {info.name!r} is asked by the default of column {column!r} of table "
            f"{other.name!r}: ALTER TABLE {other.name} ALTER COLUMN {column} DROP DEFAULT first"
        )
        raise ConstraintError(msg)
