"""What databases are asked for a plan: a query a sub-tree, as a table that DataFusion scans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
from datafusion.catalog import Table
from datafusion.expr import Sort, TableScan

from affidavit.catalog.sources.databases.table import SourceColumn, SourceTable
from affidavit.catalog.sources.subtrees.expressions import class_of
from affidavit.catalog.sources.subtrees.speech import SPEECHES
from affidavit.catalog.sources.subtrees.values import OtherwiseError
from affidavit.catalog.sources.subtrees.written import Writer
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.engine.plan.cutting.answered import Answer
from affidavit.engine.plan.cutting.faults import tell
from affidavit.engine.plan.cutting.keys import Keys, below
from affidavit.engine.plan.cutting.naming import called
from affidavit.engine.plan.cutting.reading.relations import names_of
from affidavit.engine.plan.cutting.reading.worth import (
    compares_each,
    is_of_ends,
    keeps_many,
    may_grow,
    scans_of,
    works,
)
from affidavit.engine.plan.nodes.origins import scans_in, variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datafusion import DataFrame

    from affidavit.engine.plan.cutting.reading.relations import Part
    from affidavit.engine.plan.cutting.tree import Node, Tree
    from affidavit.engine.scans.snapshot import Snapshot
MANY: Final = 1_000_000
"""So many rows a table of a database is taken to have that does not say."""


class Queries:
    """What databases are asked for one plan.

    Args:
        tree: The plan.
        snapshot: What it reads.
    """

    def __init__(self, tree: Tree, snapshot: Snapshot) -> None:
        self._tree = tree
        self._snapshot = snapshot

    def count(self, name: tuple[str | None, str | None, str]) -> int | None:
        """Return about how many rows a table has, by the parts of its name, if that is known."""
        catalog, schema, table = name
        if catalog in {None, CATALOG}:
            info = self._snapshot.reads.get((schema or MAIN_SCHEMA, table))
            return None if info is None else info.row_count
        dataset = self._tree.tables.get((catalog or "", schema or "", table))
        if dataset is None:
            return None
        return MANY if dataset.table.rows is None else dataset.table.rows

    def sent(self, node: Node, keys: Sequence[Keys]) -> DataFrame | None:
        """Return what a database answers of a sub-tree; ``None`` if it is not asked.

        A table is asked for some of its rows where these ``keys`` alone matter.
        """
        part = node.part
        if part is None or (part.is_ordered and not isinstance(variant(node.plan), Sort)):
            return None
        is_asked = _is_worth(part) or (keys and isinstance(variant(node.plan), TableScan))
        query = self._query(node, part) if is_asked else None
        if query is None:
            return None
        tables = (self._tree.tables[scan.to_variant().fqn()] for scan in scans_in(node.plan))
        told = [each.moment_told for each in tables]
        answer = Answer(
            part.database, query, node.schema, self._snapshot, self._tree.frame(node.plan), told,
            condition=_condition(part, query, keys),
        )  # fmt: skip
        return self._named(self._tree.context.read_table(Table(answer)), node)

    def reaches(self, node: Node, at: int) -> bool:
        """Return whether a database can be asked for keys of a column of a node."""
        part = node.part
        if part is not None and (_is_worth(part) or isinstance(variant(node.plan), TableScan)):
            return not part.is_ordered and self._query(node, part) is not None
        places = below(node.plan, [Keys(at, pa.array([], pa.int64()))])
        return any(
            self.reaches(each, key.at)
            for each, keys in zip(node.inputs, places, strict=True)
            for key in keys
        )

    def kept(self, node: Node, rows: Sequence[pa.RecordBatch]) -> DataFrame | None:
        """Return rows that a node gave as a frame of its columns; ``None`` if there is none."""
        schema = pa.schema([each.with_name(f"c{at}") for at, each in enumerate(node.schema)])
        batches = [pa.RecordBatch.from_arrays(each.columns, schema=schema) for each in rows]
        empty = pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)
        return self._named(self._tree.context.read_batches(batches or [empty]), node)

    def _named(self, frame: DataFrame, node: Node) -> DataFrame | None:
        """Return a frame with the columns of a node, as it calls them, if they can be called so."""
        try:
            made = called(frame, self._tree.names(node), self._tree.context)
            is_same = names_of(made.logical_plan()) == names_of(node.plan)
        except Exception as error:  # noqa: BLE001 - of many kinds: then nothing is cut here
            tell(self._snapshot, "columns of an answer could not be called as they were", error)
            return None
        return made if is_same else None

    def _query(self, node: Node, part: Part) -> SourceTable | None:
        """Return what a database is asked for a sub-tree; ``None`` if it cannot be asked."""
        if node.is_written:
            return node.query
        database = part.database
        dialect = database.driver.dialect
        if not all(class_of(each) in SPEECHES[dialect.name].classes for each in node.schema.types):
            return node.write(None)
        try:
            text = Writer(dialect, bad_is_null=database.bad_is_null).query(part.relation)
        except OtherwiseError:
            return node.write(None)
        columns = tuple(SourceColumn(f"c{at}", f.type, "") for at, f in enumerate(node.schema))
        bases = {
            (each.table.schema, each.table.name, each.columns): database.select(
                each.table, each.columns, None
            ).empty
            for each in scans_of(part.relation)
        }
        return node.write(
            SourceTable(
                "", "sub_tree", columns, query=text, is_written=True, bases=tuple(bases.values())
            )
        )


def _is_worth(part: Part) -> bool:
    relation, speech = part.relation, SPEECHES[part.database.driver.dialect.name]
    if not works(relation) or may_grow(relation):
        return False
    if not part.database.driver.dialect.typed and is_of_ends(relation):
        return False
    if speech.is_by_rows and keeps_many(relation):
        return False
    return not (speech.needs_key and compares_each(relation))


def _condition(part: Part, query: SourceTable, keys: Sequence[Keys]) -> str:
    """Return the condition, as SQL, that rows have one of some keys."""
    dialect = part.database.driver.dialect
    written: list[str] = []
    for each in keys:
        column = query.columns[each.at]
        whole = each.integers(column.type)
        if whole is not None:
            written.append(dialect.among(column.name, whole))
        elif (asked := each.of(column)) is not None:
            written += dialect.conditions(asked, query.compared)
    return " AND ".join(f"({each})" for each in written if each)
