"""What is derived of a ledger's entries and kept beside them: nodes, and the index of rows.

Neither is what was signed: one that is wrong says nothing of the entries.
"""

from __future__ import annotations

from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.ledger.entry import rows_given
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.store.protocol import ROWID, columns_of, own
from affidavit.catalog.store.tables import NODES, RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.merkle import Node
    from affidavit.catalog.store.protocol import Reader

RESULTS_READ_AT_ONCE: Final = 50_000


class KeptNodes:
    """The kept nodes, read along with the entries that complete them."""

    def __init__(self, reader: Reader, tenant: str) -> None:
        self.problem: LedgerProblem | None = None
        rows = reader.select(NODES, columns_of(NODES), own(tenant), order_by=(ROWID,))
        try:
            self._rows = iter(sorted(rows, key=_completed_at))
        except LedgerProblem as problem:
            self.problem, self._rows = problem, iter(())

    def check(self, completed: list[Node]) -> None:
        """Note the first of the nodes that is not as it must be."""
        for node in sorted(completed, key=_completed_at):
            if next(self._rows, None) != node and self.problem is None:
                level, at, _ = node
                self.problem = LedgerProblem(
                    f"the kept node {at} of level {level} is wrong or missing"
                )

    def check_end(self) -> None:
        """Note whether there are nodes that no entry completes."""
        if next(self._rows, None) is not None and self.problem is None:
            self.problem = LedgerProblem("there are kept nodes that no entry completes")


def _completed_at(node: tuple[Any, ...]) -> tuple[int, int]:
    level, position, _ = node
    if type(level) is not int or type(position) is not int or not 0 < level < 64:  # noqa: PLR2004 - no tree is higher
        raise LedgerProblem("a kept node has no place")
    return (position + 1) << level, level


class ResultIndex:
    """The index of returned rows, read along with the records that tell what must stand in it."""

    def __init__(self, reader: Reader, tenant: str) -> None:
        self.problem: LedgerProblem | None = None
        self._expected: list[tuple[Any, ...]] = []
        self._rows = _result_rows(reader, tenant)

    def expect(self, entry: StoredEntry, fields: dict[str, Any]) -> None:
        """Note the rows that a record says were returned."""
        if not entry.is_sealed:  # of those a segment has an index of its own
            given = rows_given(entry, fields)
            self._expected += [(row, entry.seq, how) for row, how in given]

    def check(self) -> None:
        """Note the first record whose rows the index has not, in that order, since the last."""
        expected, self._expected = self._expected, []
        if self.problem is not None:
            return
        found = list(islice(self._rows, len(expected)))
        if found == expected and {type(seq) for _, seq, _ in found} <= {int}:  # 3.0 equals 3
            return
        for wanted, stands in zip_longest(expected, found):
            if wanted == stands and type(stands[1]) is int:
                continue
            seq = wanted[1]
            if stands is not None and type(stands[1]) is int:
                seq = min(seq, max(stands[1], 0))  # a row that this record did not return
            self.problem = LedgerProblem("the index of returned rows differs from it", seq=seq)
            return

    def check_end(self) -> None:
        """Note whether the index has more rows."""
        if next(self._rows, None) is not None and self.problem is None:
            self.problem = LedgerProblem(
                "the index of returned rows has one that no record returned"
            )


def _result_rows(reader: Reader, tenant: str) -> Iterator[tuple[object, ...]]:
    """Return the rows of the index in the order in which they were written."""
    columns = ("row_id", "seq", "how")
    pages = reader.rows(RESULTS, columns, own(tenant), batch_rows=RESULTS_READ_AT_ONCE)
    return chain.from_iterable(pages)


class Derived:
    """Both, read along; neither where ``reader`` is ``None``, since entries were left out."""

    def __init__(self, reader: Reader | None, tenant: str) -> None:
        self._results = None if reader is None else ResultIndex(reader, tenant)
        self._nodes = None if reader is None else KeptNodes(reader, tenant)

    @property
    def problems(self) -> list[LedgerProblem]:
        """What is wrong."""
        parts = (self._results, self._nodes)
        return [each.problem for each in parts if each is not None and each.problem is not None]

    def expect(self, entry: StoredEntry, fields: dict[str, Any]) -> None:
        """Note the rows that a record says were returned."""
        if self._results is not None:
            self._results.expect(entry, fields)

    def completed(self, nodes: list[Node]) -> None:
        """Check the nodes that an entry completes."""
        if self._nodes is not None:
            self._nodes.check(nodes)

    def check(self) -> None:
        """Check the rows that were noted since the last time."""
        if self._results is not None:
            self._results.check()

    def check_end(self) -> None:
        """Check that there is no more of either."""
        for each in (self._nodes, self._results):
            if each is not None:
                each.check_end()
