"""What is found by what is asked, and not by all that there is: ends, counts, ids, keys, lists."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING, Any, Final

import affidavit
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.journal import append, batches
from bench.samples import eight_columns, search_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Plan

ROUNDS: Final = 20
BATCH: Final = 1000
LATER: Final = 100
"""How many changes came after the moment that is asked for."""


def _asked(session: affidavit.Session, text: str, **values: object) -> Callable[[int], object]:
    return lambda _: session.sql(text, **values).to_arrow()


def _figure(
    name: str, session: affidavit.Session, texts: tuple[str, str], against: str, limit_ms: float,
    **values: Any,  # noqa: ANN401 - parameters of the first
) -> Figure:  # fmt: skip
    """Return how long the first of two statements takes, against the other."""
    times, baseline = take_turns(
        _asked(session, texts[0], **values), _asked(session, texts[1]), rounds=ROUNDS, warmup=2
    )
    bounds = (Bound("measured", "at most", limit_ms),)
    return Figure(name, "ms", milliseconds(times), milliseconds(baseline), against, bounds)


# --- records --------------------------------------------------------------------------------------


def ends(plan: Plan) -> Iterator[Figure]:
    """Yield how long the newest records take, their count, and an entry by its id or time."""
    count = plan.size(100_000)
    with affidavit.connect(plan.folder / "lake") as session:
        for at in range(0, count, BATCH):
            session.audit.log(search_records(BATCH, count, first=at))
        row = session.sql("SELECT * FROM system.ledger WHERE seq = $s", s=count // 2).to_pylist()[0]
        newest = "SELECT * FROM audit.searches ORDER BY seq DESC LIMIT 10"
        some = "SELECT * FROM audit.searches LIMIT 10"
        yield _figure(
            f"audit.searches ORDER BY seq DESC LIMIT 10, {count:,} records", session,
            (newest, some), "LIMIT 10 alone", 5,
        )  # fmt: skip
        yield _figure(
            f"count(*) of audit.searches, {count:,} records", session,
            ("SELECT count(*) FROM audit.searches", some), "LIMIT 10 of it", 20,
        )  # fmt: skip
        by_seq = f"SELECT * FROM system.ledger WHERE seq = {count // 2}"
        for name, value in (("entry_id", row["entry_id"]), ("created_at", row["created_at"])):
            text = f"SELECT * FROM system.ledger WHERE {name} = $value"
            yield _figure(
                f"system.ledger by {name}, {count:,} entries", session, (text, by_seq), "by seq",
                50, value=value,
            )  # fmt: skip


# --- the past -------------------------------------------------------------------------------------


def lately(plan: Plan) -> Iterator[Figure]:
    """Yield how long it takes to tell what changed lately, and what was before."""
    rows = plan.size(1_000_000)
    with affidavit.connect(plan.folder / "lake") as session:
        session.create_table("t", eight_columns(rows), primary_key="id")
        moment = session.ledger.size - 1
        for at in range(LATER):
            session.sql("UPDATE t SET quantity = quantity + 1 WHERE id = $at", at=at)
        now = "SELECT sum(quantity) FROM t"
        session.sql(now).to_arrow()
        key = "SELECT * FROM t WHERE id = 7"
        for name, texts, against, limit in (
            (
                "journal ORDER BY seq DESC LIMIT 10",
                ("SELECT * FROM journal ORDER BY seq DESC LIMIT 10", key),
                "a row by key", 10,
            ),
            (
                f"changes of the last {LATER}",
                (f"SELECT * FROM changes('t', {moment + 1}, {moment + LATER})", key),
                "a row by key", 20,
            ),
            (
                f"one key as of {LATER} changes ago",
                (f"SELECT * FROM as_of('t', {moment}) WHERE id = 7", key), "a row by key", 10,
            ),
            (
                f"a sum as of {LATER} changes ago",
                (f"SELECT sum(quantity) FROM as_of('t', {moment})", now), "the same now", 300,
            ),
        ):  # fmt: skip
            yield _figure(f"{name}, {rows:,} rows and events", session, texts, against, limit)


# --- checking -------------------------------------------------------------------------------------


def slope(plan: Plan) -> Iterator[Figure]:
    """Yield how many events are checked a second, and how that grows with their number."""
    count = plan.size(300_000)
    spent = []
    for events in (count // 3, count):
        with affidavit.connect(plan.folder / f"lake-{events}", durability="normal") as session:
            for each in batches(session, events):
                append(session, each)
            session.journal.flush()
            began = process_time()
            assert session.ledger.verify(progress=False)
            spent.append(process_time() - began)
    yield Figure(
        f"verify() of {count:,} events, CPU", "s", spent[1], 3 * spent[0],
        "three times what a third takes", (Bound("ratio", "at most", 1.05),),
        {"per_s": per_second(count, [spent[1]])},
    )  # fmt: skip


def listing(plan: Plan) -> Iterator[Figure]:
    """Yield how long a lake of many tables takes to open, list, and change, against one of one."""
    many = plan.size(2000)
    lakes = {count: plan.folder / f"lake-{count}" for count in (many, 1)}
    for count, lake in lakes.items():
        with affidavit.connect(lake, durability="normal") as session:
            for at in range(count):
                session.create_table(f"t{at}", [{"id": 1, "n": 1}], primary_key="id")

    def opened(count: int) -> Callable[[int], object]:
        return lambda _: affidavit.connect(lakes[count]).close()

    times, baseline = take_turns(opened(many), opened(1), rounds=5, warmup=1)
    yield Figure(
        f"connect, {many:,} tables", "ms", milliseconds(times), milliseconds(baseline),
        "one table", (Bound("measured", "at most", 100),),
    )  # fmt: skip
    with affidavit.connect(lakes[many]) as session, affidavit.connect(lakes[1]) as other:
        for text, limit in (("SHOW TABLES", 20), ("UPDATE t0 SET n = n + 1 WHERE id = 1", 5)):
            times, baseline = take_turns(
                _asked(session, text), _asked(other, text), rounds=ROUNDS, warmup=2
            )
            yield Figure(
                f"{text}, {many:,} tables", "ms", milliseconds(times), milliseconds(baseline),
                "one table", (Bound("measured", "at most", limit),),
            )  # fmt: skip
