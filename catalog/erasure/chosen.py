"""Which rows are erased, and what values they have and had."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.erasure.needles import Needles, values_of
from affidavit.catalog.journal.events import entity_ids, row_texts
from affidavit.catalog.lake.vectors.datasets import lance_errors, rows_with_keys
from affidavit.catalog.model.definition import KINDS, MutableDefinition
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import KEYS_MAX, definition_of, find_rows, read_table
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.catalog.values.arrays import take_rows
from affidavit.catalog.values.fit import fit
from affidavit.catalog.values.text import from_json
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader

VALUES_COMPARED_MAX: Final = 200
"""How many values are held against what other rows have; of more, none is spared."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of one table, whether they are in it still or were.

    Attributes:
        table_id: The table; ``None`` for what callers wrote in the journal of things of their own.
        ids: The rows' names, as the journal and the records have them.
        keys: Their keys as the table has them, a column each; none of a table without a key.
        rowids: The identities of those that are in a mutable table.
        entity_type: What callers call their things; ``None`` for rows.
    """

    table_id: str | None
    ids: frozenset[str]
    keys: pa.Table
    rowids: tuple[int, ...] = ()
    entity_type: str | None = None

    def has(self, table_id: str | None, entity_type: str, entity_id: str) -> bool:
        """Return whether what the journal calls so is one of them."""
        is_kind = table_id is not None or entity_type == self.entity_type
        return table_id == self.table_id and is_kind and entity_id in self.ids

    def has_any(self, others: Chosen) -> bool:
        """Return whether some of those rows are among them."""
        return self.table_id == others.table_id and bool(self.ids & others.ids)


def key_columns(info: TableInfo) -> tuple[str, ...]:
    """Return the key columns of a table that is written here."""
    if KINDS[info.kind].has_versions:
        return (vector_definition(info).key,)
    return definition_of(info).primary_key


def chosen_by_key(catalog: Catalog, reader: Reader, info: TableInfo, key: object) -> Chosen:
    """Return the rows of a key, or of a list of keys; several columns are a tuple or a dict.

    Raises:
        InvalidQueryError: The table has no key, or it has other columns.
        SchemaMismatchError: A value is of another type.
    """
    columns = key_columns(info)
    if not columns:
        msg = f"table {info.name!r} has no key: choose its rows by where="
        raise InvalidQueryError(msg)
    listed = key if isinstance(key, list | set | frozenset) else [key]
    if isinstance(key, pa.Array | pa.ChunkedArray):
        listed = key.to_pylist()
    rows = [_key_values(columns, each, info.name) for each in listed]
    if not rows:
        msg = "key has no keys: give one, or a list of them"
        raise InvalidQueryError(msg)
    schema = _schema(catalog, info)
    arrays = []
    for at, column in enumerate(columns):
        values = [row[at] for row in rows]
        if None in values:
            msg = f"a row of {info.name!r} has no NULL in its key column {column!r}"
            raise InvalidQueryError(msg)
        arrays.append(_fitted(values, schema.field(column).type, column, info.name))
    keys = pa.table(arrays, names=list(columns))
    if KINDS[info.kind].has_versions:
        return Chosen(info.table_id, frozenset(map(str, keys[0].to_pylist())), keys)
    definition = definition_of(info)
    ids = frozenset(entity_ids(definition, keys, ()))
    rowids = tuple(find_rows(reader, info, columns, keys).values())
    return Chosen(info.table_id, ids, keys, rowids)


def chosen_rows(info: TableInfo, rows: pa.Table, rowids: Sequence[int]) -> Chosen:
    """Return rows that are in a table, as it has them."""
    columns = key_columns(info)
    if KINDS[info.kind].has_versions:
        keys = rows.select(list(columns))
        return Chosen(info.table_id, frozenset(map(str, keys[0].to_pylist())), keys)
    ids = frozenset(entity_ids(definition_of(info), rows, rowids))
    return Chosen(info.table_id, ids, rows.select(list(columns)), tuple(rowids))


def chosen_entity(
    table_id: str | None, entity_type: str, entity_id: str, info: TableInfo | None
) -> Chosen:
    """Return what the journal's events call ``entity_id``; ``info`` is its table, if it is here."""
    keys = pa.table({})
    if info is not None and isinstance(info.definition, MutableDefinition):
        key = info.definition.primary_key
        with suppress(ValueError, TypeError, pa.ArrowException):
            told = [entity_id] if len(key) == 1 else json.loads(entity_id)
            arrays = [
                from_json([value], info.definition.types[name])
                for name, value in zip(key, told, strict=True)
            ]
            keys = pa.table(arrays, names=list(key))
    kind = entity_type if table_id is None else None
    return Chosen(table_id, frozenset((entity_id,)), keys, entity_type=kind)


def _key_values(columns: tuple[str, ...], given: Any, table: str) -> tuple[Any, ...]:  # noqa: ANN401 - a caller's
    if isinstance(given, dict):
        if set(given) != set(columns):
            msg = f"the key of {table!r} has the columns {list(columns)}, got {list(given)}"
            raise InvalidQueryError(msg)
        return tuple(given[column] for column in columns)
    values = given if isinstance(given, tuple) else (given,)
    if len(values) != len(columns):
        msg = f"the key of {table!r} has the columns {list(columns)}, got {given!r}"
        raise InvalidQueryError(msg)
    return values


def _schema(catalog: Catalog, info: TableInfo) -> pa.Schema:
    if KINDS[info.kind].has_versions:
        return catalog.lake.datasets.visible(info).schema
    return definition_of(info).schema


def _fitted(values: list[Any], kind: pa.DataType, column: str, table: str) -> pa.Array:
    try:
        array = pa.array(values)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        msg = f"key column {column!r} of {table!r} is {kind}, got {values[0]!r}: {error}"
        raise InvalidQueryError(msg) from error
    return fit(array, kind, column=column, table=table)


def rows_now(reader: Reader, info: TableInfo, chosen: Chosen) -> tuple[list[int], pa.Table]:
    """Return those of the rows that a mutable table has now, and their identities.

    One that got another key since is another row; one that came with a key is it again.
    """
    definition = definition_of(info)
    rowids = set(chosen.rowids)
    if definition.primary_key and chosen.keys.num_columns:
        rowids |= {*find_rows(reader, info, definition.primary_key, chosen.keys).values()}
    names = [ROWID, *definition.schema.names]
    parts = [
        read_table(reader, info, names, In(ROWID, tuple(map(pa.scalar, page))))
        for page in _pages(sorted(rowids))
    ]
    if not parts:
        return [], definition.schema.empty_table()
    found = pa.concat_tables(parts)
    at, found = found[ROWID].to_pylist(), found.drop_columns([ROWID])
    called = entity_ids(definition, found, at)
    wanted = [place for place, name in enumerate(called) if name in chosen.ids]
    return [at[place] for place in wanted], take_rows(found, wanted)


def _pages(rowids: list[int]) -> Iterable[list[int]]:
    return (rowids[at : at + KEYS_MAX] for at in range(0, len(rowids), KEYS_MAX))


# --- their values ---------------------------------------------------------------------------------


def needles_of(
    catalog: Catalog, reader: Reader, info: TableInfo | None, chosen: Chosen, *, keys_too: bool
) -> tuple[Needles, bool]:
    """Return what is looked for in what others wrote: values that no other row of the table has.

    ``info`` is the table; ``None`` if it was dropped, or there is none. The second is whether the
    rows are in the table, or were, as far as that is known.
    """
    texts: list[str | None] = []
    left_out = frozenset() if keys_too or info is None else frozenset(key_columns(info))
    columns: dict[str, list[object]] = {}
    if info is not None and KINDS[info.kind].has_versions and chosen.keys.num_columns:
        for rows in _versions_of(catalog, info, chosen):
            texts += row_texts(rows)
        is_known = bool(texts)
    else:
        if info is not None and chosen.rowids:
            texts += row_texts(rows_now(reader, info, chosen)[1])
        has_events = _add_events(catalog, reader, chosen, texts, columns)
        is_known = has_events or bool(texts)
    for row in values_of(texts):
        for column, value in row.items() if isinstance(row, dict) else ():
            columns.setdefault(column, []).append(value)
    found = Needles()
    for column, values in columns.items():
        if column not in left_out:
            for value in _unshared(catalog, reader, info, chosen, column, values):
                found.add(value)
    if keys_too:
        for each in chosen.ids:
            found.add(each)
    return found, is_known


def _add_events(
    catalog: Catalog,
    reader: Reader,
    chosen: Chosen,
    texts: list[str | None],
    columns: dict[str, list[object]],
) -> bool:
    """Add what the events of the rows say, and return whether there are any.

    Whole rows are added as texts, and values by their columns.
    """
    are_there = False
    names = ["field", "old_value", "new_value"]
    # not by the index: whoever changed that would keep the values
    ids = pa.array(sorted(chosen.ids), pa.string())
    wanted = pc.field("entity_id").isin(ids)
    if chosen.table_id is not None:
        wanted &= pc.field("table_id") == chosen.table_id
    else:
        wanted &= pc.field("table_id").is_null()
    for part in catalog.journal.events.scan(reader, names, wanted):
        for event in part.to_pylist():
            are_there = True
            told = (event["old_value"], event["new_value"])
            if event["field"] == "*":
                texts += told
            else:
                columns.setdefault(event["field"], []).extend(values_of(told))
    return are_there


def _versions_of(catalog: Catalog, info: TableInfo, chosen: Chosen) -> Iterable[pa.Table]:
    """Yield the rows as each version of a vector table has them."""
    newest = catalog.lake.datasets.visible(info)
    with lance_errors(f"reading the versions of {info.name!r}"):
        for version in sorted({int(each["version"]) for each in newest.versions()}):
            dataset = newest.checkout_version(version)
            key = vector_definition(info).key
            if key in dataset.schema.names:
                yield rows_with_keys(dataset, key, chosen.keys[0].combine_chunks())


def _unshared(
    catalog: Catalog,
    reader: Reader,
    info: TableInfo | None,
    chosen: Chosen,
    column: str,
    values: list[object],
) -> Iterable[object]:
    """Yield the values of a column that no other row has: what many have tells of nobody."""
    distinct = {json.dumps(each, sort_keys=True): each for each in values if each is not None}
    is_plain = all(isinstance(each, str | int | float) for each in distinct.values())
    if info is None or not is_plain or len(distinct) > VALUES_COMPARED_MAX:
        yield from distinct.values()
        return
    for value in distinct.values():
        if not _has_another(catalog, reader, info, chosen, column, value):
            yield value


def _has_another(
    catalog: Catalog, reader: Reader, info: TableInfo, chosen: Chosen, column: str, value: object
) -> bool:
    """Return whether another row of the table has that value in that column."""
    schema = _schema(catalog, info)
    if column not in schema.names:
        return False
    try:
        stored = from_json([value], schema.field(column).type)
    except (pa.ArrowException, ValueError, TypeError):
        return False
    if KINDS[info.kind].has_versions:
        return _has_another_vector(catalog, info, chosen, column, stored)
    definition = definition_of(info)
    wanted = definition.codecs[column].values(stored)[0]
    mine = set(chosen.rowids)
    found = reader.select(
        definition.store_table, (ROWID,), Compare("=", definition.stored[column], wanted),
        limit=len(mine) + 1,
    )  # fmt: skip
    return any(rowid not in mine for (rowid,) in found)


def _has_another_vector(
    catalog: Catalog, info: TableInfo, chosen: Chosen, column: str, value: pa.Array
) -> bool:
    key = vector_definition(info).key
    dataset = catalog.lake.datasets.visible(info)
    with lance_errors(f"reading {info.name!r}"):
        rows = rows_with_keys(dataset, column, value, [key])
    others = pc.invert(pc.is_in(rows[key], value_set=chosen.keys[0].combine_chunks()))
    return bool(pc.any(others).as_py())
