"""nextval() and currval(): what a statement asks sequences for.

Rules:
    - A sequence is looked up when the statement is planned, at its snapshot, and its numbers are
      taken when the plan runs, one a row.
    - currval() is the session's: the number that it was last given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4
from weakref import finalize, ref

import pyarrow as pa
from datafusion import udf

from affidavit.catalog.model.definition import SEQUENCE, SequenceDefinition
from affidavit.catalog.sql.lexer import edited
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.catalog.tables.constraints.sequences import calls_in
from affidavit.errors import AffidavitError, SqlError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datafusion import SessionContext

    from affidavit.catalog.lake.numbers import Numbers
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.rules import Counter
    from affidavit.engine.scans.snapshot import Snapshot

NEXT: Final = "affidavit_nextval"
"""What takes the next number, by a name that a plan was given for a sequence."""


@dataclass(frozen=True, slots=True)
class _Use:
    """A call in a plan.

    Attributes:
        word: ``nextval`` or ``currval``.
        name: What the sequence is called.
        counter: Where its numbers come from.
        last: Which number the session was last given of each.
        snapshot: The statement's, whose plan ends with the call's error.
    """

    word: str
    name: str
    counter: Counter
    last: dict[str, int]
    snapshot: ref[Snapshot]


class Numbering:
    """What the plans of a tenant ask sequences for.

    A plan has a name for each call that nobody can guess, and that is forgotten with its snapshot.
    """

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._uses: dict[str, _Use] = {}

    def register(self, context: SessionContext) -> None:
        """Let a context's plans take numbers."""
        context.register_udf(udf(self._next, [pa.string()], pa.int64(), "volatile", NEXT))

    def _next(self, keys: pa.Array) -> pa.Array:
        if not len(keys):
            return pa.array([], pa.int64())
        use = self._uses.get(str(keys[0]))
        if use is None:
            raise SqlError("write nextval('name')")
        try:
            return pa.array(self._numbers_of(use, len(keys)), pa.int64())
        except AffidavitError as error:
            snapshot = use.snapshot()
            if snapshot is not None:
                snapshot.fail(error)
            raise

    def _numbers_of(self, use: _Use, count: int) -> Sequence[int]:
        if use.word == "currval":
            given = use.last.get(use.counter.counter_id)
            if given is None:
                raise SqlError(f"sequence {use.name!r} gave this session no number: nextval first")
            return [given] * count
        taken = self._numbers.take(use.counter, count, what=f"sequence {use.name!r}")
        use.last[use.counter.counter_id] = taken[-1]
        return taken

    def written(self, text: str, snapshot: Snapshot, last: dict[str, int]) -> str:
        """Return a statement with each call as DataFusion reads it.

        Raises:
            TableNotFoundError: There is no such sequence.
        """
        if NEXT in text.lower():
            raise SqlError(f"{NEXT} is for plans alone: write nextval('name')")
        return edited(
            text,
            (
                (start, end, self._call(word, find_sequence(snapshot, *name), snapshot, last))
                for start, end, word, name in calls_in(text)
            ),
        )

    def _call(self, word: str, info: TableInfo, snapshot: Snapshot, last: dict[str, int]) -> str:
        assert isinstance(info.definition, SequenceDefinition)
        key = uuid4().hex
        self._uses[key] = _Use(word, info.name, info.definition.counter, last, ref(snapshot))
        finalize(snapshot, self._uses.pop, key, None)
        return f"{NEXT}({quoted_text(key)})"


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
