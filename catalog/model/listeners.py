"""Whom something is told: everybody's listeners, and those of one tenant."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Listener = TypeVar("Listener")


class Listeners(Generic[Listener]):
    """Listeners in the order in which they came. Safe across threads.

    Args:
        method: What they are told by.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._held: tuple[tuple[Listener, str | None], ...] = ()
        self._lock = threading.Lock()

    def add(self, listener: Listener, tenant: str | None = None) -> None:
        """Tell ``listener``: of one tenant only, or of all for ``None``.

        Raises:
            TypeError: It has no such method.
        """
        if not callable(getattr(listener, self._method, None)):
            msg = f"expected an object with {self._method}; got {type(listener).__name__}"
            raise TypeError(msg)
        with self._lock:
            self._held = (*self._held, (listener, tenant))

    def remove(self, listener: Listener) -> None:
        """Stop telling ``listener``."""
        with self._lock:
            self._held = tuple(pair for pair in self._held if pair[0] is not listener)

    def of(self, tenant: str) -> list[Listener]:
        """Return whom to tell of what is a tenant's."""
        return [listener for listener, only in self._held if only is None or only == tenant]
