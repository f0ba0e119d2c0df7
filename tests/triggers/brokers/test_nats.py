"""The NATS broker against a real server; the log is a list."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import nats
import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.nats_server import NatsServer, free_port

from affidavit.errors import BrokerError, ClosedError
from affidavit.triggers.brokers.nats.address import stream_of, subject_of
from affidavit.triggers.brokers.nats.broker import NatsBroker
from affidavit.triggers.brokers.protocol import Channel, LoggedEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nats.js.api import RawStreamMsg

SOON_S = 30.0
ORDERS = Channel("0123abcd", "acme", "t1", "orders")


def ipc(**columns: list[object]) -> bytes:
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


@dataclass
class Log:
    """An event log in memory."""

    events: dict[str, list[LoggedEvent]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, channel: Channel, data: bytes = b"payload", count: int = 1) -> None:
        with self.lock:
            events = self.events.setdefault(channel.topic_id, [])
            for offset in range(len(events), len(events) + count):
                events.append(LoggedEvent(offset, 1_700_000_000_000_001 + offset, 1, data))

    def __call__(self, channel: Channel, first: int, limit: int) -> list[LoggedEvent]:
        events = self.events.get(channel.topic_id, [])
        return [event for event in events if event.offset >= first][:limit]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def broker(server: NatsServer, log: Log) -> Iterator[NatsBroker]:
    opened = NatsBroker(server.url, log)
    yield opened
    opened.close()


async def _stored(server: NatsServer, channel: Channel) -> list[RawStreamMsg]:
    client = await nats.connect(server.url)
    try:
        js = client.jetstream()
        state = (await js.stream_info(stream_of(channel))).state
        every = [
            await js.get_msg(stream_of(channel), seq=seq)
            for seq in range(state.first_seq, state.last_seq + 1)
        ]
        return [message for message in every if message.subject == subject_of(channel)]
    except nats.js.errors.NotFoundError:
        return []
    finally:
        await client.close()


def stored(server: NatsServer, channel: Channel = ORDERS) -> list[RawStreamMsg]:
    return asyncio.run(_stored(server, channel))


async def _last_offset(server: NatsServer, channel: Channel) -> int:
    client = await nats.connect(server.url)
    try:
        last = await client.jetstream().get_last_msg(stream_of(channel), subject_of(channel))
        return int(last.headers["Affidavit-Offset"])
    except nats.js.errors.NotFoundError:
        return -1
    finally:
        await client.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def wait_for_offset(server: NatsServer, offset: int, channel: Channel = ORDERS) -> None:
    wait_for(lambda: asyncio.run(_last_offset(server, channel)) == offset)


def offsets(messages: list[RawStreamMsg]) -> list[int]:
    return [int(message.headers["Affidavit-Offset"]) for message in messages]


class Waking:
    """A wake that counts, and can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_past(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count > count, SOON_S), "nobody woke"


# --- relaying ----------------------------------------------------------------------------------


def test_every_event_is_relayed_in_order_for_anybody_to_read(server, log, broker) -> None:
    log.append(ORDERS, ipc(id=[1, 2], name=["ä", None]))
    broker.notify(ORDERS)
    wait_for_offset(server, 0)
    log.append(ORDERS, ipc(id=[3], name=["c"]), count=4)
    broker.notify(ORDERS)
    wait_for_offset(server, 4)
    messages = stored(server)
    assert offsets(messages) == [0, 1, 2, 3, 4]
    assert messages[0].subject == "affidavit.0123abcd.acme.orders"
    for name, value in {
        "Nats-Msg-Id": "t1-0",
        "Affidavit-Offset": "0",
        "Affidavit-Produced-At": "2023-11-14T22:13:20.000001Z",
        "Affidavit-Rows": "1",
        "Affidavit-Topic-Id": "t1",
    }.items():
        assert messages[0].headers[name] == value
    table = pa.ipc.open_stream(messages[0].data).read_all()
    assert table.to_pydict() == {"id": [1, 2], "name": ["ä", None]}


def test_what_was_never_relayed_comes_with_the_first_word_of_it(server, log, broker) -> None:
    log.append(ORDERS, count=1_234)
    broker.notify(ORDERS)
    wait_for_offset(server, 1_233)
    assert offsets(stored(server)) == list(range(1_234))


def test_two_brokers_relay_one_topic_once_and_in_order(server, log) -> None:
    """The headers decide it: whoever comes second is refused, and looks again."""
    brokers = [NatsBroker(server.url, log) for _ in range(2)]

    def publish(own: NatsBroker, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(100):
            log.append(ORDERS, count=dice.choice([1, 1, 1, 3, 40]))
            own.notify(ORDERS)
            time.sleep(dice.random() * 0.002)

    threads = [threading.Thread(target=publish, args=(b, n)) for n, b in enumerate(brokers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = len(log.events["t1"])
    wait_for_offset(server, total - 1)
    for each in brokers:
        each.close()
    assert offsets(stored(server)) == list(range(total))


def test_a_stream_without_batches_gets_one_message_at_a_time(server, log) -> None:
    """A server before 2.12, or its owner, knows none; the stream is taken as it is."""

    async def prepare() -> None:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(
            name=stream_of(ORDERS), subjects=["affidavit.0123abcd.>"], max_age=3600
        )
        await client.close()

    asyncio.run(prepare())
    brokers = [NatsBroker(server.url, log) for _ in range(2)]
    for _ in range(10):
        log.append(ORDERS, count=30)
        for each in brokers:
            each.notify(ORDERS)
    wait_for_offset(server, 299)
    for each in brokers:
        each.close()
    messages = stored(server)
    assert offsets(messages) == list(range(300))
    assert not any("Nats-Batch-Id" in message.headers for message in messages)


def test_a_refused_batch_goes_one_by_one(server, log, broker) -> None:
    """A purged subject: the server still knows the messages' ids, and takes no batch with one."""
    log.append(ORDERS, count=10)
    broker.notify(ORDERS)
    wait_for_offset(server, 9)

    async def purge() -> None:
        client = await nats.connect(server.url)
        await client.jetstream().purge_stream(stream_of(ORDERS))
        await client.close()

    asyncio.run(purge())
    log.append(ORDERS, count=5)
    other = NatsBroker(server.url, log)  # knows of nothing, and starts at 0
    other.notify(ORDERS)
    wait_for_offset(server, 14)
    other.close()
    assert offsets(stored(server)) == list(range(10, 15))


def test_a_topic_made_anew_is_relayed_from_its_beginning(server, log, broker) -> None:
    log.append(ORDERS, count=3)
    broker.notify(ORDERS)
    wait_for_offset(server, 2)
    anew = replace(ORDERS, topic_id="t2")
    log.append(anew, count=2)
    broker.notify(anew)
    wait_for_offset(server, 1)
    found = [
        (m.headers["Affidavit-Topic-Id"], m.headers["Affidavit-Offset"]) for m in stored(server)
    ]
    assert found == [("t1", "0"), ("t1", "1"), ("t1", "2"), ("t2", "0"), ("t2", "1")]


def test_an_event_over_the_limit_is_named_but_not_sent(server, log, broker) -> None:
    log.append(ORDERS, b"x" * 1_000_000)
    log.append(ORDERS, b"x" * (1 << 20))
    log.append(ORDERS, b"x" * 3_000_000)
    log.append(ORDERS)
    broker.notify(ORDERS)
    wait_for_offset(server, 3)
    messages = stored(server)
    assert [len(message.data or b"") for message in messages] == [1_000_000, 0, 0, 7]
    assert [m.headers.get("Affidavit-Too-Large") for m in messages] == [None, "1", "1", None]


@pytest.mark.parametrize(
    "name",
    [
        "a.b",
        "a b",
        "*",
        ">",
        "a.>",
        "größe",
        "日本",
        "%2E",
        "a\tb\r\nc",
        "$JS",
        "_x",
        "a/b\\c",
        ".",
    ],
)
def test_any_name_has_a_subject_of_its_own(server, log, broker, name: str) -> None:
    channel = Channel("0123abcd", name, f"id-{len(name)}", name)
    woken = Waking()
    broker.listen(channel, woken)
    woken.wait_past(0)
    before = woken.count
    log.append(channel)
    broker.notify(channel)
    wait_for_offset(server, 0, channel)
    woken.wait_past(before)
    assert subject_of(channel).count(".") == 3


def test_names_never_share_a_subject() -> None:
    pieces = ["", "_shared", "%5Fshared", "__shared", "a.b", "a%2Eb", "a", "A", "a b", "ä"]
    channels = [Channel("l", tenant, "t", name) for tenant in pieces for name in pieces if name]
    assert len({subject_of(channel) for channel in channels}) == len(channels)
    assert subject_of(Channel("l", "", "t", "big_orders-2")) == "affidavit.l._shared.big_orders-2"


# --- listening ---------------------------------------------------------------------------------


def test_a_listener_wakes_until_it_ends(server, log, broker) -> None:
    ended, kept = Waking(), Waking()
    end = broker.listen(ORDERS, ended)
    broker.listen(ORDERS, kept)
    for woken in (ended, kept):
        woken.wait_past(0)  # once the subscription stands: for what came before it
    before = ended.count
    log.append(ORDERS)
    broker.notify(ORDERS)
    ended.wait_past(before)
    end()
    end()
    again = broker.listen(ORDERS, kept)
    wait_for_offset(server, 0)
    seen, before = ended.count, kept.count
    log.append(ORDERS)
    broker.notify(ORDERS)
    kept.wait_past(before)
    assert ended.count <= seen + 1, "only what was under way"
    again()


def test_another_process_wakes(server, log, broker) -> None:
    woken = Waking()
    broker.listen(ORDERS, woken)
    woken.wait_past(0)
    before = woken.count
    other = NatsBroker(server.url, log)
    log.append(ORDERS)
    other.notify(ORDERS)
    woken.wait_past(before)
    other.close()


def test_a_wake_that_raises_harms_nobody(server, log, broker, caplog) -> None:
    def raises() -> None:
        raise RuntimeError("the subscriber's loop is closed")

    woken = Waking()
    broker.listen(ORDERS, raises)
    broker.listen(ORDERS, woken)
    woken.wait_past(0)
    for _ in range(3):
        before = woken.count
        log.append(ORDERS)
        broker.notify(ORDERS)
        woken.wait_past(before)


# --- opening -----------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named(log) -> None:
    port = free_port()
    began = time.monotonic()
    with pytest.raises(BrokerError, match=f"127.0.0.1:{port}"):
        NatsBroker(f"nats://127.0.0.1:{port}", log, connect_timeout_s=2.0)
    assert time.monotonic() - began < 5.0


def test_a_server_that_hangs_is_given_up(server, log) -> None:
    server.pause()
    with pytest.raises(BrokerError, match=f"{server.address}.*0.5 s"):
        NatsBroker(server.url, log, connect_timeout_s=0.5)


def test_a_server_without_jetstream_is_refused(tmp_path, log) -> None:
    with NatsServer(tmp_path, jetstream=False) as server:
        with pytest.raises(BrokerError, match=f"{server.address} has no JetStream"):
            NatsBroker(server.url, log)


def test_without_the_library_the_error_says_what_to_install(monkeypatch, log) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(BrokerError, match=r"pip install 'affidavit\[nats\]'"):
        NatsBroker("nats://127.0.0.1:4222", log)


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:4222", "http://h:4222", "nats://", "nats://:4222", "nats://user:hush@",
        "nats://user:hu/sh@host:4222", "nats://user:12#hush@host", "nats://host:hush",
        "nats://host:99999", "nats://user:hush@host:4222/path", "nats://[::1",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str, log) -> None:
    with pytest.raises(BrokerError, match="expected a NATS address") as caught:
        NatsBroker(url, log)
    assert "hush" not in str(caught.value)


# --- secrets -----------------------------------------------------------------------------------


def said(error: BaseException | None) -> str:
    """Return everything that an error and its causes say."""
    found = ""
    while error is not None:
        found += f"{error!s} {error!r} "
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize(
    ("options", "right", "wrong"),
    [
        (("--user", "ann", "--pass", "hush@1/2"), "ann:hush%401%2F2", "ann:hush-no"),
        (("--auth", "hush.token"), "hush.token", "hush-no"),
    ],
)
def test_secrets_are_used_and_never_shown(tmp_path, log, caplog, options, right, wrong) -> None:
    caplog.set_level(logging.DEBUG)
    with NatsServer(tmp_path, *options) as server:
        for credentials in (wrong + "@", ""):
            with pytest.raises(BrokerError, match=server.address) as caught:
                NatsBroker(f"nats://{credentials}{server.address}", log)
            assert "hush" not in said(caught.value)
        broker = NatsBroker(f"nats://{right}@{server.address}", log)
        assert repr(broker) == f"NatsBroker('{server.address}')"
        assert "hush" not in repr(vars(broker))
        woken = Waking()
        broker.listen(ORDERS, woken)
        woken.wait_past(0)
        before = woken.count
        server.restart()
        woken.wait_past(before)
        server.kill()
        with pytest.raises(BrokerError) as caught:
            NatsBroker(f"nats://{right}@{server.address}", log)
        broker.close()
    assert "hush" not in said(caught.value)
    assert "hush" not in caplog.text


def test_tls_is_insisted_on(server, log) -> None:
    """nats-py would send the password in plain text to a server that does not ask for TLS."""
    for credentials in ("", "ann:hush@", "hush@"):
        with pytest.raises(BrokerError, match="secure connection") as caught:
            NatsBroker(f"tls://{credentials}{server.address}", log)
        assert "hush" not in said(caught.value)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(encoding))
    key_path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


def test_tls_works_with_a_certificate_that_is_trusted_only(tmp_path, log, monkeypatch) -> None:
    cert, key = certificate(tmp_path)
    options = (
        "--tls",
        "--tlscert",
        str(cert),
        "--tlskey",
        str(key),
        "--user",
        "ann",
        "--pass",
        "x",
    )
    with NatsServer(tmp_path, *options) as server:
        url = f"tls://ann:x@{server.address}"
        with pytest.raises(BrokerError, match="certificate verify failed"):
            NatsBroker(url, log)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        broker = NatsBroker(url, log)
        woken = Waking()
        broker.listen(ORDERS, woken)
        woken.wait_past(0)
        before = woken.count
        server.restart()
        woken.wait_past(before)
        broker.close()


# --- loss --------------------------------------------------------------------------------------


def test_a_killed_server_loses_doubles_and_reorders_nothing(server, log, broker, caplog) -> None:
    caplog.set_level(logging.INFO, "affidavit")
    woken = Waking()
    broker.listen(ORDERS, woken)
    woken.wait_past(0)
    for _ in range(3):
        for _ in range(50):
            log.append(ORDERS, count=3)
            broker.notify(ORDERS)
            time.sleep(0.001)
        server.kill()
        lost = woken.count
        for _ in range(50):
            log.append(ORDERS)
            began = time.monotonic()
            broker.notify(ORDERS)
            assert time.monotonic() - began < 0.05
        server.start()
        woken.wait_past(lost)
    wait_for_offset(server, 599)
    assert offsets(stored(server)) == list(range(600))
    lines = [r.getMessage() for r in caplog.records if r.name == "affidavit"]
    assert lines == [
        f"NATS at {server.address} was lost: subscribers read the log until it is back",
        f"NATS at {server.address} is back",
    ] * 3  # fmt: skip


def test_what_is_notified_and_listened_to_while_it_is_down_comes_after(server, log, broker) -> None:
    server.kill()
    woken = Waking()
    channels = [replace(ORDERS, name=f"n{i}", topic_id=f"n{i}") for i in range(5)]
    for channel in channels:
        log.append(channel, count=7)
        broker.notify(channel)
        broker.listen(channel, woken)
    time.sleep(1.0)  # a few attempts fail
    server.start()
    for channel in channels:
        wait_for_offset(server, 6, channel)
        assert offsets(stored(server, channel)) == list(range(7))
    woken.wait_past(4)


def test_a_server_that_lost_its_store_is_filled_again(tmp_path, log) -> None:
    with NatsServer(tmp_path) as server:
        broker = NatsBroker(server.url, log)
        log.append(ORDERS, count=5)
        broker.notify(ORDERS)
        wait_for_offset(server, 4)
        server.kill()
        (tmp_path / "jetstream").rename(tmp_path / "gone")
        server.start()
        wait_for_offset(server, 4)
        assert offsets(stored(server)) == list(range(5))
        broker.close()


def test_a_deleted_stream_is_made_again(server, log, broker, caplog) -> None:
    log.append(ORDERS, count=5)
    broker.notify(ORDERS)
    wait_for_offset(server, 4)

    async def delete() -> None:
        client = await nats.connect(server.url)
        await client.jetstream().delete_stream(stream_of(ORDERS))
        await client.close()

    asyncio.run(delete())
    log.append(ORDERS)
    broker.notify(ORDERS)
    wait_for_offset(server, 5)
    assert offsets(stored(server)) == list(range(6))
    assert caplog.text.count("is not relayed") == 1


# --- a log that cannot be read -----------------------------------------------------------------


def test_a_read_that_fails_is_said_once_and_tried_again(server, log, caplog) -> None:
    failures = iter([OSError("disk on fire")] * 2)

    def read(channel: Channel, first: int, limit: int) -> list[LoggedEvent]:
        for failure in failures:
            raise failure
        return log(channel, first, limit)

    broker = NatsBroker(server.url, read)
    log.append(ORDERS)
    broker.notify(ORDERS)
    wait_for_offset(server, 0)
    broker.close()
    assert caplog.text.count("disk on fire") == 1


def test_a_closed_log_ends_the_relay_quietly(server, caplog) -> None:
    asked = threading.Event()

    def read(_channel: Channel, _first: int, _limit: int) -> list[LoggedEvent]:
        asked.set()
        raise ClosedError("the session is closed")

    broker = NatsBroker(server.url, read)
    broker.notify(ORDERS)
    assert asked.wait(SOON_S)
    broker.close()
    assert not caplog.records


# --- closing -----------------------------------------------------------------------------------


def threads_of_brokers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("affidavit-nats")]


def test_closing_relays_what_is_committed_and_leaves_no_thread(server, log) -> None:
    broker = NatsBroker(server.url, log)
    woken = Waking()
    end = broker.listen(ORDERS, woken)
    log.append(ORDERS, count=300)
    broker.notify(ORDERS)
    broker.close()
    broker.close()
    assert offsets(stored(server)) == list(range(300))
    wait_for(lambda: not threads_of_brokers())
    seen = woken.count
    broker.notify(ORDERS)
    broker.listen(ORDERS, woken)()
    end()
    assert woken.count == seen


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_closing_is_quick_while_the_server_is_away(server, log, how: str) -> None:
    broker = NatsBroker(server.url, log)
    broker.listen(ORDERS, Waking())
    getattr(server, how)()
    log.append(ORDERS, b"x" * 100_000, count=100)  # more than the sockets hold
    broker.notify(ORDERS)
    began = time.monotonic()
    broker.close()
    broker.close()
    assert time.monotonic() - began < 6.0
    wait_for(lambda: not threads_of_brokers())
    gc.collect()  # a socket left open is a warning, and so a failure


def test_closing_does_not_wait_for_a_read_that_hangs(server) -> None:
    release = threading.Event()

    def read(_channel: Channel, _first: int, _limit: int) -> list[LoggedEvent]:
        release.wait(SOON_S)
        return []

    broker = NatsBroker(server.url, read)
    broker.notify(ORDERS)
    began = time.monotonic()
    broker.close()
    assert time.monotonic() - began < 6.0
    release.set()
    wait_for(lambda: not threads_of_brokers())


def test_the_streams_own_description_is_what_the_documentation_says(server, log, broker) -> None:
    log.append(ORDERS)
    broker.notify(ORDERS)
    wait_for_offset(server, 0)

    async def describe() -> dict[str, object]:
        client = await nats.connect(server.url)
        answer = await client.request("$JS.API.STREAM.INFO.AFFIDAVIT_0123abcd", b"", 5)
        await client.close()
        return json.loads(answer.data)["config"]

    config = asyncio.run(describe())
    assert config["subjects"] == ["affidavit.0123abcd.>"]
    assert config["storage"] == "file"
