"""What it costs to put a read on record: a key, many threads, many rows, and who received a row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

import affidavit
from affidavit.catalog.store.tables import RESULTS
from bench.harness import Bound, Figure, milliseconds, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Plan

ROWS: Final = 50_000
THREADS: Final = 16
ANSWER_ROWS: Final = 10_000
INSERTED_AT_ONCE: Final = 500_000

BY_KEY: Final = "SELECT * FROM {table} WHERE id = $id"
MANY: Final = f"SELECT * FROM {{table}} WHERE id < {ANSWER_ROWS}"


@contextmanager
def _opened(plan: Plan) -> Iterator[affidavit.Session]:
    """Open a lake with the same table three times: not on record, ``reads``, and ``rows``."""
    rows = [{"id": at, "name": f"name {at}", "value": at / 7} for at in range(ROWS)]
    with affidavit.connect(plan.folder / "lake", audit="searches") as session:
        for name, policy in (("plain", None), ("noted", "reads"), ("told", "rows")):
            session.create_table(name, rows, primary_key="id").audit = policy
        yield session


def reads(plan: Plan) -> Iterator[Figure]:
    """Yield what a record of a read costs, each against the same read without one."""
    with _opened(plan) as session:
        yield _by_key(plan, session)
        yield _by_threads(plan, session)
        yield _many_rows(plan, session)
        yield _received(plan, session)


def _ask(session: affidavit.Session, text: str, table: str, at: int) -> None:
    params = {"id": at % ROWS} if "$id" in text else {}
    session.sql(text.format(table=table), params).to_arrow()


def _by_key(plan: Plan, session: affidavit.Session) -> Figure:
    noted, plain = take_turns(
        lambda at: _ask(session, BY_KEY, "noted", at),
        lambda at: _ask(session, BY_KEY, "plain", at),
        rounds=plan.size(1000, least=50), warmup=30,
    )  # fmt: skip
    more = milliseconds([a - b for a, b in zip(noted, plain, strict=True)])
    return Figure(
        "record of a read by key, p50 of what it adds", "ms", more, milliseconds(plain),
        "the read itself", (Bound("measured", "at most", 0.6),),
    )  # fmt: skip


def _by_threads(plan: Plan, session: affidavit.Session) -> Figure:
    count = plan.size(200, least=10)

    def run(table: str) -> float:
        def one(number: int) -> None:
            with session.scope(actor=f"reader {number}") as scope:
                for at in range(count):
                    _ask(scope, BY_KEY, table, at * THREADS + number)

        started = perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, range(THREADS)))
        return count * THREADS / (perf_counter() - started)

    run("plain")
    pairs = [(run("noted"), run("plain")) for _ in range(3)]
    noted, plain = sorted(pairs, key=lambda pair: pair[0] / pair[1])[1]
    return Figure(
        f"reads by key on record, {THREADS} threads", "/s", noted, plain, "the same, not on record",
        (Bound("ratio", "at least", 0.6),),
    )  # fmt: skip


def _many_rows(plan: Plan, session: affidavit.Session) -> Figure:
    told, plain = take_turns(
        lambda at: _ask(session, MANY, "told", at), lambda at: _ask(session, MANY, "plain", at),
        rounds=plan.size(60, least=10), warmup=3,
    )  # fmt: skip
    return Figure(
        f"{ANSWER_ROWS:,} rows and their keys on record, p50", "ms", milliseconds(told),
        milliseconds(plain), "the same, not on record", (Bound("ratio", "at most", 1.5),),
    )  # fmt: skip


def _received(plan: Plan, session: affidavit.Session) -> Figure:
    """Return how long it takes to find who received a row among very many."""
    keys = plan.size(10_000_000)
    _ask(session, BY_KEY, "told", 7)
    [record] = session.audit.received(7)[-1:]
    catalog = session._catalog()  # noqa: SLF001 - rows of an index that a million reads would leave
    for first in range(0, keys, INSERTED_AT_ONCE):
        rows = ((f"k{at}", record.seq, "returned") for at in range(first, first + INSERTED_AT_ONCE))
        with catalog.lake.store.write(catalog.tenant) as writer:
            writer.insert(RESULTS, ("row_id", "seq", "how"), rows)
    found, asked = take_turns(
        lambda at: session.audit.received(f"k{at * 7919 % keys}"),
        lambda _: session.audit.get_read(record.read_id),
        rounds=200, warmup=20,
    )  # fmt: skip
    return Figure(
        f"who received a row, among {keys:,} keys, p50", "ms", milliseconds(found),
        milliseconds(asked), "one record by its id", (Bound("measured", "at most", 5),),
    )  # fmt: skip
