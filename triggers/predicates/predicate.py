"""SQL predicates over the rows of an event: compiled once, then asked of every event.

Rules:
    - The answer is DataFusion's to ``SELECT * FROM t WHERE (text)``: Kleene logic, and floats
      compared by IEEE 754 totalOrder.
    - It depends on the rows alone: what reads a clock, another table or a parameter is refused.
    - What DataFusion's optimizer leaves as comparisons of columns is answered here: few rows by
      plain Python, many by Arrow's kernels. Only the rest, LIKE or a function, is executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionContext

from affidavit.catalog.values.arrays import take
from affidavit.catalog.values.types import FEW_ROWS_MAX
from affidavit.errors import SqlError
from affidavit.triggers.predicates.comparisons import read_comparisons
from affidavit.triggers.predicates.images import IMAGES, with_images
from affidavit.triggers.predicates.planned import (
    TABLE,
    Planned,
    checked,
    columns_read,
    config,
    nodes_of,
    refusing,
)

if TYPE_CHECKING:
    from affidavit.triggers.predicates.comparisons import Comparisons, Rows


class EventPredicate:
    """A compiled predicate; any number of threads may use it at once.

    Attributes:
        sql: As it was written.
        columns: The columns that it reads; of a change, ``new.column`` and ``old.column``.
    """

    def __init__(
        self, sql: str, columns: frozenset[str], quick: Comparisons | None, planned: Planned | None
    ) -> None:
        self.sql = sql
        self.columns = columns
        self._quick = quick
        self._planned = planned

    @property
    def is_quick(self) -> bool:
        """Whether no plan is run for it."""
        return self._planned is None

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


def compile_predicate(
    text: str, schema: pa.Schema, *, images: bool = False, negated: bool = False
) -> EventPredicate:
    """Return ``text`` as a predicate over rows of ``schema``.

    With ``images`` the schema is a table's and the rows are its changes, with the columns
    ``new.c`` and ``old.c`` for its ``c``; ``text`` says ``new.c``, ``old.c``, or ``c`` for the new.
    If ``negated``, rows match of which it is false.

    Raises:
        UnsupportedPredicateError: It does not parse, names a column that is not there, is not
            boolean, or its answer would depend on anything but the rows.
    """
    with refusing(text, schema):
        tokens = checked(text)
        if images:
            sql = with_images(text, tokens, set(schema.names))
            flat = [(f"{image}.{field.name}", field.type) for image in IMAGES for field in schema]
            schema = pa.schema(flat)
        else:
            sql = f"NOT ({text}\n)" if negated else text
        context = SessionContext(config())
        context.from_arrow(schema.empty_table(), name=TABLE)
        frame = context.sql(f"SELECT * FROM {TABLE} WHERE ({sql}\n)")
        nodes = nodes_of(frame.logical_plan())
        if [type(node).__name__ for node in nodes] != ["Projection", "Filter", "TableScan"]:
            raise SqlError("it is more than one condition")
        columns = columns_read(nodes[1].predicate())
        quick, is_all = read_comparisons(nodes_of(frame.optimized_logical_plan()), schema)
        planned = None if is_all else Planned(text, sql, schema, columns)
        if planned is not None and not columns:  # a constant that cannot be computed
            planned.mask(pa.Table.from_pylist([{}], schema))
    return EventPredicate(text, columns, quick, planned)


def _chosen(rows: Rows, mask: pa.BooleanArray) -> pa.Table:
    """Return the rows where ``mask`` is true."""
    batches, at = [], 0
    for batch in [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches():
        batches.append(take(batch, pc.indices_nonzero(mask.slice(at, batch.num_rows))))
        at += batch.num_rows
    return pa.Table.from_batches(batches, rows.schema)
