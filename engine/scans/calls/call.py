"""A call of ours that a statement has, and the parameter that stands for it in a plan."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

_FIRST: Final = 10**17
"""No caller's parameter has such a number, and DataFusion 54.1 takes no other name in an INSERT."""

NAMED: Final = r"""(?:\$|Utf8\("|')(\d{18})(?:"\)|')?"""
"""Such a parameter in the name of a column or in an expression, or the text that stands for it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a statement has.

    Attributes:
        told: What of it stands in the name of a column.
        asks: What it names: a model, or a sequence.
    """

    told: str
    asks: str

    @property
    def parameter(self) -> str:
        """What its parameter is called: the same for every call that says the same."""
        said = hashlib.sha256(f"{self.told}\0{self.asks}".encode()).digest()
        return str(_FIRST + int.from_bytes(said[:8]) % (9 * _FIRST))


def told_in(name: str, pattern: re.Pattern[str], calls: Mapping[str, Call]) -> str:
    """Return the name of a column with the calls in it as they are written.

    Args:
        name: The name.
        pattern: A call in it, with the group of :data:`NAMED`.
        calls: The statement's, by their parameters.
    """

    def told(found: re.Match[str]) -> str:
        call = calls.get(found[1])
        return found[0] if call is None else call.told

    return pattern.sub(told, name)
