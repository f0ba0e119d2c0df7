"""Small writes of vector tables, put together in the background.

Rules:
    - Fragments of fewer than :data:`SMALL_ROWS` rows alone are written anew, once there are
      :data:`SMALL_MAX`: a write costs what a thousand rows take, however large the table is.
    - One that was put together is written anew only with as many rows as it has: every version
      stays, and so does what a row was in, which is six files at most and not one for each time.
    - It is a version as ``optimize()`` makes one, told to the journal and to listeners.
    - Rows that no index has yet are searched one by one, which is quick for few: an index takes
      them in once they are :data:`UNINDEXED_MAX`.
    - Who writes the table goes first: what cannot be had in :data:`WAIT_S` is left to the next
      time. What fails is left until as many writes more have come.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.lake.vectors.datasets import lance_errors
from affidavit.catalog.lake.vectors.text_indexes import TEXT_INDEX
from affidavit.catalog.lake.vectors.writes import SMALL_MAX, SMALL_ROWS
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.store.transactions import Transactions
from affidavit.catalog.tables.intents import intended
from affidavit.catalog.tables.vector import note_rewritten
from affidavit.catalog.tables.vector_rows import locked
from affidavit.errors import StoreBusyError

if TYPE_CHECKING:
    import lance

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.lake.vectors.writes import WrittenTable
    from affidavit.catalog.model.definition import TableInfo

UNINDEXED_MAX: Final = 8192
WAIT_S: Final = 1.0
_log: Final = logging.getLogger("affidavit")


def gather_due(lake: Lake) -> bool:
    """Put together the small writes of tables that are due; return whether some are still."""
    for table in lake.writes.due():
        try:
            _gather(lake, table)
        except StoreBusyError:
            continue
        except Exception as error:  # noqa: BLE001 - a listener's own, which may refuse it
            _log.info("the small writes of a vector table were not put together: %s", error)
        lake.writes.looked_after(table)
    return bool(lake.writes.due())


def _gather(lake: Lake, table: WrittenTable) -> None:
    catalog = Catalog(lake, Identity(table.tenant), Transactions(lake.store))
    with catalog.read() as reader:
        info = catalog.by_id(reader, table.table_id)
    if info is None:
        return
    what = "putting the small writes of a vector table together"
    with locked(catalog, info, what, wait_s=WAIT_S) as (now, shared):
        if has_small_writes(shared):
            gathered(catalog, now, shared)


def has_small_writes(dataset: lance.LanceDataset) -> bool:
    """Return whether so many fragments are small that they are to be put together."""
    small = (each for each in dataset.get_fragments() if each.physical_rows < SMALL_ROWS)
    return sum(1 for _ in small) >= SMALL_MAX


def rows_together(dataset: lance.LanceDataset) -> int:
    """Return of how many rows a fragment is made: smaller ones are put together.

    The newest :data:`SMALL_MAX` small ones are, and each one before that is no larger than what
    came after it: of those that stay each has more rows than all that are newer.
    """
    count = together = 0
    for fragment in reversed(dataset.get_fragments()):
        rows = fragment.physical_rows
        if rows >= SMALL_ROWS:
            continue
        if count >= SMALL_MAX and rows > together:
            break
        count, together = count + 1, together + rows
    return min(together, SMALL_ROWS)


def gathered(catalog: Catalog, info: TableInfo, shared: lance.LanceDataset) -> None:
    """Put the small fragments of a table together, whose lock is held."""
    told = catalog.change(info, "optimize", version_before=shared.version)
    with intended(catalog, info, shared, [told]) as intent:
        with lance_errors(f"gathering the small writes of {info.name!r}"):
            dataset = shared.checkout_version(shared.version)
            dataset.optimize.compact_files(
                target_rows_per_fragment=rows_together(dataset), materialize_deletions=False
            )
            if behind := _behind(dataset):
                dataset.optimize.optimize_indices(index_names=behind)
            dataset.checkout_latest()
        note_rewritten(catalog, info, told, shared, dataset.version, intent)


def _behind(dataset: lance.LanceDataset) -> list[str]:
    """Return the indexes that lack many rows; those of words are brought up to date otherwise."""
    rows = dataset.count_rows()
    return [
        index.name
        for index in dataset.describe_indices()
        if index.index_type != TEXT_INDEX and rows - index.num_rows_indexed >= UNINDEXED_MAX
    ]
