"""Vector tables: Lance datasets with a unique key, versions and indexes."""

from __future__ import annotations

from dataclasses import replace as replaced
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from affidavit.catalog.lake.vectors.datasets import check_columns, lance_errors, own_handle
from affidavit.catalog.lake.vectors.shown_dataset import ShownDataset
from affidavit.catalog.lake.vectors.text_indexes import rebuild_text_indexes
from affidavit.catalog.model.definition import VECTOR
from affidavit.catalog.model.holds import refuse_held
from affidavit.catalog.tables.constraints.leftout import whole_vectors
from affidavit.catalog.tables.embedding.anew import reembed
from affidavit.catalog.tables.embedding.filling import embedded, embedded_parts, refuse_redefined
from affidavit.catalog.tables.files import hashed_before, list_files, list_tag
from affidavit.catalog.tables.handle import TableHandle
from affidavit.catalog.tables.indexing import (
    INDEX_KINDS,
    IVF,
    Progress,
    Wanted,
    check_suits,
    checked_kind,
)
from affidavit.catalog.tables.intents import intended
from affidavit.catalog.tables.reading import given, refuse_unseen
from affidavit.catalog.tables.upkeep.letting_go import ago, let_go_of_versions
from affidavit.catalog.tables.vector_making import restore
from affidavit.catalog.tables.vector_rows import (
    insert_vectors,
    locked,
    merge_vectors,
    vector_definition,
)
from affidavit.catalog.values.python.arguments import (
    checked_choice,
    checked_number,
    checked_switch,
    checked_text,
    checked_text_or_none,
    checked_version,
)
from affidavit.catalog.values.vectors import checked_on_bad
from affidavit.errors import (
    AffidavitError,
    InvalidQueryError,
    OutcomeUnknownError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import lance
    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.tables.intents import Intent


class VectorTable(TableHandle):
    """A handle on a vector table; it always reads and writes the newest version."""

    kind = VECTOR.name

    def __repr__(self) -> str:
        try:
            definition = vector_definition(self._info())
            held = f"{self.count()} rows, version {self.version}"
        except AffidavitError:  # it was dropped, or the session closed: who uses it is told so
            return f"VectorTable({self.name!r})"
        made = "" if definition.model is None else f", by {definition.model!r}"
        made += "" if definition.source is None else f" of {definition.source!r}"
        return (
            f"VectorTable({self.name!r}, {held}, "
            f"{definition.vector}: {definition.dimension} dimensions, {definition.metric}{made})"
        )

    def _info(self) -> TableInfo:
        with self._catalog.read() as reader:
            info = self._catalog.get(reader, self.name, self._schema)
        if info.kind != self.kind:
            raise TableNotFoundError(self.name)
        return info

    def _dataset(self) -> lance.LanceDataset:
        return self._catalog.lake.datasets.visible(self._info())

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema; vectors are fixed-size lists."""
        return self._dataset().schema

    @property
    def key(self) -> str:
        """The key column."""
        return vector_definition(self._info()).key

    @property
    def metric(self) -> str:
        """How vectors are compared: ``cosine``, ``l2`` or ``dot``."""
        return vector_definition(self._info()).metric

    @property
    def model(self) -> str | None:
        """The embedding model that queries given as text are encoded with."""
        return vector_definition(self._info()).model

    @property
    def source(self) -> str | None:
        """The column whose text the model makes a vector of, for a row that comes without."""
        return vector_definition(self._info()).source

    @property
    def version(self) -> int:
        """The newest version's number."""
        return int(self._dataset().version)

    def versions(self) -> list[dict[str, Any]]:
        """Return every version that is kept: ``version``, ``timestamp``, ``metadata``."""
        with lance_errors(f"reading the versions of {self.name!r}"):
            return self._catalog.lake.datasets.versions(self._info())

    def count(self) -> int:
        """Return how many rows there are."""
        return int(self._dataset().count_rows())

    def to_arrow(self) -> pa.Table:
        """Return every row of the newest version."""
        info = self._info()
        dataset = self._catalog.lake.datasets.visible(info)
        with self._catalog.read() as reader, lance_errors(f"reading vector table {self.name!r}"):
            return given(
                self._catalog, reader, info, "to_arrow", dataset.to_table,
                dataset.schema.names, dataset,
            )  # fmt: skip

    def to_lance(self) -> lance.LanceDataset:
        """Return the newest version as Lance's own dataset, which is only read.

        Raises:
            InvalidQueryError: What is read of the table is to be on record, and this would not be.
        """
        info = self._info()
        refuse_unseen(self._catalog, info, "to_lance()")
        is_own = info.tenant == self._catalog.tenant
        return ShownDataset(self._catalog.lake.datasets.visible(info), is_own=is_own)

    def insert(self, data: object, *, on_bad_vectors: str = "error") -> int:
        """Append rows, streamed, and return how many there were: all of them, or none.

        Args:
            data: The rows.
            on_bad_vectors: What becomes of a row that has a vector which cannot be searched:
                ``"error"`` refuses all of them, ``"drop"`` leaves that row out, ``"null"`` its
                vector.

        Raises:
            ConstraintError: A key is NULL, there already, or twice in the data; or a vector has
                NaN or infinity, is zero where the metric is cosine, or its square leaves float32;
                the key of its row is named.
            SchemaMismatchError: A column does not fit, or a vector has another dimension.
        """
        on_bad = checked_on_bad(on_bad_vectors)
        asked, what = self._info(), "inserting into a vector table"
        with (
            embedded(self._catalog, asked, data, on_bad) as (ready, bad),
            locked(self._catalog, asked, what) as (info, dataset),
        ):
            refuse_redefined(asked, info)
            return insert_vectors(self._catalog, info, dataset, ready, on_bad=bad)

    def upsert(self, data: object, *, on_bad_vectors: str = "error") -> int:
        """Insert rows, or change those with the same key; return how many there were.

        A column that a row leaves out stays as it is, and is NULL in a new row. ``on_bad_vectors``
        is as in :meth:`insert`.
        """
        on_bad, asked = checked_on_bad(on_bad_vectors), self._info()
        parts = embedded_parts(self._catalog, asked, data, on_bad)
        with locked(self._catalog, asked, "writing a vector table") as (info, dataset):
            refuse_redefined(asked, info)
            rows = whole_vectors(dataset, vector_definition(info).key, self.name, data, parts)
            bad = on_bad if parts is None else None
            return merge_vectors(self._catalog, info, dataset, rows, on_bad=bad)

    def reembed(
        self, model: str | None = None, *, source: str | None = None, progress: bool | None = None
    ) -> int:
        """Give every row the vector that a model makes of its text; return how many there were.

        The rows and the table's model change in one version. The model is asked before that, with
        no lock held; searches find the old vectors until then. Indexes on the vectors go on, and
        are best built anew.

        Args:
            model: The model that is the table's from then on; its own by default.
            source: The column of the texts; the table's own by default.
            progress: Show a bar for long work; by default if standard error is a terminal.

        Raises:
            ModelNotFoundError: The model is not registered.
            InvalidQueryError: It makes vectors of another dimension.
            ConstraintError: A row that has a vector has no text.
            ConflictError: Others changed the table each time that it was tried.
        """
        checked_text_or_none(model, "model")
        checked_text_or_none(source, "source")
        bar = Progress(f"vectors of {self.name}", show=checked_choice(progress, "progress"))
        try:
            return reembed(self._catalog, self._info(), model, source, bar)
        finally:
            bar.close()

    def tag(self, name: str, version: int | None = None) -> None:
        """Name a version, so that :meth:`optimize` keeps it; the newest one by default."""
        checked_text(name, "name")
        if version is not None:
            checked_number(version, "version", least=1)
        with (
            locked(self._catalog, self._info(), "tagging a vector table") as (info, dataset),
            self._catalog.write() as writer,
        ):
            at = dataset.version if version is None else version
            change = self._catalog.change(info, "tag", version_after=at, detail=name)
            self._catalog.announce(writer, change)
            with lance_errors(f"tagging version {at} of {self.name!r}"):
                own_handle(dataset).tags.create(name, at)
            list_tag(self._catalog, writer, info, name)

    def tags(self) -> dict[str, int]:
        """Return each tag's version."""
        return {name: int(tag["version"]) for name, tag in self._dataset().tags.list().items()}

    def restore(self, version: int | str) -> None:
        """Make the rows of a past version the newest version."""
        checked_version(version, "version")
        what = "restoring a vector table"
        with locked(self._catalog, self._info(), what, restores=True) as (info, dataset):
            restore(self._catalog, info, dataset, version)

    def optimize(self, *, cleanup_older_than: timedelta | None = None) -> None:
        """Merge small fragments and bring the indexes up to date.

        Args:
            cleanup_older_than: Also delete versions that were replaced longer ago than this.
                Tagged versions stay; a search that read a deleted one cannot be replayed.

        Raises:
            HoldError: Old versions are to go, and a row of the table is held.
        """
        if not isinstance(cleanup_older_than, timedelta | None):
            msg = f"cleanup_older_than must be a timedelta, got {cleanup_older_than!r}"
            raise InvalidQueryError(msg)
        with locked(self._catalog, self._info(), "optimizing a vector table") as (info, shared):
            if cleanup_older_than is not None:
                with self._catalog.read() as reader:
                    refuse_held(reader, info.table_id)
            # who deletes old versions wants the rows gone that were deleted, however few
            dataset = compacted(self._catalog, info, shared, whole=cleanup_older_than is not None)
            if cleanup_older_than is not None:  # once nobody who comes is shown the old ones
                let_go_of_versions(self._catalog, info, dataset, ago(cleanup_older_than))

    def create_index(
        self,
        column: str,
        index_type: str = IVF,
        num_partitions: int | None = None,
        num_sub_vectors: int | None = None,
        *,
        name: str | None = None,
        replace: bool = True,
        progress: bool | Callable[[Any], None] | None = None,
        **options: Any,  # noqa: ANN401 - what the kind of index takes
    ) -> None:
        """Build an index and commit it as a new version.

        Args:
            column: A vector column for ``IVF``, which is what suits the vectors, ``IVF_SQ``,
                ``IVF_PQ``, ``IVF_FLAT``, ``IVF_HNSW_SQ``; a text column for ``FTS``; any other for
                ``BTREE``, ``BITMAP``, ``LABEL_LIST``.
            index_type: One of those, in any case.
            num_partitions: IVF cells; about one for 4,096 rows by default.
            num_sub_vectors: Of ``IVF_PQ``: bytes a vector; a divisor of the dimension by default.
            name: The index's name; Lance's ``<column>_idx`` by default.
            replace: Replace an index of that name.
            progress: Show a bar for long builds; by default if standard error is a terminal. Or a
                callable that is given Lance's progress events.
            options: Handed to Lance, such as ``base_tokenizer="ngram"``; docs/search.md lists those
                of ``FTS``.

        Raises:
            ColumnNotFoundError: There is no such column.
            InvalidQueryError: The kind does not suit the column, or an option is wrong.
        """
        kind, replace = checked_kind(index_type), checked_switch(replace, "replace")
        shown = (
            progress
            if callable(progress)
            else Progress(f"index on {self.name}.{column}", show=progress)
        )
        given = {"num_partitions": num_partitions, "num_sub_vectors": num_sub_vectors}
        options |= {k: v for k, v in given.items() if v is not None}
        with locked(self._catalog, self._info(), "indexing a vector table") as (info, shared):
            check_columns(shared, [column], table=self.name)
            check_suits(kind, column, shared.schema.field(column).type, table=self.name)
            metric = vector_definition(info).metric
            wanted = Wanted(column, metric, name, replace, shown, options)
            try:
                build_index(self._catalog, info, shared, kind, wanted)
            finally:
                if isinstance(shown, Progress):
                    shown.close()

    def indexes(self) -> list[dict[str, Any]]:
        """Return the indexes of the newest version: ``name``, ``type``, ``fields``, ``uuid``."""
        with lance_errors(f"reading the indexes of {self.name!r}"):
            found = self._dataset().describe_indices()
        return [
            {
                "name": index.name, "type": index.index_type, "fields": index.field_names,
                "uuid": index.segments[0].uuid,
            }
            for index in found
        ]  # fmt: skip


def compacted(
    catalog: Catalog, info: TableInfo, shared: lance.LanceDataset, *, whole: bool = False
) -> lance.LanceDataset:
    """Merge small fragments and bring indexes up to date, under the table's lock; return it then.

    ``whole`` writes each fragment anew that has a deleted row, its indexes too: by itself Lance
    waits for a tenth of the rows to be deleted.
    """
    told = catalog.change(info, "optimize", version_before=shared.version)
    options = {"materialize_deletions_threshold": 0.0} if whole else {}
    with intended(catalog, info, shared, [told]) as intent:
        with lance_errors(f"optimizing {info.name!r}"):
            dataset = shared.checkout_version(shared.version)
            dataset.optimize.compact_files(**options)
            dataset.optimize.optimize_indices()
            rebuild_text_indexes(dataset)
            dataset.checkout_latest()
        note_rewritten(catalog, info, told, shared, dataset.version, intent)
    return dataset


def note_rewritten(
    catalog: Catalog, info: TableInfo, told: Change, was: lance.LanceDataset, after: int,
    intent: Intent,
) -> None:  # fmt: skip
    """Announce what Lance did by itself; take it back if a listener refuses."""
    first = int(was.version) + 1
    try:
        written = hashed_before(catalog, info)
        with catalog.write() as writer:
            catalog.announce(writer, replaced(told, version_after=after))
            catalog.touch(writer, info)
            catalog.show(writer, info, after)
            list_files(catalog, writer, info, range(first, after + 1), written)
            intent.finish(writer)
    except OutcomeUnknownError:  # the intent is settled once the store can be asked
        raise
    except BaseException:
        was.checkout_version(was.version).restore()
        newest = int(catalog.lake.datasets.latest(info).version)
        with catalog.write() as writer:  # the version is a new one, and nothing changed
            catalog.show(writer, info, newest)
            list_files(catalog, writer, info, range(first, newest + 1))
            intent.finish(writer)
        raise


def build_index(
    catalog: Catalog, info: TableInfo, shared: lance.LanceDataset, kind: str, wanted: Wanted
) -> None:
    """Build an index of a kind and commit it as a new version, under the table's lock.

    Raises:
        InvalidQueryError: An option is wrong.
    """
    told = catalog.change(
        info, "index", version_before=shared.version, detail=f"{kind} on {wanted.column}"
    )
    what = f"building {kind} on {info.name}.{wanted.column}"
    with intended(catalog, info, shared, [told]) as intent:
        try:
            with lance_errors(what):
                INDEX_KINDS[kind].build(shared.checkout_version(shared.version), kind, wanted)
        except TypeError as error:
            msg = f"{what}: {error}"
            raise InvalidQueryError(msg) from error
        after = int(catalog.lake.datasets.latest(info).version)
        note_rewritten(catalog, info, told, shared, after, intent)
