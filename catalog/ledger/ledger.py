"""A tenant's ledger: one append-only Merkle tree of everything that must be answered for.

Rules:
    - Entries are numbered 0, 1, 2... without a gap; entry 0 names the first public key.
    - Entries, the nodes that they complete and the signed head are one store transaction with
      whatever they record. The head states size and root after every commit, so that an entry
      that is cut off is missed even if no checkpoint was kept since.
    - A new head is signed only if the old one is intact, which its signature says, and the tree
      extends it. So nothing that somebody else put there is ever signed over.
    - The first head is kept as a checkpoint: a ledger without one was tampered with.
    - Only :meth:`Ledger.rotate` brings in a key: no other draft may be of that kind.
    - Every column of an entry is said by its body too, and so cannot be changed on its own.

The tree is that of RFC 9162 section 2.1; a head is a C2SP tlog-checkpoint. Some heads are kept as
checkpoints: one every so many entries, one every so many seconds, and on request.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from affidavit.catalog.ledger.merkle import Frontier, consistency_proof, inclusion_proof
from affidavit.catalog.ledger.verifier import (
    HASH_BYTES,
    Checkpoint,
    Entry,
    Keys,
    LedgerProblem,
    PublicKey,
    leaf_hash,
    open_checkpoint,
    origin_of,
    sign_note,
    to_base64,
    verify_consistency,
    verify_inclusion,
)
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.predicate import And, Compare
from affidavit.catalog.store.protocol import TENANT, columns_of
from affidavit.catalog.store.tables import CHECKPOINTS, HEADS, LEDGER, NODES
from affidavit.catalog.values.canonical import canonical, canonical_object, from_us
from affidavit.errors import (
    ConstraintError,
    InvalidQueryError,
    LedgerCorruptError,
    MasterKeyError,
    RecordNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.values.types import StoreValue

CHECKPOINT_ENTRIES: Final = 1024
CHECKPOINT_INTERVAL_S: Final = 60.0
ENTRIES_READ_AT_ONCE: Final = 4096
NOTE_LINES: Final = 5
"""Origin, size, root, an empty line and a signature."""

KEY: Final = "key"
"""The kind of an entry that names a key."""

_TLOG_PROOF: Final = "c2sp.org/tlog-proof@v1"
_US: Final = 1_000_000


class Signer(Protocol):
    """One private key."""

    @property
    def public_key(self) -> PublicKey:
        """Its public half."""

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of ``message``."""


class Signers(Protocol):
    """The private keys of a lake: one a tenant and generation."""

    def signer(self, origin: str, generation: int) -> Signer:
        """Return the key of the ledger ``origin`` in its ``generation``.

        Raises:
            MasterKeyError: There is no master key to derive it from.
        """


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry before it has a number.

    Attributes:
        kind: What it records: ``search``, ``key``...
        entry_id: Its name, unique in the ledger.
        at_us: When it happened, as its body says, in microseconds since the epoch.
        members: The body's members in canonical JSON, without those that the ledger adds: ``seq``,
            ``kind``, ``tenant`` and, if it is signed, ``key_id``.
        signed: Whether it carries a signature of its own, besides the head's.
        row_ids: The rows that a search returned, as its body says.
    """

    kind: str
    entry_id: str
    at_us: int
    members: Mapping[str, bytes]
    signed: bool = True
    row_ids: Sequence[str] = ()


def draft(kind: str, entry_id: str, at_us: int, **fields: object) -> Draft:
    """Return a signed draft of plain JSON values."""
    stated = {"entry_id": entry_id, "created_at": from_us(at_us), **fields}
    members = {name: canonical(value, name) for name, value in stated.items()}
    return Draft(kind, entry_id, at_us, members)


@dataclass(frozen=True, slots=True)
class StoredEntry(Entry):
    """An entry as the store has it, with the columns that its body says too."""

    kind: str = ""
    entry_id: str = ""
    created_at: int = 0
    leaf_hash: bytes = b""
    key_id: str | None = None
    gone: str = ""


ERASED: Final = "erased"
DROPPED: Final = "dropped"
"""What may be gone of an event: its values, or all but its leaf."""


class EntrySource(Protocol):
    """Where entries are kept that do not stand in the ledger's own table."""

    def leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of its entries ``[first, end)``."""

    def entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return its entries ``[first, end)``."""

    def count(self, reader: Reader) -> int:
        """Return how many entries it has."""

    def faults(self, reader: Reader) -> Iterator[tuple[int, int, str]]:
        """Yield what is wrong that no entry's own leaf tells: first entry, last one, and what."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest state of a ledger.

    Attributes:
        frontier: The tree.
        note: Its size and root, signed.
        key_id: The key in use.
        generation: Which of the derived keys that is.
        checkpoint_size: The size at the last checkpoint that was kept.
        checkpoint_at: When that was, in microseconds since the epoch.
    """

    frontier: Frontier
    note: str
    key_id: str
    generation: int
    checkpoint_size: int
    checkpoint_at: int

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self.frontier.size


@dataclass(frozen=True, slots=True)
class _Opened:
    """A ledger as a transaction that appends to it finds it."""

    old: Head | None
    first: int
    signer: Signer


@dataclass
class Ledger:
    """The ledger of one tenant. What it reads and writes goes through the caller's transaction.

    Attributes:
        tenant: As the store writes it.
        origin: What the ledger is called in its checkpoints and keys.
        signers: Where its keys come from; ``None`` where nothing is written.
        checkpoint_entries: A checkpoint is kept at least every so many entries.
        checkpoint_interval_s: And, as entries come, at least every so many seconds.
        sources: Where else entries are kept.
    """

    tenant: str
    origin: str
    signers: Signers | None
    checkpoint_entries: int = CHECKPOINT_ENTRIES
    checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S
    sources: Sequence[EntrySource] = ()
    _signer: tuple[int, Signer] | None = field(default=None, repr=False)
    _intact: tuple[Sequence[StoreValue], Head] | None = field(default=None, repr=False)
    _chain: tuple[Sequence[StoredEntry], Sequence[PublicKey]] = field(default=((), ()), repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._tenant_member = canonical(None if self.tenant == SHARED else self.tenant)

    def own(self, *conditions: Predicate) -> And:
        """Return the predicate for this ledger's rows alone."""
        return And((Compare("=", TENANT, self.tenant), *conditions))

    # --- the head ------------------------------------------------------------------------------

    def head(self, reader: Reader) -> Head | None:
        """Return the newest state; ``None`` if there are no entries.

        Raises:
            LedgerCorruptError: Its size, tree, note, key and newest checkpoint contradict one
                another, or its note is not signed by the ledger's key.
        """
        rows = reader.select(HEADS, columns_of(HEADS), self.own())
        if not rows:
            return None
        intact = self._intact
        if intact is not None and intact[0] == rows[0]:
            return intact[1]  # one that was checked or written here is not checked again
        try:
            head = parse_head(rows[0], self.origin)
            check_head(head, self.keys(reader))
            self._check_newest_checkpoint(reader, head)
        except LedgerProblem as problem:
            where = "" if problem.seq is not None else "the ledger's head: "
            raise LedgerCorruptError(f"{where}{problem.problem}", seq=problem.seq) from None
        self._intact = rows[0], head
        return head

    def _check_newest_checkpoint(self, reader: Reader, head: Head) -> None:
        newest = reader.select(
            CHECKPOINTS, ("size", "created_at"), self.own(), order_by=("size",), descending=True,
            limit=1,
        )  # fmt: skip
        if newest != [(head.checkpoint_size, head.checkpoint_at)]:
            raise LedgerProblem("its newest checkpoint is not the one that it states")

    def last_seq(self, reader: Reader) -> int | None:
        """Return the newest entry's number; ``None`` if there is none."""
        rows = reader.select(HEADS, ("size",), self.own())
        size = rows[0][0] if rows else None
        return size - 1 if isinstance(size, int) and size > 0 else None

    def signer(self, generation: int) -> Signer:
        """Return the key of a generation."""
        if self.signers is None:
            msg = "this session has no master key: the ledger can only be read"
            raise MasterKeyError(msg)
        held = self._signer
        if held is None or held[0] != generation:
            held = self._signer = (generation, self.signers.signer(self.origin, generation))
        return held[1]

    def check_key(self, reader: Reader) -> None:
        """Raise MasterKeyError unless the master key is the one that this ledger is signed with."""
        head = self.head(reader)
        if head is not None:
            self._current_signer(head)

    def _current_signer(self, head: Head) -> Signer:
        signer = self.signer(head.generation)
        if signer.public_key.key_id != head.key_id:
            msg = (
                f"the master key gives key {signer.public_key.key_id} and this lake's ledger is "
                f"signed with {head.key_id}: bring the master key that the lake was written with"
            )
            raise MasterKeyError(msg)
        return signer

    # --- appending -----------------------------------------------------------------------------

    def append(
        self,
        writer: Writer,
        drafts: Sequence[Draft],
        *,
        now_us: int,
        checkpoint: bool = False,
        next_signer: Signer | None = None,
    ) -> list[StoredEntry]:
        """Append ``drafts`` in the transaction of ``writer`` and return them as entries.

        Args:
            writer: The transaction that makes what they record.
            drafts: What happened, oldest first.
            now_us: The time, in microseconds since the epoch.
            checkpoint: Keep the new head as a checkpoint, whether or not one is due.
            next_signer: The key that takes over after these entries.

        Raises:
            LedgerCorruptError: The ledger was changed by somebody else, or a draft names a key.
            MasterKeyError: The key is missing, or not this ledger's.
            ConstraintError: An ``entry_id`` is taken.
        """
        if next_signer is None and any(each.kind == KEY for each in drafts):
            raise LedgerCorruptError("a draft names a key, and only rotating the key does that")
        opened = self._open(writer)
        first, signer, keys = opened.first, opened.signer, []
        if opened.old is None:
            keys = [self._key_draft(signer.public_key, 0, now_us)]
        entries = [
            self._entry(each, first + at, signer) for at, each in enumerate((*keys, *drafts))
        ]
        self._insert(writer, entries)
        leaves = [entry.leaf_hash for entry in entries]
        self._extend(writer, opened, leaves, now_us, keep=checkpoint, next_signer=next_signer)
        return entries[len(keys) :]

    def append_leaves(
        self, writer: Writer, make: Callable[[int], Sequence[bytes]], *, now_us: int
    ) -> None:
        """Append entries that are kept elsewhere, in the transaction of ``writer``.

        ``make`` is given the number of the first and returns the leaf of each, in order; it keeps
        the entries themselves, in the same transaction.
        """
        opened = self._open(writer)
        if opened.old is None:
            self.append(writer, (), now_us=now_us)
            opened = self._open(writer)
        self._extend(writer, opened, make(opened.first), now_us)

    def _open(self, writer: Writer) -> _Opened:
        old = self.head(writer)
        if old is not None:
            return _Opened(old, old.size, self._current_signer(old))
        kept = any(writer.count(table, self.own()) for table in (LEDGER, CHECKPOINTS))
        if kept or any(source.count(writer) for source in self.sources):
            raise LedgerCorruptError("its signed head is missing")
        return _Opened(None, 0, self.signer(0))

    def _insert(self, writer: Writer, entries: Sequence[StoredEntry]) -> None:
        try:
            writer.insert(LEDGER, columns_of(LEDGER), map(_row, entries))
        except ConstraintError as error:
            first, mine = entries[0].seq, {entry.leaf_hash for entry in entries}
            found = self.entries(writer, Compare(">=", "seq", first))
            if any(entry.leaf_hash not in mine for entry in found):
                raise LedgerCorruptError("an entry that no head covers", seq=first) from error
            raise

    def _extend(
        self,
        writer: Writer,
        opened: _Opened,
        leaves: Sequence[bytes],
        now_us: int,
        *,
        keep: bool = False,
        next_signer: Signer | None = None,
    ) -> None:
        old, signer = opened.old, opened.signer
        frontier, nodes = (Frontier() if old is None else old.frontier).extended(leaves)
        if nodes:
            writer.insert(NODES, columns_of(NODES), nodes)
        generation = 0 if old is None else old.generation
        if next_signer is not None:
            signer, generation = next_signer, generation + 1
        self._write_head(writer, old, frontier, signer, generation, now_us, keep=keep)

    def _entry(self, each: Draft, seq: int, signer: Signer) -> StoredEntry:
        members = {
            **each.members,
            "seq": b"%d" % seq,
            "kind": canonical(each.kind),
            "tenant": self._tenant_member,
        }
        key_id = signer.public_key.key_id if each.signed else None
        if key_id is not None:
            members["key_id"] = canonical(key_id)
        body = canonical_object(members)
        signature = signer.sign(body) if each.signed else None
        leaf = leaf_hash(body, signature)
        return StoredEntry(seq, body, signature, each.kind, each.entry_id, each.at_us, leaf, key_id)

    def _key_draft(self, key: PublicKey, generation: int, now_us: int) -> Draft:
        return draft(KEY, f"key-{generation}", now_us, public_key=str(key), generation=generation)

    def rotate(self, writer: Writer, now_us: int, signers: Signers | None = None) -> PublicKey:
        """Begin the next generation of keys and return its public key.

        The old key signs the entry that names the new one, and goes on verifying what it signed.
        ``signers`` derives it from another master key.
        """
        head = self.head(writer)
        if head is None:
            self.append(writer, (), now_us=now_us)
            head = self.head(writer)
        assert head is not None
        generation = head.generation + 1
        source = signers if signers is not None else self.signers
        assert source is not None
        signer = source.signer(self.origin, generation)
        entry = self._key_draft(signer.public_key, generation, now_us)
        self.append(writer, [entry], now_us=now_us, checkpoint=True, next_signer=signer)
        return signer.public_key

    def _write_head(
        self,
        writer: Writer,
        old: Head | None,
        frontier: Frontier,
        signer: Signer,
        generation: int,
        now_us: int,
        *,
        keep: bool,
    ) -> None:
        checkpoint = Checkpoint(self.origin, frontier.size, frontier.root)
        size_then, at_then = (0, 0) if old is None else (old.checkpoint_size, old.checkpoint_at)
        due = (
            keep
            or old is None
            or frontier.size - size_then >= self.checkpoint_entries
            or now_us - at_then >= self.checkpoint_interval_s * _US
        )
        if due and size_then < frontier.size:
            self._prove_extension(writer, size_then, checkpoint)
        note = sign_note(checkpoint.text, signer.public_key, signer.sign)
        key_id = signer.public_key.key_id
        if due and size_then < frontier.size:
            self._keep(writer, checkpoint, signer, now_us)
            size_then, at_then = frontier.size, now_us
        values: dict[str, StoreValue] = {
            "size": frontier.size,
            "peaks": b"".join(frontier.peaks),
            "note": note,
            "key_id": key_id,
            "generation": generation,
            "checkpoint_size": size_then,
            "checkpoint_at": at_then,
        }
        if old is None:
            writer.insert(HEADS, list(values), [list(values.values())])
        else:
            writer.update_where(HEADS, values, None)
        head = Head(frontier, note, key_id, generation, size_then, at_then)
        self._intact = tuple(values.values()), head

    def _keep(self, writer: Writer, state: Checkpoint, signer: Signer, now_us: int) -> str:
        note = sign_note(replace(state, kept=True).text, signer.public_key, signer.sign)
        kept = (state.size, state.root, signer.public_key.key_id, note, now_us)
        writer.insert(CHECKPOINTS, columns_of(CHECKPOINTS), [kept])
        return note

    def _prove_extension(self, reader: Reader, old_size: int, new: Checkpoint) -> None:
        """Raise LedgerCorruptError unless ``new`` extends the checkpoint kept at ``old_size``."""
        if not old_size:
            return
        found = reader.select(
            CHECKPOINTS, ("note",), self.own(Compare("=", "size", old_size)), limit=1
        )
        try:
            if not found:
                raise LedgerProblem(f"the checkpoint at size {old_size} is missing")
            old, _ = open_checkpoint(str(found[0][0]), self.keys(reader))
            proof = consistency_proof(self.fetch(reader), old_size, new.size)
            same = old.size == old_size and old.origin == new.origin
            if not same or not verify_consistency(old.size, new.size, proof, old.root, new.root):
                raise LedgerProblem(f"it does not extend its checkpoint at size {old_size}")
        except LedgerProblem as problem:
            raise LedgerCorruptError(f"no checkpoint was signed: {problem}") from None

    # --- checkpoints ---------------------------------------------------------------------------

    def keep_checkpoint(self, writer: Writer, *, now_us: int) -> str | None:
        """Keep the head as a checkpoint, and return its note; ``None`` if there are no entries."""
        head = self.head(writer)
        if head is None:
            return None
        if head.checkpoint_size == head.size:
            return self.checkpoints(writer, head.size - 1)[0][1]
        state = Checkpoint(self.origin, head.size, head.frontier.root)
        self._prove_extension(writer, head.checkpoint_size, state)
        note = self._keep(writer, state, self._current_signer(head), now_us)
        writer.update_where(HEADS, {"checkpoint_size": head.size, "checkpoint_at": now_us}, None)
        return note

    def checkpoints(self, reader: Reader, after_size: int = 0) -> list[tuple[int, str]]:
        """Return the size and note of each kept checkpoint, oldest first."""
        where = self.own(Compare(">", "size", after_size))
        rows = reader.select(CHECKPOINTS, ("size", "note"), where, order_by=("size",))
        return [(int(size or 0), str(note)) for size, note in rows]

    # --- reading -------------------------------------------------------------------------------

    def entries(
        self,
        reader: Reader,
        *conditions: Predicate,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[StoredEntry]:
        """Return the matching entries in order."""
        columns = ("seq", "body", "signature", "kind", "entry_id", "created_at", "leaf_hash")
        rows = reader.select(
            LEDGER, columns, self.own(*conditions), order_by=("seq",), descending=descending,
            limit=limit,
        )  # fmt: skip
        return [StoredEntry(*row) for row in rows]  # type: ignore[arg-type]  # as the store has them

    def between(self, reader: Reader, first: int, end: int) -> Iterator[StoredEntry]:
        """Yield the entries ``[first, end)`` in order, some thousands in memory at a time."""
        for low in range(first, end, ENTRIES_READ_AT_ONCE):
            high = min(low + ENTRIES_READ_AT_ONCE, end)
            yield from self.page(reader, low, high)

    def page(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return the entries ``[first, end)``, wherever they are kept, in order."""
        found = self.entries(reader, Compare(">=", "seq", first), Compare("<", "seq", end))
        for source in self.sources:
            found += source.entries(reader, first, end)
        return sorted(found, key=_seq_of) if self.sources else found

    def count(self, reader: Reader) -> int:
        """Return how many entries are kept, wherever that is."""
        own = reader.count(LEDGER, self.own())
        return own + sum(source.count(reader) for source in self.sources)

    def key_entries(self, reader: Reader) -> list[StoredEntry]:
        """Return the entries that name keys, oldest first."""
        return self.entries(reader, Compare("=", "kind", KEY))

    def keys(self, reader: Reader) -> list[PublicKey]:
        """Return the ledger's public keys, oldest first.

        Raises:
            LedgerProblem: One of them is no key, or was not signed by the one before.
        """
        entries = tuple(self.key_entries(reader))
        checked, found = self._chain
        if entries != checked:  # what was checked once is not checked again
            keys = Keys(self.origin)
            for entry in entries:
                keys.add(entry.fields(), entry)
            found = tuple(keys.known.values())
            self._chain = entries, found
        return list(found)

    def fetch(self, reader: Reader) -> Callable[[int, int, int], list[bytes]]:
        """Return what proofs read hashes with.

        Raises:
            LedgerCorruptError: A hash that must be there is not.
        """

        def hashes(level: int, first: int, end: int) -> list[bytes]:
            if level == 0:
                table, at, column = LEDGER, "seq", "leaf_hash"
                conditions: tuple[Compare, ...] = ()
            else:
                table, at, column = NODES, "position", "hash"
                conditions = (Compare("=", "level", level),)
            where = self.own(*conditions, Compare(">=", at, first), Compare("<", at, end))
            rows = reader.select(table, (at, column), where, order_by=(at,))
            if level == 0:
                for source in self.sources:
                    rows += source.leaves(reader, first, end)
                rows.sort(key=_place_of)
            found = [row[1] for row in rows if isinstance(row[1], bytes)]
            if len(found) != end - first:
                what = "entries" if level == 0 else f"nodes of level {level}"
                raise LedgerCorruptError(f"some of the {what} {first} to {end - 1} are missing")
            return found

        return hashes

    def prove(self, reader: Reader, seq: int) -> str:
        """Return the proof that entry ``seq`` stands in the newest head (C2SP tlog-proof).

        Raises:
            RecordNotFoundError: There is no such entry.
            LedgerCorruptError: What is kept does not prove it.
        """
        head = self.head(reader)
        if head is None or not 0 <= seq < head.size:
            size = 0 if head is None else head.size
            msg = f"there is no entry {seq!r}: the ledger has {size} entries, from 0 on"
            raise RecordNotFoundError(msg)
        fetch = self.fetch(reader)
        hashes, leaf = inclusion_proof(fetch, seq, head.size), fetch(0, seq, seq + 1)[0]
        if not verify_inclusion(seq, head.size, leaf, hashes, head.frontier.root):
            raise LedgerCorruptError("the kept hashes are not those that the head was signed for")
        lines = [_TLOG_PROOF, f"index {seq}", *map(to_base64, hashes), "", head.note]
        return "\n".join(lines)


def parse_head(row: Sequence[object], origin: str) -> Head:
    """Return a head from its store row; LedgerProblem if it contradicts itself."""
    size, peaks, note, key_id, generation, checkpoint_size, checkpoint_at = row
    if not (
        isinstance(size, int)
        and isinstance(peaks, bytes)
        and isinstance(note, str)
        and isinstance(key_id, str)
        and isinstance(generation, int)
        and isinstance(checkpoint_size, int)
        and isinstance(checkpoint_at, int)
    ):
        raise LedgerProblem("it is unreadable")
    if size < 1 or len(peaks) != HASH_BYTES * size.bit_count():
        raise LedgerProblem("its size and its tree differ")
    hashes = tuple(peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES))
    frontier = Frontier(size, hashes)
    stated = Checkpoint(origin, size, frontier.root).text
    if note.rpartition("\n\n")[0] + "\n" != stated:
        raise LedgerProblem("its note states another size, root or ledger")
    return Head(frontier, note, key_id, generation, checkpoint_size, checkpoint_at)


def open_kept(
    note: str, keys: Iterable[PublicKey], *, kept: bool = True
) -> tuple[Checkpoint, PublicKey]:
    """Return what a note of the store states and who signed it; LedgerProblem if nobody did.

    Nothing but that signature stands in it. ``kept`` says whether it is a kept checkpoint or the
    head, neither of which can stand for the other.
    """
    if note.count("\n") != NOTE_LINES + kept:
        raise LedgerProblem("its note is not one checkpoint with one signature")
    checkpoint, key = open_checkpoint(note, keys)
    if checkpoint.kept != kept:
        raise LedgerProblem("its note is not what stands there")
    return checkpoint, key


def check_head(head: Head, keys: Sequence[PublicKey]) -> None:
    """Raise LedgerProblem unless the newest of the ledger's ``keys`` signed ``head``."""
    _, key = open_kept(head.note, keys, kept=False)
    if key != keys[-1]:
        raise LedgerProblem("it is signed by a key that was replaced")
    if (head.key_id, head.generation) != (key.key_id, len(keys) - 1):
        raise LedgerProblem("its columns name another key than the one that signed it")
    if head.checkpoint_size > head.size:
        raise LedgerProblem("it is older than its newest checkpoint")


def _row(entry: StoredEntry) -> tuple[StoreValue, ...]:
    return (
        entry.seq, entry.kind, entry.entry_id, entry.created_at, entry.leaf_hash, entry.body,
        entry.signature,
    )  # fmt: skip


def check_limits(checkpoint_entries: object, checkpoint_interval_s: object) -> None:
    """Raise InvalidQueryError unless checkpoints can be kept that often."""
    given = {
        "checkpoint_entries": (checkpoint_entries, int, 1),
        "checkpoint_interval_s": (checkpoint_interval_s, int | float, 0),
    }
    for name, (value, kind, least) in given.items():
        if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
            msg = f"{name} must be at least {least}, got {value!r}"
            raise InvalidQueryError(msg)


def _seq_of(entry: StoredEntry) -> int:
    return entry.seq if isinstance(entry.seq, int) else -1


def _place_of(row: tuple[StoreValue, ...]) -> int:
    return row[0] if isinstance(row[0], int) else -1


class Ledgers:
    """The ledgers of one lake, by tenant."""

    def __init__(
        self,
        lake_id: str,
        signers: Signers | None,
        *,
        checkpoint_entries: int = CHECKPOINT_ENTRIES,
        checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S,
        sources: Callable[[str], Sequence[EntrySource]] = lambda _tenant: (),
    ) -> None:
        self._sources = sources
        self.lake_id = lake_id
        self.signers = signers
        self._limits = (checkpoint_entries, checkpoint_interval_s)
        self._ledgers: dict[str, Ledger] = {}

    def of(self, tenant: str) -> Ledger:
        """Return a tenant's ledger."""
        ledger = self._ledgers.get(tenant)
        if ledger is None:
            origin = origin_of(self.lake_id, None if tenant == SHARED else tenant)
            made = Ledger(tenant, origin, self.signers, *self._limits, self._sources(tenant))
            ledger = self._ledgers.setdefault(tenant, made)
        return ledger

    def opened(self) -> Iterable[Ledger]:
        """Return the ledgers that were asked for."""
        return list(self._ledgers.values())
