"""How statements were written for the planner: what was asked of it for one is not asked again.

Rules:
    - What is kept is good for the columns of the tables that a statement reads, as its plan has
      them, and for the types of its parameters. Where either differs it is written anew.
    - It is good for one pair of contexts: whoever changes how they read or compute forgets it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datafusion import DataFrame

KEPT_MAX: Final = 256
"""How many statements are kept; the one that was not asked for longest goes first."""

LENGTH_MAX: Final = 10_000
"""A statement that is longer, or becomes so, is written whenever it comes."""

_SCAN: Final = "TableScan:"
_INSERT: Final = "Dml:"
"""How DataFusion 54.1 prints what reads a table, and what writes one its rows, cast before that."""

Key: TypeAlias = "tuple[str, tuple[tuple[str, pa.DataType], ...]]"
"""A text, and the types of its parameters."""


@dataclass(frozen=True, slots=True)
class Written:
    """How a statement is planned.

    Attributes:
        text: What is planned.
        floats: The parameters that are floats there, and are given as decimals.
        met: How often it brings a float to a decimal; ``None`` if it has no number that may be one.
        digits: How many digits such a number has behind the point at most.
    """

    text: str
    floats: frozenset[str] = frozenset()
    met: float | None = None
    digits: int = 0

    def given(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the parameters as they are planned with."""
        return {**values, **{name: values[name].cast(pa.float64()) for name in self.floats}}


class Remembered:
    """Statements as they were written, with the columns that this was found with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[Written, bytes]] = OrderedDict()
        self._age = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def age(self) -> int:
        """How often all was forgotten."""
        return self._age

    def get(self, key: Key) -> tuple[Written, bytes] | None:
        """Return what is kept of a statement, and the columns that it is good for."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def keep(self, key: Key, written: Written, columns: bytes, age: int) -> None:
        """Keep a statement, unless all was forgotten since it was begun at an ``age``."""
        if max(len(key[0]), len(written.text)) > LENGTH_MAX:
            return
        with self._lock:
            if age == self._age:
                self._kept[key] = written, columns
                while len(self._kept) > KEPT_MAX:
                    self._kept.popitem(last=False)

    def forget(self) -> None:
        """Forget all: the contexts read or compute otherwise from now on."""
        with self._lock:
            self._kept.clear()
            self._age += 1


def key_of(text: str, values: Mapping[str, Any]) -> Key:
    """Return what a statement is kept by."""
    return text, tuple((name, value.type) for name, value in values.items())


def columns_of(frame: DataFrame) -> bytes:
    """Return what tells the columns of a plan's tables, and those that an INSERT writes, by types.

    They are all of a table's: a plan that is not optimised has no projection in its scans.
    """
    lines = [line.strip() for line in frame.logical_plan().display_indent_schema().split("\n")]
    written = lines[1].rpartition(" [")[2] if lines[0].startswith(_INSERT) else ""
    told = "\n".join([written, *(line for line in lines if line.startswith(_SCAN))])
    return hashlib.sha256(told.encode()).digest()
