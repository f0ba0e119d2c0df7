"""An optimised plan as a tree whose nodes know what they are to a database."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from datafusion.expr import Limit, Sort

from affidavit.engine.plan.cutting.reading.relations import Nodes, names_of
from affidavit.engine.plan.nodes.origins import scans_in, variant

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    import pyarrow as pa
    from datafusion import DataFrame, LogicalPlan, SessionContext

    from affidavit.catalog.sources.databases.dataset import SourceDataset
    from affidavit.catalog.sources.databases.moment import Moment
    from affidavit.catalog.sources.databases.table import SourceTable
    from affidavit.engine.plan.cutting.reading.relations import Part


class Node:
    """A node of a plan.

    Attributes:
        plan: The node.
        inputs: Those below it.
        schema: The columns that it gives.
        part: What it is to a database, if one may answer it.
        query: What the database is asked, if it was written: ``None`` if it cannot be.
        is_cut_again: Whether rows that a database gave for it are ordered and cut again here.
    """

    def __init__(self, plan: LogicalPlan, tree: Tree) -> None:
        self.plan = plan
        self.inputs = [Node(each, tree) for each in plan.inputs()]
        self.schema: pa.Schema = tree.schema(plan)
        self.part: Part | None = tree.nodes.part(plan, [each.part for each in self.inputs])
        self.query: SourceTable | None = None
        self.is_written = False
        self.is_cut_again = isinstance(variant(plan), Sort | Limit)

    def write(self, query: SourceTable | None) -> SourceTable | None:
        """Keep, and return, what a database is asked."""
        self.query, self.is_written = query, True
        return query


class Tree:
    """A plan.

    Args:
        plan: The plan, optimised.
        tables: The tables of databases that it may read.
        context: What planned it.
        has_anti: Whether NULL is like no other value in its anti joins.
    """

    def __init__(
        self,
        plan: LogicalPlan,
        tables: Mapping[tuple[str, str, str], SourceDataset],
        context: SessionContext,
        *,
        has_anti: bool,
    ) -> None:
        self.tables = tables
        self.context = context
        self.has_anti = has_anti
        self.nodes = Nodes(tables, self.schema, context, has_anti=has_anti)
        self.root = Node(plan, self)

    def frame(self, plan: LogicalPlan) -> DataFrame:
        """Return what runs a node as it is."""
        return self.context.create_dataframe_from_logical_plan(plan)

    def schema(self, plan: LogicalPlan) -> pa.Schema:
        """Return the columns that a node gives."""
        return self.frame(plan).schema()

    def names(self, node: Node) -> list[tuple[tuple[str, ...], str]]:
        """Return what each column of a node belongs to, and what it is called."""
        known = {".".join(each): each for each in self.tables}
        found: list[tuple[tuple[str, ...], str]] = []
        for full, name in zip(names_of(node.plan), node.schema.names, strict=True):
            relation = full.removesuffix(name).removesuffix(".")
            found.append((known.get(relation) or ((relation,) if relation else ()), name))
        return found

    def reach_moments(self, sent: Container[int]) -> None:
        """Have each database that is asked in several places be read at one moment by all of them.

        Args:
            sent: The nodes that are sent as a whole, by their identity.
        """
        for moment, count in Counter(self._moments(self.root, sent)).items():
            moment.reach(count)

    def _moments(self, node: Node, sent: Container[int]) -> Iterator[Moment]:
        names = (scan.to_variant().fqn() for scan in scans_in(node.plan))
        found = (self.tables[name].moment for name in names if name in self.tables)
        if id(node) in sent or not node.inputs:
            yield from islice(found, 1)
        for each in () if id(node) in sent else node.inputs:
            yield from self._moments(each, sent)
