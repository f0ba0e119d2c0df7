"""Relays: topics whose events go from the log into the stream of their lake.

What a client of NATS finds: the stream ``AFFIDAVIT_<lake>`` with one subject a topic,
``affidavit.<lake>.<tenant or _shared>.<topic>``; each piece is percent-encoded (RFC 3986, the dot
and a tenant's leading underscore too), so that none is special to NATS. A message is one event: an
Arrow IPC stream under the headers Nats-Msg-Id, Affidavit-Offset, Affidavit-Produced-At,
Affidavit-Rows and Affidavit-Topic-Id. One that the server's ``max_payload`` refuses has an empty
payload and ``Affidavit-Too-Large: 1``: read it from the lake.

Rules:
    - The stream says how far a topic was relayed. A message is stored only directly behind the one
      it was meant to follow (Nats-Expected-Last-Subject-Sequence), so that processes which relay
      one topic at the same time neither reorder nor double it. Many at once go as one atomic batch
      (server 2.12 and newer), else one by one: no other pipeline keeps that promise.
    - A failure is logged once, until it has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.errors import BrokerError, ClosedError
from affidavit.triggers.brokers.nats.address import headers_of, stream_of, subject_of, subjects_of
from affidavit.triggers.brokers.nats.connection import ANSWER_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from affidavit.triggers.brokers.nats.address import Address
    from affidavit.triggers.brokers.nats.connection import Connection
    from affidavit.triggers.brokers.protocol import Channel, LoggedEvent

PAGE_MAX: Final = 200
"""How many events are read, and sent as one batch, at a time; servers allow 1,000."""

HEADERS_MAX: Final = 1_024
"""What a message's headers may take of the server's ``max_payload``, in bytes."""

RETRY_S: Final = 1.0

_log = logging.getLogger("affidavit")


@dataclass(frozen=True, slots=True)
class _Stream:
    created: str
    atomic: bool


@dataclass(slots=True)
class _Relay:
    """How far one channel has come.

    Attributes:
        next: The first offset that the stream may lack.
        last: The sequence number of the subject's last message; None where it must be asked for.
        born: When the stream that ``next`` speaks of was created.
        told: Whether there may be something new in the log.
        running: Whether a task relays.
        failing: Whether a failure was logged that has not ended.
    """

    channel: Channel
    stream: str
    subject: str
    next: int = 0
    last: int | None = None
    born: str = ""
    told: bool = False
    running: bool = False
    failing: bool = False


class Relays:
    """Relays over whatever connection there is; all of it runs in the loop.

    Args:
        nats: The library.
        address: Where the server is, as log lines say it.
        read: Reads the log elsewhere than in the loop.
    """

    def __init__(
        self,
        nats: ModuleType,
        address: Address,
        read: Callable[[Channel, int, int], Awaitable[list[LoggedEvent]]],
    ) -> None:
        self._nats = nats
        self._address = address
        self._read = read
        self._relays: dict[Channel, _Relay] = {}
        self._connection: Connection | None = None
        self._streams: dict[str, _Stream] = {}

    def begin(self, connection: Connection) -> None:
        """Relay over a new connection, from what its server has."""
        self._connection, self._streams = connection, {}
        for relay in self._relays.values():
            relay.last = None
            self._start(relay)

    def end(self) -> None:
        """Relay over that connection no more; its tasks are about to end."""
        self._connection = None

    def relay(self, channel: Channel) -> None:
        """Relay what is new in ``channel``."""
        relay = self._relays.get(channel)
        if relay is None:
            relay = _Relay(channel, stream_of(channel), subject_of(channel))
            self._relays[channel] = relay
        self._start(relay)

    def _start(self, relay: _Relay) -> None:
        relay.told = True
        if self._connection is not None and not relay.running:
            relay.running = True
            self._connection.spawn(self._run(self._connection, relay))

    async def _run(self, connection: Connection, relay: _Relay) -> None:
        try:
            while relay.told and self._connection is connection:
                relay.told = False
                try:
                    await self._catch_up(connection, relay)
                    relay.failing = False
                except ClosedError:
                    return  # the session ended, and its log with it
                except Exception as error:  # noqa: BLE001 - the reader's errors are not ours to know
                    relay.told, relay.last = True, None
                    self._streams.pop(relay.stream, None)
                    if not (connection.client.is_closed or relay.failing):
                        relay.failing = True
                        _log.warning(
                            "topic %r is not relayed to NATS at %s until this ends: %s: %s",
                            relay.channel.name, self._address, type(error).__name__, error,
                        )  # fmt: skip
                    await asyncio.sleep(RETRY_S)
        finally:
            relay.running = False

    async def _catch_up(self, connection: Connection, relay: _Relay) -> None:
        """Relay until the log has no more."""
        if relay.last is None:
            await self._look_up(connection, relay)
        while events := await self._read(relay.channel, relay.next, PAGE_MAX):
            try:
                await self._send(connection, relay, events)
            except self._nats.js.errors.APIError:
                # Mostly another process was quicker, and the stream has moved on. If it has not,
                # the server wants no batch, or has another reason to refuse.
                known, stream = (relay.next, relay.last), self._streams[relay.stream]
                await self._look_up(connection, relay)
                if known == (relay.next, relay.last):
                    if not stream.atomic:
                        raise
                    self._streams[relay.stream] = _Stream(stream.created, atomic=False)

    async def _look_up(self, connection: Connection, relay: _Relay) -> None:
        """Learn from the stream how far the channel was relayed."""
        stream = self._streams.get(relay.stream)
        if stream is None:
            stream = self._streams[relay.stream] = await _open_stream(connection, relay)
        if stream.created != relay.born:
            relay.born, relay.next = stream.created, 0
        try:
            message = await connection.js.get_last_msg(relay.stream, relay.subject)
        except self._nats.js.errors.NotFoundError:
            relay.last = 0  # none yet; or they expired, and what was relayed is not again
            return
        headers = message.headers or {}
        if headers.get("Affidavit-Topic-Id") == relay.channel.topic_id:
            relay.next = int(headers["Affidavit-Offset"]) + 1
        relay.last = message.seq or 0

    async def _send(self, connection: Connection, relay: _Relay, events: list[LoggedEvent]) -> None:
        """Store ``events`` directly behind the subject's last message, or raise APIError."""
        client, atomic = connection.client, self._streams[relay.stream].atomic
        for batch in [events] if atomic else [[event] for event in events]:
            name = uuid4().hex
            for place, event in enumerate(batch, 1):
                headers, data = headers_of(relay.channel, event), event.data
                if len(data) > client.max_payload - HEADERS_MAX:
                    headers["Affidavit-Too-Large"], data = "1", b""
                if place == 1:
                    headers["Nats-Expected-Last-Subject-Sequence"] = str(relay.last)
                if len(batch) > 1:
                    headers |= {"Nats-Batch-Id": name, "Nats-Batch-Sequence": str(place)}
                if place < len(batch):
                    await client.publish(relay.subject, data, headers=headers)
                    continue
                if len(batch) > 1:
                    headers["Nats-Batch-Commit"] = "1"
                ack = await connection.js.publish(relay.subject, data, ANSWER_S, headers=headers)
                relay.last, relay.next = ack.seq, event.offset + 1


async def _open_stream(connection: Connection, relay: _Relay) -> _Stream:
    """Return the stream of the relay's lake, made if it is not there."""
    # in JetStream's own words: nats-py would name, and read back, every other setting too
    wanted = {
        "name": relay.stream,
        "subjects": [subjects_of(relay.channel)],
        "storage": "file",
        "allow_atomic": True,
    }
    answer: dict[str, object] = {}
    # One that is there already may have limits by now, and then is not what was asked for.
    for verb, body in (("CREATE", wanted), ("INFO", {})):
        reply = await connection.client.request(
            f"$JS.API.STREAM.{verb}.{relay.stream}", json.dumps(body).encode(), ANSWER_S
        )
        answer = json.loads(reply.data)
        config = answer.get("config")
        if isinstance(config, dict):
            return _Stream(str(answer.get("created")), config.get("allow_atomic") is True)
    raise BrokerError(f"the stream {relay.stream!r} cannot be made: {answer.get('error')}")
