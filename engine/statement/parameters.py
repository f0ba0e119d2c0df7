"""A statement's parameters, as DataFusion takes them."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from affidavit.catalog.sql.binding import columns_before, listed_values, no_list, nothing
from affidavit.catalog.sql.lexer import remembered
from affidavit.catalog.values.python.rows import plain
from affidavit.catalog.values.python.rows import row_of as fields_of
from affidavit.catalog.values.types import check_nesting
from affidavit.engine.statement.reading.naming import rewritten
from affidavit.engine.statement.statement import Kind, parse_statement
from affidavit.errors import InvalidQueryError, SqlError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from affidavit.engine.statement.statement import Part, Statement

_UNBOUND: Final = frozenset({Kind.PREPARE, Kind.CREATE, Kind.EXPLAIN})
"""Statements that may be told without values for their parameters, or refuse them themselves."""

_OF_LIST: Final = re.compile(r"^affidavit_(\w+?)(?:_\d+){1,2}$")
"""What a value of a list that IN is given is called."""

_SIMPLE: Final = {int, float, str, bool, type(None)}
"""What Arrow makes a list of at once."""


DIGITS_MAX: Final = 76
"""How many digits the widest DECIMAL has."""

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


def bound(statement: Statement, params: Mapping[str, Any]) -> tuple[Statement, dict[str, Any]]:
    """Return a statement with ``$1``, ``$2``... for each ``?``, and values for its parameters.

    Raises:
        SqlError: A value is of a parameter that the statement does not name, a parameter has no
            value, or ``?`` stands beside parameters that are written otherwise.
    """
    given = {name.removeprefix("$"): value for name, value in params.items()}
    named, marks = statement.placeholders, statement.marks
    if max(len(named), marks, len(given)) > PARAMETERS_MAX:
        msg = f"a statement has more than {PARAMETERS_MAX:,} parameters, which is what is allowed"
        raise SqlError(msg)
    if marks:
        if named:
            msg = f"? stands beside ${named[0]}: write all parameters of a statement in one way"
            raise SqlError(msg)
        named = tuple(str(number) for number in range(1, marks + 1))
        statement = parse_statement(_counted(statement.text))
    known = set(named)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SqlError(_unnamed(unknown[0], named, len(given)) + _hint(statement.text, unknown[0]))
    statement, given = _listed(statement, given)
    named = statement.placeholders
    missing = [name for name in named if name not in given]
    if missing and statement.kind not in _UNBOUND:
        came = f"values came for {_dollars(given)}" if given else "none came"
        raise SqlError(f"parameter ${missing[0]} has no value: {came}")
    return statement, given


@remembered
def _counted(text: str) -> str:
    """Return a statement with ``$1``, ``$2``... for each ``?``, called as it was."""
    numbers, tokens = count(1), parse_statement(text).tokens
    marks = (token for token in tokens if token.kind == "placeholder")
    return rewritten(text, tokens, ((t.start, t.end, f"${next(numbers)}") for t in marks))


def _listed(statement: Statement, given: dict[str, Any]) -> tuple[Statement, dict[str, Any]]:
    """Return a statement with a parameter for each value of a list behind IN, and those.

    Raises:
        SqlError: What stands behind IN without brackets is no list, or has none yet.
    """
    if "in" not in statement.names:
        return statement, given
    tokens, edits = statement.tokens, list[tuple[int, int, str]]()
    found = dict[str, Any]()
    for at, token in enumerate(tokens):
        name = token.text[1:]
        if token.kind != "placeholder" or not at:
            continue
        is_bare = tokens[at - 1].keyword == "IN"
        around = [each.text for each in (*tokens[at - 1 : at], *tokens[at + 1 : at + 2])]
        is_bracketed = around == ["(", ")"] and at > 1 and tokens[at - 2].keyword == "IN"
        if not is_bare and not is_bracketed:
            continue
        values = listed_values(given[name]) if name in given else None
        if values is None:
            if is_bare:
                _refuse_bare(statement, name, given)
            continue
        columns = columns_before(tokens, at - 1 if is_bare else at - 2)
        listed, named = _as_listed(name, values, columns)
        found |= named
        edits.append((token.start, token.end, f"({listed})" if is_bare else listed))
    if not edits:
        return statement, given
    made = parse_statement(rewritten(statement.text, tokens, edits))
    left = {name: value for name, value in given.items() if name in made.placeholders}
    return made, left | found


def _refuse_bare(statement: Statement, name: str, given: Mapping[str, Any]) -> None:
    if name in given:
        raise SqlError(no_list(name, given[name]))
    if statement.kind is Kind.PREPARE:
        msg = f"a prepared IN ${name} does not say how many values it has: write = ANY(${name})"
        raise SqlError(msg)


def _as_listed(name: str, values: Sequence[Any], columns: int) -> tuple[str, dict[str, Any]]:
    """Return a list of parameters for values, each of so many columns, and the parameters.

    Raises:
        SqlError: A value is of another number of columns.
    """
    if not values:
        return nothing(columns), {}
    if columns == 1:
        names = [f"affidavit_{name}_{each}" for each in range(len(values))]
        return ", ".join(f"${each}" for each in names), dict(zip(names, values, strict=True))
    rows, found = [], dict[str, Any]()
    for row, value in enumerate(values):
        inner = listed_values(value)
        if inner is None or len(inner) != columns:
            msg = (
                f"(...) IN ${name} compares {columns} columns: each value of the list is a tuple "
                f"of {columns}"
            )
            raise SqlError(msg)
        named = {f"affidavit_{name}_{row}_{at}": each for at, each in enumerate(inner)}
        rows.append(f"({', '.join(f'${each}' for each in named)})")
        found |= named
    return ", ".join(rows), found


def named_only(text: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of parameters that a statement names, which a record may have more of."""
    part = parse_statement(text).whole
    named = {*part.placeholders, *map(str, range(1, part.marks + 1))}
    return {name: value for name, value in params.items() if name.removeprefix("$") in named}


def _unnamed(name: str, named: Sequence[str], count: int) -> str:
    if name.isdecimal() and all(map(str.isdecimal, named)):
        return f"{count} values were given for a statement's parameters: {_told(named)}"
    return f"the statement names no parameter ${name}: {_told(named)}"


def _told(named: Collection[str]) -> str:
    return f"it has {_dollars(named)}" if named else "it has none"


def _dollars(names: Collection[str]) -> str:
    return ", ".join(f"${name}" for name in names)


def _hint(text: str, name: str) -> str:
    """Return what is to be written where a parameter is written as others do."""
    for other, ours in ((f":{name}", f"${name}"), (f"%({name})s", f"${name}"), ("%s", "? or $1")):
        if re.search(rf"{re.escape(other)}\b", text):
            return f"; write {ours}, not {other}"
    return ""


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
    if isinstance(value, Enum):
        return _scalar(name, value.value)
    if isinstance(value, pa.Array | pa.ChunkedArray):
        value = value.to_pylist()
    if isinstance(value, np.ndarray) and value.ndim == 1 and _is_numbers(value):
        return pa.ListArray.from_arrays([0, len(value)], pa.array(value))[0]
    if hasattr(value, "__array__") and getattr(value, "ndim", 0) == 1:
        value = list(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return _big(name, value)
    try:
        check_nesting(value)
        return pa.scalar(plain(value) if _is_object(value) else value)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if _is_of_tuples(value):
            return _scalar(name, [dict(zip(map(str, count()), row)) for row in value])  # noqa: B905 - as long as the row
        shown = _OF_LIST.sub(r"\1", name)
        msg = f"parameter ${shown} cannot be passed: {type(value).__name__}: {error}"
        raise InvalidQueryError(msg) from error


def _big(name: str, value: int) -> pa.Scalar:
    """Return a number that no BIGINT holds."""
    if 0 < value < 2**64:
        return pa.scalar(value, pa.uint64())
    if abs(value) >= 10**DIGITS_MAX:
        msg = f"parameter ${name} cannot be passed: a number has at most {DIGITS_MAX} digits"
        raise InvalidQueryError(msg)
    return pa.scalar(Decimal(value))


def _is_of_tuples(value: object) -> bool:
    """Return whether a value is a list of tuples, whose values may be of several types."""
    return isinstance(value, list | tuple) and all(isinstance(row, tuple) for row in value)


def _is_numbers(value: npt.NDArray[Any]) -> bool:
    """Return whether Arrow reads an array as it would read a list of what is in it."""
    return value.dtype.kind in "fiu" and value.dtype.isnative and len(value) > 0


def _is_object(value: object) -> bool:
    """Return whether Arrow would not read a value, or not as a table keeps it."""
    if isinstance(value, list | tuple) and set(map(type, value)) <= _SIMPLE:
        return False
    return isinstance(value, UUID | list | tuple) or fields_of(value) is not None


def row_of(values: Mapping[str, pa.Scalar]) -> pa.RecordBatch | None:
    """Return the values of parameters as one row; ``None`` if there are none."""
    if not values:
        return None
    arrays = [pa.repeat(each, 1) for each in values.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(values))
