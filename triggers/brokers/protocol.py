"""What affidavit asks of a broker: to carry news, and nothing else.

Rules:
    - The log in the store is the truth. A broker says that there is something new in it; whoever is
      told reads the log. So nothing is lost or doubled where a broker is late, down or repeats
      itself.
    - Whatever happens to a broker after it was opened, no method raises and none waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic, as brokers know it.

    Attributes:
        lake_id: The lake.
        tenant: Whose topic it is, as the store writes it: empty for the shared scope.
        topic_id: The topic's identity, which no other ever has.
        name: Its name.
    """

    lake_id: str
    tenant: str
    topic_id: str
    name: str


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event as the log has it.

    Attributes:
        offset: Its place in the topic, from 0 without a gap.
        produced_at: When it was published, in microseconds since the epoch.
        rows: How many rows it has.
        data: An Arrow IPC stream: the schema, then one record batch.
    """

    offset: int
    produced_at: int
    rows: int
    data: bytes


class LogReader(Protocol):
    """How a broker that carries the events themselves reads them."""

    def __call__(self, channel: Channel, first: int, limit: int) -> list[LoggedEvent]:
        """Return up to ``limit`` events from offset ``first`` on, or from the oldest kept."""


class Broker(Protocol):
    """Carries the news of one lake's topics between sessions."""

    def notify(self, channel: Channel) -> None:
        """Say that ``channel`` has new events; they are committed."""

    def listen(self, channel: Channel, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` from any thread whenever ``channel`` may have new events.

        ``wake`` returns at once and may be called without need.

        Returns:
            What ends it.
        """

    def close(self) -> None:
        """End every listening and release what is held. Safe to call twice."""
