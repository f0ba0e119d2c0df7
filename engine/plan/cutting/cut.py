"""A statement's plan with the sub-trees cut out of it that databases answer.

The plan is taken as DataFusion would run it: its types are written out there, and queries within
expressions are joins. The largest sub-trees whose tables belong to one database, and that mean
there what they mean here, are sent as one query each; the rest of the plan is over what comes.

Rules:
    - What fails there is answered here, by the sub-tree as it was, unless rows have come already.
    - Where the order of rows matters, they are ordered again here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from datafusion.catalog import Table
from datafusion.expr import Limit, Sort, TableScan

from affidavit.catalog.sources.databases.table import SourceColumn, SourceTable
from affidavit.catalog.sources.subtrees.expressions import class_of
from affidavit.catalog.sources.subtrees.speech import SPEECHES
from affidavit.catalog.sources.subtrees.values import OtherwiseError
from affidavit.catalog.sources.subtrees.written import Writer
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.cutting.answered import Answer
from affidavit.engine.plan.cutting.naming import called
from affidavit.engine.plan.cutting.relations import Nodes, names_of
from affidavit.engine.plan.cutting.spine import with_inputs
from affidavit.engine.plan.cutting.worth import compares_each, may_grow, works
from affidavit.engine.plan.nodes.origins import variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datafusion import DataFrame, LogicalPlan, SessionContext

    from affidavit.engine.plan.cutting.relations import Part
    from affidavit.engine.scans.snapshot import Snapshot

_WORTH: Final = re.compile(r"^ *(?:[A-Z]\w+ )?(?:Join|Aggregate)\b", re.MULTILINE)
_NOT_IN: Final = re.compile(r"\bNOT\b[^\n]*\bIN \(<subquery>\)")


def cut(frame: DataFrame, snapshot: Snapshot, context: SessionContext) -> DataFrame | None:
    """Return a plan whose sub-trees databases answer; ``None`` where there is none to be sent.

    Args:
        frame: The plan.
        snapshot: What it reads.
        context: What planned it.
    """
    if not snapshot.databases:
        return None
    with held():
        text = frame.logical_plan().display_indent()
        if not _WORTH.search(text):
            return None
        try:
            plan = frame.optimized_logical_plan()
        except Exception:  # noqa: BLE001 - of many kinds: running the plan raises it again
            return None
        return _Cutting(snapshot, context, has_anti=not _NOT_IN.search(text)).cut(plan)


def _tables_of(plan: LogicalPlan) -> Iterator[tuple[str, str, str]]:
    """Yield the tables of a database that a sub-tree reads."""
    node = variant(plan)
    if isinstance(node, TableScan):
        yield node.fqn()
    for each in plan.inputs():
        yield from _tables_of(each)


class _Node:
    """A node of a plan, and what it is to a database."""

    def __init__(self, plan: LogicalPlan, nodes: Nodes) -> None:
        self.plan = plan
        self.inputs = [_Node(each, nodes) for each in plan.inputs()]
        self.part: Part | None = nodes.part(plan, [each.part for each in self.inputs])


class _Cutting:
    """One plan that is cut."""

    def __init__(self, snapshot: Snapshot, context: SessionContext, *, has_anti: bool) -> None:
        self._snapshot = snapshot
        self._context = context
        self._has_anti = has_anti
        self._nodes = Nodes(snapshot.databases, self._schema, has_anti=has_anti)

    def cut(self, plan: LogicalPlan) -> DataFrame | None:
        """Return a plan with sub-trees cut out; ``None`` if there are none."""
        return self._cut(_Node(plan, self._nodes))

    def _frame(self, plan: LogicalPlan) -> DataFrame:
        return self._context.create_dataframe_from_logical_plan(plan)

    def _schema(self, plan: LogicalPlan) -> pa.Schema:
        return self._frame(plan).schema()

    def _cut(self, node: _Node) -> DataFrame | None:
        """Return a node over what databases answer of it; ``None`` where they answer nothing."""
        part = node.part
        if part is not None and (not part.is_ordered or isinstance(variant(node.plan), Sort)):
            sent = self._sent(node.plan, part)
            if sent is not None:
                if not isinstance(variant(node.plan), Sort | Limit):
                    return sent
                return self._anew(node, [sent])
        found = [self._cut(each) for each in node.inputs]
        if all(each is None for each in found):
            return None
        inputs = [
            self._frame(below.plan) if each is None else each
            for below, each in zip(node.inputs, found, strict=True)
        ]
        return self._anew(node, inputs)

    def _anew(self, node: _Node, inputs: Sequence[DataFrame]) -> DataFrame | None:
        """Return a node over other inputs; ``None`` if that would give something else."""
        try:
            made = with_inputs(node.plan, inputs, has_anti=self._has_anti)
        except Exception:  # noqa: BLE001 - of many kinds: then nothing is cut below it
            return None
        is_same = made is not None and made.schema().equals(self._schema(node.plan))
        return made if is_same else None

    def _sent(self, plan: LogicalPlan, part: Part) -> DataFrame | None:
        """Return what a database answers of a sub-tree; ``None`` if it is not asked."""
        database, relation = part.database, part.relation
        dialect = database.driver.dialect
        speech = SPEECHES[dialect.name]
        if not works(relation) or may_grow(relation):
            return None
        if speech.needs_key and compares_each(relation):
            return None
        schema = self._schema(plan)
        if not all(class_of(each) in speech.classes for each in schema.types):
            return None
        try:
            query = Writer(dialect, bad_is_null=database.bad_is_null).query(relation)
        except OtherwiseError:
            return None
        columns = [SourceColumn(f"c{at}", each.type, "") for at, each in enumerate(schema)]
        table = SourceTable("", "sub_tree", tuple(columns), query=query, is_written=True)
        told = [self._snapshot.databases[each].moment_told for each in _tables_of(plan)]
        answer = Answer(database, table, schema, self._snapshot, self._frame(plan), told)
        frame = called(
            self._context.read_table(Table(answer)), self._named(plan, schema), self._context
        )
        return frame if names_of(frame.logical_plan()) == names_of(plan) else None

    def _named(
        self, plan: LogicalPlan, schema: pa.Schema
    ) -> list[tuple[tuple[str, ...], str]]:
        """Return what each column of a node belongs to, and what it is called."""
        known = {".".join(each): each for each in self._snapshot.databases}
        found = []
        for full, name in zip(names_of(plan), schema.names, strict=True):
            relation = full.removesuffix(name).removesuffix(".")
            found.append((known.get(relation) or ((relation,) if relation else ()), name))
        return found
