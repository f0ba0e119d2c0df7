"""A Python function as a statement calls it: Arrow arrays in, one Arrow array out.

Rules:
    - It is called by threads of DataFusion's, several at once, with no lock of ours held.
    - What it gives is of the type and length that it said, or an error of ours that names it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.values.arrays import whole
from affidavit.engine.scans.calls.called import called
from affidavit.engine.scans.calls.raised import scalar_function
from affidavit.engine.statement.reading.functions import (
    OF_CALLER_WORDS,
    SCALAR_FUNCTIONS,
    TABLE_FUNCTIONS,
)
from affidavit.errors import ExecutionError, InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from datafusion import ScalarUDF, SessionContext

VOLATILITIES: Final = ("immutable", "stable", "volatile")

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")
_INVALID: Final = re.compile(r"Invalid function '")
"""What DataFusion 54.1.0 says of a name that is no function's."""

_WORDS: Final = frozenset(
    {
        "all", "and", "any", "array", "as", "asc", "between", "by", "case", "cast", "convert",
        "desc", "distinct", "div", "else", "end", "escape", "except", "exists", "extract", "fetch",
        "filter", "from", "group", "having", "ilike", "in", "intersect", "interval", "into", "is",
        "join", "lateral", "like", "limit", "map", "not", "null", "offset", "on", "or", "order",
        "qualify", "regexp", "returning", "rlike", "row", "safe_cast", "select", "set", "similar",
        "some", "then", "time", "timestamp", "timestamptz", "try_cast", "union", "using", "values",
        "when", "where", "window", "with", "xor",
    }
)  # fmt: skip
"""Words that mean something else before a bracket in SQL."""

_OWN: Final = frozenset(
    {*TABLE_FUNCTIONS, *SCALAR_FUNCTIONS, *(word.lower() for word in OF_CALLER_WORDS)}
)
"""What means something else here."""


@dataclass(frozen=True, slots=True)
class Function:
    """A registered function.

    Attributes:
        name: What statements call it.
        function: What is called.
        inputs: The types of its arguments.
        output: The type of what it gives.
        volatility: ``immutable``, ``stable`` or ``volatile``.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[pa.DataType, ...]
    output: pa.DataType
    volatility: str = "immutable"

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.inputs))}) -> {self.output}"

    def made(self) -> ScalarUDF:
        """Return it as DataFusion calls it."""
        return scalar_function(self.call, self.inputs, self.output, self.volatility, self.name)

    def call(self, *arrays: pa.Array) -> pa.Array:
        """Return what the function gives for each row.

        Raises:
            ExecutionError: It raised, which is the cause, or gave another type or number of values.
        """
        try:
            given = called(f"function {self.name!r}", partial(self.function, *arrays))
        except Exception as error:
            msg = f"function {self.name!r} failed: {type(error).__name__}: {error}"
            raise ExecutionError(msg) from error
        if not isinstance(given, pa.Array | pa.ChunkedArray):
            msg = f"function {self.name!r} must return a pyarrow.Array, got {type(given).__name__}"
            raise ExecutionError(msg)
        if given.type != self.output:
            msg = (
                f"function {self.name!r} must return {self.output}, as it was registered, and "
                f"returned {given.type}"
            )
            raise ExecutionError(msg)
        if len(given) != len(arrays[0]):
            msg = (
                f"function {self.name!r} must return a value for each of {len(arrays[0]):,} rows, "
                f"and returned {len(given):,}"
            )
            raise ExecutionError(msg)
        return whole(given)


def checked_function(
    name: object, function: object, inputs: object, output: object, volatility: object
) -> Function:
    """Return a function whose every part can be used.

    Raises:
        InvalidQueryError: One cannot; it is named.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        msg = (
            f"a function's name is lower-case letters, digits and _, as SQL reads names without "
            f"quotes; got {name!r}"
        )
        raise InvalidQueryError(msg)
    if not callable(function):
        msg = f"function {name!r} must be callable, got {type(function).__name__}"
        raise InvalidQueryError(msg)
    types = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    if not types or not all(isinstance(each, pa.DataType) for each in types):
        msg = (
            f"inputs of function {name!r} must be pyarrow types, one an argument and at least one "
            f"(it tells how many rows there are), such as [pyarrow.string()]; got {inputs!r}"
        )
        raise InvalidQueryError(msg)
    if not isinstance(output, pa.DataType):
        msg = f"output of function {name!r} must be a pyarrow type, got {output!r}"
        raise InvalidQueryError(msg)
    if volatility not in VOLATILITIES:
        msg = f"volatility of function {name!r} must be one of {VOLATILITIES}, got {volatility!r}"
        raise InvalidQueryError(msg)
    return Function(name, function, types, output, str(volatility))


def is_taken(context: SessionContext, name: str) -> bool:
    """Return whether SQL has a function, or a word with a bracket, of that name."""
    is_word = name in _WORDS or name in _OWN or name.startswith("affidavit_")
    if is_word or name in context.udwfs():
        return True
    try:
        context.sql(f"SELECT {name}()")
    except Exception as error:  # noqa: BLE001 - whatever it says of it
        return _INVALID.search(str(error)) is None
    return True
