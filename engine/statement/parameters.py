"""A statement's parameters, as DataFusion takes them."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.values.types import check_nesting
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from affidavit.engine.statement.statement import Part


PARAMETERS_MAX: Final = 10_000
"""How many parameters a statement may have: lists hold more."""


def arrow_params(params: Mapping[str, Any]) -> dict[str, pa.Scalar]:
    """Return parameters as Arrow scalars: vectors as lists, big numbers as what holds them.

    Raises:
        InvalidQueryError: A value has no Arrow type.
    """
    if len(params) > PARAMETERS_MAX:
        msg = f"there are {len(params):,} parameters, and {PARAMETERS_MAX:,} are allowed"
        raise InvalidQueryError(msg)
    return {name.removeprefix("$"): _scalar(name, value) for name, value in params.items()}


def numbered(parts: Sequence[Part], params: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the text of each part with ``$1``, ``$2``... for its parameters, and those so.

    DataFusion reads no other placeholder among an INSERT's VALUES. A parameter ``?`` has the next
    number that no other one is written with; a named one has a number that nothing else has.
    """
    given = {name.removeprefix("$"): value for name, value in params.items()}
    written = {int(name) for part in parts for name in part.placeholders if name.isdecimal()}
    free = (number for number in count(1) if number not in written)
    marks = iter([str(next(free)) for part in parts for _ in range(part.marks)])
    others = (str(number) for number in free if str(number) not in given)
    names = dict.fromkeys(name for part in parts for name in part.placeholders)
    renamed = {name: name if name.isdecimal() else next(others) for name in names}
    texts = [_renamed(part, renamed, marks) for part in parts]
    return texts, {renamed.get(name, name): value for name, value in given.items()}


def renumbered(part: Part, last: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """Return a part's text with ``$1``, ``$2``... for its parameters, and what each was before.

    Those in ``last`` have the highest numbers.
    """
    ordered = sorted(part.placeholders, key=lambda name: name in last)
    names = {str(at): name for at, name in enumerate(ordered, 1)}
    return _renamed(part, {name: at for at, name in names.items()}, iter(())), names


def _renamed(part: Part, names: Mapping[str, str], marks: Iterator[str]) -> str:
    """Return a part's text with what ``names`` and ``marks`` say for its parameters."""
    if not part:
        return ""
    pieces, at = [], part.tokens[0].start
    for token in part.tokens:
        if token.kind == "placeholder":
            name = next(marks) if token.text == "?" else names[token.text[1:]]
            pieces += [part.whole[at : token.start], f"${name}"]
            at = token.end
    return "".join([*pieces, part.whole[at : part.tokens[-1].end]])


def _scalar(name: str, value: Any) -> pa.Scalar:  # noqa: ANN401 - whatever callers pass
    if isinstance(value, pa.Scalar):
        return value
    if isinstance(value, pa.Array | pa.ChunkedArray):
        value = value.to_pylist()
    if hasattr(value, "__array__") and getattr(value, "ndim", 0) == 1:
        value = list(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**63:
        value = pa.scalar(value, pa.uint64()) if value < 2**64 else value
        if isinstance(value, pa.Scalar):
            return value
    try:
        check_nesting(value)
        return pa.scalar(value)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        msg = f"parameter ${name} cannot be passed: {type(value).__name__}: {error}"
        raise InvalidQueryError(msg) from error


def row_of(values: Mapping[str, pa.Scalar]) -> pa.RecordBatch | None:
    """Return the values of parameters as one row; ``None`` if there are none."""
    if not values:
        return None
    arrays = [pa.array([each.as_py()], each.type) for each in values.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(values))
