"""A database file that is only read, where nothing can be written: a disc, a mount, another's.

SQLite makes files beside one with a log, even to read it. Where it cannot make any, the file is
read in the first of three ways that serves:

    - nothing waits in a log: as it is, as a file that nobody writes;
    - a log with its index beside it: as SQLite does, which sees what its owner commits;
    - a log alone, as in a copy that was made of a lake that ran: from a private copy of both.

Rules:
    - Nothing is made, changed or locked in the folder.
    - Whoever may write the file elsewhere may do so meanwhile. A file that is not as it was when a
      connection was opened is opened anew, and what was read of it in between is not vouched for.
    - A private copy is its owner's alone, and goes when the store is closed or the program ends.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from affidavit.errors import LakeError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

COPY_TRIES_MAX: Final = 3
"""How often a file that is written meanwhile is copied."""

_log: Final = logging.getLogger("affidavit")
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class State:
    """What lies there of a database: when it changes, what was opened before is out of date.

    Attributes:
        database: Which file it is, how large, and when it was written.
        log: The same of what waits to be put into it; ``None`` if nothing does.
        is_shared: Whether the log's index is there, by which SQLite reads beside who writes.
    """

    database: _Stamp
    log: _Stamp | None
    is_shared: bool

    @property
    def is_same_while_read(self) -> State | None:
        """What must stay as it is while it is read; ``None`` where SQLite sees to that."""
        return None if self.log is not None and self.is_shared else self


class ClosedMedia:
    """One database file in a folder that cannot be written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._index = path.with_name(f"{path.name}-shm")
        self._copied: tuple[State, Path] | None = None
        self._copies: list[Path] = []
        self._changing = threading.Lock()
        self._end = weakref.finalize(self, _remove, self._copies, os.getpid())

    def state(self) -> State:
        """Return what lies there now."""
        try:
            found = _stamp(self._path)
            log = _stamp(self._log) if self._log.exists() else None
            is_shared = os.access(self._index, os.R_OK)
        except OSError as error:
            msg = f"cannot read {str(self._path)!r}: {error}"
            raise LakeError(msg) from error
        return State(found, log if log is not None and log[1] else None, is_shared)

    def address(self, state: State) -> str:
        """Return the URI by which SQLite reads what was found, copied where it must be."""
        if state.log is None:
            return f"{self._path.as_uri()}?mode=ro&immutable=1"
        if state.is_shared:
            return f"{self._path.as_uri()}?mode=ro"
        with self._changing:
            if self._copied is None or self._copied[0] != state:
                before, self._copied = self._copied, self._copy(state)
                if before is not None:  # who reads it has it open, and goes on
                    shutil.rmtree(before[1].parent, ignore_errors=True)
            return f"{self._copied[1].as_uri()}?mode=ro"

    def check(self, before: State) -> None:
        """Raise StoreError if what was read is not what it was ``before``."""
        still = before.is_same_while_read
        if still is not None and self.state() != still:
            msg = (
                f"{str(self._path)!r} was written while it was read from where it cannot be "
                "written: what was read may be of no one moment, so ask again"
            )
            raise StoreError(msg)

    def _copy(self, state: State) -> tuple[State, Path]:
        """Return a copy of what lies there, and what that was."""
        size = state.database[1] + (0 if state.log is None else state.log[1])
        try:
            folder = Path(tempfile.mkdtemp(prefix="affidavit-"))
            self._copies.append(folder)
            _log.warning(
                "%s has a log beside it that was never put into it, and lies where nothing can be "
                "written: it is read from a copy of both in %s, of %.1f MB",
                self._path, folder, size / 1_000_000,
            )  # fmt: skip
            for _ in range(COPY_TRIES_MAX):
                for path in (self._path, self._log):
                    shutil.copyfile(path, folder / path.name)
                found = self.state()
                if found == state:
                    return found, folder / self._path.name
                state = found
        except OSError as error:
            msg = (
                f"cannot read {str(self._path)!r}, which has a log beside it and lies where "
                f"nothing can be written: it takes a copy of {size:,} bytes in the folder for "
                f"temporary files (TMPDIR), and that cannot be made: {error}"
            )
            raise LakeError(msg) from error
        msg = f"cannot read {str(self._path)!r}: it was written each time that it was copied"
        raise LakeError(msg)

    def close(self) -> None:
        """Remove what was copied."""
        self._end()


def closed_media(path: Path) -> ClosedMedia | None:
    """Return how a file is read that lies where nothing can be written; ``None`` elsewhere."""
    path = path.resolve()
    if not path.exists() or os.access(path.parent, os.W_OK):
        return None
    return ClosedMedia(path)


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _remove(copies: list[Path], owner: int) -> None:
    if os.getpid() != owner:  # a fork, which leaves its parent's alone
        return
    for folder in _taken(copies):
        shutil.rmtree(folder, ignore_errors=True)


def _taken(copies: list[Path]) -> Iterator[Path]:
    while copies:
        yield copies.pop()
