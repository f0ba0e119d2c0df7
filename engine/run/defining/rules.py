"""What a CREATE or ALTER TABLE asks of rows, as the table's definition has it.

Rules:
    - Each constraint has a name of its own in its table: what a statement leaves out is made of the
      table's name and the columns'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.model.definition import Index, SequenceDefinition
from affidavit.catalog.model.rules import Check, Generated, Identity
from affidavit.catalog.sql.names import check_name
from affidavit.catalog.tables.constraints.names import constraint_names, new_name
from affidavit.catalog.tables.constraints.rows import expressions_of
from affidavit.errors import (
    ColumnNotFoundError,
    SchemaMismatchError,
    TableExistsError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition
    from affidavit.engine.statement.defining.columns import Constraints, NewCheck, NewColumn


def unique_indexes(table: str, constraints: Constraints) -> list[Index]:
    """Return the indexes that keep a table's other keys."""
    return [
        Index(each.name or f"{table}_{'_'.join(each.columns)}_key", each.columns, unique=True)
        for each in constraints.unique
    ]


def with_rules(
    catalog: Catalog, table: str, definition: MutableDefinition, constraints: Constraints
) -> MutableDefinition:
    """Return a definition with what a statement asks of its rows, beside what it asks already.

    Raises:
        UnsupportedPredicateError: A condition or expression is none, or depends on more than a row.
        TableExistsError: A constraint's name is taken.
        SchemaMismatchError: A column cannot be what it is said to be.
    """
    indexes = [index.name for index in definition.indexes]
    for index in definition.indexes:
        check_name("constraint" if index.unique else "index", index.name)
        if indexes.count(index.name) > 1:
            raise TableExistsError(index.name, kind="constraint or index")
        for name in index.columns:
            if name not in definition.schema.names:
                raise ColumnNotFoundError(name, table=table, known=definition.schema.names)
    generated = {each.name for each in constraints.columns if each.generated is not None}
    for column in constraints.columns:
        definition = _with_column(catalog, table, definition, column, generated)
    for check in constraints.checks:
        definition = with_check(catalog, table, definition, check)
    names = constraint_names(table, definition)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise TableExistsError(twice, kind="constraint")
    return definition


def with_check(
    catalog: Catalog, table: str, definition: MutableDefinition, asked: NewCheck
) -> MutableDefinition:
    """Return a definition with one check more."""
    schema, rules = definition.schema, definition.rules
    sql, columns = expressions_of(catalog).condition(asked.sql, schema)
    name = asked.name or new_name(table, definition, columns, "check")
    check_name("constraint", name)
    if name in constraint_names(table, definition):
        raise TableExistsError(name, kind="constraint")
    checks = (*rules.checks, Check(name, sql, columns))
    return replace(definition, rules=replace(rules, checks=checks))


def _with_column(
    catalog: Catalog,
    table: str,
    definition: MutableDefinition,
    column: NewColumn,
    others: Collection[str],
) -> MutableDefinition:
    rules, name = definition.rules, column.name
    if name not in definition.schema.names:
        raise ColumnNotFoundError(name, table=table, known=definition.schema.names)
    kind = definition.schema.field(name).type
    if column.type.length is not None:
        rules = replace(rules, lengths={**rules.lengths, name: column.type.length})
    if column.type.kind is not None:
        rules = replace(rules, kinds={**rules.kinds, name: column.type.kind})
    if column.comment is not None:
        rules = replace(rules, comments={**rules.comments, name: column.comment})
    if column.sequence is not None:
        sequenced = _sequenced(catalog, column, kind, table)
        rules = replace(rules, identities={**rules.identities, name: sequenced})
    if column.numbers is not None:
        made = _identity(column, kind, table)
        rules = replace(rules, identities={**rules.identities, name: made})
    if column.generated is not None:
        made_of = _generated(catalog, table, definition, column, others)
        generated = {**rules.generated, name: made_of}
        rules = replace(rules, generated=generated)
    return replace(definition, rules=rules)


def _identity(column: NewColumn, kind: pa.DataType, table: str) -> Identity:
    assert column.numbers is not None
    if not pt.is_integer(kind):
        msg = f"column {column.name!r} of table {table!r} is {kind}: only integers are numbered"
        raise SchemaMismatchError(msg)
    bits = kind.bit_width + pt.is_unsigned_integer(kind)
    return Identity(column.numbers.counter(uuid4().hex, min(bits, 64)), column.always)


def _sequenced(catalog: Catalog, column: NewColumn, kind: pa.DataType, table: str) -> Identity:
    assert column.sequence is not None
    schema, name = column.sequence
    if not pt.is_integer(kind):
        msg = f"column {column.name!r} of table {table!r} is {kind}: a sequence gives integers"
        raise SchemaMismatchError(msg)
    with catalog.read() as reader:
        info = catalog.get(reader, name, schema)
    if not isinstance(info.definition, SequenceDefinition):
        raise TableNotFoundError(name)
    catalog.refuse_shared(info)
    return Identity(info.definition.counter, always=False, sequence_id=info.table_id)


def _generated(
    catalog: Catalog,
    table: str,
    definition: MutableDefinition,
    column: NewColumn,
    others: Collection[str],
) -> Generated:
    assert column.generated is not None
    sql, columns, _ = expressions_of(catalog).expression(column.generated, definition.schema)
    also = {*definition.rules.generated, *others}
    computed = [name for name in columns if name in also]
    if computed:
        msg = (
            f"generated column {column.name!r} of table {table!r} reads {computed[0]!r}, which is "
            "generated too: write what that is computed of"
        )
        raise SchemaMismatchError(msg)
    return Generated(sql, columns)


def commented(
    definition: MutableDefinition, comments: Mapping[str, str | None]
) -> MutableDefinition:
    """Return a definition with comments on columns, or on itself; ``None`` takes one away."""
    kept = {**definition.rules.comments, **comments}
    said = {name: text for name, text in kept.items() if text is not None}
    return replace(definition, rules=replace(definition.rules, comments=said))
