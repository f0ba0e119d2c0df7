"""Who watches the tour: a hook that sees every search, a listener that is told of every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit import Change, CompletedSearch, SearchRequest
    from affidavit.catalog.store.protocol import Writer


class SearchLog:
    """A search hook: keeps a line for every search, before its rows are released."""

    def __init__(self) -> None:
        self.searches: list[CompletedSearch] = []

    def after(self, searches: Sequence[CompletedSearch]) -> None:
        """Note ``searches``; raising here would keep their rows from the caller."""
        self.searches += searches

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield what was asked, of which version, and what came back."""
        for search in self.searches:
            request = search.request
            yield {
                "mode": request.mode,
                "query": request.text,
                "k": request.k,
                "rows": search.rows.num_rows,
                "version": request.version,
                "index": search.index["name"] if search.index else None,
                "ms": search.duration_us / 1000,
            }


class KLimit:
    """A search hook: refuses a search for more than ``most`` rows."""

    def __init__(self, most: int) -> None:
        self._most = most

    def before(self, request: SearchRequest) -> None:
        """Raise if ``request`` asks for too much."""
        if request.k > self._most:
            msg = f"at most {self._most} rows a search, not {request.k}"
            raise PermissionError(msg)


class ChangeLog:
    """A change listener: keeps every change that it is told of, inside its transaction."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def on_change(self, change: Change, writer: Writer) -> None:  # noqa: ARG002 - the protocol's
        """Note ``change``; raising here would undo it."""
        self.changes.append(change)

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield who changed what."""
        for number, change in enumerate(self.changes, 1):
            yield {
                "#": number,
                "tenant": change.identity.tenant,
                "actor": change.identity.actor,
                "table": change.table,
                "kind": change.kind,
                "action": change.action,
                "rows": change.rows,
                "version": change.version_after and str(change.version_after),
            }
