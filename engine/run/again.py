"""A statement that is run again, for the replay of a read, and what it read as that is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from affidavit.catalog.model.definition import EXTERNAL, SqlDefinition
from affidavit.catalog.sources.files.external import parse_external
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.engine.scans.snapshot import asked
from affidavit.engine.statement.parameters import named_only

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.moment import Moment
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.result.result import Result


class View(Protocol):
    """A session on the lake as it was."""

    def sql(self, text: str, params: Mapping[str, Any]) -> Result:
        """Run a statement."""


class Again:
    """Runs statements at a moment; an :class:`~affidavit.engine.reads.rerun.Runs`.

    Args:
        view: Returns the session at a moment.
        planner: Returns what plans for it.
    """

    def __init__(self, view: Callable[[Moment], View], planner: Callable[[], Planner]) -> None:
        self._view = view
        self._planner = planner

    def __call__(self, moment: Moment, text: str, params: Mapping[str, Any]) -> pa.Table:
        """Return the rows of a statement."""
        return self._view(moment).sql(text, named_only(text, params)).to_arrow()

    def look(self, catalog: Catalog, name: str) -> dict[str, Any] | None:
        """Return what there is to say now of the files that a table is, or a path or URL."""
        schema, _, table = name.rpartition(".")
        planner, query = self._planner(), asked(catalog)
        with catalog.read() as reader:
            info = catalog.find(reader, table, schema)
        if info is None:  # a path or URL that the statement named itself
            path = name.removeprefix(f"{MAIN_SCHEMA}.")
            return planner.named_files.evidence(path, {}, query)
        if info.kind != EXTERNAL.name:
            return None
        assert isinstance(info.definition, SqlDefinition)
        made = parse_external(info.definition.sql)
        return planner.files(info.definition).evidence(made.location, made.options, query)
