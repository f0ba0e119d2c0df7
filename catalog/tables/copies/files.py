"""Copies of large mutable tables in Arrow files, so that the next process reads them at once.

A file holds the rows of one version, with their identities; what changed since is put into it in
memory (:mod:`affidavit.catalog.tables.copies.current`).

Rules:
    - The file is named in the store, with its SHA-256, in what the ledger's head covers. One that
      is not what was written there is not read, and a check of the data tells of it.
    - A table has one at most. One that is not there is missed by nobody: the table is read from the
      store, and another one is written.
    - Who erases rows, or drops their table, removes it before the erasure, or the DROP, has come to
      its end.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

import pyarrow as pa

from affidavit.catalog.lake.cache import TableCopy
from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.covering.elements import object_name
from affidavit.catalog.store.covering.multiset import as_bytes, of_bytes
from affidavit.catalog.store.covering.states import find_state
from affidavit.catalog.store.disk import sync, tenant_folder
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import COPIES, TABLES
from affidavit.catalog.tables.rows import ROWID_FIELD, definition_of
from affidavit.errors import AffidavitError, LakeError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer

PART_ROWS: Final = 32_768
"""So many rows of a copy are one batch at most, of which a change makes a new one."""

BYTES_MAX: Final = 1 << 30
"""A larger file is not kept."""

LEFT_S: Final = 3600.0
"""So old is a file that nobody is about to name."""

_log: Final = logging.getLogger("affidavit")


class CopyFile(NamedTuple):
    """The file that a table is copied to, as the store names it."""

    table_id: str
    version: int
    file: str
    size: int
    sha256: bytes
    state: bytes | None


def stated(reader: Reader, info: TableInfo) -> int | None:
    """Return the sum of a table's rows that its tenant's head states, if it states one."""
    found = find_state(reader, info.tenant, object_name(definition_of(info).store_table))
    return None if found is None else found.total


# --- reading -------------------------------------------------------------------------------------


def mapped(lake: Lake, reader: Reader, info: TableInfo) -> TableCopy | None:
    """Return the copy of a table that lies in a file, mapped into memory, if that is as written."""
    named = _named(reader, info.table_id)
    if named is None or not named.file or named.version > info.version:
        return None
    path = _folder(lake, info.tenant) / named.file
    try:
        if _sha256(path) != named.sha256:
            _log.warning("%r is not the copy that was written: it is not read", str(path))
            return None
        rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException):
        return None
    if rows.schema != _schema(info):
        return None
    total = None if named.state is None else of_bytes(named.state)
    then = replace(info, version=named.version)
    return TableCopy(then, rows, total, in_file=named.version, size=0)


def fault(lake: Lake, reader: Reader, info: TableInfo) -> str | None:
    """Return what is wrong with the file that a table was copied to; nothing if it is not there."""
    named = _named(reader, info.table_id)
    if named is None or not named.file:
        return None
    try:
        is_written = _sha256(_folder(lake, info.tenant) / named.file) == named.sha256
    except FileNotFoundError:  # then it is written again
        return None
    return None if is_written else f"its copy {named.file} is not what was written"


def _named(reader: Reader, table_id: str) -> CopyFile | None:
    found = reader.select(COPIES, columns_of(COPIES), Compare("=", "table_id", table_id))
    return CopyFile(*found[0]) if found else None  # type: ignore[arg-type]  # as declared


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _folder(lake: Lake, tenant: str) -> Path:
    return tenant_folder(lake.folders.copies, tenant)


def _schema(info: TableInfo) -> pa.Schema:
    return pa.schema([ROWID_FIELD, *definition_of(info).schema])


# --- writing -------------------------------------------------------------------------------------


def with_rowids(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a new table with the identities that the store gives them."""
    first = 1
    for batch in batches:
        rowids = pa.array(range(first, first + batch.num_rows), pa.int64())
        schema = pa.schema([ROWID_FIELD, *batch.schema])
        yield pa.RecordBatch.from_arrays([rowids, *batch.columns], schema=schema)
        first += batch.num_rows


@contextmanager
def written(
    lake: Lake, info: TableInfo, batches: Iterable[pa.RecordBatch]
) -> Iterator[Callable[[Writer, int | None], None]]:
    """Write a copy of a table aside, and yield what puts it in its place in a transaction.

    That is given the sum of the rows, which are those of ``info``'s version.
    """
    place: Callable[[Writer, int | None], None] = _place_nothing
    with ExitStack() as stack:
        try:
            staging = stack.enter_context(lake.folders.staging())
            staging.mkdir()
            aside = staging / "copy.arrow"
            if _write(aside, _schema(info), batches):
                place = partial(_place, lake, info, aside, _sha256(aside))
        except (LakeError, OSError, pa.ArrowException) as error:
            _tell_left_out(info, error)
        yield place


def _place_nothing(_writer: Writer, _total: int | None) -> None:
    """Do without a copy."""


def _tell_left_out(info: TableInfo, error: Exception) -> None:
    _log.info("no copy of table %r is kept: %s", info.name, error)


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> bool:
    """Write a file, and return whether it is one that is kept."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch], schema), max_chunksize=PART_ROWS)
            if sink.tell() > BYTES_MAX:
                return False
    sync(path)
    return True


def _place(
    lake: Lake, info: TableInfo, aside: Path, digest: bytes, writer: Writer, total: int | None
) -> None:
    """Put a copy in its place, unless its table is gone, or let go of what the copy has."""
    is_table = Compare("=", "table_id", info.table_id)
    named = _named(writer, info.table_id)
    if not writer.count(TABLES, is_table) or (named and named.version > info.version):
        return
    folder = _folder(lake, info.tenant)
    name = f"{info.table_id}-{uuid4().hex[:8]}.arrow"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        size = aside.stat().st_size
        aside.rename(folder / name)
        sync(folder)
    except OSError as error:  # the table is no less without it
        _tell_left_out(info, error)
        return
    state = None if total is None else as_bytes(total)
    _name(writer, CopyFile(info.table_id, info.version, name, size, digest, state))
    writer.on_commit(f"copy {info.table_id}", lambda: _remove(folder, info.table_id, keep=name))


def write_files(lake: Lake) -> bool:
    """Write the files that copies in memory lack; return whether to be asked again."""
    for copy in lake.cache.without_file():
        info = copy.info
        copy.note_file()  # whatever becomes of it: it is tried once
        try:
            with (
                written(lake, info, copy.rows.to_batches()) as place,
                lake.store.write(info.tenant) as writer,
            ):
                place(writer, copy.total)
        except AffidavitError as error:  # such as another writer who takes long, or a full disk
            _tell_left_out(info, error)
    return False


def _name(writer: Writer, named: CopyFile) -> None:
    writer.delete_where(COPIES, Compare("=", "table_id", named.table_id))
    writer.insert(COPIES, columns_of(COPIES), [named])


def forget_copy(lake: Lake, writer: Writer, info: TableInfo) -> None:
    """Let go of every copy of a table, in memory and in a file, with the transaction.

    ``info`` is the table as it is now: a copy of a version before finds no place any more.
    """
    if writer.count(TABLES, Compare("=", "table_id", info.table_id)):
        _name(writer, CopyFile(info.table_id, info.version, "", 0, b"", None))
    else:
        writer.delete_where(COPIES, Compare("=", "table_id", info.table_id))
    folder = _folder(lake, info.tenant)

    def remove() -> None:
        lake.cache.forget(info.table_id, info.version)
        _remove(folder, info.table_id)

    writer.on_commit(f"copy {info.table_id}", remove)


def forget_outdated(catalog: Catalog, writer: Writer) -> None:
    """Let go of a tenant's copies of earlier versions: they may have rows that left since."""
    for table_id, version in writer.select(COPIES, ("table_id", "version"), own(catalog.tenant)):
        info = catalog.by_id(writer, str(table_id))
        if info is not None and info.version != version:
            forget_copy(catalog.lake, writer, info)


def remove_replaced(lake: Lake, tenant: str, table_id: str) -> None:
    """Remove the files of a table that a transaction let go of, if anything left them.

    Raises:
        StoreError: One cannot be removed.
    """
    with lake.store.read(tenant) as reader:
        named = _named(reader, table_id)
    error = _remove(_folder(lake, tenant), table_id, None if named is None else named.file)
    if error is not None:
        msg = f"a copy of the table cannot be removed: {error}; remove it, and erase again"
        raise StoreError(msg)


def _remove(folder: Path, table_id: str, keep: str | None = None) -> OSError | None:
    """Remove the files that a table was copied to, but for one; return what kept one of them."""
    kept = None
    for path in folder.glob(f"{table_id}-*.arrow"):
        try:
            if path.name != keep:
                path.unlink(missing_ok=True)
        except OSError as error:
            kept = error
    return kept


def remove_unnamed(lake: Lake) -> None:
    """Remove files that a crash left, and nothing names."""
    files = list(lake.folders.copies.glob("*/*.arrow"))
    if not files:
        return
    named: set[object] = set()
    for tenant in lake.store.tenants(COPIES):
        with lake.store.read(tenant) as reader:
            named |= {row[0] for row in reader.select(COPIES, ("file",), own(tenant))}
    for path in files:
        with suppress(OSError):
            if path.name not in named and clock.now_us() / 1e6 - path.stat().st_mtime > LEFT_S:
                path.unlink()
