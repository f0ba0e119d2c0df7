"""The engines of a lake's tenants: those in use, and a few more.

Rules:
    - A tenant that somebody uses has one engine, whoever asks, and however many ask at once.
    - It is handed out once all that the tenant had attached is in it; if that fails, there is none.
    - Of those that nobody uses, the last few are kept. One that has what the lake does not remember
      stays until the lake is closed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.engine.plan.tenant import TenantEngine

IDLE_TENANTS_MAX: Final = 32
"""How many tenants' engines are kept that nobody uses."""


class TenantEngines:
    """The engines, by tenant.

    Args:
        make: Makes a tenant's engine, with what it has attached.
    """

    def __init__(self, make: Callable[[str], TenantEngine]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._alive: WeakValueDictionary[str, TenantEngine] = WeakValueDictionary()
        self._recent: OrderedDict[str, TenantEngine] = OrderedDict()
        self._kept: dict[str, TenantEngine] = {}
        self._making: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._alive)

    def of(self, tenant: str) -> TenantEngine:
        """Return a tenant's engine; the first to ask makes it, and others wait for that."""
        found, let_go = self._found(tenant)
        if found is not None:
            return found
        with self._lock:
            turn = self._making.setdefault(tenant, _Turn())
        with turn.lock:
            found, let_go = self._found(tenant)
            if found is None:
                found = self._make(tenant)
                with self._lock:
                    self._alive[tenant] = found
                    let_go = self._use(tenant, found)
        del let_go  # outside of the lock: what goes closes its connections
        return found

    def _found(self, tenant: str) -> tuple[TenantEngine | None, TenantEngine | None]:
        """Return the tenant's engine, if there is one, and the one that is let go for it."""
        with self._lock:
            found = self._alive.get(tenant)
            return found, None if found is None else self._use(tenant, found)

    def _use(self, tenant: str, engine: TenantEngine) -> TenantEngine | None:
        """Note that a tenant's engine is used now, and return the one that is let go for it."""
        self._recent[tenant] = engine
        self._recent.move_to_end(tenant)
        if len(self._recent) <= IDLE_TENANTS_MAX:
            return None
        oldest, let_go = self._recent.popitem(last=False)
        if let_go.is_kept:
            self._kept[oldest] = let_go
        return let_go

    def close(self) -> None:
        """Close what is attached, whoever still holds an engine."""
        with self._lock:
            engines = list(self._alive.values())
        for engine in engines:
            engine.close()


class _Turn:
    """Held by who makes one tenant's engine."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
