"""Where a NATS server is, and what a topic and its events are called there.

The stream of a lake is ``AFFIDAVIT_<lake_id>``, and a topic's subject
``affidavit.<lake_id>.<tenant>.<topic>``: each word percent-encoded, its dots too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from affidavit.errors import BrokerError

if TYPE_CHECKING:
    from affidavit.triggers.brokers.protocol import Channel, LoggedEvent

PORT: Final = 4222
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _encoded(piece: str) -> str:
    return quote(piece, safe="").replace(".", "%2E")


def stream_of(channel: Channel) -> str:
    """Return the name of the stream that has the events of the channel's lake."""
    return f"AFFIDAVIT_{_encoded(channel.lake_id)}"


def subjects_of(channel: Channel) -> str:
    """Return the subjects of every topic of the channel's lake."""
    return f"affidavit.{_encoded(channel.lake_id)}.>"


def subject_of(channel: Channel) -> str:
    """Return the channel's subject."""
    tenant = _encoded(channel.tenant)
    if tenant.startswith("_"):  # no tenant is taken for the shared scope
        tenant = f"%5F{tenant[1:]}"
    return f"affidavit.{_encoded(channel.lake_id)}.{tenant or '_shared'}.{_encoded(channel.name)}"


def headers_of(channel: Channel, event: LoggedEvent) -> dict[str, str]:
    """Return the headers of the message that carries ``event``."""
    produced_at = _EPOCH + timedelta(microseconds=event.produced_at)
    return {
        "Nats-Msg-Id": f"{channel.topic_id}-{event.offset}",
        "Affidavit-Offset": str(event.offset),
        "Affidavit-Produced-At": f"{produced_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "Affidavit-Rows": str(event.rows),
        "Affidavit-Topic-Id": channel.topic_id,
    }


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is; in text, without the credentials."""

    host: str
    port: int
    tls: bool
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """Return a URL's address; BrokerError if it is none, without a word of it."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            rest = parts.path.strip("/") or parts.query or parts.fragment
            if parts.scheme not in {"nats", "tls"} or not host or rest:
                raise ValueError
        except ValueError:
            # What came is not repeated: a piece of a password may be what made it unreadable.
            raise BrokerError(
                "expected a NATS address nats://[user:password@|token@]host[:port], or tls://..., "
                "with special characters in the user, password or token percent-encoded"
            ) from None
        user, password = (
            None if given is None else unquote(given) for given in (parts.username, parts.password)
        )
        return cls(host, port or PORT, parts.scheme == "tls", user, password)
