"""The exchange: between the log and whoever listens, for one opened lake."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from affidavit.catalog.topics.log import evict_old
from affidavit.triggers.brokers.protocol import Channel
from affidavit.triggers.brokers.registry import open_broker
from affidavit.triggers.subscriptions.runners import Runners
from affidavit.triggers.subscriptions.settling import Settling

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.topics.topic import Topic
    from affidavit.triggers.brokers.protocol import Broker

TIDY_S: Final = 60.0
"""How often what is too old is looked for."""

_log: Final = logging.getLogger("affidavit")


class Closes(Protocol):
    """What ends with the session: a subscription."""

    def close(self) -> None:
        """End it. Safe to call from any thread."""


class Exchange:
    """The broker of a session, its open subscriptions, and what runs on their deliveries.

    Args:
        lake: Whose topics are carried.
        broker: ``"memory"``, ``"store"``, ``"nats://host:port"``, or a
            :class:`~affidavit.triggers.brokers.protocol.Broker`.
        wake: Has :meth:`tidy` called soon.

    Raises:
        BrokerError: The broker cannot be reached.
        LakeError: There is no such broker.

    Attributes:
        runners: What runs until the session ends.
        settling: What commits what workers settle.
    """

    def __init__(self, lake: Lake, broker: Broker | str | None, wake: Callable[[], None]) -> None:
        self._lake = lake
        self._wake = wake
        self._broker = open_broker(broker, lake.store)
        self._tidied = monotonic()
        self.runners = Runners()
        self.settling = Settling(lake.store)
        self._open: WeakSet[Closes] = WeakSet()
        self._failing = False
        lake.news.listen(self.wake)

    def channel(self, topic: Topic) -> Channel:
        """Return a topic as brokers know it."""
        return Channel(self._lake.lake_id, topic.tenant, topic.topic_id, topic.name)

    def wake(self, topic: Topic) -> None:
        """Let whoever listens look again; a broker that fails is a reason to log, and no more."""
        if topic.retain_us is not None:
            self._wake()
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

    def opened(self, subscription: Closes) -> None:
        """Close ``subscription`` when this is closed."""
        self._open.add(subscription)

    def tidy(self) -> bool:
        """Let go of what is too old in every topic, now and then; there is nothing to ask again."""
        if monotonic() - self._tidied > TIDY_S and not self._lake.read_only:
            self._tidied = monotonic()
            evict_old(self._lake.store)
        return False

    def close(self) -> None:
        """End what runs, every subscription, and the broker."""
        self.runners.close()
        self._lake.news.silence(self.wake)
        for subscription in list(self._open):
            subscription.close()
        self._broker.close()
