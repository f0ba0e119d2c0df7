"""How much memory the statements of an open lake may hold, and where they go on once it is full.

Rules:
    - The limit is the lake's: whoever holds something for a statement of whatever session takes it
      from the same sum. DataFusion's plans have a pool of the same size beside it.
    - What spills lies in a folder of this lake's own, which nobody else may read. It goes when the
      lake is closed or the program ends; what a crash left is removed by who spills there next.
    - What statements read from elsewhere lies there too, or in one like it among the system's
      temporary files, where a crash leaves it behind.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4
from weakref import WeakSet, finalize

from filelock import FileLock, Timeout

from affidavit.errors import LakeError, MemoryLimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

SHARE_OF_MACHINE: Final = 0.6
"""How much of the machine's memory statements may hold, where they are only told where to spill."""

MEMORY_LIMIT_MIN: Final = 16 * 1024 * 1024
"""A smaller limit lets no plan sort anything."""

MEMORY_LIMIT_MAX: Final = 2**60

_UNITS: Final = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", 1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_AMOUNT: Final = re.compile(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([A-Za-z]*)\s*")
_NAME: Final = "affidavit-spill-"


def parse_memory_limit(given: int | str | None) -> int | None:
    """Return a limit in bytes: of a whole number, or a text such as ``4GB`` or ``512 MiB``.

    Raises:
        LakeError: It is neither, or is no sensible limit.
    """
    if given is None:
        return None
    found = _AMOUNT.fullmatch(given) if isinstance(given, str) else None
    if isinstance(given, int) and not isinstance(given, bool):
        size = given
    elif found is not None and found[2].lower() in _UNITS:
        size = int(float(found[1]) * _UNITS[found[2].lower()])
    else:
        msg = (
            "memory_limit must be a number of bytes, or a text with KB, MB, GB, TB, KiB, MiB, GiB "
            f"or TiB, got {given!r}"
        )
        raise LakeError(msg)
    if not MEMORY_LIMIT_MIN <= size <= MEMORY_LIMIT_MAX:
        msg = (
            f"memory_limit must be at least {MEMORY_LIMIT_MIN // 2**20} MiB, and at most "
            f"{MEMORY_LIMIT_MAX:,} bytes, got {given!r}"
        )
        raise LakeError(msg)
    return size


def limit_of(given: int | str | None, spill_to: object) -> int | None:
    """Return how many bytes statements may hold, as ``connect`` was told; ``None`` for no limit.

    Who says where plans go on, and not after how much, means the machine's memory: a share of it.

    Raises:
        LakeError: What is given is no such number.
    """
    limit = parse_memory_limit(given)
    if limit is not None or spill_to is None or not hasattr(os, "sysconf"):
        return limit
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(int(machine * SHARE_OF_MACHINE), MEMORY_LIMIT_MIN)


class Scratch:
    """A folder that nobody else may read, and that goes with this object.

    Args:
        above: What it is made in; ``None`` for the system's own place.

    Raises:
        LakeError: It cannot be made.

    Attributes:
        path: Where it is.
        remove: Removes it; called again, it does nothing.
    """

    def __init__(self, above: Path | None) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="affidavit-", dir=above))
        except OSError as error:
            msg = f"a folder for temporary files cannot be made: {error}"
            raise LakeError(msg) from error
        self.remove = finalize(self, remove_own, self.path, os.getpid())


class Memory:
    """What the statements of one lake hold together.

    Args:
        limit: How many bytes that may be; ``None`` for as many as there are.
        spill_to: The folder below which plans that hold more go on; ``None`` for nowhere.

    Raises:
        LakeError: Nothing can be written to that folder.

    Attributes:
        limit: The same.
        spill_to: The same.
        folder: Where plans spill to.
        held: How many bytes we hold for statements, in this process.
    """

    def __init__(
        self, limit: int | None = None, spill_to: str | os.PathLike[str] | None = None
    ) -> None:
        self.limit = limit
        self.spill_to = spill_to
        self.folder: Path | None = None
        if spill_to is not None:
            self.folder, lock = _own_folder(spill_to)
            self._spilled = finalize(self, _remove, self.folder, lock, os.getpid())
        self.held = 0
        self._lock = threading.Lock()
        self._scratches: WeakSet[Scratch] = WeakSet()

    def hold(self) -> Hold:
        """Return what a statement takes of the limit, which is given back after its block."""
        return Hold(self)

    def add(self, size: int) -> None:
        """Take ``size`` bytes of the limit, or give them back.

        Raises:
            MemoryLimitError: So much is not left: nothing was taken.
        """
        with self._lock:
            if size > 0 and self.limit is not None and self.held + size > self.limit:
                held = self.held
            else:
                self.held += size
                return
        raise self.exceeded(f"{held:,} bytes are held, and {size:,} more were asked for")

    def exceeded(self, told: str) -> MemoryLimitError:
        """Return what a statement is told that cannot have what it asks for."""
        if self.limit is None:
            return MemoryLimitError(f"the statement needs more memory than there is: {told}")
        spill = "" if self.spill_to is not None else "set spill_to= to a folder, "
        msg = (
            f"the statement needs more than the memory_limit of {self.limit:,} bytes that all of "
            f"the lake's statements have: raise memory_limit=, {spill}or ask for less ({told})"
        )
        return MemoryLimitError(msg)

    def gathered(self, batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """Read batches to their end, and return them; they count until whoever asked has them.

        Raises:
            MemoryLimitError: They are too many.
        """
        read = []
        with self.hold() as hold:
            for batch in batches:
                hold.add(batch.nbytes)
                read.append(batch)
        return read

    def make_folder(self) -> None:
        """Make the folder to spill to again, should somebody have removed it.

        Raises:
            LakeError: It cannot be made.
        """
        if self.folder is None or self.folder.is_dir():
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            msg = f"spill_to={str(self.spill_to)!r} is gone, and cannot be made: {error}"
            raise LakeError(msg) from error

    def scratch(self) -> Scratch:
        """Return a new folder for files of statements: it goes when nobody holds it any more.

        Raises:
            LakeError: It cannot be made.
        """
        self.make_folder()
        made = Scratch(self.folder)
        with self._lock:
            self._scratches.add(made)
        return made

    def close(self) -> None:
        """Remove what was spilled, and the folders of statements."""
        with self._lock:
            scratches = list(self._scratches)
        for each in scratches:
            each.remove()
        if self.folder is not None:
            self._spilled()


class Hold:
    """What one statement takes of a lake's memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0

    def add(self, size: int) -> None:
        """Take more.

        Raises:
            MemoryLimitError: So much is not left.
        """
        self._memory.add(size)
        self.size += size

    def may_add(self, size: int) -> bool:
        """Take more if there is as much, and return whether there was."""
        try:
            self.add(size)
        except MemoryLimitError:
            return False
        return True

    def release(self) -> None:
        """Give back what was taken."""
        size, self.size = self.size, 0
        self._memory.add(-size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


# --- the folder ----------------------------------------------------------------------------------


def _own_folder(spill_to: str | os.PathLike[str]) -> tuple[Path, FileLock]:
    """Make a folder below ``spill_to``, and return it and a lock that says it is in use."""
    given = os.fspath(spill_to) if isinstance(spill_to, str | os.PathLike) else b""
    if not isinstance(given, str) or not given or "\x00" in given:
        raise LakeError(f"spill_to must be a folder's path, got {spill_to!r}")
    above = Path(given).expanduser().absolute()
    made = above / f"{_NAME}{uuid4().hex}"
    lock = FileLock(made.with_suffix(".lock"), thread_local=False)
    try:
        above.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(above)
        lock.acquire()
        made.mkdir(mode=0o700)
        (made / "probe").touch()
        (made / "probe").unlink()
    except OSError as error:
        _remove(made, lock, os.getpid())
        msg = f"spill_to={given!r} is no folder that can be written: {error}"
        raise LakeError(msg) from error
    return made, lock


def remove_own(folder: Path, made_by: int) -> None:
    """Remove a folder, if this is the process that made it."""
    if os.getpid() == made_by:  # a fork ends, and its parent goes on
        shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, lock: FileLock, made_by: int) -> None:
    if os.getpid() != made_by:
        return
    remove_own(folder, made_by)
    lock.release()
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)


def _remove_abandoned(above: Path) -> None:
    """Remove what crashes left."""
    for folder in above.glob(f"{_NAME}*"):
        if not folder.is_dir() or folder.is_symlink():
            continue
        lock = FileLock(folder.with_suffix(".lock"), timeout=0)
        try:
            with lock:
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue  # whoever spills there is alive
        with suppress(OSError):
            folder.with_suffix(".lock").unlink(missing_ok=True)
