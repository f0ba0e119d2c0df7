"""``session.ledger``: checkpoints, proofs, verification and keys of one tenant's ledger."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.checking.data import Asked
from affidavit.catalog.checking.verifying import Wanted, data_verified, verified
from affidavit.catalog.ledger.bundle import export_bundle
from affidavit.catalog.ledger.keys import KeyRing
from affidavit.catalog.ledger.verifier import LedgerProblem, PublicKey
from affidavit.catalog.ledger.witness import as_witness, latest_note
from affidavit.catalog.model import clock
from affidavit.catalog.values.python.arguments import (
    checked_choice,
    checked_number,
    checked_switch,
    checked_text_or_none,
)
from affidavit.engine.session.arguments import split_name
from affidavit.errors import (
    InvalidQueryError,
    LedgerCorruptError,
    RecordNotFoundError,
    TransactionError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.keys import KeyStore
    from affidavit.catalog.ledger.verification.findings import Verification
    from affidavit.catalog.ledger.witness import Witness
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.session.instance import Instance


VERIFICATIONS_MAX: Final = 3
"""How often a ledger is checked whose segments are replaced meanwhile."""


def _check_asked(data: object, since: object, progress: object) -> None:
    checked_choice(data, "data")
    checked_choice(progress, "progress")
    if since is not None and (isinstance(since, bool) or not isinstance(since, int) or since < 0):
        msg = f"since must be a size that the ledger had, got {since!r}"
        raise InvalidQueryError(msg)


class LedgerHandle:
    """The ledger of one tenant: every search record and journal entry, in one Merkle tree."""

    def __init__(self, catalog: Catalog, held: Instance, reach: Reach) -> None:
        self._catalog = catalog
        self._ledger = catalog.ledger
        self._guard = held.guard
        self._witness = held.witness
        self._reach = reach

    def __repr__(self) -> str:
        return f"Ledger({self.origin!r}, {self.size:,} entries)"

    def __len__(self) -> int:
        return self.size

    @property
    def origin(self) -> str:
        """What the ledger is called in its checkpoints and keys."""
        return self._ledger.origin

    @property
    def size(self) -> int:
        """How many entries there are, numbered from 0 on."""
        with self._catalog.read() as reader:
            last = self._ledger.last_seq(reader)
        return 0 if last is None else last + 1

    @property
    def public_key(self) -> str:
        """The key that verifies the newest entries, as C2SP signed-note writes it: give it away.

        Raises:
            RecordNotFoundError: The ledger is empty and the session may not write: no key yet.
        """
        with self._catalog.read() as reader:
            keys = self._keys(reader)
        if keys:
            return str(keys[-1])
        if self._ledger.signers is None:
            msg = "the ledger is empty, and has no public key yet"
            raise RecordNotFoundError(msg)
        return str(self._ledger.signer(0).public_key)

    def _keys(self, reader: Reader) -> list[PublicKey]:
        try:
            return self._ledger.keys(reader)
        except LedgerProblem as problem:
            raise LedgerCorruptError(problem.problem, seq=problem.seq) from None

    # --- proofs --------------------------------------------------------------------------------

    def checkpoint(self) -> str | None:
        """Keep the newest head as a checkpoint, send it to the witness, and return the signed note.

        ``None`` while the ledger is empty.

        Raises:
            WitnessError: The witness could not keep it.
            LedgerCorruptError: The ledger is not what was signed before.
            TransactionError: A transaction is open here, whose entries may yet be rolled back.
        """
        self._refuse_transaction("a checkpoint states what is committed")
        self._guard.open(self._catalog.tenant)
        with self._catalog.write() as writer:
            note = self._ledger.keep_checkpoint(writer, now_us=clock.now_us())
        self._guard.send()
        return note

    def _refuse_transaction(self, why: str) -> None:
        if self._catalog.transactions.current() is not None:
            msg = f"{why}: COMMIT or ROLLBACK first"
            raise TransactionError(msg)

    def prove(self, seq: int) -> str:
        """Return the proof that entry ``seq`` stands in the newest head (C2SP tlog-proof).

        Raises:
            RecordNotFoundError: There is no such entry.
            TransactionError: A transaction is open here.
        """
        self._refuse_transaction("a proof is of what is committed")
        if isinstance(seq, bool) or not isinstance(seq, int):
            msg = f"seq must be an entry's number, got {seq!r}"
            raise InvalidQueryError(msg)
        with self._catalog.read() as reader:
            return self._ledger.prove(reader, seq)

    def export(
        self,
        path: str | os.PathLike[str],
        from_seq: int = 0,
        to_seq: int | None = None,
        *,
        values: bool = True,
        progress: bool | None = None,
    ) -> Path:
        """Write the entries ``from_seq`` to ``to_seq`` as a bundle that a stranger can verify.

        The bundle is a new folder with its own verifier: ``python verify.py BUNDLE``.

        Args:
            path: The folder.
            from_seq: The first entry.
            to_seq: The last one; by default the newest.
            values: Whether the bundle has what bodies commit to: statements, keys of rows, lineage,
                context. Without, a stranger checks as much and learns less.
            progress: Show a progress bar; by default where standard error is a terminal.

        Raises:
            RecordNotFoundError: There are no such entries.
            InvalidQueryError: ``path`` exists already, or cannot be written.
            PathNotAllowedError: This session may not write there.
            TransactionError: A transaction is open here.
        """
        self._refuse_transaction("a bundle holds what is committed")
        checked_number(from_seq, "from_seq")
        if to_seq is not None:
            checked_number(to_seq, "to_seq")
        checked_switch(values, "values")
        checked_choice(progress, "progress")
        if not isinstance(path, str | os.PathLike):
            msg = f"path must be where the bundle's folder is to be, got {path!r}"
            raise InvalidQueryError(msg)
        self._reach.path(os.fspath(path))
        with self._catalog.read() as reader:
            return export_bundle(
                reader, self._ledger, path, from_seq, to_seq, values=values, progress=progress
            )

    # --- verification --------------------------------------------------------------------------

    def verify(
        self,
        *,
        signatures: bool = True,
        data: bool | None = None,
        since: int | None = None,
        public_key: str | None = None,
        witness: str | os.PathLike[str] | Witness | None = None,
        progress: bool | None = None,
    ) -> Verification:
        """Check the whole ledger, and the data against it; true if nothing is wrong.

        Before anything is read, the store's own structure is checked, and that each index says
        what its table does.

        Args:
            signatures: Check each record's own signature too; without, the tree and the signed
                heads and checkpoints are checked, which takes a fraction of the time.
            data: ``True`` checks rows, definitions, topics, and every byte of the files of vector
                tables; ``None`` only looks for the files; ``False`` leaves the data out.
            since: Trust what there was when the ledger had so many entries, and check what came or
                changed since; what is trusted is listed.
            public_key: A key that must be one of the ledger's; by default the one that the
                session's master key gives.
            witness: A second place for checkpoints to check against, which must know this ledger;
                by default the session's.
            progress: Show a progress bar; by default where standard error is a terminal.

        Raises:
            InvalidQueryError: ``public_key`` is no key, or ``since`` no size of the ledger.
            MasterKeyError: The session's master key is no longer there to check against.
            WitnessError: The witness cannot be asked.
        """
        _check_asked(data, since, progress)
        checked_switch(signatures, "signatures")
        checked_text_or_none(public_key, "public_key")
        if isinstance(witness, str | os.PathLike):
            self._reach.folder(os.fspath(witness))  # the lake's own is one that is asked here
        seen = as_witness(witness) if witness is not None else self._witness
        note = latest_note(seen, self.origin)
        asked = Asked(reads_files=data is True, since=since, floor=self._catalog.floor)
        for _ in range(VERIFICATIONS_MAX):
            with self._catalog.read() as reader:
                wanted = Wanted(
                    signatures, self._trusted(reader, public_key), [] if note is None else [note],
                    None if data is False else asked, since, progress,
                )  # fmt: skip
                found = verified(self._catalog, reader, wanted)
                sealed = self._catalog.journal.sealed(reader)
            with self._catalog.read() as reader:
                if found or sealed == self._catalog.journal.sealed(reader):
                    break  # else a file may be missing that was replaced since the snapshot
        if found and found.entries and note is None and witness is not None:
            return replace(found, problem="the witness given has no checkpoint of this ledger")
        return found

    def verify_data(
        self, table: str | None = None, *, since: int | None = None, progress: bool | None = None
    ) -> Verification:
        """Check the data against the signed head, and not the ledger's entries; true if it agrees.

        Args:
            table: Check this table alone; by default all that the tenant sees.
            since: Trust what there was when the ledger had so many entries.
            progress: Show a progress bar; by default where standard error is a terminal.

        Raises:
            TableNotFoundError: There is no such table.
        """
        _check_asked(None, since, progress)
        with self._catalog.read() as reader:
            table_id = None
            if table is not None:
                schema, name = split_name(getattr(table, "name", table))
                table_id = self._catalog.get(reader, name, schema).table_id
            asked = Asked(since=since, table_id=table_id, floor=self._catalog.floor)
            return data_verified(self._catalog, reader, asked, progress=progress)

    def _trusted(self, reader: Reader, public_key: str | None) -> PublicKey | None:
        if public_key is not None:
            try:
                return PublicKey.parse(public_key)
            except LedgerProblem as problem:
                raise InvalidQueryError(problem.problem) from None
        if self._ledger.signers is None:
            return None
        try:
            head = self._ledger.head(reader)
        except LedgerCorruptError:
            return None  # the head is checked along with everything else
        return None if head is None else self._ledger.signer(head.generation).public_key

    # --- keys ----------------------------------------------------------------------------------

    def rotate_key(self, key_store: KeyStore | None = None) -> str:
        """Begin the next key and return it; what the old one signed verifies as before.

        Args:
            key_store: Where the next key's master key is, if it is another one. Connect with it
                from then on.
        """
        self._refuse_transaction("a key cannot be rotated in a transaction")
        self._guard.open(self._catalog.tenant)
        signers = None if key_store is None else KeyRing(key_store)
        with self._catalog.write() as writer:
            key = self._ledger.rotate(writer, clock.now_us(), signers)
        if signers is not None:
            self._ledger.adopt(signers)
        return str(key)
