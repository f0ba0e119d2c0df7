"""What an interrupt leaves open nowhere: blocks, and the lock of those who write.

A signal's handler may raise between any two calls. What was taken just then is known to nobody but
the frame that took it, which a traceback may keep for long.
"""

from __future__ import annotations

import os
import weakref
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import _GeneratorContextManager
    from pathlib import Path
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")


class _Block(AbstractContextManager[T]):
    """A block that undoes what it did where it is not entered after all."""

    def __init__(self, inner: _GeneratorContextManager[T]) -> None:
        self._inner = inner

    def __enter__(self) -> T:
        try:
            return self._inner.__enter__()
        except BaseException:
            self._inner.gen.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._inner.__exit__(kind, error, trace)


def settled(steps: Callable[P, Iterator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """Make a block of a generator as ``contextmanager`` does, for what must not be left open."""
    opened = contextmanager(steps)

    @wraps(steps)
    def block(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        return _Block(opened(*args, **kwargs))

    return block


class Baton:
    """A lock whose holder is an object, which gives itself back where it is lost.

    Any thread may give it back.
    """

    def __init__(self) -> None:
        self.free: SimpleQueue[Held] = SimpleQueue()
        self.free.put(Held(weakref.ref(self)))

    def take(self, timeout_s: float) -> Held | None:
        """Return what stands for the lock, once it is free; ``None`` if it was not in time."""
        try:
            return self.free.get(timeout=timeout_s)
        except Empty:
            return None


class Held:
    """The lock, in somebody's hands."""

    _baton: weakref.ref[Baton] | None = None

    def __init__(self, baton: weakref.ref[Baton] | None = None) -> None:
        self._baton = baton

    @property
    def is_holding(self) -> bool:
        """Whether it stands for the lock, and was not given back."""
        return self._baton is not None

    def give_back(self) -> None:
        """Let the next one have it; once is enough.

        An interrupt finds it either given back or not: whoever is interrupted here calls it again.
        """
        baton = None if self._baton is None else self._baton()
        if baton is None:
            return
        following, put = Held(), baton.free.put
        # from here on nothing is called but ``put``, and so nothing comes in between
        following._baton, self._baton = self._baton, None
        put(following)

    def __del__(self) -> None:
        self.give_back()


class Lines:
    """A lock that those who wait take in turn by whom they wait for: one of each at a time.

    Whoever has many who wait keeps another, who has one, waiting for one of them.
    """

    def __init__(self) -> None:
        self._baton = Baton()
        self._fronts: WeakValueDictionary[str, Baton] = WeakValueDictionary()

    def take(self, name: str, timeout_s: float) -> Held | None:
        """Return what stands for the lock, once it is free; ``None`` if it was not in time."""
        until_s = monotonic() + timeout_s
        # one of those who wait for ``name`` has it, and waits with the others' ones
        front = self._fronts.setdefault(name, Baton())
        place = front.take(timeout_s)
        if place is None:
            return None
        try:
            return self._baton.take(max(0.0, until_s - monotonic()))
        finally:
            place.give_back()


_of_a_file: WeakValueDictionary[tuple[int, str], Lines] = WeakValueDictionary()


def line_at(file: Path) -> Lines:
    """Return where all of this process wait who write into ``file``, each store of it.

    A file's own locks are polled: of two that want one, who comes again at once keeps the other
    from it. A fork has lines of its own, since nobody there would give back what was taken here.
    """
    return _of_a_file.setdefault((os.getpid(), str(file.resolve())), Lines())
