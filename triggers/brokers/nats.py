"""The NATS broker: JetStream gets every event of a notified topic, and its subscribers are woken.

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
    - One thread and its loop own the connection and all state. ``notify``, ``listen`` and ``close``
      post to it and wait for no server.
    - A lost connection is never mended: a new one starts from what the server has.
    - No password or token stands in an error, a log line or a repr.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.errors import BrokerError, ClosedError
from affidavit.triggers.brokers.address import (
    Address,
    headers_of,
    stream_of,
    subject_of,
    subjects_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import ModuleType

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.js import JetStreamContext

    from affidavit.triggers.brokers.protocol import Channel, LoggedEvent, LogReader

PAGE_MAX: Final = 200
"""How many events are read, and sent as one batch, at a time; servers allow 1,000."""
HEADERS_MAX: Final = 1_024
"""What a message's headers may take of the server's ``max_payload``, in bytes."""
ANSWER_S: Final = 5.0
FLUSH_S: Final = 1.0
HANG_UP_S: Final = 0.5
CLOSE_S: Final = 2.0
RETRY_S: Final = 1.0
RECONNECT_MIN_S: Final = 0.2
RECONNECT_MAX_S: Final = 2.0
PING_S: Final = 5
LOSS_S: Final = 0.1
"""How soon a loss is seen; nats-py's own callback does not come when its last write fails."""

_log = logging.getLogger("affidavit")


# --- state, all of it the loop's own -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stream:
    created: str
    atomic: bool


@dataclass(slots=True)
class _Link:
    """One connection, from its opening to its loss."""

    client: Client
    js: JetStreamContext
    streams: dict[str, _Stream] = field(default_factory=dict)
    heard: dict[str, Subscription] = field(default_factory=dict)
    hearing: asyncio.Lock = field(default_factory=asyncio.Lock)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


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


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    while tasks:  # more than once: nats-py swallows a cancellation while it flushes
        for task in tasks:
            task.cancel()
        ended, _ = await asyncio.wait(tasks, timeout=HANG_UP_S)
        tasks = tasks - ended


def _library() -> ModuleType:
    try:
        import nats  # noqa: PLC0415 - an optional library, imported where it is asked for
    except ImportError:
        raise BrokerError(
            "the NATS broker needs the package nats-py: pip install 'affidavit[nats]'"
        ) from None
    return nats


class NatsBroker:
    """Relays topics into NATS JetStream and wakes their subscribers; a :class:`Broker`.

    Args:
        url: ``nats://[user:password@|token@]host[:port]``; ``tls://`` insists on TLS. Of a cluster,
            give a name that resolves to its servers.
        read: How the log is read; called on a thread of the broker's.
        connect_timeout_s: How long the server may take to answer.

    Raises:
        BrokerError: The server is not there, refuses, or has no JetStream; or nats-py is missing.
    """

    def __init__(self, url: str, read: LogReader, *, connect_timeout_s: float = 5.0) -> None:
        self._nats = _library()
        self._address = Address.parse(url)
        self._read = read
        self._connect_timeout_s = connect_timeout_s
        self._told: set[Channel] = set()
        self._relays: dict[Channel, _Relay] = {}
        self._wakes: defaultdict[str, dict[object, Callable[[], None]]] = defaultdict(dict)
        self._link: _Link | None = None
        self._lives: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._reader = ThreadPoolExecutor(1, "affidavit-nats-reader")
        self._loop = asyncio.new_event_loop()
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._live, args=(opened,), name="affidavit-nats", daemon=True
        )
        self._thread.start()
        try:
            opened.result()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"NatsBroker({str(self._address)!r})"

    def notify(self, channel: Channel) -> None:
        """Relay what is new in ``channel``; returns at once."""
        if channel not in self._told:  # a burst is one message to the loop
            self._told.add(channel)
            self._post(self._relay_soon, channel)

    def listen(self, channel: Channel, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when a message comes, and whenever the subscription was made anew.

        Returns:
            What ends it.
        """
        subject, key = subject_of(channel), object()
        self._post(self._listen, subject, key, wake)
        return lambda: self._post(self._listen, subject, key, None)

    def close(self) -> None:
        """Relay what is committed if that takes less than a second, and end. Safe to call twice."""
        self._post(self._closing.set)
        self._thread.join(CLOSE_S)
        self._reader.shutdown(wait=False, cancel_futures=True)

    # --- the thread and its connections ---

    def _post(self, call: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: there is nothing to tell any more
            self._loop.call_soon_threadsafe(call, *args)

    def _live(self, opened: Future[None]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main(opened))

    async def _main(self, opened: Future[None]) -> None:
        # What nats-py drops on the floor when a connection dies was said once already.
        self._loop.set_exception_handler(lambda _loop, what: _log.debug("NATS: %s", what))
        self._lives |= asyncio.all_tasks()
        try:
            link = await self._connect()
        except BrokerError as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        life = self._loop.create_task(self._stay_connected(link))
        self._lives.add(life)
        await self._closing.wait()
        if self._link is not None and self._link.tasks:
            await asyncio.wait(self._link.tasks, timeout=FLUSH_S)
        life.cancel()
        await asyncio.wait({life})

    async def _stay_connected(self, link: _Link) -> None:
        while True:
            await self._serve(link)
            _log.warning(
                "NATS at %s was lost: subscribers read the log until it is back", self._address
            )
            link = await self._reconnect()
            _log.info("NATS at %s is back", self._address)

    async def _reconnect(self) -> _Link:
        wait_s = RECONNECT_MIN_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                return await self._connect()
            except BrokerError:
                wait_s = min(2 * wait_s, RECONNECT_MAX_S)

    async def _connect(self) -> _Link:
        """Return a connection to a server that has JetStream, or raise BrokerError in time."""
        client: Client = self._nats.NATS()
        reasons: list[Exception] = []

        async def failed(error: Exception) -> None:
            del reasons[:]
            reasons.append(error)

        def insist_on_tls() -> None:
            # nats-py speaks plain text to a server that does not ask for TLS, whatever the scheme.
            if self._address.tls and not client._server_info.get("tls_required"):  # noqa: SLF001
                raise self._nats.errors.SecureConnWantedError

        def secret() -> str:
            insist_on_tls()  # nats-py asks for it after the server's greeting
            return self._address.password or self._address.user or ""

        has_user = self._address.password is not None
        try:
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self._hang_up, client)
                async with asyncio.timeout(self._connect_timeout_s):
                    await client.connect(
                        f"nats://{self._address}",
                        user=self._address.user if has_user else None,
                        password=secret if has_user else None,
                        token=secret if self._address.user and not has_user else None,
                        name="affidavit",
                        error_cb=failed,
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        connect_timeout=max(1, round(self._connect_timeout_s)),
                        ping_interval=PING_S,
                    )
                    insist_on_tls()
                    js: JetStreamContext = client.jetstream(timeout=ANSWER_S)
                    await js.account_info()
                undo.pop_all()
        except self._nats.js.errors.ServiceUnavailableError as error:
            raise BrokerError(
                f"NATS at {self._address} has no JetStream: start the server with -js, and allow "
                "JetStream to the account"
            ) from error
        except Exception as error:  # whatever nats-py makes of whoever listens there
            told = reasons[-1] if reasons else error
            why = str(told) or f"no answer within {self._connect_timeout_s:g} s"
            raise BrokerError(f"NATS at {self._address} cannot be used: {why}") from error
        return _Link(client, js)

    async def _hang_up(self, client: Client) -> None:
        """Close the connection, and end what nats-py left running: this loop has nothing else."""
        with suppress(TimeoutError, OSError, self._nats.errors.Error):
            async with asyncio.timeout(HANG_UP_S):
                await client.close()
        await _end(asyncio.all_tasks() - self._lives)
        # What dies while it is being closed leaves nats-py with an open socket.
        writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001
        if writer is not None:
            writer.transport.abort()

    async def _serve(self, link: _Link) -> None:
        """Relay and listen until ``link`` is lost."""
        self._link = link
        for subject in self._wakes:
            link.spawn(self._attend(link, subject))
        for relay in self._relays.values():
            relay.last = None
            self._start(relay)
        try:
            while link.client.is_connected:  # noqa: ASYNC110 - nats-py has no event to trust
                await asyncio.sleep(LOSS_S)
        finally:
            self._link = None
            await _end(link.tasks)
            await self._hang_up(link.client)

    # --- listening ---

    def _listen(self, subject: str, key: object, wake: Callable[[], None] | None) -> None:
        if wake is not None:
            self._wakes[subject][key] = wake
        else:
            self._wakes[subject].pop(key, None)
        if self._link is not None:
            self._link.spawn(self._attend(self._link, subject))

    async def _attend(self, link: _Link, subject: str) -> None:
        """Be subscribed exactly while somebody listens, and wake them for what came before."""

        async def came(_message: Msg) -> None:
            self._wake(subject)

        with suppress(self._nats.errors.Error):  # the next connection subscribes anew
            async with link.hearing:
                heard = link.heard.pop(subject, None)
                if self._wakes[subject]:
                    link.heard[subject] = heard or await link.client.subscribe(subject, cb=came)
                    await link.client.flush(round(ANSWER_S))
                else:
                    del self._wakes[subject]
                    if heard is not None:
                        await heard.unsubscribe()
            self._wake(subject)

    def _wake(self, subject: str) -> None:
        for wake in self._wakes.get(subject, {}).values():
            self._loop.call_soon(wake)  # what it raises is its own affair

    # --- relaying ---

    def _relay_soon(self, channel: Channel) -> None:
        self._told.discard(channel)  # before the log is read: what is committed now is read then
        relay = self._relays.get(channel)
        if relay is None:
            relay = _Relay(channel, stream_of(channel), subject_of(channel))
            self._relays[channel] = relay
        self._start(relay)

    def _start(self, relay: _Relay) -> None:
        relay.told = True
        if self._link is not None and not relay.running:
            relay.running = True
            self._link.spawn(self._relay(self._link, relay))

    async def _relay(self, link: _Link, relay: _Relay) -> None:
        try:
            while relay.told and self._link is link:
                relay.told = False
                try:
                    await self._catch_up(link, relay)
                    relay.failing = False
                except ClosedError:
                    return  # the session ended, and its log with it
                except Exception as error:  # noqa: BLE001 - the reader's errors are not ours to know
                    relay.told, relay.last = True, None
                    link.streams.pop(relay.stream, None)
                    if not (link.client.is_closed or relay.failing):
                        relay.failing = True
                        _log.warning(
                            "topic %r is not relayed to NATS at %s until this ends: %s: %s",
                            relay.channel.name, self._address, type(error).__name__, error,
                        )  # fmt: skip
                    await asyncio.sleep(RETRY_S)
        finally:
            relay.running = False

    async def _catch_up(self, link: _Link, relay: _Relay) -> None:
        """Relay until the log has no more."""
        if relay.last is None:
            await self._look_up(link, relay)
        while events := await self._loop.run_in_executor(
            self._reader, self._read, relay.channel, relay.next, PAGE_MAX
        ):
            try:
                await self._send(link, relay, events)
            except self._nats.js.errors.APIError:
                # Mostly another process was quicker, and the stream has moved on. If it has not,
                # the server wants no batch, or has another reason to refuse.
                known, stream = (relay.next, relay.last), link.streams[relay.stream]
                await self._look_up(link, relay)
                if known == (relay.next, relay.last):
                    if not stream.atomic:
                        raise
                    link.streams[relay.stream] = _Stream(stream.created, atomic=False)

    async def _look_up(self, link: _Link, relay: _Relay) -> None:
        """Learn from the stream how far the channel was relayed."""
        stream = link.streams.get(relay.stream)
        if stream is None:
            stream = link.streams[relay.stream] = await self._open_stream(link, relay)
        if stream.created != relay.born:
            relay.born, relay.next = stream.created, 0
        try:
            message = await link.js.get_last_msg(relay.stream, relay.subject)
        except self._nats.js.errors.NotFoundError:
            relay.last = 0  # none yet; or they expired, and what was relayed is not again
            return
        headers = message.headers or {}
        if headers.get("Affidavit-Topic-Id") == relay.channel.topic_id:
            relay.next = int(headers["Affidavit-Offset"]) + 1
        relay.last = message.seq or 0

    async def _open_stream(self, link: _Link, relay: _Relay) -> _Stream:
        wanted = {
            "name": relay.stream,
            "subjects": [subjects_of(relay.channel)],
            "storage": "file",
            "allow_atomic": True,
        }
        answer: dict[str, object] = {}
        # One that is there already may have limits by now, and then is not what was asked for.
        for verb, body in (("CREATE", wanted), ("INFO", {})):
            reply = await link.client.request(
                f"$JS.API.STREAM.{verb}.{relay.stream}", json.dumps(body).encode(), ANSWER_S
            )
            answer = json.loads(reply.data)
            config = answer.get("config")
            if isinstance(config, dict):
                return _Stream(str(answer.get("created")), config.get("allow_atomic") is True)
        raise BrokerError(f"the stream {relay.stream!r} cannot be made: {answer.get('error')}")

    async def _send(self, link: _Link, relay: _Relay, events: list[LoggedEvent]) -> None:
        """Store ``events`` directly behind the subject's last message, or raise APIError."""
        atomic = link.streams[relay.stream].atomic
        for batch in [events] if atomic else [[event] for event in events]:
            name = uuid4().hex
            for place, event in enumerate(batch, 1):
                headers, data = headers_of(relay.channel, event), event.data
                if len(data) > link.client.max_payload - HEADERS_MAX:
                    headers["Affidavit-Too-Large"], data = "1", b""
                if place == 1:
                    headers["Nats-Expected-Last-Subject-Sequence"] = str(relay.last)
                if len(batch) > 1:
                    headers |= {"Nats-Batch-Id": name, "Nats-Batch-Sequence": str(place)}
                if place < len(batch):
                    await link.client.publish(relay.subject, data, headers=headers)
                    continue
                if len(batch) > 1:
                    headers["Nats-Batch-Commit"] = "1"
                ack = await link.js.publish(relay.subject, data, ANSWER_S, headers=headers)
                relay.last, relay.next = ack.seq, event.offset + 1
