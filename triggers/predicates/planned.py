"""An expression over the rows of a table, planned once by DataFusion and executed for any rows.

Rules:
    - It depends on the rows alone: what reads a clock, another table or a parameter is refused.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt
from datafusion import SessionConfig, SessionContext, col

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.scan import ScanDataset
from affidavit.catalog.sql.sized import check_written_out
from affidavit.catalog.store.interrupts import held
from affidavit.errors import ExecutionError, SqlError, UnsupportedPredicateError
from affidavit.screen import listed
from affidavit.triggers.predicates.comparisons import column_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.triggers.predicates.comparisons import Rows

PREDICATE_LENGTH_MAX: Final = 100_000
SHOWN_MAX: Final = 500
"""How much of a predicate an error message repeats."""

OPERATORS_MAX: Final = 200
"""DataFusion's planning time grows with the cube of a chain's length."""

PLAN_RUNS_MAX: Final = 1_000
"""A physical plan keeps the metrics of all its executions, so it is renewed after so many."""

TABLE: Final = "__event"
"""What the rows are called."""
_PREFIXES: Final = re.compile(
    r"^((DataFusion|Arrow|External|SQL|Schema|Execution) error: |Error during planning: "
    r"|This feature is not implemented: |\w+\ncaused by\n)+"
)
_UNWRITTEN: Final = re.compile(rf" at Line: \d+, Column: \d+|\b{TABLE}\.")  # by the caller
_MISSING: Final = re.compile(
    r"No field named (.+?)\.(?: Did you mean| Valid fields|\s*$)", re.DOTALL
)
_NO_FUNCTION: Final = "Invalid function '"
_SCALAR: Final = frozenset(
    "Between BinaryExpr Case Cast Column InList IsFalse IsNotFalse IsNotNull IsNotTrue "  # noqa: SIM905 - a list would be a page
    "IsNotUnknown IsNull IsTrue IsUnknown Like Literal Negative Not RLike ScalarFunction "
    "TryCast".split()
)


# --- refusing ----------------------------------------------------------------------------------


@contextmanager
def refusing(text: object, schema: pa.Schema, what: str = "predicate") -> Iterator[None]:
    """Raise UnsupportedPredicateError for whatever the block raises of an expression."""
    try:
        yield
    except BaseException as error:
        reason = reason_of(error)
        missing = _MISSING.search(reason)
        if missing is not None:
            reason = f"there is no column {missing[1]}; there are {listed(schema.names)}"
        if reason.startswith(_NO_FUNCTION):
            reason = (
                f"{reason} What holds for all sessions calls SQL's own functions alone, none "
                "that a session registered and no embed()"
            )
        msg = f"{what} {shown(text)} is refused: {reason}"
        raise UnsupportedPredicateError(msg) from error


def shown(text: object) -> str:
    """Return an expression as an error message has it."""
    told = repr(text)
    return told if len(told) <= SHOWN_MAX else told[:SHOWN_MAX] + "..."


def reason_of(error: BaseException) -> str:
    """Return what DataFusion says; raise ``error`` again if it is no failure of a computation."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
    return _UNWRITTEN.sub("", _PREFIXES.sub("", str(error))).strip() or type(error).__name__


def checked(text: object) -> list[Token]:
    """Return the tokens of ``text``, if it is of a sensible size and could be one expression."""
    if not isinstance(text, str):
        raise SqlError(f"expected text, got {type(text).__name__}")
    if len(text) > PREDICATE_LENGTH_MAX:
        raise SqlError(f"it has {len(text):,} characters, and {PREDICATE_LENGTH_MAX:,} are allowed")
    tokens = tokenize(text)
    if not tokens:
        raise SqlError("it is empty")
    check_written_out(text)
    if any(token.depth < 0 for token in tokens):
        raise SqlError("it closes a bracket that it does not open")
    _check_distinct(tokens)
    operators = sum(
        token.keyword in {"AND", "OR"} or (token.kind == "symbol" and token.text not in "()[]{},.")
        for token in tokens
    )
    if operators > OPERATORS_MAX:
        raise SqlError(
            f"it has {operators} operators, and {OPERATORS_MAX} are allowed: IN has none"
        )
    return tokens


def _check_distinct(tokens: Sequence[Token]) -> None:
    """Raise SqlError for IS DISTINCT FROM that DataFusion 54.1 reads the rest of AND or OR into."""
    for at, token in enumerate(tokens):
        if token.keyword != "FROM" or not at or tokens[at - 1].keyword != "DISTINCT":
            continue
        for behind in tokens[at + 1 :]:
            if behind.depth < token.depth or behind.keyword in {"THEN", "ELSE", "END"}:
                break
            if behind.depth == token.depth and behind.keyword in {"AND", "OR"}:
                msg = f"put IS DISTINCT FROM and both of its sides in brackets before {behind.text}"
                raise SqlError(msg)


def nodes_of(plan: Any) -> list[Any]:  # noqa: ANN401 - DataFusion's
    """Return the plan's nodes from the top, as far as each has one input."""
    nodes = [plan.to_variant()]
    while len(plan.inputs()) == 1:
        plan = plan.inputs()[0]
        nodes.append(plan.to_variant())
    return nodes


def columns_read(condition: Any) -> frozenset[str]:  # noqa: ANN401 - DataFusion's
    """Return the columns that ``condition`` reads; SqlError if it depends on anything else."""
    columns, left = set(), [condition]
    while left:
        expression = left.pop()
        kind = expression.variant_name()
        if kind not in _SCALAR:
            raise SqlError(f"{kind} {expression.canonical_name()!r} is not a row's own value")
        if kind == "ScalarFunction" and expression.rex_call_operator() in _changing():
            raise SqlError(f"{expression.canonical_name()} is not the same at all times")
        if kind == "Column":
            columns.add(expression.to_variant().name())
        elif kind != "Literal":
            left += expression.rex_call_operands()
    return frozenset(columns)


@lru_cache(maxsize=1)
def _changing() -> frozenset[str]:
    """Return the names of the functions that are random or read a clock."""
    context = SessionContext(config().with_information_schema(enabled=True))
    names = "SELECT routine_name FROM information_schema.routines WHERE NOT is_deterministic"
    return frozenset(row["routine_name"] for row in context.sql(names).to_pylist())


def config() -> SessionConfig:
    """Return how expressions are planned."""
    return SessionConfig(
        {
            "datafusion.execution.target_partitions": "1",
            "datafusion.execution.time_zone": "UTC",  # as the statements that say them are planned
        }
    )


class _Feed(ScanDataset):
    """The table that a plan reads: whatever batch was put there."""

    def __init__(self, schema: pa.Schema) -> None:
        super().__init__(schema, lambda _: None)
        self.batch = pa.RecordBatch.from_pylist([], schema)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        assert predicate is None  # the condition is a column of the result
        yield self.batch.select(columns)


class Planned:
    """An expression that DataFusion executes: a condition, unless a type says what it is to be.

    Args:
        text: The expression as it was written.
        sql: The same as it is planned.
        schema: The columns of the rows.
        columns: Those that it reads.
        kind: The type of its values.
    """

    def __init__(
        self,
        text: str,
        sql: str,
        schema: pa.Schema,
        columns: frozenset[str],
        kind: pa.DataType | None = None,
    ) -> None:
        names = [name for name in schema.names if name in columns] or schema.names[:1]
        self._text = text
        self._what = "predicate" if kind is None else "expression"
        self._lock = threading.Lock()
        self._feed = _Feed(pa.schema([schema.field(name) for name in names]))
        self._context = SessionContext(config())
        self._context.register_dataset(TABLE, self._feed)
        if kind is None:
            self._kind = pa.bool_()
            self._frame = self._context.sql(f"SELECT ({sql}\n) IS TRUE FROM {TABLE}")
        else:
            self._kind = kind
            found = self._context.sql(f"SELECT ({sql}\n) AS __value FROM {TABLE}")
            self._frame = found.select(col("__value").cast(kind).alias("__value"))
        self._plan, self._runs = self._frame.execution_plan(), 0

    def mask(self, rows: Rows) -> pa.BooleanArray:
        """Return whether the condition is true of each row."""
        return self.values(rows)

    def values(self, rows: Rows) -> pa.Array:
        """Return the expression's value for each row.

        Raises:
            ExecutionError: One cannot be computed.
        """
        schema = self._feed.schema
        arrays = [_with_null_fields(column_of(rows, field.name, field.type)) for field in schema]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        try:
            with self._lock, held():
                answers = [each.to_pyarrow().column(0) for each in self._run(batch)]
        except BaseException as error:
            msg = f"{self._what} {shown(self._text)} failed: {reason_of(error)}"
            raise ExecutionError(msg) from error
        return pa.chunked_array(answers, self._kind).combine_chunks()

    def _run(self, batch: pa.RecordBatch) -> Iterator[Any]:
        if self._runs == PLAN_RUNS_MAX:
            self._plan, self._runs = self._frame.execution_plan(), 0
        self._runs += 1
        self._feed.batch = batch
        yield from self._context.execute(self._plan, 0)


def _with_null_fields(array: pa.Array) -> pa.Array:
    """Return ``array`` with the fields of a NULL struct NULL: DataFusion looks at them alone."""
    if not (pt.is_struct(array.type) and array.null_count and array.type.num_fields):
        return array
    fields = [_with_null_fields(field) for field in array.flatten()]
    return pa.StructArray.from_arrays(fields, fields=list(array.type), mask=array.is_null())
