"""Which tables a query reads: those that stand in the place of one, in queries within it too."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sql.lexer import Cursor, tokenize
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.engine.statement.honoured import DIALECTS, read
from affidavit.engine.statement.reading.functions import TABLE_FUNCTIONS
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.engine.statement.honoured import Part

Names = frozenset[str]

_PARTS_MAX: Final = 3


def tables_of(text: str) -> set[tuple[str, str]]:
    """Return schema and name of each table that a query reads, in small letters.

    A common table hides one of its name, and what table functions name in a text is read too.

    Raises:
        SqlError: The query does not parse in any dialect, and nobody can tell.
    """
    found = set[tuple[str, str]]()
    left: list[tuple[Any, Names]] = [(each, Names()) for each in _tree(text)]
    while left:
        node, hidden = left.pop()
        if isinstance(node, dict):
            table = node.get("Table")
            if isinstance(table, dict) and "with_hints" in table:
                found.update(_table(table, hidden))
            common = node.get("with")
            if isinstance(common, dict):
                hidden = hidden | {_called(each) for each in common["cte_tables"]}
                left += _within(common, hidden)
                node = {name: each for name, each in node.items() if name != "with"}
            node = node.values()
        left += [(each, hidden) for each in node if isinstance(each, dict | list)]
    return found


def _tree(text: str) -> list[Part]:
    """Return a query as a tree, in the dialect that it was written in."""
    for dialect in DIALECTS:
        with suppress(SqlError):
            return read(text, dialect)[1]
    return read(text)[1]


def _called(common: dict[str, Any]) -> str:
    name: str = common["alias"]["name"]["value"]
    return name.casefold()


def _within(common: dict[str, Any], hidden: Names) -> Iterator[tuple[Any, Names]]:
    """Yield the query of each common table, and which names mean none of the lake's in it."""
    later = set[str]()
    for each in reversed(common["cte_tables"]):
        later.add(_called(each))
        yield each["query"], hidden if common["recursive"] else hidden - later


def _table(table: dict[str, Any], hidden: Names) -> Iterator[tuple[str, str]]:
    parts = [each.get("Identifier", {}).get("value", "") for each in table["name"]]
    if table["args"] is None:
        if len(parts) > 1 or parts[0].casefold() not in hidden:
            yield from _of_lake(parts)
        return
    if TABLE_FUNCTIONS.get(parts[-1].casefold(), ())[:1] == ("table",):
        arguments = table["args"]["args"]
        for named in filter(None, (_named(each, arguments[0]) for each in arguments)):
            yield from _of_lake(_parts(named))


def _named(argument: dict[str, Any], first: dict[str, Any]) -> str | None:
    """Return the text of an argument that stands first, or is called ``table``."""
    given = argument.get("Unnamed", {}) if argument is first else {}
    if argument.get("Named", {}).get("name", {}).get("value", "").casefold() == "table":
        given = argument["Named"]["arg"]
    value = given.get("Expr", {}).get("Value", {}).get("value", {})
    return value.get("SingleQuotedString") if isinstance(value, dict) else None


def _parts(named: str) -> list[str]:
    """Return the parts of a name in a text; none if it is no name."""
    try:
        cursor = Cursor(named, tokenize(named))
        parts = [cursor.name("a table")]
        while cursor.accept("."):
            parts.append(cursor.name("a table"))
    except SqlError:
        return []
    return parts if cursor.done else []


def _of_lake(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    names = [each.casefold() for each in parts]
    if len(names) == _PARTS_MAX and names[0] == CATALOG:
        del names[0]
    if 0 < len(names) < _PARTS_MAX:
        schema = names[-2] if len(names) > 1 else MAIN_SCHEMA
        yield schema, names[-1]
