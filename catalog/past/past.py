"""The past: what a table held at a moment, and what happened to it between two.

A mutable table's past is its present with every later event undone. Only the first event after the
moment counts for each field of each row: it holds the value that the moment saw. A table that was
dropped since has no present: its past is its events from the beginning. A vector table's past is
one of Lance's versions.

Rules:
    - Columns are told apart by what the store calls them, which renaming does not change.
    - A shared table's events are in the shared scope's journal, which numbers them by itself: a
      tenant's moment is found there by its time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import EVENTS_SCHEMA, WHOLE, entity_names, row_texts
from affidavit.catalog.model.definition import (
    KINDS,
    MUTABLE,
    MutableDefinition,
    parse_definition,
)
from affidavit.catalog.past.undo import ROW_COLUMNS, Undo, stored_at
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import definition_of, read_table, take_rows
from affidavit.catalog.values.canonical import us_of
from affidavit.catalog.values.text import from_json
from affidavit.errors import InvalidQueryError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import lance

    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.past.undo import Eras
    from affidavit.catalog.store.protocol import Reader

_TIME: Final = pa.timestamp("us", "UTC")
PART_EVENTS: Final = 1 << 17
"""So many events are undone at a time: each time costs as much as some thousands of them."""

CHANGE_FIELDS: Final = (
    pa.field("_change_type", pa.string()),
    pa.field("_commit_seq", pa.int64()),
    pa.field("_commit_timestamp", _TIME),
)
"""The columns that ``changes`` adds, as Delta's change data feed names them."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in a tenant's ledger: after an entry, or at a time, or a version of a table."""

    seq: int | None = None
    at_us: int | None = None
    version: int | None = None


def parse_moment(value: object) -> Moment:
    """Return the moment that a caller means.

    A number is an entry of the ledger; ``'v7'`` is a vector table's version; a datetime, or a text
    in ISO 8601, is a time, UTC if it does not say.

    Raises:
        InvalidQueryError: It is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Moment(seq=value)
    if isinstance(value, str) and value[:1] == "v" and value[1:].isdecimal():
        return Moment(version=int(value[1:]))
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if isinstance(moment, datetime):
        return Moment(at_us=us_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
    msg = (
        "a moment is an entry's number, a version such as 'v7', or a time such as "
        f"'2026-01-31T12:00:00'; got {value!r}"
    )
    raise InvalidQueryError(msg)


class Past:
    """What one tenant's lake held at a moment.

    ``committed`` says that ``reader`` is a snapshot, and not an open transaction: copies of tables
    in memory are of committed versions.
    """

    def __init__(
        self, catalog: Catalog, reader: Reader, moment: Moment, *, committed: bool = False
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._committed = committed
        self.moment = self._checked(moment)

    def _checked(self, moment: Moment) -> Moment:
        last = self._catalog.ledger.last_seq(self._reader)
        if moment.seq is not None and moment.seq > (-1 if last is None else last):
            msg = f"entry {moment.seq} has not happened: the newest is {last}"
            raise InvalidQueryError(msg)
        if moment.at_us is not None:
            first = self._catalog.ledger.entries(self._reader, Compare("=", "seq", 0))
            if not first or moment.at_us < first[0].created_at:
                msg = "the lake's ledger did not exist at that time"
                raise InvalidQueryError(msg)
        return moment

    # --- tables ---------------------------------------------------------------------------------

    def table(self, name: str, schema: str = MAIN_SCHEMA) -> PastTable:
        """Return a table as it was then.

        Raises:
            TableNotFoundError: There was none of that name.
        """
        info = self._catalog.find(self._reader, name, schema)
        if info is not None and KINDS[info.kind].has_rows:
            journal = self._catalog.lake.journals.of(info.tenant)
            found = PastTable(self, journal, info.table_id, name, info)
            if found.existed():
                return found
        dropped = self._dropped(name)
        if dropped is None:
            raise TableNotFoundError(name)
        found = PastTable(self, self._catalog.journal, dropped, name, None)
        if not found.existed():
            raise TableNotFoundError(name)
        return found

    def _dropped(self, name: str) -> str | None:
        """Return the identity of a table of this name that was dropped after the moment."""
        journal = self._catalog.journal
        filters = (pc.field("entity_type") == name) & (pc.field("action") == "drop")
        for part in journal.scan(self._reader, ["seq", "timestamp", "table_id"], filters):
            for event in part.filter(self.after(journal)).to_pylist():
                return str(event["table_id"])
        return None

    def until(self, journal: Journal) -> pc.Expression:
        """Return the filter for the events of ``journal`` up to the moment."""
        seq, at_us = self._bound(journal)
        if seq is not None:
            return pc.field("seq") <= seq
        return pc.field("timestamp") <= pa.scalar(at_us, _TIME)

    def after(self, journal: Journal) -> pc.Expression:
        """Return the filter for the events of ``journal`` after the moment."""
        seq, at_us = self._bound(journal)
        if seq is not None:
            return pc.field("seq") > seq
        return pc.field("timestamp") > pa.scalar(at_us, _TIME)

    def _bound(self, journal: Journal) -> tuple[int | None, int | None]:
        seq, at_us = self.moment.seq, self.moment.at_us
        if seq is not None and journal is not self._catalog.journal:
            entries = self._catalog.ledger.page(self._reader, seq, seq + 1)
            return None, entries[0].created_at
        return seq, at_us

    def parts(
        self, journal: Journal, table_id: str, columns: Sequence[str], when: pc.Expression
    ) -> Iterator[pa.Table]:
        """Yield some of the events of a table, oldest first, many at a time."""
        schema = pa.schema([EVENTS_SCHEMA.field(name) for name in columns])
        held: list[pa.Table] = []
        filters = (pc.field("table_id") == table_id) & when
        for part in journal.scan(self._reader, columns, filters):
            held.append(part.cast(schema))
            if sum(each.num_rows for each in held) >= PART_EVENTS:
                yield pa.concat_tables(held)
                held = []
        if held:
            yield pa.concat_tables(held)

    def events(
        self, journal: Journal, table_id: str, columns: Sequence[str], when: pc.Expression
    ) -> pa.Table:
        """Return some of the events of a table, oldest first."""
        none = pa.schema([EVENTS_SCHEMA.field(name) for name in columns]).empty_table()
        return pa.concat_tables([none, *self.parts(journal, table_id, columns, when)])

    def cached(self, info: TableInfo) -> pa.Table | None:
        """Return a table as it is now, if there is a copy in memory."""
        cache = self._catalog.lake.cache
        held = cache.get(info.table_id, info.version) if self._committed else None
        return None if held is None else held.data

    @property
    def reader(self) -> Reader:
        """The snapshot that the past is read from."""
        return self._reader


@dataclass(frozen=True)
class PastTable:
    """A table at a moment. ``info`` is what it is now; ``None`` if it was dropped since."""

    past: Past
    journal: Journal
    table_id: str
    name: str
    info: TableInfo | None

    # --- what it was ----------------------------------------------------------------------------

    def existed(self) -> bool:
        """Return whether the table was there at the moment.

        Raises:
            InvalidQueryError: It was, and what it held cannot be told any more.
        """
        if self.past.moment.version is not None:
            return self.info is not None
        told = self._definitions()
        if told and "dimension" in json.loads(told[0][3]) and self.info is None:
            msg = f"vector table {self.name!r} was dropped, and its versions with it"
            raise InvalidQueryError(msg)
        if told and told[0][2] == "create":
            return self._is_past(told[0][0], told[0][1])
        if self.info is None:
            msg = f"the journal does not have the beginning of table {self.name!r}"
            raise InvalidQueryError(msg)
        self._refuse_before_journal()
        if told and not self._is_past(told[0][0], told[0][1]):
            msg = (
                f"table {self.name!r} is older than its journal, and was altered after that moment "
                f"by entry {told[0][0]}: what it was before is not written down"
            )
            raise InvalidQueryError(msg)
        return True

    def _is_past(self, seq: int, at_us: int) -> bool:
        """Return whether an event of the journal had happened by the moment."""
        last_seq, last_us = self.past._bound(self.journal)  # noqa: SLF001 - of the same module
        return seq <= last_seq if last_seq is not None else at_us <= (last_us or 0)

    def _definitions(self) -> list[tuple[int, int, str, str]]:
        """Return the number, time, action and text of each event that defined the table."""
        names = ["seq", "timestamp", "action", "new_value"]
        filters = (
            (pc.field("table_id") == self.table_id)
            & (pc.field("field") == WHOLE)
            & pc.field("action").isin(["create", "alter"])
        )
        found = []
        for part in self.journal.scan(self.past.reader, names, filters):
            times = part["timestamp"].cast(pa.int64()).to_pylist()
            for event, at_us in zip(part.to_pylist(), times, strict=True):
                text = json.loads(event["new_value"] or "{}").get("definition")
                if text is not None:
                    found.append((event["seq"], at_us, event["action"], text))
        return found

    def _eras(self) -> Eras:
        """Return from which event on the table had which definition."""
        eras = []
        for seq, _, _, text in self._definitions():
            definition = parse_definition(MUTABLE.name, text)
            assert isinstance(definition, MutableDefinition)
            eras.append((seq, definition))
        if not eras and self.info is not None:  # its creation was let go, and nothing came since
            return [(0, definition_of(self.info))]
        return eras

    def _refuse_before_journal(self) -> None:
        """Raise InvalidQueryError if the table is older than the journal, and the moment too."""
        seq, at_us = self.past._bound(self.journal)  # noqa: SLF001 - of the same module
        first = self.journal.first_seq(self.past.reader)
        if first is not None and seq is None:
            seq = first if (at_us or 0) >= self._time_of(first) else -1
        if first is None or (seq or 0) < first:
            began = "has none" if first is None else f"begins with entry {first}"
            msg = f"table {self.name!r} cannot be read as of then: its journal {began}"
            raise InvalidQueryError(msg)

    def _time_of(self, seq: int) -> int:
        found = self.journal.entries(self.past.reader, seq, seq + 1)
        return found[0].created_at if found else 0

    def _refuse_dropped(self) -> None:
        """Raise InvalidQueryError if events that the moment needs were let go."""
        seq, at_us = self.past._bound(self.journal)  # noqa: SLF001 - of the same module
        for segment in self.journal.all_segments(self.past.reader):
            later = segment.last_seq > seq if seq is not None else segment.last_at > (at_us or 0)
            if segment.dropped and (later or self.info is None):
                msg = (
                    f"table {self.name!r} cannot be read as of then: the journal's events "
                    f"{segment.first_seq} to {segment.last_seq} were let go"
                )
                raise InvalidQueryError(msg)

    def definition(self) -> MutableDefinition:
        """Return what the mutable table was at the moment.

        Raises:
            TableNotFoundError: It did not exist yet.
        """
        self._refuse_dropped()
        found: object = None
        told = self._definitions()
        if not told and self.info is not None:
            return definition_of(self.info)
        for at, time, _, text in told:
            if self._is_past(at, time):
                found = parse_definition(MUTABLE.name, text)
        if not isinstance(found, MutableDefinition):
            raise TableNotFoundError(self.name)
        return found

    @property
    def is_vector(self) -> bool:
        """Whether it is a vector table."""
        return self.info is not None and KINDS[self.info.kind].has_versions

    def version(self) -> int:
        """Return the version of Lance that the vector table had.

        Raises:
            TableNotFoundError: It did not exist yet.
        """
        if self.past.moment.version is not None:
            return self.past.moment.version
        found = self.past.events(
            self.journal, self.table_id, ["new_value"], self.past.until(self.journal)
        )
        for text in reversed(found["new_value"].to_pylist()):
            version = json.loads(text or "{}").get("version_after")
            if version is not None:
                return int(version)
        raise TableNotFoundError(self.name)

    def dataset(self, datasets: Any) -> lance.LanceDataset:  # noqa: ANN401 - the lake's
        """Return the vector table at its version of the moment."""
        assert self.info is not None
        return datasets.at(self.info, self.version())

    # --- what it held ---------------------------------------------------------------------------

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of the mutable table at the moment; ``columns`` leaves out others."""
        return self.state(columns)[1]

    def state(self, columns: Sequence[str] | None = None) -> tuple[pa.Array, pa.Table]:
        """Return the name of each row at the moment, and the rows."""
        definition = self.definition()
        if self.info is None:
            names, rows = self._replayed(definition)
            return pa.array(names, pa.string()), rows if columns is None else rows.select(columns)
        schema = _nullable(definition.schema)
        wanted = [schema.field(name) for name in (schema.names if columns is None else columns)]
        return self._undone({definition.stored[field.name]: field for field in wanted})

    def _undone(self, fields: Mapping[str, pa.Field]) -> tuple[pa.Array, pa.Table]:
        assert self.info is not None
        now, eras = definition_of(self.info), self._eras()
        called = {stored: name for name, stored in now.stored.items() if stored in fields}
        present = self._present([*dict.fromkeys([*now.primary_key, *called.values()])])
        names = entity_names(
            now, present, present[ROWID].to_pylist() if ROWID in present.schema.names else ()
        )
        undo = Undo(names, fields, eras)
        # a table's own events are named by the table, and so may a row be
        rows = pc.field("action").isin(["insert", "delete", "update"])
        named = {
            name for _, each in eras for name, stored in each.stored.items() if stored in fields
        }
        if len(called) < len(now.stored):
            rows &= pc.field("field").isin([WHOLE, *named])
        when = self.past.after(self.journal) & rows
        for part in self.past.parts(self.journal, self.table_id, ROW_COLUMNS, when):
            undo.add(part)
        current = present.select(list(called.values())).rename_columns(list(called))
        found, then = undo.rows(current)
        return found, then.rename_columns([field.name for field in fields.values()])

    def _present(self, columns: Sequence[str]) -> pa.Table:
        """Return ``columns`` of the rows that there are now, and what names them."""
        assert self.info is not None
        if not definition_of(self.info).primary_key:
            columns = [ROWID, *columns]
        cached = self.past.cached(self.info)
        if cached is not None and ROWID not in columns:
            return cached.select(columns)
        return read_table(self.past.reader, self.info, columns)

    def _replayed(self, definition: MutableDefinition) -> tuple[list[str], pa.Table]:
        """Return the rows of a table that is gone, from its events up to the moment."""
        names = ["seq", "entity_id", "field", "action", "new_value"]
        events = self.past.events(self.journal, self.table_id, names, self.past.until(self.journal))
        eras = self._eras()
        rows: dict[str, dict[str, Any]] = {}
        for event in events.to_pylist():
            stored = stored_at(eras, event["seq"])
            if event["action"] == "insert":
                rows[event["entity_id"]] = _by_store(event["new_value"], stored)
            elif event["action"] == "delete":
                rows.pop(event["entity_id"], None)
            elif event["action"] == "update" and event["entity_id"] in rows:
                rows[event["entity_id"]][stored[event["field"]]] = _value(event["new_value"])
        return list(rows), _from_rows(list(rows.values()), definition)


def _from_rows(rows: Sequence[Mapping[str, Any]], definition: MutableDefinition) -> pa.Table:
    """Return rows, by store name, as a table of what there was."""
    arrays = [
        from_json([row.get(definition.stored[field.name]) for row in rows], field.type)
        for field in definition.schema
    ]
    return pa.Table.from_arrays(arrays, schema=_nullable(definition.schema))


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(nullable=True) for field in schema])


def dataset_of(
    catalog: Catalog, reader: Reader, info: TableInfo, version: int | str | None
) -> tuple[TableInfo, lance.LanceDataset]:
    """Return a vector table as it was at a version, or at the moment that the catalog is at."""
    if version is None and catalog.at is not None:
        version = Past(catalog, reader, catalog.at).table(info.name, info.schema).version()
    return catalog.lake.datasets.as_of(info, version)


# --- what happened between two moments ------------------------------------------------------------


def change_rows(
    catalog: Catalog, reader: Reader, name: str, first: int, last: int
) -> Iterator[pa.Table]:
    """Yield what entries ``first`` to ``last`` did to a table, as Delta's change data feed does.

    Raises:
        TableNotFoundError: There is no such table.
    """
    end = Past(catalog, reader, Moment(seq=last)).table(name)
    if end.journal is not catalog.journal:
        msg = (
            f"table {name!r} is shared, and its changes are numbered by the shared scope's ledger: "
            "ask in a session with tenant=None"
        )
        raise InvalidQueryError(msg)
    if end.is_vector:
        yield from _vector_changes(catalog, end, first, last)
        return
    start = Past(catalog, reader, Moment(seq=max(first - 1, 0)))
    before = PastTable(start, end.journal, end.table_id, name, end.info)
    yield from _mutable_changes(before, end, first, last)


def change_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns of ``changes`` of a table with ``schema``."""
    return pa.schema([*_nullable(schema), *CHANGE_FIELDS])


def _mutable_changes(table: PastTable, end: PastTable, first: int, last: int) -> Iterator[pa.Table]:
    """Walk forward from the state before ``first``, and give each row before and after."""
    definition = end.definition()
    eras = end._eras()  # noqa: SLF001 - of the same module
    names = ["seq", "timestamp", "entity_id", "field", "action", "old_value", "new_value", "tx_id"]
    when = (pc.field("seq") >= first) & (pc.field("seq") <= last)
    events = table.past.events(table.journal, table.table_id, names, when).to_pylist()
    rows = _states(table, {event["entity_id"] for event in events})
    out: list[tuple[dict[str, Any], str, int, Any]] = []
    pending: tuple[str, str] | None = None
    began = first
    for at, event in enumerate(events):
        entity, seq, when_ = event["entity_id"], event["seq"], event["timestamp"]
        stored = stored_at(eras, seq)
        if event["action"] == "insert":
            rows[entity] = _by_store(event["new_value"], stored)
            out.append((dict(rows[entity]), "insert", seq, when_))
        elif event["action"] == "delete":
            rows.pop(entity, None)
            out.append((_by_store(event["old_value"], stored), "delete", seq, when_))
        elif event["action"] == "update" and event["field"] in stored:
            row = rows.setdefault(entity, {})
            key = (event["tx_id"], entity)
            if pending != key:
                began = seq
                out.append((dict(row), "update_preimage", began, when_))
            row[stored[event["field"]]] = _value(event["new_value"])
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
    names, rows = table.state()
    ids = names.to_pylist()
    wanted = [at for at, entity in enumerate(ids) if entity in entities]
    texts = row_texts(take_rows(rows, wanted))
    return {
        ids[at]: _by_store(text, definition.stored) for at, text in zip(wanted, texts, strict=True)
    }


def _value(text: str | None) -> Any:  # noqa: ANN401 - any JSON
    """Return a value; one that was erased is NULL."""
    return None if text is None else json.loads(text)


def _by_store(text: str | None, stored: Mapping[str, str]) -> dict[str, Any]:
    return {stored[name]: value for name, value in json.loads(text or "{}").items()}


def _change_table(
    rows: list[dict[str, Any]],
    definition: MutableDefinition,
    told: Sequence[tuple[Any, ...]],
) -> pa.Table:
    table = _from_rows(rows, definition)
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
    end, now = table.dataset(datasets), datasets.latest(table.info)
    ids = {name: at for at, name in _columns(now).items()}
    fields = {at: end.schema.field(name) for at, name in _columns(end).items()}
    key = fields[ids[table.info.definition.key]].name  # type: ignore[union-attr]  # a vector table's
    when = (pc.field("seq") >= first) & (pc.field("seq") <= last)
    names = ["seq", "timestamp", "new_value"]
    events = table.past.events(table.journal, table.table_id, names, when)
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
    return pa.Table.from_arrays(arrays, schema=_nullable(pa.schema(list(fields.values()))))


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
