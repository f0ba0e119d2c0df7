"""How a source's values are read, where whoever attaches it chooses: kept at the end of its URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMERIC: Final = "numeric"
ON_BAD_VALUE: Final = "on_bad_value"
_AT_END: Final = re.compile(rf"[?&]({NUMERIC}|{ON_BAD_VALUE})=([^?&#]*)$")
_DECIMAL: Final = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)", re.IGNORECASE)
_DIGITS_MAX: Final = 38


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen.

    Attributes:
        numeric: What a number of no declared precision, or of one beyond Arrow's, is given as;
            empty for a text.
        bad: What becomes of a value that its column's type does not hold; empty for an error.
    """

    numeric: str = ""
    bad: str = ""

    @property
    def decimal(self) -> pa.DataType | None:
        """The decimal that is chosen for numbers; ``None`` for text.

        Raises:
            SourceError: It is no decimal.
        """
        if self.numeric in {"", "text"}:
            return None
        found = _DECIMAL.fullmatch(self.numeric)
        if found is None or not 0 < int(found[1]) <= _DIGITS_MAX or int(found[2]) > int(found[1]):
            msg = f"{NUMERIC} is 'text' or a 'decimal(38, 10)', say, not {self.numeric!r}"
            raise SourceError(msg)
        return pa.decimal128(int(found[1]), int(found[2]))

    @property
    def bad_is_null(self) -> bool:
        """Whether a bad value is NULL.

        Raises:
            SourceError: The choice is neither of the two.
        """
        if self.bad not in {"", "error", "null"}:
            raise SourceError(f"{ON_BAD_VALUE} is 'error' or 'null', not {self.bad!r}")
        return self.bad == "null"

    def after(self, plain: str) -> str:
        """Return a URL with the choices at its end."""
        for key, value in ((NUMERIC, self.numeric), (ON_BAD_VALUE, self.bad)):
            if value:
                plain += f"{'&' if '?' in plain else '?'}{key}={value}"
        return plain

    def or_given(self, given: Mapping[str, object]) -> Choices:
        """Return the choices with those that are given beside the URL in their place.

        Raises:
            SourceError: One of them is none.
        """
        numeric, bad = given.get(NUMERIC), given.get(ON_BAD_VALUE)
        found = Choices(
            self.numeric if numeric is None else str(numeric), self.bad if bad is None else str(bad)
        )
        _ = found.decimal, found.bad_is_null
        return found


def split_choices(url: str) -> tuple[str, Choices]:
    """Return a URL without the choices at its end, and these."""
    found: dict[str, str] = {}
    while (match := _AT_END.search(url)) is not None:
        found.setdefault(match[1], match[2])
        url = url[: match.start()]
    return url, Choices(found.get(NUMERIC, ""), found.get(ON_BAD_VALUE, ""))
