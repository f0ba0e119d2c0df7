"""NATS relays every event, once and in order, and wakes who listens."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from dataclasses import replace

import nats
import pyarrow as pa
import pytest
from tests.support.nats_log import ORDERS, Waking, ipc, offsets, stored, wait_for_offset

from affidavit.triggers.brokers.nats.address import stream_of, subject_of
from affidavit.triggers.brokers.nats.broker import NatsBroker
from affidavit.triggers.brokers.protocol import Channel

# --- relaying -------------------------------------------------------------------------------------


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


# --- listening ------------------------------------------------------------------------------------


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
