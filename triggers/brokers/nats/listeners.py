"""Listeners: who is woken when a message comes for a subject."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from affidavit.triggers.brokers.nats.connection import ANSWER_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from affidavit.triggers.brokers.nats.connection import Connection


class Listeners:
    """Subscribed over whatever connection there is; all of it runs in the loop.

    Args:
        nats: The library.
    """

    def __init__(self, nats: ModuleType) -> None:
        self._nats = nats
        self._wakes: defaultdict[str, dict[object, Callable[[], None]]] = defaultdict(dict)
        self._connection: Connection | None = None
        self._heard: dict[str, Subscription] = {}
        self._hearing = asyncio.Lock()

    def begin(self, connection: Connection) -> None:
        """Listen over a new connection."""
        self._connection, self._heard, self._hearing = connection, {}, asyncio.Lock()
        for subject in self._wakes:
            connection.spawn(self._attend(connection, subject))

    def end(self) -> None:
        """Listen over that connection no more; its tasks are about to end."""
        self._connection = None

    def add(self, subject: str, key: object, wake: Callable[[], None]) -> None:
        """Call ``wake`` when a message comes, until ``key`` is removed."""
        self._wakes[subject][key] = wake
        self._attend_soon(subject)

    def remove(self, subject: str, key: object) -> None:
        """Call no more what was added under ``key``."""
        self._wakes[subject].pop(key, None)
        self._attend_soon(subject)

    def _attend_soon(self, subject: str) -> None:
        if self._connection is not None:
            self._connection.spawn(self._attend(self._connection, subject))

    async def _attend(self, connection: Connection, subject: str) -> None:
        """Be subscribed exactly while somebody listens, and wake them for what came before."""

        async def came(_message: Msg) -> None:
            self._wake(subject)

        with suppress(self._nats.errors.Error):  # the next connection subscribes anew
            async with self._hearing:
                heard = self._heard.pop(subject, None)
                if self._wakes[subject]:
                    subscribe = connection.client.subscribe
                    self._heard[subject] = heard or await subscribe(subject, cb=came)
                    await connection.client.flush(round(ANSWER_S))
                else:
                    del self._wakes[subject]
                    if heard is not None:
                        await heard.unsubscribe()
            self._wake(subject)

    def _wake(self, subject: str) -> None:
        loop = asyncio.get_running_loop()
        for wake in self._wakes.get(subject, {}).values():
            loop.call_soon(wake)  # what it raises is its own affair
