"""Durations in seconds, as callers give them."""

from __future__ import annotations

from typing import Final, TypeGuard

SECONDS_MAX: Final = 10**9
"""The longest duration that is taken: longer than anything runs, and safe to reckon with."""


def is_seconds(value: object, *, least: float = 0.0) -> TypeGuard[float]:
    """Return whether ``value`` is a number of seconds from ``least`` to the longest."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and least <= value <= SECONDS_MAX
    )
