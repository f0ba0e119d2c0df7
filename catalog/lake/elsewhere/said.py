"""Where a lake's folder says that its store lies elsewhere, and which lake it is.

Rules:
    - The folder and the schema name the same lake, or neither is touched: the folder says who the
      lake is before the schema is made, and a schema that is another lake's is refused.
    - A lake whose store lies elsewhere is never opened as one that has its store in its folder. One
      that was moved may be read there still, as it was then.
    - No URL is kept here: who opens the lake brings it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.catalog.ledger.keys import MASTER_KEY_VARIABLE, FileKeyStore
from affidavit.catalog.store.disk import sync
from affidavit.catalog.store.identity import new_lake_id
from affidavit.errors import LakeError, MasterKeyError

if TYPE_CHECKING:
    from pathlib import Path

    from affidavit.catalog.ledger.keys import KeyStore

ELSEWHERE_FILE: Final = "catalog.db.elsewhere"
STORE_VARIABLE: Final = "AFFIDAVIT_STORE"
"""The URL of the store of lakes that have it elsewhere, where none is given."""


@dataclass(frozen=True)
class Elsewhere:
    """What a folder says of a store that lies elsewhere.

    Attributes:
        lake_id: Who the lake is.
        was_made: Whether its store was made: one that is empty is another one.
        was_moved: Whether its store was in the folder before, and is there still to be read.
    """

    lake_id: str
    was_made: bool = False
    was_moved: bool = False


def find_elsewhere(folder: Path) -> Elsewhere | None:
    """Return what a folder says of a store elsewhere; ``None`` where it says nothing.

    Raises:
        LakeError: What it says cannot be read.
    """
    path = folder / ELSEWHERE_FILE
    try:
        return Elsewhere(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        msg = f"{str(path)!r} does not say which lake this is: put back what was there ({error})"
        raise LakeError(msg) from error


def say_elsewhere(folder: Path, what: Elsewhere, *, anew: bool = True) -> bool:
    """Write down that the store lies elsewhere, and return whether nobody was quicker.

    ``anew`` is for a folder that says nothing yet.
    """
    path, aside = folder / ELSEWHERE_FILE, folder / f".{uuid4().hex}"
    try:
        aside.write_text(json.dumps(asdict(what)) + "\n", encoding="utf-8")
        sync(aside)
        if anew:
            os.link(aside, path)  # whole, or not at all, and never over another's
        else:
            aside.replace(path)
        sync(folder)
    except FileExistsError:
        return False
    except OSError as error:
        msg = f"cannot write {str(path)!r}: {error}"
        raise LakeError(msg) from error
    finally:
        aside.unlink(missing_ok=True)
    return True


class Claim:
    """A folder's word for which lake its store elsewhere is; withdrawn where that is not opened.

    Args:
        folder: The lake's folder.
        catalog: Where the store would be if it were there.
        read_only: Whether nothing may be made.

    Attributes:
        found: What the folder says; ``None`` where it says nothing, and may not be made to.
    """

    def __init__(self, folder: Path, catalog: Path, *, read_only: bool) -> None:
        self._folder = folder
        self._is_ours = False
        found = find_elsewhere(folder)
        if found is None and catalog.is_file():
            msg = (
                f"the lake at {str(folder)!r} has its store in its folder: leave store= out, or "
                "move it with `affidavit migrate-store`"
            )
            raise LakeError(msg)
        if found is None and not read_only:
            self._is_ours = say_elsewhere(folder, Elsewhere(new_lake_id()))
            found = find_elsewhere(folder)
        self.found = found

    def confirm(self) -> None:
        """Note that the store was made."""
        if self.found is not None and not self.found.was_made:
            say_elsewhere(self._folder, replace(self.found, was_made=True), anew=False)

    def withdraw(self) -> None:
        """Take it back, if it was made here."""
        if self._is_ours:
            with suppress(OSError):
                (self._folder / ELSEWHERE_FILE).unlink()


def store_of(folder: Path, given: str | None, *, read_only: bool) -> str | None:
    """Return the URL of a lake's store: what is given, or the environment's for one elsewhere.

    Raises:
        LakeError: The store lies elsewhere, and nobody says where.
    """
    if given is not None:
        return given
    found = find_elsewhere(folder)
    if found is None or (found.was_moved and read_only):
        return None
    url = os.environ.get(STORE_VARIABLE)
    if url is None:
        hint = ", or read what it was then with read_only=True" if found.was_moved else ""
        msg = (
            f"the store of the lake at {str(folder)!r} lies elsewhere: give store=, or set "
            f"{STORE_VARIABLE}{hint}"
        )
        raise LakeError(msg)
    return url


def refuse_local_keys(keys: KeyStore | None, folder: Path, *, read_only: bool) -> None:
    """Raise MasterKeyError for a key in the folder of a lake that other hosts open too."""
    if not isinstance(keys, FileKeyStore) or not keys.path.is_relative_to(folder):
        return
    if read_only and not keys.path.exists():
        return
    msg = (
        "a lake with store= may be opened on many hosts, and its master key is none of its files: "
        f"set {MASTER_KEY_VARIABLE}, or give key_store="
    )
    raise MasterKeyError(msg)
