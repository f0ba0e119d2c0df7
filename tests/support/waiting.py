"""Waiting for what must come: as short as can be, and no longer than a limit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_S = 0.005


def eventually(
    holds: Callable[[], object], said: str = "it did not happen", *, seconds: float = 30.0
) -> None:
    """Return once ``holds``; fail with ``said`` where it does not within the limit."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, said
        time.sleep(TURN_S)
