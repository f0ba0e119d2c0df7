"""A NATS server that goes away, a log that cannot be read, and closing meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from dataclasses import replace

import nats
import pytest
from tests.support.nats_log import ORDERS, SOON_S, Waking, offsets, stored, wait_for_offset
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

from affidavit.errors import ClosedError
from affidavit.triggers.brokers.nats.address import stream_of
from affidavit.triggers.brokers.nats.broker import NatsBroker
from affidavit.triggers.brokers.protocol import Channel, LoggedEvent

# --- loss -----------------------------------------------------------------------------------------


def test_a_killed_server_loses_doubles_and_reorders_nothing(server, log, broker, caplog) -> None:
    """And each loss is said once, and that it is over once.

    A connection to a server that has only just started may be lost again: how many losses there
    are depends on the machine, but they alternate with their ends.
    """
    caplog.set_level(logging.INFO, "affidavit")
    lost = f"NATS at {server.address} was lost: subscribers read the log until it is back"
    back = f"NATS at {server.address} is back"

    def lines() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.name == "affidavit"]

    woken = Waking()
    broker.listen(ORDERS, woken)
    woken.wait_past(0)
    for _ in range(3):
        for _ in range(50):
            log.append(ORDERS, count=3)
            broker.notify(ORDERS)
            time.sleep(0.001)
        server.kill()
        count = woken.count
        for _ in range(50):
            log.append(ORDERS)
            began = time.monotonic()
            broker.notify(ORDERS)
            assert time.monotonic() - began < 0.05
        eventually(lambda: lines()[-1:] == [lost])
        server.start()
        woken.wait_past(count)
        eventually(lambda: lines()[-1:] == [back])
    wait_for_offset(server, 599)
    assert offsets(stored(server)) == list(range(600))
    said = lines()
    assert said == ([lost, back] * len(said))[: len(said)]
    assert 3 <= said.count(lost) <= 9


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


@pytest.mark.server
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


# --- a log that cannot be read --------------------------------------------------------------------


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


# --- closing --------------------------------------------------------------------------------------


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
    eventually(lambda: not threads_of_brokers())
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
    eventually(lambda: not threads_of_brokers())
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
    eventually(lambda: not threads_of_brokers())
