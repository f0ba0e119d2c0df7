"""Events that are taken and acknowledged one by one, beside NATS."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import affidavit
from bench.harness import Bound, Figure, per_second, take_turns
from bench.nats_peer import NatsConsumer
from bench.nats_server import nats_server
from bench.topics import SCHEMA, TIMEOUT_S, message, singles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit import Subscription
    from bench.harness import Plan

ACK_WITHIN_S: Final = 0.05
"""For how long a worker gathers acknowledgements."""


def acknowledge(plan: Plan) -> Iterator[Figure]:
    """Yield how many events a second one consumer takes and acknowledges, each by itself.

    NATS waits for no disk, as ``durability="normal"`` does not, nor is it asked whether an
    acknowledgement arrived; ``ack_sync`` asks.
    """
    count, rounds = plan.size(640, least=64), 5
    with (
        nats_server(plan.folder / "nats-server") as url,
        NatsConsumer(url, message(singles(1)[0]), 2 * rounds * count) as nats,
        affidavit.connect(plan.folder / "full") as full,
        affidavit.connect(plan.folder / "normal", durability="normal") as normal,
    ):
        takers = [
            _acknowledging(session, 2 * rounds * count, within)
            for session in (full, normal)
            for within in (ACK_WITHIN_S, None)
        ]
        gathered, waited, gathered_normal, waited_normal, told, asked = take_turns(
            *(partial(_acknowledge_each, each, count) for each in takers),
            lambda _: nats.take(count), lambda _: nats.take(count, is_sure=True),
            rounds=rounds - 1, warmup=1,
        )  # fmt: skip
    peer = per_second(count, told)
    details = {"against_ack_sync": per_second(count, asked)}
    for name, times, bounds in (
        (f"within {ACK_WITHIN_S:g} s, full", gathered, ()),
        ("durable one by one, full", waited, ()),
        (f"within {ACK_WITHIN_S:g} s, normal", gathered_normal, (Bound("ratio", "at least", 0.5),)),
        ("durable one by one, normal", waited_normal, ()),
    ):
        yield Figure(
            f"events acknowledged each, 1 consumer, {name}", "/s", per_second(count, times), peer,
            "NATS, ack", bounds, details,
        )  # fmt: skip


def _acknowledging(session: affidavit.Session, count: int, within: float | None) -> Subscription:
    name = "waits" if within is None else "gathers"
    session.topics.register(name, SCHEMA)
    events = singles(100)
    with session.transaction():
        for at in range(count):
            session.topics.publish(name, events[at % len(events)])
    return session.topics.subscribe(name, consumer="c", timeout=TIMEOUT_S, ack_within=within)


def _acknowledge_each(worker: Subscription, count: int, _: int) -> None:
    for delivery in islice(worker, count):
        delivery.ack()
