"""Bundles: a stretch of the ledger that a stranger verifies offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from tqdm import tqdm

from affidavit.catalog.ledger import verifier
from affidavit.catalog.ledger.commitments import written_members
from affidavit.catalog.ledger.entry import DROPPED
from affidavit.catalog.ledger.merkle import inclusion_proof, subtree_root
from affidavit.catalog.ledger.verification.gone import LETTING_GO, SaidGone
from affidavit.catalog.ledger.verifier import (
    BUNDLE_FORMAT,
    BUNDLE_WITH_LEAVES,
    LedgerProblem,
    outside_ranges,
    root_from_range,
    to_base64,
    verify_inclusion,
)
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.errors import InvalidQueryError, LedgerCorruptError, RecordNotFoundError

if TYPE_CHECKING:
    import os

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.head import Head
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.store.protocol import Reader

_README: Final = """\
This folder holds entries {first} to {last} of the ledger

    {origin}

and what proves that they stand in it unchanged, in this order and without a gap:

    entries.jsonl     the entries: body (RFC 8785) and signature (Ed25519), a line each; where a
                      body commits to values that are still there, salt and value of each;
                      of an entry that was let go its leaf, and a later entry says so
    keys.jsonl        the ledger's public keys, each as the entry that brought it in
    checkpoint.note   the ledger's size and root, signed (C2SP tlog-checkpoint)
    proof.json        the hashes that lead from the entries to the root (RFC 9162)
    public_key.txt    the public key that signed the checkpoint

Check it with python3 and the package `cryptography`, without a network:

    python verify.py . --public-key "$(cat THE_KEY_YOU_WERE_GIVEN)"

Without --public-key the key in this folder is taken: that shows that the folder is whole, not
whose it is.
"""


def export_bundle(
    reader: Reader,
    ledger: Ledger,
    path: str | os.PathLike[str],
    first: int,
    last: int | None,
    *,
    values: bool = True,
    progress: bool | None = None,
) -> Path:
    """Write the entries ``first`` to ``last`` of ``ledger`` as a bundle in the new folder ``path``.

    Without ``values`` it has nothing that bodies commit to.

    Raises:
        RecordNotFoundError: There are no such entries.
        InvalidQueryError: ``path`` exists, or cannot be written.
        LedgerCorruptError: The entries are not those that the head was signed for.
    """
    head = ledger.head(reader)
    size = 0 if head is None else head.size
    end = size if last is None else last + 1
    if head is None or not 0 <= first < end <= size:
        msg = f"there are no entries {first} to {last}: the ledger has {size}, from 0 on"
        raise RecordNotFoundError(msg)
    target = Path(path)
    if target.exists():
        msg = f"{str(target)!r} exists already: a bundle is a new folder"
        raise InvalidQueryError(msg)
    aside = target.with_name(f".{target.name}-{uuid4().hex}")
    try:
        aside.mkdir(parents=True)
        leaves, are_gone = _write_entries(
            aside / "entries.jsonl", reader, ledger, first, end, values=values, progress=progress
        )
        _write_keys(aside / "keys.jsonl", reader, ledger, head)
        outside = _outside(reader, ledger, head, first, leaves)
        manifest = {
            "format": BUNDLE_WITH_LEAVES if are_gone else BUNDLE_FORMAT,
            "origin": ledger.origin, "from_seq": first, "to_seq": end - 1,
        }  # fmt: skip
        for name, text in _texts(reader, ledger, head, manifest, outside).items():
            (aside / name).write_text(text, encoding="utf-8", newline="\n")
        aside.rename(target)
    except LedgerProblem as problem:
        raise LedgerCorruptError(problem.problem, seq=problem.seq) from None
    except OSError as error:
        msg = f"cannot write a bundle at {str(target)!r}: {error}"
        raise InvalidQueryError(msg) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _write_keys(path: Path, reader: Reader, ledger: Ledger, head: Head) -> None:
    """Write the entries that name keys, each with its proof; LedgerProblem if one has none."""
    fetch, size = ledger.tree.fetch(reader), head.size
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for entry in ledger.key_entries(reader):
            proof = inclusion_proof(fetch, entry.seq, size)
            if not verify_inclusion(entry.seq, size, entry.leaf, proof, head.frontier.root):
                raise LedgerProblem("it is not what the head was signed for", seq=entry.seq)
            file.write(_line(entry, seq=entry.seq, proof=[to_base64(each) for each in proof]))


def _outside(
    reader: Reader, ledger: Ledger, head: Head, first: int, leaves: list[bytes]
) -> list[bytes]:
    """Return the hashes that prove ``leaves`` in the head; LedgerProblem if they do not."""
    fetch, end = ledger.tree.fetch(reader), first + len(leaves)
    outside = [subtree_root(fetch, *each) for each in outside_ranges(first, end, head.size)]
    if root_from_range(first, leaves, head.size, outside) != head.frontier.root:
        raise LedgerProblem("the entries are not those that the head was signed for")
    return outside


def _texts(
    reader: Reader,
    ledger: Ledger,
    head: Head,
    manifest: dict[str, object],
    outside: list[bytes],
) -> dict[str, str]:
    """Return what the smaller files of a bundle say, by their names."""
    first, last = manifest["from_seq"], manifest["to_seq"]
    return {
        "proof.json": json.dumps([to_base64(each) for each in outside]),
        "manifest.json": json.dumps(manifest, indent=2),
        "checkpoint.note": head.note,
        "public_key.txt": f"{ledger.keys(reader)[-1]}\n",
        "README.txt": _README.format(first=first, last=last, origin=ledger.origin),
        "verify.py": Path(verifier.__file__).read_text(encoding="utf-8"),
    }


def _write_entries(
    path: Path,
    reader: Reader,
    ledger: Ledger,
    first: int,
    end: int,
    *,
    values: bool,
    progress: bool | None,
) -> tuple[list[bytes], bool]:
    """Write the entries; return their leaves, and whether of some there is nothing else.

    Raises:
        LedgerProblem: One is missing or unreadable.
    """
    disable = None if progress is None else not progress
    leaves: list[bytes] = []
    gone: list[int] = []
    with path.open("w", encoding="utf-8", newline="\n") as file:
        entries = ledger.between(reader, first, end)
        for entry in tqdm(
            entries, total=end - first, desc="exporting", unit=" entries", disable=disable,
            leave=False,
        ):  # fmt: skip
            if entry.seq != first + len(leaves):
                raise LedgerProblem("it is missing or stands twice", seq=first + len(leaves))
            if entry.gone == DROPPED:
                gone.append(entry.seq)
                file.write(json.dumps({"leaf": to_base64(entry.leaf_hash)}) + "\n")
            else:
                file.write(_line(entry, values=values))
            leaves.append(entry.leaf_hash if entry.gone == DROPPED else entry.leaf)
    if len(leaves) != end - first:
        raise LedgerProblem("it is missing", seq=first + len(leaves))
    _refuse_unsaid(reader, ledger, gone, end)
    return leaves, bool(gone)


def _refuse_unsaid(reader: Reader, ledger: Ledger, gone: list[int], end: int) -> None:
    """Raise LedgerProblem if what is gone was let go by an entry that comes after ``end``."""
    if not gone:
        return
    said = SaidGone.of(ledger.entries(reader, In("kind", LETTING_GO), Compare("<", "seq", end)))
    for seq in gone:
        if said.gone(seq) < 0:
            later = SaidGone.of(ledger.entries(reader, In("kind", LETTING_GO))).gone(seq)
            raise LedgerProblem(f"it was let go by entry {later}: export up to that one", seq=seq)


def _line(entry: StoredEntry, *, values: bool = True, **also: object) -> str:
    if not isinstance(entry.body, bytes) or not isinstance(entry.signature, bytes | None):
        raise LedgerProblem("its body or signature is no bytes", seq=entry.seq)
    signature = None if entry.signature is None else to_base64(entry.signature)
    try:
        body = entry.body.decode()
    except UnicodeDecodeError:
        raise LedgerProblem("its body is no text", seq=entry.seq) from None
    told = {
        name: [salt.hex(), value.decode()]
        for name, (salt, value) in written_members(entry.opened).items()
    }
    opened = {"opened": told} if told and values else {}
    return json.dumps({"body": body, "signature": signature, **opened, **also}) + "\n"
