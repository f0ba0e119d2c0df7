"""Nodes of an optimised plan, read as relations that one database may answer.

Rules:
    - What a node asks of its input is read from the node, never from its text, but for what
      datafusion-python gives no way to: there, what the text says must be all that there is.
    - The types that are worked out are compared with those that DataFusion tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from datafusion.expr import (
    Aggregate as AggregateNode,
)
from datafusion.expr import (
    Filter as FilterNode,
)
from datafusion.expr import (
    Join as JoinNode,
)
from datafusion.expr import (
    Limit as LimitNode,
)
from datafusion.expr import (
    Projection,
    Sort,
    SubqueryAlias,
    TableScan,
    Union,
    WindowExpr,
)

from affidavit.catalog.sources.subtrees.expressions import Call, ColumnAt, Constant, columns_of
from affidavit.catalog.sources.subtrees.relations import (
    ANTI,
    NOT_IN,
    Aggregate,
    Filter,
    First,
    Join,
    Over,
    Project,
    Scan,
    UnionAll,
    Window,
    WindowFunction,
)
from affidavit.engine.plan.cutting.reading.expressions import Expressions, UnreadError
from affidavit.engine.plan.cutting.reading.functions import (
    aggregation_of,
    sort_keys,
    window_function_of,
)
from affidavit.engine.plan.cutting.reading.worth import is_repeated
from affidavit.engine.plan.nodes.origins import variant
from affidavit.engine.plan.nodes.tops import ROWS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from datafusion import LogicalPlan, SessionContext

    from affidavit.catalog.sources.databases.database import Database
    from affidavit.catalog.sources.databases.dataset import SourceDataset
    from affidavit.catalog.sources.databases.table import SourceTable
    from affidavit.catalog.sources.subtrees.expressions import Expression
    from affidavit.catalog.sources.subtrees.relations import Relation

    Key = tuple[str, str, str]

_KINDS: Final = {
    "Inner": "inner", "Left": "left", "Right": "right", "Full": "full", "LeftSemi": "semi",
    "LeftAnti": "anti",
}  # fmt: skip
APART: Final = "__apart"
"""What a list behind NOT IN is called, as statements are written before they are planned."""

_LIMIT: Final = re.compile(r"Limit: skip=(\d+), fetch=(\d+)")
_TRUTH: Final = pa.bool_()


@dataclass(frozen=True, slots=True)
class Part:
    """A sub-tree of a plan that one database may answer.

    Attributes:
        database: The database.
        relation: What it is asked for.
        is_ordered: Whether the order of its rows matters.
    """

    database: Database
    relation: Relation
    is_ordered: bool = False


class Nodes:
    """Reads the nodes of one plan.

    Args:
        tables: The tables of databases that it may read.
        schema: Returns what DataFusion says of the columns that a node gives.
        context: What planned it.
        has_anti: Whether its anti joins are such that NULL is like no other value.
    """

    def __init__(
        self,
        tables: Mapping[Key, SourceDataset],
        schema: Callable[[LogicalPlan], pa.Schema],
        context: SessionContext,
        *,
        has_anti: bool,
    ) -> None:
        self._tables = tables
        self._schema = schema
        self._context = context
        self._has_anti = has_anti

    def part(self, node: LogicalPlan, inputs: Sequence[Part | None]) -> Part | None:
        """Return what a node is, of what its inputs are; ``None`` if no database may answer it."""
        try:
            found = self._part(node, inputs)
        except UnreadError:
            return None
        told = self._schema(node).types
        return found if found is not None and told == list(found.relation.types) else None

    def _part(self, node: LogicalPlan, inputs: Sequence[Part | None]) -> Part | None:
        kind = variant(node)
        if isinstance(kind, TableScan):
            return self._scan(kind)
        parts = [each for each in inputs if each is not None]
        if not parts or len(parts) < len(inputs):
            return None
        if any(each.database is not parts[0].database for each in parts):
            return None
        relations = [each.relation for each in parts]
        read = _READ.get(type(kind))
        if read is None:
            return None
        made = read(self, node, kind, relations)
        if made is None or (isinstance(made, Window) and parts[0].is_ordered):
            return None
        keeps = isinstance(kind, Projection | SubqueryAlias | FilterNode)
        is_ordered = isinstance(kind, Sort) or (keeps and parts[0].is_ordered)
        return Part(parts[0].database, made, is_ordered)

    def _scan(self, scan: TableScan) -> Part | None:
        dataset = self._tables.get(scan.fqn())
        if dataset is None:
            return None
        relation = _scanned(scan, dataset.table)
        if scan.fetch() is not None:
            relation = First(relation, scan.fetch())
        return Part(dataset.database, relation)

    def _filter(self, node: LogicalPlan, kind: FilterNode, inputs: Sequence[Relation]) -> Relation:
        return Filter(inputs[0], self._over(node.inputs()[0]).read(kind.predicate()))

    def _project(self, node: LogicalPlan, kind: Projection, inputs: Sequence[Relation]) -> Relation:
        over = self._over(node.inputs()[0])
        made = tuple(map(over.read, kind.projections()))
        return Project(_unnumbered(inputs[0], made), made)

    def _alias(self, _: LogicalPlan, __: SubqueryAlias, inputs: Sequence[Relation]) -> Relation:
        return inputs[0]

    def _join(
        self, node: LogicalPlan, kind: JoinNode, inputs: Sequence[Relation]
    ) -> Relation | None:
        name = _KINDS.get(str(kind.join_type()))
        if name is None or (name == ANTI and not self._has_anti):
            return None
        if is_not_in(node):
            name = NOT_IN
            if not is_repeated(inputs[1]):
                return None
        left, right = node.inputs()
        over = self._over(left, right)
        sign = "is not distinct from" if kind.null_equals_null() else "="
        pairs = [(over.read(a), over.read(b)) for a, b in kind.on()]
        tests: list[Expression] = [Call(sign, pair, _TRUTH) for pair in pairs]
        if kind.filter() is not None:
            tests.append(over.read(kind.filter()))
        return Join(inputs[0], inputs[1], name, _all(tests))

    def _aggregate(
        self, node: LogicalPlan, kind: AggregateNode, inputs: Sequence[Relation]
    ) -> Relation:
        over = self._over(node.inputs()[0])
        keys = tuple(map(over.read, kind.group_by_exprs()))
        types = self._schema(node).types[len(keys) :]
        calls = [
            aggregation_of(each, over, of, self._context)
            for each, of in zip(kind.aggregate_exprs(), types, strict=True)
        ]
        return Aggregate(inputs[0], keys, tuple(calls))

    def _window(self, node: LogicalPlan, kind: WindowExpr, inputs: Sequence[Relation]) -> Relation:
        over, raw = self._over(node.inputs()[0]), kind.get_window_expr()
        types = self._schema(node).types[-len(raw) :]
        calls = [
            window_function_of(kind, each, over, of) for each, of in zip(raw, types, strict=True)
        ]
        return Window(inputs[0], tuple(calls))

    def _sort(self, node: LogicalPlan, kind: Sort, inputs: Sequence[Relation]) -> Relation | None:
        rows = kind.get_fetch_val()
        if rows is None or rows > ROWS_MAX:
            return None
        over = self._over(node.inputs()[0])
        return First(inputs[0], rows, sort_keys(kind.sort_exprs(), over))

    def _limit(
        self, node: LogicalPlan, _: LimitNode, inputs: Sequence[Relation]
    ) -> Relation | None:
        rows = limit_of(node)
        if rows is None or rows[0] or rows[1] > ROWS_MAX:
            return None
        return First(inputs[0], rows[1])

    def _union(self, _: LogicalPlan, __: Union, inputs: Sequence[Relation]) -> Relation:
        return UnionAll(tuple(inputs))

    def _over(self, *nodes: LogicalPlan) -> Expressions:
        """Return what reads expressions over the columns of nodes."""
        names: list[str] = []
        types: list[pa.DataType] = []
        for node in nodes:
            names += names_of(node)
            types += self._schema(node).types
        return Expressions(names, types)


_READ: Final[Mapping[type, Callable[..., Relation | None]]] = {
    FilterNode: Nodes._filter, Projection: Nodes._project, SubqueryAlias: Nodes._alias,  # noqa: SLF001 - its own
    JoinNode: Nodes._join, AggregateNode: Nodes._aggregate, Sort: Nodes._sort,  # noqa: SLF001 - as above
    LimitNode: Nodes._limit, Union: Nodes._union, WindowExpr: Nodes._window,  # noqa: SLF001 - as above
}  # fmt: skip


def is_not_in(node: LogicalPlan) -> bool:
    """Return whether a join is what a NOT IN became, as statements are written here."""
    join = variant(node)
    if not isinstance(join, JoinNode) or str(join.join_type()) != "LeftAnti":
        return False
    listed = node.inputs()[1]
    if not isinstance(variant(listed), SubqueryAlias) or join.filter() is not None:
        return False
    (named,) = (variant(each) for each in listed.inputs())
    return isinstance(named, SubqueryAlias) and named.alias() == APART and len(join.on()) == 1


def _unnumbered(relation: Relation, wanted: Sequence[Expression]) -> Relation:
    """Return the rows of a relation without numbers that all of them have, and nobody wants."""
    match relation:
        case Filter(
            Window(inner, (WindowFunction("row_number", over=Over(partition=(), order=())),)),
            Call(">", (ColumnAt(at), Constant(value))),
        ) if at == len(inner.types) and value.as_py() == 0:
            if not any(at in columns_of(each) for each in wanted):
                return inner
    return relation


def names_of(node: LogicalPlan) -> list[str]:
    """Return what the columns that a node gives are called, with what they belong to."""
    return list(node.to_variant().schema().field_names())


def limit_of(node: LogicalPlan) -> tuple[int, int] | None:
    """Return how many rows a LIMIT leaves out, and how many it lets through."""
    found = _LIMIT.fullmatch(node.display())
    return None if found is None else (int(found[1]), int(found[2]))


def _scanned(scan: TableScan, table: SourceTable) -> Relation:
    """Return the columns of a table that a scan gives, of the rows that it gives."""
    wanted = [name for _, name in scan.projection()]
    if not scan.filters():
        return Scan(table, tuple(wanted))
    relation = ".".join(filter(None, scan.fqn()))
    schema = table.arrow_schema
    reading = Expressions([f"{relation}.{name}" for name in schema.names], schema.types)
    tests = [reading.read(each) for each in scan.filters()]
    asked = {schema.names[at] for each in tests for at in columns_of(each)}
    names = [*wanted, *sorted(asked.difference(wanted))]
    here = Expressions(
        [f"{relation}.{name}" for name in names], [schema.field(n).type for n in names]
    )
    condition = _all([here.read(each) for each in scan.filters()])
    assert condition is not None
    filtered = Filter(Scan(table, tuple(names)), condition)
    if len(names) == len(wanted):
        return filtered
    kept = tuple(ColumnAt(at, schema.field(name).type) for at, name in enumerate(wanted))
    return Project(filtered, kept)


def _all(tests: Sequence[Expression]) -> Expression | None:
    """Return what holds where all of several conditions do."""
    if len(tests) < 2:  # noqa: PLR2004 - one needs no AND
        return tests[0] if tests else None
    return Call("and", tuple(tests), _TRUTH)
