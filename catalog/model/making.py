"""A table, view or sequence as the SQL that makes another one like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.model.definition import (
    MutableDefinition,
    SequenceDefinition,
    SqlDefinition,
    VectorDefinition,
)
from affidavit.catalog.model.rules import NO_ACTION, OF_TABLE
from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.names import MAIN_SCHEMA, TEMP_SCHEMA
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.store.tables import TABLES
from affidavit.catalog.values.types import is_bytes, is_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.rules import Counter
    from affidavit.catalog.store.protocol import Reader

_TYPES: Final = {
    pa.bool_(): "BOOLEAN", pa.int8(): "TINYINT", pa.int16(): "SMALLINT", pa.int32(): "INT",
    pa.int64(): "BIGINT", pa.uint8(): "TINYINT UNSIGNED", pa.uint16(): "SMALLINT UNSIGNED",
    pa.uint32(): "INT UNSIGNED", pa.uint64(): "BIGINT UNSIGNED", pa.float32(): "REAL",
    pa.float64(): "DOUBLE", pa.date32(): "DATE", pa.timestamp("ns"): "TIMESTAMP(9)",
    pa.time64("ns"): "TIME", pa.timestamp("s"): "TIMESTAMP(0)", pa.timestamp("ms"): "TIMESTAMP(3)",
    pa.timestamp("us"): "TIMESTAMP", pa.month_day_nano_interval(): "INTERVAL",
    pa.float16(): "HALF",
}  # fmt: skip


def type_text(kind: pa.DataType) -> str:
    """Return a type as a CREATE TABLE has it; one that SQL has no word for in a comment."""
    if kind in _TYPES:
        return _TYPES[kind]
    if is_text(kind):
        return "VARCHAR"
    if is_bytes(kind):
        return "BYTEA"
    if pt.is_timestamp(kind) and kind.tz == "UTC":
        return f"{type_text(pa.timestamp(kind.unit))} WITH TIME ZONE"
    if pt.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pt.is_fixed_size_list(kind):
        value = kind.value_type
        return f"{'FLOAT' if value == pa.float32() else type_text(value)}[{kind.list_size}]"
    if pt.is_list(kind) or pt.is_large_list(kind):
        return f"{type_text(kind.value_type)}[]"
    if pt.is_map(kind):
        return f"MAP({type_text(kind.key_type)}, {type_text(kind.item_type)})"
    if pt.is_struct(kind):
        fields = ", ".join(f"{quoted(each.name)} {type_text(each.type)}" for each in kind)
        return f"STRUCT({fields})"
    return f"/* {kind} */"


def create_text(reader: Reader, info: TableInfo, schema: pa.Schema | None = None) -> str:
    """Return the statement that would make a table, view or sequence as one is.

    Args:
        reader: Where the tables are named that its foreign keys refer to.
        info: The table.
        schema: The columns of a vector table, whose definition does not have them.
    """
    name = name_text(info.schema, info.name)
    definition = info.definition
    if isinstance(definition, SqlDefinition):
        if definition.paths:
            return named_as(definition.sql, name)
        return f"CREATE VIEW {name} AS {definition.sql}"
    if isinstance(definition, SequenceDefinition):
        return f"CREATE SEQUENCE {name} {_counter(definition.counter)}"
    if isinstance(definition, VectorDefinition):
        assert schema is not None
        return _vector_table(schema, definition, name)
    lines = [*_columns(definition), *_constraints(reader, definition)]
    comment = definition.rules.comments.get(OF_TABLE)
    told = "" if comment is None else f" COMMENT {quoted_text(comment)}"
    word = "TEMP TABLE" if info.schema == TEMP_SCHEMA else "TABLE"
    return f"CREATE {word} {name} (\n  {(',' + chr(10) + '  ').join(lines)}\n){told}"


def name_text(schema: str, name: str) -> str:
    """Return a table's name as statements write it."""
    return quoted(name) if schema == MAIN_SCHEMA else f"{quoted(schema)}.{quoted(name)}"


def named_as(create: str, name: str) -> str:
    """Return a CREATE ... TABLE of another name, which is written as SQL."""
    tokens = tokenize(create)
    at = next(at for at, token in enumerate(tokens) if token.keyword == "TABLE") + 1
    last = at
    while last + 2 < len(tokens) and tokens[last + 1].text == ".":
        last += 2
    return f"{create[: tokens[at].start]}{name}{create[tokens[last].end :]}".strip()


def _vector_table(schema: pa.Schema, definition: VectorDefinition, name: str) -> str:
    lines = []
    for field in schema:
        key = " PRIMARY KEY" if field.name == definition.key else ""
        null = "" if field.nullable or key else " NOT NULL"
        lines.append(f"{quoted(field.name)} {type_text(field.type)}{null}{key}")
    options = {
        "metric": definition.metric, "vector": definition.vector, "model": definition.model,
        "source": definition.source,
    }  # fmt: skip
    told = ", ".join(f"{k} = {quoted_text(v)}" for k, v in options.items() if v is not None)
    return f"CREATE VECTOR TABLE {name} (\n  {(',' + chr(10) + '  ').join(lines)}\n) WITH ({told})"


def _columns(definition: MutableDefinition) -> Iterator[str]:
    rules = definition.rules
    for field in definition.schema:
        said = [quoted(field.name), _typed(definition, field)]
        identity, made = rules.identities.get(field.name), rules.generated.get(field.name)
        if not field.nullable and field.name not in definition.primary_key and identity is None:
            said.append("NOT NULL")
        if field.name in definition.defaults:
            said.append(f"DEFAULT {definition.defaults[field.name]}")
        if made is not None:
            said.append(f"GENERATED ALWAYS AS ({made.sql}) STORED")
        if identity is not None:
            how = "ALWAYS" if identity.always else "BY DEFAULT"
            said.append(f"GENERATED {how} AS IDENTITY ({_counter(identity.counter)})")
        if field.name in rules.comments:
            said.append(f"COMMENT {quoted_text(rules.comments[field.name])}")
        yield " ".join(said)


def _typed(definition: MutableDefinition, field: pa.Field) -> str:
    kind, length = definition.rules.kinds.get(field.name), definition.rules.lengths.get(field.name)
    if isinstance(kind, tuple):
        return f"ENUM ({', '.join(map(quoted_text, kind))})"
    if kind is not None:
        return kind.upper()
    return type_text(field.type) if length is None else f"VARCHAR({length})"


def _counter(counter: Counter) -> str:
    return (
        f"START WITH {counter.start} INCREMENT BY {counter.increment} MINVALUE {counter.minimum} "
        f"MAXVALUE {counter.maximum}"
    )


def _listed(columns: tuple[str, ...]) -> str:
    return f"({', '.join(map(quoted, columns))})"


def _constraints(reader: Reader, definition: MutableDefinition) -> Iterator[str]:
    if definition.primary_key:
        yield f"PRIMARY KEY {_listed(definition.primary_key)}"
    for index in definition.indexes:
        if index.unique:
            yield f"CONSTRAINT {quoted(index.name)} UNIQUE {_listed(index.columns)}"
    for check in definition.rules.checks:
        yield f"CONSTRAINT {quoted(check.name)} CHECK ({check.sql})"
    for key in definition.rules.foreign_keys:
        columns, where = ("schema_name", "name"), Compare("=", "table_id", key.table_id)
        parent = reader.select(TABLES, columns, where)
        told = ".".join(quoted(str(each)) for each in parent[0]) if parent else "?"
        said = f"CONSTRAINT {quoted(key.name)} FOREIGN KEY {_listed(key.columns)} REFERENCES {told}"
        said += f" {_listed(key.key)}"
        if key.on_delete != NO_ACTION:
            said += f" ON DELETE {key.on_delete}"
        if key.on_update != NO_ACTION:
            said += f" ON UPDATE {key.on_update}"
        yield said
