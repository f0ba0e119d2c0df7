"""What is put on record: the levels, from nothing to every row; each includes those before.

The session's floor is one for all that it does, a table's own policy one for all that is done with
the table: the stricter of the two holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping

OFF: Final = "off"
SEARCHES: Final = "searches"
STATEMENTS: Final = "statements"
READS: Final = "reads"
ROWS: Final = "rows"

LEVELS: Final = (OFF, SEARCHES, STATEMENTS, READS, ROWS)

TABLE_LEVELS: Final = (READS, ROWS)
"""What a table's own policy may be."""

TOLD: Final[Mapping[str, str | None]] = {
    f"audit = {level or 'none'!r}": level for level in (None, *TABLE_LEVELS)
}
"""What the journal says of a table whose policy changes, and what it becomes."""


def stricter(*levels: str | None) -> str:
    """Return the strictest of ``levels``; ``None`` is none."""
    return max((each for each in levels if each is not None), key=LEVELS.index, default=OFF)


def at_least(level: str | None, wanted: str) -> bool:
    """Return whether ``level`` puts on record what ``wanted`` does."""
    return level is not None and LEVELS.index(level) >= LEVELS.index(wanted)


def checked_level(level: object, allowed: tuple[str, ...] = LEVELS) -> str:
    """Return ``level``, if it is one of those that are allowed.

    Raises:
        InvalidQueryError: It is none of them.
    """
    if not isinstance(level, str) or level not in allowed:
        *most, last = map(repr, allowed)
        none = "" if OFF in allowed else "; NULL, in Python None, takes the policy away"
        msg = f"audit must be {', '.join(most)} or {last}, got {level!r}{none}"
        raise InvalidQueryError(msg)
    return level
