"""NATS' own client, as a peer of topics: a stream, and a consumer that acknowledges each event."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final, Self

from nats.aio.client import Client

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

STREAM: Final = "stream"
SUBJECT: Final = "events"
TIMEOUT_S: Final = 60.0
FETCHED: Final = 64
"""How many messages are asked for at a time, as a consumer of a topic does."""


class NatsPeer:
    """A client of NATS, and a stream of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = Client()
        self._run(self._begin(url))

    async def _begin(self, url: str) -> None:
        await self._client.connect(url)
        self._stream = self._client.jetstream()
        await self._stream.add_stream(name=STREAM, subjects=[SUBJECT])

    def _run(self, what: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(what)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._client.close())
        self._loop.close()


class NatsConsumer(NatsPeer):
    """A durable consumer of a stream that has ``count`` messages of ``data``."""

    def __init__(self, url: str, data: bytes, count: int) -> None:
        super().__init__(url)
        self._run(self._open(data, count))

    async def _open(self, data: bytes, count: int) -> None:
        for _ in range(count):
            await self._stream.publish(SUBJECT, data)
        self._consumer = await self._stream.pull_subscribe(SUBJECT, "consumer")

    def take(self, count: int, *, is_sure: bool = False) -> None:
        """Take and acknowledge ``count`` messages; ``is_sure`` waits for the server each time."""
        self._run(self._take(count, is_sure=is_sure))

    async def _take(self, count: int, *, is_sure: bool) -> None:
        while count:
            for each in await self._consumer.fetch(min(count, FETCHED)):
                await (each.ack_sync() if is_sure else each.ack())
                count -= 1


class NatsDelivery(NatsPeer):
    """Messages that are published and received in one process.

    Attributes:
        times: For how many seconds each was on its way.
    """

    def __init__(self, url: str, data: bytes) -> None:
        super().__init__(url)
        self.times: list[float] = []
        self._data = data
        self._run(self._subscribe())

    async def _subscribe(self) -> None:
        self._subscription = await self._stream.subscribe(SUBJECT)

    def send(self) -> None:
        """Publish a message, and receive it."""
        self._run(self._send())

    async def _send(self) -> None:
        started = perf_counter()
        publishing = asyncio.create_task(self._stream.publish(SUBJECT, self._data))
        found = await self._subscription.next_msg(TIMEOUT_S)
        self.times.append(perf_counter() - started)
        await publishing
        await found.ack()
