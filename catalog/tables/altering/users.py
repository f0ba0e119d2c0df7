"""What names a column, and would not go on without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.model.definition import VIEW, MutableDefinition, SqlDefinition
from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.tables.constraints.links import links_to
from affidavit.errors import ConstraintError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader


def refuse_used(catalog: Catalog, reader: Reader, info: TableInfo, column: str, what: str) -> None:
    """Raise ConstraintError if a rule, a view or another table's foreign key names a column.

    Args:
        catalog: Who alters the table.
        reader: What it is read in.
        info: The table.
        column: The column.
        what: What is to be done with it, for the message.
    """
    users = list(_users(catalog, reader, info, column))
    if users:
        msg = (
            f"column {column!r} of table {info.name!r} cannot be {what}: {', '.join(users)} "
            f"{'names' if len(users) == 1 else 'name'} it; drop that first"
        )
        raise ConstraintError(msg)


def _users(catalog: Catalog, reader: Reader, info: TableInfo, column: str) -> Iterator[str]:
    if isinstance(info.definition, MutableDefinition):
        yield from info.definition.rules.names_using(column)
    for child, key in links_to(catalog, reader, info.table_id):
        if column in key.key:
            yield f"foreign key {key.name!r} of table {child.name!r}"
    wanted = {info.name.casefold(), column.casefold()}
    for other in catalog.tables(reader):
        if other.kind == VIEW.name and wanted <= _names(other):
            yield f"view {other.name!r}"


def _names(view: TableInfo) -> set[str]:
    """Return every name in a view's text: more than it reads, and never less."""
    assert isinstance(view.definition, SqlDefinition)
    try:
        tokens = tokenize(view.definition.sql)
    except SqlError:
        return set()
    return {token.name.casefold() for token in tokens if token.name is not None}
