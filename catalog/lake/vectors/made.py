"""What is made of versions of tables to be searched, and kept: once each, up to a size in all."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Value = TypeVar("Value")

FRESH_BYTES_MAX: Final = 128 * 1024 * 1024
"""How much the indexes in memory of one lake may take."""

SHARE_OF_LIMIT: Final = 4
"""And of a memory limit that is lower: one part of so many."""

KNOWN_MAX: Final = 1024
"""Of so many versions of tables it is known which indexes they have."""


@dataclass(slots=True)
class _Held(Generic[Value]):
    """What is made under its lock; its size is 0 before."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Value | None = None
    size: int = 0


class Made(Generic[Value]):
    """What was made, by keys; what was not asked the longest goes first.

    Safe across threads: who asks for what another makes waits for that, and for nothing else.

    Args:
        size_max: How large all may be together.
    """

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self._held: OrderedDict[Hashable, _Held[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], tuple[Value, int]]) -> Value:
        """Return what ``make`` gives for ``key``, with its size above 0; it is asked once."""
        with self._lock:
            held = self._held.setdefault(key, _Held())
            self._held.move_to_end(key)
        with held.lock:
            if not held.size:
                held.value, held.size = make()
                self._make_room()
            assert held.value is not None
            return held.value

    def _make_room(self) -> None:
        with self._lock:
            total = sum(each.size for each in self._held.values())
            while total > self.size_max and len(self._held) > 1:
                total -= self._held.popitem(last=False)[1].size


class MetIndexes:
    """The indexes of a lake's tables, as far as searches have met them.

    Attributes:
        texts: The full-text indexes that a version has, as they are described.
        vectors: The vector indexes likewise, and of each index how it is parted.
        fresh: Full-text indexes that were made in memory.
    """

    def __init__(self, memory_limit: int | None = None) -> None:
        limit = FRESH_BYTES_MAX if memory_limit is None else memory_limit // SHARE_OF_LIMIT
        self.texts: Made[Any] = Made(KNOWN_MAX)
        self.vectors: Made[Any] = Made(KNOWN_MAX)
        self.fresh: Made[Any] = Made(min(limit, FRESH_BYTES_MAX))
