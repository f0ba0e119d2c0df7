"""What callers hand to a session, in the one form that the rest goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from affidavit.catalog.model.definition import Index
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.values.python.arguments import checked_items, checked_text
from affidavit.errors import InvalidQueryError, TableNotFoundError

Params = Mapping[str, Any] | Sequence[Any]
"""A statement's parameters: a dict for ``$name``, a list for ``$1``, ``$2``..."""


def named_parameters(params: Params | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return a statement's parameters by name; those of a list are called 1, 2...

    Raises:
        InvalidQueryError: ``params`` is no mapping and no list, or a parameter has two values.
    """
    if params is None:
        return dict(named)
    if isinstance(params, dict):
        given = {str(name): value for name, value in params.items()}
        if twice := sorted(given.keys() & named.keys()):
            msg = f"parameter ${twice[0]} has two values: in params= and by its name"
            raise InvalidQueryError(msg)
        return {**given, **named}
    if isinstance(params, list | tuple):
        return {**{str(at): value for at, value in enumerate(params, 1)}, **named}
    msg = f"params must be a dict or a list, got {type(params).__name__}"
    raise InvalidQueryError(msg)


def as_columns(given: str | Sequence[str], name: str) -> tuple[str, ...]:
    """Return one column, or several, as a tuple; ``name`` is the argument."""
    given = [given] if isinstance(given, str) else checked_items(given, name)
    return tuple(checked_text(each, name) for each in given)


def as_indexes(table: str, given: Sequence[str | Sequence[str]]) -> list[Index]:
    """Return the indexes that a new table is to have: one for each column, or list of columns."""
    items = [given] if isinstance(given, str) else checked_items(given, "indexes")
    listed = [as_columns(each, "indexes") for each in items]
    return [Index(f"{table}_{'_'.join(each)}_idx", each) for each in listed]


def split_name(name: object) -> tuple[str, str]:
    """Return the schema and the name of ``name`` or ``schema.name``.

    Raises:
        TableNotFoundError: It is no text.
    """
    if not isinstance(name, str):
        raise TableNotFoundError(str(name))
    schema, _, plain = name.rpartition(".")
    return schema or MAIN_SCHEMA, plain
