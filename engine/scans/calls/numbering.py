"""nextval() and currval(): what a statement asks sequences for.

Rules:
    - A sequence is looked up when the statement is planned, at its snapshot, and its numbers are
      taken when the plan runs, one a row.
    - currval() is the session's: the number that it was last given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.model.definition import SEQUENCE, SequenceDefinition
from affidavit.catalog.sql.lexer import edited
from affidavit.catalog.tables.constraints.sequences import calls_in
from affidavit.engine.scans.calls.placed import Uses
from affidavit.engine.scans.calls.raised import scalar_function
from affidavit.errors import SqlError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datafusion import SessionContext

    from affidavit.catalog.lake.numbers import Numbers
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.rules import Counter
    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.scans.calls.placed import Placing
    from affidavit.engine.scans.snapshot import Snapshot

NEXT: Final = "affidavit_nextval"
"""What takes the next number, by a name that a plan was given for a sequence."""


@dataclass(frozen=True, slots=True)
class _Use:
    """A call in a plan.

    Attributes:
        is_last: Whether it asks for the number that was given last, and takes none.
        name: What the sequence is called.
        counter: Where its numbers come from.
        last: Which number the session was last given of each.
    """

    is_last: bool
    name: str
    counter: Counter
    last: dict[str, int]


class Numbering:
    """What the plans of a tenant ask sequences for."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._uses = Uses[_Use]()

    def register(self, context: SessionContext) -> None:
        """Let a context's plans take numbers."""
        context.register_udf(
            scalar_function(self._next, [pa.string()], pa.int64(), "volatile", NEXT)
        )

    def _next(self, keys: pa.Array) -> pa.Array:
        if not len(keys):
            return pa.array([], pa.int64())
        use = self._uses.get(keys)
        if use is None:
            raise SqlError("write nextval('name')")
        return pa.array(self._numbers_of(use, len(keys)), pa.int64())

    def _numbers_of(self, use: _Use, count: int) -> Sequence[int]:
        if use.is_last:
            given = use.last.get(use.counter.counter_id)
            if given is None:
                raise SqlError(f"sequence {use.name!r} gave this session no number: nextval first")
            return [given] * count
        taken = self._numbers.take(use.counter, count, what=f"sequence {use.name!r}")
        use.last[use.counter.counter_id] = taken[-1]
        return taken

    def written(self, text: str, placing: Placing, last: dict[str, int]) -> str:
        """Return a statement with each call as DataFusion reads it.

        Raises:
            TableNotFoundError: There is no such sequence.
        """
        if NEXT in text.lower():
            raise SqlError(f"{NEXT} is for plans alone: write nextval('name')")
        return edited(text, self._edits(text, placing, last))

    def _edits(self, text: str, placing: Placing, last: dict[str, int]) -> Iterator[Edit]:
        for start, end, word, name in calls_in(text):
            info = find_sequence(placing.snapshot, *name)
            assert isinstance(info.definition, SequenceDefinition)
            use = _Use(word == "currval", info.name, info.definition.counter, last)
            key = placing.place(word, f"{info.schema}.{info.name}", self._uses, use)
            yield start, end, f"{NEXT}({key})"


def find_sequence(snapshot: Snapshot, schema: str, name: str) -> TableInfo:
    """Return a sequence by its name.

    Raises:
        TableNotFoundError: There is none.
    """
    found = snapshot.catalog.find(snapshot.reader, name, schema)
    if found is None or found.kind != SEQUENCE.name:
        every = snapshot.catalog.tables(snapshot.reader)
        known = [each.name for each in every if each.kind == SEQUENCE.name]
        raise TableNotFoundError(name, known=known)
    return found
