"""``affidavit.aconnect``: a lake opened without holding a loop up, and an async session on it."""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from affidavit.engine.fronts.aio.asking import opened
from affidavit.engine.fronts.aio.session import AsyncSession
from affidavit.engine.session.connect import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType

    from affidavit.engine.session.session import Session

P = ParamSpec("P")


class Connecting:
    """A lake that is opened once this is awaited, or entered: ``async with aconnect(...)``."""

    def __init__(self, connects: Callable[[], Session]) -> None:
        self._connects = connects
        self._session: AsyncSession | None = None

    async def _open(self) -> AsyncSession:
        return AsyncSession(await opened(self._connects))

    def __await__(self) -> Generator[Any, Any, AsyncSession]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncSession:
        self._session = await self._open()
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.__aexit__(kind, error, trace)


def _like(connects: Callable[P, Session]) -> Callable[P, Connecting]:
    @wraps(connects)
    def call(*args: P.args, **kwargs: P.kwargs) -> Connecting:
        return Connecting(partial(connects, *args, **kwargs))

    call.__name__ = call.__qualname__ = "aconnect"
    call.__doc__ = (
        f"{__doc__}\n\nTakes the arguments of :func:`affidavit.connect`, and raises its errors."
    )
    return call


aconnect = _like(connect)
