"""The condition of a search: as Lance reads it, or the rows that SQL finds by it.

Rules:
    - ``where=`` is SQL. What :mod:`~affidavit.catalog.sql.condition` knows Lance to answer alike is
      handed to Lance; of anything else the rows are found by DataFusion first, at the version that
      is searched, and the search is among them, however many they are.
    - A row is told by Lance's row id, which holds for one version.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from affidavit.catalog.sql.condition import checked_condition, rendered
from affidavit.catalog.sql.spelling import as_columns
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

REMEMBERED_LENGTH_MAX: Final = 10_000
"""A longer condition is read whenever it comes."""

LISTED_MAX: Final = 10_000
"""Of so many rows Lance is given the ids: it reads 10,000 in 40 ms. Among more, the best of all
rows are asked for, until enough of them are among these."""

ROW_ID: Final = "_rowid"


class Condition(NamedTuple):
    """A condition that was read: as SQL, and as Lance reads it, if it answers it alike."""

    sql: str
    lance: str | None


def read_condition(text: str, schema: pa.Schema) -> Condition:
    """Return a condition over the columns of ``schema``.

    Raises:
        SqlError: It is too large, more than one expression, or names what is not there.
    """
    return _remembered(text, schema) if len(text) <= REMEMBERED_LENGTH_MAX else _read(text, schema)


@lru_cache(maxsize=512)
def _remembered(text: str, schema: pa.Schema) -> Condition:
    return _read(text, schema)


def _read(text: str, schema: pa.Schema) -> Condition:
    sql, tokens = as_columns(text, checked_condition(text), schema.names)
    return Condition(sql, rendered(tokens, schema))


class Among:
    """The rows that a condition leaves to a search, found once."""

    def __init__(self) -> None:
        self._find: Callable[[], pa.Array | pa.ChunkedArray] | None = None
        self._finding = threading.Lock()
        self._rows: npt.NDArray[np.uint64] | None = None

    def find_by(self, find: Callable[[], pa.Array | pa.ChunkedArray]) -> None:
        """Take what returns their row ids, from whoever plans the condition."""
        self._find = find

    def rows(self) -> npt.NDArray[np.uint64]:
        """Return the rows' ids, ascending."""
        with self._finding:
            if self._rows is None:
                if self._find is None:
                    msg = "the condition of this search needs SQL, and was not planned"
                    raise InvalidQueryError(msg)
                self._rows = np.sort(np.asarray(self._find(), dtype=np.uint64))
                self._find = None  # it holds what was read
            return self._rows

    @property
    def are_listed(self) -> bool:
        """Whether they are so few that Lance is given them."""
        return len(self.rows()) <= LISTED_MAX

    def condition(self) -> str | None:
        """Return a condition for Lance that they alone meet; ``None`` if there are too many."""
        return listed(self.rows()) if self.are_listed else None

    def best(self, k: int, total: int, find: Callable[[int], pa.Table]) -> pa.Table:
        """Return the best ``k`` of these rows among ``total``, or as many as ``find`` can find.

        Args:
            k: How many are wanted.
            total: How many rows the table has.
            find: Returns the best so many of all rows, with their ids.
        """
        rows = self.rows()
        asked = min(total, math.ceil(k * 1.5 * total / len(rows)) + k)
        while True:
            found = find(asked)
            at = np.searchsorted(rows, ids := np.asarray(found[ROW_ID], dtype=np.uint64))
            kept = rows[np.minimum(at, len(rows) - 1)] == ids
            if kept.sum() >= k or asked >= total or found.num_rows < asked:
                return found.filter(pa.array(kept)).slice(0, k)
            asked = min(total, asked * 4)


def listed(rows: npt.NDArray[np.uint64], column: str = ROW_ID) -> str:
    """Return a condition for Lance that rows of these ids alone meet."""
    if not len(rows):
        return "false"
    return f"{column} IN ({', '.join(map(str, rows.tolist()))})"
