"""P6, P7: kill -9 at every step and at random; table, journal and ledger agree afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.support.processes import Child

import affidavit
from affidavit.catalog.model.moment import Moment
from affidavit.catalog.past.past import Past

ROUNDS = int(os.environ.get("AFFIDAVIT_CRASH_ROUNDS", "6"))
"""How many rounds are killed at random; a long run sets more."""

CHILD = """
import sys
import numpy as np, pyarrow as pa
import affidavit
from affidavit.catalog.journal import erasing, merging, sealing
from affidavit.catalog.journal.segments import places
from affidavit.catalog.lake import staged
from affidavit.catalog.tables import intents
from tests.support.killing import Killing
from tests.support.stores import writer_class

path, point, after, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
killing = Killing(point, after)
around = killing.around
around(writer_class(), "insert", "insert")
around(writer_class(), "delete_where", "delete")
around(staged.Staged, "commit", "lance commit")
for module in (sealing, merging, erasing):
    around(module, "write_segment", "segment")
around(sealing.Sealing, "_seal", "seal")
around(merging.Merging, "_merge", "merge")
around(places.LocalFolder, "put", "put")
killing.commits()

def block(start):
    vectors = np.random.default_rng(start).normal(size=(5, 4)).astype("f4")
    return pa.table({"id": range(start, start + 5), "n": [start] * 5, "vector": list(vectors)})

with affidavit.connect(path, durability="normal") as session:
    print("open", flush=True)
    for turn in range(seed * 1000, seed * 1000 + 1000):
        start = turn * 10
        session.table("rows").insert([{"id": start + i, "n": i} for i in range(5)])
        session.table("docs").insert(block(start))
        session.sql(f"UPDATE rows SET n = n + 1 WHERE id >= {start}")
        session.table("docs").delete(f"id = {start}")
        with session.transaction():
            session.sql(f"DELETE FROM rows WHERE id = {start}")
            session.journal.record("turn", str(turn), "*", "done")
        session.table("docs").upsert(block(start + 1).slice(0, 2))
        session.journal.flush()
        session._catalog().journal.merging.compact()
        if turn % 5 == 4:
            session.table("docs").create_index("n", "BTREE")
            session.table("docs").optimize()
"""
POINTS = [
    f"{when} {what}"
    for what in ("insert", "delete", "lance commit", "segment", "put", "seal", "merge")
    for when in ("before", "after")
] + ["after commit"]


@pytest.fixture
def made(lake: Path) -> Path:
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE rows (id BIGINT PRIMARY KEY, n BIGINT)")
        session.create_vector_table("docs", [{"id": -1, "n": 0, "vector": [1.0] * 4}])
    return lake


def run(lake: Path, point: str, after: int, seed: int, kill_s: float | None = None) -> int:
    child = Child(CHILD, lake, point, after, seed)
    if kill_s is not None:
        assert child.stdout.readline() == "open\n", child.communicate()[1]
        time.sleep(kill_s)  # where it is killed is the point, and chance
        child.send_signal(signal.SIGKILL)
    _, complaint = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, complaint
    return child.returncode


def check(lake: Path) -> None:
    """The tables are what their events make of them, and the ledger holds every event once."""
    with affidavit.connect(lake, durability="normal") as session:
        verdict = session.ledger.verify(progress=False)
        assert verdict, str(verdict)
        seqs = session.sql("SELECT seq FROM journal ORDER BY seq").to_arrow()["seq"].to_pylist()
        assert seqs == list(range(1, len(seqs) + 1))
        rows = {row["id"]: row["n"] for row in session.sql("SELECT * FROM rows").to_pylist()}
        assert replayed(session, "rows") == rows
        check_vectors(session)
        with session._catalog().read() as reader:
            from affidavit.catalog.store.tables import INTENTS

            assert reader.count(INTENTS) == 0


def replayed(session: affidavit.Session, name: str) -> dict[int, int]:
    """The rows that the events make, from the first on."""
    catalog = session._catalog()
    with catalog.read() as reader:
        past = Past(catalog, reader, Moment(seq=catalog.ledger.last_seq(reader)))
        table = past.table(name)
        _, rows = table._replayed(table.definition())
    return dict(zip(*rows.to_pydict().values(), strict=True))


def check_vectors(session: affidavit.Session) -> None:
    """Each event's versions are Lance's, none is missing or double, and the rows add up."""
    table = session.table("docs")
    text = "SELECT action, new_value FROM journal WHERE entity_type = 'docs' ORDER BY seq"
    version, rows = 0, 0
    for event in session.sql(text).to_pylist():
        told = json.loads(event["new_value"])
        if event["action"] in {"create", "ingest"} and "version_before" not in told:
            assert told["version_after"] == 1
        else:
            assert told["version_after"] >= told["version_before"] >= version - 1
        version = told["version_after"]
        rows += {"ingest": 1, "delete": -1}.get(event["action"], 0) * told.get("rows", 0)
    assert version == table.version
    assert (
        rows == table.count() == session.sql("SELECT count(*) AS n FROM docs").to_pylist()[0]["n"]
    )


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
def test_p6_p7_killed_at_a_step_everything_agrees(made: Path, point: str) -> None:
    for seed, after in enumerate((1, 4)):
        run(made, point, after, seed)
        check(made)


@pytest.mark.crash
def test_p6_p7_killed_at_random_everything_agrees(made: Path) -> None:
    chance = random.Random()
    for at in range(ROUNDS):
        seconds = chance.uniform(0.0, 0.6)
        run(made, "never", 0, 100 + at, kill_s=seconds)
        check(made)
