"""Who is asking: stamped on every change, search and record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from affidavit.catalog.sql.names import SHARED, check_tenant
from affidavit.catalog.values.canonical import canonical
from affidavit.errors import AffidavitError, InvalidQueryError

CONTEXT_BYTES_MAX: Final = 8192
"""How long the context of a scope may be, as JSON."""


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
    scope. ``scoped`` marks an identity that a ``session.scope(tenant=...)`` narrowed. ``context``
    is what is known of the request, as canonical JSON; empty for nothing.
    """

    tenant: str
    actor: str = ""
    source: str = ""
    workspace: str = ""
    reason: str = ""
    scoped: bool = False
    context: str = ""

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
        context: Mapping[str, Any] | None = None,
    ) -> Identity:
        """Return this identity with the given parts replaced.

        Raises:
            InvalidQueryError: ``context`` is no JSON object, or larger than allowed.
        """
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
        if context is not None:
            given["context"] = _context_text(context)
        changed = replace(self, **{k: v for k, v in given.items() if v is not None})
        if isinstance(tenant, _Unset):
            return changed
        return replace(changed, tenant=check_tenant(tenant), scoped=True)


def _context_text(context: object) -> str:
    if not isinstance(context, Mapping) or not all(isinstance(name, str) for name in context):
        msg = f"context must be a dict with texts as its keys, got {type(context).__name__}"
        raise InvalidQueryError(msg)
    written = canonical(dict(context), "context")
    if len(written) > CONTEXT_BYTES_MAX:
        msg = f"context has {len(written):,} bytes as JSON, and {CONTEXT_BYTES_MAX:,} are allowed"
        raise InvalidQueryError(msg)
    return written.decode() if context else ""


class _IdentityTypeError(AffidavitError, TypeError):
    """An identity's part is not text."""
