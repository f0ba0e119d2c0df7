"""The NATS broker: JetStream gets every event of a notified topic, and its subscribers are woken.

Rules:
    - One thread and its loop own the connection and all state. ``notify``, ``listen`` and ``close``
      post to it and wait for no server.
    - A lost connection is never mended: a new one starts from what the server has.
    - No password or token stands in an error, a log line or a repr.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from affidavit.errors import BrokerError
from affidavit.triggers.brokers.nats.address import Address, subject_of
from affidavit.triggers.brokers.nats.connection import Connector, library
from affidavit.triggers.brokers.nats.listeners import Listeners
from affidavit.triggers.brokers.nats.relays import Relays

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.triggers.brokers.nats.connection import Connection
    from affidavit.triggers.brokers.protocol import Channel, LoggedEvent, LogReader

FLUSH_S: Final = 1.0
CLOSE_S: Final = 2.0
RECONNECT_MIN_S: Final = 0.2
RECONNECT_MAX_S: Final = 2.0

_log = logging.getLogger("affidavit")


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
        nats = library()
        self._address = Address.parse(url)
        self._read = read
        self._lives: set[asyncio.Task[None]] = set()
        self._connector = Connector(nats, self._address, connect_timeout_s, self._lives)
        self._listeners = Listeners(nats)
        self._relays = Relays(nats, self._address, self._read_elsewhere)
        self._connection: Connection | None = None
        self._told: set[Channel] = set()
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
            self._post(self._relay, channel)

    def listen(self, channel: Channel, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when a message comes, and whenever the subscription was made anew.

        Returns:
            What ends it.
        """
        subject, key = subject_of(channel), object()
        self._post(self._listeners.add, subject, key, wake)
        return lambda: self._post(self._listeners.remove, subject, key)

    def close(self) -> None:
        """Relay what is committed if that takes less than a second, and end. Safe to call twice."""
        self._post(self._closing.set)
        self._thread.join(CLOSE_S)
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _post(self, call: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: there is nothing to tell any more
            self._loop.call_soon_threadsafe(call, *args)

    # --- in the loop ---

    def _relay(self, channel: Channel) -> None:
        self._told.discard(channel)  # before the log is read: what is committed now is read then
        self._relays.relay(channel)

    async def _read_elsewhere(self, channel: Channel, first: int, limit: int) -> list[LoggedEvent]:
        return await self._loop.run_in_executor(self._reader, self._read, channel, first, limit)

    def _live(self, opened: Future[None]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main(opened))

    async def _main(self, opened: Future[None]) -> None:
        # What nats-py drops on the floor when a connection dies was said once already.
        self._loop.set_exception_handler(lambda _loop, what: _log.debug("NATS: %s", what))
        self._lives |= asyncio.all_tasks()
        try:
            connection = await self._connector.open()
        except BrokerError as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        life = self._loop.create_task(self._stay_connected(connection))
        self._lives.add(life)
        await self._closing.wait()
        if self._connection is not None and self._connection.tasks:
            await asyncio.wait(self._connection.tasks, timeout=FLUSH_S)
        life.cancel()
        await asyncio.wait({life})

    async def _stay_connected(self, connection: Connection) -> None:
        while True:
            await self._serve(connection)
            _log.warning(
                "NATS at %s was lost: subscribers read the log until it is back", self._address
            )
            connection = await self._reconnect()
            _log.info("NATS at %s is back", self._address)

    async def _reconnect(self) -> Connection:
        wait_s = RECONNECT_MIN_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                return await self._connector.open()
            except BrokerError:
                wait_s = min(2 * wait_s, RECONNECT_MAX_S)

    async def _serve(self, connection: Connection) -> None:
        """Relay and listen until ``connection`` is lost."""
        self._connection = connection
        self._listeners.begin(connection)
        self._relays.begin(connection)
        try:
            await connection.until_lost()
        finally:
            self._connection = None
            self._listeners.end()
            self._relays.end()
            await self._connector.close(connection)
