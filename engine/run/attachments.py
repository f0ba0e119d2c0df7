"""What a session attaches: databases and lakes, files, and frames in memory."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from affidavit.catalog.journal.note import note
from affidavit.catalog.model.definition import EXTERNAL
from affidavit.catalog.sources.buckets.location import is_local
from affidavit.catalog.sources.buckets.options import refuse_secrets, split_options
from affidavit.catalog.sources.files.external import NAMES_FILES, external_sql
from affidavit.catalog.sources.files.guessed import check_there, database_at
from affidavit.catalog.sources.kinds import (
    At,
    check_reach,
    check_scheme,
    is_source_url,
    kind_of,
    parse_url,
)
from affidavit.catalog.sources.registry import forget, remember
from affidavit.catalog.sources.web.urls import is_web
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA, RESERVED_SCHEMAS, check_table_name
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.values.ingest import new_rows
from affidavit.engine.result.outcome import nothing
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.statement.commands import parse_attach, parse_detach
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import (
    InvalidNameError,
    PathNotAllowedError,
    ReservedNameError,
    SourceError,
    TableExistsError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.sources.url import SourceUrl
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement


_LOCATED: Final = re.compile(r"[/\\]|\.\w+$")
"""What a path or URL has, and no name."""


class Attachments:
    """Attaches for one identity.

    Args:
        planner: Whose statements are to name what is attached.
        catalog: Where it is remembered.
        reach: Where it may be.
        run: Runs an SQL statement.
    """

    def __init__(
        self, planner: Planner, catalog: Catalog, reach: Reach, run: Callable[[str], object]
    ) -> None:
        self._planner = planner
        self._catalog = catalog
        self._reach = reach
        self._run = run

    def attach(self, name: str, given: object, options: dict[str, Any]) -> None:
        """Make what is given readable; see :meth:`affidavit.Session.attach`."""
        _refuse_swapped(name, given)
        check_table_name(name)
        if is_source_url(given):
            self._attach_source(name, str(given), options)
            return
        told = _path_of(given)
        if told is not None and not told.strip():
            raise SourceError(f"expected a path or URL to attach, got {told!r}")
        check_scheme(told or "")
        if told is not None and is_web(told) and self._catalog.trace is None:
            self._attach_web(name, told, options)
            return
        scheme = None if told is None or "format" in options else self._database_at(told)
        if scheme is not None:
            self._attach_source(
                name, f"{scheme}:///{quote(str(Path(str(told)).absolute()))}", options
            )
            return
        held = self._planner.temporaries.find(MAIN_SCHEMA, name)
        taken = (MAIN_SCHEMA, name) in self._planner.frames or held is not None
        if taken or self._find(name) is not None:
            raise TableExistsError(name)
        if told is None:
            data = new_rows(given).read_all()
            self._planner.frames[MAIN_SCHEMA, name] = memory_table(data)
            return
        self._attach_files(name, told, options)

    def _database_at(self, path: str) -> str | None:
        """Return the scheme of the database that a file is, where it may be looked at."""
        location = self._reach.files(path)
        if not is_local(location) or not Path(location).is_file():
            return None
        self._reach.check_files(location)
        return database_at(location)

    def _attach_files(self, name: str, told: str, options: dict[str, Any]) -> None:
        # before it is looked at, and before it is in a statement: statements are kept
        location = self._reach.files(told)
        self._reach.check_files(location)
        way, secrets, rest = split_options(location, options)
        copy = None
        if is_web(location):
            with self._planner.snapshot(self._catalog) as snapshot:
                copy = self._planner.named_files.copy(location, snapshot)
        text = external_sql(name, location, rest, way, copy)
        if "format" not in options:
            check_there(location)
        with self._planner.stores.given(location, self._reach, secrets):
            self._run(text)

    def _attach_web(self, name: str, told: str, options: dict[str, Any]) -> None:
        """Attach a file of the web by a statement, which asks for it once and can be stopped."""
        url = self._reach.files(told)
        refuse_secrets(options)  # before it is in a statement, as above
        given = ", ".join(f"{quoted(k)} {quoted_text(str(v))}" for k, v in options.items())
        listed = f" ({given})" if given else ""
        self._run(f"ATTACH {quoted_text(url)} AS {quoted(name)}{listed}")

    def _attach_source(self, name: str, text: str, options: dict[str, Any]) -> None:
        if name.casefold() in RESERVED_SCHEMAS:
            raise ReservedNameError(name, kind="source")
        catalog, url = self._catalog, parse_url(text)
        kind = kind_of(url.scheme)
        given = {option: options.pop(option, None) for option in kind.options}
        if options:
            takes = ", ".join(f"{option}=" for option in kind.options) or "no options"
            msg = f"attaching a {url.scheme}:// source takes {takes}, not {sorted(options)}"
            raise SourceError(msg)
        password = given.pop("password", None)
        url = replace(url, choices=url.choices.or_given(given))
        self._check_reach(url)
        if kind.at is At.FOLDER:
            self._check_lake(url.path)
        elif kind.at is At.FILE:
            self._check_file(name, url.path)
        with catalog.read() as reader:
            taken = {*catalog.schemas(reader), *self._planner.attached, CATALOG}
        if name in taken:
            raise TableExistsError(name, kind="schema or source")
        source = self._planner.engine.open(name, url, self._reach, password)
        with ExitStack() as opened:
            opened.callback(source.close)
            source.tables()
            with catalog.write() as writer:
                remember(writer, name, url, self._reach)
                note(catalog, writer, "source", name, "attach", {"url": url.kept})
            opened.pop_all()
        self._planner.engine.attach(source)

    def _check_reach(self, url: SourceUrl) -> None:
        """Raise PathNotAllowedError unless it may be reached; whether it is there is not told."""
        try:
            check_reach(url, self._reach)
        except PathNotAllowedError as error:
            if not self._reach.limited or not url.path:
                raise
            folders = self._reach.folders
            raise PathNotAllowedError(f"{url.scheme}:///...", allowed=folders) from error

    def _check_lake(self, path: str) -> None:
        if self._reach.limited:
            msg = f"{path!r} cannot be attached by this session: {NAMES_FILES}"
            raise SourceError(msg)
        if Path(path).resolve() == self._catalog.lake.path.resolve():
            msg = "a lake cannot be attached to itself: its tables are there already"
            raise SourceError(msg)

    def _check_file(self, name: str, path: str) -> None:
        if not Path(path).is_file():
            msg = f"there is no file {path!r} to attach as {name!r}"
            raise SourceError(msg)
        self._reach.path(path)

    def refresh(self, name: str) -> None:
        """Look for the tables of a source anew."""
        source = self._planner.attached.get(name) if isinstance(name, str) else None
        if source is None:
            raise TableNotFoundError(name, known=sorted(self._planner.attached))
        source.refresh()

    def detach(self, name: str) -> None:
        """Forget what was attached by that name."""
        planner, catalog = self._planner, self._catalog
        if not isinstance(name, str):
            raise TableNotFoundError(str(name))
        if planner.frames.pop((MAIN_SCHEMA, name), None) is not None:
            return
        if name in planner.attached:
            with catalog.write() as writer:
                forget(writer, catalog.tenant, name)
                note(catalog, writer, "source", name, "detach", None)
            source = planner.engine.detach(name)
            if source is not None:
                source.close()
            return
        info = self._find(name)
        if info is None or info.kind != EXTERNAL.name:
            raise TableNotFoundError(name, known=[key[1] for key in planner.frames])
        self._run(f"DROP TABLE {quoted(name)}")

    def has(self, name: str) -> bool:
        """Return whether something is attached by that name."""
        info = self._find(name)
        is_frame = (MAIN_SCHEMA, name) in self._planner.frames
        return (
            is_frame
            or name in self._planner.attached
            or (info is not None and info.kind == EXTERNAL.name)
        )

    def _find(self, name: str) -> TableInfo | None:
        with self._catalog.read() as reader:
            found = self._catalog.find(reader, name)
        return found if found is not None and found.tenant == self._catalog.tenant else None


def attach(scope: Scope, statement: Statement, _: Params) -> Result:
    """Run ATTACH."""
    asked = parse_attach(statement.cursor())
    attachments = _of(scope)
    if not (asked.if_not_exists and attachments.has(asked.name)):
        attachments.attach(asked.name, asked.location, dict(asked.options))
    return nothing()


def detach(scope: Scope, statement: Statement, _: Params) -> Result:
    """Run DETACH."""
    name, missing_ok = parse_detach(statement.cursor())
    attachments = _of(scope)
    if not missing_ok or attachments.has(name):
        attachments.detach(name)
    return nothing()


def _of(scope: Scope) -> Attachments:
    def run(text: str) -> Result:
        return scope.execute(parse_statement(text), {})

    return Attachments(scope.planner, scope.catalog, scope.reach, run)


def _path_of(given: object) -> str | None:
    """Return the path that is given, if it is one."""
    is_path = isinstance(given, str) or hasattr(given, "__fspath__")
    return str(os.fspath(given)) if is_path else None  # type: ignore[call-overload]  # it is one


def _refuse_swapped(name: object, given: object) -> None:
    """Raise InvalidNameError if the name and what is attached stand in each other's place."""
    if not isinstance(name, str) or not isinstance(given, str) or not given.isidentifier():
        return
    if _LOCATED.search(name) is not None:
        why = f"the name comes first, as in attach({given!r}, {name!r})"
        raise InvalidNameError("table", name, why)
