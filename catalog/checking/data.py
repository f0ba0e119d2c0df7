"""Checking data: every covered row is summed up anew, and compared with what was signed.

Rules:
    - Nothing is believed but the signed head: the kept sums are in its sum, and what is there must
      come to the kept sums.
    - What differs is named by the journal's events, which stand in the ledger.
    - What a tenant sees is its own and the shared scope's: each is checked against its own head.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tqdm import tqdm

from affidavit.catalog.checking.datasets import LOOKS_MAX, check_files
from affidavit.catalog.checking.naming import Names
from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.lake.covered import COVERED, covered_tables
from affidavit.catalog.ledger.verification.differences import DataFindings, Difference
from affidavit.catalog.model.definition import DATA, KINDS, MUTABLE, VECTOR
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.covering.multiset import as_bytes
from affidavit.catalog.store.covering.states import counted, states
from affidavit.catalog.store.protocol import TENANT, own
from affidavit.catalog.store.tables import COPIES, FILES, STORE_TABLES, TABLES
from affidavit.catalog.tables.copies.files import fault
from affidavit.catalog.tables.rows import definition_of
from affidavit.errors import AffidavitError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.covering.states import State
    from affidavit.catalog.store.protocol import Reader, StoreTable

    Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be checked.

    Attributes:
        reads_files: Whether the files of vector tables are read, or only looked for.
        since: Trust what was there when the ledger had so many entries, and check what changed.
        table_id: Check this table alone.
        floor: What every read leaves on record: where it is reads, no values are told.
    """

    reads_files: bool = True
    since: int | None = None
    table_id: str | None = None
    floor: str | None = None


def check_data(
    catalog: Catalog, reader: Reader, asked: Asked = Asked(), *, progress: bool | None = None
) -> DataFindings:
    """Check what a tenant sees against the signed heads of its own ledger and the shared scope's.

    Raises:
        LedgerCorruptError: A head is not what was signed.
        StoreError: The store cannot be read.
    """
    found = DataFindings(is_covered=False, has_read_files=asked.reads_files)
    with tqdm(
        desc="checking data", unit=" rows", leave=False,
        disable=None if progress is None else not progress,
    ) as bar:  # fmt: skip
        for tenant in dict.fromkeys((catalog.tenant, SHARED)):
            head = catalog.lake.ledgers.of(tenant).head(reader)
            mine = Catalog(catalog.lake, Identity(tenant), catalog.transactions)
            if head is not None and head.data is not None:
                found = found.joined(_Check(mine, reader, asked, bar.update).run(head.data))
            elif head is None and found.is_covered:
                found = found.joined(_unsigned(mine, reader, asked))
        if found.is_covered:
            found = found.joined(_among_shared(catalog, reader, asked))
    return found


def _unsigned(catalog: Catalog, reader: Reader, asked: Asked) -> DataFindings:
    """Return what there is of the shared scope, which has no head that could state it."""
    if asked.table_id is not None:
        return DataFindings(has_read_files=asked.reads_files)
    counts = ((table.name, reader.count(table, own(catalog.tenant))) for table in COVERED)
    rows = [f"{count:,} in {name}" for name, count in counts if count]
    problem = f"has rows that no signed head states: {', '.join(rows)}"
    found = (Difference("the shared scope", problem),) if rows else ()
    return DataFindings(found, has_read_files=asked.reads_files)


def _among_shared(catalog: Catalog, reader: Reader, asked: Asked) -> DataFindings:
    """Return which shared tables a tenant would see rows of its own in: it can have none there."""
    found = []
    for info in catalog.tables(reader):
        if info.tenant == SHARED != catalog.tenant and info.kind == MUTABLE.name:
            mine = reader.count(definition_of(info).store_table, own(catalog.tenant))
            if mine and asked.table_id in {None, info.table_id}:
                problem = f"{mine:,} of the rows that are shown are not the shared scope's"
                found.append(Difference(f"table {info.name!r}", problem, table=info.name))
    return DataFindings(tuple(found), has_read_files=asked.reads_files)


def store_faults(
    catalog: Catalog, reader: Reader, asked: Asked | None, *, reads: bool
) -> Iterator[str]:
    """Yield what is wrong with how the store keeps the ledger, and the data that is asked for.

    ``reads`` has rows compared with indexes, and not the structure alone.
    """
    tables = list(STORE_TABLES)
    if asked is not None:
        tables += [t for t in covered_tables(reader, catalog.tenant) if t not in COVERED]
    yield from (f"the store: {fault}" for fault in reader.faults(tables, reads=reads))


@dataclass(slots=True)
class _Check:
    """One check of a scope's own data, and what it has found so far."""

    catalog: Catalog
    reader: Reader
    asked: Asked
    advance: Advance
    tables: dict[str, TableInfo] = field(default_factory=dict)
    kept: dict[str, State] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    trusted: list[str] = field(default_factory=list)
    uncovered: list[str] = field(default_factory=list)
    rows: int = 0
    files: int = 0

    def run(self, signed: int) -> DataFindings:
        """Return what was found of data whose sum was ``signed``."""
        kept = states(self.reader, self.catalog.tenant)
        self.kept = {each.name: each for each in kept}
        self.tables = {
            info.table_id: info
            for info in self.catalog.tables(self.reader)
            if info.tenant == self.catalog.tenant
        }
        names = Names(self.catalog, self.reader, self.tables, self.asked.floor)
        self._check_sums(names)
        for info in self.tables.values():
            if self._is_asked(info):
                self._check_table(info)
        if (
            as_bytes(sum(each.element for each in kept)) != as_bytes(signed)
            and not self.differences
        ):
            self._note(self._anywhere(names))
        return DataFindings(
            tuple(self.differences), self.rows, self.files, tuple(self.trusted),
            tuple(self.uncovered), has_read_files=self.asked.reads_files,
        )  # fmt: skip

    def _note(self, difference: Difference | None) -> None:
        if difference is not None:
            self.differences.append(difference)

    def _read(self, rows: int) -> None:
        self.rows += rows
        self.advance(rows)

    def _is_asked(self, info: TableInfo) -> bool:
        return self.asked.table_id in {None, info.table_id}

    def _is_trusted(self, name: str) -> bool:
        """Whether an object is as it was when what is trusted was signed."""
        state, since = self.kept.get(name), self.asked.since
        return since is not None and state is not None and state.version < since

    # --- sums ----------------------------------------------------------------------------------

    def _check_sums(self, names: Names) -> None:
        """Note the objects whose rows do not come to what is kept of them."""
        seen = set()
        for table in covered_tables(self.reader, self.catalog.tenant):
            seen.add(table.name)
            if table.name.startswith(DATA):
                self._check_rows(table, names)
            else:
                self._check_objects(table, names)
        if self.asked.since is not None and self.asked.table_id is None:
            self.trusted.append("the log of statements")
        if self.asked.table_id is None:
            for name in sorted(self.kept):
                if "/" not in name and name not in seen:
                    self._note(names.difference(name, "is gone"))

    def _check_rows(self, table: StoreTable, names: Names) -> None:
        """Check a mutable table, or of one that is trusted the rows that changed since."""
        table_id = table.name.removeprefix(DATA)
        info = self.tables[table_id]
        if not self._is_asked(info):
            return
        self._check_others(table, info)
        if self._is_trusted(table.name):
            self.trusted.append(names.called(table.name))
        elif self.asked.since is not None and names.has_events(self.asked.since):
            self.trusted.append(f"{names.called(table.name)} but for rows that changed")
            self._note(names.changed_row(table_id, self.asked.since))
        else:
            self._compare(table, {table.name}, names)

    def _check_others(self, table: StoreTable, info: TableInfo) -> None:
        """Note rows that the tenant would see in its table, and that are not its own."""
        if self.catalog.tenant != SHARED:
            others = self.reader.count(table, Compare("=", TENANT, SHARED))
            if others:
                problem = f"{others:,} of the rows that are there are not this tenant's"
                self._note(Difference(f"table {info.name!r}", problem, table=info.name))

    def _check_objects(self, table: StoreTable, names: Names) -> None:
        """Check what a table of the lake's own says of each object."""
        mine = {name for name in self.kept if name.partition("/")[0] == table.name}
        if self.asked.table_id is not None:
            if table not in {TABLES, FILES}:
                return
            ids = [each.table_id for each in self.tables.values() if self._is_asked(each)]
            mine = {f"{table.name}/{each}" for each in ids}
            self._compare(table, mine & self.kept.keys(), names, In("table_id", tuple(ids)))
        elif self.asked.since is not None:
            changed = {name for name in mine if not self._is_trusted(name)}
            self.trusted += map(names.called, sorted(mine - changed))
            self._compare_some(table, changed, names)
        else:
            self._compare(table, mine, names)

    def _compare_some(self, table: StoreTable, names: set[str], called: Names) -> None:
        """Compare the objects that are called so."""
        by = table.cover.by if table.cover is not None else None
        if by is None and names:
            self._compare(table, names, called)
        elif by is not None and names:
            values = tuple(name.partition("/")[2] for name in names)
            self._compare(table, names, called, In(by, values))

    def _compare(
        self, table: StoreTable, expected: set[str], names: Names, *conditions: Predicate
    ) -> None:
        tenant = self.catalog.tenant
        there = counted(self.reader, tenant, table, *conditions, advance=self._read)
        for name in sorted(expected | there.keys()):
            state, (rows, total) = self.kept.get(name), there.get(name, (0, 0))
            if state is None and not rows:
                continue  # a table that came with a newer format, and has no rows yet
            if state is None:
                problem = "was put there: no signed head states it"
                self._note(names.difference(name, problem))
            elif name not in there:
                self._note(names.difference(name, "is gone"))
            elif (rows, as_bytes(total)) != (state.rows, as_bytes(state.total)):
                self._note(names.difference(name, None))

    def _anywhere(self, names: Names) -> Difference:
        """Return where kept sums were changed together with what they sum up."""
        for table_id, info in self.tables.items():
            if f"{DATA}{table_id}" in self.kept and KINDS[info.kind].has_rows:
                found = names.row(table_id)
                if found is not None:
                    return found
        return Difference("the lake's data", "its kept sums are not those that were signed")

    # --- tables --------------------------------------------------------------------------------

    def _check_table(self, info: TableInfo) -> None:
        """Check what no sum says of a table: who else has rows there, how many, and its files."""
        if info.kind == VECTOR.name:
            self._check_files(info)
            return
        if not KINDS[info.kind].has_rows:
            self._note(None if not info.row_count else _of_count(info, 0))
            return
        state = self.kept.get(f"{DATA}{info.table_id}")
        if state is None:
            return
        if info.row_count != state.rows:
            self._note(_of_count(info, state.rows))
        if self.asked.reads_files and not self._is_trusted(f"{COPIES.name}/{info.table_id}"):
            wrong = fault(self.catalog.lake, self.reader, info)
            if wrong is not None:
                self._note(Difference(f"table {info.name!r}", wrong, table=info.name))

    def _check_files(self, info: TableInfo) -> None:
        name = f"{FILES.name}/{info.table_id}"
        if name not in self.kept:
            self.uncovered.append(info.name)
            return
        reads = self.asked.reads_files and not self._is_trusted(name)
        if self.asked.reads_files and not reads:
            self.trusted.append(f"what the files of vector table {info.name!r} hold")
        found, files = self._looked(self.reader, info, reads=reads)
        self.files += files
        self.advance(files)
        self._note(found if found is None else self._again(info, reads=reads))

    def _looked(
        self, reader: Reader, info: TableInfo, *, reads: bool
    ) -> tuple[Difference | None, int]:
        """Return what differs of the files of a table first, and how many there are."""
        datasets = self.catalog.lake.datasets
        try:
            found, files = check_files(reader, info, datasets.home(info), reads=reads)
            if found is None and reads:
                rows = int(datasets.visible(info).count_rows())
                found = None if rows == info.row_count else _of_count(info, rows)
        except (AffidavitError, OSError, ValueError, RuntimeError) as error:
            return Difference(f"vector table {info.name!r}", str(error), table=info.name), 0
        return found, files

    def _again(self, info: TableInfo, *, reads: bool) -> Difference | None:
        """Look again at what differs, and at the newest state: somebody may have written since."""
        lake, found = self.catalog.lake, None
        for _ in range(LOOKS_MAX):
            with ExitStack() as held:
                if not lake.read_only:
                    with suppress(StoreBusyError):  # who writes now is looked at once more
                        held.enter_context(lake.store.lock(info.table_id))
                reader = held.enter_context(lake.store.read(self.catalog.tenant))
                now = self.catalog.by_id(reader, info.table_id)
                if now is None:
                    return None
                found, _ = self._looked(reader, now, reads=reads)
            if found is None:
                return None
        return found


def _of_count(info: TableInfo, rows: int) -> Difference:
    return Difference(
        f"table {info.name!r}",
        f"its count of rows says {info.row_count:,}, and {rows:,} were signed",
        table=info.name, column="row_count", signed=rows, found=info.row_count,
    )  # fmt: skip
