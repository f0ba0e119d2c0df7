"""A second place for checkpoints, so that a lake put back to yesterday's copy is noticed.

Whoever can write a whole lake can put an old copy of it back, and every signature in it is right.
What was sent elsewhere meanwhile contradicts it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from affidavit.catalog.ledger.merkle import subtree_root
from affidavit.catalog.ledger.verifier import (
    DATA,
    KEPT,
    LOG,
    Checkpoint,
    LedgerProblem,
    open_checkpoint,
)
from affidavit.errors import AffidavitError, LedgerCorruptError, WitnessError

if TYPE_CHECKING:
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.ledger.verifier import Log
    from affidavit.catalog.store.protocol import Reader

_BLANK: Final = "\n\n"
_NOTE: Final = re.compile(
    r"^(?P<origin>.+)\n(?P<size>[0-9]{1,19})\n[A-Za-z0-9+/]{43}=\n"
    rf"(?:{KEPT}\n)?(?:{LOG} [0-9]{{1,19}} [0-9]{{1,19}} [A-Za-z0-9+/]{{43}}=\n)?"
    rf"(?:{DATA} [A-Za-z0-9+/]{{43}}=\n)?"
    r"\n— (?P=origin) [A-Za-z0-9+/]{91}=$",
    re.MULTILINE,
)
"""A whole note. One that a crash cut short, and what was then appended to it, is passed over."""


class Witness(Protocol):
    """What keeps checkpoints. One that has ``latest`` too is asked when a lake is opened."""

    def __call__(self, note: str, /) -> None:
        """Keep ``note``, a signed checkpoint; raise if it could not be kept."""


class FileWitness:
    """Checkpoints in a file, oldest first: signed notes with an empty line between them.

    Args:
        path: The file, somewhere that whoever can write the lake cannot.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"FileWitness({str(self.path)!r})"

    def __call__(self, note: str) -> None:
        """Append ``note``."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(note + "\n")
            file.flush()
            os.fsync(file.fileno())

    def latest(self, origin: str) -> str | None:
        """Return the last note of a ledger; ``None`` if there is none.

        Raises:
            WitnessError: The file cannot be read.
        """
        return self.newest().get(origin)

    def newest(self) -> dict[str, str]:
        """Return the newest note of every ledger, by the ledger's origin.

        Raises:
            WitnessError: The file cannot be read.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the witness {str(self.path)!r} cannot be read: {error}"
            raise WitnessError(msg) from error
        found = sorted(_NOTE.finditer(text), key=lambda note: int(note["size"]))
        return {note["origin"]: f"{note[0]}\n" for note in found}


def as_witness(given: str | os.PathLike[str] | Witness | None) -> Witness | None:
    """Return a witness from a path or callable.

    Raises:
        WitnessError: It is neither.
    """
    if given is None or callable(given):
        return given
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if isinstance(path, str) and path and "\0" not in path:
        return FileWitness(path)
    msg = f"witness must be a path or a callable, got {given!r}"
    raise WitnessError(msg)


def latest_note(witness: object, origin: str) -> str | None:
    """Return the newest checkpoint that ``witness`` kept; ``None`` if it has none or cannot say.

    Raises:
        WitnessError: It could not be asked, or gave what is no text.
    """
    ask = getattr(witness, "latest", None)
    if not callable(ask):
        return None
    try:
        note = ask(origin)
    except AffidavitError:
        raise
    except Exception as error:
        msg = f"the witness could not be asked: {error}"
        raise WitnessError(msg) from error
    if not isinstance(note, str | None):
        msg = f"latest() of the witness must return a text or None, got {type(note).__name__}"
        raise WitnessError(msg)
    return note


def check_against(reader: Reader, ledger: Ledger, note: str) -> Checkpoint:
    """Return the checkpoint in ``note``, which ``ledger`` extends.

    Raises:
        LedgerCorruptError: The ledger is older than ``note``, or another.
    """
    head = ledger.head(reader)
    size = 0 if head is None else head.size
    try:
        stated = Checkpoint.parse(note.rpartition(_BLANK)[0] + "\n")
        if stated.size > size:
            raise LedgerProblem(
                f"this lake is older than its witness: {size} entries, and {stated.size} were "
                "signed. A copy was put back"
            )
        found, _ = open_checkpoint(note, ledger.keys(reader))
        if rows_of(found.log) > (0 if head is None else rows_of(head.log)):
            raise LedgerProblem(
                f"this lake is older than its witness: {rows_of(found.log)} rows of the log of "
                "statements were signed, and not all are there. A copy was put back"
            )
    except LedgerProblem as problem:
        raise LedgerCorruptError(problem.problem) from None
    if found.size and subtree_root(ledger.tree.fetch(reader), 0, found.size) != found.root:
        msg = f"the first {found.size} entries are not those that the witness saw"
        raise LedgerCorruptError(msg)
    return found


def rows_of(log: Log | None) -> int:
    """Return how many rows of a log of statements are covered."""
    return 0 if log is None else log.rows
