"""Hooks: what sees every search before and after it runs, and may refuse it.

A hook is any object with some of :class:`SearchHook`'s methods. Hooks run in the order in which
they were added; ``after`` runs before the first row is released, so a hook that raises there
leaves the caller with an error and no rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from affidavit.errors import AffidavitError, HookError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.engine.request import CompletedSearch, SearchRequest


@runtime_checkable
class SearchHook(Protocol):
    """What a hook may have; a hook without some method is not asked there."""

    def before(self, request: SearchRequest) -> None:
        """See a request that is about to run; raise to refuse it."""

    def after(self, searches: Sequence[CompletedSearch]) -> None:
        """See searches that ran, those of one batch together; raise to keep their rows back."""

    def failed(self, request: SearchRequest, error: BaseException) -> None:
        """See a request that raised ``error``, in the search or in a hook."""


class Hooks:
    """The hooks of a session."""

    def __init__(self) -> None:
        self._hooks: tuple[object, ...] = ()

    def __len__(self) -> int:
        return len(self._hooks)

    def add(self, hook: object) -> None:
        """Add ``hook``, last.

        Raises:
            TypeError: It has none of a hook's methods.
        """
        if not any(callable(getattr(hook, name, None)) for name in ("before", "after", "failed")):
            msg = f"expected an object with before, after or failed; got {type(hook).__name__}"
            raise TypeError(msg)
        self._hooks = (*self._hooks, hook)

    def remove(self, hook: object) -> None:
        """Remove ``hook`` if it is here."""
        self._hooks = tuple(each for each in self._hooks if each is not hook)

    def before(self, request: SearchRequest) -> None:
        """Ask every hook."""
        self._ask("before", request)

    def after(self, searches: Sequence[CompletedSearch]) -> None:
        """Tell every hook."""
        self._ask("after", searches)

    def failed(self, request: SearchRequest, error: BaseException) -> None:
        """Tell every hook; what one raises here is added to ``error`` as a note."""
        for hook in self._hooks:
            notify = getattr(hook, "failed", None)
            if notify is None:
                continue
            try:
                notify(request, error)
            except Exception as second:  # noqa: BLE001 - the first error is the one to report
                error.add_note(f"and hook {type(hook).__name__} failed too: {second}")

    def _ask(self, moment: str, subject: object) -> None:
        for hook in self._hooks:
            ask = getattr(hook, moment, None)
            if ask is None:
                continue
            try:
                ask(subject)
            except AffidavitError:
                raise
            except Exception as error:
                msg = f"hook {type(hook).__name__} refused {moment} the search: {error}"
                raise HookError(msg) from error
