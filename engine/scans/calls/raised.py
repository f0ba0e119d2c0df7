"""What functions raise in a plan: DataFusion passes it on as text, and here it is kept.

Rules:
    - Each function of ours that a plan calls is made by :func:`scalar_function`.
    - What was raised is found by a mark in the text, once, by whoever is told that a plan failed.
    - A plan that fails in many partitions raises often and tells once: the oldest are forgotten.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from datafusion import udf

from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa
    from datafusion import ScalarUDF

KEPT_MAX: Final = 64
"""How many errors wait to be told; of those before there is the text."""

_MARK: Final = re.compile(r"\[raised ([0-9a-f]{32})\] ?")


class MarkedError(Exception):
    """What DataFusion is told: the error's text, and the mark by which it is found."""


class Raised:
    """Errors between the thread of a plan that raised them and whoever waits for the plan."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, AffidavitError] = OrderedDict()

    def keep(self, error: AffidavitError) -> MarkedError:
        """Keep an error, and return what is to be raised in its place."""
        mark = uuid4().hex
        with self._lock:
            self._kept[mark] = error
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return MarkedError(f"[raised {mark}] {error}")

    def take(self, told: str) -> AffidavitError | None:
        """Return the error that a text was made of, if it was, and it is kept still."""
        found = _MARK.search(told)
        if found is None:
            return None
        with self._lock:
            return self._kept.pop(found[1], None)


RAISED: Final = Raised()
"""Of this process: DataFusion says of no error which context it is of."""


@dataclass(frozen=True)
class _Marked:
    """A function whose errors have marks.

    It is no closure: DataFusion pickles a function that stands in what it hands to a vector table.
    """

    function: Callable[..., pa.Array]

    def __call__(self, *arrays: pa.Array) -> pa.Array:
        try:
            return self.function(*arrays)
        except AffidavitError as error:
            raise RAISED.keep(error) from error


def scalar_function(
    function: Callable[..., pa.Array],
    inputs: Sequence[pa.DataType],
    output: pa.DataType,
    volatility: str,
    name: str,
) -> ScalarUDF:
    """Return a function as DataFusion calls it, whose errors come out as they were raised."""
    return udf(_Marked(function), list(inputs), output, volatility, name)


def unmarked(told: str) -> str:
    """Return a text without marks."""
    return _MARK.sub("", told)
