"""Records of searches that were made inside an open transaction, or beside somebody else's.

The rows of such a search reach the caller before the transaction is committed, and the store's one
writer is taken until then. So the record is first made durable in a file of its own. Inside, it is
then written as part of the transaction, and by itself if that is rolled back; beside it, once the
writer is free. If the process dies, whoever opens the lake next does so.

Rules:
    - A file is signed with the ledger's own key, so that nobody without the master key can have
      put on record what was never searched.
    - Its lock is held for as long as its writer lives. One lock may stand for many files, whose
      names begin with its own: a lock is an open file, and of those a process has few.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from filelock import FileLock, Timeout

from affidavit.catalog.ledger.entry import Draft
from affidavit.catalog.sql.names import check_tenant
from affidavit.catalog.store.disk import sync
from affidavit.errors import LedgerCorruptError, NoTenantError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from affidavit.catalog.ledger.keys import Signer
    from affidavit.catalog.ledger.verifier import PublicKey

_SIGNED_AS: Final = "affidavit pending\n"
"""What is signed begins so: it can be taken for no entry, and for no checkpoint."""


class PendingFile:
    """Drafts that are durable and not yet in the ledger.

    Args:
        folder: Where the file is put.
        tenant: Whose ledger they are for.
        drafts: The drafts.
        generation: Which of that ledger's keys signs them.
        signer: That key.
        owner: Whose lock it is under; ``None`` for one of its own.

    Raises:
        StoreError: The file could not be written.
    """

    def __init__(
        self,
        folder: Path,
        tenant: str,
        drafts: Sequence[Draft],
        generation: int,
        signer: Signer,
        *,
        owner: Owner | None = None,
    ) -> None:
        own = Owner(folder) if owner is None else owner
        self._own = own if owner is None else None
        self._path = folder / (f"{own.name}.json" if owner is None else own.file_name())
        stated = {
            "tenant": tenant, "generation": generation, "drafts": [_plain(each) for each in drafts]
        }  # fmt: skip
        text = json.dumps(stated)
        signature = base64.b64encode(signer.sign((_SIGNED_AS + text).encode())).decode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            own.acquire()
            aside = self._path.with_suffix(".aside")
            with aside.open("w", encoding="utf-8") as file:
                file.write(json.dumps({"text": text, "signature": signature}))
                file.flush()
                os.fsync(file.fileno())
            aside.rename(self._path)
            sync(folder)
        except BaseException as error:  # an interrupt too: nobody knows of the file
            self.remove()
            if not isinstance(error, OSError):
                raise
            msg = f"a search cannot be put on record while a transaction is open: {error}"
            raise StoreError(msg) from error

    def remove(self) -> None:
        """Forget the drafts: the ledger has them."""
        for path in (self._path, self._path.with_suffix(".aside")):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if self._own is not None:
            self._own.release(tidy=True)

    def leave(self) -> None:
        """Leave the drafts to whoever opens the lake next."""
        if self._own is not None:
            self._own.release(tidy=False)


class Owner:
    """A lock on files that are pending, which says that their writer lives.

    Args:
        folder: Where they are put.
    """

    def __init__(self, folder: Path) -> None:
        self.name = uuid4().hex
        self._path = folder / f"{self.name}.lock"
        self._lock = FileLock(self._path, thread_local=False)

    def file_name(self) -> str:
        """Return a new name for a file under this lock."""
        return f"{self.name}.{uuid4().hex}.json"

    def acquire(self) -> None:
        """Hold the lock from now on."""
        if not self._lock.is_locked:
            self._lock.acquire()

    def release(self, *, tidy: bool) -> None:
        """Let the lock go: nothing is pending under it, or what is is left to who opens next."""
        self._lock.release()
        if tidy:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name.partition('.')[0]}.lock")


def _tidy(path: Path) -> None:
    """Remove what stood beside a pending file that is gone."""
    for beside in (path.with_suffix(".aside"), _lock_of(path)):
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _plain(each: Draft) -> dict[str, object]:
    members = {name: value.decode() for name, value in each.members.items()}
    opened = {} if each.opened is None else {"opened": each.opened.decode()}
    return {
        "kind": each.kind, "entry_id": each.entry_id, "at_us": each.at_us, "members": members,
        "rows": list(map(list, each.rows)), **opened,
    }  # fmt: skip


def _draft(plain: dict[str, Any]) -> Draft:
    members = {name: value.encode() for name, value in plain["members"].items()}
    rows = plain.get("rows")
    if rows is None:  # of a version that wrote them in the body alone
        rows = [(row, None) for row in json.loads(members.get("top_k_result_ids", "[]"))]
    opened = plain.get("opened")
    return Draft(
        plain["kind"], plain["entry_id"], plain["at_us"], members,
        rows=[(row, how) for row, how in rows], opened=None if opened is None else opened.encode(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pending:
    """What a process that died had searched and not put on record.

    Attributes:
        path: The file that says so.
        tenant: Whose ledger it belongs in.
        generation: Which of that ledger's keys signed it.
        drafts: What is to be put on record.
    """

    path: Path
    tenant: str
    generation: int
    drafts: list[Draft]
    _text: str
    _signature: bytes

    @classmethod
    def read(cls, path: Path) -> Pending:
        """Return what the file holds.

        Raises:
            LedgerCorruptError: It is not what affidavit wrote.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            stated = json.loads(raw["text"])
            drafts = [_draft(each) for each in stated["drafts"]]
            tenant = check_tenant(stated["tenant"] or None)
            signature = base64.b64decode(raw["signature"], validate=True)
            return cls(path, tenant, int(stated["generation"]), drafts, raw["text"], signature)
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, NoTenantError
        ) as error:  # fmt: skip
            raise _foreign(path) from error

    def check(self, key: PublicKey) -> None:
        """Raise LedgerCorruptError unless ``key`` signed it."""
        if not key.verifies(self._signature, (_SIGNED_AS + self._text).encode()):
            raise _foreign(self.path)


def _foreign(path: Path) -> LedgerCorruptError:
    return LedgerCorruptError(
        f"{str(path)!r} is not what affidavit wrote, and nothing in it is put on record: find out "
        "who changed it, then take it away"
    )


def abandoned(folder: Path) -> Iterator[Pending]:
    """Yield what processes that died left in ``folder``.

    Each file's lock is held while the caller works with it; the caller removes the file.
    """
    if not folder.is_dir():
        return
    for path in sorted({each.with_suffix(".json") for each in folder.iterdir()}):
        lock = FileLock(_lock_of(path), timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError):
            continue  # its writer is alive
        try:
            if path.exists():
                yield Pending.read(path)
        finally:
            lock.release()
            if not path.exists():
                _tidy(path)
