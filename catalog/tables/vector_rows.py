"""Rows of vector tables: checked as they stream, written aside, announced, then committed.

Rules:
    - A writer holds the table's lock. Rows are written aside, every listener is told inside a store
      transaction, then Lance commits, then the store: an error before that leaves nothing visible.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.lake.staged import Staged, stage_append, stage_merge
from affidavit.catalog.lake.vectors.datasets import (
    TABLE_ID,
    check_unique,
    lance_errors,
    rows_with_keys,
)
from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.tables.files import hashed_before, list_files
from affidavit.catalog.tables.intents import intended, settle
from affidavit.catalog.tables.row_writing import follow_deletion
from affidavit.catalog.values.fit import conform
from affidavit.catalog.values.ingest import Watched, new_rows
from affidavit.catalog.values.text import json_texts
from affidavit.catalog.values.vectors import VectorRules, fitted, of_any_length
from affidavit.errors import (
    AffidavitError,
    ConstraintError,
    ForeignVersionError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.change import Change, ChangeLook
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Writer

Check: TypeAlias = "Callable[[Writer], None]"
"""Raises where what is to be written is no longer what should be."""


def vector_definition(info: TableInfo) -> VectorDefinition:
    """Return the definition of a table that is known to be a vector table."""
    assert isinstance(info.definition, VectorDefinition)
    return info.definition


class Incoming:
    """Rows on their way into a dataset: fitted and checked as they stream, their keys noted.

    ``on_bad`` is ``None`` where their vectors were checked before.
    """

    def __init__(
        self,
        batches: Iterator[pa.RecordBatch],
        schema: pa.Schema,
        table: str,
        definition: VectorDefinition,
        look: ChangeLook | None = None,
        *,
        are_new: bool = True,
        on_bad: str | None = "error",
    ) -> None:
        self._are_new = are_new
        self._definition = definition
        self._look = look
        self._table = table
        self._keys: list[pa.Array] = []
        self._key_type = schema.field(definition.key).type
        rules = VectorRules(table, definition.key, definition.metric, on_bad or "error")
        checked = fitted(batches, schema, rules) if on_bad is not None else (
            conform(batch, schema, table=table) for batch in batches
        )  # fmt: skip
        self._watched = Watched(self._noting(checked))
        self.reader = pa.RecordBatchReader.from_batches(schema, self._watched)

    def _noting(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for field in batch.schema:
                if not field.nullable and batch[field.name].null_count:
                    at = self.rows + batch[field.name].is_null().index(value=True).as_py()
                    msg = f"column {field.name!r} of {self._table!r} is NOT NULL: row {at} has NULL"
                    raise ConstraintError(msg)
            if self._are_new:
                self._refuse_unencoded(batch)
            self._keys.append(batch[self._definition.key])
            if self._look is not None:
                self._look.see(None, pa.Table.from_batches([batch]))
            yield batch

    def _refuse_unencoded(self, batch: pa.RecordBatch) -> None:
        """Raise ConstraintError for a row whose text is to be found by a vector that it lacks."""
        model, vectors = self._definition.model, batch[self._definition.vector]
        if model is not None and vectors.null_count:
            at = self.rows + vectors.is_null().index(value=True).as_py()
            source = self._definition.source
            why = (
                f"model {model!r} encodes queries alone. Give each row its vector, as "
                f"session.models.encode({model!r}, [text]) makes them, or the table a source="
                if source is None
                else f"there is no text in {source!r} either that model {model!r} made one of"
            )
            msg = (
                f"row {at} for {self._table!r} has no {self._definition.vector!r}, and no search "
                f"would find it: {why}"
            )
            raise ConstraintError(msg)

    @property
    def rows(self) -> int:
        """How many rows came so far."""
        return sum(map(len, self._keys))

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Raise what the rows raised, where Lance would say it in its own words."""
        try:
            with lance_errors(what):
                yield
        except AffidavitError:
            if isinstance(self._watched.error, AffidavitError | KeyboardInterrupt):
                raise self._watched.error from None
            raise

    def unique_keys(self) -> pa.Array:
        """Return the keys of every row; ConstraintError if one is NULL or stands twice."""
        keys = pa.chunked_array(self._keys, self._key_type)
        return check_unique(keys, key=self._definition.key, table=self._table)


def keys_digest(keys: pa.Array | pa.ChunkedArray) -> str:
    """Return the SHA-256 of keys, in order: each as JSON, a line each."""
    return hashlib.sha256("\n".join(json_texts(keys)).encode()).hexdigest()


@contextmanager
def locked(
    catalog: Catalog, info: TableInfo, what: str, *,
    restores: bool = False, wait_s: float | None = None,
) -> Iterator[tuple[TableInfo, lance.LanceDataset]]:  # fmt: skip
    """Hold the table's lock against every other writer; yield it as it is now, and its dataset.

    Raises:
        StoreBusyError: The lock was not free for ``wait_s``, or the store's own time.
        TableNotFoundError: It was dropped since ``info`` was read.
        ForeignVersionError: Its newest version is another program's, and the block does not
            restore one of the table's own.
    """
    catalog.refuse_transaction(what)
    catalog.refuse_shared(info)
    with catalog.lake.store.lock(info.table_id, timeout_s=wait_s):
        with catalog.read() as reader:
            now = catalog.by_id(reader, info.table_id)
        if now is None:
            raise TableNotFoundError(info.name)
        dataset = catalog.lake.datasets.latest(now)
        if settle(catalog, now, dataset):
            with catalog.read() as reader:
                now = catalog.get(reader, now.name, now.schema)
        shown = now.data_version
        if shown is None or dataset.version < shown:
            catalog.lake.datasets.visible(now)  # which says what is missing
        if shown not in {None, dataset.version} and not restores:
            raise ForeignVersionError(now.name, int(dataset.version), int(now.data_version or 0))
        yield now, dataset


def _commit(
    catalog: Catalog,
    info: TableInfo,
    staged: Staged,
    changes: Sequence[Change],
    check: Check = lambda _: None,
    *,
    added: int,
) -> None:
    """Declare, check, announce, commit in Lance, then in the store.

    What Lance did not commit is discarded.
    """
    before, after = int(staged.dataset.version), staged.version_after
    try:
        written = hashed_before(catalog, info, staged.written)
        with catalog.read() as reader:
            numbered = [
                replace(
                    each, version_before=before, version_after=after,
                    messages=catalog.messages(reader, each),
                )
                for each in changes
            ]  # fmt: skip
        with (
            intended(
                catalog, info, staged.dataset, numbered, rows_added=added, marked=True
            ) as intent,
            catalog.write() as writer,
        ):
            check(writer)
            for change in numbered:
                catalog.announce(writer, change)
            catalog.touch(writer, info, rows=added)
            catalog.show(writer, info, after)
            intent.finish(writer)
            made = staged.commit({TABLE_ID: info.table_id, **intent.properties})
            list_files(catalog, writer, info, range(after, after + 1), written, staged.committed)
        catalog.lake.datasets.hold(info, made)
        catalog.lake.writes.wrote(info, sum(each.rows for each in changes))
    except BaseException:
        if not staged.is_committed():
            staged.discard()
        raise


def insert_vectors(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    data: object,
    *,
    check: Check = lambda _: None,
    on_bad: str | None = "error",
) -> int:
    """Append rows, streamed, under the table's lock; return how many there were.

    ``on_bad`` says what becomes of vectors that cannot be searched; ``None`` where it did.
    ``check`` is called in the store's transaction, and may raise: then nothing is kept.

    Raises:
        ConstraintError: A key is there already, or twice in the data; nothing is kept.
    """
    definition = vector_definition(info)
    source = new_rows(data, of_any_length(dataset.schema))
    told = catalog.change(info, "insert")
    with catalog.read() as reader:
        look = catalog.look(reader, told)
    incoming = Incoming(iter(source), dataset.schema, info.name, definition, look, on_bad=on_bad)
    with incoming.errors(f"writing vector table {info.name!r}"):
        staged = stage_append(dataset, incoming.reader)
    if not incoming.rows:
        return 0
    try:
        keys = incoming.unique_keys()
        with lance_errors(f"writing vector table {info.name!r}"):
            _refuse_present(dataset, info, keys)
    except BaseException:
        staged.discard()
        raise
    change = replace(
        told, rows=len(keys), keys_sha256=keys_digest(keys),
        messages=() if look is None else look.messages(),
    )  # fmt: skip
    _commit(catalog, info, staged, [change], check, added=len(keys))
    return len(keys)


def _refuse_present(dataset: lance.LanceDataset, info: TableInfo, keys: pa.Array) -> None:
    key = vector_definition(info).key
    present = rows_with_keys(dataset, key, keys, [key])
    if present.num_rows:
        raise _present(info, key, present)


def _present(info: TableInfo, key: str, rows: pa.Table) -> ConstraintError:
    value = rows[key][0].as_py()
    return ConstraintError(f"vector table {info.name!r} has a row with {key} = {value!r} already")


def merge_vectors(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    data: object,
    *,
    insert: bool = True,
    fresh: pa.Table | None = None,
    deleted: pa.Table | None = None,
    also: Sequence[Change] = (),
    check: Check = lambda _: None,
    on_bad: str | None = "error",
) -> int:
    """Replace, insert and delete rows in one version, under the table's lock.

    Args:
        catalog: Who does it.
        info: The table.
        dataset: Its newest version.
        data: Rows that replace those of equal key.
        insert: Whether rows of ``data`` with a new key are inserted, or left out.
        fresh: Rows whose keys must be new.
        deleted: The images of rows to delete.
        also: What else the version is told to be.
        check: Called in the store's transaction; it may raise, and then nothing is kept.
        on_bad: What becomes of vectors that cannot be searched: ``error``, ``drop`` or ``null``;
            ``None`` where it did.

    Returns:
        How many rows were replaced, inserted and deleted.

    Raises:
        ConstraintError: Two rows have one key, or a row of ``fresh`` is there already.
    """
    definition = vector_definition(info)
    key = definition.key
    source = new_rows(data, of_any_length(dataset.schema))
    more = fresh.to_batches() if fresh is not None else []
    rows = iter(chain(source, more))
    incoming = Incoming(rows, dataset.schema, info.name, definition, are_new=insert, on_bad=on_bad)
    with incoming.errors(f"reading the rows for vector table {info.name!r}"):
        after = incoming.reader.read_all()
    keys = incoming.unique_keys()
    gone = deleted if deleted is not None else dataset.schema.empty_table()
    if not len(keys) and not gone.num_rows:
        return 0
    with lance_errors(f"writing vector table {info.name!r}"):
        before = rows_with_keys(dataset, key, keys)
        if fresh is not None:
            _refuse_fresh(info, key, fresh, before, gone)
        staged = stage_merge(dataset, key, after, insert=insert, delete=gone[key])
    changes, added = _merge_changes(catalog, info, before, after, gone, insert=insert)

    def checked(writer: Writer) -> None:
        check(writer)
        stay = pc.is_in(gone[key], keys)
        follow_deletion(catalog, writer, info, gone.filter(pc.invert(stay)))

    _commit(catalog, info, staged, [*also, *changes], checked, added=added)
    return sum(change.rows for change in changes)


def _refuse_fresh(
    info: TableInfo, key: str, fresh: pa.Table, before: pa.Table, gone: pa.Table
) -> None:
    present = pc.is_in(fresh[key], pa.array(before[key].to_pylist(), fresh[key].type))
    leaving = pc.is_in(fresh[key], pa.array(gone[key].to_pylist(), fresh[key].type))
    clash = fresh.filter(pc.and_not(present, leaving))
    if clash.num_rows:
        raise _present(info, key, clash)


def _merge_changes(
    catalog: Catalog,
    info: TableInfo,
    before: pa.Table,
    after: pa.Table,
    gone: pa.Table,
    *,
    insert: bool,
) -> tuple[list[Change], int]:
    """Return what a merge does as changes, images aligned, and by how many rows the table grows."""
    key = vector_definition(info).key
    at = pc.index_in(after[key], before[key].combine_chunks())
    replaced = after.filter(at.is_valid())
    new = after.filter(at.is_null())
    changes, added = [], -gone.num_rows
    if gone.num_rows:
        digest = keys_digest(gone[key])
        change = catalog.change(info, "delete", rows=gone.num_rows, before=gone, keys_sha256=digest)
        changes.append(change)
    if replaced.num_rows:
        old = before.take(at.drop_null())
        digest = keys_digest(replaced[key])
        change = catalog.change(
            info, "update", rows=len(replaced), before=old, after=replaced, keys_sha256=digest
        )
        changes.append(change)
    if new.num_rows and insert:
        digest = keys_digest(new[key])
        change = catalog.change(info, "insert", rows=len(new), after=new, keys_sha256=digest)
        changes.append(change)
        added += new.num_rows
    return changes, added


def delete_vectors(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    before: pa.Table,
    *,
    check: Check = lambda _: None,
) -> int:
    """Delete the rows whose images are ``before``, under the table's lock."""
    if not before.num_rows:
        return 0
    nothing = dataset.schema.empty_table()
    return merge_vectors(catalog, info, dataset, nothing, deleted=before, check=check)
