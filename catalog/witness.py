"""A second place for checkpoints, so that a lake put back to yesterday's copy is noticed.

Whoever can write a whole lake can put an old copy of it back, and every signature in it is right.
What was sent elsewhere meanwhile contradicts it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from affidavit.catalog.merkle import subtree_root
from affidavit.catalog.verifier import Checkpoint, LedgerProblem, open_checkpoint
from affidavit.errors import LedgerCorruptError, WitnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.ledger import Ledger
    from affidavit.catalog.store.protocol import Reader

_BLANK: Final = "\n\n"


class Witness(Protocol):
    """What keeps checkpoints. One that has ``latest`` too is asked when a lake is opened."""

    def __call__(self, note: str) -> None:
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
        try:
            parts = self.path.read_text(encoding="utf-8").split(_BLANK)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the witness {str(self.path)!r} cannot be read: {error}"
            raise WitnessError(msg) from error
        # a note that a crash cut short has no whole signature line, and is passed over
        texts, signatures = parts[::2], parts[1::2]
        notes = [
            f"{text}{_BLANK}{signature}\n"
            for text, signature in zip(texts, signatures, strict=False)
            if text.startswith(f"{origin}\n")
        ]
        return max(notes, key=_stated_size, default=None)


def _stated_size(note: str) -> int:
    size = note.split("\n", 2)[1]
    return int(size) if size.isdecimal() else -1


def as_witness(given: object) -> Callable[[str], None] | None:
    """Return a witness from a path or callable.

    Raises:
        WitnessError: It is neither.
    """
    if given is None or callable(given):
        return given
    if isinstance(given, str | os.PathLike):
        return FileWitness(given)
    msg = f"witness must be a path or a callable, got {type(given).__name__}"
    raise WitnessError(msg)


def latest_note(witness: object, origin: str) -> str | None:
    """Return the newest checkpoint that ``witness`` kept; ``None`` if it has none or cannot say."""
    ask = getattr(witness, "latest", None)
    return ask(origin) if callable(ask) else None


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
    except LedgerProblem as problem:
        raise LedgerCorruptError(problem.problem) from None
    if found.size and subtree_root(ledger.fetch(reader), 0, found.size) != found.root:
        msg = f"the first {found.size} entries are not those that the witness saw"
        raise LedgerCorruptError(msg)
    return found
