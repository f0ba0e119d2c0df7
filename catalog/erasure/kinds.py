"""What has a retention, and how what is older than it is let go of: a row a kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow.compute as pc

from affidavit.catalog.erasure.holds import may_tell_of, names_of_held, refuse_newer
from affidavit.catalog.erasure.statements import let_go_of_rows
from affidavit.catalog.journal.records.form import entries_of
from affidavit.catalog.ledger.entry import RETENTION
from affidavit.catalog.model import clock
from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.model.holds import Hold, holds, refuse_held
from affidavit.catalog.tables.copies.files import forget_outdated
from affidavit.catalog.tables.upkeep.letting_go import ago, let_go_of_versions
from affidavit.catalog.tables.vector_rows import locked
from affidavit.catalog.topics.log import (
    decode_event,
    end_offset,
    evict_before,
    first_offset,
    offset_at,
    read_log,
)
from affidavit.catalog.topics.topic import all_topics
from affidavit.catalog.values.canonical import from_us
from affidavit.errors import HoldError, InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.topics.topic import Topic

DEAD_LETTERS: Final = "dead_letters_of"


@dataclass(frozen=True, slots=True)
class Due:
    """What is due to be let go of.

    Attributes:
        catalog: Whose it is.
        before_us: What is older than this, in microseconds since the epoch.
        keep: For how long it is kept, as it was said.
        reason: Why, as it was said.
        name: Of which one, where there are several; ``None`` for all but those ``apart``.
        apart: Those that have a retention of their own.
    """

    catalog: Catalog
    before_us: int
    keep: str
    reason: str
    name: str | None = None
    apart: frozenset[str] = frozenset()

    def is_of(self, name: str) -> bool:
        """Return whether one of several is meant."""
        return name not in self.apart if self.name is None else name == self.name

    def held(self) -> list[Hold]:
        """Return what is held just now; :func:`refuse_newer` in the transaction that lets go."""
        with self.catalog.read() as reader:
            return holds(reader)

    def note(self, writer: Writer, what: str, **fields: object) -> None:
        """Say in the ledger what was let go of."""
        self.catalog.ledger.note(
            writer, RETENTION, self.catalog.identity, reason=self.reason, what=what,
            kept=self.keep, before=from_us(self.before_us), **fields,
        )  # fmt: skip


LetGo: TypeAlias = tuple[int, list[str]]
"""How much went, and what stays since it is held."""


# --- each kind ------------------------------------------------------------------------------------


def _journal(due: Due) -> LetGo:
    """Let go of whole sealed segments that have no event of what is held."""
    journal = due.catalog.journal
    kept: list[str] = []
    held = due.held()

    def note(writer: Writer, segments: Sequence[Segment]) -> None:
        refuse_newer(writer, held)
        forget_outdated(due.catalog, writer)
        due.note(writer, "journal", **_told(segments))

    journal.sealing.flush()
    is_held = held_segments(due.catalog, held, kept)
    gone = journal.erasing.retain(due.before_us, 0, note, is_held=is_held)
    return sum(each.events for each in gone), kept


def held_segments(
    catalog: Catalog, held: Sequence[Hold], kept: list[str]
) -> Callable[[Segment], bool]:
    """Return what says whether a segment of events has one of a row that is held.

    Those are noted in ``kept``.
    """
    files = catalog.journal.kept.files
    wanted = [
        (pc.field("table_id") == each.table_id)
        & (pc.scalar(True) if each.row_id is None else pc.field("entity_id") == each.row_id)
        for each in held
    ]

    def is_held(segment: Segment) -> bool:
        if not wanted:
            return False
        if any(part.num_rows for part in files.scan(segment, ["seq"], reduce(or_, wanted))):
            kept.append(f"events {segment.first_seq} to {segment.last_seq}")
            return True
        return False

    return is_held


def _records(due: Due, what: str, kinds: tuple[str, ...]) -> LetGo:
    """Let go of all that old records commit to; their bodies stay, and prove that they were."""
    holding = due.held()
    held: list[str] = []

    def change(entry: StoredEntry) -> bytes | None:
        is_due = entry.kind in kinds and entry.created_at < due.before_us
        if not is_due or entry.opened is None:
            return entry.opened
        if may_tell_of(entry, holding):
            held.append(f"record {entry.seq}")
            return entry.opened
        return None

    def note(writer: Writer, seqs: Sequence[int]) -> None:
        refuse_newer(writer, holding)
        due.note(writer, what, kinds=list(kinds), last=max(seqs), entries=len(seqs))

    return due.catalog.journal.records.erasing.rewrite(change, note), held


def _searches(due: Due) -> LetGo:
    return _records(due, "searches", ("search",))


def _reads(due: Due) -> LetGo:
    return _records(due, "reads", ("read", "read-closed"))


def _whole_records(due: Due) -> LetGo:
    """Let go of whole sealed segments of records, but for those with one that gave a held row."""
    records = due.catalog.journal.records
    holding = due.held()
    held: list[str] = []

    def is_held(segment: Segment) -> bool:
        parts = records.kept.files.whole(segment) if holding else iter(())
        if any(may_tell_of(entry, holding) for part in parts for entry in entries_of(part)):
            held.append(f"records {segment.first_seq} to {segment.last_seq}")
            return True
        return False

    def note(writer: Writer, segments: Sequence[Segment]) -> None:
        refuse_newer(writer, holding)
        due.note(writer, "records", of="records", **_told(segments))

    records.sealing.flush()
    gone = records.erasing.retain(due.before_us, 0, note, is_held=is_held)
    return sum(each.events for each in gone), held


def _told(segments: Sequence[Segment]) -> dict[str, object]:
    """Return what the ledger says of segments that were let go."""
    return {
        "ranges": [[each.first_seq, each.last_seq] for each in segments],
        "roots": [each.root.hex() for each in segments],
        "events": sum(each.events for each in segments),
    }


def _statements(due: Due) -> LetGo:
    """Drop the oldest rows of the log, up to the first that names a table with held rows."""
    with due.catalog.write() as writer:
        held = names_of_held(due.catalog, writer).keys()
        gone = let_go_of_rows(writer, due.catalog.ledger, due.before_us, held)
        if gone.rows:
            due.note(writer, "statements", log=gone.told())
    return gone.rows, [f"statements from {gone.held} on"] if gone.held else []


def _topics(due: Due) -> LetGo:
    return _events(due, "topics", lambda topic: DEAD_LETTERS not in topic.metadata)


def _dead_letters(due: Due) -> LetGo:
    return _events(due, "dead_letters", lambda topic: DEAD_LETTERS in topic.metadata)


def _events(due: Due, what: str, is_meant: Callable[[Topic], bool]) -> LetGo:
    """Let go of old events, but for the newest of each topic, whose place is kept."""
    held, counts = [], {}
    with due.catalog.write() as writer:
        names = names_of_held(due.catalog, writer)
        for topic in all_topics(writer):
            is_named = due.is_of(topic.name)
            if topic.tenant != due.catalog.tenant or not is_named or not is_meant(topic):
                continue
            first = first_offset(writer, topic)
            until = min(offset_at(writer, topic, due.before_us), end_offset(writer, topic) - 1)
            hold = _told_of_held(writer, topic, first, until, names)
            if hold is not None:
                held.append(f"topic {topic.name!r} ({hold})")
            elif until > first:
                evict_before(writer, topic, until)
                counts[topic.name] = until - first
        if counts:
            due.note(writer, what, topics=counts)
    return sum(counts.values()), held


def _told_of_held(
    reader: Reader, topic: Topic, first: int, until: int, names: dict[str, Hold]
) -> Hold | None:
    """Return the hold on a table that one of a topic's events tells of, from one to another."""
    if not names or "table_name" not in topic.schema.names:
        return None
    while first < until:
        events = read_log(reader, topic, first)
        for event in events:
            told = decode_event(topic.schema, event.data).column("table_name").to_pylist()
            for name in told if event.offset < until else ():
                if name in names:
                    return names[name]
        if not events:
            break
        first = events[-1].offset + 1
    return None


def _versions(due: Due) -> LetGo:
    """Delete old versions of vector tables of which no row is held; tagged ones stay."""
    catalog, held, count = due.catalog, [], 0
    with catalog.read() as reader:
        infos = [
            info
            for info in catalog.tables(reader)
            if KINDS[info.kind].has_versions and info.tenant == catalog.tenant
        ]
    for info in infos:
        if due.is_of(info.name):
            try:
                count += _cleaned(due, info)
            except HoldError as error:
                held.append(f"versions of {info.name!r} ({error})")
    return count, held


def _cleaned(due: Due, info: TableInfo) -> int:
    age = timedelta(microseconds=max(clock.now_us() - due.before_us, 0))
    with locked(due.catalog, info, "deleting old versions") as (now, dataset):
        with due.catalog.read() as reader:
            refuse_held(reader, info.table_id)
        gone = let_go_of_versions(due.catalog, now, dataset, ago(age))
        if gone:
            with due.catalog.write() as writer:
                told = {"table_id": info.table_id, "table": info.name, "versions": gone}
                due.note(writer, "versions", versions=[told])
    return len(gone)


KINDS_KEPT: Final[Mapping[str, Callable[[Due], LetGo]]] = {
    "journal": _journal,
    "searches": _searches,
    "reads": _reads,
    "records": _whole_records,
    "statements": _statements,
    "topics": _topics,
    "dead_letters": _dead_letters,
    "versions": _versions,
}
"""What has a retention; of topics and versions also a single one, after a dot."""

OTHER_NAMES: Final = {"dead letters": "dead_letters", "table versions": "versions"}
OF_ONE: Final = frozenset({"topics", "dead_letters", "versions"})


def kind_of(what: object) -> str:
    """Return what has a retention, as it is kept.

    Raises:
        InvalidQueryError: Nothing of that name has.
    """
    if isinstance(what, str):
        name = OTHER_NAMES.get(what, what)
        kind, dot, one = name.partition(".")
        if kind in KINDS_KEPT and (not dot or (kind in OF_ONE and one)):
            return name
    msg = (
        f"what must be one of {', '.join(KINDS_KEPT)}, or one topic or table, as in "
        f"'topics.orders', got {what!r}"
    )
    raise InvalidQueryError(msg)
