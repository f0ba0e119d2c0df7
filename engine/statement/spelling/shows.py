"""SHOW TABLES, VIEWS, SCHEMAS and DATABASES, written as queries of ``information_schema``.

The caller's own tables come first, then those of sources, then what the engine keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA, RESERVED_SCHEMAS
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.sql.lexer import Token

_ENGINES: Final = ", ".join(map(quoted_text, sorted(RESERVED_SCHEMAS)))
_ORDER: Final = (
    f"ORDER BY table_schema IN ({_ENGINES}), table_catalog <> {quoted_text(CATALOG)}, "
    f"table_catalog, table_schema <> {quoted_text(MAIN_SCHEMA)}, table_schema, table_name"
)
_QUERIES: Final[Mapping[str, str]] = {
    "TABLES": f"SELECT * FROM information_schema.tables {{}}{_ORDER}",
    "VIEWS": f"SELECT * FROM information_schema.tables WHERE table_type = 'VIEW' AND "
    f"table_schema NOT IN ({_ENGINES}) {{}}{_ORDER}",
    "SCHEMAS": "SELECT catalog_name, schema_name FROM information_schema.schemata "
    "ORDER BY catalog_name, schema_name",
    "DATABASES": "SELECT DISTINCT catalog_name AS database_name FROM information_schema.schemata "
    "ORDER BY database_name",
}


def shown(text: str, tokens: Sequence[Token]) -> str:
    """Return a SHOW of those as a query; another statement as it is."""
    words = [token.keyword for token in tokens[:3]]
    if words[:1] != ["SHOW"]:
        return text
    cursor = Cursor(text, tokens, 2 if words[1:2] == ["ALL"] and words[2:] else 1)
    what = cursor.peek()
    if what not in _QUERIES:
        return text
    cursor.skip()
    schema = ""
    if what in {"TABLES", "VIEWS"} and (cursor.accept("FROM") or cursor.accept("IN")):
        joined = "AND" if what == "VIEWS" else "WHERE"
        schema = f"{joined} table_schema = {quoted_text(_schema(cursor))} "
    if not cursor.done:
        raise SqlError(f"SHOW {what} takes FROM a schema, found {cursor.found()}")
    return _QUERIES[what].format(schema)


def _schema(cursor: Cursor) -> str:
    """Move past a schema's name, which may stand in single quotes."""
    is_text = cursor.token is not None and cursor.token.kind == "string"
    return cursor.literal("a schema") if is_text else cursor.name("a schema")
