"""Durations as callers give them: in seconds, or as text such as ``6y``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, TypeGuard

from affidavit.errors import InvalidQueryError

SECONDS_MAX: Final = 10**9
"""The longest duration that is taken: longer than anything runs, and safe to reckon with."""

_DAY_S: Final = 86_400
UNITS_S: Final = {
    "s": 1, "min": 60, "h": 3_600, "d": _DAY_S, "w": 7 * _DAY_S, "mo": 31 * _DAY_S,
    "y": 366 * _DAY_S,
}  # fmt: skip
"""How long each unit is; months and years are the longest that there are, so as to keep enough."""

KEPT_S_MAX: Final = 1000 * UNITS_S["y"]
_WRITTEN: Final = re.compile(rf"\s*(\d{{1,11}}(?:\.\d{{1,6}})?)\s*({'|'.join(UNITS_S)})\s*")


def is_seconds(value: object, *, least: float = 0.0) -> TypeGuard[float]:
    """Return whether ``value`` is a number of seconds from ``least`` to the longest."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and least <= value <= SECONDS_MAX
    )


def kept_us(value: object, name: str = "keep") -> int:
    """Return for how many microseconds something is kept.

    Args:
        value: A ``timedelta``, or text such as ``6y``, ``18mo``, ``90d``, ``12h``, ``30min``.
        name: What an error calls it.

    Raises:
        InvalidQueryError: It is none of these, or longer than 1,000 years.
    """
    seconds = -1.0
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str) and (written := _WRITTEN.fullmatch(value)):
        seconds = float(written[1]) * UNITS_S[written[2]]
    if not 0 <= seconds <= KEPT_S_MAX:
        msg = (
            f"{name} must be a timedelta, or text such as '6y', '18mo', '90d' or '12h', up to "
            f"1,000 years, got {value!r}"
        )
        raise InvalidQueryError(msg)
    return int(seconds * 1_000_000)
