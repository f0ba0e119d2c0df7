"""Evidence that is let go: the table versions that records keep from being cleaned up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from affidavit.catalog.erasure.certificate import CERTIFICATE
from affidavit.catalog.erasure.holds import names_of_held
from affidavit.catalog.erasure.statements import let_go_of_texts, tables_of
from affidavit.catalog.ledger.entry import RELEASE, RETENTION
from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.values.canonical import from_us
from affidavit.engine.reads.records import KINDS as READ_KINDS
from affidavit.engine.search.record import KIND, record_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo


@dataclass(frozen=True, slots=True)
class Freed:
    """The versions of one table that may go.

    Attributes:
        info: The table.
        tags: What keeps them, and the version of each.
    """

    info: TableInfo
    tags: dict[str, int]

    def told(self) -> dict[str, object]:
        """Return what the ledger says of them."""
        versions = sorted(self.tags.values())
        return {"table_id": self.info.table_id, "table": self.info.name, "versions": versions}


def to_free(catalog: Catalog, before_us: int) -> list[Freed]:
    """Return the versions that only records from before that time refer to."""
    datasets, owner = catalog.lake.datasets, catalog.tenant
    with catalog.read() as reader:
        vectors = [info for info in catalog.tables(reader) if KINDS[info.kind].has_versions]
    # in this order, so that a search that comes in between is of a version that stays
    kept = [(info, datasets.kept(info, owner)) for info in vectors]
    newest = {(info.table_id, int(datasets.visible(info).version)) for info in vectors}
    spared = newest | _needed_since(catalog, before_us)
    freed = [Freed(info, _unspared(info, tags, spared)) for info, tags in kept]
    return [each for each in freed if each.tags]


def _unspared(
    info: TableInfo, tags: dict[str, int], spared: Collection[tuple[str | None, int | None]]
) -> dict[str, int]:
    return {tag: at for tag, at in tags.items() if (info.table_id, at) not in spared}


def _needed_since(catalog: Catalog, at_us: int) -> set[tuple[str | None, int | None]]:
    """Return the tables and versions that records of that time and later refer to."""
    since = Compare(">=", "created_at", at_us)
    with catalog.read() as reader:
        searches = catalog.ledger.entries(reader, Compare("=", "kind", KIND), since)
        reads = catalog.ledger.entries(reader, In("kind", READ_KINDS), since)
    return {
        *((each.table_id, each.table_version) for each in map(record_of, searches)),
        *(
            (table["table_id"], table["version"])
            for entry in reads
            for table in entry.fields()["tables"]
        ),
    }


def release_texts(
    catalog: Catalog, before_us: int, reason: str, versions: list[dict[str, object]]
) -> None:
    """Let go of the texts of older statements, and say so of them and of versions of tables.

    Those that name a table with a held row stay.
    """
    with catalog.write() as writer:
        held = names_of_held(catalog, writer).keys()

        def is_old(said: dict[str, Any]) -> bool:
            return int(said["executed_at"] or 0) < before_us and held.isdisjoint(tables_of(said))

        texts = let_go_of_texts(writer, catalog.ledger, is_old)
        catalog.ledger.note(
            writer, RELEASE, catalog.identity, before=from_us(before_us), reason=reason,
            versions=versions, log=texts.told(),
        )  # fmt: skip


def released_by(
    catalog: Catalog, versions: Collection[tuple[str | None, int | None]]
) -> int | None:
    """Return the number of the entry that let go of one of these versions of tables."""
    with catalog.read() as reader:
        releases = catalog.ledger.entries(reader, In("kind", (RELEASE, RETENTION, CERTIFICATE)))
    for entry in releases:
        for each in entry.fields().get("versions") or ():
            if any(each["table_id"] == at and of in each["versions"] for at, of in versions):
                return entry.seq
    return None
