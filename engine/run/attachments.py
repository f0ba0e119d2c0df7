"""What a session attaches: databases, files, and frames in memory."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sources.files.delta import LOG_FOLDER
from affidavit.catalog.sources.files.external import LAKE_FORMATS, NAMES_FILES
from affidavit.catalog.sources.files.iceberg import is_iceberg
from affidavit.catalog.sources.files.objects import checked_location, is_remote, split_options
from affidavit.catalog.sources.lake import SCHEME
from affidavit.catalog.sources.registry import (
    forget,
    is_database,
    parse_url,
    remember,
)
from affidavit.catalog.sql.expression import quoted
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA, RESERVED_SCHEMAS, check_table_name
from affidavit.catalog.store.migrations import APPLICATION_ID
from affidavit.catalog.values.ingest import to_reader
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.scans.sources import DatabaseSource
from affidavit.errors import ReservedNameError, SourceError, TableExistsError, TableNotFoundError
from affidavit.triggers.topics import note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.run.paths import AllowedPaths

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
        self._attach_files(name, str(source), options)

    def _attach_files(self, name: str, source: str, options: dict[str, Any]) -> None:
        # before it is looked at, and before it is in a statement: statements are kept
        location = self._paths.checked(checked_location(source))
        named, secrets, rest = split_options(location, options)
        text = _external_table(name, location, rest, named)
        with self._planner.stores.given(location, secrets):
            self._run(text)

    def _attach_database(self, name: str, source: str, options: dict[str, Any]) -> None:
        if name.casefold() in RESERVED_SCHEMAS:
            raise ReservedNameError(name, kind="source")
        catalog, url = self._catalog, parse_url(source)
        password = None if url.scheme == SCHEME else options.pop("password", None)
        if options:
            takes = "no options" if url.scheme == SCHEME else "password="
            msg = f"attaching a {url.scheme}:// source takes {takes}, not {sorted(options)}"
            raise SourceError(msg)
        if url.scheme == SCHEME:
            self._check_lake(url.path)
        elif url.path:
            self._check_file(name, url.path)
        with catalog.read() as reader:
            taken = {*catalog.schemas(reader), *self._planner.attached, CATALOG}
        if name in taken:
            raise TableExistsError(name, kind="schema or source")
        database = self._planner.open(name, url, password)
        with ExitStack() as opened:
            opened.callback(database.close)
            database.tables()
            with catalog.write() as writer:
                remember(writer, name, url)
                note(catalog, writer, "source", name, "attach", {"url": url.plain})
            opened.pop_all()
        self._planner.attach(database)

    def _check_lake(self, path: str) -> None:
        folder = Path(self._paths.checked(path))
        if self._paths.limited:
            msg = f"{path!r} cannot be attached by this session: {NAMES_FILES}"
            raise SourceError(msg)
        if folder.resolve() == self._catalog.lake.path.resolve():
            msg = "a lake cannot be attached to itself: its tables are there already"
            raise SourceError(msg)

    def _check_file(self, name: str, path: str) -> None:
        allowed = Path(self._paths.checked(path))
        if not allowed.is_file():
            msg = f"there is no file {path!r} to attach as {name!r}"
            raise SourceError(msg)
        if _is_store(allowed):
            msg = "a lake's own store has every tenant's rows: attach the lake, as lake:///folder"
            raise SourceError(msg)

    def refresh(self, name: str) -> None:
        """Look at the tables of a database again; those of a lake are always seen."""
        source = self._planner.attached.get(name)
        if source is None:
            raise TableNotFoundError(name, known=sorted(self._planner.attached))
        if isinstance(source, DatabaseSource):
            source.database.tables(refresh=True)

    def detach(self, name: str) -> None:
        """Forget what was attached by that name."""
        planner, catalog = self._planner, self._catalog
        if planner.sources.pop((MAIN_SCHEMA, name), None) is not None:
            return
        if name in planner.attached:
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


def _is_store(path: Path) -> bool:
    """Return whether a file is the store of a lake, whatever it is called."""
    with (
        suppress(sqlite3.Error),  # then it is none that SQLite can read
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as opened,
    ):
        owner: int = opened.execute("PRAGMA application_id").fetchone()[0]
        return owner == APPLICATION_ID
    return False


def _external_table(
    name: str, location: str, options: Mapping[str, object], named: Mapping[str, str]
) -> str:
    given = dict(options)
    ending = location.rstrip("/").rpartition(".")[2].lower()
    kind = str(given.pop("format", _lake_format(location) or _FORMATS.get(ending, ""))).upper()
    if kind in LAKE_FORMATS:
        unknown = sorted(given.keys() - LAKE_FORMATS[kind])
        if unknown:
            msg = f"{kind} takes the options {list(LAKE_FORMATS[kind])}, not {unknown}"
            raise SourceError(msg)
        return _create(name, location, kind, {**named, **given})
    if kind not in _FORMATS.values():
        known = sorted({*_FORMATS.values(), *LAKE_FORMATS})
        msg = f"cannot tell the format of {location!r}: pass format=, one of {known}"
        raise SourceError(msg)
    if ending == "tsv":
        given.setdefault("delimiter", "\t")
    return _create(name, location, kind, {**named, **{f"format.{k}": given[k] for k in given}})


def _lake_format(location: str) -> str:
    """Return the table format of a local folder or metadata file; empty if it has none."""
    if is_remote(location):
        return ""
    if (Path(location) / LOG_FOLDER).is_dir():
        return "DELTA"
    return "ICEBERG" if is_iceberg(location) else ""


def _create(name: str, location: str, kind: str, options: Mapping[str, object]) -> str:
    text = ", ".join(f"'{_literal(k)}' '{_literal(v)}'" for k, v in options.items())
    clause = f" OPTIONS ({text})" if text else ""
    place = f"LOCATION '{_literal(location)}'{clause}"
    return f"CREATE EXTERNAL TABLE {quoted(name)} STORED AS {kind} {place}"


def _literal(value: object) -> str:
    return str(value).replace("'", "''")
