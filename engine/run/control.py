"""Statements about the session itself: its transaction, and its settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.engine.result.outcome import nothing
from affidavit.engine.statement.honoured import GENERIC
from affidavit.errors import ReadOnlyError, SqlError, TransactionError

if TYPE_CHECKING:
    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement

_AT_ONCE: Final = frozenset({"IMMEDIATE", "EXCLUSIVE"})
"""The words of BEGIN that open the writer."""

_BEGIN_WORDS: Final = _AT_ONCE | {"TRANSACTION", "WORK", "READ", "WRITE", "DEFERRED"}

OPEN_SETTINGS: Final = frozenset({
    "datafusion.execution.batch_size", "datafusion.execution.target_partitions",
    "datafusion.execution.time_zone", "datafusion.explain.format",
    "datafusion.explain.logical_plan_only", "datafusion.explain.physical_plan_only",
    "datafusion.explain.show_schema", "datafusion.explain.show_statistics",
    "datafusion.sql_parser.dialect", "timezone",
})  # fmt: skip
"""What a session with limits may change: how its own statements are read, run and explained."""

_FIXED: Final = {
    "datafusion.catalog.default_catalog": "write lake.schema.table, or the source's name first",
    "datafusion.catalog.default_schema": "write schema.table",
    "datafusion.sql_parser.enable_ident_normalization": "write a name in quotes to have it exact",
}
"""Settings that only queries would follow, and what to write instead."""

DIALECTS: Final = frozenset({"generic", "postgresql", "duckdb", "ansi", "sqlite", "snowflake"})
"""Those whose texts in quotes end where ours do."""

_NO_NAME: Final = re.compile(r"[^\w.]+")
"""What is no part of a setting's name: quotes of every kind."""


# --- transactions --------------------------------------------------------------------------------


def begin(scope: Scope, statement: Statement, _: Params) -> Result:
    """Begin a transaction."""
    words = {token.keyword for token in statement.tokens[1:]}
    if not words <= _BEGIN_WORDS:
        raise _unsupported(statement)
    scope.refuse_read_only()
    scope.catalog.transactions.begin(scope.catalog.tenant, immediate=bool(words & _AT_ONCE))
    return nothing()


def commit(scope: Scope, statement: Statement, _: Params) -> Result:
    """Commit the session's transaction."""
    _after_verb(statement)
    scope.catalog.transactions.commit()
    return nothing()


def rollback(scope: Scope, statement: Statement, _: Params) -> Result:
    """Roll the session's transaction back, or back to a savepoint."""
    cursor = _verb(statement)
    if cursor.accept("TO"):
        name = _savepoint_name(statement, cursor)
        scope.catalog.transactions.required("ROLLBACK TO").rollback_to(name)
        return nothing()
    _after_verb(statement)
    scope.catalog.transactions.rollback()
    return nothing()


def savepoint(scope: Scope, statement: Statement, _: Params) -> Result:
    """Note a place that the session's transaction can be brought back to."""
    cursor = statement.cursor()
    cursor.skip(1)
    name = _name(statement, cursor)
    scope.catalog.transactions.required("SAVEPOINT").savepoint(name)
    return nothing()


def release(scope: Scope, statement: Statement, _: Params) -> Result:
    """Forget a savepoint."""
    cursor = statement.cursor()
    cursor.skip(1)
    name = _savepoint_name(statement, cursor)
    scope.catalog.transactions.required("RELEASE").release(name)
    return nothing()


def _verb(statement: Statement) -> Cursor:
    cursor = statement.cursor()
    cursor.skip(1)
    if cursor.peek() in {"TRANSACTION", "WORK"}:
        cursor.skip(1)
    return cursor


def _after_verb(statement: Statement) -> None:
    if not _verb(statement).done:
        raise _unsupported(statement)


def _savepoint_name(statement: Statement, cursor: Cursor) -> str:
    if len(cursor.tokens) - cursor.at > 1:  # else it is called so
        cursor.accept("SAVEPOINT")
    return _name(statement, cursor)


def _name(statement: Statement, cursor: Cursor) -> str:
    name = cursor.name("a savepoint")
    if not cursor.done:
        raise _unsupported(statement)
    return name


def _unsupported(statement: Statement) -> TransactionError:
    msg = (
        f"{statement.text!r} is not supported: use BEGIN [IMMEDIATE], COMMIT, ROLLBACK, SAVEPOINT "
        "name, ROLLBACK TO name and RELEASE name"
    )
    return TransactionError(msg)


# --- settings ------------------------------------------------------------------------------------


def set_option(scope: Scope, statement: Statement, _: Params) -> Result:
    """Change a setting of the session."""
    setting = setting_of(statement)
    if scope.reach.limited and setting not in OPEN_SETTINGS:
        msg = f"this session may not change {setting!r}: it may change {sorted(OPEN_SETTINGS)}"
        raise ReadOnlyError(msg)
    if setting in _FIXED:
        raise SqlError(f"{setting} is not supported: {_FIXED[setting]}")
    value = _value_of(statement)
    if setting == "datafusion.execution.batch_size" and value == "0":
        raise SqlError("datafusion.execution.batch_size must be at least 1, got 0")
    if setting == "datafusion.sql_parser.dialect":
        if value and value not in DIALECTS:
            raise SqlError(f"dialect {value!r} is not supported: use one of {sorted(DIALECTS)}")
        scope.planner.read_as(value or GENERIC)
    scope.planner.set(statement.text)
    return nothing()


def _value_of(statement: Statement) -> str:
    """Return what SET gives, in lower case and without quotes; empty for RESET."""
    found = (at for at, token in enumerate(statement.tokens) if token.text == "=")
    at = next(found, None)
    if at is None:
        at = next((i for i, token in enumerate(statement.tokens) if token.keyword == "TO"), None)
    rest = () if at is None else statement.tokens[at + 1 :]
    return "".join(token.text for token in rest).strip("'\"").lower()


def setting_of(statement: Statement) -> str:
    """Return the setting that a SET or RESET is about, as DataFusion knows it.

    However it is written: in upper case, or in quotes as a whole or in parts.
    """
    words = [token.keyword for token in statement.tokens[1:3]]
    if words == ["TIME", "ZONE"]:
        return "timezone"
    parts = []
    for token in statement.tokens[1:]:
        if token.text == "=" or token.keyword == "TO":
            break
        parts.append(token.text)
    return _NO_NAME.sub("", "".join(parts)).lower()
