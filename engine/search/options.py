"""The options of a search: their names, types, checks and defaults, in one table.

Rules:
    - Each option is one attribute of :class:`SearchOptions`: keyword arguments, the JSON of the
      table functions and a record that is replayed are all read by it.
    - ``None`` is an option that was left out.
"""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from affidavit.catalog.values.python.arguments import checked_switch, checked_text, checked_version
from affidavit.catalog.values.vectors import METRICS
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    Check: TypeAlias = Callable[[object, str], object]
    """Returns an option's value as it is kept, or raises InvalidQueryError with its name."""

    Lineage: TypeAlias = (
        bool | int | float | str | Sequence["Lineage"] | Mapping[str, "Lineage"] | None
    )
    """Where a query comes from, as the caller says: any JSON."""

COUNT_MAX: Final = 1_000_000
"""The largest ``k``, and the largest of the options that count something."""

OPTIONS_LENGTH_MAX: Final = 150_000
"""How long the options of a search may be as JSON: a condition and a lineage of the longest fit."""

BATCH_QUERIES_MAX: Final = 100_000
"""How many queries ``search_batch`` takes at once."""

MODES: Final = ("vector", "text", "hybrid")


def checked_count(value: object, name: str) -> int:
    """Return ``value``, which counts something.

    Raises:
        InvalidQueryError: It is no whole number from 1 to :data:`COUNT_MAX`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        msg = f"{name} must be a whole number, got {value!r}"
        raise InvalidQueryError(msg)
    if not 1 <= value <= COUNT_MAX:
        msg = f"{name} must be between 1 and {COUNT_MAX:,}, got {value}"
        raise InvalidQueryError(msg)
    return int(value)


def _predicate(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        msg = f"{name} must be an SQL predicate such as \"kind = 'note'\"; got {value!r}"
        raise InvalidQueryError(msg)
    return value


def _columns(value: object, name: str) -> tuple[str, ...]:
    try:
        if isinstance(value, str):
            raise TypeError
        return tuple(value)  # type: ignore[arg-type]  # what cannot be iterated is refused below
    except TypeError as error:
        msg = f"{name} must be a list of columns, got {value!r}"
        raise InvalidQueryError(msg) from error


def _named(value: object, name: str) -> tuple[str, ...]:
    """Return one column, or several."""
    given = (value,) if isinstance(value, str) else value
    is_listed = isinstance(given, list | tuple) and all(isinstance(each, str) for each in given)
    if not given or not is_listed:
        msg = f"{name} must be a column, or a list of columns, got {value!r}"
        raise InvalidQueryError(msg)
    return tuple(given)  # type: ignore[arg-type]  # checked above


def _metric(value: object, _: str) -> str | None:
    if not isinstance(value, str) or (value and value not in METRICS):
        msg = f"no metric {value!r}; there are {list(METRICS)}"
        raise InvalidQueryError(msg)
    return str(value) if value else None


def _mode(value: object, _: str) -> str:
    if value not in MODES:
        msg = f"no search mode {value!r}; there are {list(MODES)}"
        raise InvalidQueryError(msg)
    return str(value)


def _as_given(value: object, _: str) -> object:
    return value


def _row(check: Check, *, in_sql: bool = True, replayed: bool = False) -> dict[str, object]:
    """Return what is to be known of an option.

    Args:
        check: What a given value goes through.
        in_sql: Whether the JSON of the table functions may have it.
        replayed: Whether a record's ``params`` have it, and a replay asks the same again.
    """
    return {"check": check, "in_sql": in_sql, "replayed": replayed}


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What a search may be asked besides the table, the query and how many rows.

    Made by :func:`options_of`, which checks what can be checked without the table.

    Attributes:
        where: An SQL predicate over the table's columns, applied before the search.
        select: The columns that come back; ``None`` for all.
        column: The vector column, text columns, or a list of both; ``None`` for the table's own.
        metric: ``cosine``, ``l2`` or ``dot``; ``None`` for the table's own.
        mode: ``vector``, ``text`` or ``hybrid``. In SQL the function's name says it.
        exact: Whether every vector is compared.
        nprobes: How many index partitions are searched; ``None`` for what suits the index.
        refine_factor: How many times ``k`` candidates are compared exactly; ``None`` likewise.
        version: A past version's number or tag, for whoever opens the table.
        lineage: The caller's own words about where the query comes from.
        model: The embedding model's name; ``None`` for the table's own.
        text: The words of a text or hybrid search. In SQL they are an argument.
    """

    where: str | None = field(default=None, metadata=_row(_predicate))
    select: tuple[str, ...] | None = field(default=None, metadata=_row(_columns))
    column: tuple[str, ...] | None = field(default=None, metadata=_row(_named, replayed=True))
    metric: str | None = field(default=None, metadata=_row(_metric, replayed=True))
    mode: str = field(default="vector", metadata=_row(_mode, in_sql=False))
    exact: bool = field(default=False, metadata=_row(checked_switch, replayed=True))
    nprobes: int | None = field(default=None, metadata=_row(checked_count, replayed=True))
    refine_factor: int | None = field(default=None, metadata=_row(checked_count, replayed=True))
    version: int | str | None = field(default=None, metadata=_row(checked_version))
    lineage: Lineage = field(default=None, metadata=_row(_as_given))
    model: str | None = field(default=None, metadata=_row(checked_text))
    text: str | None = field(default=None, metadata=_row(checked_text, in_sql=False))


_CHECKS: Final[Mapping[str, Check]] = {
    each.name: each.metadata["check"] for each in fields(SearchOptions)
}


def _names(mark: str) -> frozenset[str]:
    return frozenset(each.name for each in fields(SearchOptions) if each.metadata[mark])


IN_SQL: Final = (*sorted(_names("in_sql")), "params")
"""What the table functions take of them, and the values that ``where`` names."""

PARAMETERS: Final = _names("replayed")
"""Which options a record's ``params`` have, and a search is run again with."""


def options_of(given: Mapping[str, object]) -> SearchOptions:
    """Return the options that a caller gave by name.

    Raises:
        InvalidQueryError: There is no such option, or it cannot have that value; it is named.
    """
    _refuse_unknown(given, _CHECKS.keys())
    said = {name: value for name, value in given.items() if value is not None}
    checked = {name: _CHECKS[name](value, name) for name, value in said.items()}
    return SearchOptions(**checked)  # type: ignore[arg-type]  # each check returns its option's type


def parse_options(text: object) -> dict[str, object]:
    """Return the options that a table function was given as JSON, for :func:`options_of`.

    Raises:
        InvalidQueryError: They are no JSON object, or name an option that there is not.
    """
    if isinstance(text, str) and len(text) > OPTIONS_LENGTH_MAX:
        msg = f"options have {len(text):,} characters, and {OPTIONS_LENGTH_MAX:,} are allowed"
        raise InvalidQueryError(msg)
    try:
        options = json.loads(text, object_pairs_hook=_once) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        msg = f"options must be a JSON object, got {reprlib.repr(text)}: {error}"
        raise InvalidQueryError(msg) from error
    if not isinstance(options, dict):
        msg = (
            f"options must be a JSON object such as '{{\"exact\": true}}', got {reprlib.repr(text)}"
        )
        raise InvalidQueryError(msg)
    _refuse_unknown(options, {*IN_SQL})
    return options


def params_of(given: object) -> dict[str, object]:
    """Return what ``where`` names by ``$name`` or ``$1``: a JSON object or list, or a list.

    Raises:
        InvalidQueryError: It is neither.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            given = None
    if isinstance(given, dict):
        return {str(name): value for name, value in given.items()}
    if isinstance(given, list):
        return {str(at): value for at, value in enumerate(given, 1)}
    msg = 'params must be a JSON object such as \'{"who": "ann"}\', or a list'
    raise InvalidQueryError(msg)


def _once(members: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return the members of a JSON object; ValueError if one stands twice."""
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{reprlib.repr(twice)} stands twice in an object"
        raise ValueError(msg)
    return found


def _refuse_unknown(given: Mapping[str, object], known: AbstractSet[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        msg = f"no search option {unknown[0]!r}; there are {sorted(known)}"
        raise InvalidQueryError(msg)
