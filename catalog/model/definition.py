"""What the catalog knows of a table: parsed from, and written to, one JSON text."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.model.rules import NO_RULES, Counter, Rules
from affidavit.catalog.store.protocol import Cover, StoreColumn, StoreIndex, StoreTable
from affidavit.catalog.values.codecs import codec_for
from affidavit.catalog.values.python.plain import Plain
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.values.codecs import Codec

ORDER_COLUMN_INDEX: Final = "order column"


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index of a mutable table."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False


DATA: Final = "data_"
"""How the store's tables of mutable ones begin; the identity follows."""


def data_table(
    table_id: str, columns: tuple[StoreColumn, ...] = (), indexes: tuple[StoreIndex, ...] = ()
) -> StoreTable:
    """Return the store's table of a mutable one."""
    return StoreTable(f"{DATA}{table_id}", columns, indexes, Cover(is_ordered=True))


@dataclass(frozen=True)  # without slots: what is derived is kept
class MutableDefinition:
    """A mutable table: its columns, and where the store keeps each.

    ``stored`` maps a column to its store column; ``defaults`` to an SQL expression. ``rules`` is
    what it asks of its rows beside types and keys.
    """

    table_id: str
    schema: pa.Schema
    stored: Mapping[str, str]
    primary_key: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()
    order_column: str | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    rules: Rules = NO_RULES

    @cached_property
    def types(self) -> dict[str, pa.DataType]:
        """The Arrow type of each column."""
        return dict(zip(self.schema.names, self.schema.types, strict=True))

    @cached_property
    def codecs(self) -> dict[str, Codec]:
        """How the values of each column are kept."""
        return {name: codec_for(kind) for name, kind in self.types.items()}

    @cached_property
    def plain(self) -> Plain | None:
        """How rows of plain values are read; ``None`` where more than keys and NOT NULL rules."""
        is_ruled = self.defaults or self.rules.are_of_rows or self.rules.foreign_keys
        if is_ruled or not self.primary_key:
            return None
        return Plain(self.schema, self.not_null)

    @cached_property
    def not_null(self) -> tuple[str, ...]:
        """The columns that refuse NULL."""
        return tuple(f.name for f in self.schema if not f.nullable or f.name in self.primary_key)

    @cached_property
    def unique_keys(self) -> tuple[tuple[str, ...], ...]:
        """The column sets that no two rows share."""
        keys = (self.primary_key,) if self.primary_key else ()
        return (*keys, *(index.columns for index in self.indexes if index.unique))

    def store_index(self, index: Index) -> StoreIndex:
        """Return how the store keeps ``index``; its name is unique in the whole store."""
        columns = tuple(self.stored[column] for column in index.columns)
        digest = base64.b16encode(index.name.encode()).decode()
        return StoreIndex(f"i_{self.table_id}_{digest}", columns, index.unique)

    @cached_property
    def store_table(self) -> StoreTable:
        """How the store keeps the table."""
        columns = tuple(
            StoreColumn(self.stored[f.name], codec_for(f.type, column=f.name).kind)
            for f in self.schema
        )
        indexes = [self.store_index(index) for index in self.indexes]
        if self.primary_key:
            indexes.insert(0, self.store_index(Index("primary key", self.primary_key, unique=True)))
        if self.order_column is not None:
            order = Index(ORDER_COLUMN_INDEX, (self.order_column,))
            indexes.append(self.store_index(order))
        return data_table(self.table_id, columns, tuple(indexes))

    def to_json(self) -> str:
        """Return the text that :func:`parse_definition` reads."""
        said = {
            "table_id": self.table_id,
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "stored": dict(self.stored),
            "primary_key": self.primary_key,
            "indexes": [asdict(index) for index in self.indexes],
            "order_column": self.order_column,
            "defaults": dict(self.defaults),
        }
        rules = self.rules.to_dict()
        if rules:  # else as it was before there were any
            said["rules"] = rules
        return json.dumps(said)

    @classmethod
    def from_json(cls, text: str) -> MutableDefinition:
        """Return the inverse of :meth:`to_json`."""
        raw: dict[str, Any] = json.loads(text)
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(raw["schema"])))
        return cls(
            table_id=raw["table_id"],
            schema=schema,
            stored=raw["stored"],
            primary_key=tuple(raw["primary_key"]),
            indexes=tuple(
                Index(i["name"], tuple(i["columns"]), i["unique"]) for i in raw["indexes"]
            ),
            order_column=raw["order_column"],
            defaults=raw["defaults"],
            rules=Rules.from_dict(raw.get("rules", {})),
        )


@dataclass(frozen=True, slots=True)
class VectorDefinition:
    """A vector table: a Lance dataset, and how it is searched.

    Attributes:
        table_id: Its own, and never another's.
        key: The column that identifies a row.
        vector: The column of vectors.
        metric: How they are compared.
        dimension: How many numbers each has.
        model: What encodes queries that are text.
        source: The column whose text that model makes vectors of, for rows that come without.
        since: The first version whose vectors are of that model, if it is not the table's first.
    """

    table_id: str
    key: str
    vector: str
    metric: str
    dimension: int
    model: str | None = None
    source: str | None = None
    since: int | None = None

    def model_at(self, version: int) -> str | None:
        """Return the model that made the vectors of a version, if it is known."""
        return self.model if self.since is None or version >= self.since else None

    def to_json(self) -> str:
        """Return the text that :func:`parse_definition` reads."""
        said = asdict(self)
        for name in ("source", "since"):  # without any it is as it was before there were such
            if said[name] is None:
                del said[name]
        return json.dumps(said)

    @classmethod
    def from_json(cls, text: str) -> VectorDefinition:
        """Return the inverse of :meth:`to_json`."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class SqlDefinition:
    """A view or an external table: the SQL text that makes it, planned anew when it is used.

    Attributes:
        table_id: Its own, and never another's.
        sql: The text.
        paths: Where its files are.
        reach: What whoever made it might reach, where that was limited.
    """

    table_id: str
    sql: str
    paths: tuple[str, ...] = ()
    reach: str | None = None

    def to_json(self) -> str:
        """Return the text that :func:`parse_definition` reads."""
        said = asdict(self)
        if self.reach is None:  # as it was before there were limits
            del said["reach"]
        return json.dumps(said)

    @classmethod
    def from_json(cls, text: str) -> SqlDefinition:
        """Return the inverse of :meth:`to_json`."""
        raw = json.loads(text)
        return cls(raw["table_id"], raw["sql"], tuple(raw["paths"]), raw.get("reach"))


@dataclass(frozen=True, slots=True)
class SequenceDefinition:
    """A sequence: numbers, each given once."""

    table_id: str
    counter: Counter

    def to_json(self) -> str:
        """Return the text that :func:`parse_definition` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SequenceDefinition:
        """Return the inverse of :meth:`to_json`."""
        raw = json.loads(text)
        return cls(raw["table_id"], Counter(**raw["counter"]))


Definition = MutableDefinition | VectorDefinition | SqlDefinition | SequenceDefinition


@dataclass(frozen=True, slots=True)
class TableKind:
    """What every table of one kind has in common.

    What is done with a table by its kind is a table of its own in the room that does it, by
    ``name``: how it is read, what the journal says of it. A new kind is a row here and in each.

    Attributes:
        name: What the store and ``system.tables`` call it.
        parse: Reads its definitions.
        word: What an error calls one.
        is_text: Whether it is an SQL text, planned anew by every statement that reads it.
        has_rows: Whether its rows are kept here: then it has a handle, a past, and triggers.
        has_versions: Whether each version stays readable as it was, and changes tell no rows.
    """

    name: str
    parse: Callable[[str], Definition]
    word: str = "table"
    is_text: bool = False
    has_rows: bool = False
    has_versions: bool = False


MUTABLE: Final = TableKind("mutable", MutableDefinition.from_json, has_rows=True)
VECTOR: Final = TableKind("vector", VectorDefinition.from_json, has_rows=True, has_versions=True)
VIEW: Final = TableKind("view", SqlDefinition.from_json, "view", is_text=True)
EXTERNAL: Final = TableKind("external", SqlDefinition.from_json, is_text=True)
SEQUENCE: Final = TableKind("sequence", SequenceDefinition.from_json, "sequence")
KINDS: Final[Mapping[str, TableKind]] = {
    kind.name: kind for kind in (MUTABLE, VECTOR, VIEW, EXTERNAL, SEQUENCE)
}


@lru_cache(maxsize=4096)
def parse_definition(kind: str, text: str) -> Definition:
    """Return the definition that ``text`` writes down; cached, since texts never change.

    Raises:
        StoreError: It writes down none: somebody else changed it.
    """
    try:
        return KINDS[kind].parse(text)
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException, OSError) as error:
        msg = f"the definition of a table in the store cannot be read: {error}"
        raise StoreError(msg) from error


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table as one snapshot sees it.

    ``data_version`` is the version of a vector table's rows that the snapshot sees; ``None`` for
    another table, and for one that was last written before this was kept. ``audit`` is the table's
    own policy, ``reads`` or ``rows``; ``None`` if it has none. ``next_rowid`` is the identity that
    the next row gets where no key names it; ``None`` where that was not kept yet.
    """

    tenant: str
    schema: str
    name: str
    kind: str
    definition: Definition
    version: int
    row_count: int
    data_version: int | None = None
    audit: str | None = None
    next_rowid: int | None = None

    @property
    def table_id(self) -> str:
        """The table's identity, which survives renaming."""
        return self.definition.table_id
