"""Records of searches that were made inside an open transaction.

The rows of such a search reach the caller before the transaction is committed, and the store's one
writer is taken until then. So the record is first made durable in a file of its own, then written
as part of the transaction. If that is rolled back the record is written by itself; if the process
dies, whoever opens the lake next does so.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from filelock import FileLock, Timeout

from affidavit.catalog.ledger import Draft
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class PendingFile:
    """Drafts that are durable and not yet in the ledger."""

    def __init__(self, folder: Path, tenant: str, drafts: Sequence[Draft]) -> None:
        self._path = folder / f"{uuid4().hex}.json"
        self._lock = FileLock(self._path.with_suffix(".lock"), thread_local=False)
        lines = json.dumps({"tenant": tenant, "drafts": [_plain(each) for each in drafts]})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            aside = self._path.with_suffix(".aside")
            with aside.open("w", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(self._path)
            _sync(folder)
        except OSError as error:
            msg = f"a search in a transaction cannot be put on record: {error}"
            raise StoreError(msg) from error

    def remove(self) -> None:
        """Forget the drafts: the ledger has them."""
        self._path.unlink(missing_ok=True)
        self._lock.release()
        with suppress(OSError):
            self._path.with_suffix(".lock").unlink()


def _sync(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(each: Draft) -> dict[str, object]:
    members = {name: value.decode() for name, value in each.members.items()}
    return {"kind": each.kind, "entry_id": each.entry_id, "at_us": each.at_us, "members": members}


def _draft(plain: dict[str, object]) -> Draft:
    members = plain.pop("members")
    assert isinstance(members, dict)
    written = {name: value.encode() for name, value in members.items()}
    ids = json.loads(members["top_k_result_ids"])
    return Draft(**plain, members=written, row_ids=ids)  # type: ignore[arg-type]  # as _plain wrote it


def abandoned(folder: Path) -> Iterator[tuple[Path, str, list[Draft]]]:
    """Yield what processes that died left in ``folder``: the file, its tenant and its drafts.

    Each file's lock is held while the caller works with it; the caller removes the file.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json")):
        lock = FileLock(path.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError):
            continue  # its writer is alive
        try:
            if path.exists():
                raw = json.loads(path.read_text(encoding="utf-8"))
                yield path, raw["tenant"], [_draft(each) for each in raw["drafts"]]
        finally:
            lock.release()
            if not path.exists():
                path.with_suffix(".lock").unlink(missing_ok=True)
