"""Which files a vector table is made of, as the store lists them with their SHA-256.

Rules:
    - A file is listed by the transaction that shows what needs it, once Lance has committed.
    - Of the manifests only those of versions that the table's own writer made are listed.
    - A file is taken from the list only by who cleaned it up: one that went otherwise is missed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affidavit.catalog.lake.vectors.dataset_files import (
    FIRST,
    TAGS,
    files_of,
    manifest_of,
    sha256_of,
    tag_path,
    version_of,
)
from affidavit.catalog.sql.predicate import And, Compare, In
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import FILES
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.values.types import StoreValue

    Hashes = Mapping[str, tuple[int, bytes]]

PATHS_MAX = 500
"""How many files are taken from the list at a time."""


def of_table(info: TableInfo) -> And:
    """Return the predicate for the files of a table."""
    return own(info.tenant, Compare("=", "table_id", info.table_id))


def listed(reader: Reader, info: TableInfo) -> dict[str, tuple[int, bytes]]:
    """Return the size and SHA-256 of each file that is listed of a table.

    Raises:
        LedgerCorruptError: A row of the list is none: somebody else wrote it.
    """
    found = {}
    for path, size, sha256 in reader.select(FILES, ("path", "bytes", "sha256"), of_table(info)):
        is_row = isinstance(path, str) and isinstance(size, int) and isinstance(sha256, bytes)
        if not is_row and path != FIRST:
            msg = f"the list of files of vector table {info.name!r} is unreadable at {path!r}"
            raise LedgerCorruptError(msg)
        if is_row:
            found[path] = size, sha256
    return found  # type: ignore[return-value]


def paths(reader: Reader, info: TableInfo) -> set[str]:
    """Return the paths that are listed of a table."""
    return {str(path) for (path,) in reader.select(FILES, ("path",), of_table(info))}


def _listed_of(reader: Reader, info: TableInfo, wanted: Sequence[str]) -> set[str]:
    where = And((of_table(info), In("path", tuple(wanted))))
    return {str(path) for (path,) in reader.select(FILES, ("path",), where)}


def hashed(home: Path, known: Container[str] = ()) -> dict[str, tuple[int, bytes]]:
    """Return the size and SHA-256 of the files of the dataset at ``home`` that are not known."""
    found = {}
    for path, size in files_of(home, known).items():
        with suppress(OSError):  # it went while it was looked at
            found[path] = size, sha256_of(home / path)
    return found


@dataclass(frozen=True, slots=True)
class Before:
    """What was found of a table, whose lock is held, before anybody waits for it.

    Attributes:
        known: The paths that are listed.
        hashed: The files that are not.
    """

    known: set[str]
    hashed: Hashes


def hashed_before(
    catalog: Catalog, info: TableInfo, written: Sequence[str] | None = None
) -> Before:
    """Return what is listed of a table, and hash what is not.

    ``written`` are the paths that are to be looked at, where they are known: to look for what is
    not listed takes longer the more versions there are. The first time all is looked at.
    """
    home = catalog.lake.datasets.path(info)
    if written is not None and len(written) < PATHS_MAX:
        with catalog.read() as reader:
            known = _listed_of(reader, info, [FIRST, *written])
        found = _hashed_files(home, [path for path in written if path not in known])
        if FIRST in known and found is not None:
            return Before(known, found)
    with catalog.read() as reader:
        known = paths(reader, info)
    return Before(known, hashed(home, known))


def _hashed_files(home: Path, wanted: Sequence[str]) -> dict[str, tuple[int, bytes]] | None:
    """Return the size and SHA-256 of files; ``None`` if Lance calls one by another name."""
    try:
        return {path: ((home / path).stat().st_size, sha256_of(home / path)) for path in wanted}
    except OSError:
        return None


def list_files(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    versions: range,
    before: Before | None = None,
    committed: Sequence[str] | None = None,
) -> None:
    """List the files that a table has since its writer made ``versions`` of it.

    ``before`` is what was found already. The first time, tags that there are are listed
    too; later ones are by :func:`list_tag`. ``committed`` are the paths of what came since,
    where ``before`` is of known paths.
    """
    home = catalog.lake.datasets.path(info)
    since = None if before is None else _since(home, before, committed)
    if before is None or since is None:
        before = Before(paths(writer, info), {})
        since = hashed(home, before.known)
    known, found = before.known, {**before.hashed, **since}
    is_first = FIRST not in known
    rows: list[tuple[StoreValue, ...]] = [
        (info.table_id, path, size, sha256)
        for path, (size, sha256) in sorted(found.items())
        if version_of(path) in {None, *versions} and (is_first or not path.startswith(TAGS))
    ]
    if is_first:
        rows.append((info.table_id, FIRST, versions.start, None))
    writer.insert(FILES, columns_of(FILES), rows)


def _since(
    home: Path, before: Before, committed: Sequence[str] | None
) -> dict[str, tuple[int, bytes]] | None:
    """Return what came since ``before``; ``None`` if that has other names than were told."""
    if committed is None or FIRST not in before.known:
        return hashed(home, before.known | before.hashed.keys())
    return _hashed_files(home, committed)


def list_tag(catalog: Catalog, writer: Writer, info: TableInfo, name: str) -> None:
    """List a tag that was just made, where a table's files are listed."""
    path = tag_path(name)
    if FIRST in paths(writer, info):
        file = catalog.lake.datasets.path(info) / path
        row = (info.table_id, path, file.stat().st_size, sha256_of(file))
        writer.insert(FILES, columns_of(FILES), [row])


def unlist(writer: Writer, info: TableInfo, gone: Sequence[str]) -> None:
    """Take files from the list."""
    for at in range(0, len(gone), PATHS_MAX):
        paths_gone = In("path", tuple(gone[at : at + PATHS_MAX]))
        writer.delete_where(FILES, And((of_table(info), paths_gone)))


def unlist_removed(
    catalog: Catalog, writer: Writer, info: TableInfo, dataset: lance.LanceDataset
) -> None:
    """Take the files from the list that a clean-up removed which did not come to its end.

    None of which the newest version needs, or one that is tagged.
    """
    left = {*files_of(catalog.lake.datasets.path(info)), *_needed(dataset), FIRST}
    with suppress(OSError, ValueError, RuntimeError):
        for tag in dataset.tags.list().values():
            left |= {manifest_of(int(tag["version"]))}
    unlist(writer, info, [path for path in paths(writer, info) if path not in left])


def _needed(dataset: lance.LanceDataset) -> Iterator[str]:
    """Yield the files that a version of a dataset is made of, but for its indexes'."""
    yield manifest_of(int(dataset.version))
    for fragment in dataset.get_fragments():
        yield from (f"data/{file.path}" for file in fragment.data_files())
        deletion = fragment.deletion_file()
        if deletion is not None:
            yield deletion
