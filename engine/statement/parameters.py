"""A statement's parameters, as DataFusion takes them."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from affidavit.catalog.sql.lexer import tokenize
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping


def arrow_params(params: Mapping[str, Any]) -> dict[str, pa.Scalar]:
    """Return parameters as Arrow scalars: vectors as lists, big numbers as what holds them.

    Raises:
        InvalidQueryError: A value has no Arrow type.
    """
    return {name.removeprefix("$"): _scalar(name, value) for name, value in params.items()}


def numbered(text: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return ``text`` with ``$1``, ``$2``... for its named parameters, and the parameters so.

    DataFusion reads no other placeholder among an INSERT's VALUES.
    """
    names = list(dict.fromkeys(t.text[1:] for t in tokenize(text) if t.kind == "placeholder"))
    taken = {int(name) for name in names if name.isdigit()}
    free = (number for number in count(1) if number not in taken)
    renamed = {name: name if name.isdigit() else str(next(free)) for name in names}
    pieces, at = [], 0
    for token in tokenize(text):
        if token.kind == "placeholder":
            pieces += [text[at : token.start], f"${renamed[token.text[1:]]}"]
            at = token.end
    given = {name.removeprefix("$"): value for name, value in params.items()}
    return "".join([*pieces, text[at:]]), {renamed.get(n, n): v for n, v in given.items()}


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
        return pa.scalar(value)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        msg = f"parameter ${name} cannot be passed: {type(value).__name__}: {error}"
        raise InvalidQueryError(msg) from error
