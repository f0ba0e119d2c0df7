"""Rows as a table's rules have them: completed and checked, each row by itself.

Rules:
    - A column that is generated has what it is computed of, whatever came for it; a row that is to
      be numbered and has no number gets the next.
    - No expression is computed while the store's write lock is held where whoever writes can have
      it done before: what was made ready for a definition is so as long as the table has that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.sql.predicate import IsNull, Not
from affidavit.catalog.tables.constraints.keys import check_not_null
from affidavit.catalog.tables.constraints.kinds import of_kind
from affidavit.catalog.values.arrays import whole
from affidavit.errors import ConstraintError, ExecutionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition
    from affidavit.catalog.model.expressions import Expressions
    from affidavit.catalog.model.rules import Identity

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


def ready(
    catalog: Catalog,
    name: str,
    definition: MutableDefinition,
    rows: Rows,
    *,
    numbered: Collection[str] | None = None,
) -> Rows:
    """Return rows of the table ``name`` completed, once each was checked.

    Args:
        catalog: Who writes them.
        name: What an error calls the table.
        definition: What it is.
        rows: The rows.
        numbered: The columns whose NULLs get numbers, of those that are numbered; all by default,
            as new rows want it. An UPDATE has none but those that it sets to DEFAULT.

    Raises:
        ConstraintError: A check is false of one, a text is too long or not of its column's kind, or
            a NOT NULL column has a NULL.
        ExecutionError: An expression cannot be computed of one.
    """
    rules = definition.rules
    if not rules.are_of_rows or not rows.num_rows:
        return rows
    rows = _numbered(catalog, definition, rows, numbered)
    for column, values in rules.kinds.items():
        field = definition.schema.field(column)
        rows = _with(rows, column, of_kind(values, rows[column], column=column, table=name), field)
    for column, length in rules.lengths.items():
        _check_length(rows[column], length, column=column, table=name)
    given = [column for column in rows.schema.names if column not in rules.generated]
    check_not_null(name, definition, rows.select(given))  # nothing is computed of what is missing
    rows = _computed(catalog, name, definition, rows)
    _check(catalog, name, definition, rows)
    return rows


def is_quick(catalog: Catalog, definition: MutableDefinition) -> bool:
    """Return whether a few rows are made ready by nothing that takes time: no plan, no number."""
    rules = definition.rules
    if not rules.are_of_rows:
        return True
    if rules.generated or rules.identities:
        return False
    asked = expressions_of(catalog)
    return all(asked.is_quick(check.sql, definition.schema) for check in rules.checks)


def refuse_given(
    name: str, definition: MutableDefinition, given: Mapping[str, pa.Array | pa.ChunkedArray | None]
) -> None:
    """Raise ConstraintError if a value is given that only the table itself gives.

    Args:
        name: The table.
        definition: What it is.
        given: The columns that are written to, each with what is to be there; ``None`` for
            anything.
    """
    for column, values in given.items():
        has_some = values is None or values.null_count < len(values)
        if column in definition.rules.generated and has_some:
            msg = (
                f"column {column!r} of table {name!r} is generated, and cannot be written to: "
                "leave it out"
            )
            raise ConstraintError(msg)
        identity = definition.rules.identities.get(column)
        if identity is not None and identity.always and has_some:
            msg = (
                f"column {column!r} of table {name!r} is GENERATED ALWAYS AS IDENTITY: leave it "
                "out, or write DEFAULT"
            )
            raise ConstraintError(msg)


def not_generated(definition: MutableDefinition, columns: Iterable[str]) -> list[str]:
    """Return the columns that rows may be given for."""
    return [column for column in columns if column not in definition.rules.generated]


def _with(rows: Rows, column: str, values: pa.Array, field: pa.Field) -> Rows:
    at = rows.schema.get_field_index(column)
    loose = field.with_nullable(nullable=True) if values.null_count else rows.schema.field(at)
    return rows.set_column(at, loose, values)


# --- completing ----------------------------------------------------------------------------------


def _numbered(
    catalog: Catalog, definition: MutableDefinition, rows: Rows, chosen: Collection[str] | None
) -> Rows:
    for column, identity in definition.rules.identities.items():
        if not catalog.numbers.knows(identity.counter):
            _pass_by_stored(catalog, definition, column, identity)
        values = rows[column]
        if not values.null_count or (chosen is not None and column not in chosen):
            catalog.numbers.pass_by(identity.counter, values)
            continue
        array = whole(values)
        catalog.numbers.pass_by(identity.counter, array)
        places = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))
        taken = catalog.numbers.take(identity.counter, len(places), what=f"column {column!r}")
        numbers = _of_type(taken, array.type, column)
        filled = pc.replace_with_mask(array, array.is_null(), numbers)
        rows = _with(rows, column, filled, rows.schema.field(column))
    return rows


def _of_type(numbers: Sequence[int], kind: pa.DataType, column: str) -> pa.Array:
    """Return numbers as a column's type, which may end before they do."""
    try:
        return pa.array(numbers, kind)
    except pa.ArrowInvalid as error:
        msg = f"column {column!r} is {kind}: a number of its sequence, up to {max(numbers)}, is not"
        raise ConstraintError(msg) from error


def _pass_by_stored(
    catalog: Catalog, definition: MutableDefinition, column: str, identity: Identity
) -> None:
    """Let numbers go on beyond those of the rows that there are: a copy of a lake may lack more."""
    store, stored = definition.store_table, definition.stored[column]
    up = identity.counter.increment > 0
    with catalog.read() as reader:
        found = reader.select(
            store, (stored,), Not(IsNull(stored)), order_by=(stored,), descending=up, limit=1
        )
    if found:
        kept = pa.array([int(found[0][0] or 0)], pa.int64())
        values = definition.codecs[column].decode(kept)
        catalog.numbers.pass_by(identity.counter, values)


def _computed(catalog: Catalog, name: str, definition: MutableDefinition, rows: Rows) -> Rows:
    for column, made in definition.rules.generated.items():
        field = definition.schema.field(column)
        asked = expressions_of(catalog)
        try:
            values = asked.values(made.sql, definition.schema, field.type, rows)
        except ExecutionError as error:
            msg = f"generated column {column!r} of table {name!r} cannot be computed: {error}"
            raise ExecutionError(msg) from error
        rows = _with(rows, column, values, field)
    return rows


def expressions_of(catalog: Catalog) -> Expressions:
    """Return what evaluates the expressions of tables."""
    assert catalog.lake.expressions is not None, "who writes has what evaluates expressions"
    return catalog.lake.expressions


# --- checking ------------------------------------------------------------------------------------


def _check_length(
    values: pa.Array | pa.ChunkedArray, length: int, *, column: str, table: str
) -> None:
    lengths = pc.utf8_length(values.cast(pa.large_string()))  # views have no kernels
    longest = pc.max(lengths).as_py()
    if longest is not None and longest > length:
        at = pc.index(lengths, longest).as_py()
        msg = (
            f"column {column!r} of table {table!r} takes {length:,} characters at most, and row "
            f"{at} has {longest:,}"
        )
        raise ConstraintError(msg)


def _check(catalog: Catalog, table: str, definition: MutableDefinition, rows: Rows) -> None:
    for check in definition.rules.checks:
        try:
            at = expressions_of(catalog).first_false(check.sql, definition.schema, rows)
        except ExecutionError as error:
            msg = f"check {check.name!r} of table {table!r} cannot be computed: {error}"
            raise ExecutionError(msg) from error
        if at is not None:
            found = ", ".join(f"{name} = {rows[name][at].as_py()!r}" for name in check.columns)
            msg = f"check {check.name!r} of table {table!r} is false of row {at}: {found}"
            raise ConstraintError(msg)
