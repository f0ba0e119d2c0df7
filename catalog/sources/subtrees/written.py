"""A relation as one query in a database's SQL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from affidavit.catalog.sources.subtrees.aggregations import Aggregations
from affidavit.catalog.sources.subtrees.expressions import Call
from affidavit.catalog.sources.subtrees.relations import (
    FULL,
    HALVES,
    INNER,
    LEFT,
    NOT_IN,
    RIGHT,
    SEMI,
    Aggregate,
    Filter,
    First,
    Join,
    Project,
    Scan,
    UnionAll,
    Window,
)
from affidavit.catalog.sources.subtrees.speech import SPEECHES
from affidavit.catalog.sources.subtrees.values import OtherwiseError, Sql, Values

if TYPE_CHECKING:
    from affidavit.catalog.sources.databases.dialect import Dialect
    from affidavit.catalog.sources.databases.table import SourceColumn
    from affidavit.catalog.sources.subtrees.expressions import Expression
    from affidavit.catalog.sources.subtrees.relations import Relation, SortKey


@dataclass(frozen=True, slots=True)
class Block:
    """One SELECT that is not closed yet.

    Attributes:
        columns: What it selects.
        source: What stands behind FROM.
        where: Conditions.
        groups: What it is grouped by; ``None`` where it is not.
        tail: What stands behind: ORDER BY and LIMIT.
        is_join: Whether several tables stand behind FROM.
        is_windowed: Whether it selects what window functions give, which no condition may name.
    """

    columns: tuple[Sql, ...]
    source: str
    where: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    tail: str = ""
    is_join: bool = False
    is_windowed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether more can be joined to its FROM, and more conditions put behind WHERE."""
        return self.groups is None and not self.tail and not self.is_windowed

    @property
    def is_bare(self) -> bool:
        """Whether it selects columns of tables alone, and all rows."""
        return self.is_open and not self.where and all(each.is_plain for each in self.columns)

    def text(self) -> str:
        """Return it as SQL, with columns ``c0``, ``c1`` and so on."""
        shown = ", ".join(f"{each.text} AS c{at}" for at, each in enumerate(self.columns)) or "1"
        return f"SELECT {shown}{self.behind()}"

    def behind(self) -> str:
        """Return what stands behind what it selects."""
        text = f" FROM {self.source}"
        if self.where:
            text += f" WHERE {' AND '.join(self.where)}"
        if self.groups:
            text += f" GROUP BY {', '.join(self.groups)}"
        return f"{text} {self.tail}".rstrip()


class Writer:
    """Writes relations for one database.

    Args:
        dialect: How its filters are written.
        bad_is_null: Whether a value that cannot be given is NULL.
    """

    def __init__(self, dialect: Dialect, *, bad_is_null: bool = False) -> None:
        self._dialect = dialect
        self._speech = SPEECHES[dialect.name]
        self._bad_is_null = bad_is_null
        self._numbers = count()

    def query(self, relation: Relation) -> str:
        """Return a relation as a query, whose columns are called ``c0``, ``c1`` and so on.

        Raises:
            OtherwiseError: It would not surely give the same rows there.
        """
        return self._block(relation).text()

    def _values(self, *columns: Sql) -> Values:
        return Values(self._dialect, self._speech, columns, bad_is_null=self._bad_is_null)

    def _block(self, relation: Relation) -> Block:
        match relation:
            case Scan():
                return self._scan(relation)
            case Filter(input, condition):
                block = self._opened(self._block(input))
                test = self._values(*block.columns).condition(condition)
                return replace(block, where=(*block.where, test))
            case Project(input, expressions):
                block = self._block(input)
                block = self._closed(block) if block.tail else block
                values = self._values(*block.columns)
                return replace(block, columns=tuple(map(values.value, expressions)))
            case Join():
                return self._join(relation)
            case Aggregate():
                return self._aggregate(relation)
            case Window():
                return self._window(relation)
            case First(input, rows, order):
                block = self._block(input)
                block = self._closed(block) if block.tail or block.is_windowed else block
                return replace(block, tail=f"{self._order(block, order)}LIMIT {rows:d}")
            case UnionAll(inputs):
                return self._union(relation, inputs)

    def _scan(self, scan: Scan) -> Block:
        name = self._name()
        columns = scan.table.chosen(scan.columns)
        if not all(map(self._speech.has, columns)):
            raise OtherwiseError
        found = [self._column(each, name) for each in columns]
        return Block(tuple(found), f"{scan.table.quoted(self._dialect)} AS {name}")

    def _column(self, column: SourceColumn, table: str) -> Sql:
        """Return a column of a table, or its text where that is what is given of it."""
        quoted = self._dialect.quoted(column.name)
        full = f"{table}.{quoted}"
        if not column.expression:
            return Sql(full, column.type, column.orders, is_plain=True, can_fail=True)
        return Sql(f"({column.expression.replace(quoted, full)})", column.type, column.orders)

    def _name(self) -> str:
        return f"t{next(self._numbers)}"

    def _closed(self, block: Block) -> Block:
        """Return a block that selects all of another."""
        name = self._name()
        columns = tuple(
            replace(each, text=f"{name}.c{at}") for at, each in enumerate(block.columns)
        )
        return Block(columns, f"({block.text()}) AS {name}")

    def _opened(self, block: Block) -> Block:
        return block if block.is_open else self._closed(block)

    def _order(self, block: Block, order: tuple[SortKey, ...]) -> str:
        return f"ORDER BY {self._values(*block.columns).order(order)} " if order else ""

    # --- joins -----------------------------------------------------------------------------------

    def _join(self, join: Join) -> Block:
        if join.kind not in self._speech.joins:
            raise OtherwiseError
        left, right = self._block(join.left), self._block(join.right)
        if join.kind in HALVES:
            write = self._not_in if join.kind == NOT_IN else self._exists
            return write(join, self._opened(left), self._opened(right))
        left = self._side(left, may_miss=join.kind in {RIGHT, FULL})
        right = self._side(right, may_miss=join.kind in {LEFT, FULL})
        columns = (*left.columns, *right.columns)
        on = "1 = 1" if join.condition is None else self._values(*columns).condition(join.condition)
        beside = f"({right.source})" if right.is_join else right.source
        source = f"{left.source} {join.kind.upper()} JOIN {beside} ON {on}"
        if join.kind != INNER:  # columns of a side that is missed are NULL, and so no longer plain
            columns = tuple(replace(each, is_plain=False) for each in columns)
        return Block(columns, source, (*left.where, *right.where), is_join=True)

    def _side(self, block: Block, *, may_miss: bool) -> Block:
        """Return a side of a join, with its conditions within if it may be missed."""
        return self._closed(block) if may_miss and not block.is_bare else self._opened(block)

    def _exists(self, join: Join, left: Block, right: Block) -> Block:
        tests = list(right.where)
        if join.condition is not None:
            tests.append(self._values(*left.columns, *right.columns).condition(join.condition))
        inner = replace(right, columns=(), where=tuple(tests)).text()
        word = "EXISTS" if join.kind == SEMI else "NOT EXISTS"
        return replace(left, where=(*left.where, f"{word} ({inner})"))

    def _not_in(self, join: Join, left: Block, right: Block) -> Block:
        """Return the rows of the left side of which it is known that the right one has them not.

        Said as several EXISTS, since few databases look up what NOT IN lists by an index.
        """
        values = self._values(*left.columns, *right.columns)
        equal = join.condition
        assert isinstance(equal, Call)
        mine, other = equal.arguments

        def none(*tests: str) -> str:
            inner = replace(right, columns=(), where=(*right.where, *tests))
            return f"NOT EXISTS ({inner.text()})"

        def test(name: str, value: Expression) -> str:
            return values.condition(Call(name, (value,), equal.type))

        is_known = f"({test('is not null', mine)} OR {none()})"
        tests = (none(values.condition(equal)), none(test("is null", other)), is_known)
        return replace(left, where=(*left.where, *tests))

    # --- aggregates ------------------------------------------------------------------------------

    def _aggregate(self, aggregate: Aggregate) -> Block:
        block = self._opened(self._block(aggregate.input))
        values = self._values(*block.columns)
        keys = [values.value(each) for each in aggregate.keys]
        compared = [values.compared(each) for each in keys]
        calls = list(map(Aggregations(values).aggregation, aggregate.aggregations))
        is_bytes = self._speech.text.startswith("CAST")  # then a key itself is not what is grouped
        if is_bytes and any(a.text != b.text for a, b in zip(keys, compared, strict=True)):
            raise OtherwiseError
        columns = (*(replace(each, is_plain=False) for each in compared), *calls)
        groups = tuple(each.text for each in compared)
        return replace(block, columns=columns, groups=groups)

    def _window(self, window: Window) -> Block:
        block = self._opened(self._block(window.input))
        calls = map(Aggregations(self._values(*block.columns)).function, window.functions)
        return replace(block, columns=(*block.columns, *calls), is_windowed=True)

    def _union(self, union: UnionAll, inputs: tuple[Relation, ...]) -> Block:
        blocks = [self._block(each) for each in inputs]
        if any(block.tail for block in blocks):
            raise OtherwiseError
        if any(each.types != union.types for each in inputs):
            raise OtherwiseError
        name = self._name()
        text = " UNION ALL ".join(block.text() for block in blocks)
        columns = tuple(
            Sql(
                f"{name}.c{at}", kind, all(block.columns[at].orders for block in blocks),
                can_fail=any(block.columns[at].can_fail for block in blocks),
            )
            for at, kind in enumerate(union.types)
        )  # fmt: skip
        return Block(columns, f"({text}) AS {name}")
