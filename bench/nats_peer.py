"""NATS' own client, as a peer of topics: a stream, and a consumer that acknowledges each event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from nats.aio.client import Client

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

STREAM: Final = "stream"
SUBJECT: Final = "events"
FETCHED: Final = 64
"""How many messages are asked for at a time, as a consumer of a topic does."""


class NatsConsumer:
    """A durable consumer of a stream that has ``count`` messages of ``data``."""

    def __init__(self, url: str, data: bytes, count: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = Client()
        self._run(self._open(url, data, count))

    def _run(self, what: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(what)

    async def _open(self, url: str, data: bytes, count: int) -> None:
        await self._client.connect(url)
        stream = self._client.jetstream()
        await stream.add_stream(name=STREAM, subjects=[SUBJECT])
        for _ in range(count):
            await stream.publish(SUBJECT, data)
        self._consumer = await stream.pull_subscribe(SUBJECT, "consumer")

    def take(self, count: int, *, is_sure: bool = False) -> None:
        """Take and acknowledge ``count`` messages; ``is_sure`` waits for the server each time."""
        self._run(self._take(count, is_sure=is_sure))

    async def _take(self, count: int, *, is_sure: bool) -> None:
        while count:
            for each in await self._consumer.fetch(min(count, FETCHED)):
                await (each.ack_sync() if is_sure else each.ack())
                count -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._client.close())
        self._loop.close()
