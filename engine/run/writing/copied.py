"""COPY ... FROM 'path': an INSERT of what files have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import uuid4

from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.engine.plan.state import GivenFile
from affidavit.engine.statement.commands import CopyFrom, parse_copy_from
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement


def copy_from(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run COPY t [(columns)] FROM 'path' [(options)].

    Values of CSV are read as the columns' types, whatever they look like: ``007`` stays a text.
    Columns with names are matched by those, and by their places without a header.
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
    finally:
        del scope.planner.state.given[name]


def _insert(scope: Scope, asked: CopyFrom, name: str, *, has_names: bool) -> str:
    """Return the INSERT that reads the files by a name for this statement alone."""
    query = f"SELECT * FROM {quoted_text(name)}"
    target = ".".join(map(quoted, asked.target))
    if has_names and not asked.columns:
        return f"INSERT INTO {target} BY NAME {query}"
    listed = ", ".join(map(quoted, asked.columns))
    into = f"{target} ({listed})" if listed else target
    if not has_names or not listed:
        return f"INSERT INTO {into} {query}"
    with scope.planner.snapshot(scope.catalog) as snapshot:
        found = scope.planner.plan(query, {}, snapshot, names=(), read_only=True).schema().names
    missing = [column for column in asked.columns if column not in found]
    if missing:
        raise SqlError(f"{asked.location!r} has no columns {missing}: it has {found}")
    return f"INSERT INTO {into} SELECT {listed} FROM {quoted_text(name)}"
