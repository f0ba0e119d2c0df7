"""The folders of a lake.

    <lake>/catalog.db                        definitions and mutable tables
    <lake>/catalog.db.elsewhere              instead of it, where they lie in PostgreSQL
    <lake>/vectors/<tenant>/<table>.lance    vector tables; ``_shared`` holds the shared scope's
    <lake>/journal/<tenant>/                 sealed segments, unless they lie at a URL; what folders
                                             of names are called: affidavit.catalog.sql.folder_names
    <lake>/records/<tenant>/                 sealed records, likewise
    <lake>/copies/<tenant>/                  Arrow copies of large mutable tables, for speed alone
    <lake>/certificates/<tenant>/            a file for each erasure, which says what was erased
    <lake>/pending/                          searches in and beside open transactions, signed
    <lake>/locks/                            lock files

Rules:
    - A vector table is written under ``.staging`` and renamed into place by the transaction that
      defines it. What a crash left there is removed once its owner's lock is free.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from filelock import FileLock, Timeout

from affidavit.catalog.lake.elsewhere.said import ELSEWHERE_FILE
from affidavit.catalog.lake.place import OWN_FOLDERS, lake_folder, refuse_others
from affidavit.catalog.store.disk import folder_in, tenant_folder
from affidavit.errors import LakeError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

CATALOG_FILE: Final = "catalog.db"


class Folders:
    """Where everything of one lake lies.

    Args:
        path: The lake's folder.

    Raises:
        LakeError: The path is a file, or no path of this machine.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = lake_folder(path)
        self.catalog = self.path / CATALOG_FILE
        self.journal = self.path / "journal"
        self.locks = self.path / "locks"
        self.records = self.path / "records"
        self.pending = self.path / "pending"
        self.certificates = self.path / "certificates"
        self.copies = self.path / "copies"
        self.vectors = self.path / "vectors"
        self._staging = self.vectors / ".staging"

    @property
    def own(self) -> tuple[str, ...]:
        """The folders that are the lake's own, with links followed."""
        root = self.path.resolve()
        return tuple(str(root / name) for name in sorted(OWN_FOLDERS))

    @property
    def is_there(self) -> bool:
        """Whether there is a lake, with its store here or elsewhere."""
        return self.catalog.is_file() or (self.path / ELSEWHERE_FILE).is_file()

    def make(self) -> None:
        """Make what is not there yet.

        Raises:
            LakeError: The disk does not allow it, or the folder has other things than a lake.
        """
        doing = f"create a lake at {str(self.path)!r}"
        try:
            if self.is_there:
                doing = f"write the lake at {str(self.path)!r}"
            else:
                refuse_others(self.path)
            for folder in (self.path, self.vectors, self.locks):
                folder.mkdir(parents=True, exist_ok=True)
            _check_writable(self.path)
        except OSError as error:
            msg = f"cannot {doing}: {error}"
            raise LakeError(msg) from error

    def check_there(self) -> None:
        """Raise LakeError unless there is a lake, which is to be read only."""
        try:
            found = self.is_there
        except OSError as error:
            msg = f"cannot create a lake at {str(self.path)!r}: {error}"
            raise LakeError(msg) from error
        if not found:
            msg = f"there is no lake at {str(self.path)!r}, and it was opened read-only"
            raise LakeError(msg)

    def vector_table(self, tenant: str, table: str) -> Path:
        """Return where a tenant's vector table lies."""
        home = tenant_folder(self.vectors, tenant)
        return folder_in(home, table, ending=".lance")

    # --- staging ---------------------------------------------------------------------------------

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

    def remove_abandoned(self) -> None:
        """Remove what crashes left in staging."""
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


def _check_writable(folder: Path) -> None:
    probe = folder / f".writable-{uuid4().hex}"
    probe.touch()
    probe.unlink()
