"""Calls that a process which was started by a test dies before or after."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.stores import store_class


class Killing:
    """Kills this process at a point, such as ``before segment``, once it was there often enough.

    Args:
        point: ``before`` or ``after``, and what a call is called here.
        after: How many times it is passed first.
    """

    def __init__(self, point: str, after: int = 0) -> None:
        self.counting = True
        self._point = point
        self._left = after

    def hit(self, point: str) -> None:
        if not self.counting or point != self._point:
            return
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: object, name: str, label: str) -> None:
        """Be at a point before and after each call of ``owner``'s function."""
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.hit(f"before {label}")
            result = original(*args, **kwargs)
            self.hit(f"after {label}")
            return result

        setattr(owner, name, wrapped)

    def commits(self) -> None:
        """Be at ``after commit`` after each commit of the store."""
        kind = store_class()
        original = kind._transaction

        def transaction(store: object, *given: Any) -> Iterator[Any]:
            yield from original(store, *given)
            self.hit("after commit")

        kind._transaction = transaction
