"""Statements about the session itself: its transaction, and its settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.engine.plan.state import FULL, PUSHDOWN, PUSHDOWNS
from affidavit.engine.result.outcome import nothing
from affidavit.engine.statement.honoured import DIALECTS, GENERIC
from affidavit.engine.statement.limits import BRACKETS_MAX
from affidavit.errors import ReadOnlyError, SqlError, TransactionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement

_AT_ONCE: Final = frozenset({"IMMEDIATE", "EXCLUSIVE"})
"""The words of BEGIN that open the writer."""

_IN_USE: Final = ([CATALOG], [MAIN_SCHEMA], [CATALOG, MAIN_SCHEMA])
"""What USE may name."""

_BEGIN_WORDS: Final = _AT_ONCE | {"TRANSACTION", "WORK", "READ", "WRITE", "DEFERRED"}

OPEN_SETTINGS: Final = frozenset({
    "datafusion.execution.batch_size", "datafusion.execution.target_partitions",
    "datafusion.execution.time_zone", "datafusion.explain.format",
    "datafusion.explain.logical_plan_only", "datafusion.explain.physical_plan_only",
    "datafusion.explain.show_schema", "datafusion.explain.show_statistics",
    "datafusion.sql_parser.dialect", "timezone", PUSHDOWN,
})  # fmt: skip
"""What a session with limits may change: how its own statements are read, run and explained."""

CONNECTED: Final = tuple(
    f"datafusion.runtime.{name}"
    for name in ("memory_limit", "temp_directory", "max_temp_directory_size")
)
"""Settings of what all sessions share, which ``connect`` says."""

BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "datafusion.execution.batch_size": (1, 1_048_576),
    "datafusion.execution.target_partitions": (0, 1024),
    "datafusion.execution.planning_concurrency": (0, 1024),
    "datafusion.execution.meta_fetch_concurrency": (1, 1024),
    "datafusion.execution.minimum_parallel_output_files": (0, 1024),
    "datafusion.execution.max_buffered_batches_per_output_file": (2, 1024),
    "datafusion.execution.soft_max_rows_per_output_file": (1, 2**40),
    "datafusion.execution.hash_join_buffering_capacity": (0, 2**40),
    "datafusion.execution.objectstore_writer_buffer_size": (1024, 2**32),
    "datafusion.execution.parquet.bloom_filter_ndv": (1, 10_000_000),
    "datafusion.execution.parquet.column_index_truncate_length": (1, 2**32),
    "datafusion.execution.parquet.statistics_truncate_length": (1, 2**32),
    "datafusion.execution.parquet.data_page_row_count_limit": (1, 2**32),
    "datafusion.execution.parquet.data_pagesize_limit": (1, 2**32),
    "datafusion.execution.parquet.dictionary_page_size_limit": (1, 2**32),
    "datafusion.execution.parquet.max_row_group_size": (1, 2**32),
    "datafusion.execution.parquet.maximum_buffered_record_batches_per_stream": (1, 1024),
    "datafusion.execution.parquet.maximum_parallel_row_group_writers": (1, 1024),
    "datafusion.execution.parquet.write_batch_size": (1, 1_048_576),
    "datafusion.explain.tree_maximum_render_width": (0, 100_000),
    "datafusion.optimizer.max_passes": (1, 100),
    "datafusion.sql_parser.recursion_limit": (2, BRACKETS_MAX),
}
"""Between what a setting may be: DataFusion 54.1 has plans that panic, hang or give wrong answers
with less, and takes memory or threads by the number with more."""

FRACTION: Final = "datafusion.execution.parquet.bloom_filter_fpp"
"""A setting that must be between 0 and 1, or DataFusion 54.1 panics."""

NUMBER_MAX: Final = 2**40
"""The largest number that any other setting may be."""


_FIXED: Final = {
    "datafusion.execution.listing_table_ignore_subdirectory": "attach a folder below by its path",
    "datafusion.catalog.default_catalog": "write lake.schema.table, or the source's name first",
    "datafusion.catalog.default_schema": "write schema.table",
    "datafusion.sql_parser.enable_ident_normalization": "write a name in quotes to have it exact",
}
"""Settings that only queries would follow, and what to write instead."""

_BETWEEN: Final = re.compile(r"0?\.0*[1-9]\d*")
_DIGITS_MAX: Final = 20

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
    if setting in CONNECTED:
        msg = f"{setting} is of all sessions: see memory_limit= and spill_to= of affidavit.connect"
        raise SqlError(msg)
    value = _value_of(statement)
    if setting == PUSHDOWN:
        return _set_pushdown(scope, value)
    _check_number(setting, value)
    if setting == "datafusion.sql_parser.dialect" and value and value not in DIALECTS:
        raise SqlError(f"dialect {value!r} is not supported: use one of {sorted(DIALECTS)}")
    scope.planner.set(statement.text)
    if setting == "datafusion.sql_parser.dialect":  # once DataFusion reads so too
        scope.planner.state.read_as(value or GENERIC)
    return nothing()


def _set_pushdown(scope: Scope, value: str) -> Result:
    """Say what databases are asked to do for the session's statements."""
    if value and value not in PUSHDOWNS:
        raise SqlError(f"{PUSHDOWN} is one of {', '.join(PUSHDOWNS)}, got {value!r}")
    scope.planner.state.push(value or FULL)
    return nothing()


def _check_number(setting: str, value: str) -> None:
    """Raise SqlError where a setting is a number that no plan can run with.

    What is no number of the setting's kind is DataFusion's to refuse.
    """
    shown = value if len(value) <= _DIGITS_MAX else f"{value[:_DIGITS_MAX]}..."
    if setting == FRACTION and value and not _BETWEEN.fullmatch(value):
        raise SqlError(f"{setting} must be between 0 and 1, such as 0.05, got {shown}")
    number = value.replace("_", "").strip().lstrip("+")
    least, most = BOUNDS.get(setting, (0, NUMBER_MAX))
    is_within = len(number) <= _DIGITS_MAX and number.isdecimal() and least <= int(number) <= most
    if number.isdecimal() and not is_within:
        raise SqlError(f"{setting} must be between {least:,} and {most:,}, got {shown}")


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


def use(_scope: Scope, statement: Statement, _: Params) -> Result:
    """Run USE of what names without a schema mean already.

    Raises:
        SqlError: It is another schema.
    """
    cursor = statement.cursor()
    cursor.expect("USE")
    cursor.accept("SCHEMA")
    named = [cursor.name("a schema")]
    if cursor.accept("."):
        named.append(cursor.name("a schema"))
    if not cursor.done or named not in _IN_USE:
        msg = (
            f"{statement.text} is not supported: names without a schema are those of "
            f"{CATALOG}.{MAIN_SCHEMA}; write schema.table"
        )
        raise SqlError(msg)
    return nothing()
