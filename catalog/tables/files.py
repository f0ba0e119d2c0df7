"""Which files a vector table is made of, as the store lists them with their SHA-256.

Rules:
    - A file is listed by the transaction that shows what needs it, once Lance has committed.
    - Of the manifests only those of versions that the table's own writer made are listed.
    - A file is taken from the list only by who cleaned it up: one that went otherwise is missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.lake.dataset_files import files_of, manifest_of, sha256_of, version_of
from affidavit.catalog.sql.predicate import And, Compare, In
from affidavit.catalog.store.protocol import columns_of
from affidavit.catalog.store.tables import FILES

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
    from pathlib import Path

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer

    Hashes = Mapping[str, tuple[int, bytes]]

PATHS_MAX = 500
"""How many files are taken from the list at a time."""


def of_table(info: TableInfo) -> Compare:
    """Return the predicate for the files of a table."""
    return Compare("=", "table_id", info.table_id)


def listed(reader: Reader, info: TableInfo) -> dict[str, tuple[int, bytes]]:
    """Return the size and SHA-256 of each file that is listed of a table."""
    rows = reader.select(FILES, ("path", "bytes", "sha256"), of_table(info))
    return {str(path): (size, sha256) for path, size, sha256 in rows}  # type: ignore[misc]


def hashed(home: Path, known: Container[str] = ()) -> dict[str, tuple[int, bytes]]:
    """Return the size and SHA-256 of the files of the dataset at ``home`` that are not known."""
    return {
        path: (size, sha256_of(home / path))
        for path, size in files_of(home).items()
        if path not in known
    }


def hashed_before(catalog: Catalog, info: TableInfo) -> Hashes:
    """Return what is hashed of a table before anybody waits for it: files that are not listed."""
    with catalog.read() as reader:
        known = listed(reader, info)
    return hashed(catalog.lake.datasets.path(info), known)


def list_files(
    catalog: Catalog, writer: Writer, info: TableInfo, versions: range, before: Hashes
) -> None:
    """List the files that a table has since its writer made ``versions`` of it.

    ``before`` are those that were hashed already.
    """
    home, known = catalog.lake.datasets.path(info), listed(writer, info)
    found = {path: each for path, each in before.items() if path not in known}
    found |= hashed(home, {**known, **before})
    rows = [
        (info.table_id, path, size, sha256)
        for path, (size, sha256) in sorted(found.items())
        if version_of(path) in {None, *versions}
    ]
    writer.insert(FILES, columns_of(FILES), rows)


def unlist_removed(
    catalog: Catalog, writer: Writer, info: TableInfo, dataset: lance.LanceDataset
) -> None:
    """Take the files from the list that a clean-up removed: none of which ``dataset`` needs."""
    left = {*files_of(catalog.lake.datasets.path(info)), *_needed(dataset)}
    gone = [path for path in listed(writer, info) if path not in left]
    for at in range(0, len(gone), PATHS_MAX):
        paths = In("path", tuple(gone[at : at + PATHS_MAX]))
        writer.delete_where(FILES, And((of_table(info), paths)))


def _needed(dataset: lance.LanceDataset) -> Iterator[str]:
    """Yield the files that a version of a dataset is made of, but for its indexes'."""
    yield manifest_of(int(dataset.version))
    for fragment in dataset.get_fragments():
        yield from (f"data/{file.path}" for file in fragment.data_files())
        deletion = fragment.deletion_file()
        if deletion is not None:
            yield deletion
