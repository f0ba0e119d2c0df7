"""The statements that list columns of one search, and do nothing else: read without a plan.

``SELECT id, _distance FROM vector_search('docs', $q, 10)`` means one search, whose arguments stand
there. What is not written in just that way is not here, and planned.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from affidavit.engine.plan.short.asked import (
    NAME,
    TEXT_LENGTH_MAX,
    Parameter,
    are_names,
    is_unicode,
    normalized,
)
from affidavit.engine.search.options import IN_SQL
from affidavit.engine.statement.reading.functions import SEARCHES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NUMBER: Final = r"(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?"
_NUMBERS: Final = rf"\[\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*\]"
_VALUE: Final = rf"(?:\$\w+|0|[1-9]\d{{0,17}}|'[^'\x00-\x1f]*'|TRUE|FALSE|{_NUMBERS})"
_ARGUMENT: Final = rf"(?:[A-Za-z_]\w*\s*=>\s*)?{_VALUE}"
_COLUMN: Final = rf"{NAME}(?:\s+AS\s+{NAME})?"
_SHAPE: Final = re.compile(
    rf"\s*SELECT\s+(?P<columns>\*|{_COLUMN}(?:\s*,\s*{_COLUMN})*)\s+FROM\s+"
    rf"(?P<function>{'|'.join(SEARCHES)})\s*\("
    rf"\s*(?P<given>{_ARGUMENT}(?:\s*,\s*{_ARGUMENT})*)\s*\)(?:\s+AS\s+(?P<alias>{NAME}))?"
    r"(?:\s+ORDER\s+BY\s+(?P<order>_distance(?:\s+ASC)?|_score\s+DESC))?"
    r"(?:\s+LIMIT\s+(?P<limit>[1-9]\d{0,8}))?\s*;?\s*",
    re.IGNORECASE | re.ASCII,
)
_LISTED: Final = re.compile(rf"({NAME})(?:\s+AS\s+({NAME}))?", re.IGNORECASE | re.ASCII)
_GIVEN: Final = re.compile(rf"(?:([A-Za-z_]\w*)\s*=>\s*)?({_VALUE})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Sought:
    """One search that is listed.

    Attributes:
        function: The table function.
        given: Its arguments by name: what stands there, or the name of a parameter.
        columns: The columns that are asked for and what they are called, in their order; none for
            all of them.
        is_ordered: Whether the best rows are to come first.
        limit: How many rows there are at most.
    """

    function: str
    given: Mapping[str, object]
    columns: tuple[tuple[str, str], ...]
    is_ordered: bool
    limit: int | None

    def values(self, params: Mapping[str, object]) -> dict[str, object] | None:
        """Return the arguments; ``None`` unless ``params`` are those that they name."""
        named = {told for told in self.given.values() if isinstance(told, Parameter)}
        if named != params.keys():
            return None
        return {
            label: params[told] if isinstance(told, Parameter) else told
            for label, told in self.given.items()
        }


@lru_cache(maxsize=1024)
def search_read(text: str) -> Sought | None:
    """Return what a statement lists of a search; ``None`` if it may be another one."""
    found = _SHAPE.fullmatch(text) if len(text) <= TEXT_LENGTH_MAX else None
    if found is None or not is_unicode(text):
        return None
    function = found["function"].lower()
    given, columns = _given(function, found["given"]), _listed(found["columns"])
    score = "_distance" if function == "vector_search" else "_score"
    is_other = found["order"] is not None and not found["order"].lower().startswith(score)
    if given is None or columns is None or is_other or not are_names([found["alias"] or "d"]):
        return None
    if found["order"] is not None and any(c == score != name for name, c in columns):
        return None  # ORDER BY means what is called so in the list
    limit = None if found["limit"] is None else int(found["limit"])
    return Sought(function, given, columns, found["order"] is not None, limit)


def _listed(text: str) -> tuple[tuple[str, str], ...] | None:
    """Return columns and what they are called; ``None`` if that cannot be told."""
    if text == "*":
        return ()
    pairs = [(name, alias or name) for name, alias in _LISTED.findall(text)]
    called = [normalized(alias) for _, alias in pairs]
    if len(set(called)) < len(called) or not are_names([each for pair in pairs for each in pair]):
        return None
    return tuple((normalized(name), alias) for (name, _), alias in zip(pairs, called, strict=True))


def _given(function: str, text: str) -> dict[str, object] | None:
    """Return a function's arguments by name; ``None`` if they are not such as it takes."""
    found: Sequence[tuple[str, str]] = _GIVEN.findall(text)
    required = SEARCHES[function]
    placed = [*required, "options"]
    names = [name.lower() for name, _ in found]
    by_place = names.count("")
    if any(names[:by_place]) or by_place > len(placed):
        return None
    labels = [*placed[:by_place], *names[by_place:]]
    if len({*labels}) < len(labels) or not {*required} <= {*labels} <= {*placed, *IN_SQL}:
        return None
    return {label: _value(value) for label, (_, value) in zip(labels, found, strict=True)}


def _value(written: str) -> object:
    if written.startswith("$"):
        return Parameter(written[1:])
    if written.startswith("'"):
        return written[1:-1]
    return json.loads(written.lower())
