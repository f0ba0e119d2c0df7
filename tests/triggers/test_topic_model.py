"""Stateful test: any sequence of calls of topics and consumers agrees with a plain model."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import affidavit
from affidavit import errors
from affidavit.catalog.topics import log as topic_log
from affidavit.catalog.topics.log import evict_old
from affidavit.triggers.subscriptions import consumer as consumer_module

SCHEMA = pa.schema([("id", pa.int64()), ("even", pa.bool_())])
ACK_WAIT_S = 10.0
DELIVERIES_MAX = 3
IN_FLIGHT_MAX = 5
NUMBERS = st.integers(0, 9)


@dataclass
class Held:
    """An event that was handed out and is not settled."""

    attempts: int
    due_s: float
    reason: str = ""
    delivery: affidavit.Delivery | None = None


@dataclass
class ConsumerModel:
    where: str | None
    next: int
    held: dict[int, Held] = field(default_factory=dict)
    letters: list[tuple[int, int, str]] = field(default_factory=list)

    def wants(self, ids: list[int]) -> bool:
        return self.where is None or any(n % 2 == 0 for n in ids)

    def copy(self) -> ConsumerModel:
        held = {n: Held(h.attempts, h.due_s, h.reason, h.delivery) for n, h in self.held.items()}
        return ConsumerModel(self.where, self.next, held, list(self.letters))


@dataclass
class LogModel:
    """Every event that there ever was, and the first of those that are kept."""

    events: list[tuple[float, list[int]]] = field(default_factory=list)
    gone: int = 0

    def copy(self) -> LogModel:
        return LogModel(list(self.events), self.gone)


class TopicModel(RuleBasedStateMachine):
    """A topic ``t`` with two consumers, through transactions, retention, reopening and time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now_s = 1_700_000_000.0
        self.patch = pytest.MonkeyPatch()
        for module in (topic_log, consumer_module):
            self.patch.setattr(module, "clock", self)
        self.patch.setattr(consumer_module, "monotonic", lambda: self.now_s)
        self.log = LogModel()
        self.consumers = {
            "all": ConsumerModel(None, 0), "even": ConsumerModel("even", 0),
        }  # fmt: skip
        self.before: tuple[LogModel, dict[str, ConsumerModel]] | None = None
        self.open()

    def now_us(self) -> int:
        return int(self.now_s * 1_000_000)

    def open(self) -> None:
        self.session = affidavit.connect(self.folder / "lake", durability="normal")
        self.topics = self.session.topics

    @initialize(events=st.sampled_from([None, 3, 8]), age_s=st.sampled_from([None, 60]))
    def register(self, events: int | None, age_s: int | None) -> None:
        self.retain_events, self.retain_s = events, age_s
        self.topics.register("t", SCHEMA, retain_events=events, retain_for=age_s)
        self.subscribe()
        self.publish([[n] for n in range(6)])

    def subscribe(self) -> None:
        self.workers = {
            name: self.topics.subscribe(
                "t", consumer=name, where=model.where, ack_wait=ACK_WAIT_S,
                max_deliveries=DELIVERIES_MAX, max_in_flight=IN_FLIGHT_MAX,
            )
            for name, model in self.consumers.items()
        }  # fmt: skip

    # --- what is kept ---

    @property
    def first(self) -> int:
        young = (
            n for n, (at_s, _) in enumerate(self.log.events)
            if self.retain_s is None or at_s >= self.now_s - self.retain_s
        )  # fmt: skip
        return max(self.log.gone, next(young, len(self.log.events)))

    @rule(events=st.lists(st.lists(NUMBERS, min_size=1, max_size=3), min_size=1, max_size=4))
    def publish(self, events: list[list[int]]) -> None:
        for ids in events:
            self.publish_one(ids)

    def publish_one(self, ids: list[int]) -> None:
        offset = self.topics.publish("t", [{"id": n, "even": n % 2 == 0} for n in ids])
        assert offset == len(self.log.events)
        self.log.events.append((self.now_s, ids))
        if self.retain_events is not None:
            self.log.gone = max(self.log.gone, len(self.log.events) - self.retain_events)

    @rule(data=st.sampled_from([[], [{"id": "x"}], {"nope": 1}]))
    def publish_what_is_refused(self, data: object) -> None:
        with pytest.raises(errors.AffidavitError):
            self.topics.publish("t", data)

    @rule(seconds=st.sampled_from([4, 11, 61]))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.before is None)
    @rule()
    def delete_the_old(self) -> None:
        evict_old(self.session._instance.lake.store)

    # --- transactions and reopening ---

    @precondition(lambda self: self.before is None)
    @rule()
    def begin(self) -> None:
        self.session.sql("BEGIN")
        self.before = self.log.copy(), {name: each.copy() for name, each in self.consumers.items()}

    @precondition(lambda self: self.before is not None)
    @rule()
    def commit(self) -> None:
        self.session.sql("COMMIT")
        self.before = None

    @precondition(lambda self: self.before is not None)
    @rule()
    def roll_back(self) -> None:
        self.session.sql("ROLLBACK")
        assert self.before is not None
        self.log, self.consumers = self.before
        self.before = None

    @precondition(lambda self: self.before is None)
    @rule()
    def reopen(self) -> None:
        self.session.close()
        for model in self.consumers.values():
            for held in model.held.values():
                held.delivery = None  # it was the other session's
        self.open()
        self.subscribe()

    # --- consumers ---

    def committed(self) -> int:
        return len(self.log.events if self.before is None else self.before[0].events)

    def expected(self, model: ConsumerModel) -> int | None:
        """Let the model look for the next event, as a worker that holds nothing does."""
        due = [n for n in sorted(model.held) if model.held[n].due_s <= self.now_s]
        for offset in due:
            held = model.held[offset]
            if offset < self.first:
                del model.held[offset]
            elif held.attempts >= DELIVERIES_MAX:
                model.letters.append(
                    (offset, held.attempts, held.reason or "it was not acknowledged in time")
                )
                del model.held[offset]
            else:
                return offset
        while model.next < self.committed() and len(model.held) < IN_FLIGHT_MAX:
            if model.next < self.first:
                raise errors.OffsetEvictedError("t", model.next, first_offset=self.first)
            model.next += 1
            if model.wants(self.log.events[model.next - 1][1]):
                return model.next - 1
        return None

    @rule(
        name=st.sampled_from(["all", "even"]),
        many=st.integers(1, 4),
        wait_s=st.sampled_from([0.5, 0.5, 4, 11]),
        how=st.sampled_from(["", "ack", "nak", "later", "term", "term"]),
    )
    def take(self, name: str, many: int, wait_s: float, how: str) -> None:
        """Take events one after another, each after a while, and settle the last one."""
        for _ in range(many):
            self.now_s += wait_s  # a slow worker holds nothing that it does not hand out
            self.take_one(name)
        self.settle(name, -1, how)

    def take_one(self, name: str) -> None:
        model = self.consumers[name]
        try:
            offset = self.expected(model)
        except errors.OffsetEvictedError as evicted:
            with pytest.raises(errors.OffsetEvictedError) as told:
                self.workers[name].next(0)
            assert told.value.first_offset == evicted.first_offset
            self.topics.seek("t", name, "beginning")
            model.held.clear()
            model.next = self.first
            return
        delivery = self.workers[name].next(0)
        assert (None if delivery is None else delivery.offset) == offset
        if delivery is not None:
            attempts = model.held[offset].attempts + 1 if offset in model.held else 1
            assert delivery.attempts == attempts
            model.held[offset] = Held(attempts, self.now_s + ACK_WAIT_S, "", delivery)
            wanted = [n for n in self.log.events[offset][1] if name == "all" or n % 2 == 0]
            assert delivery.data["id"].to_pylist() == wanted

    @rule(
        name=st.sampled_from(["all", "even"]),
        at=st.integers(0, IN_FLIGHT_MAX - 1),
        how=st.sampled_from(["ack", "nak", "later", "term"]),
    )
    def settle(self, name: str, at: int, how: str) -> None:
        model = self.consumers[name]
        mine = [(n, held) for n, held in sorted(model.held.items()) if held.delivery is not None]
        if not mine or not how:
            return
        offset, held = mine[at % len(mine)]
        match how:
            case "ack":
                held.delivery.ack()
                del model.held[offset]
            case "term":
                held.delivery.term("no use")
                if offset >= self.first:
                    model.letters.append((offset, held.attempts, "no use"))
                del model.held[offset]
            case "nak" | "later":
                delay = 0 if how == "nak" else 20
                held.delivery.nak(delay, how)
                model.held[offset] = Held(held.attempts, self.now_s + delay, how)

    @rule(name=st.sampled_from(["all", "even"]), back=NUMBERS)
    def seek(self, name: str, back: int) -> None:
        end = len(self.log.events)
        offset = max(0, end - back)
        if offset < self.first:
            with pytest.raises(errors.OffsetEvictedError) as told:
                self.topics.seek("t", name, offset)
            assert told.value.first_offset == self.first
            return
        self.topics.seek("t", name, offset)
        self.consumers[name].next = offset
        self.consumers[name].held.clear()

    # --- what must hold ---

    @invariant()
    def the_log_is_what_was_published_and_is_kept(self) -> None:
        if not hasattr(self, "workers"):
            return
        kept = list(enumerate(self.log.events))[self.first :]
        found = [
            (d.offset, d.data["id"].to_pylist())
            for d in self.topics.replay("t", from_offset="beginning")
        ]
        assert found == [(n, ids) for n, (_, ids) in kept]

    @rule()
    def read_in_sql(self) -> None:
        kept = list(enumerate(self.log.events))[self.first :]
        rows = self.session.sql(
            'SELECT _offset, _row_index, id FROM topics."t" ORDER BY 1, 2'
        ).to_pylist()
        assert [tuple(row.values()) for row in rows] == [
            (n, at, value) for n, (_, ids) in kept for at, value in enumerate(ids)
        ]

    @invariant()
    def the_consumers_are_where_they_should_be(self) -> None:
        if not hasattr(self, "workers"):
            return
        query = "SELECT name, position, unsettled, lag FROM system.consumers ORDER BY name"
        end = len(self.log.events)
        for row, (name, model) in zip(
            self.session.sql(query), sorted(self.consumers.items()), strict=True
        ):
            ahead = max(0, end - max(model.next, self.first))
            assert row == {
                "name": name, "position": min([*model.held, model.next]),
                "unsettled": len(model.held), "lag": ahead + len(model.held),
            }  # fmt: skip
            known = {topic.name for topic in self.topics.list()}
            letters = self.topics.replay(f"dead.t.{name}") if f"dead.t.{name}" in known else ()
            told = ("dead_offset", "dead_attempts", "dead_reason")
            assert [
                tuple(d.data[each][0].as_py() for each in told) for d in letters
            ] == model.letters

    def teardown(self) -> None:
        if self.before is not None:
            self.session.sql("ROLLBACK")
            self.log, self.consumers = self.before
        if hasattr(self, "workers"):
            self.read_in_sql()
        assert self.session.ledger.verify()
        self.session.close()
        self.patch.undo()
        shutil.rmtree(self.folder, ignore_errors=True)


TestTopicModel = pytest.mark.fuzz(TopicModel.TestCase)
TestTopicModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
