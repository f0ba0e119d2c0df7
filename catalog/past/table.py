"""A table at a moment: whether it was there, what it was, and what it held."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import WHOLE, entity_names
from affidavit.catalog.journal.policies import policies_told
from affidavit.catalog.model.definition import KINDS, MUTABLE, MutableDefinition, parse_definition
from affidavit.catalog.past.named import named
from affidavit.catalog.past.redo import redone, table_of
from affidavit.catalog.past.undo import ROW_COLUMNS, Undo
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import definition_of, read_table
from affidavit.catalog.values.arrays import nullable
from affidavit.errors import InvalidQueryError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import lance

    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.lake.vectors.datasets import Datasets
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.past.named import Named
    from affidavit.catalog.past.undo import Eras
    from affidavit.catalog.past.vantage import Vantage


ENTITIES_MAX: Final = 100
"""The events of so many rows are looked up by the journal's index, and those of more read."""

PART_LOOKED_UP: Final = 20
"""A part of the table's rows is looked up by key, and more than that read as a whole."""

_DEFINES: Final = (pc.field("field") == WHOLE) & pc.field("action").isin(["create", "alter"])
"""Which events define tables: few, and asked for again and again."""


@dataclass(frozen=True)  # without slots: what was found is kept
class PastTable:
    """A table at a moment. ``info`` is what it is now; ``None`` if it was dropped since."""

    vantage: Vantage
    journal: Journal
    table_id: str
    name: str
    info: TableInfo | None

    def policy(self) -> str | None:
        """Return the policy that a table had which was dropped since: what it held keeps it."""
        own = pc.field("table_id") == self.table_id
        return policies_told(self.journal, self.vantage.reader, own).get(self.table_id)

    # --- what it was ----------------------------------------------------------------------------

    def existed(self) -> bool:
        """Return whether the table was there at the moment.

        Raises:
            InvalidQueryError: It was, and what it held cannot be told any more.
        """
        if self.vantage.moment.version is not None:
            return self.info is not None
        told = self._definitions
        if told and "dimension" in json.loads(told[0][2]) and self.info is None:
            msg = f"vector table {self.name!r} was dropped, and its versions with it"
            raise InvalidQueryError(msg)
        if told and told[0][1] == "create":
            return self.vantage.is_past(self.journal, told[0][0])
        if self.info is None:
            msg = f"the journal does not have the beginning of table {self.name!r}"
            raise InvalidQueryError(msg)
        self._refuse_before_journal()
        if told and not self.vantage.is_past(self.journal, told[0][0]):
            msg = (
                f"table {self.name!r} is older than its journal, and was altered after that moment "
                f"by entry {told[0][0]}: what it was before is not written down"
            )
            raise InvalidQueryError(msg)
        return True

    @cached_property
    def _definitions(self) -> list[tuple[int, str, str]]:
        """The number, action and text of each event that defined the table."""
        names = ["seq", "action", "new_value", "table_id"]
        found = []
        for part in self.journal.events.scan_again(self.vantage.reader, names, _DEFINES):
            for event in part.filter(pc.field("table_id") == self.table_id).to_pylist():
                text = json.loads(event["new_value"] or "{}").get("definition")
                if text is not None:
                    found.append((event["seq"], event["action"], text))
        return found

    def eras(self) -> Eras:
        """Return from which event on the table had which definition."""
        eras = []
        for seq, _, text in self._definitions:
            definition = parse_definition(MUTABLE.name, text)
            assert isinstance(definition, MutableDefinition)
            eras.append((seq, definition))
        if not eras and self.info is not None:  # its creation was let go, and nothing came since
            return [(0, definition_of(self.info))]
        return eras

    def _refuse_before_journal(self) -> None:
        """Raise InvalidQueryError if the table is older than the journal, and the moment too."""
        first = self.journal.kept.first_seq(self.vantage.reader)
        if first is None or self.vantage.bound(self.journal) < first:
            began = "has none" if first is None else f"begins with entry {first}"
            msg = f"table {self.name!r} cannot be read as of then: its journal {began}"
            raise InvalidQueryError(msg)

    def _refuse_dropped(self) -> None:
        """Raise InvalidQueryError if events that the moment needs were let go."""
        seq = self.vantage.bound(self.journal)
        for segment in self.journal.kept.all_segments(self.vantage.reader):
            later = segment.last_seq > seq
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
        told = self._definitions
        if not told and self.info is not None:
            return definition_of(self.info)
        for at, _, text in told:
            if self.vantage.is_past(self.journal, at):
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
        if self.vantage.moment.version is not None:
            return self.vantage.moment.version
        found = self.vantage.events(
            self.journal, self.table_id, ["new_value"], self.vantage.until(self.journal)
        )
        for text in reversed(found["new_value"].to_pylist()):
            version = json.loads(text or "{}").get("version_after")
            if version is not None:
                return int(version)
        raise TableNotFoundError(self.name)

    def dataset(self, datasets: Datasets) -> lance.LanceDataset:
        """Return the vector table at its version of the moment."""
        assert self.info is not None
        return datasets.at(self.info, self.version())

    # --- what it held ---------------------------------------------------------------------------

    def state(
        self, columns: Sequence[str] | None = None, *, of: Sequence[str] | None = None
    ) -> tuple[pa.Array, pa.Table]:
        """Return the name of each row of the mutable table at the moment, and the rows.

        Args:
            columns: Only these columns.
            of: The names of the rows that are asked for; there may be others.
        """
        definition = self.definition()
        if self.info is None:
            names, rows = self._replayed(definition)
            return pa.array(names, pa.string()), rows if columns is None else rows.select(columns)
        schema = nullable(definition.schema)
        wanted = [schema.field(name) for name in (schema.names if columns is None else columns)]
        fields = {definition.stored[field.name]: field for field in wanted}
        return self._undone(fields, self._found(of))

    def _found(self, of: Sequence[str] | None) -> Named | None:
        """Return rows by their names, if they can be looked up by those: few, with equal names."""
        assert self.info is not None
        if not of or len(of) > max(ENTITIES_MAX, self.info.row_count // PART_LOOKED_UP):
            return None
        return named(self.info, of, [definition for _, definition in self.eras()])

    def _undone(
        self, fields: Mapping[str, pa.Field], of: Named | None = None
    ) -> tuple[pa.Array, pa.Table]:
        assert self.info is not None
        now, eras = definition_of(self.info), self.eras()
        called = {stored: name for name, stored in now.stored.items() if stored in fields}
        present = self._present([*dict.fromkeys([*now.primary_key, *called.values()])], of)
        names = entity_names(
            now, present, present[ROWID].to_pylist() if ROWID in present.schema.names else ()
        )
        current = present.select(list(called.values())).rename_columns(list(called))
        del present  # what names the rows may be large
        undo = Undo(names, fields, eras)
        # a table's own events are named by the table, and so may a row be
        rows = pc.field("action").isin(["insert", "delete", "update"])
        named = {
            name for _, each in eras for name, stored in each.stored.items() if stored in fields
        }
        if len(called) < len(now.stored):
            rows &= pc.field("field").isin([WHOLE, *named])
        entities = of.entities if of is not None and len(of.entities) <= ENTITIES_MAX else None
        if of is not None and entities is None:
            rows &= pc.field("entity_id").isin(of.entities)
        for part in self.vantage.parts(
            self.journal, self.table_id, ROW_COLUMNS, self.vantage.after(self.journal), which=rows,
            entities=entities,
        ):  # fmt: skip
            undo.add(part)
        found, then = undo.rows(current)
        return found, then.rename_columns([field.name for field in fields.values()])

    def _present(self, columns: Sequence[str], of: Named | None) -> pa.Table:
        """Return ``columns`` of the rows that there are now, and what names them."""
        assert self.info is not None
        if not definition_of(self.info).primary_key:
            columns = [ROWID, *columns]
        if of is not None:
            parts = [read_table(self.vantage.reader, self.info, columns, each) for each in of.keys]
            return pa.concat_tables(parts)
        cached = self.vantage.cached(self.info)
        if cached is not None and ROWID not in columns:
            return cached.select(columns)
        return read_table(self.vantage.reader, self.info, columns)

    def _replayed(self, definition: MutableDefinition) -> tuple[list[str], pa.Table]:
        """Return the rows of a table that is gone, from its events up to the moment."""
        names = ["seq", "entity_id", "field", "action", "new_value"]
        events = self.vantage.events(
            self.journal, self.table_id, names, self.vantage.until(self.journal)
        )
        rows = redone(events.to_pylist(), self.eras())
        return list(rows), table_of(list(rows.values()), definition)
