"""SQL predicates over the rows of an event: compiled once, then asked of every event.

Rules:
    - The answer is DataFusion's to ``SELECT * FROM t WHERE (text)``: Kleene logic, and floats
      compared by IEEE 754 totalOrder.
    - It depends on the rows alone: what reads a clock, another table or a parameter is refused.
    - What DataFusion's optimizer leaves as comparisons of columns is answered here: few rows by
      plain Python, many by Arrow's kernels. Only the rest, LIKE or a function, is executed.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from datafusion import SessionConfig, SessionContext

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.scan import ScanDataset
from affidavit.catalog.sql.sized import check_written_out
from affidavit.catalog.store.interrupts import held
from affidavit.catalog.values.arrays import take
from affidavit.catalog.values.types import FEW_ROWS_MAX
from affidavit.errors import ExecutionError, SqlError, UnsupportedPredicateError
from affidavit.screen import listed
from affidavit.triggers.predicates.comparisons import Comparisons, column_of, read_comparisons
from affidavit.triggers.predicates.images import IMAGES, with_images

if TYPE_CHECKING:
    from collections.abc import Iterator

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

_TABLE: Final = "__event"
_PREFIXES: Final = re.compile(
    r"^((DataFusion|Arrow|External|SQL|Schema|Execution) error: |Error during planning: "
    r"|This feature is not implemented: |\w+\ncaused by\n)+"
)
_UNWRITTEN: Final = re.compile(rf" at Line: \d+, Column: \d+|\b{_TABLE}\.")  # by the caller
_MISSING: Final = re.compile(
    r"No field named (.+?)\.(?: Did you mean| Valid fields|\s*$)", re.DOTALL
)
_SCALAR: Final = frozenset(
    "Between BinaryExpr Case Cast Column InList IsFalse IsNotFalse IsNotNull IsNotTrue "  # noqa: SIM905 - a list would be a page
    "IsNotUnknown IsNull IsTrue IsUnknown Like Literal Negative Not RLike ScalarFunction "
    "TryCast".split()
)


class EventPredicate:
    """A compiled predicate; any number of threads may use it at once.

    Attributes:
        sql: As it was written.
        columns: The columns that it reads; of a change, ``new.column`` and ``old.column``.
    """

    def __init__(
        self, sql: str, columns: frozenset[str], quick: Comparisons | None, planned: _Planned | None
    ) -> None:
        self.sql = sql
        self.columns = columns
        self._quick = quick
        self._planned = planned

    def mask(self, rows: Rows) -> pa.BooleanArray:
        """Return whether each row matches: never NULL, for what is unknown does not match.

        Raises:
            ExecutionError: A value cannot be computed with: a failed cast, a division by zero.
        """
        if self._quick is None:
            assert self._planned is not None
            return self._planned.mask(rows)
        mask = self._quick.mask(rows)
        if self._planned is None or not mask.true_count:
            return mask
        if mask.true_count == rows.num_rows:
            return self._planned.mask(rows)
        # what is left to execute sees only the rows that can still match
        return pc.replace_with_mask(mask, mask, self._planned.mask(_chosen(rows, mask)))

    def keep(self, rows: pa.Table) -> pa.Table:
        """Return the rows that match, in their order."""
        mask = self.mask(rows)
        count = mask.true_count
        if count == rows.num_rows:
            return rows
        return _chosen(rows, mask) if count else rows.slice(0, 0)

    def any(self, rows: Rows) -> bool:
        """Return whether some row matches."""
        if self._quick is not None and self._planned is None and rows.num_rows <= FEW_ROWS_MAX:
            return True in self._quick.answers(rows)
        return bool(self.mask(rows).true_count)


def compile_predicate(text: str, schema: pa.Schema, *, images: bool = False) -> EventPredicate:
    """Return ``text`` as a predicate over rows of ``schema``.

    With ``images`` the schema is a table's and the rows are its changes, with the columns
    ``new.c`` and ``old.c`` for its ``c``; ``text`` says ``new.c``, ``old.c``, or ``c`` for the new.

    Raises:
        UnsupportedPredicateError: It does not parse, names a column that is not there, is not
            boolean, or its answer would depend on anything but the rows.
    """
    with _refusing(text, schema):
        tokens = _checked(text)
        if images:
            sql = with_images(text, tokens, set(schema.names))
            flat = [(f"{image}.{field.name}", field.type) for image in IMAGES for field in schema]
            schema = pa.schema(flat)
        else:
            sql = text
        context = SessionContext(_config())
        context.from_arrow(schema.empty_table(), name=_TABLE)
        frame = context.sql(f"SELECT * FROM {_TABLE} WHERE ({sql}\n)")
        nodes = _nodes(frame.logical_plan())
        if [type(node).__name__ for node in nodes] != ["Projection", "Filter", "TableScan"]:
            raise SqlError("it is more than one condition")
        columns = _columns(nodes[1].predicate())
        quick, is_all = read_comparisons(_nodes(frame.optimized_logical_plan()), schema)
        planned = None if is_all else _Planned(text, sql, schema, columns)
        if planned is not None and not columns:  # a constant that cannot be computed
            planned.mask(pa.Table.from_pylist([{}], schema))
    return EventPredicate(text, columns, quick, planned)


# --- refusing ----------------------------------------------------------------------------------


@contextmanager
def _refusing(text: object, schema: pa.Schema) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        reason = _reason(error)
        missing = _MISSING.search(reason)
        if missing is not None:
            reason = f"there is no column {missing[1]}; there are {listed(schema.names)}"
        msg = f"predicate {_shown(text)} is refused: {reason}"
        raise UnsupportedPredicateError(msg) from error


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= SHOWN_MAX else shown[:SHOWN_MAX] + "..."


def _reason(error: BaseException) -> str:
    """Return what DataFusion says; raise ``error`` again if it is no failure of a computation."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
    return _UNWRITTEN.sub("", _PREFIXES.sub("", str(error))).strip() or type(error).__name__


def _checked(text: object) -> list[Token]:
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
    operators = sum(
        token.keyword in {"AND", "OR"} or (token.kind == "symbol" and token.text not in "()[]{},.")
        for token in tokens
    )
    if operators > OPERATORS_MAX:
        raise SqlError(
            f"it has {operators} operators, and {OPERATORS_MAX} are allowed: IN has none"
        )
    return tokens


def _nodes(plan: Any) -> list[Any]:  # noqa: ANN401 - DataFusion's
    """Return the plan's nodes from the top, as far as each has one input."""
    nodes = [plan.to_variant()]
    while len(plan.inputs()) == 1:
        plan = plan.inputs()[0]
        nodes.append(plan.to_variant())
    return nodes


def _columns(condition: Any) -> frozenset[str]:  # noqa: ANN401 - DataFusion's
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
    context = SessionContext(_config().with_information_schema(enabled=True))
    names = "SELECT routine_name FROM information_schema.routines WHERE NOT is_deterministic"
    return frozenset(row["routine_name"] for row in context.sql(names).to_pylist())


def _config() -> SessionConfig:
    return SessionConfig({"datafusion.execution.target_partitions": "1"})


class _Feed(ScanDataset):
    """The table that a plan reads: whatever batch was put there."""

    def __init__(self, schema: pa.Schema) -> None:
        super().__init__(schema, lambda _: None)
        self.batch = pa.RecordBatch.from_pylist([], schema)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        assert predicate is None  # the condition is a column of the result
        yield self.batch.select(columns)


class _Planned:
    """A condition that DataFusion executes."""

    def __init__(self, text: str, sql: str, schema: pa.Schema, columns: frozenset[str]) -> None:
        names = [name for name in schema.names if name in columns] or schema.names[:1]
        self._text = text
        self._lock = threading.Lock()
        self._feed = _Feed(pa.schema([schema.field(name) for name in names]))
        self._context = SessionContext(_config())
        self._context.register_dataset(_TABLE, self._feed)
        self._frame = self._context.sql(f"SELECT ({sql}\n) IS TRUE FROM {_TABLE}")
        self._plan, self._runs = self._frame.execution_plan(), 0

    def mask(self, rows: Rows) -> pa.BooleanArray:
        schema = self._feed.schema
        arrays = [_with_null_fields(column_of(rows, field.name, field.type)) for field in schema]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        try:
            with self._lock, held():
                answers = [each.to_pyarrow().column(0) for each in self._run(batch)]
        except BaseException as error:
            msg = f"predicate {_shown(self._text)} failed: {_reason(error)}"
            raise ExecutionError(msg) from error
        return pa.chunked_array(answers, pa.bool_()).combine_chunks()

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


def _chosen(rows: Rows, mask: pa.BooleanArray) -> pa.Table:
    """Return the rows where ``mask`` is true."""
    batches, at = [], 0
    for batch in [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches():
        batches.append(take(batch, pc.indices_nonzero(mask.slice(at, batch.num_rows))))
        at += batch.num_rows
    return pa.Table.from_batches(batches, rows.schema)
