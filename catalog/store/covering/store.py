"""A store whose writers sum up what they write, and have it signed before they commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.store.covering.writer import CoveredWriter
from affidavit.catalog.store.settled import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from affidavit.catalog.store.protocol import Store, Writer


class CoveredStore:
    """``inner``, whose transactions end with a signed head that states what moved in them.

    Args:
        inner: The store.
        sign: Signs for what has moved in a tenant's transaction that nobody signed for yet.
    """

    def __init__(self, inner: Store, sign: Callable[[str, Writer], None]) -> None:
        self._inner = inner
        self._sign = sign
        self.holds = inner.holds
        self.is_closed_to_writers = inner.is_closed_to_writers
        self.read = inner.read
        self.lock = inner.lock
        self.hurry = inner.hurry
        self.scrub = inner.scrub
        self.tenants = inner.tenants
        self.watch = inner.watch
        self.take_places = inner.take_places
        self.give_places_back = inner.give_places_back
        self.close = inner.close

    @settled
    def write(
        self, tenant: str, *, record: bool = False, timeout_s: float | None = None
    ) -> Iterator[Writer]:
        with self._inner.write(tenant, record=record, timeout_s=timeout_s) as opened:
            writer = CoveredWriter(opened, tenant)
            yield writer
            if writer.has_moved:
                self._sign(tenant, writer)
