"""What is checked of a ledger before anything is put in it, and who is told of its checkpoints."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from affidavit.catalog.ledger.witness import check_against, latest_note
from affidavit.catalog.model import clock
from affidavit.errors import AffidavitError, WitnessError

if TYPE_CHECKING:
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.ledger.ledgers import Ledgers
    from affidavit.catalog.ledger.witness import Witness
    from affidavit.catalog.store.protocol import Store


class Guard:
    """The ledgers of a lake that a session has opened.

    Args:
        store: The lake's store.
        ledgers: Its ledgers.
        witness: Where checkpoints are sent, if anywhere.
    """

    def __init__(self, store: Store, ledgers: Ledgers, witness: Witness | None) -> None:
        self._store = store
        self._ledgers = ledgers
        self._witness = witness
        self._sent: dict[str, int] = {}
        self._lock = threading.Lock()

    def open(self, tenant: str) -> None:
        """Check a tenant's ledger, once, against the master key and the witness.

        Raises:
            MasterKeyError: The master key is not the one that the ledger is signed with.
            LedgerCorruptError: The ledger is older than its witness, or another.
        """
        if tenant in self._sent:
            return
        ledger = self._ledgers.of(tenant)
        with self._store.read(tenant) as reader:
            if ledger.signers is not None:
                ledger.check_key(reader)
            head = ledger.head(reader)
            sent = 0 if head is None else head.checkpoint_size
            note = latest_note(self._witness, ledger.origin)
            if note is not None:
                sent = check_against(reader, ledger, note).size
            elif hasattr(self._witness, "latest"):
                sent = 0
        with self._lock:
            self._sent.setdefault(tenant, sent)

    def send(self) -> None:
        """Send the witness every checkpoint that it does not have yet.

        Raises:
            WitnessError: It could not keep one.
        """
        if self._witness is None:
            return
        with self._lock:
            for tenant in list(self._sent):
                self._send(self._ledgers.of(tenant), self._witness)

    def _send(self, ledger: Ledger, witness: Witness) -> None:
        with self._store.read(ledger.tenant) as reader:
            waiting = ledger.checkpoints(reader, after_size=self._sent[ledger.tenant])
        for size, note in waiting:
            try:
                witness(note)
            except AffidavitError:
                raise
            except Exception as error:
                msg = f"the witness did not keep the checkpoint at size {size}: {error}"
                raise WitnessError(msg) from error
            self._sent[ledger.tenant] = size

    def keep_checkpoints(self, *, now: bool = False) -> bool:
        """Keep a checkpoint of each ledger where one is due, and send what is new.

        Returns:
            Whether some ledger will be due later.
        """
        if self._store.is_closed_to_writers:
            return False
        waiting = False
        for tenant in list(self._sent):
            waiting = self._keep(self._ledgers.of(tenant), now=now) or waiting
        self.send()
        return waiting

    def _keep(self, ledger: Ledger, *, now: bool) -> bool:
        with self._store.read(ledger.tenant) as reader:
            head = ledger.head(reader)
        if head is None or head.checkpoint_size == head.size:
            return False
        at_us = clock.now_us()
        if not now and not ledger.is_due(head.checkpoint_at, at_us):
            return True
        with self._store.write(ledger.tenant, record=True) as writer:
            ledger.keep_checkpoint(writer, now_us=at_us)
        return False
