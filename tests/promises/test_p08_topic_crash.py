"""P8, P9: kill -9 of publishers, consumers and NATS at random, and of writers at every step."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import pyarrow as pa
import pytest
from tests.support import topic_workers
from tests.support.nats_server import NatsServer
from tests.support.topic_workers import QUERY
from tests.support.waiting import eventually

import affidavit
from affidavit.catalog.store.tables import DELIVERIES, INTENTS
from affidavit.triggers.brokers.nats.address import stream_of
from affidavit.triggers.brokers.protocol import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("AFFIDAVIT_CRASH_ROUNDS", "2"))
"""How many rounds are killed at random, and at how many steps; a long run sets more."""

SOON_S = 60.0
ROOT = Path(__file__).parents[2]
EVENT = pa.schema([("run", pa.int64()), ("n", pa.int64()), ("whole", pa.int64())])


class Job:
    """A process to be killed, and what it said."""

    def __init__(self, forker: Forker, pid: int, said: Path) -> None:
        self._forker = forker
        self._said = said
        self.pid = pid

    @property
    def said(self) -> list[list[str]]:
        text = self._said.read_text() if self._said.exists() else ""
        return [line.split() for line in text.splitlines() if text.endswith("\n")]

    @property
    def complaint(self) -> str:
        return Path(f"{self._said}.log").read_text()

    def opened(self) -> Job:
        eventually(lambda: ["open"] in self.said, f"it did not open: {self._said}", seconds=SOON_S)
        return self

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL, self.complaint

    def wait(self) -> int:
        return int(self._forker.ask({"wait": self.pid}))


class Forker:
    """Starts jobs by forking a process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs = 0
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", topic_workers.__name__], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def ask(self, told: dict[str, object]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        return self._process.stdout.readline()

    def start(self, job: str, *args: object, **options: object) -> Job:
        self._jobs += 1
        said = self._folder / f"said-{self._jobs}"
        told = {"job": job, "args": args, "options": options, "said": str(said)}
        return Job(self, int(self.ask(told)), said)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(SOON_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    opened = Forker(tmp_path_factory.mktemp("said"))
    yield opened
    opened.close()


# --- at random ------------------------------------------------------------------------------------


class Listener:
    """A plain subscriber that lives through it all."""

    def __init__(self, session: affidavit.Session) -> None:
        self.seen: list[tuple[int, dict[str, int]]] = []
        self._subscription = session.topics.subscribe("t", from_offset=0)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for delivery in self._subscription:
            self.seen.append((delivery.offset, delivery.data.to_pylist()[0]))

    def close(self) -> None:
        self._subscription.close()
        self._thread.join()


@pytest.mark.crash
@pytest.mark.parametrize(
    "broker", ["memory", "store", pytest.param("nats", marks=pytest.mark.server)]
)
def test_p8_killed_at_random_no_event_is_lost_and_none_settled_comes_again(
    lake: Path, tmp_path: Path, forker: Forker, broker: str
) -> None:
    chance = random.Random()
    published: list[list[str]] = []
    consumed: list[list[list[str]]] = []
    with ExitStack() as stack:
        server = stack.enter_context(NatsServer(tmp_path)) if broker == "nats" else None
        url = broker if server is None else server.url
        session = stack.enter_context(affidavit.connect(lake, broker=url, durability="normal"))
        session.topics.register("t", EVENT)
        session.topics.register("done", pa.schema([("offset", pa.int64())]))
        listener = Listener(session)
        stack.callback(listener.close)
        for run in range(ROUNDS):
            publisher = forker.start("publish", str(lake), url, run).opened()
            consumer = forker.start("consume", str(lake), url).opened()
            victims = [publisher.kill, consumer.kill, *([server.kill] if server else [])]
            chance.shuffle(victims)
            for kill in victims:
                time.sleep(chance.uniform(0.0, 0.4))  # where it is killed is the point, and chance
                kill()
            if server is not None:
                server.start()
            published += [[str(run), *words] for words in publisher.said if words != ["open"]]
            consumed.append([words for words in consumer.said if words != ["open"]])
            check_log(session, published)
            check_consumer(session, consumed)
        last = session.topics.publish("t", {"run": ROUNDS, "n": 0, "whole": 1})
        consumer = forker.start("consume", str(lake), url).opened()
        eventually(
            lambda: lag(session) == 0, "the consumer did not come to the end", seconds=SOON_S
        )
        eventually(
            lambda: len(listener.seen) > last,
            "the subscriber did not come to the end",
            seconds=SOON_S,
        )
        consumer.kill()
        consumed.append([words for words in consumer.said if words != ["open"]])
        check_log(session, published)
        check_consumer(session, consumed)
        check_everything_was_done(session, consumed, last)
        rows = session.sql("SELECT run, n, whole FROM topics.t ORDER BY _offset").to_pylist()
        assert listener.seen == list(enumerate(rows))
        if server is not None:
            eventually(
                lambda: relayed(session, server)[-1:] == [last],
                "NATS did not get the end",
                seconds=SOON_S,
            )
            assert relayed(session, server) == list(range(last + 1))


def check_log(session: affidavit.Session, published: list[list[str]]) -> None:
    """Offsets have no gap, what was announced is there, and nothing is there by half."""
    verdict = session.ledger.verify(progress=False)
    assert verdict, str(verdict)
    rows = session.sql("SELECT * FROM topics.t ORDER BY _offset").to_pylist()
    assert [row["_offset"] for row in rows] == list(range(len(rows)))
    at = {row["_offset"]: (row["run"], row["n"]) for row in rows}
    for run, offset, n in published:
        assert at[int(offset)] == (int(run), int(n))
    assert all(row["n"] >= 0 for row in rows), "an event that was rolled back"
    for run in {row["run"] for row in rows}:
        own = [row["n"] for row in rows if row["run"] == run]
        whole = [n for n in range(own[-1] + 1) if n % 5 != 4]
        assert own == whole, "in the order of publishing, none missing"
        assert own[-1] % 5 != 1, "half a transaction"
        announced = [n for each, _, n in published if each == str(run)]
        assert len(own) - len(announced) <= 2, "only what the kill cut off from saying so"


def check_consumer(session: affidavit.Session, workers: list[list[list[str]]]) -> None:
    """No event comes again after its settling was durable, and each worker's come in order."""
    settled: set[int] = set()
    attempts: dict[int, int] = {}
    for said in workers:
        new: list[int] = []
        for word, number, *more in said:
            offset = int(number)
            if word == "acked":
                settled.add(offset)
                continue
            assert offset not in settled, f"event {offset} came again after it was settled"
            attempt = int(more[0])
            assert attempt > attempts.get(offset, 0), "one delivery twice"
            attempts[offset] = attempt
            # what the worker before it died with comes when its leases run out
            if attempt == 1 and offset >= (new or [offset])[0]:
                new.append(offset)
        assert new == sorted(new)
    with session._catalog().read() as reader:
        waiting = {int(row[0]) for row in reader.select(DELIVERIES, ("offset",))}
    assert not waiting & settled
    row = session.sql("SELECT * FROM system.consumers").to_pylist()[0]
    end = session.sql("SELECT next_offset FROM system.topics WHERE name = 't'").to_pylist()
    assert row["unsettled"] == len(waiting)
    assert row["position"] <= end[0]["next_offset"]
    assert row["lag"] <= end[0]["next_offset"] - row["position"]
    assert not waiting or row["position"] == min(waiting)
    assert set(range(row["position"])) <= set(attempts), "passed over"
    assert settled <= set(attempts)


def check_everything_was_done(
    session: affidavit.Session, workers: list[list[list[str]]], last: int
) -> None:
    got = {int(words[1]) for said in workers for words in said if words[0] == "got"}
    assert got == set(range(last + 1))
    done = session.sql('SELECT "offset" FROM topics.done').to_arrow()["offset"].to_pylist()
    assert Counter(done) == Counter(range(0, last + 1, 3)), "in the transaction of its ack, once"
    names = {topic.name for topic in session.topics.list()}
    assert names == {"t", "done"}, "nothing became a dead letter"


def lag(session: affidavit.Session) -> int:
    found: int = session.sql("SELECT lag FROM system.consumers").to_pylist()[0]["lag"]
    return found


def relayed(session: affidavit.Session, server: NatsServer) -> list[int]:
    """The offsets that the stream has of the topic, in its order."""
    topic = session.topics.get("t")
    lake_id = session._catalog().lake.lake_id
    channel = Channel(lake_id, topic.tenant, topic.topic_id, topic.name)

    async def read() -> list[int]:
        client = await nats.connect(server.url)
        try:
            js, found = client.jetstream(), []
            state = (await js.stream_info(stream_of(channel))).state
            for seq in range(state.first_seq, state.last_seq + 1):
                headers = (await js.get_msg(stream_of(channel), seq=seq)).headers
                if headers["Affidavit-Topic-Id"] == topic.topic_id:
                    found.append(int(headers["Affidavit-Offset"]))
            return found
        except nats.js.errors.NotFoundError:
            return []
        finally:
            await client.close()

    return asyncio.run(read())


# --- at a step ------------------------------------------------------------------------------------

OPERATIONS = [
    "insert rows", "change rows", "transaction", "insert docs", "upsert docs", "change docs",
    "delete docs",
]  # fmt: skip
FIRST = {"id": -1, "n": 0}


@pytest.fixture(params=[True, False], ids=["journal", "no journal"])
def journal(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def watched(lake: Path, journal: bool) -> Path:
    """A lake whose tables are watched from their first row on."""
    with affidavit.connect(lake, durability="normal", journal=journal) as session:
        session.sql("CREATE TABLE rows (id BIGINT PRIMARY KEY, n BIGINT)")
        session.table("rows").insert(FIRST)
        session.create_vector_table("docs", [{**FIRST, "vector": QUERY}])
        for table in ("rows", "docs"):
            session.triggers.on(table, ["insert", "update", "delete"], publish=f"{table}-changes")
        session.triggers.near("alerts", table="docs", query=QUERY, within=0.5, publish="alerts")
        session.topics.register("own", pa.schema([("n", pa.int64())]))
    return lake


@pytest.mark.crash
@pytest.mark.parametrize("operation", OPERATIONS)
def test_p9_killed_at_a_step_a_triggers_event_is_there_exactly_when_its_change_is(
    watched: Path, forker: Forker, operation: str, journal: bool
) -> None:
    survivor = forker.start("change", str(watched), operation, 0, journal=journal)
    assert survivor.wait() == 0, survivor.complaint
    check_triggers(watched, journal, "nowhere")
    steps = int(survivor.said[-1][1])
    for turn, at in enumerate(some(steps), start=1):
        job = forker.start("change", str(watched), operation, turn * 100, at, journal=journal)
        assert job.wait() == -signal.SIGKILL, job.complaint
        check_triggers(watched, journal, " ".join(job.said[-1]))


@pytest.mark.crash
def test_p9_killed_again_while_a_change_is_settled_its_event_is_there_once(
    watched: Path, forker: Forker, journal: bool
) -> None:
    """The first kill leaves Lance's commit without the store's; the second meets who settles it."""

    def settle(turn: int, at: int) -> Job:
        job = forker.start(
            "change", str(watched), "upsert docs", turn * 100, -1, "after commit", journal=journal
        )
        assert job.wait() == -signal.SIGKILL, job.complaint
        return forker.start("change", str(watched), "reopen", 0, at, journal=journal)

    survivor = settle(0, -1)
    assert survivor.wait() == 0, survivor.complaint
    check_triggers(watched, journal, "nowhere")
    for turn, at in enumerate(some(int(survivor.said[-1][1])), start=1):
        again = settle(turn, at)
        assert again.wait() == -signal.SIGKILL, again.complaint
        check_triggers(watched, journal, " ".join(again.said[-1]))


def some(steps: int) -> list[int]:
    """Return the numbers of the steps to be killed at: all of them in a long run."""
    if steps <= ROUNDS:
        return list(range(steps))
    return sorted(random.sample(range(steps), ROUNDS))


def check_triggers(lake: Path, journal: bool, where: str) -> None:
    """The events make the tables what they are; journal and audit tell of each, once."""
    with affidavit.connect(lake, durability="normal", journal=journal) as session:
        verdict = session.ledger.verify(progress=False)
        assert verdict, str(verdict)
        told = {}
        for table in ("rows", "docs"):
            told[table] = events = events_of(session, f"{table}-changes")
            rows = session.sql(f"SELECT id, n FROM {table}").to_pylist()
            assert replayed(events) == {row["id"]: row["n"] for row in rows}, where
            if journal:
                check_numbers(session, table, events)
        check_finds(session, told["docs"], where)
        with session._catalog().read() as reader:
            assert reader.count(INTENTS) == 0


def events_of(session: affidavit.Session, topic: str) -> list[list[dict]]:
    """The events of a trigger, each of its rows a dict; what each says of itself is checked."""
    found = []
    for number, delivery in enumerate(session.topics.replay(topic)):
        assert delivery.offset == number
        found.append(delivery.data.to_pylist())
        seqs = {row["seq"] for row in found[-1]}
        assert len(seqs) == 1
        seq = seqs.pop()
        ids = {None if seq is None else f"{seq}-{row['trigger']}" for row in found[-1]}
        assert {row["event_id"] for row in found[-1]} == ids
    return found


def replayed(events: list[list[dict]]) -> dict[int, int]:
    """The rows that the changes make: each must follow from those before it."""
    rows = {FIRST["id"]: FIRST["n"]}
    for event in events:
        for change in event:
            if change["old"] is not None:
                assert rows.pop(change["old"]["id"]) == change["old"]["n"]
            if change["new"] is not None:
                assert change["new"]["id"] not in rows
                rows[change["new"]["id"]] = change["new"]["n"]
    return rows


def check_numbers(session: affidavit.Session, table: str, events: list[list[dict]]) -> None:
    """Each event's number is that of its change in the journal, and no change is without one."""
    made = session.sql(
        "SELECT min(seq) AS seq FROM journal WHERE entity_type = 'trigger' AND action = 'create'"
    ).to_pylist()[0]["seq"]
    text = (
        "SELECT seq, action, new_value FROM journal WHERE entity_type = $table AND "
        "action IN ('insert', 'ingest', 'update', 'delete') AND seq > $made ORDER BY seq"
    )
    entries = session.sql(text, table=table, made=made).to_pylist()
    if table == "docs":  # an entry a change
        noted = [(e["seq"], json.loads(e["new_value"])["rows"]) for e in entries]
        assert [(event[0]["seq"], len(event)) for event in events] == noted
        return
    expanded = [  # an entry a row
        (event[0]["seq"] + at, change["action"])
        for event in events
        for at, change in enumerate(event)
    ]
    assert expanded == [(entry["seq"], entry["action"]) for entry in entries]


def check_finds(session: affidavit.Session, changes: list[list[dict]], where: str) -> None:
    """The standing search found what it must in each change, and each find is on record once."""
    expected = [
        (event[0]["seq"], near)
        for event in changes
        if (near := sorted(each["new"]["id"] for each in event if is_near(each["new"])))
    ]
    finds = events_of(session, "alerts")
    told = [(event[0]["seq"], sorted(each["new"]["id"] for each in event)) for event in finds]
    assert told == expected, where
    records = session.sql(
        "SELECT query_id, journal_seq, top_k_result_ids FROM audit.searches ORDER BY seq"
    ).to_pylist()
    assert [sorted(map(int, each["top_k_result_ids"])) for each in records] == [
        near for _, near in expected
    ], where
    for record, (seq, _) in zip(records, expected, strict=True):
        assert seq is None or record["journal_seq"] == seq, where
    if records:
        heard = session.sql(
            'SELECT query_id FROM topics."affidavit.audit.searches" ORDER BY _offset, _row_index'
        ).to_arrow()["query_id"].to_pylist()  # fmt: skip
        assert heard == [record["query_id"] for record in records], where


def is_near(row: dict | None) -> bool:
    return row is not None and row["vector"] == QUERY
