"""One contract for every broker: they carry news, and the log alone says what was published."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.nats_server import NatsServer, free_port
from tests.support.processes import Child
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.triggers.brokers.memory import MemoryBroker
from affidavit.triggers.subscriptions import subscription as subscription_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCHEMA = pa.schema([("id", pa.int64())])
SOON_S = 30.0
NEVER_S = 3600.0


class Kind:
    """A broker as a test names it, on one lake."""

    def __init__(self, name: str, folder: Path) -> None:
        self.server = NatsServer(folder) if name == "nats" else None
        self.broker = name if self.server is None else self.server.url
        self.lake = folder / "lake"

    def connect(self, **options: object) -> affidavit.Session:
        return affidavit.connect(self.lake, broker=self.broker, durability="normal", **options)

    def fail(self, session: affidavit.Session) -> None:
        """Let the broker be of no more use to ``session``, and a server's to nobody."""
        if self.server is None:
            session._instance.exchange._broker.close()
        else:
            self.server.kill()

    def mend(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.start()


@pytest.fixture
def kind(request, tmp_path) -> Iterator[Kind]:
    made = Kind(request.param, tmp_path)
    if made.server is not None:
        made.server.start()
    with made.connect() as session:
        session.topics.register("t", SCHEMA)
    yield made
    if made.server is not None:
        made.server.kill()


NATS = pytest.param("nats", marks=pytest.mark.server)
everywhere = pytest.mark.parametrize("kind", ["memory", "store", NATS], indirect=True)
across_processes = pytest.mark.parametrize("kind", ["store", NATS], indirect=True)


@pytest.fixture
def no_polling(monkeypatch) -> None:
    """Only what a broker says wakes a subscriber."""
    monkeypatch.setattr(subscription_module, "POLL_S", NEVER_S)


@pytest.fixture
def polling(monkeypatch) -> None:
    """A subscriber looks by itself soon, whatever a broker says."""
    monkeypatch.setattr(subscription_module, "POLL_S", 0.1)


def publish(session, *numbers: int, name: str = "t") -> None:
    for number in numbers:
        session.topics.publish(name, {"id": number})


def next_id(subscription) -> int:
    delivery = subscription.next(SOON_S)
    assert delivery is not None, "nobody woke"
    return delivery.data["id"][0].as_py()


class Follower:
    """A subscription that a thread of its own reads."""

    def __init__(self, session, start: int, **options: object) -> None:
        self.start = start
        self.offsets: list[int] = []
        self.subscription = session.topics.subscribe("t", from_offset=start, **options)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for delivery in self.subscription:
            assert delivery.data["id"].to_pylist() == [delivery.offset]
            self.offsets.append(delivery.offset)

    def wait_for(self, end: int) -> None:
        eventually(lambda: len(self.offsets) >= end - self.start)

    def close(self) -> None:
        self.subscription.close()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()

    def check(self) -> None:
        assert self.offsets == list(range(self.start, self.start + len(self.offsets)))


# --- the contract --------------------------------------------------------------------------------


@everywhere
def test_p8_an_event_wakes_subscribers_of_every_session(kind: Kind, no_polling) -> None:
    with kind.connect() as one, kind.connect() as two:
        waiting = [each.topics.subscribe("t") for each in (one, one, two)]
        worker = two.topics.subscribe("t", consumer="c")
        for number, publisher in enumerate([one, two] * 5):
            publish(publisher, number)
            assert [next_id(each) for each in waiting] == [number] * 3
            delivery = worker.next(SOON_S)
            assert delivery is not None
            assert delivery.offset == number
            delivery.ack()


@everywhere
def test_p8_news_is_of_what_is_committed(kind: Kind, no_polling) -> None:
    with kind.connect() as one, kind.connect() as two:
        live = two.topics.subscribe("t")
        with one.transaction():
            publish(one, 0, 1)
            assert live.next(0.05) is None
        assert [next_id(live), next_id(live)] == [0, 1]
        with pytest.raises(ZeroDivisionError), one.transaction():
            publish(one, 2)
            raise ZeroDivisionError
        assert live.next(0.05) is None
        publish(one, 3)
        assert next_id(live) == 3


PUBLISHER = """
import sys, time, affidavit
with affidavit.connect(sys.argv[1], broker=sys.argv[2], durability="normal") as session:
    for number in range(40):
        session.topics.publish("t", {"id": number})
        time.sleep(0.005 * (number % 3))
    sys.stdin.read()
"""


@across_processes
@pytest.mark.slow
def test_p8_events_of_another_process_wake_subscribers_here(kind: Kind, no_polling) -> None:
    with kind.connect() as session:
        live, worker = session.topics.subscribe("t"), session.topics.subscribe("t", consumer="c")
        process = Child(PUBLISHER, kind.lake, kind.broker)
        assert [next_id(live) for _ in range(40)] == list(range(40))
        assert [next_id(worker) for _ in range(40)] == list(range(40))
        process.communicate(timeout=SOON_S)
        assert process.returncode == 0


@everywhere
def test_p8_a_broker_that_is_down_fails_no_publish_and_loses_no_event(kind: Kind, polling) -> None:
    with kind.connect() as one, kind.connect() as two:
        follower = Follower(two, 0)
        publish(one, 0)
        follower.wait_for(1)
        kind.fail(one)
        begun = time.monotonic()
        publish(one, 1, 2)
        with one.transaction():
            publish(one, 3)
        assert time.monotonic() - begun < SOON_S
        follower.wait_for(4)
        late = Follower(one, 1)
        late.wait_for(4)
        kind.mend()
        publish(two, 4)
        publish(one, 5)
        for each in (follower, late):
            each.wait_for(6)
            each.close()
            each.check()


@pytest.mark.parametrize("kind", [NATS], indirect=True)
def test_p8_a_server_that_comes_back_wakes_subscribers_again(kind: Kind, no_polling) -> None:
    """Restarted while events are published: each comes once, in order, without looking."""
    assert kind.server is not None
    with kind.connect() as one, kind.connect() as two:
        follower = Follower(two, 0)
        for number in range(30):
            publish(one, number)
            if number in (10, 20):
                kind.server.restart()
        follower.wait_for(30)
        publish(one, 30)
        follower.wait_for(31)
        follower.close()
        follower.check()


class Walk:
    """Sessions and subscribers that come and go, and a broker that fails, at random."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind = kind
        self.rng = random.Random(seed)
        self.sessions = [kind.connect()]
        self.followers: list[Follower] = []
        self.published = 0

    def step(self) -> None:
        steps = [self.publish] * 3 + [
            self.roll_back,
            self.attach,
            self.detach,
            self.open,
            self.close,
            self.fail,
        ]
        self.rng.choice(steps)(self.rng.choice(self.sessions))

    def publish(self, session) -> None:
        many = self.rng.randrange(1, 6)
        with session.transaction():
            publish(session, *range(self.published, self.published + many))
        self.published += many

    def roll_back(self, session) -> None:
        with pytest.raises(ZeroDivisionError), session.transaction():
            publish(session, -1)
            raise ZeroDivisionError

    def attach(self, session) -> None:
        self.followers.append(Follower(session, self.rng.randrange(self.published + 1)))

    def detach(self, _) -> None:
        if self.followers:
            self.rng.choice(self.followers).close()

    def open(self, _) -> None:
        self.kind.mend()  # nobody connects to a server that is not there
        self.sessions.append(self.kind.connect())

    def close(self, _) -> None:
        if len(self.sessions) > 1:
            self.sessions.pop().close()  # and its subscribers with it

    def fail(self, session) -> None:
        self.kind.fail(session)
        if self.rng.random() < 0.5:
            self.kind.mend()

    def end(self) -> None:
        for follower in self.followers:
            if "closed" not in repr(follower.subscription):
                follower.wait_for(self.published)
                assert len(follower.offsets) == self.published - follower.start
            follower.close()
            follower.check()
        for session in self.sessions:
            session.close()


@pytest.mark.parametrize("seed", range(3))
@everywhere
def test_p8_whoever_comes_goes_and_fails_every_event_comes_once_and_in_order(
    kind: Kind, polling, seed: int
) -> None:
    walk = Walk(kind, seed)
    for _ in range(40):
        walk.step()
    walk.end()
    assert walk.published > 20


@everywhere
def test_closing_leaves_no_thread_and_no_listener(kind: Kind, no_polling) -> None:
    before = set(threading.enumerate())
    with kind.connect() as session:
        with session.topics.subscribe("t") as live:
            publish(session, 0)
            assert next_id(live) == 0
        session.topics.subscribe("t")
    eventually(lambda: not [each for each in threading.enumerate() if each not in before])
    with pytest.raises(errors.ClosedError):
        session.topics.publish("t", {"id": 1})


@everywhere
def test_p9_topics_of_one_name_are_heard_by_their_own_tenant(kind: Kind, no_polling) -> None:
    with (
        kind.connect() as session,
        session.scope(tenant="red") as red,
        session.scope(tenant=None) as shared,
    ):
        for each in (red, shared):
            each.topics.register("t", SCHEMA)
        own = session.topics.subscribe("t")
        theirs, everybodys = red.topics.subscribe("t"), shared.topics.subscribe("t")
        publish(red, 0)
        assert next_id(theirs) == 0
        publish(shared, 1)
        assert next_id(everybodys) == 1
        publish(session, 2)
        assert next_id(own) == 2
        assert [each.next(0.02) for each in (own, theirs, everybodys)] == [None] * 3


# --- which broker --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broker", ["kafka", "", "Memory", "http://example.org", 5, object(), MemoryBroker, ["memory"]]
)
def test_p12_an_unknown_broker_is_refused(lake, broker) -> None:
    with pytest.raises(errors.LakeError, match="'memory', 'store', 'nats://host:port' or a Broker"):
        affidavit.connect(lake, broker=broker)


@pytest.mark.parametrize(
    "address",
    [
        "nats://maria:s3cret@127.0.0.1:{port}", "nats://s3cret@127.0.0.1:{port}", "tls://maria:s3cret@127.0.0.1:{port}",
        "nats://maria:s3cret@127.0.0.1:none", "nats://maria:s3cret@:4222", "nats://maria:s3cret/@x@127.0.0.1",
        "maria:s3cret@127.0.0.1:4222", "s3cret@127.0.0.1", "NATS://maria:s3cret@127.0.0.1", "http://maria:s3cret@example.org",
    ],
)  # fmt: skip
def test_a_brokers_secret_is_never_shown(lake, caplog, address: str) -> None:
    pytest.importorskip("nats")
    caplog.set_level(logging.DEBUG)
    with pytest.raises((errors.BrokerError, errors.LakeError)) as refused:
        affidavit.connect(lake, broker=address.format(port=free_port()))
    error: BaseException | None = refused.value
    while error is not None:
        assert "s3cret" not in f"{error} {error!r}"
        error = error.__cause__
    assert "s3cret" not in caplog.text


def test_a_broker_of_ones_own_carries_the_news(lake, no_polling) -> None:
    class Town:
        def __init__(self) -> None:
            self.wakes: dict[str, list[Callable[[], None]]] = {}
            self.told: list[str] = []
            self.closed = False

        def notify(self, channel) -> None:
            self.told.append(channel.name)
            for wake in list(self.wakes.get(channel.topic_id, [])):
                wake()

        def listen(self, channel, wake):
            self.wakes.setdefault(channel.topic_id, []).append(wake)
            return lambda: self.wakes[channel.topic_id].remove(wake)

        def close(self) -> None:
            self.closed = True

    town = Town()
    with affidavit.connect(lake, broker=town) as session:
        session.topics.register("t", SCHEMA)
        with session.topics.subscribe("t") as live:
            threading.Timer(0.02, publish, (session, 0)).start()
            assert next_id(live) == 0
        with session.transaction():
            publish(session, 1, 2)
        assert town.told == ["t", "t"], "once a transaction"
        assert list(town.wakes.values()) == [[]]
    assert town.closed
