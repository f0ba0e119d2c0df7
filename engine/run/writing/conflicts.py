"""ON CONFLICT and OR REPLACE: which new rows meet one that is there, and what is done then.

Rules:
    - NULL conflicts with nothing.
    - No row is changed twice; OR REPLACE lets the last of several new rows stay.
    - ``excluded.name`` is the new row's; a name alone is the row's that is there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.lake.spill import Spilled
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.row_writing import Images
from affidavit.catalog.values.arrays import take_rows
from affidavit.engine.run.writing.counts import note_unchanged
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.statement.assignments import (
    computed_values,
    parse_assignments,
    qualified,
)
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET
from affidavit.errors import ConstraintError, SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.engine.run.target import OpenTarget
    from affidavit.engine.statement.clauses import Conflict

LOOKED_UP_MAX: Final = 100
"""Conflicts with so many rows are looked up; with more, the whole target is read."""

LOOKED_UP: Final = (pt.is_integer, pt.is_string, pt.is_string_view)
"""The types of key by which they are."""

NEW: Final = "__new_"
"""What the columns of ``excluded`` begin with, so that a name alone is the target's."""

Key = tuple[str, ...]


def resolve(
    conflict: Conflict, alias: str, rows: pa.Table, opened: OpenTarget
) -> tuple[pa.Table, partial[int]]:
    """Return the rows that are written, as they will be, and what writes them.

    What conflicts with nothing is inserted; what ON CONFLICT says is done with the rest.
    """
    keys = _keys(conflict, opened)
    named = rows.rename_columns([f"{NEW}{name}" for name in rows.schema.names])
    numbers = pa.array(range(rows.num_rows), pa.int64())
    opened.snapshot.virtual["excluded"] = memory_table(named.append_column("__at", numbers))
    if conflict.replaces:
        return _replace(keys, rows, opened)
    if conflict.sets is None:
        fresh = take_rows(rows, _without_conflict(keys, rows, opened))
        return fresh, partial(opened.writes.insert, Spilled(fresh.schema, fresh.to_batches()))
    return _update(conflict, keys, alias, rows, opened)


def _keys(conflict: Conflict, opened: OpenTarget) -> Sequence[Key]:
    """Return the unique keys that ON CONFLICT is about: the one it names, or all."""
    known, table = opened.unique_keys, opened.info.name
    if not conflict.columns:
        if not known and (conflict.sets is not None or conflict.replaces):
            msg = f"{table!r} has no unique key, so that nothing conflicts: leave the clause out"
            raise SqlError(msg)
        return known
    named = tuple(dict.fromkeys(conflict.columns))
    if {*named} not in [{*key} for key in known]:
        msg = (
            f"ON CONFLICT ({', '.join(conflict.columns)}) names no unique key of {table!r}; it "
            f"has {[list(key) for key in known]}"
        )
        raise SqlError(msg)
    return (named,)


# --- what meets what -----------------------------------------------------------------------------


def _hits(keys: Sequence[Key], rows: pa.Table, opened: OpenTarget) -> dict[int, list[int]]:
    """Return the identities of the rows of the target that each new row meets."""
    found: dict[int, list[int]] = {}
    for key in keys:
        target, values = _narrowed(opened, key, rows)
        on = " AND ".join(f"t.{quoted(c)} = excluded.{quoted(NEW + c)}" for c in key)
        text = (
            f'SELECT excluded."__at" AS "__at", t.{ROWID} AS "__row" FROM {target} AS t '
            f'JOIN "{DML_SCHEMA}".excluded AS excluded ON {on}'
        )
        met = opened.rows(text, values)
        for at, rowid in zip(met["__at"].to_pylist(), met["__row"].to_pylist(), strict=True):
            known = found.setdefault(at, [])
            if rowid not in known:
                known.append(rowid)
    return found


def _values(keys: Sequence[Key], rows: pa.Table) -> list[list[tuple[object, ...] | None]]:
    """Return the values of each key in each row; ``None`` where one is NULL."""
    columns = {name: rows[name].to_pylist() for key in keys for name in key}
    return [
        [None if None in each else each
         for each in zip(*(columns[name] for name in key), strict=True)]
        for key in keys
    ]  # fmt: skip


def _without_conflict(keys: Sequence[Key], rows: pa.Table, opened: OpenTarget) -> list[int]:
    """Return which rows conflict neither with the target nor with one before."""
    hits, values = _hits(keys, rows, opened), _values(keys, rows)
    seen: list[set[object]] = [set() for _ in keys]
    fresh = []
    for at in range(rows.num_rows):
        here = [each[at] for each in values]
        if at in hits or any(value in known for value, known in zip(here, seen, strict=True)):
            continue
        fresh.append(at)
        for value, known in zip(here, seen, strict=True):
            if value is not None:
                known.add(value)
    return fresh


def _refuse_twice(keys: Sequence[Key], rows: pa.Table, hits: Mapping[int, Sequence[int]]) -> None:
    """Raise ConstraintError if two new rows would be one row of the target."""
    met = [each[0] for each in hits.values()]
    twice = keys[0] if len(set(met)) < len(met) else None
    for key, values in zip(keys, _values(keys, rows), strict=True):
        told = [value for value in values if value is not None]
        twice = key if len(set(told)) < len(told) else twice
    if twice is not None:
        msg = (
            "ON CONFLICT DO UPDATE would change one row twice: two rows of the statement have "
            f"the same {', '.join(map(quoted, twice))}"
        )
        raise ConstraintError(msg)


def _narrowed(
    opened: OpenTarget, key: Sequence[str], rows: pa.Table
) -> tuple[str, Mapping[str, pa.Scalar]]:
    """Return what is read of the target to find conflicts with ``rows``, and its parameters.

    Few rows look theirs up by the key's index; what the conditions, one a column, let through may
    be more than conflicts. Only that is read again, too, where others write at the same time.
    """
    target = f'"{DML_SCHEMA}".{DML_TARGET}'
    if opened.dataset is not None or not 0 < rows.num_rows <= LOOKED_UP_MAX:
        return target, {}
    values, conditions = dict[str, pa.Scalar](), []
    for at, column in enumerate(key):
        kind = opened.schema.field(column).type
        if not any(suits(kind) for suits in LOOKED_UP):
            continue
        known = pc.drop_null(pc.unique(rows[column]))  # NULL conflicts with nothing
        if len(known):
            named = {f"affidavit_key_{at}_{each}": value for each, value in enumerate(known)}
            listed = ", ".join(f"${name}" for name in named)
            conditions.append(f"{quoted(column)} IN ({listed})")
            values |= named
    if not conditions:
        return target, {}
    return f"(SELECT * FROM {target} WHERE {' AND '.join(conditions)})", values


# --- what is done --------------------------------------------------------------------------------


def _met(
    pairs: Mapping[int, int], key: Key | None, rows: pa.Table, opened: OpenTarget
) -> tuple[str, Mapping[str, pa.Scalar]]:
    """Return where the rows of the target are read that were met, each with its number."""
    table = pa.table(
        {
            "__met_at": pa.array(pairs.keys(), pa.int64()),
            "__met": pa.array(pairs.values(), pa.uint64() if opened.dataset else pa.int64()),
        }
    )
    opened.snapshot.virtual["met"] = memory_table(table)
    if key is not None:
        return _narrowed(opened, key, rows)
    return f'"{DML_SCHEMA}".{DML_TARGET}', {}


def _update(
    conflict: Conflict, keys: Sequence[Key], alias: str, rows: pa.Table, opened: OpenTarget
) -> tuple[pa.Table, partial[int]]:
    hits = _hits(keys, rows, opened)
    _refuse_twice(keys, rows, hits)
    pairs = {at: met[0] for at, met in hits.items()}
    fresh_at = [at for at in range(rows.num_rows) if at not in hits]
    fresh = take_rows(rows, fresh_at)
    assert conflict.sets is not None
    renamed = {name: f"{NEW}{name}" for name in opened.columns}
    sets = parse_assignments(conflict.sets.cursor(), opened.columns, opened.info.name, alias)
    values_set = {
        column: qualified(value, "excluded", renamed)
        for column, value in opened.with_defaults(sets).items()
    }
    computed, called = computed_values(values_set)
    target, values = _met(pairs, keys[0] if len(keys) == 1 else None, rows, opened)
    where = ""
    if conflict.where is not None:
        where = f"WHERE ({qualified(conflict.where.text, 'excluded', renamed)})"
    text = (
        f'SELECT {quoted(alias)}.*, met."__met_at", {computed} FROM {target} AS {quoted(alias)} '
        f'JOIN "{DML_SCHEMA}".met AS met ON {quoted(alias)}.{ROWID} = met."__met" '
        f'JOIN "{DML_SCHEMA}".excluded AS excluded ON excluded."__at" = met."__met_at" {where}'
    )
    matched = opened.cast_rows(text, {name: column for column, name in called.items()}, values)
    before, after = opened.images(matched, called, sets)
    old = Images(matched[ROWID].to_pylist(), before)
    if not fresh.num_rows:
        note_unchanged(opened, before, after)
    order = np.argsort([*matched["__met_at"].to_pylist(), *fresh_at], kind="stable")
    written = take_rows(pa.concat_tables([after, fresh]), order)
    return written, partial(opened.writes.upsert, old, after, fresh)


def _replace(
    keys: Sequence[Key], rows: pa.Table, opened: OpenTarget
) -> tuple[pa.Table, partial[int]]:
    """Put each new row in the place of those that it meets."""
    hits, values = _hits(keys, rows, opened), _values(keys, rows)
    seen: list[set[object]] = [set() for _ in keys]
    kept: list[int] = []
    for at in reversed(range(rows.num_rows)):
        here = [each[at] for each in values]
        if not any(value in known for value, known in zip(here, seen, strict=True)):
            kept.append(at)
        for value, known in zip(here, seen, strict=True):
            if value is not None:
                known.add(value)
    kept.reverse()
    places: dict[int, int] = {}  # of the target's rows that stay, whose row each becomes
    for at in kept:
        free = [rowid for rowid in hits.get(at, ()) if rowid not in places]
        if free:
            places[free[0]] = at
    met = {rowid: rowid for each in hits.values() for rowid in each}
    target, params = _met(met, keys[0] if len(keys) == 1 else None, rows, opened)
    text = (
        f'SELECT t.* FROM {target} AS t JOIN "{DML_SCHEMA}".met AS met ON t.{ROWID} = met."__met"'
    )
    there = opened.rows(text, params)
    rowids, before = there[ROWID].to_pylist(), opened.fitted(there)
    stays = [at for at, rowid in enumerate(rowids) if rowid in places]
    goes = [at for at, rowid in enumerate(rowids) if rowid not in places]
    old = Images([rowids[at] for at in stays], take_rows(before, stays))
    gone = Images([rowids[at] for at in goes], take_rows(before, goes))
    after = take_rows(rows, [places[rowid] for rowid in old.rowids])
    fresh = take_rows(rows, sorted({*kept} - {*places.values()}))
    written = take_rows(rows, kept)
    return written, partial(opened.writes.merge, gone, old, after, fresh)
