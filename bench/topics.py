"""Topics: publishing, replaying and live delivery, predicates, subscribers at once, triggers.

What is delivered to another process, and what is to take little memory, runs in a process of its
own: ``python -m bench.topics``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from array import array
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import monotonic_ns, perf_counter, sleep
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

import affidavit
from affidavit.triggers.predicates.predicate import compile_predicate
from bench import plain_sqlite
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.memory import PeakMemory
from bench.nats_peer import NatsDelivery
from bench.nats_server import nats_server
from bench.samples import EIGHT_COLUMNS, SEED, one_row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from affidavit.triggers.subscriptions.delivery import Delivery
    from affidavit.triggers.subscriptions.subscription import Subscription
    from bench.harness import Plan

SCHEMA: Final = pa.schema([("id", pa.int64()), ("score", pa.float64()), ("tag", pa.string())])
PREDICATE: Final = "score < 0.3 AND tag IN ('a', 'b')"
TAGS: Final = "abcdefgh"
FULL: Final = "sqlite3 inserts the same bytes, WAL, synchronous=FULL"
PAUSE_S: Final = 0.002
"""How long a publisher waits between the events whose way is timed."""

TIMEOUT_S: Final = 60.0
"""How long a subscriber waits for an event: none takes that long."""


def rows(count: int) -> pa.RecordBatch:
    """Return rows of :data:`SCHEMA`."""
    random = np.random.default_rng(SEED)
    columns = [
        np.arange(count),
        random.random(count),
        pa.array(list(TAGS)).take(pa.array(random.integers(0, len(TAGS), count))),
    ]
    return pa.RecordBatch.from_arrays([pa.array(each) for each in columns], schema=SCHEMA)


def singles(count: int) -> list[pa.RecordBatch]:
    """Return ``count`` batches of one row, each with its own memory only."""
    whole = rows(count)
    return [pa.RecordBatch.from_pylist([row], SCHEMA) for row in whole.to_pylist()]


def message(event: pa.RecordBatch) -> bytes:
    """Return an event's bytes, as the log has them."""
    data: bytes = event.serialize().to_pybytes()
    return data


# --- publishing -----------------------------------------------------------------------------------


def publish(plan: Plan) -> Iterator[Figure]:
    """Yield how many events a second are published, one a transaction and a thousand."""
    with (
        affidavit.connect(plan.folder / "lake") as session,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        session.topics.register("t", SCHEMA)
        insert = plain_sqlite.blobs(plain)
        yield _one_by_one(plan, session, plain, insert)
        yield from _thousand(plan, session, plain, insert)
        large = rows(10_000)
        data = message(large)
        times, baseline = take_turns(
            lambda _: session.topics.publish("t", large),
            lambda _: plain_sqlite.commit(plain, insert, (data,)),
            rounds=plan.size(50, least=10), warmup=2,
        )  # fmt: skip
        yield Figure(
            "publish of 10,000 rows p50", "ms", milliseconds(times), milliseconds(baseline), FULL,
            (Bound("measured", "at most", 50),),
        )  # fmt: skip


def _one_by_one(
    plan: Plan, session: affidavit.Session, plain: sqlite3.Connection, insert: str
) -> Figure:
    rounds, count = 7, plan.size(1000)
    dicts = rows(count).to_pylist()
    data = message(singles(1)[0])

    def publish_each(_: int) -> None:
        for row in dicts:
            session.topics.publish("t", row)

    def insert_each(_: int) -> None:
        for _each in range(count):
            plain_sqlite.commit(plain, insert, (data,))

    times, baseline = take_turns(publish_each, insert_each, rounds=rounds, warmup=1)
    return Figure(
        "publish of one row, a dict", "/s", per_second(count, times), per_second(count, baseline),
        FULL, (Bound("measured", "at least", 1500),), {"most_per_s": count / min(times)},
    )  # fmt: skip


def _thousand(
    plan: Plan, session: affidavit.Session, plain: sqlite3.Connection, insert: str
) -> Iterator[Figure]:
    rounds, count = plan.size(30, least=10), 1000
    events, dicts = singles(count), rows(count).to_pylist()
    data = [(message(event),) for event in events]

    def publish_all(given: Sequence[object]) -> None:
        with session.transaction():
            for each in given:
                session.topics.publish("t", each)

    def insert_all(_: int) -> None:
        plain.execute("BEGIN IMMEDIATE")
        for each in data:
            plain.execute(insert, each)
        plain.execute("COMMIT")

    arrow, python, baseline = take_turns(
        lambda _: publish_all(events), lambda _: publish_all(dicts), insert_all,
        rounds=rounds, warmup=2,
    )  # fmt: skip
    yield Figure(
        "publishes of one row, Arrow, 1,000 a transaction", "/s", per_second(count, arrow),
        per_second(count, baseline), FULL, (Bound("measured", "at least", 30_000),),
        {"most_per_s": count / min(arrow)},
    )  # fmt: skip
    yield Figure(
        "publishes of one row, dicts, 1,000 a transaction", "/s", per_second(count, python),
        per_second(count, arrow), "the same, Arrow",
    )  # fmt: skip


# --- replaying ------------------------------------------------------------------------------------


def replay(plan: Plan) -> Iterator[Figure]:
    """Yield how many events, and rows, a second are read from the log."""
    few, many, per_event = plan.size(100_000), plan.size(2000), 1000
    with (
        affidavit.connect(plan.folder / "lake", durability="normal") as session,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        for name, count, events in (
            ("ones", few, singles(1000)),
            ("batches", many, [rows(per_event)]),
        ):
            session.topics.register(name, SCHEMA)
            _fill(session, plain, name, count, events)
        untouched, touched, fetched, decoded = take_turns(
            lambda _: _drain(session, "ones", lambda _: None),
            lambda _: _drain(session, "ones", lambda delivery: delivery.data),
            lambda _: _read(plain, "ones", lambda _: None),
            lambda _: _read(plain, "ones", _decoded),
            rounds=5, warmup=1,
        )  # fmt: skip
        large, plainly = take_turns(
            lambda _: _drain(session, "batches", lambda delivery: delivery.data),
            lambda _: _read(plain, "batches", _decoded),
            rounds=5, warmup=1,
        )  # fmt: skip
    least = (Bound("measured", "at least", 150_000),)
    yield Figure(
        f"replay of {few:,} events of one row", "/s", per_second(few, untouched),
        per_second(few, fetched), "sqlite3 fetches the same bytes", least,
    )  # fmt: skip
    yield Figure(
        "the same, each one's data looked at", "/s", per_second(few, touched),
        per_second(few, decoded), "sqlite3 fetches, pyarrow decodes", least,
        {"most_per_s": few / min(touched)},
    )  # fmt: skip
    yield Figure(
        f"replay of {many:,} events of {per_event:,} rows, data looked at", "rows/s",
        per_second(many * per_event, large), per_second(many * per_event, plainly),
        "sqlite3 fetches, pyarrow decodes", (Bound("measured", "at least", 5_000_000),),
    )  # fmt: skip


def _fill(
    session: affidavit.Session,
    plain: sqlite3.Connection,
    name: str,
    count: int,
    events: Sequence[pa.RecordBatch],
) -> None:
    plain.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, at INTEGER, body BLOB)")
    plain.execute("BEGIN IMMEDIATE")
    with session.transaction():
        for at in range(count):
            event = events[at % len(events)]
            session.topics.publish(name, event)
            plain.execute(f"INSERT INTO {name} VALUES (?, 0, ?)", (at, message(event)))
    plain.execute("COMMIT")


def _drain(session: affidavit.Session, name: str, look: Callable[[Delivery], object]) -> None:
    for delivery in session.topics.replay(name):
        look(delivery)


def _read(plain: sqlite3.Connection, name: str, look: Callable[[bytes], object]) -> None:
    for _, _, body in plain.execute(f"SELECT id, at, body FROM {name} ORDER BY id"):
        look(body)


def _decoded(body: bytes) -> pa.RecordBatch:
    return pa.ipc.read_record_batch(pa.py_buffer(body), SCHEMA)


# --- live delivery --------------------------------------------------------------------------------


def deliver(plan: Plan) -> Iterator[Figure]:
    """Yield how long an event takes from the call that publishes it until somebody has it.

    The ways take turns, so that each meets the same disk.
    """
    count = plan.size(500, least=100)
    for durability in ("full", "normal"):
        folder = plan.folder / durability
        with ExitStack() as stack:
            url = stack.enter_context(nats_server(folder / "nats-server"))
            plain = stack.enter_context(_commits(folder / "plain.db", durability))
            peer = stack.enter_context(NatsDelivery(url, message(singles(1)[0])))
            near, far, nats = (
                stack.enter_context(_way(folder / name, broker, durability, count, across=across))
                for name, broker, across in (
                    ("memory", "memory", False), ("store", "store", True), ("nats", url, True),
                )
            )  # fmt: skip
            for _ in range(count):
                for way in (plain, near, peer, far, nats):
                    sleep(PAUSE_S)
                    way.send()
        yield Figure(
            f"publish to delivery p50, memory, {durability}", "ms", milliseconds(near.times),
            milliseconds(plain.times), "sqlite3 commits a row",
            (Bound("measured", "at most", 1),), near.details,
        )  # fmt: skip
        yield Figure(
            f"the same, beside NATS, {durability}", "ms", milliseconds(near.times),
            milliseconds(peer.times), "NATS, one process, which waits for no disk",
        )  # fmt: skip
        yield Figure(
            f"publish to delivery p50, store, two processes, {durability}", "ms",
            milliseconds(far.times), milliseconds(near.times), "memory, one process",
            (Bound("measured", "at most", 5),), far.details,
        )  # fmt: skip
        yield Figure(
            f"added by NATS, two processes, {durability}", "ms",
            milliseconds(nats.times) - milliseconds(near.times), milliseconds(near.times),
            "memory, one process", (Bound("measured", "at most", 2),), nats.details,
        )  # fmt: skip


@dataclass
class _Way:
    """How something is sent, and for how many seconds each was on its way."""

    send: Callable[[], object]
    times: list[float] = field(default_factory=list)

    @property
    def details(self) -> dict[str, float]:
        return {f"p{part}_ms": float(np.percentile(self.times, part)) * 1000 for part in (95, 99)}


@contextmanager
def _commits(path: Path, durability: str) -> Iterator[_Way]:
    with plain_sqlite.opened(path) as plain:
        plain.execute(f"PRAGMA synchronous = {durability}")
        insert, data = plain_sqlite.blobs(plain), message(singles(1)[0])

        def send() -> None:
            started = perf_counter()
            plain_sqlite.commit(plain, insert, (data,))
            way.times.append(perf_counter() - started)

        way = _Way(send)
        yield way


@contextmanager
def _way(lake: Path, broker: str, durability: str, count: int, *, across: bool) -> Iterator[_Way]:
    """Yield what publishes; its times are there after the block."""
    with affidavit.connect(lake, broker=broker, durability=durability) as session:
        session.topics.register("t", pa.schema([("sent_ns", pa.int64())]))
        way = _Way(lambda: session.topics.publish("t", {"sent_ns": monotonic_ns()}))
        if across:
            command = [sys.executable, "-m", "bench.topics", "receive", str(lake), broker]
            with subprocess.Popen(
                [*command, str(count)], stdout=subprocess.PIPE, text=True
            ) as child:
                assert child.stdout is not None
                assert child.stdout.readline() == "ready\n"
                yield way
                way.times += json.loads(child.stdout.read())
        else:
            with session.topics.subscribe("t", timeout=TIMEOUT_S) as subscription:
                thread = threading.Thread(
                    target=lambda: way.times.extend(_receive(subscription, count))
                )
                thread.start()
                yield way
                thread.join()
    assert len(way.times) == count


def _receive(subscription: Subscription, count: int) -> list[float]:
    """Return for how many seconds each event was on its way."""
    found = []
    for delivery in subscription:
        sent_ns = delivery.data["sent_ns"][0].as_py()
        found.append((monotonic_ns() - sent_ns) / 1e9)
        if len(found) == count:
            break
    return found


# --- predicates -----------------------------------------------------------------------------------


def predicate(plan: Plan) -> Iterator[Figure]:
    """Yield how long a predicate takes an event, together with others and on its own."""
    count = plan.size(50_000)
    with affidavit.connect(plan.folder / "lake", durability="normal") as session:
        session.topics.register("t", SCHEMA)
        events = singles(1000)
        with session.transaction():
            for at in range(count):
                session.topics.publish("t", events[at % len(events)])

        def drain(where: str | None) -> None:
            for delivery in session.topics.replay("t", where):
                assert delivery.data.num_rows

        asked, plain = take_turns(
            lambda _: drain(PREDICATE), lambda _: drain(None), rounds=5, warmup=1
        )
    compiled, logged = compile_predicate(PREDICATE, SCHEMA), list(map(message, events))
    alone, decoding = take_turns(
        lambda _: [compiled.keep(pa.Table.from_batches([_decoded(each)])) for each in logged],
        lambda _: [pa.Table.from_batches([_decoded(each)]) for each in logged],
        rounds=20, warmup=2,
    )  # fmt: skip
    bound = (Bound("measured", "at most", 50),)
    yield Figure(
        f"replay with {PREDICATE}", "us/event", median(asked) / count * 1e6,
        median(plain) / count * 1e6, "without, each one's data looked at", bound,
    )  # fmt: skip
    yield Figure(
        f"an event that comes alone, {PREDICATE}", "us/event", median(alone) / len(logged) * 1e6,
        median(decoding) / len(logged) * 1e6, "decoding it", bound,
    )  # fmt: skip


# --- many subscribers -----------------------------------------------------------------------------

PREDICATES: Final = (
    None, "id % 2 = 0", "score < 0.1", "tag = 'a'", "score >= 0.5 AND tag IN ('b', 'c')",
    "tag <> 'h'", "score BETWEEN 0.25 AND 0.75", "tag LIKE 'd%' OR id % 7 = 3",
)  # fmt: skip
EVENTS: Final = 100_000
EVENTS_A_COMMIT: Final = 100


def subscribers(plan: Plan) -> Iterator[Figure]:
    """Yield how quickly, and in how much memory, many events reach eight subscribers.

    None is lost and none out of order, or the benchmark fails. One of them looks only when the
    last event was published.
    """
    count = plan.size(EVENTS)
    whole, part = (
        _subscribed(plan.folder / f"lake-{events}", events) for events in (count, count // 10)
    )
    yield Figure(
        f"{count:,} events to {len(PREDICATES)} subscribers, a predicate each", "/s",
        count / whole["seconds"], count / whole["alone_seconds"], "publishing them, no subscriber",
        details={"delivered": whole["delivered"]},
    )  # fmt: skip
    yield Figure(
        f"peak memory growth of that, {count:,} events", "MB", whole["growth_mb"],
        part["growth_mb"], f"{count // 10:,} events", (Bound("measured", "at most", 300),),
    )  # fmt: skip


def _subscribed(lake: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.topics", "subscribe", str(lake), str(count)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(told)
    return measured


def _publish_all(session: affidavit.Session, name: str, count: int) -> float:
    """Publish ``count`` events of one row, and return how many seconds that took."""
    events = rows(count)
    started = perf_counter()
    for first in range(0, count, EVENTS_A_COMMIT):
        with session.transaction():
            for at in range(first, min(first + EVENTS_A_COMMIT, count)):
                session.topics.publish(name, events.slice(at, 1))
    return perf_counter() - started


def _subscribe_all(session: affidavit.Session, count: int) -> dict[str, float]:
    for name in ("warm-up", "alone", "t"):
        session.topics.register(name, SCHEMA)
    _publish_all(session, "warm-up", EVENTS_A_COMMIT)
    alone_seconds = _publish_all(session, "alone", count)
    found = [array("q") for _ in PREDICATES]
    published = threading.Event()

    def read(at: int) -> None:
        if at == 0:
            published.wait()
        for delivery in opened[at]:
            found[at].append(delivery.offset)
            if delivery.offset >= last[at]:
                break

    last = [
        max(_expected(session, "alone", where), default=-1) for where in PREDICATES
    ]  # the same rows have the same offsets
    opened = [session.topics.subscribe("t", where, timeout=TIMEOUT_S) for where in PREDICATES]
    threads = [threading.Thread(target=read, args=(at,)) for at in range(len(PREDICATES))]
    with PeakMemory() as peak:
        started = perf_counter()
        for thread in threads:
            thread.start()
        _publish_all(session, "t", count)
        published.set()
        for thread in threads:
            thread.join()
        seconds = perf_counter() - started
    for subscription in opened:
        subscription.close()
    for offsets, where in zip(found, PREDICATES, strict=True):
        assert offsets.tolist() == _expected(session, "t", where)
    return {
        "growth_mb": peak.growth_mb, "seconds": seconds, "alone_seconds": alone_seconds,
        "delivered": sum(map(len, found)),
    }  # fmt: skip


def _expected(session: affidavit.Session, name: str, where: str | None) -> list[int]:
    text = f'SELECT _offset FROM topics."{name}" WHERE {where or "TRUE"} ORDER BY _offset'
    offsets: list[int] = session.sql(text).to_arrow()["_offset"].to_pylist()
    return offsets


# --- change triggers ------------------------------------------------------------------------------


def trigger(plan: Plan) -> Iterator[Figure]:
    """Yield what a change trigger costs an insert of one row that it publishes, or passes over."""
    rounds, commits = 7, plan.size(300)
    inserts = [one_row(at) for at in range((rounds + 1) * commits)]
    for durability in ("full", "normal"):
        with affidavit.connect(plan.folder / durability, durability=durability) as session:
            tables = [
                session.create_table(name, schema=EIGHT_COLUMNS, primary_key="id")
                for name in ("published", "passed", "plain")
            ]
            session.triggers.on("published", "insert", "new.quantity >= 0", publish="changes")
            session.triggers.on("passed", "insert", "new.quantity < 0", publish="none")
            published, passed, plain = take_turns(
                *(_inserter(table, inserts, commits) for table in tables),
                rounds=rounds, warmup=1,
            )  # fmt: skip
            offset = session.sql("SELECT count(*) AS n FROM topics.changes").to_pylist()[0]["n"]
            assert offset == len(inserts)
        for name, times in (("that publishes it", published), ("whose WHEN is false", passed)):
            yield Figure(
                f"insert of one row, a trigger {name}, {durability}", "ms",
                milliseconds(times) / commits, milliseconds(plain) / commits, "without a trigger",
            )  # fmt: skip


def _inserter(
    table: affidavit.MutableTable, inserts: Sequence[dict[str, object]], commits: int
) -> Callable[[int], None]:
    def insert(at: int) -> None:
        for row in inserts[at * commits : (at + 1) * commits]:
            table.insert(row)

    return insert


# --- processes of their own -----------------------------------------------------------------------


def main(what: str, lake: str, *arguments: str) -> None:
    """Subscribe to a lake's topic, and print what was measured as JSON."""
    if what == "receive":
        broker, count = arguments
        with (
            affidavit.connect(lake, broker=broker) as session,
            session.topics.subscribe("t", timeout=TIMEOUT_S) as subscription,
        ):
            print("ready", flush=True)
            print(json.dumps(_receive(subscription, int(count))))
        return
    with affidavit.connect(lake) as session:
        print(json.dumps(_subscribe_all(session, *map(int, arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
