"""Changes of datasets: written aside, then committed in one step, or discarded.

Nothing is visible to a reader before :meth:`Staged.commit`, so that the decision to commit can be
taken inside the store's transaction, after every listener agreed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
from lance.fragment import write_fragments

from affidavit.catalog.lake.vectors.dataset_files import manifest_of
from affidavit.catalog.lake.vectors.datasets import lance_errors
from affidavit.catalog.sql.quoting import lance_in


class Staged:
    """A change of a dataset that is written and not visible yet."""

    def __init__(
        self, dataset: lance.LanceDataset, transaction: lance.Transaction, stats: dict[str, Any]
    ) -> None:
        self.dataset = dataset
        self.stats = stats
        self._transaction = transaction

    @property
    def version_after(self) -> int:
        """The version that a commit will make; the table's lock keeps others from taking it."""
        return int(self.dataset.version) + 1

    @property
    def written(self) -> list[str]:
        """The files that hold the change, by their paths in the dataset."""
        operation = self._transaction.operation
        changed = getattr(operation, "updated_fragments", ())
        deletions = (each.deletion_file.path(each.id) for each in changed if each.deletion_file)
        return [*(f"data/{name}" for name in self._data_files()), *deletions]

    @property
    def committed(self) -> list[str]:
        """And those that a commit adds to them."""
        told = f"_transactions/{self._transaction.read_version}-{self._transaction.uuid}.txn"
        return [told, manifest_of(self.version_after)]

    def commit(self, properties: dict[str, str]) -> lance.LanceDataset:
        """Make the change visible.

        Raises:
            StoreError: The disk failed, or a writer that holds no lock committed in between.
        """
        self._transaction.transaction_properties = properties
        with lance_errors("committing a vector table"):
            return lance.LanceDataset.commit(self.dataset, self._transaction, max_retries=0)

    def is_committed(self) -> bool:
        """Return whether the change is visible, as the dataset itself says.

        An interrupt may hit after Lance committed and before it could say so.
        """
        try:
            newest = lance.dataset(self.dataset.uri)
        except (OSError, ValueError, RuntimeError):
            return True  # nothing is removed that might be somebody's
        return newest.version >= self.version_after

    def discard(self) -> None:
        """Remove the files that were written."""
        for name in self._data_files():
            (Path(self.dataset.uri) / "data" / name).unlink(missing_ok=True)

    def _data_files(self) -> list[str]:
        operation = self._transaction.operation
        fragments = getattr(operation, "fragments", None) or getattr(operation, "new_fragments", [])
        return [file.path for fragment in fragments for file in fragment.files]


def stage_append(dataset: lance.LanceDataset, rows: pa.RecordBatchReader) -> Staged:
    """Write ``rows`` as new fragments, streaming."""
    transaction = write_fragments(rows, dataset, mode="append", return_transaction=True)
    return Staged(dataset, transaction, {})


def stage_merge(
    dataset: lance.LanceDataset,
    key: str,
    rows: pa.Table,
    *,
    insert: bool,
    delete: pa.ChunkedArray,
) -> Staged:
    """Write ``rows`` over those of equal ``key``, insert or leave out new ones, delete others.

    ``delete`` holds keys; those that ``rows`` has too are replaced.
    """
    if not rows.num_rows:
        builder = dataset.merge_insert(key).when_matched_delete()
        transaction, stats = builder.execute_uncommitted(pa.table({key: delete}))
        return Staged(dataset, transaction, stats)
    builder = dataset.merge_insert(key).when_matched_update_all()
    if insert:
        builder = builder.when_not_matched_insert_all()
    if len(delete):
        builder = builder.when_not_matched_by_source_delete(lance_in(key, delete.to_pylist()))
    transaction, stats = builder.execute_uncommitted(rows)
    return Staged(dataset, transaction, stats)
