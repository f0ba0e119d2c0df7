"""As whom a thread or async task acts, where a session's scope is open in it."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from affidavit.catalog.model.identity import Identity

_SCOPES: Final[ContextVar[Mapping[int, Identity]]] = ContextVar(
    "affidavit_scopes", default=MappingProxyType({})
)


class Scopes:
    """The scopes that are open on one lake, by thread and async task."""

    def current(self) -> Identity | None:
        """Return as whom this thread or task acts; ``None`` outside of scopes."""
        return _SCOPES.get().get(id(self))

    @contextmanager
    def acting_as(self, identity: Identity) -> Iterator[None]:
        """Act as ``identity`` until the block ends, however it ends."""
        token = _SCOPES.set({**_SCOPES.get(), id(self): identity})
        try:
            yield
        finally:
            _SCOPES.reset(token)
