"""What it costs to answer for searches later: checking, proving, and finding who received a row."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from time import time_ns
from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import affidavit
from affidavit.catalog.lake.lake import LakeOptions, open_lake
from affidavit.catalog.ledger.entry import Draft
from affidavit.catalog.ledger.keys import key_store_of
from affidavit.catalog.ledger.verifier import PublicKey
from affidavit.catalog.values.canonical import canonical, from_us
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.samples import SEED, search_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.harness import Plan

BATCH: Final = 1000
APPENDED_AT_ONCE: Final = 50_000
K: Final = 10
RECENT: Final = 20
RECORDS: Final = "ledger WHERE _tenant = 'default' AND kind = 'search'"
"""Where the store has the records: what the baselines read."""

ROWS: Final = 100_000
"""How many rows the table has that the recorded searches returned."""


# --- records -------------------------------------------------------------------------------------


def verify(plan: Plan) -> Iterator[Figure]:
    """Yield the times of checking and reading a ledger of many records, and its size on disk."""
    count = plan.size(100_000)
    lake = plan.folder / "lake"
    with affidavit.connect(lake) as session:
        ready: list[affidavit.SearchRecord] = []

        def prepare(at: int) -> None:
            ready[:] = search_records(BATCH, ROWS, k=K, first=at * BATCH)

        (times,) = take_turns(
            lambda _: session.audit.log(ready), rounds=count // BATCH, before=prepare
        )
    tenth = len(times) // 10
    yield Figure(
        f"audit.log of {BATCH:,} records, at {count:,}", "/s", per_second(BATCH, times[-tenth:]),
        per_second(BATCH, times[:tenth]), "the first tenth of them",
    )  # fmt: skip
    size = (lake / "catalog.db").stat().st_size  # the session is closed: no log is left beside it
    with affidavit.connect(lake) as session, closing(sqlite3.connect(lake / "catalog.db")) as plain:
        yield from _checking(session, plain, count)
        yield from _reading(session, plain, count)
        signed = sum(map(len, (part for row in _signed(plain) for part in row)))
    yield Figure(
        f"a record on disk, {K} rows returned", "bytes", size / count, signed / count,
        "its body and signature alone",
    )  # fmt: skip


def _signed(plain: sqlite3.Connection) -> Iterator[tuple[bytes, bytes]]:
    """Yield the body and signature of every record."""
    return plain.execute(f"SELECT body, signature FROM {RECORDS} ORDER BY seq")


def _checking(
    session: affidavit.Session, plain: sqlite3.Connection, count: int
) -> Iterator[Figure]:
    raw = PublicKey.parse(session.ledger.public_key).raw
    key = Ed25519PublicKey.from_public_bytes(raw)

    def check(*, signatures: bool) -> None:
        found = session.ledger.verify(signatures=signatures, progress=False)
        assert found, str(found)

    def hash_all(*, signatures: bool) -> None:
        for body, signature in _signed(plain):
            hashlib.sha256(b"\0" + body + signature).digest()
            if signatures:
                key.verify(signature, body)

    for label, signatures, rounds, limit in (
        ("every signature", True, 1, 30), ("without signatures", False, 2, 5)
    ):  # fmt: skip
        times, baseline = take_turns(
            lambda _, each=signatures: check(signatures=each),
            lambda _, each=signatures: hash_all(signatures=each),
            rounds=rounds,
        )
        against = "SHA-256 and Ed25519" if signatures else "SHA-256"
        yield Figure(
            f"verify() of {count:,} records, {label}", "s", milliseconds(times) / 1000,
            milliseconds(baseline) / 1000, f"{against} in a loop",
            (Bound("measured", "at most", limit),), {"rounds_s": times},
        )  # fmt: skip


def _reading(session: affidavit.Session, plain: sqlite3.Connection, count: int) -> Iterator[Figure]:
    newest = f"SELECT body FROM {RECORDS} ORDER BY seq DESC LIMIT {RECENT}"
    times, baseline = take_turns(
        lambda _: session.audit.recent(RECENT),
        lambda _: [json.loads(body) for (body,) in plain.execute(newest)],
        rounds=100, warmup=5,
    )  # fmt: skip
    yield Figure(
        f"recent({RECENT}), {count:,} records", "ms", milliseconds(times), milliseconds(baseline),
        "sqlite3 and json of the same", (Bound("measured", "at most", 5),),
    )  # fmt: skip
    picks = np.random.default_rng(SEED).integers(0, ROWS, 23).astype(str).tolist()

    def received(at: int) -> int:
        return len(session.audit.received(picks[at]))

    def indexed(at: int) -> int:
        query = "SELECT query_id, rank FROM audit.results WHERE row_id = $row"
        return session.sql(query, row=picks[at]).to_arrow().num_rows

    def scanned(at: int) -> int:
        query = "SELECT query_id FROM audit.searches WHERE array_has(top_k_result_ids, $row)"
        return session.sql(query, row=picks[at]).to_arrow().num_rows

    own, sql = take_turns(received, indexed, rounds=20, warmup=3)
    counts: list[int] = []
    (scans,) = take_turns(lambda at: counts.append(scanned(at)), rounds=1)
    assert counts == [received(0)]
    for label, each in (("audit.received", own), ("audit.results", sql)):
        yield Figure(
            f"who received a row, {count * K:,} rows, {label}", "ms", milliseconds(each),
            milliseconds(scans), "scanning audit.searches", details={"records": received(0)},
        )  # fmt: skip


# --- proofs --------------------------------------------------------------------------------------


def prove(plan: Plan) -> Iterator[Figure]:
    """Yield the p50 of proving an entry of a large ledger, against one of a small ledger."""
    large, small, rounds, warmup = plan.size(1_000_000), plan.size(10_000), 200, 20
    _append(plan.folder / "large", large)
    _append(plan.folder / "small", small)
    picks = np.random.default_rng(SEED).random(rounds + warmup)
    with (
        affidavit.connect(plan.folder / "large") as session,
        affidavit.connect(plan.folder / "small") as other,
    ):
        times, baseline = take_turns(
            lambda at: session.ledger.prove(int(picks[at] * large)),
            lambda at: other.ledger.prove(int(picks[at] * small)),
            rounds=rounds, warmup=warmup,
        )  # fmt: skip
    yield Figure(
        f"prove(), {large:,} entries", "ms", milliseconds(times), milliseconds(baseline),
        f"the same of {small:,} entries", (Bound("measured", "at most", 5),),
        {"p99_ms": float(np.percentile(times, 99)) * 1000},
    )  # fmt: skip


def _append(path: Path, count: int) -> None:
    """Fill a new lake's ledger with small entries, each in the tree and none signed by itself."""
    now_us = time_ns() // 1000
    when, names = canonical(from_us(now_us)), [f"note-{at}" for at in range(count)]
    lake = open_lake(path, LakeOptions(durability="normal"), keys=key_store_of(None, path))
    try:
        ledger = lake.ledgers.of("default")
        for first in range(0, count, APPENDED_AT_ONCE):
            drafts = [
                Draft(
                    "note", name, now_us,
                    {"entry_id": canonical(name), "created_at": when}, signed=False,
                )
                for name in names[first : first + APPENDED_AT_ONCE]
            ]  # fmt: skip
            with lake.store.write(ledger.tenant) as writer:
                ledger.append(writer, drafts, now_us=now_us)
    finally:
        lake.close()
