"""Named locks, as files: a crash releases them."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from affidavit.errors import LakeError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def held(folder: Path, name: str, timeout_s: float) -> Iterator[None]:
    """Hold the lock ``name`` of ``folder`` against every thread and process.

    Raises:
        StoreBusyError: It was held for ``timeout_s``.
        LakeError: The folder cannot be written.
    """
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    lock = FileLock(folder / f"{digest}.lock", timeout=timeout_s, thread_local=False)
    try:
        lock.acquire(poll_interval=0.01)
    except Timeout as error:
        raise StoreBusyError("a table's lock", timeout_s=timeout_s) from error
    except OSError as error:
        msg = f"cannot lock in {str(folder)!r}: {error}"
        raise LakeError(msg) from error
    try:
        yield
    finally:
        lock.release()
