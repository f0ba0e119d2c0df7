"""What a name means: which table a statement reads by it, and through what."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.model.definition import (
    EXTERNAL,
    KINDS,
    MUTABLE,
    SEQUENCE,
    VECTOR,
    VIEW,
    SqlDefinition,
)
from affidavit.catalog.model.release import TableRead
from affidavit.catalog.sql.names import JOURNAL, MAIN_SCHEMA, SYSTEM_SCHEMA, TEMP_SCHEMA
from affidavit.catalog.tables.reading import strictest
from affidavit.catalog.topics.topic import TOPICS_SCHEMA, find_topic
from affidavit.engine.scans.journal import JournalDataset
from affidavit.engine.scans.mutable import listed_table, mutable_table, prepare_mutable
from affidavit.engine.scans.past import past_at, past_table
from affidavit.engine.scans.system import SYSTEM_TABLES
from affidavit.engine.scans.temporary.tables import Temporaries
from affidavit.engine.scans.topics import TopicDataset
from affidavit.engine.statement.statement import DML_SCHEMA, parse_statement
from affidavit.errors import TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from datafusion.catalog import Table

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.scans.snapshot import Snapshot


_TELL_OF_ROWS: Final = {JOURNAL}
"""The tables of the engine's own that have values of the tenant's rows."""


# --- tables of the lake, by their kind -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """How tables of one kind are read.

    Attributes:
        prepare: Builds what takes a DataFusion context of its own: a provider that is asked while
            DataFusion plans cannot plan.
        table: Returns what DataFusion reads the table through; ``None`` if it was not prepared.
    """

    prepare: Callable[[Snapshot, TableInfo], None]
    table: Callable[[Snapshot, TableInfo], Table | None]


def _nothing(_snapshot: Snapshot, _info: TableInfo) -> None:
    """Do nothing, and return nothing."""


def _vector_table(snapshot: Snapshot, info: TableInfo) -> Table:
    snapshot.note_present(info)
    return snapshot.vectors(info, snapshot.catalog.lake.datasets.visible(info))


READINGS: Final[Mapping[str, Reading]] = {
    MUTABLE.name: Reading(prepare_mutable, mutable_table),
    VECTOR.name: Reading(_nothing, _vector_table),
    VIEW.name: Reading(_nothing, _nothing),  # SQL texts are planned beforehand, each as its own
    EXTERNAL.name: Reading(_nothing, _nothing),
    SEQUENCE.name: Reading(_nothing, _nothing),  # which nextval() asks
}


def prepare_tables(snapshot: Snapshot, names: Collection[str]) -> list[TableInfo]:
    """Look up the tables that a statement may name, and return those that are SQL texts."""
    found = snapshot.catalog.tables(snapshot.reader, names)
    for info in found:
        snapshot.known[info.schema, info.name] = info
        READINGS[info.kind].prepare(snapshot, info)
    return [info for info in found if KINDS[info.kind].is_text]


@contextmanager
def of_lake(snapshot: Snapshot) -> Iterator[None]:
    """Let names mean the lake's tables alone: a view is everybody's."""
    hidden = snapshot.hold(Temporaries())
    try:
        yield
    finally:
        snapshot.hold(hidden)


# --- every name ----------------------------------------------------------------------------------


def resolve(snapshot: Snapshot, schema: str, name: str, *, is_listed: bool = False) -> Any:  # noqa: ANN401 - DataFusion takes several
    """Return what DataFusion reads ``schema.name`` through, or ``None``.

    What a temporary table hides is listed all the same, where it ``is_listed``.
    """
    hides = not is_listed or schema == TEMP_SCHEMA
    held = snapshot.temporaries.find(schema, name) if hides else None
    if held is not None:
        snapshot.note_name(f"{TEMP_SCHEMA}.{name}")
        return held.provider
    snapshot.refuse_unplanned((schema, name))
    info = snapshot.listed.get((schema, name)) if is_listed else None
    if info is not None and info.kind == MUTABLE.name and snapshot.catalog.at is None:
        return listed_table(snapshot, info)
    find = next(find for is_meant, find in RESOLVERS if is_meant(snapshot, schema, name))
    return find(snapshot, schema, name)


def _prepared(snapshot: Snapshot, schema: str, name: str) -> Any:  # noqa: ANN401 - as above
    if (schema, name) in snapshot.external:
        snapshot.note_external(snapshot.external[schema, name])
    return snapshot.prepared[schema, name]


def _of_dml(snapshot: Snapshot, _schema: str, name: str) -> Any:  # noqa: ANN401 - as above
    return snapshot.virtual.get(name)


def _journal(snapshot: Snapshot, _schema: str, name: str) -> Table | None:
    return _of_system(snapshot, SYSTEM_SCHEMA, name)


def _of_system(snapshot: Snapshot, schema: str, name: str) -> Table | None:
    make = SYSTEM_TABLES[schema].get(name)
    if make is None:
        snapshot.note_missing(schema, name)
        return None
    if schema != SYSTEM_SCHEMA or name in _TELL_OF_ROWS:
        level = strictest(snapshot.catalog, snapshot.reader) if name in _TELL_OF_ROWS else None
        told = snapshot.reading.note(TableRead(f"{schema}.{name}", level=level))
        if name in _TELL_OF_ROWS:
            return snapshot.scan((schema, name), JournalDataset(snapshot, told=told))
    return snapshot.scan((schema, name), make(snapshot))


def _topic(snapshot: Snapshot, schema: str, name: str) -> Table | None:
    topic = find_topic(snapshot.reader, name, snapshot.catalog.tenant)
    if topic is None:
        snapshot.note_missing(schema, name)
        return None
    told = TableRead(
        f"{schema}.{name}", topic.topic_id, level=strictest(snapshot.catalog, snapshot.reader)
    )
    snapshot.reading.note(told)
    return snapshot.scan((schema, name), TopicDataset(snapshot, topic))


def _past(snapshot: Snapshot, schema: str, name: str) -> Table | None:
    assert snapshot.catalog.at is not None
    try:
        table = past_at(snapshot, snapshot.catalog.at).table(name, schema)
        return past_table(snapshot, table, schema, (schema, name))
    except TableNotFoundError:
        snapshot.note_missing(schema, name)
        return None


def _of_lake(snapshot: Snapshot, schema: str, name: str) -> Table | None:
    info = snapshot.known.get((schema, name))
    info = info or snapshot.catalog.find(snapshot.reader, name, schema)
    found = None if info is None else READINGS[info.kind].table(snapshot, info)
    if found is None:
        snapshot.note_missing(schema, name)
    return found


RESOLVERS: Final[
    tuple[tuple[Callable[[Snapshot, str, str], bool], Callable[[Snapshot, str, str], Any]], ...]
] = (
    (lambda snapshot, *key: key in snapshot.prepared, _prepared),
    (lambda _, schema, _name: schema == DML_SCHEMA, _of_dml),
    (lambda _, *key: key == (MAIN_SCHEMA, JOURNAL), _journal),
    (lambda _, schema, _name: schema in SYSTEM_TABLES, _of_system),
    (lambda _, schema, _name: schema == TOPICS_SCHEMA, _topic),
    (lambda snapshot, *_: snapshot.catalog.at is not None, _past),
    (lambda *_: True, _of_lake),
)
"""What a name may mean, and what finds it then: the first row that is meant."""


def names_in(info: TableInfo) -> Collection[str]:
    """Return the names in the text of a view; none in that of an external table."""
    assert isinstance(info.definition, SqlDefinition)
    return parse_statement(info.definition.sql).names if info.kind == VIEW.name else ()
