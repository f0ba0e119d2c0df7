"""P6, P7, P17: kill -9 at random; on reopening all that was committed is there, and nothing half."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.support.processes import Child, run_python

import affidavit

ROUNDS = 12 * int(os.environ.get("AFFIDAVIT_FUZZ", "1"))
"""How often a process is killed; 17 times as many are 200."""

WORKER = """
import sys
import affidavit
import numpy as np, pyarrow as pa

path, first = sys.argv[1], int(sys.argv[2])
say = lambda *words: print(*words, flush=True)
def block(start):
    vectors = np.random.default_rng(start).normal(size=(40, 8)).astype("f4")
    return pa.table({"id": range(start, start + 40), "block": [start] * 40, "vector": list(vectors)})
with affidavit.connect(path) as session:
    say("open")
    for turn in range(first, first + 1000):
        start = turn * 100
        name = f"made_{turn}"
        session.create_table(name, [{"a": i} for i in range(30)], primary_key="a")
        say("table", name)
        session.create_vector_table(f"v_{name}", block(start))
        say("vector", f"v_{name}")
        session.table("rows").insert([{"id": start + i, "block": start} for i in range(40)])
        say("rows", start)
        session.table("docs").insert(block(start))
        say("docs", start)
        session.sql(f"UPDATE rows SET touched = block WHERE block = {start}")
        say("touched", start)
        session.sql(f"UPDATE docs SET block = -block WHERE block = {start}")
        say("negated", start)
        session.table("docs").create_index("vector", "IVF_FLAT")
        session.drop_table(f"v_{name}")
        say("dropped", f"v_{name}")
"""


def run_and_kill(lake: Path, first: int, after_s: float) -> list[tuple[str, str]]:
    worker = Child(WORKER, lake, first)
    said = worker.stdout.readline().split()
    assert said == ["open"]
    time.sleep(after_s)  # where it is killed is the point, and chance
    worker.send_signal(signal.SIGKILL)
    out, _ = worker.communicate()
    return [tuple(line.split()) for line in out.splitlines() if len(line.split()) == 2]


@pytest.mark.crash
def test_p6_p7_kill_9_loses_nothing_committed_and_leaves_nothing_half(lake: Path) -> None:
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE rows (id BIGINT PRIMARY KEY, block BIGINT, touched BIGINT)")
        rows = [{"id": -1, "block": 0, "vector": [1.0] * 8}]
        session.create_vector_table("docs", rows)
    said: list[tuple[str, str]] = []
    chance = random.Random(11)
    for turn in range(ROUNDS):
        said += run_and_kill(lake, turn * 1000, chance.uniform(0.0, 0.5))
        check(lake, said, kills=turn + 1)
    assert {kind for kind, _ in said} >= {"table", "vector", "rows", "docs"}, (
        "the kills came too early"
    )


def check(lake: Path, said: list[tuple[str, str]], *, kills: int) -> None:
    """Compare the reopened lake with what the killed processes had announced as done."""
    done = {kind: {what for k, what in said if k == kind} for kind in {k for k, _ in said}}
    with affidavit.connect(lake) as session:
        names = {row["name"] for row in session.tables()}
        assert done.get("table", set()) <= names
        for name in names:
            if name.startswith("made_"):
                assert session.table(name).count() == len(session.table(name).to_arrow()) == 30
            if name.startswith("v_made_"):
                assert session.table(name).count() == 40
                assert session.search(name, [1.0] * 8, k=40).num_rows == 40
        kept = done.get("vector", set()) - done.get("dropped", set())
        assert len(kept - names) <= kills, "only a drop that the kill cut off from saying so"
        assert not done.get("dropped", set()) & names
        whole(
            session,
            "SELECT abs(block) AS b, count(*) AS n FROM docs WHERE id >= 0 GROUP BY 1",
            done.get("docs"),
        )
        whole(session, "SELECT block AS b, count(*) AS n FROM rows GROUP BY 1", done.get("rows"))
        for text, kind in (
            ("SELECT block AS b, count(touched) AS n FROM rows GROUP BY 1", "touched"),
            (
                "SELECT abs(block) AS b, sum(CASE WHEN block < 0 THEN 1 ELSE 0 END) AS n FROM docs WHERE id > 0 AND block <> 0 GROUP BY 1",
                "negated",
            ),
        ):
            found = {str(r["b"]): r["n"] for r in session.sql(text)}
            assert set(found.values()) <= {0, 40}
            assert all(found[b] == 40 for b in done.get(kind, set()) if b != "0")
        rows = session.table("rows").to_arrow()
        assert session.table("rows").count() == rows.num_rows
        session.sql("INSERT INTO rows VALUES (-7, -7, NULL)")
        session.sql("DELETE FROM rows WHERE id = -7")
        verified = session.ledger.verify(data=True)
        assert verified, verified
    homes = {path.stem for path in (lake / "vectors" / "default").iterdir()}
    assert {n for n in names if n.startswith("v_")} | {"docs"} <= homes
    assert list((lake / "vectors" / ".staging").glob("*.lance")) == []


def whole(session: affidavit.Session, text: str, announced: set[str] | None) -> None:
    found = {str(row["b"]): row["n"] for row in session.sql(text)}
    assert set(found.values()) <= {40}
    assert (announced or set()) <= set(found)


@pytest.mark.slow
def test_a_crash_between_rename_and_commit_is_cleaned_by_the_next_create(lake: Path) -> None:
    """The dataset is in its place and no definition names it: its own mark says whose it was."""
    script = f"""
import os, affidavit
session = affidavit.connect({str(lake)!r})
original = os.rename
import pathlib
rename = pathlib.Path.rename
def dying(self, target):
    rename(self, target)
    os._exit(9)
pathlib.Path.rename = dying
session.create_vector_table("v", [{{"id": 1, "vector": [1.0]}}])
"""
    run_python(script, status=9)
    assert (lake / "vectors" / "default" / "v.lance").exists()
    with affidavit.connect(lake) as session:
        assert session.tables().num_rows == 0
        table = session.create_vector_table("v", [{"id": 2, "vector": [1.0, 2.0]}])
        assert table.to_arrow()["id"].to_pylist() == [2]


def test_a_strangers_dataset_is_never_removed(lake: Path) -> None:
    import lancedb

    from affidavit import errors

    with affidavit.connect(lake) as session:
        lancedb.connect(lake / "vectors" / "default").create_table("v", [{"id": 1}])
        with pytest.raises(errors.TableExistsError, match="'v'"):
            session.create_vector_table("v", [{"id": 1, "vector": [1.0]}])
        assert lancedb.connect(lake / "vectors" / "default").open_table("v").count_rows() == 1


@pytest.mark.sqlite("its pages are counted")
@pytest.mark.slow
def test_p12_a_full_disk_leaves_tables_as_they_were(lake: Path) -> None:
    """A limit on file size stands in for the disk's end, in a process of its own."""
    script = f"""
import resource, signal, affidavit, numpy as np, pyarrow as pa
from affidavit import errors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
session = affidavit.connect({str(lake)!r})
docs = session.create_vector_table("docs", [{{"id": 1, "vector": [1.0] * 64}}])
session.create_table("t", [{{"a": 1, "s": "x"}}], primary_key="a")
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
big = pa.table({{"id": range(10, 20_010), "vector": list(np.random.rand(20_000, 64).astype("f4"))}})
for attempt in (
    lambda: docs.insert(big),
    lambda: session.create_vector_table("more", big),
    lambda: session.table("t").insert([{{"a": i, "s": "y" * 5000}} for i in range(2, 2000)]),
    lambda: session.sql("INSERT INTO t SELECT value + 5, repeat('z', 5000) FROM range(2000)"),
):
    try:
        attempt()
        raise SystemExit("no error")
    except errors.AffidavitError as error:
        print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    assert len(run_python(script).split()) == 4
    with affidavit.connect(lake) as session:
        assert {row["name"] for row in session.tables()} == {"docs", "t"}
        assert session.table("docs").count() == 1
        assert session.table("t").to_arrow().to_pylist() == [{"a": 1, "s": "x"}]
        session.table("t").insert([{"a": 2, "s": "fine"}])
        assert not (lake / "vectors" / "default" / "more.lance").exists()


@pytest.mark.sqlite("its file is cut short")
@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.slow
def test_p12_a_half_written_lake_is_finished_by_the_next_open(lake: Path, at: int) -> None:
    """The process dies at each of the statements that make a lake in turn."""
    script = f"""
import os, sqlite3, affidavit
from affidavit.catalog.store.sqlite import schema, store
original, calls = schema.migrate, 0
class Dying:
    def __init__(self, connection): self.connection = connection
    def execute(self, text, *values):
        global calls
        calls += 1
        if calls == {at}:
            os._exit(9)
        return self.connection.execute(text, *values)
    def rollback(self): self.connection.rollback()
store.migrate = lambda connection, path, read_only: original(Dying(connection), path, read_only=read_only)
affidavit.connect({str(lake)!r})
"""
    run_python(script, status=9)
    with affidavit.connect(lake) as session:
        session.create_table("t", [{"a": 1}])
        assert session.table("t").count() == 1
