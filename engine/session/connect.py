"""``affidavit.connect``: a lake opened, and a session on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.lake.cache import BUDGET_BYTES
from affidavit.catalog.lake.lake import BUSY_TIMEOUT_S, LakeOptions
from affidavit.catalog.lake.place import lake_folder
from affidavit.catalog.ledger.keys import key_store_of
from affidavit.catalog.ledger.signing.heads import CHECKPOINT_ENTRIES, CHECKPOINT_INTERVAL_S
from affidavit.catalog.ledger.witness import as_witness
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.sources.reach import Reach
from affidavit.catalog.sql.names import DEFAULT_TENANT, check_tenant
from affidavit.catalog.store.transactions import IDLE_S
from affidavit.engine.audit.settings import AuditSettings
from affidavit.engine.session.instance import Instance
from affidavit.engine.session.options import Options, records_at
from affidavit.engine.session.session import Session

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from affidavit.catalog.ledger.keys import KeyStore
    from affidavit.catalog.ledger.witness import Witness
    from affidavit.triggers.brokers.protocol import Broker


def connect(
    path: str | os.PathLike[str] = "./lake",
    *,
    tenant: str | None = DEFAULT_TENANT,
    actor: str = "",
    source: str = "api",
    workspace: str = "",
    store: str | None = None,
    key_store: KeyStore | None = None,
    broker: Broker | str | None = None,
    read_only: bool = False,
    records: str | os.PathLike[str] | None = None,
    durability: str = "full",
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    cache_bytes: int = BUDGET_BYTES,
    memory_limit: int | str | None = None,
    spill_to: str | os.PathLike[str] | None = None,
    allowed_paths: Iterable[str | os.PathLike[str]] | None = None,
    allowed_urls: Iterable[str] | None = None,
    audit: str = "statements",
    store_queries: bool = False,
    audit_recall: float = 0.0,
    witness: str | os.PathLike[str] | Witness | None = None,
    checkpoint_entries: int = CHECKPOINT_ENTRIES,
    checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S,
    journal: bool = True,
    journal_url: str | None = None,
    transaction_idle_s: float = IDLE_S,
) -> Session:
    """Open a lake, creating it if it is not there, and return a session on it.

    Args:
        path: The lake's folder, or its ``file:///`` URL.
        tenant: Whose tables are seen and written; ``None`` for the shared scope.
        actor: Who acts, as changes and searches write it down.
        source: Through what, likewise.
        workspace: Where, likewise.
        store: ``"postgresql://..."`` for a lake of many hosts; ``None`` for SQLite in its folder.
        key_store: Where the master key is, a :class:`~affidavit.catalog.ledger.keys.KeyStore`; by
            default the environment's ``AFFIDAVIT_MASTER_KEY``, else a file that the lake makes.
        broker: What tells subscribers of new events: ``"memory"`` (the default) those in this
            process, ``"store"`` those in every process on this lake, ``"nats://host:port"``
            whoever listens there; or a :class:`~affidavit.triggers.brokers.protocol.Broker`. The
            log in the lake is what they read; without a broker they look at it once a second.
        read_only: Refuse every write but records of what is read, and never create.
        records: The folder of a lake that takes those records, where this one must not or cannot.
        durability: ``"full"`` keeps commits through power loss, ``"normal"`` through a crash.
        busy_timeout_s: How long a writer waits for other writers.
        cache_bytes: The memory budget for copies of unchanged tables.
        memory_limit: What the statements of all sessions may hold together while they run, in
            bytes or as ``"4GB"`` or ``"512MiB"``; by default as much as there is.
        spill_to: A folder below which sorts, groups and joins go on that would hold more.
        allowed_paths: Folders that SQL may read files from and write files to; by default all.
        allowed_urls: Servers and buckets that SQL may reach, ``scheme://host:port``; by default
            all, and none where ``allowed_paths`` is given.
        audit: What is on record, each with those before: ``"off"``, ``"searches"``,
            ``"statements"``, ``"reads"``, ``"rows"`` (with keys); a table's own may want more.
        store_queries: Whether records hold queries, and not only their SHA-256, and logs literals.
        audit_recall: Which share of the searches is run once more, exactly, to measure recall.
        witness: A second place for checkpoints: a file, or a function that is given each of them.
            A lake older than its witness is not opened.
        checkpoint_entries: Keep a checkpoint at least every so many entries of the ledger,
        checkpoint_interval_s: and at least every so many seconds.
        journal: Whether a tenant's journal is begun; one that was is kept by every session.
        journal_url: Where the journal's sealed segments are kept, for good: ``s3://bucket/prefix``
            or ``file:///folder``, without credentials; by default in the lake's folder.
        transaction_idle_s: How long a transaction that has changed something may do nothing.

    Raises:
        LakeError: The path is a file or a URL, has other things, cannot be written, or is no lake;
            or its segments lie elsewhere than ``journal_url`` says; or ``spill_to`` cannot be
            written.
        StoreError: ``journal_url`` is new to the lake, and cannot be reached or written.
        MasterKeyError: The master key is missing, malformed, or another lake's.
        LedgerCorruptError: The ledger is older than its witness.
        LakeVersionError: A newer affidavit wrote the lake.
        BrokerError: The broker cannot be reached.
        PathNotAllowedError: A folder of ``allowed_paths`` cannot be looked at.
        SourceError: A URL of ``allowed_urls`` does not say a scheme and a host.
        NoTenantError: ``tenant`` cannot name a tenant.
    """
    folder = lake_folder(path)
    identity = Identity(check_tenant(tenant)).narrowed(
        actor=actor, source=source, workspace=workspace
    )
    options = Options(
        audit=AuditSettings(audit, store_queries, audit_recall),
        keys=key_store_of(key_store, folder),
        lake=LakeOptions(
            store=store, durability=durability, busy_timeout_s=busy_timeout_s, read_only=read_only,
            cache_bytes=cache_bytes, memory_limit=memory_limit, spill_to=spill_to,
            journal=journal, journal_url=journal_url,
            checkpoint_entries=checkpoint_entries, checkpoint_interval_s=checkpoint_interval_s,
        ),
        records=records_at(records, key_store),
        witness=as_witness(witness), broker=broker, transaction_idle_s=transaction_idle_s,
    )  # fmt: skip
    reach = Reach.of(allowed_paths, allowed_urls)
    return Session(Instance(folder, options, identity), identity, reach)
