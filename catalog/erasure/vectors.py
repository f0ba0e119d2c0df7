"""Vector tables: rows deleted, and every file written anew or removed that has anything of them.

Rules:
    - Compaction leaves nothing of a deleted row in data and indexes: entries, tokens, keys and
      codes of it go. What an index was trained with stays in it: where that is small enough for a
      row to be found in, the index is built anew.
    - A table that has no rows left has no index left.
    - Older versions have the rows. All of them go, whatever keeps them: tags, and records that
      could be replayed on them.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.erasure.report import Left
from affidavit.catalog.lake.vectors.datasets import lance_errors, own_handle, rows_with_keys
from affidavit.catalog.tables.indexing import INDEX_KINDS, Wanted
from affidavit.catalog.tables.intents import cleaning, intended
from affidavit.catalog.tables.vector import build_index, compacted, note_rewritten
from affidavit.catalog.tables.vector_rows import delete_vectors, locked, vector_definition

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo

ROWS_TRAINED_MAX: Final = 20_000
"""A vector index over more rows keeps what it was trained with: averages of many."""


def delete_rows_of(catalog: Catalog, info: TableInfo, keys: pa.Array) -> int:
    """Delete the rows of these keys that a vector table has, and return how many there were."""
    with locked(catalog, info, "erasing rows of a vector table") as (now, dataset):
        before = rows_with_keys(dataset, vector_definition(now).key, keys)
        return delete_vectors(catalog, now, dataset, before)


def rewrite(catalog: Catalog, info: TableInfo) -> tuple[list[int], list[Left]]:
    """Leave nothing in a vector table's files but the rows that it has.

    Returns:
        The versions that were removed, and what of the rows may be left in indexes.
    """
    with locked(catalog, info, "erasing rows of a vector table") as (now, shared):
        if _is_clean(shared):
            return [], []
        if shared.count_rows():
            compacted(catalog, now, shared, whole=True)
        else:
            _without_indexes(catalog, now)
        left = _retrained(catalog, now)
        dataset = catalog.lake.datasets.latest(now)
        older = {int(each["version"]) for each in dataset.versions()} - {int(dataset.version)}
        with cleaning(catalog, now), lance_errors(f"erasing rows of {now.name!r}"):
            _untag(dataset)
            own_handle(dataset).cleanup_old_versions(
                timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False
            )
        catalog.lake.datasets.forget(now)
        return sorted(older), left


def _without_indexes(catalog: Catalog, info: TableInfo) -> None:
    """Drop the indexes of a table that has no rows left: of nothing they are not built anew."""
    for index in catalog.lake.datasets.latest(info).describe_indices():
        shared = catalog.lake.datasets.latest(info)
        told = catalog.change(
            info, "index", version_before=shared.version, detail=f"dropped {index.name}"
        )
        with intended(catalog, info, shared, [told]) as intent:
            with lance_errors(f"dropping index {index.name!r} of {info.name!r}"):
                own_handle(shared).drop_index(index.name)
            after = int(catalog.lake.datasets.latest(info).version)
            note_rewritten(catalog, info, told, shared, after, intent)


def _is_clean(dataset: lance.LanceDataset) -> bool:
    """Return whether a dataset has nothing but the rows of its one version."""
    deleted = any(fragment.deletion_file() for fragment in dataset.get_fragments())
    return not deleted and len(dataset.versions()) == 1


def _untag(dataset: lance.LanceDataset) -> None:
    """Let go of what keeps older versions, whoever keeps them."""
    handle = own_handle(dataset)
    for name, tag in handle.tags.list().items():
        if int(tag["version"]) != dataset.version:
            handle.tags.delete(name)


def _retrained(catalog: Catalog, info: TableInfo) -> list[Left]:
    """Build the small vector indexes anew; return what is left in the large ones."""
    left = []
    definition, dataset = vector_definition(info), catalog.lake.datasets.latest(info)
    rows = dataset.count_rows()
    for index in dataset.describe_indices():
        kind = str(index.index_type).upper()
        if kind not in INDEX_KINDS or not kind.startswith("IVF"):
            continue
        column = index.field_names[0]
        if rows > ROWS_TRAINED_MAX:
            why = "its centroids are averages that the erased rows were part of; rebuild it"
            left.append(Left(f"index {index.name!r} of {info.name!r}", why))
        elif rows:
            wanted = Wanted(
                column, definition.metric, index.name, replace=True, progress=lambda _: None,
                options=_options(dataset, index.name),
            )  # fmt: skip
            shared = catalog.lake.datasets.latest(info)
            build_index(catalog, info, shared, kind, wanted)
    return left


def _options(dataset: lance.LanceDataset, name: str) -> dict[str, Any]:
    """Return how an index was built, as far as Lance says."""
    os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")  # else Lance prints a warning
    told = dataset.stats.index_stats(name).get("indices") or [{}]
    sub = told[0].get("sub_index") or {}
    found = {
        "num_partitions": told[0].get("num_partitions"),
        "num_sub_vectors": sub.get("num_sub_vectors"),
    }
    return {option: value for option, value in found.items() if value}
