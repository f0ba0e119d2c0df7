"""Hooks: what sees every search before and after it runs, and may refuse it.

A hook is any object with some of :class:`SearchHook`'s methods. Hooks run in the order in which
they were added; ``after`` runs before the first row is released, so a hook that raises there
leaves the caller with an error and no rows.

In SQL, ``before`` runs on a thread of its own, for which the one that runs the plan waits: it must
not run SQL, or wait for who does. ``after`` and ``failed`` run on the caller's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, runtime_checkable

from affidavit.errors import AffidavitError, HookError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from affidavit.engine.search.request import CompletedSearch, SearchRequest


class SeesBefore(Protocol):
    """A hook that is asked before a search runs."""

    def before(self, request: SearchRequest) -> None:
        """See a request that is about to run; raise to refuse it."""


class SeesAfter(Protocol):
    """A hook that is asked before rows are released."""

    def after(self, searches: Sequence[CompletedSearch]) -> None:
        """See searches that ran, those of one batch together; raise to keep their rows back."""


class SeesFailed(Protocol):
    """A hook that is told of what failed."""

    def failed(self, request: SearchRequest, error: BaseException) -> None:
        """See a request that raised ``error``, in the search or in a hook."""


@runtime_checkable
class SearchHook(SeesBefore, SeesAfter, SeesFailed, Protocol):
    """What a hook may have; a hook without some method is not asked there."""


Hook: TypeAlias = SeesBefore | SeesAfter | SeesFailed
"""What a hook must have: one of the methods."""

_MOMENTS: Final = ("before", "after", "failed")


class Hooks:
    """The hooks of a session, or of one tenant in it."""

    def __init__(
        self, tenant: str | None = None, entries: list[tuple[Hook, str | None]] | None = None
    ) -> None:
        self._tenant = tenant
        self._entries: list[tuple[Hook, str | None]] = [] if entries is None else entries

    def of(self, tenant: str) -> Hooks:
        """Return these hooks as ``tenant`` may add to them: for its own searches."""
        return Hooks(tenant, self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, hook: Hook) -> None:
        """Add ``hook``, last.

        Raises:
            TypeError: It has none of a hook's methods.
        """
        if not any(callable(getattr(hook, name, None)) for name in _MOMENTS):
            msg = f"expected an object with before, after or failed; got {type(hook).__name__}"
            raise TypeError(msg)
        self._entries.append((hook, self._tenant))

    def remove(self, hook: Hook) -> None:
        """Remove ``hook`` if it is here."""
        self._entries[:] = [e for e in self._entries if e[0] is not hook or e[1] != self._tenant]

    def before(self, request: SearchRequest) -> None:
        """Ask every hook."""
        self._ask("before", request.identity.tenant, request)

    def after(self, searches: Sequence[CompletedSearch]) -> None:
        """Tell every hook; the searches of one batch are one tenant's."""
        self._ask("after", searches[0].request.identity.tenant, searches)

    def failed(self, request: SearchRequest, error: BaseException) -> None:
        """Tell every hook; what one raises here is added to ``error`` as a note."""
        for hook, notify in self._methods("failed", request.identity.tenant):
            try:
                notify(request, error)
            except Exception as second:  # noqa: BLE001 - the first error is the one to report
                error.add_note(f"and hook {type(hook).__name__} failed too: {second}")

    def _methods(self, moment: str, tenant: str) -> Iterator[tuple[Hook, Callable[..., None]]]:
        for hook, only in tuple(self._entries):
            method = getattr(hook, moment, None)
            if method is not None and only in {None, tenant}:
                yield hook, method

    def _ask(
        self, moment: str, tenant: str, subject: SearchRequest | Sequence[CompletedSearch]
    ) -> None:
        for hook, ask in self._methods(moment, tenant):
            try:
                ask(subject)
            except AffidavitError:
                raise
            except Exception as error:
                msg = f"hook {type(hook).__name__} refused {moment} the search: {error}"
                raise HookError(msg) from error
