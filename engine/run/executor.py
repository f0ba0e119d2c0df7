"""One statement, brought to whoever runs statements of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.engine.run.alter import alter, drop
from affidavit.engine.run.attachments import attach, detach
from affidavit.engine.run.control import (
    begin,
    commit,
    release,
    rollback,
    savepoint,
    set_option,
    use,
)
from affidavit.engine.run.create import create, select_into
from affidavit.engine.run.defining.comments import comment
from affidavit.engine.run.insert import insert
from affidavit.engine.run.outgoing import copy
from affidavit.engine.run.prepared import deallocate, execute, prepare
from affidavit.engine.run.scope import Params, Scope
from affidavit.engine.run.telling.explain import explain
from affidavit.engine.run.telling.located import casts_by_line
from affidavit.engine.run.telling.making import show_create
from affidavit.engine.run.telling.pragma import pragma
from affidavit.engine.run.telling.summarize import summarize
from affidavit.engine.run.update import delete, merge, truncate, update
from affidavit.engine.run.writing.copied import copy_from
from affidavit.engine.statement.commands import is_copy_from
from affidavit.engine.statement.names import with_names
from affidavit.engine.statement.parameters import bound
from affidavit.engine.statement.statement import Kind, Statement
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.engine.result.result import Result

Run: TypeAlias = Callable[[Scope, Statement, Params], "Result"]
"""Runs one statement of a kind."""


class Executor(Scope):
    """Runs statements for one identity."""

    def execute(self, statement: Statement, params: Params) -> Result:
        """Run one statement.

        Raises:
            SqlError: It does not parse, or its parameters and ``params`` are not the same.
            ReadOnlyError: It writes, and the session only reads.
        """
        trace = self.catalog.trace
        if trace is not None and trace.query is not None:
            trace.query.read_as(statement.kind.value)
        if params or "$" in statement.text or "?" in statement.text:
            statement, params = bound(statement, params)
        return with_names(
            statement, lambda meant: RUNS[meant.kind](self, meant, params), self.columns_of
        )


def _writing(run: Run) -> Run:
    """Return ``run``, which is refused where nothing may be written.

    In a caller's transaction it is under the writer from the start: what it reads on its way is
    nothing that somebody else could change before it is written.
    """

    def checked(scope: Scope, statement: Statement, params: Params) -> Result:
        scope.refuse_read_only()
        begun = scope.catalog.transactions.begun
        if begun is not None:
            _ = begun.writer
        return run(scope, statement, params)

    return checked


def _defining(run: Run) -> Run:
    """Return ``run``, which writes; functions are the contexts', which are many sessions'."""
    writing = _writing(run)

    def chosen(scope: Scope, statement: Statement, params: Params) -> Result:
        if statement.is_of_function:
            msg = (
                f"{statement.kind.name} FUNCTION is not supported: the functions are those of "
                "DataFusion and of the engine, for every session alike"
            )
            raise SqlError(msg)
        return writing(scope, statement, params)

    return chosen


def _copy(scope: Scope, statement: Statement, params: Params) -> Result:
    if not is_copy_from(statement.cursor()):
        return copy(scope, statement, params)
    with casts_by_line(scope, statement):
        return _writing(copy_from)(scope, statement, params)


RUNS: Final[Mapping[Kind, Run]] = {
    Kind.QUERY: Scope.query,
    Kind.EXPLAIN: explain,
    Kind.INSERT: _writing(insert),
    Kind.UPDATE: _writing(update),
    Kind.DELETE: _writing(delete),
    Kind.MERGE: _writing(merge),
    Kind.TRUNCATE: _writing(truncate),
    Kind.CREATE: _defining(create),
    Kind.DROP: _defining(drop),
    Kind.ALTER: _defining(alter),
    Kind.SELECT_INTO: _defining(select_into),
    Kind.COMMENT: _writing(comment),
    Kind.SHOW_CREATE: show_create,
    Kind.SUMMARIZE: summarize,
    Kind.PRAGMA: pragma,
    Kind.USE: use,
    Kind.ATTACH: _writing(attach),
    Kind.DETACH: _writing(detach),
    Kind.BEGIN: begin,
    Kind.COMMIT: commit,
    Kind.ROLLBACK: rollback,
    Kind.SAVEPOINT: savepoint,
    Kind.RELEASE: release,
    Kind.COPY: _copy,
    Kind.PREPARE: prepare,
    Kind.EXECUTE: execute,
    Kind.DEALLOCATE: deallocate,
    Kind.SETTING: set_option,
}
"""Who runs a statement: a row for each kind."""
