"""Who is asking: stamped on every change, search and record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from affidavit.catalog.sql.names import SHARED, check_tenant
from affidavit.errors import AffidavitError


class _Unset:
    """The type of :data:`UNSET`."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()
"""An argument that was not given, where ``None`` has a meaning of its own."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A tenant, and who acts for it through what.

    ``tenant`` is as the store writes it: :data:`~affidavit.catalog.sql.names.SHARED` for the shared
    scope. ``scoped`` marks an identity that a ``session.scope(tenant=...)`` narrowed.
    """

    tenant: str
    actor: str = ""
    source: str = ""
    workspace: str = ""
    reason: str = ""
    scoped: bool = False

    @property
    def shown_tenant(self) -> str | None:
        """The tenant as callers write it: ``None`` for the shared scope."""
        return None if self.tenant == SHARED else self.tenant

    def narrowed(
        self,
        *,
        tenant: str | _Unset | None = UNSET,
        actor: str | None = None,
        source: str | None = None,
        workspace: str | None = None,
        reason: str | None = None,
    ) -> Identity:
        """Return this identity with the given parts replaced."""
        given: dict[str, Any] = {
            "actor": actor,
            "source": source,
            "workspace": workspace,
            "reason": reason,
        }
        for name, value in given.items():
            if value is not None and not isinstance(value, str):
                msg = f"{name} must be text, got {type(value).__name__}"
                raise _IdentityTypeError(msg)
        changed = replace(self, **{k: v for k, v in given.items() if v is not None})
        if isinstance(tenant, _Unset):
            return changed
        return replace(changed, tenant=check_tenant(tenant), scoped=True)


class _IdentityTypeError(AffidavitError, TypeError):
    """An identity's part is not text."""
