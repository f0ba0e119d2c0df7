"""What an erasure did, what it could not reach, and the certificate that says so."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

FORMAT: Final = "affidavit erasure certificate 1"


class Counts(dict[str, int]):
    """How much was erased, by what it was: as a number, all of it together."""

    def __int__(self) -> int:
        return sum(self.values())

    def __bool__(self) -> bool:
        return int(self) > 0

    def __eq__(self, other: object) -> bool:
        return int(self) == other if isinstance(other, int) else dict.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: int) -> bool:
        return int(self) < other

    def __le__(self, other: int) -> bool:
        return int(self) <= other

    def __gt__(self, other: int) -> bool:
        return int(self) > other

    def __ge__(self, other: int) -> bool:
        return int(self) >= other

    __hash__ = None


@dataclass(frozen=True, slots=True)
class Left:
    """A place that has, or may have, values of erased rows, and is not the engine's to change.

    Attributes:
        where: The place.
        why: Why it is left, and what can be done.
    """

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


def published(name: str, offset: int) -> Left:
    """Return what is left of a value that callers published, at that offset first."""
    why = f"callers published such a value, at offset {offset} first: topics.retain lets go of it"
    return Left(f"topic {name!r}", why)


def of_format_1(seq: int) -> Left:
    """Return what is left in a record that was signed with the value in it."""
    why = "it is of the first format of records, and such a value is part of what was signed"
    return Left(f"entry {seq} of the ledger", why)


def unreadable(seq: int) -> Left:
    """Return what may be left in a record that somebody else changed."""
    return Left(f"entry {seq} of the ledger", "what it says cannot be read: verify the ledger")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The entry of the ledger that says what was erased, signed; and a file that says it.

    Attributes:
        seq: The entry's number.
        entry_id: Its name.
        body: What is signed: canonical JSON.
        signature: The Ed25519 signature of ``body``.
        public_key: The key that signed, as the ledger states it.
        proof: That the entry stands in the ledger (C2SP tlog-proof); empty if not asked for.
        path: The file in the lake; ``None`` where it could not be written.
    """

    seq: int
    entry_id: str
    body: bytes
    signature: bytes
    public_key: str
    proof: str = ""
    path: Path | None = None

    def __repr__(self) -> str:
        return f"Certificate(entry {self.seq}, {str(self.path) if self.path else 'no file'!r})"

    def __fspath__(self) -> str:
        if self.path is None:
            msg = f"certificate {self.entry_id} has no file: save(path) writes one"
            raise FileNotFoundError(msg)
        return str(self.path)

    def to_dict(self) -> dict[str, object]:
        """Return what the file says."""
        return {
            "format": FORMAT, "seq": self.seq, "entry_id": self.entry_id,
            "entry": self.body.decode(),
            "signature": base64.b64encode(self.signature).decode(),
            "public_key": self.public_key, "proof": self.proof,
        }  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the certificate as JSON to a file that is not there yet, and return its path.

        Raises:
            OSError: It cannot be written.
        """
        place = Path(path)
        with place.open("x", encoding="utf-8") as file:
            file.write(json.dumps(self.to_dict(), indent=2) + "\n")
        return place


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What an erasure did, and what is beyond its reach.

    Attributes:
        table: The table.
        erased: How much was erased, by what it was: ``rows`` of the table, ``events`` of the
            journal, ``records`` and ``statements`` that had values of theirs, rows of topics,
            ``versions`` of a vector table. Compared with a number it is all of it together.
        left: Places that have, or may have, such values still.
        certificate: What is signed of it; ``None`` where nothing was erased.
    """

    table: str
    erased: Mapping[str, int]
    left: tuple[Left, ...]
    certificate: Certificate | None = None

    def __repr__(self) -> str:
        told = ", ".join(f"{count:,} {what}" for what, count in self.erased.items() if count)
        left = f"; left: {len(self.left)}" if self.left else ""
        return f"ErasureReport({self.table!r}: {told or 'nothing was there'}{left})"

    def __str__(self) -> str:
        return "\n".join([repr(self), *(f"  left in {each}" for each in self.left)])
