"""COPY ... FROM 'path': an INSERT of what files have."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.catalog.sources.buckets.location import is_local
from affidavit.catalog.sources.files.guessed import guessed
from affidavit.catalog.sources.files.headers import headers_of, where_stands
from affidavit.catalog.sources.files.listed import data_files
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.engine.plan.state import GivenFile
from affidavit.engine.statement.commands import CopyFrom, parse_copy_from
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import AffidavitError, ExecutionError, SqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement

_CAST: Final = re.compile(
    r"column (?P<columns>.*?): (?P<told>'(?P<value>.*)' cannot be cast to .*)", re.DOTALL
)
"""What is said of a value by ``casts_by_column``: of one column, or of several that it may be."""

_NAME: Final = re.compile(r"['\"](.*?)['\"](?: or |$)")


def copy_from(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run COPY t [(columns)] FROM 'path' [(options)].

    Values of CSV are read as the columns' types, whatever they look like: ``007`` stays a text.
    Columns with names are matched by those, if need be without case, and by their places without a
    header.
    """
    asked = parse_copy_from(statement.cursor())
    options = dict(asked.options.options)
    given = GivenFile(asked.location, asked.options.format, options, is_text=True)
    null = given.options.pop("null_value", None)
    if null is not None:
        given.options["null_regex"] = f"^{re.escape(null)}$"
    name = f"{asked.location} {uuid4().hex}"
    scope.planner.state.given[name] = given
    try:
        text = _insert(scope, asked, name, has_names=given.options.get("has_header") != "false")
        return scope.execute(parse_statement(text), params)
    except ExecutionError as error:
        told = _told(scope, asked, given, str(error))
        if told is None:
            raise
        raise ExecutionError(told) from error
    finally:
        del scope.planner.state.given[name]


def _insert(scope: Scope, asked: CopyFrom, name: str, *, has_names: bool) -> str:
    """Return the INSERT that reads the files by a name for this statement alone."""
    query = f"SELECT * FROM {quoted_text(name)}"
    target = ".".join(map(quoted, asked.target))
    listed = ", ".join(map(quoted, asked.columns))
    into = f"{target} ({listed})" if listed else target
    if not has_names:
        return f"INSERT INTO {into} {query}"
    with scope.planner.snapshot(scope.catalog) as snapshot:
        found = scope.planner.plan(query, {}, snapshot, names=(), read_only=True).schema().names
    if not listed:
        meant = _meant(found, _columns(scope, asked.target))
        if not meant:
            return f"INSERT INTO {into} BY NAME {query}"
        named = (f"{quoted(each)} AS {quoted(meant.get(each, each))}" for each in found)
        return f"INSERT INTO {into} BY NAME SELECT {', '.join(named)} FROM {quoted_text(name)}"
    alike = {column: each for each, column in _meant(found, asked.columns).items()}
    missing = [column for column in asked.columns if column not in {*found, *alike}]
    if missing:
        raise SqlError(f"{asked.location!r} has no columns {missing}: it has {found}")
    given = ", ".join(quoted(alike.get(column, column)) for column in asked.columns)
    return f"INSERT INTO {into} SELECT {given} FROM {quoted_text(name)}"


def _meant(found: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """Return the column that each of a file's means which differs from one in case alone."""
    left = [each for each in columns if each not in found]
    others = [each for each in found if each not in columns]
    meant = {}
    for name in others:
        alike = [each for each in left if each.casefold() == name.casefold()]
        is_one = sum(each.casefold() == name.casefold() for each in others) == 1
        if len(alike) == 1 and is_one:
            meant[name] = alike[0]
    return meant


def _columns(scope: Scope, target: tuple[str, ...]) -> list[str]:
    """Return the columns of a table; none if it is not there, which its INSERT tells."""
    text = f"SELECT * FROM {'.'.join(map(quoted, target))}"
    try:
        with scope.planner.snapshot(scope.catalog) as snapshot:
            planned = scope.planner.plan(text, {}, snapshot, names={*target}, read_only=True)
            return list(planned.schema().names)
    except AffidavitError:
        return []


def _told(scope: Scope, asked: CopyFrom, given: GivenFile, error: str) -> str | None:
    """Return where the value stands that an error is about; ``None`` where nobody can tell."""
    cast = _CAST.fullmatch(error)
    location = scope.reach.files(asked.location)
    if cast is None or not is_local(location):
        return None
    kind, needed = guessed(location)
    if (given.format or kind) != "CSV":
        return None
    options = {f"format.{key}": value for key, value in {**needed, **given.options}.items()}
    files = data_files(location)
    headers = headers_of(files, options)
    columns = asked.columns or _columns(scope, asked.target)
    named = {each.casefold() for each in _NAME.findall(cast["columns"])}
    for path in files:
        names = columns if headers is None else headers.get(path, ())
        for place in (at for at, name in enumerate(names) if name.casefold() in named):
            cell = partial(_stands, place, cast["value"])
            found = where_stands([path], options, cell)
            if found is not None:
                return f"{str(path)!r}, line {found[1]}, column {names[place]!r}: {cast['told']}"
    return None


def _stands(place: int, value: str, row: Sequence[str]) -> bool:
    return len(row) > place and row[place] == value
