"""Old versions of vector tables, let go of because somebody says so.

Rules:
    - Nobody is shown a version from when the next one is, and until then everybody is: its age is
      how long ago it was replaced. So whoever began to read within the age, in whatever process,
      and whoever asks what the table was within it, finds every file.
    - The newest version stays, with all that came after the one that is shown, and so does what a
      tag keeps: a record of a search or a read has one.
    - The files leave the list as they leave the folder; what a kill leaves undone is settled by
      who next takes the table's lock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from affidavit.catalog.lake.vectors.datasets import lance_errors
from affidavit.catalog.model import clock
from affidavit.catalog.tables.intents import cleaning

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo


def let_go_of_versions(
    catalog: Catalog, info: TableInfo, dataset: lance.LanceDataset, moment: datetime
) -> list[int]:
    """Delete the versions that were replaced by ``moment``, and return which they were.

    Args:
        catalog: Whose table it is.
        info: The table, whose lock is held, and of which no row is.
        dataset: The version that is shown.
        moment: What was shown after it stays, by the clock that Lance goes by.
    """
    with lance_errors(f"cleaning up {info.name!r}"):
        handle = dataset.checkout_version(dataset.version)
        there = {int(each["version"]): each["timestamp"] for each in handle.versions()}
        shown = [(version, at) for version, at in there.items() if version <= handle.version]
        due = replaced_before(shown, moment)
        if not due:
            return []
        with cleaning(catalog, info):
            handle.cleanup_old_versions(versions=due, error_if_tagged_old_versions=False)
        left = {int(each["version"]) for each in handle.versions()}
    return [each for each in due if each not in left]


def ago(age: timedelta) -> datetime:
    """Return when it was so long ago, by the clock that Lance goes by."""
    try:
        return clock.as_dated() - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def replaced_before(versions: Sequence[tuple[int, datetime]], moment: datetime) -> list[int]:
    """Return those of ``versions``, each with its time, whose next one is from before ``moment``.

    A time without a zone is local, as Lance tells it.
    """
    following = pairwise(sorted(versions))
    return [version for (version, _), (_, at) in following if at.astimezone(UTC) <= moment]
