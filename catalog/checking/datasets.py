"""The files of a vector table against those that were signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.lake.vectors.dataset_files import (
    files_of,
    manifest_of,
    newest_version,
    sha256_of,
)
from affidavit.catalog.lake.vectors.datasets import made_for
from affidavit.catalog.ledger.verification.differences import Difference, of_file
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import INTENTS
from affidavit.catalog.tables.files import listed

if TYPE_CHECKING:
    from pathlib import Path

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader

LOOKS_MAX: Final = 3
"""How often something that differs is looked at: somebody may be writing it."""


def check_version(info: TableInfo, home: Path) -> Difference | None:
    """Return that the newest version of a dataset is not the one that the store shows.

    Only names of manifests are looked at.
    """
    newest, shown = newest_version(home), info.data_version
    if newest is None:
        return of_file(info.name, home.name, "is not there, or has no versions")
    if shown is None or newest == shown:
        return None
    if newest < shown:
        problem = f"is not there: the newest version is {newest}, and {shown} was signed"
        return of_file(info.name, manifest_of(shown), problem)
    problem = f"is version {newest}, and {shown} was signed: another program committed it"
    return of_file(info.name, manifest_of(newest), problem)


def check_files(
    reader: Reader,
    info: TableInfo,
    home: Path,
    *,
    reads: bool,
) -> tuple[Difference | None, int]:
    """Return the first file that is not the one that was signed, and how many were looked at.

    Args:
        reader: One snapshot of the store.
        info: The table.
        home: Where its dataset lies.
        reads: Whether files are read, or only looked for.
    """
    pending = reader.count(INTENTS, own(info.tenant, Compare("=", "table_id", info.table_id)))
    wrong = None if pending else check_version(info, home)
    known, there = listed(reader, info), files_of(home)
    if wrong is not None and there and known and made_for(home) not in {None, info.table_id}:
        return of_file(info.name, home.name, "is the dataset of another table"), 0
    if known and info.data_version is None:
        return of_file(info.name, home.name, "has a version that is shown, and none is named"), 0
    if known and info.data_version is not None and manifest_of(info.data_version) not in known:
        words = f"of version {info.data_version}, which is shown, was never signed"
        return of_file(info.name, manifest_of(info.data_version), words), 0
    if wrong is not None and manifest_of(info.data_version or 0) not in there:
        return wrong, 0
    for path, (size, sha256) in sorted(known.items()):
        problem: str | None = None
        if path not in there:
            problem = None if pending else "is not there"
        elif there[path] != size:
            problem = f"has {there[path]:,} bytes, and {size:,} were signed"
        elif reads and _sha256(home / path) != sha256:
            problem = "has other bytes than were signed"
        if problem is not None:
            return of_file(info.name, path, problem), len(known)
    return wrong, len(known)


def _sha256(path: Path) -> bytes | None:
    try:
        return sha256_of(path)
    except OSError:
        return None
