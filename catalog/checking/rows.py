"""Which row of a table is not what its events make of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.journal.events import entity_ids
from affidavit.catalog.ledger.verification.differences import Difference, of_row, of_value
from affidavit.catalog.past.redo import row_of, value_of
from affidavit.catalog.past.undo import stored_at
from affidavit.catalog.sql.predicate import In
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import KEYS_MAX, definition_of, read_rows
from affidavit.catalog.values.text import from_json, json_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.past.undo import Eras
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader

    Signed = dict[str, dict[str, Any] | None]

_READ = ["seq", "entity_id", "field", "action", "new_value"]
_TEXT_TYPES = (pt.is_string, pt.is_large_string, pt.is_string_view)
_OF_ROWS = ("insert", "delete", "update")


def first_difference(
    reader: Reader, journal: Journal, info: TableInfo, eras: Eras
) -> Difference | None:
    """Return the first row of a mutable table, and its column, that is not what was signed.

    ``None`` where no row differs, or where events were let go that would tell.
    """
    if any(each.dropped for each in journal.kept.all_segments(reader)):
        return None
    signed = _signed(reader, journal, info, eras)
    if signed is None:
        return None
    definition = definition_of(info)
    for name, row in _present(reader, info):
        if name not in signed:
            return of_row(info.name, name, "was put there: no event tells of it")
        told = signed.pop(name)
        if told is None:
            continue  # its values were erased
        for column in definition.schema.names:
            stored = definition.stored[column]
            if told.get(stored) != row[column]:
                return of_value(info.name, name, column, told.get(stored), row[column])
    return next((of_row(info.name, name, "is not there") for name in signed), None)


def events_since(reader: Reader, journal: Journal, since: int) -> dict[str, list[dict[str, Any]]]:
    """Return the events of rows from an entry on, and those that altered a table, by the table."""
    found: dict[str, list[dict[str, Any]]] = {}
    wanted = pc.field("action").isin([*_OF_ROWS, "alter"]) & (pc.field("seq") >= since)
    for part in journal.events.scan(reader, [*_READ, "table_id"], wanted):
        for event in part.to_pylist():
            found.setdefault(event["table_id"], []).append(event)
    return found


def changed_difference(
    reader: Reader,
    info: TableInfo,
    events: Sequence[dict[str, Any]],
    eras_of: Callable[[], Eras],
) -> Difference | None:
    """Return the first row with one of some events, the newest, that is not what was signed.

    Of a row that was only updated, the columns that were are compared. ``eras_of`` is asked for the
    table's definitions if it had another one since.
    """
    told: dict[str, dict[str, Any] | None] = {}
    gone: set[str] = set()
    altered = any(event["action"] == "alter" for event in events)
    eras: Eras = eras_of() if altered else [(0, definition_of(info))]
    for event in events:
        if event["action"] == "alter":
            continue
        name, stored = event["entity_id"], stored_at(eras, event["seq"])
        gone.discard(name)
        if event["action"] == "delete":
            told.pop(name, None)
            gone.add(name)
        elif event["new_value"] is None:
            told[name] = None
        elif event["action"] == "insert":
            told[name] = row_of(event["new_value"], stored)
        elif (row := told.setdefault(name, {})) is not None and event["field"] in stored:
            row[stored[event["field"]]] = value_of(event["new_value"])
    definition = definition_of(info)
    called = {stored: name for name, stored in definition.stored.items()}
    for name, row in _named(reader, info, [*told, *gone]):
        if name in gone:
            return of_row(info.name, name, "is there, and was deleted")
        signed = told.pop(name, None)
        for kept, value in (signed or {}).items():
            if kept in called and row[called[kept]] != value:
                return of_value(info.name, name, called[kept], value, row[called[kept]])
    return next((of_row(info.name, name, "is not there") for name in told), None)


def _signed(reader: Reader, journal: Journal, info: TableInfo, eras: Eras) -> Signed | None:
    """Return the rows by their names as events tell them; ``None`` for one without values.

    ``None`` where the table is older than its journal, which does not have all of its rows.
    """
    rows: Signed = {}
    has_begun = False
    for event in _events(reader, journal, info):
        if event["action"] == "create":
            has_begun = True
            continue
        name, stored = event["entity_id"], stored_at(eras, event["seq"])
        if event["action"] == "delete":
            rows.pop(name, None)
        elif event["new_value"] is None:
            rows[name] = None
        elif event["action"] == "insert":
            rows[name] = row_of(event["new_value"], stored)
        elif (row := rows.get(name)) is not None and event["field"] in stored:
            row[stored[event["field"]]] = value_of(event["new_value"])
    return rows if has_begun else None


def _events(reader: Reader, journal: Journal, info: TableInfo) -> Iterator[dict[str, Any]]:
    """Yield the events of a table's rows, oldest first, and the one that made it."""
    actions = pc.field("action").isin([*_OF_ROWS, "create"])
    wanted = (pc.field("table_id") == info.table_id) & actions
    for part in journal.events.scan(reader, _READ, wanted):
        yield from part.select(_READ).to_pylist()


def _named(
    reader: Reader, info: TableInfo, wanted: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield those rows that are called so: looked up where the name is one key, or an identity."""
    definition = definition_of(info)
    key = definition.primary_key
    if len(key) > 1:
        names = set(wanted)
        yield from (each for each in _present(reader, info) if each[0] in names)
        return
    column = key[0] if key else ROWID
    kind = definition.schema.field(column).type if key else pa.int64()
    for at in range(0, len(wanted), KEYS_MAX):
        part = wanted[at : at + KEYS_MAX]
        texts = part if key else [name.removeprefix("row:") for name in part]
        is_text = key and any(is_(kind) for is_ in _TEXT_TYPES)
        values = from_json(texts if is_text else [_json_of(text) for text in texts], kind)
        yield from _present(reader, info, In(column, tuple(values)))


def _json_of(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what the name of a row says of its key: JSON, without the quotes of a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _present(
    reader: Reader, info: TableInfo, where: Predicate | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row that there is, with its name, as JSON tells its values."""
    definition: MutableDefinition = definition_of(info)
    names = definition.schema.names
    for batch in read_rows(reader, info, [ROWID, *names], where):
        rows = pa.Table.from_batches([batch])
        ids = entity_ids(definition, rows, rows[ROWID].to_pylist())
        texts = zip(*(json_texts(rows[name]) for name in names), strict=True)
        for name, values in zip(ids, texts, strict=True):
            yield name, dict(zip(names, map(json.loads, values), strict=True))
