"""What it costs to put a search on record: CPU, commits, waiting threads, and the statement log."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from statistics import mean, median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import affidavit
from bench import plain_sqlite
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.samples import clustered, eight_columns, search_records
from bench.search import DIMENSION, ask, create_clustered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.store.protocol import Writer
    from bench.harness import Plan

ROWS: Final = 100_000
"""How many rows the table has that the recorded searches returned."""

THREADS: Final = 16
DURABLE: Final = "sqlite3 rows of that size, FULL"


def audit(plan: Plan) -> Iterator[Figure]:
    """Yield what a record costs that is logged with a thousand others, and on its own."""
    batch, commits, rounds, warmup = 1000, plan.size(200), plan.size(12, least=5), 2
    spent: list[float] = []
    floor: list[float] = []
    key = Ed25519PrivateKey.generate()
    with (
        affidavit.connect(plan.folder / "lake") as session,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        body = _body(session, search_records(1, ROWS)[0])
        insert = plain_sqlite.blobs(plain)
        ready: list[affidavit.SearchRecord] = []

        def prepare(at: int) -> None:
            ready[:] = search_records(batch, ROWS, first=at * batch)

        def log(_: int) -> None:
            started = process_time()
            session.audit.log(ready)
            spent.append(process_time() - started)

        def store(_: int) -> None:
            plain.execute("BEGIN IMMEDIATE")
            plain.executemany(insert, [(body,)] * batch)
            plain.execute("COMMIT")

        def sign(_: int) -> None:
            started = process_time()
            for _each in range(batch):
                hashlib.sha256(body).digest()
                key.sign(body)
            floor.append(process_time() - started)

        logged, stored, _ = take_turns(
            log, store, sign, rounds=rounds, warmup=warmup, before=prepare
        )

        def log_singly(_: int) -> None:
            for record in ready[:commits]:
                session.audit.log([record])

        def store_singly(_: int) -> None:
            for _each in range(commits):
                plain_sqlite.commit(plain, insert, (body,))

        singly, stored_singly = take_turns(
            log_singly, store_singly, rounds=rounds, warmup=warmup, before=prepare
        )
    yield Figure(
        f"CPU a record, audit.log of {batch:,}", "us", median(spent[warmup:]) / batch * 1e6,
        median(floor[warmup:]) / batch * 1e6, "SHA-256 and Ed25519 of a body alone",
        (Bound("measured", "at most", 150),), {"least_us": min(spent) / batch * 1e6},
    )  # fmt: skip
    yield Figure(
        f"audit.log of {batch:,} records", "/s", per_second(batch, logged),
        per_second(batch, stored), DURABLE, (Bound("measured", "at least", 8000),),
        {"most_per_s": batch / min(logged)},
    )  # fmt: skip
    yield Figure(
        "audit.log of one record", "/s", per_second(commits, singly),
        per_second(commits, stored_singly), DURABLE, (Bound("measured", "at least", 1000),),
        {"most_per_s": commits / min(singly)},
    )  # fmt: skip


def _body(session: affidavit.Session, record: affidavit.SearchRecord) -> bytes:
    """Log ``record`` and return its body and signature, as the ledger stores them."""
    seq = session.audit.log([record])[0].seq
    found = session.sql("SELECT body, signature FROM system.ledger WHERE seq = $seq", seq=seq)
    entry = found.to_arrow().to_pylist()[0]
    body: bytes = entry["body"].encode() + entry["signature"]
    return body


# --- threads -------------------------------------------------------------------------------------


class _Commits:
    """A listener that counts how many records each commit held."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_records(self, records: Sequence[affidavit.SearchRecord], writer: Writer) -> None:
        """Count ``records``."""
        del writer
        self.sizes.append(len(records))


def threads(plan: Plan) -> Iterator[Figure]:
    """Yield the p50 of searches in many threads at once with audit, against without.

    Commits are counted in a round of their own, since a listener takes time too.
    """
    rows, rounds, warmup = plan.size(100_000), plan.size(12, least=3), 1
    share = plan.size(10, least=5)
    vectors, queries = clustered(rows, DIMENSION, THREADS * share)
    lake = plan.folder / "lake"
    with (
        affidavit.connect(lake) as session,
        affidavit.connect(lake, audit="off") as unaudited,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        create_clustered(session, vectors)
        for each in (session, unaudited):
            ask(each, queries[0])  # what opens the table is not measured

        def searched(by: affidavit.Session) -> list[float]:
            def work(first: int) -> list[float]:
                times = []
                for query in queries[first::THREADS]:
                    started = perf_counter()
                    ask(by, query)
                    times.append(perf_counter() - started)
                return times

            return [each for times in pool.map(work, range(THREADS)) for each in times]

        audited: list[list[float]] = []
        plain: list[list[float]] = []
        take_turns(
            lambda _: audited.append(searched(session)),
            lambda _: plain.append(searched(unaudited)),
            rounds=rounds, warmup=warmup,
        )  # fmt: skip
        commits = _Commits()
        session.audit.add_listener(commits)
        searched(session)
    own, others = (list(np.concatenate(each[warmup:])) for each in (audited, plain))
    yield Figure(
        f"search p50 with audit, {THREADS} threads", "ms", milliseconds(own), milliseconds(others),
        "the same without audit", (Bound("ratio", "at most", 1.15),),
        {"p99_ms": float(np.percentile(own, 99)) * 1000,
         "baseline_p99_ms": float(np.percentile(others, 99)) * 1000,
         "ratio_by_round": [median(a) / median(b) for a, b in
                            zip(audited[warmup:], plain[warmup:], strict=True)]},
    )  # fmt: skip
    yield Figure(
        f"records a commit, {THREADS} threads", "", mean(commits.sizes), 1, "one thread",
        details={"commits": len(commits.sizes), "most": max(commits.sizes)},
    )  # fmt: skip


# --- statements ----------------------------------------------------------------------------------


def statements(plan: Plan) -> Iterator[Figure]:
    """Yield the p50 of a small SELECT that is logged, against one that is not."""
    rounds, warmup = plan.size(1000, least=50), 50
    lake = plan.folder / "lake"
    with (
        affidavit.connect(lake, audit="statements") as logging,
        affidavit.connect(lake, audit="searches") as silent,
    ):
        logging.create_table("t", eight_columns(1000), primary_key="id")

        def look_up(session: affidavit.Session, key: int) -> None:
            session.sql("SELECT * FROM t WHERE id = $id", id=key % 1000).to_arrow()

        own, others = take_turns(
            lambda at: look_up(logging, at), lambda at: look_up(silent, at),
            rounds=rounds, warmup=warmup,
        )  # fmt: skip
    yield Figure(
        "SELECT by key p50, statements logged", "ms", milliseconds(own), milliseconds(others),
        'the same, audit="searches"',
        details={"share_ms": milliseconds([a - b for a, b in zip(own, others, strict=True)])},
    )  # fmt: skip
