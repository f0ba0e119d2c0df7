"""Between the log and whoever listens: the session's broker, and what reads through it."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import pyarrow as pa

from affidavit.catalog.topics.log import decode_event, evict_old, read_log
from affidavit.catalog.topics.topic import topic_by_id
from affidavit.errors import LakeError
from affidavit.triggers.brokers.memory import MemoryBroker
from affidavit.triggers.brokers.nats.broker import NatsBroker
from affidavit.triggers.brokers.protocol import Channel, LoggedEvent
from affidavit.triggers.brokers.store import StoreBroker
from affidavit.triggers.subscriptions.callbacks import STOPPING_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.topics.log import LogEvent
    from affidavit.catalog.topics.topic import Topic
    from affidavit.triggers.brokers.protocol import Broker
    from affidavit.triggers.subscriptions.callbacks import CallbackRunner
    from affidavit.triggers.subscriptions.subscription import Subscription

TIDY_S: Final = 60.0
"""How often what is too old is looked for."""

_log: Final = logging.getLogger("affidavit")


class Exchange:
    """The broker of a session, and its open subscriptions.

    Args:
        lake: Whose topics are carried.
        broker: ``"memory"``, ``"store"``, ``"nats://host:port"``, or a
            :class:`~affidavit.triggers.brokers.protocol.Broker`.
        poke: Has :meth:`tidy` called soon.

    Raises:
        BrokerError: The broker cannot be reached.
        LakeError: There is no such broker.
    """

    def __init__(self, lake: Lake, broker: object, poke: Callable[[], None]) -> None:
        self.lake = lake
        self._poke = poke
        self._broker = open_broker(broker, lake)
        self._tidied = monotonic()
        self.runners: dict[tuple[str, str], CallbackRunner] = {}
        self._open: WeakSet[Subscription] = WeakSet()
        self._failing = False
        lake.news.listen(self.wake)

    def channel(self, topic: Topic) -> Channel:
        """Return a topic as brokers know it."""
        return Channel(self.lake.lake_id, topic.tenant, topic.topic_id, topic.name)

    def wake(self, topic: Topic) -> None:
        """Let whoever listens look again; a broker that fails is a reason to log, and no more."""
        if topic.retain_us is not None:
            self._poke()
        try:
            self._broker.notify(self.channel(topic))
            self._failing = False
        except Exception as error:  # noqa: BLE001 - a broker of a caller's own may raise anything
            if not self._failing:
                self._failing = True
                _log.warning(
                    "the broker fails with %s: until it does not, subscribers look for new events "
                    "by themselves", type(error).__name__,
                )  # fmt: skip

    def listen(self, topic: Topic, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` whenever the topic may have new events; call what is returned to end it."""
        return self._broker.listen(self.channel(topic), wake)

    def opened(self, subscription: Subscription) -> None:
        """Close ``subscription`` when this is closed."""
        self._open.add(subscription)

    def tidy(self) -> bool:
        """Let go of what is too old in every topic, now and then; there is nothing to ask again."""
        if monotonic() - self._tidied > TIDY_S and not self.lake.read_only:
            self._tidied = monotonic()
            evict_old(self.lake.store)
        return False

    def close(self) -> None:
        """End every callback and subscription, and the broker."""
        runners = list(self.runners.values())
        for runner in runners:
            runner.stop()
        until = monotonic() + STOPPING_S  # for all of them together
        for runner in runners:
            runner.wait(until - monotonic())
        self.lake.news.silence(self.wake)
        for subscription in list(self._open):
            subscription.close()
        self._broker.close()


def open_broker(broker: object, lake: Lake) -> Broker:
    """Return the broker that ``connect(broker=...)`` names."""
    if broker is None or broker == "memory":
        return MemoryBroker()
    if broker == "store":
        return StoreBroker(lake.store)
    if isinstance(broker, str) and broker.startswith(("nats://", "tls://")):
        return NatsBroker(broker, _LogReader(lake))
    if not isinstance(broker, type) and all(
        callable(getattr(broker, name, None)) for name in ("notify", "listen", "close")
    ):
        return broker  # type: ignore[return-value]  # it has the protocol's methods
    # a word only: an address may hold a password, well-formed or not
    plain = isinstance(broker, str) and broker.isidentifier()
    shown = broker if plain else type(broker).__name__
    msg = f"broker must be 'memory', 'store', 'nats://host:port' or a Broker, got {shown!r}"
    raise LakeError(msg)


class _LogReader:
    """Reads the log for a broker that carries the events themselves."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def __call__(self, channel: Channel, first: int, limit: int) -> list[LoggedEvent]:
        """Return up to ``limit`` events from offset ``first`` on, as Arrow IPC streams."""
        with self._lake.store.read(channel.tenant) as reader:
            topic = topic_by_id(reader, channel.topic_id)
            if topic is None:
                return []
            events = read_log(reader, topic, first, limit=limit)
        return [_logged(topic.schema, event) for event in events]


def _logged(schema: pa.Schema, event: LogEvent) -> LoggedEvent:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(decode_event(schema, event.data))
    data = sink.getvalue().to_pybytes()
    return LoggedEvent(event.offset, event.produced_at, event.rows, data)
