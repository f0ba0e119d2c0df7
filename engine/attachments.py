"""What a session attaches: databases, files, and frames in memory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.expression import quoted
from affidavit.catalog.ingest import to_reader
from affidavit.catalog.lake import CATALOG_FILE
from affidavit.catalog.names import CATALOG, MAIN_SCHEMA, check_table_name
from affidavit.catalog.providers import memory_table
from affidavit.catalog.sources.attached import (
    forget,
    is_database,
    open_database,
    parse_url,
    remember,
)
from affidavit.catalog.system import SYSTEM_TABLES
from affidavit.errors import SourceError, TableExistsError, TableNotFoundError
from affidavit.triggers.topics import note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.catalog import Catalog
    from affidavit.catalog.definition import TableInfo
    from affidavit.engine.paths import AllowedPaths
    from affidavit.engine.planner import Planner

_FORMATS: Final = {
    "parquet": "PARQUET", "csv": "CSV", "tsv": "CSV", "json": "JSON", "ndjson": "JSON",
    "jsonl": "JSON", "arrow": "ARROW", "feather": "ARROW", "ipc": "ARROW", "avro": "AVRO",
}  # fmt: skip


class Attachments:
    """Attaches for one identity.

    Args:
        planner: Whose statements are to name what is attached.
        catalog: Where it is remembered.
        paths: The folders that it may be in.
        run: Runs an SQL statement.
    """

    def __init__(
        self, planner: Planner, catalog: Catalog, paths: AllowedPaths, run: Callable[[str], object]
    ) -> None:
        self._planner = planner
        self._catalog = catalog
        self._paths = paths
        self._run = run

    def attach(self, name: str, source: object, options: dict[str, Any]) -> None:
        """Make ``source`` readable; see :meth:`affidavit.Session.attach`."""
        check_table_name(name)
        if is_database(source):
            self._attach_database(name, str(source), options)
            return
        if (MAIN_SCHEMA, name) in self._planner.sources or self._find(name) is not None:
            raise TableExistsError(name)
        if not isinstance(source, str) and not hasattr(source, "__fspath__"):
            data = to_reader(source).read_all()
            self._planner.sources[MAIN_SCHEMA, name] = memory_table(data)
            return
        self._run(_external_table(name, str(source), options))

    def _attach_database(self, name: str, source: str, options: dict[str, Any]) -> None:
        catalog, url = self._catalog, parse_url(source)
        password = options.pop("password", None)
        if options:
            msg = f"attaching a database takes password=, not {sorted(options)}"
            raise SourceError(msg)
        if url.path:
            self._check_file(name, url.path)
        with catalog.read() as reader:
            taken = {*catalog.schemas(reader), *self._planner.databases, CATALOG, *SYSTEM_TABLES}
        if name in taken:
            raise TableExistsError(name, kind="schema or source")
        database = open_database(name, url, password)
        with ExitStack() as opened:
            opened.callback(database.close)
            database.tables()
            with catalog.write() as writer:
                remember(writer, name, url)
                note(catalog, writer, "source", name, "attach", {"url": url.plain})
            opened.pop_all()
        self._planner.attach(database)

    def _check_file(self, name: str, path: str) -> None:
        allowed = Path(self._paths.checked(path))
        if not allowed.is_file():
            msg = f"there is no file {path!r} to attach as {name!r}"
            raise SourceError(msg)
        if allowed.resolve() == (self._catalog.lake.path / CATALOG_FILE).resolve():
            msg = "a lake's own store cannot be attached: its tables are there already"
            raise SourceError(msg)

    def detach(self, name: str) -> None:
        """Forget what was attached by that name."""
        planner, catalog = self._planner, self._catalog
        if planner.sources.pop((MAIN_SCHEMA, name), None) is not None:
            return
        if name in planner.databases:
            with catalog.write() as writer:
                forget(writer, catalog.ledger, name)
                note(catalog, writer, "source", name, "detach", None)
            database = planner.detach(name)
            if database is not None:
                database.close()
            return
        info = self._find(name)
        if info is None or info.kind != "external":
            raise TableNotFoundError(name, known=[key[1] for key in planner.sources])
        self._run(f"DROP TABLE {quoted(name)}")

    def _find(self, name: str) -> TableInfo | None:
        with self._catalog.read() as reader:
            found = self._catalog.find(reader, name)
        return found if found is not None and found.tenant == self._catalog.tenant else None


def _external_table(name: str, location: str, options: Mapping[str, str]) -> str:
    given = dict(options)
    ending = location.rstrip("/").rpartition(".")[2].lower()
    kind = str(given.pop("format", _FORMATS.get(ending, ""))).upper()
    if kind not in _FORMATS.values():
        known = sorted(set(_FORMATS.values()))
        msg = f"cannot tell the format of {location!r}: pass format=, one of {known}"
        raise SourceError(msg)
    if ending == "tsv":
        given.setdefault("delimiter", "\t")
    text = ", ".join(f"'format.{_literal(k)}' '{_literal(v)}'" for k, v in given.items())
    clause = f" OPTIONS ({text})" if text else ""
    place = f"LOCATION '{_literal(location)}'{clause}"
    return f"CREATE EXTERNAL TABLE {quoted(name)} STORED AS {kind} {place}"


def _literal(value: object) -> str:
    return str(value).replace("'", "''")
