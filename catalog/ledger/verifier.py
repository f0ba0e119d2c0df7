"""What a stranger needs to check a ledger: hashes, proofs, signatures, and bundles of entries.

This file is copied into every exported bundle and runs there by itself, on python3 with nothing
but ``cryptography``:

    python verify.py BUNDLE [--public-key KEY]

Everything that affidavit itself checks, it checks with these functions.

Rules:
    - Nothing here needs a secret, a database or the network, or imports the rest of affidavit.
    - An entry's body is one JSON object in canonical form (RFC 8785). An entry whose body names a
      ``key_id`` is signed by that key (Ed25519, RFC 8032) over the bytes of its body.
    - An entry's leaf is ``SHA-256(0x00 || body || signature)`` and a node is
      ``SHA-256(0x01 || left || right)`` (RFC 9162 section 2.1.1).
    - A checkpoint is a signed note (C2SP signed-note and tlog-checkpoint).
    - Entry 0 names the first key and is signed by it; a later ``key`` entry names the next one and
      is signed by the one before.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

BUNDLE_FORMATS = ("affidavit-bundle/1", "affidavit-bundle/2", "affidavit-bundle/3")
_, BUNDLE_FORMAT, BUNDLE_WITH_LEAVES = BUNDLE_FORMATS  # the first has bodies and signatures alone

LINE, MANIFEST = ("body", "signature", "opened"), ("format", "origin", "from_seq", "to_seq")
"""The members of an entry's line, and of the manifest."""

KEY_FILE = "public_key.txt"
ED25519 = b"\x01"
EMPTY_ROOT = hashlib.sha256().digest()
HASH_BYTES, SALT_BYTES = 32, 16
KEPT = "kept"
"""The extension line (C2SP tlog-checkpoint) of a checkpoint that the ledger keeps."""

LOG, DATA = "log", "data"
"""The extension lines of a checkpoint that covers the log of statements, and a tenant's data."""

KEY_HASH_BYTES = 4
SIZE_DIGITS_MAX = 19
SHOWN_MAX = 80
ORIGIN_PREFIX = "affidavit"
SHARED_ORIGIN = "_shared"
TIME_FIELDS = {"search": "executed_at", "event": "timestamp"}
"""Which member of a body is its time, by kind; ``created_at`` for every other."""

ID_FIELDS = {"search": "query_id", "event": "event_id"}
"""Which member of a body is its name, by kind; ``entry_id`` for every other."""


class LedgerProblem(Exception):  # noqa: N818 - a finding, not a failure of the program
    """What is wrong with a ledger, and at which entry if that can be said."""

    def __init__(self, problem: str, *, seq: int | None = None) -> None:
        super().__init__(problem if seq is None else f"entry {seq}: {problem}")
        self.problem = problem
        self.seq = seq


def shown(value: object) -> str:
    """Return ``value``, which anybody may have written, as a short and printable text."""
    if value is not None and not isinstance(value, str | bytes | int | float):
        return f"a {type(value).__name__}"
    text = ascii(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


# --- the tree (RFC 9162 section 2.1) --------------------------------------------------------------


def leaf_hash(body: bytes, signature: bytes | None = None) -> bytes:
    """Return the hash of an entry's leaf."""
    return hashlib.sha256(b"\x00" + body + (signature or b"")).digest()


def commitment(salt: bytes, member: str, value: bytes) -> str:
    """Return what a body of version 2 says of a member whose value can be let go.

    ``value`` is canonical JSON. Whoever destroys salt and value leaves nothing to be found by
    trying, and a proof that still holds.
    """
    return "c:" + hashlib.sha256(salt + b"\x02" + member.encode() + b"\x00" + value).hexdigest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above ``left`` and ``right``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_point(size: int) -> int:
    """Return the largest power of two below ``size``, which is at least 2."""
    return 1 << (size - 1).bit_length() - 1


def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> bool:
    """Return whether ``leaf`` is leaf ``index`` of the tree (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def outside_ranges(first: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the subtrees of a tree of ``size`` that hold no leaf of ``[first, end)``, in order.

    With the leaves of ``[first, end)`` their hashes give the root: a proof that these leaves, and
    no others, stand there.
    """

    def walk(low: int, high: int) -> Iterator[tuple[int, int]]:
        if high <= first or end <= low:
            yield low, high
        elif high - low > 1:
            middle = low + split_point(high - low)
            yield from walk(low, middle)
            yield from walk(middle, high)

    if size:
        yield from walk(0, size)


def root_from_range(
    first: int, leaves: Sequence[bytes], size: int, outside: Sequence[bytes]
) -> bytes:
    """Return the root of a tree of ``size`` whose leaves from ``first`` on are ``leaves``.

    ``outside`` holds the hashes of :func:`outside_ranges`.

    Raises:
        LedgerProblem: There are more or fewer of them than the tree needs.
    """
    end = first + len(leaves)
    given = iter(outside)

    def walk(low: int, high: int) -> bytes:
        if high <= first or end <= low:
            return next(given)
        if high - low == 1:
            return leaves[low - first]
        middle = low + split_point(high - low)
        left = walk(low, middle)
        return node_hash(left, walk(middle, high))

    if not 0 <= first < end <= size:
        raise LedgerProblem(f"entries {first} to {end - 1} do not lie in a tree of {size}")
    try:
        root = walk(0, size)
    except StopIteration:
        raise LedgerProblem("the proof is too short") from None
    if next(given, None) is not None:
        raise LedgerProblem("the proof is too long")
    return root


# --- keys and signed notes (C2SP signed-note, tlog-checkpoint) ------------------------------------


def unbase64(text: str, what: str) -> bytes:
    """Return the bytes that ``text`` writes down; LedgerProblem if it is not their base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise LedgerProblem(f"{what} is not base64") from None
    if to_base64(data) != text:  # the last digit may have bits to spare: one text, one meaning
        raise LedgerProblem(f"{what} is not base64")
    return data


def to_base64(data: bytes) -> str:
    """Return ``data`` as base64 text."""
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class PublicKey:
    """A named Ed25519 public key."""

    name: str
    raw: bytes

    @cached_property
    def key_id(self) -> str:
        """How records name the key: the first 16 hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @cached_property
    def key_hash(self) -> bytes:
        """How signed notes name the key."""
        named = self.name.encode() + b"\n" + ED25519 + self.raw
        return hashlib.sha256(named).digest()[:KEY_HASH_BYTES]

    def __str__(self) -> str:
        """Return the key as a verifier key of C2SP signed-note, ``name+hash+key``."""
        return f"{self.name}+{self.key_hash.hex()}+{to_base64(ED25519 + self.raw)}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Return the inverse of ``str(key)``; LedgerProblem if ``text`` is no such key."""
        name, _, rest = text.strip().partition("+")
        stated, _, encoded = rest.partition("+")
        raw = unbase64(encoded, "the public key")
        named = name.isprintable() and name.split() == [name]
        if not named or raw[:1] != ED25519 or len(raw) != 1 + HASH_BYTES:
            raise LedgerProblem("the public key is not of the form name+hash+Ed25519 key")
        key = cls(name, raw[1:])
        if key.key_hash.hex() != stated:
            raise LedgerProblem("the public key and its own hash differ")
        return key

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether ``signature`` is this key's, of ``message``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError, TypeError):  # a store may hold anything
            return False
        return True


def open_note(note: str, keys: Iterable[PublicKey]) -> tuple[str, PublicKey]:
    """Return a note's text and which of ``keys`` signed it.

    Raises:
        LedgerProblem: None of them did.
    """
    text, separator, lines = note.rpartition("\n\n")
    known = {(key.name, key.key_hash): key for key in keys}
    if not note.endswith("\n"):
        raise LedgerProblem("it is cut short")
    for line in lines.split("\n") if separator else ():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.rpartition(" ")
        if dash != "—":
            break
        signature = unbase64(encoded, "a note's signature")
        key = known.get((name, signature[:KEY_HASH_BYTES]))
        if key is not None:
            if not key.verifies(signature[KEY_HASH_BYTES:], (text + "\n").encode()):
                raise LedgerProblem("its signature is wrong: the note was changed or forged")
            return text + "\n", key
    raise LedgerProblem("it is signed by no key of this ledger")


@dataclass(frozen=True)
class Log:
    """How far a log of statements is covered: ``rows`` of it, after ``first`` that are not."""

    first: int = 0
    rows: int = 0
    digest: bytes = bytes(HASH_BYTES)

    @property
    def text(self) -> str:
        """The line that states it."""
        return f"{LOG} {self.first} {self.rows} {to_base64(self.digest)}\n"


@dataclass(frozen=True)
class Checkpoint:
    """A ledger's size and root, as a checkpoint states them, its log's end and its data's digest.

    One that is kept says so in a line of its own: so none of them can be put in the place of the
    ledger's head, and the ledger cut back to it.
    """

    origin: str
    size: int
    root: bytes
    kept: bool = False
    log: Log | None = None
    data: bytes | None = None

    @property
    def text(self) -> str:
        """What is signed."""
        mark = f"{KEPT}\n" if self.kept else ""
        log = "" if self.log is None else self.log.text
        data = "" if self.data is None else f"{DATA} {to_base64(self.data)}\n"
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n{mark}{log}{data}"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Return the checkpoint that a note's text states; LedgerProblem if it is none."""
        origin, size, root, *more = [*text.split("\n"), "", "", ""]
        if not origin or stated_size(size) is None:
            raise LedgerProblem("it does not state an origin and a size")
        kept = more[0] == KEPT
        log = _log_of(more[kept])
        mark, _, told = more[kept + (log is not None)].partition(" ")
        data = unbase64(told, "the digest of the data") if mark == DATA else None
        found = cls(origin, int(size), unbase64(root, "the root"), kept, log, data)
        if found.text != text or {len(each) for each in (found.root, data or found.root)} != {
            HASH_BYTES
        }:
            raise LedgerProblem("it is no checkpoint: origin, size and root, a line each")
        return found


def _log_of(line: str) -> Log | None:
    """Return what the line of a log states; ``None`` if it is none."""
    mark, first, rows, digest, *_ = [*line.split(" "), "", "", "", ""]
    if mark != LOG or stated_size(first) is None or stated_size(rows) is None:
        return None
    log = Log(int(first), int(rows), unbase64(digest, "the digest of the log"))
    return log if len(log.digest) == HASH_BYTES else None


def stated_size(text: str) -> int | None:
    """Return the size that ``text`` writes down in decimal; ``None`` if it is none."""
    if not 0 < len(text) <= SIZE_DIGITS_MAX or not text.isdecimal():
        return None
    size = int(text)
    return size if str(size) == text else None


def open_checkpoint(note: str, keys: Iterable[PublicKey]) -> tuple[Checkpoint, PublicKey]:
    """Return what a signed checkpoint states, and who signed it; LedgerProblem if nobody did."""
    text, key = open_note(note, keys)
    return Checkpoint.parse(text), key


@lru_cache
def origin_name(tenant: str | None) -> str:
    """Return what a tenant is called in its ledger's origin."""
    return SHARED_ORIGIN if tenant is None else quote(tenant, safe="", errors="surrogatepass")


# --- entries --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One entry: its place, its body and its signature, if its kind is signed."""

    seq: int
    body: bytes
    signature: bytes | None

    @property
    def leaf(self) -> bytes:
        """The hash of the entry's leaf."""
        return leaf_hash(self.body, self.signature)

    def fields(self) -> dict[str, Any]:
        """Return what the body says; LedgerProblem if it is no JSON object."""
        if not isinstance(self.body, bytes):  # a store may hold anything
            raise LedgerProblem("its body is no bytes", seq=self.seq)
        try:
            fields = json.loads(self.body.decode())
        except (ValueError, RecursionError):
            raise LedgerProblem("its body is no JSON", seq=self.seq) from None
        if not isinstance(fields, dict):
            raise LedgerProblem("its body is no JSON object", seq=self.seq)
        return fields


class Keys:
    """A ledger's keys, as its ``key`` entries bring them in, oldest first."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.known: dict[str, PublicKey] = {}
        self.newest: PublicKey | None = None

    def add(self, fields: dict[str, Any], entry: Entry) -> None:
        """Take the key that a ``key`` entry names, which the one before it signed.

        Raises:
            LedgerProblem: The entry is not signed so, or names no key of this ledger.
        """
        if fields.get("kind") != "key":
            raise LedgerProblem("it is no entry that names a key", seq=entry.seq)
        try:
            key = PublicKey.parse(str(fields.get("public_key")))
        except LedgerProblem as problem:
            raise LedgerProblem(problem.problem, seq=entry.seq) from None
        signer = self.newest or key
        if (entry.seq == 0) != (self.newest is None):
            raise LedgerProblem("the first key stands in entry 0", seq=entry.seq)
        if key.name != self.origin:
            raise LedgerProblem(
                f"its key is named {shown(key.name)}, not {self.origin!r}", seq=entry.seq
            )
        if not signer.verifies(entry.signature or b"", entry.body):
            raise LedgerProblem("its signature is wrong: no known key signed it", seq=entry.seq)
        self.known[key.key_id] = key
        self.newest = key

    def signer(self, fields: dict[str, Any], entry: Entry) -> PublicKey | None:
        """Return whose signature an entry must carry; ``None`` for one that is not signed.

        Raises:
            LedgerProblem: The entry is signed and should not be, or by a key that was not in use.
        """
        named = fields.get("key_id")
        if named is None:
            if entry.signature is not None:
                raise LedgerProblem("it has a signature and names no key", seq=entry.seq)
            return None
        if self.newest is None or named != self.newest.key_id:
            raise LedgerProblem(
                f"key {shown(named)} was not this ledger's key there", seq=entry.seq
            )
        return self.newest


def check_place(fields: dict[str, Any], entry: Entry, *, origin: str) -> None:
    """Raise LedgerProblem unless an entry's body says that it stands where it does."""
    if fields.get("seq") != entry.seq:
        stated = shown(fields.get("seq"))
        raise LedgerProblem(f"its body says that it is entry {stated}", seq=entry.seq)
    tenant = fields.get("tenant", "")
    if not isinstance(tenant, str | None) or not origin.endswith(f"/{origin_name(tenant)}"):
        raise LedgerProblem(f"it is an entry of tenant {shown(tenant)}", seq=entry.seq)


def check_signature(entry: Entry, key: PublicKey | None) -> None:
    """Raise LedgerProblem unless ``key`` signed ``entry``; nothing is to check for ``None``."""
    if key is not None and not key.verifies(entry.signature or b"", entry.body):
        raise LedgerProblem(
            "its signature is wrong: the record was changed or forged", seq=entry.seq
        )


# --- bundles --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What checking a bundle found; true if nothing is wrong."""

    entries: int
    checkpoint: Checkpoint | None
    key: PublicKey | None
    pinned: bool
    problem: LedgerProblem | None

    def __bool__(self) -> bool:
        return self.problem is None

    def __str__(self) -> str:
        if self.problem is not None:
            return f"NOT VERIFIED: {self.problem}"
        assert self.checkpoint is not None
        trust = "the public key given" if self.pinned else "the public key in the bundle"
        return (
            f"VERIFIED: {self.entries} entries stand unchanged in the ledger "
            f"{self.checkpoint.origin} of {self.checkpoint.size} entries, by {trust}:\n{self.key}"
        )


def _read(folder: Path, name: str, missing: str | None = None) -> str:
    """Return a text file of a bundle; LedgerProblem if there is none and nothing stands for it."""
    try:
        if not S_ISREG((folder / name).stat().st_mode):  # a pipe would be waited for
            raise LedgerProblem(f"{name} is no file")
        return (folder / name).read_bytes().decode()
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise LedgerProblem(f"the bundle has no {name}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerProblem(f"{name} cannot be read: {error}") from None


def _json(text: str, what: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise LedgerProblem(f"{what} is no JSON, or has a member twice") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose members all have names of their own: readers differ in the others."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _lines(folder: Path, name: str) -> list[str]:
    *lines, last = _read(folder, name).split("\n")
    if last:
        raise LedgerProblem(f"{name} is cut short")
    return lines


def _object(line: str, what: str, members: Iterable[str]) -> dict[str, Any]:
    """Return a JSON object; LedgerProblem if it has a member that is none of ``members``."""
    raw = _json(line, what)
    if not isinstance(raw, dict):
        raise LedgerProblem(f"{what} is no JSON object")
    for name in raw.keys() - members:
        raise LedgerProblem(f"{what} has a member that none has, {shown(name)}")
    return raw


def _entry(raw: dict[str, Any], seq: int, what: str) -> Entry:
    signature = raw.get("signature")
    signed = None if signature is None else unbase64(str(signature), f"the signature of {what}")
    try:
        return Entry(seq, raw["body"].encode(), signed)
    except (KeyError, AttributeError, UnicodeEncodeError):
        raise LedgerProblem("its body is missing, or no text", seq=seq) from None


def _check_let_go(gone: list[int], said: list[tuple[int, Any]]) -> None:
    """Raise LedgerProblem unless a later entry says, by its ranges, that each was let go."""
    named = set[int]()
    try:
        for by, ranges in said:
            for first, last in ranges:
                named.update(gone[bisect_left(gone, first) : bisect_right(gone, min(last, by - 1))])
    except (TypeError, ValueError):
        raise LedgerProblem("what the entries say was let go cannot be read") from None
    for seq in sorted({*gone} - named)[:1]:
        raise LedgerProblem("it is gone, and no entry here says so", seq=seq)


def _check_opened(raw: object, fields: dict[str, Any], seq: int) -> None:
    """Raise LedgerProblem unless the values that a line tells are those its body commits to."""
    try:
        for name, (salt, value) in ({} if raw is None else raw).items():  # type: ignore[attr-defined]
            salted = bytes.fromhex(salt)
            is_salt = salted.hex() == salt and len(salted) == SALT_BYTES  # or the hash is of two
            if not is_salt or commitment(salted, name, value.encode()) != fields.get(name):
                raise LedgerProblem(f"its {shown(name)} is not what was signed", seq=seq)
    except (ValueError, TypeError, AttributeError):
        raise LedgerProblem("what its commitments are of cannot be read", seq=seq) from None


def _hashes(raw: object, what: str) -> list[bytes]:
    if not isinstance(raw, list):
        raise LedgerProblem(f"{what} is no list of hashes")
    found = [unbase64(str(each), what) for each in raw]
    if any(len(each) != HASH_BYTES for each in found):
        raise LedgerProblem(f"{what} has what is no hash")
    return found


def _bundle_keys(
    lines: list[str], origin: str, pinned: PublicKey | None
) -> list[tuple[int, Keys, Entry, list[bytes]]]:
    """Return each key entry with the keys known from it on, and its inclusion proof."""
    found = []
    keys, trusted = Keys(origin), pinned is None
    for line in lines:
        raw = _object(line, "a line of keys.jsonl", ("seq", "proof", *LINE))
        seq = raw.get("seq")
        if type(seq) is not int:
            raise LedgerProblem("a line of keys.jsonl does not say which entry it is")
        entry = _entry(raw, seq, f"key entry {seq}")
        keys.add(entry.fields(), entry)
        trusted = trusted or keys.newest == pinned
        stage = Keys(origin)
        stage.known, stage.newest = dict(keys.known), keys.newest
        found.append((entry.seq, stage, entry, _hashes(raw.get("proof"), "a key's proof")))
    if not found:
        raise LedgerProblem("the bundle names no key")
    if not trusted:
        raise LedgerProblem("no key of this bundle is the public key given: it is another ledger's")
    return found


def check_bundle(folder: Path, public_key: str | None = None) -> Verdict:
    """Return the verdict on the bundle in ``folder``.

    Args:
        folder: What an export wrote.
        public_key: The ledger's key as the one who checks knows it; without it the bundle's own
            key is taken, which shows that the bundle is whole, not whose it is.
    """
    pinned: PublicKey | None = None
    try:
        pinned = None if public_key is None else PublicKey.parse(public_key)
        entries, checkpoint, key = _check(folder, pinned)
    except LedgerProblem as problem:
        return Verdict(0, None, None, pinned is not None, problem)
    return Verdict(entries, checkpoint, key, pinned is not None, None)


def _signed(folder: Path, origin: str, keys: Keys) -> tuple[Checkpoint, PublicKey]:
    """Return the checkpoint, which the newest of ``keys`` signed, and that key."""
    note = _read(folder, "checkpoint.note")
    checkpoint, key = open_checkpoint(note, keys.known.values())
    if key != keys.newest:
        raise LedgerProblem("the checkpoint is signed by a key that was replaced")
    if _read(folder, KEY_FILE, f"{key}\n") != f"{key}\n":
        raise LedgerProblem(f"{KEY_FILE} has another key than the one that signed")
    if checkpoint.origin != origin:
        raise LedgerProblem(
            f"the checkpoint is of {shown(checkpoint.origin)}, not of {shown(origin)}"
        )
    return checkpoint, key


def _check(folder: Path, pinned: PublicKey | None) -> tuple[int, Checkpoint, PublicKey]:
    manifest = _object(_read(folder, "manifest.json"), "manifest.json", MANIFEST)
    if manifest.get("format") not in BUNDLE_FORMATS:
        raise LedgerProblem(f"manifest.json is not of format {' or '.join(BUNDLE_FORMATS)}")
    origin, first = str(manifest.get("origin")), manifest.get("from_seq")
    if type(first) is not int:
        raise LedgerProblem("manifest.json names no first entry")
    stages = _bundle_keys(_lines(folder, "keys.jsonl"), origin, pinned)
    checkpoint, key = _signed(folder, origin, stages[-1][1])
    for seq, _, entry, proof in stages:
        if not verify_inclusion(seq, checkpoint.size, entry.leaf, proof, checkpoint.root):
            raise LedgerProblem("this key is not in the checkpoint's tree", seq=seq)
    leaves, gone, said = [], list[int](), list[tuple[int, Any]]()
    for at, line in enumerate(_lines(folder, "entries.jsonl"), first):
        if line.startswith('{"leaf"') and manifest["format"] == BUNDLE_WITH_LEAVES:
            leaf = _object(line, f"the line of entry {at}", ("leaf",))["leaf"]
            leaves += _hashes([leaf], f"the leaf of entry {at}")
            gone.append(at)
            continue
        raw = _object(line, f"the line of entry {at}", LINE)
        entry = _entry(raw, at, f"entry {at}")
        fields = entry.fields()
        _check_opened(raw.get("opened"), fields, at)
        check_place(fields, entry, origin=origin)
        if fields.get("kind") != "key":
            known = [keys for seq, keys, *_ in stages if seq <= at]
            if not known:
                raise LedgerProblem("it stands before the first key", seq=at)
            check_signature(entry, known[-1].signer(fields, entry))
        elif entry.leaf not in {each.leaf for _, _, each, _ in stages}:
            raise LedgerProblem("it is a key that keys.jsonl does not have", seq=at)
        if fields.get("kind") == "retention" or fields.get("keys_too") is True:
            said.append((at, fields.get("ranges") or ()))
        leaves.append(entry.leaf)
    _check_let_go(gone, said)
    if manifest.get("to_seq") != first + len(leaves) - 1:
        raise LedgerProblem(
            f"{len(leaves)} entries from {first} on are not those up to "
            f"{shown(manifest.get('to_seq'))}"
        )
    outside = _hashes(_json(_read(folder, "proof.json"), "proof.json"), "proof.json")
    if root_from_range(first, leaves, checkpoint.size, outside) != checkpoint.root:
        raise LedgerProblem("the entries are not those that the checkpoint was signed for")
    return len(leaves), checkpoint, key


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a bundle from the command line; 0 if it is whole."""
    parser = argparse.ArgumentParser(description="Verify an exported bundle of ledger entries.")
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--public-key", help="the ledger's public key, as you know it")
    given = parser.parse_args(arguments)
    verdict = check_bundle(given.bundle, given.public_key)
    sys.stdout.write(f"{verdict}\n")
    if verdict and not verdict.pinned:
        sys.stdout.write("Compare this key with the one you were given: --public-key does it.\n")
    return 0 if verdict else 1


if __name__ == "__main__":
    sys.exit(main())
