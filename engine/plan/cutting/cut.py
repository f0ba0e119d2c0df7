"""A statement's plan with the sub-trees cut out of it that databases answer.

The plan is taken as DataFusion would run it: its types are written out there, and queries within
expressions are joins. The largest sub-trees whose tables belong to one database, and that mean
there what they mean here, are sent as one query each; the rest of the plan is over what comes.

Rules:
    - What fails there is answered here, by the sub-tree as it was, unless rows have come already.
    - Where the order of rows matters, they are ordered again here.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow.types as pt

from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.cutting.faults import LOGGER, tell
from affidavit.engine.plan.cutting.keys import (
    INTEGERS_MAX,
    Keys,
    below,
    distinct,
    is_worth,
    pairs_of,
)
from affidavit.engine.plan.cutting.queries import Queries
from affidavit.engine.plan.cutting.reading.relations import is_not_in
from affidavit.engine.plan.cutting.scalars import joined
from affidavit.engine.plan.cutting.spine import with_inputs
from affidavit.engine.plan.cutting.tree import Node, Tree
from affidavit.engine.plan.mending.rights import is_filtered_by_name
from affidavit.engine.plan.nodes.origins import nodes_in, variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa
    from datafusion import DataFrame, LogicalPlan, SessionContext

    from affidavit.engine.plan.cutting.keys import Pair
    from affidavit.engine.scans.snapshot import Snapshot

Few: TypeAlias = "Callable[[DataFrame], Sequence[pa.RecordBatch] | None]"
"""Runs a plan, and returns its rows unless they are too many."""

_log = logging.getLogger(LOGGER)

_WORTH: Final = re.compile(
    r"^ *(?:[A-Z]\w+ )?(?:Join|Aggregate|Distinct|WindowAggr)\b", re.MULTILINE
)
_NOT_IN: Final = " NOT IN (<subquery>)"
_OTHER_NOT_IN: Final = re.compile(r"\bNOT\b[^\n]*\bIN \(<subquery>\)")


@dataclass(frozen=True, slots=True)
class Cut:
    """A plan whose sub-trees databases answer.

    Attributes:
        frame: What is to run; ``None`` for the plan as it was.
        keyed: Returns what is to run instead, once small sides of joins have run; ``None`` where
            there are none.
    """

    frame: DataFrame | None = None
    keyed: Callable[[Few], DataFrame | None] | None = None


NOTHING: Final = Cut()


def cut(
    frame: DataFrame,
    optimised: Callable[[], LogicalPlan],
    snapshot: Snapshot,
    context: SessionContext,
) -> Cut:
    """Return a plan whose sub-trees databases answer, as far as they are to.

    Args:
        frame: The plan.
        optimised: Returns it as DataFusion would run it.
        snapshot: What it reads.
        context: What planned it.
    """
    if not snapshot.databases:
        return NOTHING
    with held():
        text = frame.logical_plan().display_indent()
        if not _WORTH.search(text):
            return NOTHING
        try:
            plan = joined(frame, optimised(), context)
        except Exception as error:  # noqa: BLE001 - of many kinds: running the plan raises it again
            _log.info("a plan that fails is not cut: %s", type(error).__name__)
            return NOTHING
        if is_filtered_by_name(optimised(), context):  # which frames of ours would not mend
            return NOTHING
        has_anti = not _OTHER_NOT_IN.search(text.replace(_NOT_IN, ""))
        has_anti &= text.count(_NOT_IN) == sum(map(is_not_in, nodes_in(plan)))
        tree = Tree(plan, snapshot.databases, context, has_anti=has_anti)
        cutting = _Cutting(tree, Queries(tree, snapshot), snapshot)
        made = cutting.made(tree.root)
        if not cutting.has_pairs:
            return Cut(made)
        tree.reach_moments(cutting.sent)  # a side that runs first knows nothing of the rest
        return Cut(made, cutting.keyed)


class _Cutting:
    """One plan that is cut.

    Attributes:
        has_pairs: Whether a small side of a join is to run first.
        sent: The nodes that databases are asked, by their identity.
    """

    def __init__(self, tree: Tree, queries: Queries, snapshot: Snapshot) -> None:
        self._tree = tree
        self._snapshot = snapshot
        self._queries = queries
        self._few: Few | None = None
        self._made: dict[int, DataFrame | None] = {}
        self._rows: dict[int, Sequence[pa.RecordBatch] | None] = {}
        self.has_pairs = False
        self.sent: set[int] = set()

    def keyed(self, few: Few) -> DataFrame | None:
        """Return the plan with small sides of joins run, and their keys sent."""
        self._few = few
        self._made.clear()
        return self.made(self._tree.root)

    def made(self, node: Node, keys: Sequence[Keys] = ()) -> DataFrame | None:
        """Return a node over what databases answer of it; ``None`` where they answer nothing.

        Of its rows those alone matter that have one of ``keys``.
        """
        if keys:
            return self._over(node, keys)
        if id(node) not in self._made:
            self._made[id(node)] = self._over(node, ())
        return self._made[id(node)]

    def _over(self, node: Node, keys: Sequence[Keys]) -> DataFrame | None:
        with held():
            sent = self._queries.sent(node, keys)
        if sent is not None:
            self.sent.add(id(node))
            return self._anew(node, [sent]) if node.is_cut_again else sent
        wanted = below(node.plan, keys)
        found = self._joined(node, wanted)
        if found is None:
            found = [self.made(each, of) for each, of in zip(node.inputs, wanted, strict=True)]
        if all(each is None for each in found):
            return None
        return self._anew(node, [
            self._tree.frame(of.plan) if each is None else each
            for of, each in zip(node.inputs, found, strict=True)
        ])  # fmt: skip

    def _anew(self, node: Node, inputs: Sequence[DataFrame]) -> DataFrame | None:
        """Return a node over other inputs; ``None`` if that would give something else."""
        try:
            with held():
                made = with_inputs(node.plan, inputs, has_anti=self._tree.has_anti)
        except Exception as error:  # noqa: BLE001 - of many kinds: then nothing is cut below it
            what = f"{type(variant(node.plan)).__name__} could not be made anew over answers"
            tell(self._snapshot, what, error)
            return None
        is_same = made is not None and made.schema().equals(node.schema)
        return made if is_same else None

    def _joined(
        self, node: Node, wanted: Sequence[Sequence[Keys]]
    ) -> list[DataFrame | None] | None:
        """Return the sides of a join, of which one was run, and the other is asked for its keys."""
        for pair in pairs_of(node.plan):
            small, large = node.inputs[pair.small], node.inputs[pair.large]
            is_asked = bool(wanted[pair.small])
            if not is_worth(small.plan, large.plan, self._queries.count, is_asked=is_asked):
                continue
            if not self._queries.reaches(large, pair.at):
                continue
            self.has_pairs = True
            if self._few is None:
                return None
            found = self._run(pair, small, large, wanted)
            if found is not None:
                return found
        return None

    def _run(
        self, pair: Pair, small: Node, large: Node, wanted: Sequence[Sequence[Keys]]
    ) -> list[DataFrame | None] | None:
        assert self._few is not None
        rows = self._rows_of(small, wanted[pair.small])
        if rows is None:
            return None
        kept = self._queries.kept(small, rows)
        if kept is None:
            return None
        values = self._values(pair, small, rows, kept, large.schema.field(pair.at).type)
        keys = list(wanted[pair.large])
        if values is not None and len(values) <= INTEGERS_MAX:
            keys.append(Keys(pair.at, values))
        sides: list[DataFrame | None] = [kept, kept]
        sides[pair.large] = self.made(large, keys)
        if sides[pair.large] is None:
            sides[pair.large] = self._tree.frame(large.plan)
        return sides

    def _values(
        self,
        pair: Pair,
        small: Node,
        rows: Sequence[pa.RecordBatch],
        kept: DataFrame,
        kind: pa.DataType,
    ) -> pa.Array | None:
        """Return the keys of a small side, each once; ``None`` if they cannot be asked for."""
        at = pair.key_at
        if at is not None and pt.is_integer(small.schema.field(at).type) and pt.is_integer(kind):
            return distinct([each.column(at) for each in rows], kind)
        assert self._few is not None
        found = self._few(kept.select(pair.key))
        return None if found is None else distinct([each.column(0) for each in found], kind)

    def _rows_of(self, node: Node, keys: Sequence[Keys]) -> Sequence[pa.RecordBatch] | None:
        """Return the rows of a node, which runs once; ``None`` if they are too many."""
        assert self._few is not None
        if keys or id(node) not in self._rows:
            made = self.made(node, keys)
            self._rows[id(node)] = self._few(self._tree.frame(node.plan) if made is None else made)
        return self._rows[id(node)]
