"""``SELECT ... INTO name``, written ``CREATE TABLE name AS SELECT ...``.

DataFusion 54.1 makes the table of the SELECT that has INTO alone: what UNION and its like put
behind it is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import skip_named
from affidavit.engine.statement.queries import skip_selected, skip_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.engine.statement.mended.places import Edit
    from affidavit.engine.statement.mended.walker import Tokens


def created(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield how the table of a statement's INTO is to be made, if it begins with a query.

    Raises:
        SqlError: It cannot be read.
    """
    cursor = Cursor(text, tokens)
    cursor.accept("EXPLAIN")
    begin = cursor.at
    if cursor.peek() not in {"SELECT", "WITH"}:
        return
    skip_with(cursor)
    if cursor.peek() != "SELECT":
        return
    skip_selected(cursor)
    start = cursor.at
    if cursor.accept("INTO"):
        skip_named(cursor)
        name = cursor.between(start + 1, cursor.at)
        yield tokens[begin].start, tokens[begin].start, f"CREATE TABLE {name} AS "
        yield tokens[start].start, tokens[cursor.at - 1].end, ""
