"""P1, P12: kill -9 at every step of a search leaves its record and its leaf, or neither."""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path

import pytest
from tests.support.lakes import events, vectors
from tests.support.processes import run_python
from tests.support.records import Q8, everything, pending

import affidavit
from affidavit import SearchRecord, errors

CRASHING = """
import os, signal, sys
import affidavit
from affidavit.catalog.ledger.ledger import Ledger
from affidavit.engine.audit import carried
from affidavit.catalog.store.group_commit import ITEMS_MAX, GroupCommit, _Ticket
from affidavit.engine.session.housekeeping import Housekeeper
from tests.support.stores import around_commits, writer_class

path, step = sys.argv[1:]
armed = False

def at(here):
    if armed and step == here:
        os.kill(os.getpid(), signal.SIGKILL)

around_commits(lambda: at("before commit"), lambda: at("after commit"))
append = Ledger.append

def dying_append(self, *a, **kw):
    at("before the entry")
    entries = append(self, *a, **kw)
    at("after the entry")
    return entries

Ledger.append = dying_append
held = carried.PendingFile

class DyingFile(held):
    def __init__(self, *a):
        super().__init__(*a)
        at("pending")
    def remove(self):
        at("before removing")
        super().remove()
        at("after removing")

carried.PendingFile = DyingFile
Housekeeper.wake = lambda self: None
session = affidavit.connect(path, durability="normal")
q = [1.0] * 8
"""


ALONE = (
    CRASHING
    + """
armed = True
print(session.search("docs", q, k=2).query_id, flush=True)
at("rows returned")
"""
)
INSIDE = (
    CRASHING
    + """
session.sql("BEGIN")
session.sql("INSERT INTO t VALUES (1)")
armed = True
print(session.search("docs", q, k=2).query_id, flush=True)
at("rows returned")
session.sql(f"SELECT id FROM vector_search('docs', {q}, 3)").to_arrow()
print("second", flush=True)
session.sql("ROLLBACK" if "rollback" in path else "COMMIT")
print("ended", flush=True)
at("ended")
"""
)
STEPS = ["before the entry", "after the entry", "before commit", "after commit", "rows returned"]


def check_after_crash(lake: Path, said: list[str], *, most: int) -> list[SearchRecord]:
    """Return the records of a reopened lake; what the dead process had printed is among them."""
    with affidavit.connect(lake, durability="normal") as session:
        found = everything(session)
        assert 0 <= len(found) <= most
        assert len({each.query_id for each in found}) == len(found)
        assert {word for word in said if "-" in word} <= {each.query_id for each in found}
        assert pending(session) == []
        checked = session.ledger.verify()
        assert checked, checked
        key = bool(found or events(session))  # which the first entry of a ledger brings in
        assert checked.entries == key + len(found) + events(session)
        results = session.sql("SELECT count(*) AS n FROM audit.results").to_pylist()[0]["n"]
        assert results == sum(each.k_returned for each in found)
        assert session.search("docs", Q8).num_rows == 10
        return found


@pytest.fixture
def lake_to_crash(lake) -> Path:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        session.sql("CREATE TABLE t (a BIGINT)")
    return lake


@pytest.mark.crash
@pytest.mark.parametrize("step", STEPS)
def test_p1_kill_9_leaves_record_and_leaf_or_neither(lake_to_crash, step: str) -> None:
    said = run_python(ALONE, lake_to_crash, step, status=-signal.SIGKILL).split()
    found = check_after_crash(lake_to_crash, said, most=1)
    assert len(said) == (step == "rows returned")
    assert len(found) == (step in {"after commit", "rows returned"})


@pytest.mark.crash
@pytest.mark.parametrize(
    "step", ["pending", "rows returned", "before commit", "before removing", "after removing"]
)
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_p1_kill_9_in_a_transaction_keeps_the_record_once_and_not_its_rows(
    lake_to_crash, step: str, ends: str
) -> None:
    if ends == "rollback":
        if step in {"pending", "rows returned"}:
            pytest.skip("it dies before the transaction ends")
        lake_to_crash = lake_to_crash.rename(lake_to_crash.parent / "rollback")
    said = run_python(INSIDE, lake_to_crash, step, status=-signal.SIGKILL).split()
    found = check_after_crash(lake_to_crash, said, most=2)
    printed = {"pending": 0, "rows returned": 1}.get(step, 2)
    assert len(said) == printed
    assert len(found) == max(printed, 1), "what is durable before the rows are given is kept"
    committed = ends == "commit" and "removing" in step
    with affidavit.connect(lake_to_crash, durability="normal") as session:
        assert session.table("t").count() == (1 if committed else 0)


def test_what_a_crash_left_half_written_beside_a_pending_file_is_removed(lake_to_crash) -> None:
    folder = lake_to_crash / "pending"
    folder.mkdir()
    for name in ("a.aside", "a.lock", "b.lock", "c.aside"):
        (folder / name).write_text("{")
    check_after_crash(lake_to_crash, [], most=0)


@pytest.mark.crash
@pytest.mark.parametrize("planted", ["unsigned", "changed", "garbage", "folder"])
def test_p12_nobody_without_the_master_key_has_anything_put_on_record(
    lake_to_crash, planted: str
) -> None:
    """A pending file that somebody wrote was signed into the ledger by the next open."""
    with affidavit.connect(lake_to_crash, read_only=True) as session:
        size = session.ledger.size
    run_python(INSIDE, lake_to_crash, "rows returned", status=-signal.SIGKILL)
    [file] = (lake_to_crash / "pending").glob("*.json")
    genuine = file.read_text()
    if planted == "garbage":
        file.write_text("[]")
    elif planted == "folder":
        file.unlink()
        file.mkdir()
    else:
        outer = json.loads(genuine)
        outer["text"] = outer["text"].replace('\\"docs\\"', '\\"other\\"')
        assert outer["text"] != json.loads(genuine)["text"]
        if planted == "unsigned":
            outer["signature"] = base64.b64encode(bytes(64)).decode()
        file.write_text(json.dumps(outer))
    with pytest.raises(
        errors.LedgerCorruptError, match=f"{file.name}.*is not what affidavit wrote"
    ):
        affidavit.connect(lake_to_crash, durability="normal")
    with affidavit.connect(lake_to_crash, read_only=True) as session:
        assert session.ledger.size == size
    if planted == "folder":
        file.rmdir()
    file.write_text(genuine)
    check_after_crash(lake_to_crash, [], most=1)
