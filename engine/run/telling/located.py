"""Where a value stands that COPY ... FROM could not read as its column's type."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.buckets.location import is_local
from affidavit.catalog.sources.files.guessed import guessed
from affidavit.catalog.sources.files.headers import headers_of, where_stands
from affidavit.catalog.sources.files.listed import data_files
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.commands import parse_copy_from
from affidavit.errors import AffidavitError, ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.engine.run.scope import Scope
    from affidavit.engine.statement.commands import CopyFrom
    from affidavit.engine.statement.statement import Statement

_CAST: Final = re.compile(
    r"column (?P<columns>.*?): (?P<told>'(?P<value>.*)' cannot be cast to .*)", re.DOTALL
)
"""What is said of a value by ``casts_by_column``: of one column, or of several that it may be."""

_NAME: Final = re.compile(r"['\"](.*?)['\"](?: or |$)")


@contextmanager
def casts_by_line(scope: Scope, statement: Statement) -> Iterator[None]:
    """Name the file, the line and the column, in what the block raises of a value of local CSV."""
    try:
        yield
    except ExecutionError as error:
        told = _told(scope, parse_copy_from(statement.cursor()), str(error))
        if told is None:
            raise
        raise ExecutionError(told) from error


def _told(scope: Scope, asked: CopyFrom, error: str) -> str | None:
    cast, location = _CAST.fullmatch(error), scope.reach.files(asked.location)
    if cast is None or not is_local(location):
        return None
    kind, needed = guessed(location)
    if (asked.options.format or kind) != "CSV":
        return None
    given = {**needed, **asked.options.options}
    options = {f"format.{key}": value for key, value in given.items()}
    files = data_files(location)
    headers = headers_of(files, options)
    columns = asked.columns or _columns(scope, asked.target)
    named = {each.casefold() for each in _NAME.findall(cast["columns"])}
    for path in files:
        names = columns if headers is None else headers.get(path, ())
        for place in (at for at, name in enumerate(names) if name.casefold() in named):
            found = where_stands([path], options, partial(_stands, place, cast["value"]))
            if found is not None:
                return f"{str(path)!r}, line {found[1]}, column {names[place]!r}: {cast['told']}"
    return None


def _stands(place: int, value: str, row: Sequence[str]) -> bool:
    return len(row) > place and row[place] == value


def _columns(scope: Scope, target: tuple[str, ...]) -> Sequence[str]:
    """Return the columns of a table, if they can be told."""
    text = f"SELECT * FROM {'.'.join(map(quoted, target))}"
    try:
        with scope.planner.snapshot(scope.catalog) as snapshot:
            planned = scope.planner.plan(text, {}, snapshot, names={*target}, read_only=True)
            return list(planned.schema().names)
    except AffidavitError:
        return ()
