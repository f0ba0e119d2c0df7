"""An open lake, and opening it.

Rules:
    - Opening is idempotent: an open that was killed half-way is finished by the next.
    - A lake is put together of finished parts: nothing is added to it afterwards, and no part of
      it knows the lake.
    - Where the segments lie is settled once, before the first is sealed.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.journal.evidence import EventEntries
from affidavit.catalog.journal.journal import Journals
from affidavit.catalog.journal.kept import Archive
from affidavit.catalog.journal.records.entries import RecordEntries
from affidavit.catalog.journal.segments.places import SegmentStore, parse_place, place_of
from affidavit.catalog.lake.cache import BUDGET_BYTES, TableCache
from affidavit.catalog.lake.covered import covered_tables
from affidavit.catalog.lake.elsewhere.said import Claim, refuse_local_keys, store_of
from affidavit.catalog.lake.folders import Folders
from affidavit.catalog.lake.memory import Memory, limit_of
from affidavit.catalog.lake.numbers import Numbers
from affidavit.catalog.lake.queries import Queries
from affidavit.catalog.lake.vectors.dataset_files import SignedFiles
from affidavit.catalog.lake.vectors.datasets import Datasets
from affidavit.catalog.lake.vectors.made import MetIndexes
from affidavit.catalog.lake.vectors.writes import SmallWrites
from affidavit.catalog.ledger.keys import open_keys
from affidavit.catalog.ledger.ledgers import Ledgers, check_limits
from affidavit.catalog.ledger.signing.heads import CHECKPOINT_ENTRIES, CHECKPOINT_INTERVAL_S
from affidavit.catalog.model import clock
from affidavit.catalog.model.listeners import Listeners
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.store.covering.store import CoveredStore
from affidavit.catalog.store.identity import lake_id
from affidavit.catalog.store.protocol import StoreOptions, check_durability
from affidavit.catalog.store.registry import check_store, open_store
from affidavit.catalog.store.tables import LEDGER_SEGMENTS, PLACES, SEGMENTS
from affidavit.catalog.topics.news import News
from affidavit.catalog.values.durations import is_seconds
from affidavit.catalog.values.python.arguments import checked_switch
from affidavit.errors import LakeError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from affidavit.catalog.journal.segments.places import Place
    from affidavit.catalog.lake.outbox import Outbox
    from affidavit.catalog.ledger.keys import KeyStore, Signers
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.model.change import ChangeListener
    from affidavit.catalog.model.embedder import Embedder
    from affidavit.catalog.model.expressions import Expressions
    from affidavit.catalog.store.protocol import Store, Writer

BUSY_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class LakeOptions:
    """How a lake is opened.

    Attributes:
        store: The URL of its store; ``None`` for SQLite in its folder.
        durability: ``"full"`` or ``"normal"``; see
            :class:`~affidavit.catalog.store.protocol.StoreOptions`.
        busy_timeout_s: How long a writer waits for other writers.
        cache_bytes: The memory budget for copies of unchanged tables.
        read_only: Refuse to write, and never create.
        memory_limit: How much its statements may hold, in bytes or as text; ``None`` for any.
        spill_to: The folder below which plans go on that would hold more.
        journal: Whether the journal of a tenant that has none yet is begun.
        journal_url: Where sealed segments lie; ``None`` for where the lake says.
        checkpoint_entries: Keep a checkpoint of a ledger at least every so many entries.
        checkpoint_interval_s: And at least every so many seconds.
    """

    store: str | None = field(default=None, repr=False)  # it may have a password
    durability: str = "full"
    busy_timeout_s: float = BUSY_TIMEOUT_S
    cache_bytes: int = BUDGET_BYTES
    read_only: bool = False
    memory_limit: int | str | None = None
    spill_to: str | os.PathLike[str] | None = None
    journal: bool = False
    journal_url: str | None = None
    checkpoint_entries: int = CHECKPOINT_ENTRIES
    checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S

    def __post_init__(self) -> None:
        check_store(self.store)
        checked_switch(self.read_only, "read_only")
        checked_switch(self.journal, "journal")
        if not is_seconds(self.busy_timeout_s):
            msg = (
                "busy_timeout_s must be a number of seconds, at least 0 and at most 1,000,000,000, "
                f"got {self.busy_timeout_s!r}"
            )
            raise LakeError(msg)
        check_limits(self.checkpoint_entries, self.checkpoint_interval_s)
        check_durability(self.durability)
        limit_of(self.memory_limit, self.spill_to)
        if isinstance(self.cache_bytes, bool) or not isinstance(self.cache_bytes, int):
            raise LakeError(f"cache_bytes must be a whole number, got {self.cache_bytes!r}")


@dataclass(frozen=True, eq=False)
class Lake:
    """An open lake: its parts, and who listens to changes.

    Attributes:
        folders: Where everything lies.
        read_only: Whether it refuses to write.
        store: Definitions, mutable tables, and what must be answered for.
        lake_id: Who it is.
        numbers: Where the numbers of rows and sequences come from.
        cache: Arrow copies of unchanged tables.
        datasets: Handles on its vector tables.
        places: Where sealed segments of the journal lie.
        ledgers: The ledgers, by tenant.
        journals: The journals, by tenant.
        listeners: Who is told of every change while it can still be stopped.
        news: Who is told of new events of topics.
        outbox: What has triggers; ``None`` where nothing is changed.
        expressions: What evaluates those of tables; ``None`` where nothing is changed.
        models: What makes vectors of texts; likewise.
        queries: What runs on it in this process.
        memory: How much that may hold.
        writes: The small writes of its vector tables, which are put together in the background.
        indexes: The indexes of its vector tables, as far as searches have met them.
    """

    folders: Folders
    read_only: bool
    store: Store
    lake_id: str
    cache: TableCache
    datasets: Datasets
    places: SegmentStore
    ledgers: Ledgers
    journals: Journals
    numbers: Numbers
    listeners: Listeners[ChangeListener] = field(default_factory=lambda: Listeners("on_change"))
    news: News = field(default_factory=News)
    outbox: Outbox | None = None
    expressions: Expressions | None = None
    models: Embedder | None = None
    queries: Queries = field(default_factory=Queries)
    memory: Memory = field(default_factory=Memory)
    writes: SmallWrites = field(default_factory=SmallWrites)
    indexes: MetIndexes = field(default_factory=MetIndexes)

    @property
    def path(self) -> Path:
        """The lake's folder."""
        return self.folders.path

    def close(self) -> None:
        """Release the store, and what was spilled."""
        with ExitStack() as closing:  # each is done, whatever another raises
            closing.callback(self.memory.close)
            closing.callback(self.store.close)
            if not self.read_only:
                closing.callback(self.numbers.give_back)


def open_lake(
    path: str | os.PathLike[str],
    options: LakeOptions = LakeOptions(),
    *,
    keys: KeyStore | None = None,
    on_sealed: Callable[[], None] = lambda: None,
) -> Lake:
    """Open a lake, and create it if it is not there and may be written.

    Args:
        path: The lake's folder.
        options: How it is opened.
        keys: Where the master key is; without one, nothing can be signed.
        on_sealed: Called when there may be segments to merge, records to seal, or small writes to
            put together.

    Raises:
        LakeError: The path is a file, cannot be written, or is no lake; or its segments lie
            elsewhere than ``journal_url`` says; or ``spill_to`` cannot be written.
        StoreError: The place that ``journal_url`` names cannot be written.
        MasterKeyError: The master key is missing, or another lake's; or it lies in the folder of a
            lake whose store does not.
        LakeVersionError: A newer affidavit wrote it.
    """
    url = options.journal_url
    given = None if url is None else parse_place(url)
    folders = Folders(path)
    if options.read_only:
        folders.check_there()
    else:
        folders.make()
    store = _open_store(folders, options, keys)
    with ExitStack() as opened:
        opened.callback(store.close)
        memory = Memory(limit_of(options.memory_limit, options.spill_to), options.spill_to)
        opened.callback(memory.close)
        lake = _put_together(folders, store, options, given, keys, on_sealed)
        lake = replace(lake, memory=memory, indexes=MetIndexes(memory.limit))
        if not options.read_only:
            folders.remove_abandoned()
        opened.pop_all()
    return lake


def _open_store(folders: Folders, options: LakeOptions, keys: KeyStore | None) -> Store:
    """Open a lake's store, in its folder or elsewhere.

    Raises:
        LakeError: The folder and the store are not of one lake.
        MasterKeyError: The master key lies in the folder, and the store elsewhere.
    """
    read_only = options.read_only
    url = store_of(folders.path, options.store, read_only=read_only)
    how = StoreOptions(
        path=folders.catalog,
        locks=folders.locks,
        durability=options.durability,
        busy_timeout_s=options.busy_timeout_s,
        read_only=read_only,
    )
    if url is None:
        return open_store(None, how)
    refuse_local_keys(keys, folders.path, read_only=read_only)
    claim = Claim(folders.path, folders.catalog, read_only=read_only)
    said = claim.found
    if said is not None:
        how = replace(how, lake_id=said.lake_id, was_made=said.was_made)
    try:
        store = open_store(url, how)
    except BaseException:
        claim.withdraw()
        raise
    if not read_only:
        claim.confirm()
    return store


def _put_together(
    folders: Folders,
    opened: Store,
    options: LakeOptions,
    given: Place | None,
    keys: KeyStore | None,
    on_sealed: Callable[[], None],
) -> Lake:
    read_only = options.read_only
    store = CoveredStore(opened, lambda tenant, writer: _sign(ledgers.of(tenant), writer))
    with store.read(SHARED) as reader:
        identity = lake_id(reader)
    places = _settle(store, folders, identity, given, read_only=read_only)
    archive = Archive(store, places, places.of_records(folders.records))
    begins = options.journal and not read_only
    ledgers = Ledgers(
        identity,
        _keys(keys, store, read_only=read_only),
        checkpoint_entries=options.checkpoint_entries,
        checkpoint_interval_s=options.checkpoint_interval_s,
        keepers=lambda tenant: [EventEntries(archive.of(tenant))],
        covers=covered_tables if begins else None,
        sealed=lambda tenant: RecordEntries(archive.records_of(tenant)),
    )
    return Lake(
        folders=folders,
        read_only=read_only,
        store=store,
        lake_id=identity,
        cache=TableCache(options.cache_bytes, on_sealed),
        datasets=Datasets(folders, SignedFiles(store), read_only=read_only),
        places=places,
        ledgers=ledgers,
        numbers=Numbers(store),
        writes=SmallWrites(on_sealed),
        journals=Journals(archive, ledgers.of, begins=begins, on_sealed=on_sealed),
    )


def _keys(keys: KeyStore | None, store: Store, *, read_only: bool) -> Signers | None:
    """Return what signs; nothing where nothing can be signed, though a key may lie there."""
    if keys is None or store.is_closed_to_writers:
        return None
    return open_keys(keys, store, read_only=read_only)


def _sign(ledger: Ledger, writer: Writer) -> None:
    """Sign for what has moved in a transaction."""
    ledger.cover_moves(writer, now_us=clock.now_us())


def _settle(
    store: Store, folders: Folders, lake: str, given: Place | None, *, read_only: bool
) -> SegmentStore:
    """Return where the segments lie; a lake that has none yet takes the place that is given."""

    def checked(known: Place | None) -> SegmentStore:
        found = SegmentStore(folders.journal, lake, known or given)
        if given is None or known == given:
            return found
        if known is not None:
            msg = (
                f"the segments of this lake's journal lie at {known.url!r}, not at "
                f"{given.url!r}: leave journal_url out"
            )
            raise LakeError(msg)
        if read_only or store.tenants(SEGMENTS) or store.tenants(LEDGER_SEGMENTS):
            msg = (
                f"the segments of this lake's journal lie in {str(folders.journal)!r}, and cannot "
                f"be looked for at {given.url!r}: leave journal_url out"
            )
            raise LakeError(msg)
        return found

    with store.read(SHARED) as reader:
        known = place_of(reader)
    found = checked(known)
    if given is None or known is not None:
        return found
    found.check()
    with store.write(SHARED) as writer:
        known = place_of(writer)
        found = checked(known)  # another session may have been quicker
        if known is None:
            writer.insert(PLACES, ("url",), [(given.url,)])
    return found
