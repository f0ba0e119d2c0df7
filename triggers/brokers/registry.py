"""Which brokers there are: by the word, or the scheme of the address, that names them.

A new one is a line in ``BROKERS``. One of a caller's own is handed over as an object instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeGuard

from affidavit.errors import LakeError
from affidavit.triggers.brokers.log import StoreLog
from affidavit.triggers.brokers.memory import MemoryBroker
from affidavit.triggers.brokers.nats.broker import NatsBroker
from affidavit.triggers.brokers.store import StoreBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.store.protocol import Store
    from affidavit.triggers.brokers.protocol import Broker

DEFAULT: Final = "memory"


def _in_memory(_address: str, _store: Store) -> Broker:
    return MemoryBroker()


def _at_the_store(_address: str, store: Store) -> Broker:
    return StoreBroker(store)


def _at_nats(address: str, store: Store) -> Broker:
    return NatsBroker(address, StoreLog(store))


BROKERS: Final[Mapping[str, Callable[[str, Store], Broker]]] = {
    "memory": _in_memory,
    "store": _at_the_store,
    "nats://": _at_nats,
    "tls://": _at_nats,
}
"""How each is opened, given its address and the store of the lake."""

_METHODS: Final = ("notify", "listen", "close")


def open_broker(broker: Broker | str | None, store: Store) -> Broker:
    """Return the broker that ``connect(broker=...)`` names, or was given.

    Raises:
        BrokerError: It cannot be reached.
        LakeError: There is no such broker.
    """
    if broker is None:
        broker = DEFAULT
    if isinstance(broker, str):
        word, mark, _ = broker.partition("://")
        opens = BROKERS.get(word + mark)
        if opens is not None:
            return opens(broker, store)
    elif _is_broker(broker):
        return broker
    # a word only: an address may hold a password, well-formed or not
    plain = isinstance(broker, str) and broker.isidentifier()
    shown = broker if plain else type(broker).__name__
    msg = f"broker must be 'memory', 'store', 'nats://host:port' or a Broker, got {shown!r}"
    raise LakeError(msg)


def _is_broker(given: object) -> TypeGuard[Broker]:
    """Return whether ``given`` has the protocol's methods."""
    return not isinstance(given, type) and all(
        callable(getattr(given, name, None)) for name in _METHODS
    )
