"""What is looked at when a lake is opened: whether vectors and store are of one time."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from affidavit.catalog.checking.datasets import LOOKS_MAX, check_version
from affidavit.catalog.journal.segments.places import LocalFolder
from affidavit.catalog.model.definition import VECTOR
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.tables import INTENTS
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.verification.differences import Difference
    from affidavit.catalog.model.definition import TableInfo

NAMED_MAX: Final = 5
"""How many tables are named."""

_log: Final = logging.getLogger("affidavit")


def warn_of_versions(catalog: Catalog) -> None:
    """Warn of the vector tables whose newest version is not the one that the store shows.

    One folder was put back, and the other not; or another program wrote. Only names of files are
    looked at.
    """
    try:
        _warn(catalog)
    except StoreError as error:  # verify() says so, and more
        _log.warning("%s", error)


def _warn(catalog: Catalog) -> None:
    later = _later_segment(catalog)
    if later is not None:
        _log.warning(
            "segment %s of the journal is of entries that catalog.db does not have: an older "
            "catalog.db was put back beside a newer journal", later,
        )  # fmt: skip
    differ, names = _differing(catalog, None), None
    for _ in range(LOOKS_MAX - 1):
        if not differ:
            return
        names = [each.table for each in differ if each.table is not None]
        differ = _differing(catalog, names)  # a writer may just have come to its end
    if differ:
        shown = "; ".join(map(str, differ[:NAMED_MAX]))
        more = f"; and {len(differ) - NAMED_MAX} more" if len(differ) > NAMED_MAX else ""
        _log.warning("%s%s. session.ledger.verify(data=True) says what differs", shown, more)


def _later_segment(catalog: Catalog) -> str | None:
    """Return a segment in the lake's folder whose entries its ledger does not have yet.

    A crash leaves a segment that nothing names, but never one of entries that were not committed.
    """
    folders = [catalog.journal.kept.folder, catalog.journal.records.kept.folder]
    names = [
        path.name
        for folder in folders
        if isinstance(folder, LocalFolder)
        for path in sorted(folder.folder.glob("*.parquet"))
    ]
    if not names:
        return None
    with catalog.read() as reader:
        last = catalog.ledger.last_seq(reader)
    known = -1 if last is None else last
    return next((name for name in names if _last_of(name) > known), None)


def _last_of(name: str) -> int:
    """Return the number of a segment's last entry, as its name says; -1 if it says none."""
    _, _, rest = name.partition("-")
    digits = rest.partition(".")[0].partition("-")[0]
    return int(digits) if digits.isdecimal() else -1


def _version_of(catalog: Catalog, info: TableInfo) -> Difference | None:
    """Return that a table's newest version is another; its folder may wait for its new name."""
    found = check_version(info, catalog.lake.datasets.path(info))
    if found is None or catalog.lake.datasets.path(info).is_dir():
        return found
    with suppress(StoreError):
        return check_version(info, catalog.lake.datasets.home(info))
    return found


def _differing(catalog: Catalog, names: Collection[str] | None) -> list[Difference]:
    with catalog.read() as reader:
        found = [
            (info, difference)
            for info in catalog.tables(reader, names)
            if info.kind == VECTOR.name and (difference := _version_of(catalog, info)) is not None
        ]
        return [
            difference
            for info, difference in found
            if not reader.count(INTENTS, Compare("=", "table_id", info.table_id))
        ]
