"""Another lake, read as one tenant sees it, and never written."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.lake.elsewhere.said import ELSEWHERE_FILE
from affidavit.catalog.lake.folders import CATALOG_FILE
from affidavit.catalog.lake.lake import LakeOptions, open_lake
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.store.transactions import Transactions
from affidavit.errors import AffidavitError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator


class AttachedLake:
    """A lake that is opened when it is first asked.

    Args:
        name: What it was attached as.
        path: Its folder.
        tenant: Whose tables are seen, besides the shared ones.
    """

    def __init__(self, name: str, path: str, tenant: str) -> None:
        self.name = name
        self.folder = Path(path)
        self._tenant = tenant
        self._lock = threading.Lock()
        self._opened: tuple[int, Catalog] | None = None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Name the lake in what opening or reading it raises."""
        try:
            yield
        except SourceError:
            raise
        except (AffidavitError, OSError) as error:
            msg = f"source {self.name!r}: {error}"
            raise SourceError(msg) from error

    def catalog(self) -> Catalog:
        """Return what the tenant sees, opened anew where another lake took this one's place.

        Raises:
            SourceError: There is none, or a newer affidavit wrote it.
        """
        with self._lock, self.errors():
            held = self._opened
            try:
                found = _said_by(self.folder).stat().st_ino
            except OSError as error:
                msg = f"source {self.name!r}: there is no lake at {str(self.folder)!r}"
                raise SourceError(msg) from error
            if held is not None and held[0] == found:
                return held[1]
            if held is not None:
                held[1].lake.close()
                self._opened = None
            lake = open_lake(self.folder, LakeOptions(read_only=True))
            catalog = Catalog(lake, Identity(self._tenant), Transactions(lake.store))
            self._opened = found, catalog
            return catalog

    def close(self) -> None:
        """Close it until it is asked again."""
        with self._lock:
            held, self._opened = self._opened, None
        if held is not None:
            held[1].lake.close()


def _said_by(folder: Path) -> Path:
    """Return the file of a lake's folder that is another one where another lake is."""
    elsewhere = folder / ELSEWHERE_FILE
    return elsewhere if elsewhere.is_file() else folder / CATALOG_FILE
