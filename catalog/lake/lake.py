"""Where a lake lives on disk, and opening it.

    <lake>/catalog.db                        definitions and mutable tables
    <lake>/vectors/<tenant>/<table>.lance    vector tables; ``_shared`` holds the shared scope's
    <lake>/journal/<tenant>/                 sealed segments, unless they lie at a URL
    <lake>/locks/                            lock files

Rules:
    - Opening is idempotent: an open that was killed half-way is finished by the next.
    - A vector table is written under ``.staging`` and renamed into place by the transaction that
      defines it. What a crash left there is removed once its owner's lock is free.
    - Where the segments lie is settled once, before the first is sealed.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from filelock import FileLock, Timeout

from affidavit.catalog.journal.journal import Journals
from affidavit.catalog.journal.places import PLACES, SegmentStore, parse_place, place_of
from affidavit.catalog.journal.segments import SEGMENTS
from affidavit.catalog.lake.cache import BUDGET_BYTES, TableCache
from affidavit.catalog.lake.datasets import Datasets
from affidavit.catalog.ledger.ledger import Ledgers, lake_id
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.store.sqlite import SqliteStore, check_durability
from affidavit.catalog.topics.news import News
from affidavit.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.journal.places import Place, SegmentFolder
    from affidavit.catalog.model.change import ChangeListener, Outbox
    from affidavit.catalog.store.protocol import Store
    from affidavit.catalog.topics.topic import Topic

CATALOG_FILE: Final = "catalog.db"
SHARED_FOLDER: Final = "_shared"


class Lake:
    """An open lake: its store, its folders, its cache, and who listens to changes.

    Args:
        path: The lake's folder; created unless ``read_only``.
        durability: ``"full"`` or ``"normal"``; see
            :class:`~affidavit.catalog.store.sqlite.SqliteStore`.
        busy_timeout_s: How long a writer waits for other writers.
        cache_bytes: The memory budget for copies of unchanged tables.
        read_only: Refuse to write, and never create.
        journal_url: Where sealed segments lie; ``None`` for where the lake says.

    Raises:
        LakeError: The path is a file, cannot be written, or is no lake; or its segments lie
            elsewhere than ``journal_url`` says.
        StoreError: The place that ``journal_url`` names cannot be written.
        LakeVersionError: A newer affidavit wrote it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: str = "full",
        busy_timeout_s: float = 30.0,
        cache_bytes: int = BUDGET_BYTES,
        read_only: bool = False,
        journal_url: str | None = None,
    ) -> None:
        check_durability(durability)
        given = None if journal_url is None else parse_place(journal_url)
        self.path = _checked_path(path)
        self.read_only = read_only
        self.cache = TableCache(cache_bytes)
        self.listeners: list[tuple[ChangeListener, str | None]] = []
        self.outbox: Outbox | None = None
        self.news = News()
        self.known_topics: dict[tuple[str, str], Topic] = {}
        self.datasets = Datasets(self)
        try:
            if read_only and not (self.path / CATALOG_FILE).is_file():
                msg = f"there is no lake at {str(self.path)!r}, and it was opened read-only"
                raise LakeError(msg)
            if not read_only:
                for folder in (self.path, self.path / "vectors", self._locks):
                    folder.mkdir(parents=True, exist_ok=True)
                _check_writable(self.path)
        except OSError as error:
            msg = f"cannot create a lake at {str(self.path)!r}: {error}"
            raise LakeError(msg) from error
        self.store: Store = SqliteStore(
            self.path / CATALOG_FILE,
            locks=self._locks,
            durability=durability,
            busy_timeout_s=busy_timeout_s,
            read_only=read_only,
        )
        try:
            with self.store.read(SHARED) as reader:
                self.lake_id = lake_id(reader)
            self.segments = self._settled(given)
        except BaseException:
            self.store.close()
            raise
        self.journals = Journals(self)
        self.ledgers = Ledgers(self.lake_id, None, sources=self.journals.sources)
        if not read_only:
            self._remove_abandoned()

    @property
    def _locks(self) -> Path:
        return self.path / "locks"

    @property
    def _staging(self) -> Path:
        return self.path / "vectors" / ".staging"

    def vector_path(self, tenant: str, table: str) -> Path:
        """Return where a tenant's vector table lies."""
        folder = SHARED_FOLDER if tenant == SHARED else tenant
        return self.path / "vectors" / folder / f"{table}.lance"

    def segment_folder(self, tenant: str) -> SegmentFolder:
        """Return where a tenant's sealed segments lie."""
        return self.segments.folder(SHARED_FOLDER if tenant == SHARED else tenant)

    def _settled(self, given: Place | None) -> SegmentStore:
        """Return where the segments lie; a lake that has none yet takes the place that is given."""

        def checked(known: Place | None) -> SegmentStore:
            found = SegmentStore(self.path / "journal", self.lake_id, known or given)
            if given is None or known == given:
                return found
            if known is not None:
                msg = (
                    f"the segments of this lake's journal lie at {known.url!r}, not at "
                    f"{given.url!r}: leave journal_url out"
                )
                raise LakeError(msg)
            if self.read_only or self.store.tenants(SEGMENTS):
                where = str(self.path / "journal")
                msg = (
                    f"the segments of this lake's journal lie in {where!r}, and cannot be looked "
                    f"for at {given.url!r}: leave journal_url out"
                )
                raise LakeError(msg)
            return found

        with self.store.read(SHARED) as reader:
            known = place_of(reader)
        found = checked(known)
        if given is None or known is not None:
            return found
        found.check()
        with self.store.write(SHARED) as writer:
            known = place_of(writer)
            found = checked(known)  # another session may have been quicker
            if known is None:
                writer.insert(PLACES, ("url",), [(given.url,)])
        return found

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a folder to write a new dataset in; what is still there afterwards is removed."""
        name = uuid4().hex
        folder = self._staging / f"{name}.lance"
        lock = FileLock(self._staging / f"{name}.lock")
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            msg = f"cannot write in {str(self.path)!r}: {error}"
            raise LakeError(msg) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def discard(self, folder: Path) -> None:
        """Remove a dataset that no definition names any more; a crash half-way is finished later.

        The folder leaves its place in one step, so that nobody opens half a table.
        """
        doomed = self._staging / f"{uuid4().hex}.lance"
        self._staging.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        if not self._staging.is_dir():
            return
        for folder in self._staging.glob("*.lance"):
            lock = FileLock(folder.with_suffix(".lock"), timeout=0)
            try:
                with lock:
                    shutil.rmtree(folder, ignore_errors=True)
            except (Timeout, OSError):
                continue  # its writer is alive
            folder.with_suffix(".lock").unlink(missing_ok=True)

    def published(self, topic: Topic) -> None:
        """Tell whoever carries the news that a topic has a new event, which is committed."""
        self.news.published(topic)

    def close(self) -> None:
        """Release the store."""
        self.store.close()


def _checked_path(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\x00" in text:
        msg = f"{text!r} cannot be a lake's folder: expected a non-empty path without NUL"
        raise LakeError(msg)
    folder = Path(text).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        msg = f"{text!r} is a file: a lake is a folder"
        raise LakeError(msg)
    return folder


def _check_writable(folder: Path) -> None:
    probe = folder / f".writable-{uuid4().hex}"
    probe.touch()
    probe.unlink()
