"""``affidavit.aconnect``: a lake opened without holding a loop up, and an async session on it."""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from affidavit.engine.fronts.aio.asking import opened
from affidavit.engine.fronts.aio.session import AsyncSession
from affidavit.engine.session.connect import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType

    from affidavit.engine.session.session import Session


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


@wraps(connect, assigned=())  # its signature is what introspection shows
def aconnect(*args: Any, **kwargs: Any) -> Connecting:  # noqa: ANN401 - as connect says
    """Open a lake without holding a loop up, and return an async session on it, once awaited.

    Takes the arguments of :func:`affidavit.connect`, and raises its errors.
    """
    return Connecting(partial(connect, *args, **kwargs))
