"""Triggers as they are kept: what is watched, and where what is found is published."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from affidavit.catalog.journal.note import note
from affidavit.catalog.model import clock
from affidavit.catalog.model.definition import KINDS, MutableDefinition
from affidavit.catalog.model.making import name_text
from affidavit.catalog.sql.names import MAIN_SCHEMA, check_name
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import TRIGGERS
from affidavit.catalog.topics.consumer import forget_consumers
from affidavit.catalog.topics.log import forget_topic
from affidavit.catalog.topics.topic import (
    OWN_PREFIX,
    Topic,
    check_topic_name,
    define_topic,
    find_topic,
)
from affidavit.errors import (
    InvalidTriggerError,
    SchemaConflictError,
    StoreError,
    TriggerExistsError,
    TriggerNotFoundError,
)
from affidavit.triggers.rules.event import NEAR, event_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.outbox import Changer
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer

ACTIONS: Final = ("insert", "update", "delete")
OWN_TRIGGERS: Final = f"{OWN_PREFIX}triggers."
"""How the topics begin that bring changes to Python callbacks."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What publishes an event when rows of a table change.

    Attributes:
        trigger_id: Its identity.
        name: Its name.
        kind: ``change``, or ``near`` for a standing search.
        table_id: The table that it watches.
        table: That table's name.
        actions: What it watches for: ``insert``, ``update``, ``delete``.
        where: An SQL predicate over ``new`` and ``old``; ``None`` for every row.
        topic: The topic that it publishes to.
        topic_id: That topic's identity.
        callback: Whether a Python function takes the events.
        query: The vector of a standing search.
        within: How far from it a row may be.
        metric: By which distance.
        column: The vector column.
    """

    trigger_id: str
    name: str
    kind: str
    table_id: str
    table: str
    actions: tuple[str, ...]
    where: str | None
    topic: str
    topic_id: str = ""
    callback: bool = False
    query: tuple[float, ...] = ()
    within: float | None = None
    metric: str = ""
    column: str = ""

    def __repr__(self) -> str:
        what = " or ".join(self.actions)
        when = "" if self.where is None else f" where {self.where}"
        if self.kind == NEAR:
            when = f" within {self.within:g} ({self.metric}) of a query"
        return f"Trigger({self.name!r}: {what} on {self.table!r}{when} -> {self.topic!r})"

    def says_the_same(self, other: Trigger) -> bool:
        """Return whether ``other`` would do the same."""
        own = {"trigger_id": "", "topic_id": "", "table": ""}
        return replace(self, **own) == replace(other, **own)  # type: ignore[arg-type]  # fields

    def sql(self, table: str) -> str | None:
        """Return the statement that makes such another on a table; ``None`` if none does."""
        if self.callback or self.kind == NEAR:
            return None
        actions = " OR ".join(self.actions).upper()
        end = "\n" if "--" in (self.where or "") else ""  # a comment may stand last
        when = "" if self.where is None else f" WHEN ({self.where}{end})"
        return (
            f"CREATE TRIGGER {quoted(self.name)} AFTER {actions} ON {table}{when} PUBLISH "
            f"{quoted_text(self.topic)}"
        )


def table_schema(catalog: Catalog, info: TableInfo) -> pa.Schema:
    """Return the columns of a table that triggers can be on.

    Raises:
        InvalidTriggerError: It is a view or a file.
    """
    if isinstance(info.definition, MutableDefinition):
        return info.definition.schema
    if KINDS[info.kind].has_versions:
        return catalog.lake.datasets.visible(info).schema
    msg = f"{info.name!r} is a {info.kind}: triggers are on tables that are written here"
    raise InvalidTriggerError(msg)


# --- kept in the store ----------------------------------------------------------------------------

_COLUMNS: Final = columns_of(TRIGGERS)
_LEFT_OUT: Final = ("trigger_id", "name", "table_id", "kind")


@lru_cache(maxsize=1024)
def _trigger(row: tuple[Any, ...]) -> Trigger:
    """Return a trigger as the store has it; each change of its table asks.

    Raises:
        StoreError: Its row is not what belongs there: somebody else wrote it.
    """
    trigger_id, name, table_id, kind, definition, _ = row
    try:
        told = json.loads(definition)
        told["actions"], told["query"] = tuple(told["actions"]), tuple(told["query"])
        return Trigger(trigger_id=trigger_id, name=name, table_id=table_id, kind=kind, **told)
    except (ValueError, TypeError, KeyError) as error:
        msg = f"what the store says of trigger {name!r} cannot be read: {error}"
        raise StoreError(msg) from error


def triggers_of_table(reader: Reader, table_id: str) -> list[Trigger]:
    """Return the triggers on a table, in the order in which they were made."""
    rows = reader.select(TRIGGERS, _COLUMNS, Compare("=", "table_id", table_id))
    return [_trigger(row) for row in sorted(rows, key=lambda row: (row[5], row[1]))]


def own_triggers(reader: Reader, catalog: Catalog) -> list[Trigger]:
    """Return the tenant's triggers, by name."""
    rows = reader.select(TRIGGERS, _COLUMNS, own(catalog.tenant), order_by=("name",))
    names = {info.table_id: info.name for info in catalog.tables(reader)}
    found = [_trigger(row) for row in rows]
    return [replace(each, table=names.get(each.table_id, each.table)) for each in found]


def find_trigger(reader: Reader, catalog: Catalog, name: str) -> Trigger | None:
    """Return the tenant's trigger of that name; ``None`` if there is none."""
    where = own(catalog.tenant, Compare("=", "name", name))
    rows = reader.select(TRIGGERS, _COLUMNS, where)
    return _trigger(rows[0]) if rows else None


def keep_trigger(catalog: Catalog, wanted: Trigger, schema: pa.Schema) -> Trigger:
    """Keep a trigger on a table of ``schema``, with its topic; again the same does nothing.

    Raises:
        TriggerExistsError: There is another of this name.
        SchemaConflictError: Its topic is there with another schema.
    """
    check_name("trigger", wanted.name)
    if not wanted.callback:
        check_topic_name(wanted.topic)
    with catalog.write() as writer:
        found = find_trigger(writer, catalog, wanted.name)
        if found is not None:
            if found.says_the_same(wanted):
                return found
            msg = f"there is another trigger of this name, {found!r}: drop it first"
            raise TriggerExistsError(msg)
        topic = _topic(catalog, writer, wanted, event_schema(wanted.kind, schema))
        trigger = replace(wanted, trigger_id=uuid4().hex, topic_id=topic.topic_id)
        told = {key: value for key, value in asdict(trigger).items() if key not in _LEFT_OUT}
        text = json.dumps(told)
        row = (
            trigger.trigger_id, trigger.name, trigger.table_id, trigger.kind, text, clock.now_us(),
        )  # fmt: skip
        writer.insert(TRIGGERS, _COLUMNS, [row])
        shown = {key: told[key] for key in ("table", "actions", "where", "topic", "within")}
        on = next(each for each in catalog.tables(writer) if each.table_id == trigger.table_id)
        sql = trigger.sql(name_text(on.schema, on.name))
        shown |= {} if sql is None else {"sql": sql}
        note(catalog, writer, "trigger", trigger.name, "create", shown)
    return trigger


def _topic(catalog: Catalog, writer: Writer, trigger: Trigger, schema: pa.Schema) -> Topic:
    tenant = catalog.tenant
    found = find_topic(writer, trigger.topic, tenant)
    if found is None or found.tenant != tenant:
        metadata = {"trigger": trigger.name}
        return define_topic(writer, trigger.topic, schema, tenant, metadata=metadata)
    if not found.schema.equals(schema):
        msg = (
            f"topic {trigger.topic!r} has the columns {found.schema.names} and cannot take what a "
            f"trigger on {trigger.table!r} publishes, {schema.names}: leave the topic to the "
            "trigger, or choose another"
        )
        raise SchemaConflictError(msg)
    return found


def forget_trigger(catalog: Changer, writer: Writer, trigger: Trigger) -> None:
    """Forget a trigger; what it published stays, unless it went to a callback alone."""
    writer.delete_where(TRIGGERS, own(catalog.tenant, Compare("=", "name", trigger.name)))
    if trigger.callback:
        topic = find_topic(writer, trigger.topic, catalog.tenant)
        if topic is not None:
            by_topic = Compare("=", "topic_id", topic.topic_id)
            forget_consumers(writer, catalog.tenant, by_topic)
            forget_topic(writer, topic)
    note(catalog, writer, "trigger", trigger.name, "drop")


def drop_trigger(catalog: Catalog, name: str, *, if_exists: bool = False) -> None:
    """Drop the tenant's trigger of that name.

    Raises:
        TriggerNotFoundError: There is none, and not ``if_exists``.
    """
    with catalog.write() as writer:
        found = find_trigger(writer, catalog, name) if isinstance(name, str) else None
        if found is not None:
            forget_trigger(catalog, writer, found)
        elif not if_exists:
            known = [each.name for each in own_triggers(writer, catalog)]
            raise TriggerNotFoundError(name, known=known)


def watched_table(
    catalog: Catalog, table: str, schema: str = MAIN_SCHEMA
) -> tuple[TableInfo, pa.Schema]:
    """Return a table that a trigger is to be on, and its columns.

    Raises:
        TableNotFoundError: There is none.
        ReadOnlyError: It is shared, and this is not the shared scope.
    """
    plain = table
    if isinstance(table, str) and "." in table:
        schema, _, plain = table.rpartition(".")
    with catalog.read() as reader:
        info = catalog.get(reader, plain, schema)
    catalog.refuse_shared(info)
    return info, table_schema(catalog, info)


def checked_actions(given: object) -> tuple[str, ...]:
    """Return what a trigger watches for.

    Raises:
        InvalidTriggerError: It is none of insert, update and delete.
    """
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple | set | frozenset) or not listed:
        msg = f"expected one or more of {ACTIONS}, got {given!r}"
        raise InvalidTriggerError(msg)
    wanted = {each.lower() if isinstance(each, str) else each for each in listed}
    unknown = wanted - set(ACTIONS)
    if unknown:
        msg = f"a trigger watches for {ACTIONS}, not for {min(map(str, unknown))!r}"
        raise InvalidTriggerError(msg)
    return tuple(each for each in ACTIONS if each in wanted)
