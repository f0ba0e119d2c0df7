"""Which rows an erasure is of: those that a condition holds for, read as a DELETE would read them.

The condition is planned as SQL, and stays out of the log of statements: it may name what is erased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.erasure.chosen import Chosen, chosen_rows
from affidavit.catalog.sql.expression import delete_text
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.protocol import ROWID
from affidavit.engine.result.outcome import counted
from affidavit.engine.run.target import Asked, OpenTarget, changed
from affidavit.engine.statement.clauses import parse_delete
from affidavit.engine.statement.names import with_names
from affidavit.engine.statement.parameters import bound
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET, parse_statement
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement


def rows_where(scope: Scope, schema: str, table: str, where: object, params: Params) -> Chosen:
    """Return the rows of a table that a condition holds for.

    Raises:
        InvalidQueryError: It is no condition.
        SqlError: It does not parse or plan.
    """
    if not isinstance(where, str) or not where.strip():
        msg = f"where must be an SQL predicate such as 'id = 3', got {where!r}"
        raise InvalidQueryError(msg)
    statement = parse_statement(delete_text(schema, table, where))
    if params or "$" in statement.text or "?" in statement.text:
        statement, params = bound(statement, params)
    found: list[Chosen] = []

    def choose(opened: OpenTarget, prefix: str, alias: str, rest: str) -> Result:
        rows = opened.rows(
            f'{prefix} SELECT {quoted(alias)}.* FROM "{DML_SCHEMA}".{DML_TARGET} '
            f"AS {quoted(alias)} {rest}"
        )
        rowids = rows[ROWID].to_pylist()
        found.append(chosen_rows(opened.info, opened.fitted(rows), rowids))
        return counted(0)

    def run(meant: Statement) -> Result:
        clauses = parse_delete(meant.cursor())
        if clauses.source or clauses.returning:
            msg = "where must be one SQL predicate, without USING or RETURNING"
            raise InvalidQueryError(msg)
        alias = clauses.target.alias
        return changed(
            Asked(scope, meant, params), clauses.target,
            lambda opened: choose(opened, clauses.prefix, alias, clauses.rest),
        )  # fmt: skip

    with_names(statement, run, scope.columns_of)
    return found[-1]
