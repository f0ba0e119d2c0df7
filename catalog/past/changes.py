"""What happened to a table between two entries of the ledger, as Delta's change data feed tells it.

A mutable table's changes are its events, walked forward from the rows before the first of them. A
vector table's are found by comparing the versions of Lance before and after each event.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import row_texts
from affidavit.catalog.journal.span import Span
from affidavit.catalog.model.moment import Moment
from affidavit.catalog.past.redo import row_of, table_of, value_of
from affidavit.catalog.past.table import PastTable
from affidavit.catalog.past.undo import stored_at
from affidavit.catalog.past.vantage import Vantage
from affidavit.catalog.values.arrays import nullable, take_rows
from affidavit.errors import InvalidQueryError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition

_TIME: Final = pa.timestamp("us", "UTC")
CHANGE_FIELDS: Final = (
    pa.field("_change_type", pa.string()),
    pa.field("_commit_seq", pa.int64()),
    pa.field("_commit_timestamp", _TIME),
)
"""The columns that ``changes`` adds, as Delta's change data feed names them."""


def change_rows(catalog: Catalog, end: PastTable, first: int, last: int) -> Iterator[pa.Table]:
    """Yield what entries ``first`` to ``last`` did to a table, as Delta's change data feed does.

    ``end`` is the table as it was at ``last``.

    Raises:
        InvalidQueryError: The table is shared.
    """
    if end.journal is not catalog.journal:
        msg = (
            f"table {end.name!r} is shared, and its changes are numbered by the shared scope's "
            "ledger: ask in a session with tenant=None"
        )
        raise InvalidQueryError(msg)
    if end.is_vector:
        yield from _vector_changes(catalog, end, first, last)
        return
    start = Vantage(catalog, end.vantage.reader, Moment(seq=max(first - 1, 0)))
    before = PastTable(start, end.journal, end.table_id, end.name, end.info)
    yield from _mutable_changes(before, end, first, last)


def change_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns of ``changes`` of a table with ``schema``."""
    return pa.schema([*nullable(schema), *CHANGE_FIELDS])


def _mutable_changes(table: PastTable, end: PastTable, first: int, last: int) -> Iterator[pa.Table]:
    """Walk forward from the state before ``first``, and give each row before and after."""
    definition = end.definition()
    eras = end.eras()
    names = ["seq", "timestamp", "entity_id", "field", "action", "old_value", "new_value", "tx_id"]
    when = Span(first, last + 1)
    events = table.vantage.events(table.journal, table.table_id, names, when).to_pylist()
    rows = _states(table, {event["entity_id"] for event in events})
    out: list[tuple[dict[str, Any], str, int, Any]] = []
    pending: tuple[str, str] | None = None
    began = first
    for at, event in enumerate(events):
        entity, seq, when_ = event["entity_id"], event["seq"], event["timestamp"]
        stored = stored_at(eras, seq)
        if event["action"] == "insert":
            rows[entity] = row_of(event["new_value"], stored)
            out.append((dict(rows[entity]), "insert", seq, when_))
        elif event["action"] == "delete":
            rows.pop(entity, None)
            out.append((row_of(event["old_value"], stored), "delete", seq, when_))
        elif event["action"] == "update" and event["field"] in stored:
            row = rows.setdefault(entity, {})
            key = (event["tx_id"], entity)
            if pending != key:
                began = seq
                out.append((dict(row), "update_preimage", began, when_))
            row[stored[event["field"]]] = value_of(event["new_value"])
            following = events[at + 1] if at + 1 < len(events) else None
            more = (
                following is not None
                and following["action"] == "update"
                and (following["tx_id"], following["entity_id"]) == key
                and following["field"] != event["field"]
            )
            pending = key if more else None
            if not more:
                out.append((dict(row), "update_postimage", began, when_))
    yield _change_table([row for row, *_ in out], definition, [each[1:] for each in out])


def _states(table: PastTable, entities: set[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of ``entities`` at the table's moment, by store name."""
    try:
        definition = table.definition()
    except TableNotFoundError:  # it was created later
        return {}
    if not entities:
        return {}
    names, rows = table.state(of=sorted(entities))
    ids = names.to_pylist()
    wanted = [at for at, entity in enumerate(ids) if entity in entities]
    texts = row_texts(take_rows(rows, wanted))
    return {
        ids[at]: row_of(text, definition.stored) for at, text in zip(wanted, texts, strict=True)
    }


def _change_table(
    rows: list[dict[str, Any]],
    definition: MutableDefinition,
    told: Sequence[tuple[Any, ...]],
) -> pa.Table:
    table = table_of(rows, definition)
    columns = list(zip(*told, strict=True)) or [(), (), ()]
    for field, values in zip(CHANGE_FIELDS, columns, strict=True):
        table = table.append_column(field, pa.array(list(values), field.type))
    return table


def _vector_changes(
    catalog: Catalog, table: PastTable, first: int, last: int
) -> Iterator[pa.Table]:
    """Compare the versions before and after each event, under the names of the last one."""
    assert table.info is not None
    datasets = catalog.lake.datasets
    end, now = table.dataset(datasets), datasets.visible(table.info)
    ids = {name: at for at, name in _columns(now).items()}
    fields = {at: end.schema.field(name) for at, name in _columns(end).items()}
    key = fields[ids[table.info.definition.key]].name  # type: ignore[union-attr]  # a vector table's
    when = Span(first, last + 1)
    names = ["seq", "timestamp", "new_value"]
    events = table.vantage.events(table.journal, table.table_id, names, when)
    done = -1
    for event in events.to_pylist():
        told = json.loads(event["new_value"] or "{}")
        after = told.get("version_after")
        if after is None or after <= done or not told.get("rows"):
            continue
        done = after
        before = told.get("version_before")
        rows = _called(datasets.at(table.info, after), fields)
        old = rows.slice(0, 0)
        if before is not None:
            old = _called(datasets.at(table.info, before), fields)
        yield from _version_changes(key, old, rows, event)


def _columns(dataset: lance.LanceDataset) -> dict[int, str]:
    """Return a version's columns by what Lance calls them, which renaming does not change."""
    return {field.id(): field.name() for field in dataset.lance_schema.fields()}


def _called(dataset: lance.LanceDataset, fields: Mapping[int, pa.Field]) -> pa.Table:
    """Return a version's rows as ``fields``, NULL in those that it does not have."""
    had = {at: name for at, name in _columns(dataset).items() if at in fields}
    rows = dataset.to_table(columns=list(had.values()))
    arrays = [
        rows[had[at]] if at in had else pa.nulls(rows.num_rows, field.type)
        for at, field in fields.items()
    ]
    return pa.Table.from_arrays(arrays, schema=nullable(pa.schema(list(fields.values()))))


def _version_changes(
    key: str, old: pa.Table, rows: pa.Table, event: Mapping[str, Any]
) -> Iterator[pa.Table]:
    at = pc.index_in(rows[key], old[key].combine_chunks())
    added = rows.filter(pc.is_null(at))
    gone = old.filter(pc.invert(pc.is_in(old[key], rows[key].combine_chunks())))
    stayed, were = rows.filter(pc.is_valid(at)), old.take(at.drop_null())
    differs = [
        left != right for left, right in zip(row_texts(stayed), row_texts(were), strict=True)
    ]
    mask = pa.array(differs, pa.bool_())
    for part, kind in (
        (gone, "delete"),
        (were.filter(mask), "update_preimage"),
        (stayed.filter(mask), "update_postimage"),
        (added, "insert"),
    ):
        if part.num_rows:
            values = (kind, event["seq"], event["timestamp"])
            for field, value in zip(CHANGE_FIELDS, values, strict=True):
                part = part.append_column(  # noqa: PLW2901 - the same rows, with one column more
                    field, pa.array([value] * part.num_rows, field.type)
                )
            yield part
