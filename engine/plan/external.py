"""Tables of files, as statements read them: looked at, found anew, and planned.

DataFusion makes a table of files with a statement, and registers it; ours are planned for each
statement that names them, so what it makes is taken out of its hands.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.model.release import TableRead
from affidavit.catalog.sources.buckets.location import is_local, is_remote
from affidavit.catalog.sources.files.evidence import files_evidence
from affidavit.catalog.sources.files.external import (
    ON_BAD_VALUE,
    external_sql,
    parse_external,
    unknown_format,
)
from affidavit.catalog.sources.files.formats import FORMATS
from affidavit.catalog.sources.files.guessed import check_there, guessed
from affidavit.catalog.sources.files.listed import places_of
from affidavit.catalog.sources.files.whole import check_local
from affidavit.catalog.sources.web.urls import is_web
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.files.meant import Meant
from affidavit.engine.plan.state import GivenFile
from affidavit.engine.statement.spelling.paths import paths_in
from affidavit.errors import AffidavitError, SourceError, SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datafusion import DataFrame

    from affidavit.catalog.lake.queries import Query
    from affidavit.catalog.sources.files.external import ExternalTable
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.sources.web.copies import Copy
    from affidavit.engine.plan.tenant import Pair, TenantEngine
    from affidavit.engine.scans.snapshot import Snapshot


TEXTS: Final = {"schema_infer_max_rec": "0"}
"""Of how many rows of CSV the columns' types are guessed: of none, and all are texts."""


class ExternalTables:
    """Plans tables of files for one session.

    Args:
        engine: The tenant's, with the object stores that it reads.
        pair: Where the session's statements are planned.
        reach: What may be reached.
        given: Files by the names that statements which run have for them.
    """

    def __init__(
        self,
        engine: TenantEngine,
        pair: Pair,
        reach: Reach,
        given: Mapping[str, GivenFile] | None = None,
    ) -> None:
        self._engine = engine
        self._pair = pair
        self._stores = engine.stores
        self._reach = reach
        self._given = given or {}

    def table(
        self, create: str, snapshot: Snapshot, key: tuple[str, str] = ("", ""), named: str = ""
    ) -> Any:  # noqa: ANN401 - DataFusion's
        """Return the table that a CREATE EXTERNAL TABLE makes, whose files may be reached.

        Its files are looked at now, and again when the statement runs.

        Raises:
            PathNotAllowedError: One may not be reached.
            SourceError: They cannot be read.
        """
        table = parse_external(create)
        if table.kind not in FORMATS:
            raise unknown_format(table.kind)
        for each in (table.location, *_places(table)):
            check = partial(self._reach.check_files, each)
            check()
            snapshot.looks.append(check)
        name = named or ".".join(key)
        if is_web(table.location):
            return self._of_web(table, snapshot, key, name)
        if table.is_plain:
            return self._local(table, snapshot, key, name)
        check_local(table.kind, table.location)
        table = table.at(snapshot.catalog.at, name)
        errors = partial(self._stores.errors, key[1], table.location)
        turn = self._stores.turn if is_remote(table.location) else nullcontext()
        with (
            errors(),
            turn,
            self._stores.reach(table.location, self._reach, table.options) as place,
        ):
            if not table.is_lake:
                look = partial(files_evidence, table.location, place)
                snapshot.external[key] = TableRead(name, look=look)
                return self._meant(table, snapshot, key)
            dataset = table.open(place, snapshot.fail, errors, self._reach.location)
            snapshot.external[key] = TableRead(name, version=dataset.version)
            return snapshot.scan(key, dataset)

    def copy(self, location: str, snapshot: Snapshot) -> Copy:
        """Return what is downloaded of a file of the web for a statement.

        Raises:
            SourceError: It cannot be had.
            PathNotAllowedError: Its server leads on to what may not be reached.
        """
        found = self._engine.contexts.copies.of(location, self._reach, snapshot.query)
        snapshot.copies.append(found)
        return found

    def prepare(self, text: str, snapshot: Snapshot) -> None:
        """Plan the files that a text names in quotes where a table stands.

        Raises:
            SourceError: The session has limits: what it reads is attached first.
        """
        for path in paths_in(text):
            if self._reach.limited:
                msg = "this session reads no files by their paths: attach them, and name the table"
                raise SourceError(msg)
            told = self._given.get(path, GivenFile(path))
            location = self._reach.files(told.location)
            check_there(location)
            copy = self.copy(location, snapshot) if is_web(location) else None
            is_text = told.is_text and (told.format or guessed(location, copy)[0]) == "CSV"
            options = {**(TEXTS if is_text else {}), **told.options}
            options |= {"format": told.format} if told.format else {}
            create = external_sql(path, location, options, {}, copy)
            key = (MAIN_SCHEMA, path)
            named = f"{MAIN_SCHEMA}.{told.location}"
            snapshot.prepared[key] = self.table(create, snapshot, key, named)

    def evidence(
        self, location: str, options: Mapping[str, str], query: Query
    ) -> dict[str, Any] | None:
        """Return what there is to say now of files; ``None`` where nobody can.

        Args:
            location: Where they are.
            options: How their store is reached.
            query: What asks.
        """
        try:
            location = self._reach.files(location)
            self._reach.check_files(location)
            if is_web(location):
                copy = self._engine.contexts.copies.of(location, self._reach, query)
                return files_evidence(str(copy.path))
            with self._stores.turn, self._stores.reach(location, self._reach, options) as at:
                return files_evidence(location, at)
        except AffidavitError:
            return None

    def _of_web(
        self, table: ExternalTable, snapshot: Snapshot, key: tuple[str, str], name: str
    ) -> Any:  # noqa: ANN401 - as above
        """Return a table of a file of the web, which is read as what was downloaded of it."""
        if table.is_lake:
            msg = (
                f"{table.location!r}: a {table.kind} table is a folder, and one file alone is read "
                "over https://"
            )
            raise SourceError(msg)
        copy = self.copy(table.location, snapshot)
        try:
            return self._local(table.moved(str(copy.path)), snapshot, key, name)
        except SourceError as error:
            raise SourceError(snapshot.hide(str(error))) from error.__cause__

    def _local(
        self, table: ExternalTable, snapshot: Snapshot, key: tuple[str, str], name: str
    ) -> Any:  # noqa: ANN401 - as above
        """Return a table of files of this machine."""
        check_local(table.kind, table.location)
        strange = sorted(table.options.keys() - {ON_BAD_VALUE})
        if strange:
            msg = f"{strange[0]} says how a store is reached, and {table.location!r} is in none"
            raise SourceError(msg)
        look = partial(files_evidence, table.location)
        snapshot.external[key] = TableRead(name, look=look)
        return self._meant(table, snapshot, key)

    def _meant(self, table: ExternalTable, snapshot: Snapshot, key: tuple[str, str]) -> Any:  # noqa: ANN401 - as above
        """Return a table of files that DataFusion reads; one that is written is as it makes it."""
        if key in snapshot.written:
            return self._made(table.sql)
        meant = Meant(table, self._made, lambda made: self._frame(made, snapshot, key))
        snapshot.tellers.append(meant.told)
        return meant.provider()

    def _frame(self, made: Any, snapshot: Snapshot, key: tuple[str, str]) -> DataFrame:  # noqa: ANN401 - as above
        """Return all of a table that was made, which is called as the statement calls it."""
        if not any(key):
            return self._pair.context.read_table(made)
        snapshot.prepared[key] = made
        with held():
            return self._pair.context.sql(f"SELECT * FROM {'.'.join(map(quoted, key))}")

    def _made(self, create: str, *, statistics: bool = True) -> Any:  # noqa: ANN401 - as above
        """Run a CREATE EXTERNAL TABLE and return the table instead of registering it.

        Without ``statistics`` nothing is concluded from what its files say of their columns.
        """
        pair = self._engine.unstated if not statistics else self._pair
        with pair.changing, self._engine.provider.planning.capturing() as made, held():
            pair.context.sql(create)
        if not made:
            msg = f"the statement made no table: {create}"
            raise SqlError(msg)
        return made[0]


def _places(table: ExternalTable) -> list[str]:
    """Return the patterns and files that a table's pattern stands for, if it is of several."""
    return [] if table.is_lake or not is_local(table.location) else places_of(table.location)
