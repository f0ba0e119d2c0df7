"""P4: kill -9 at every step of sealing, merging and rewriting records; none is lost or double."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.support.processes import run_python
from tests.support.sealed import connect, furnish

CHILD = """
import sys
from uuid import uuid4
import affidavit
from affidavit.catalog.journal import erasing, merging, sealing
from affidavit.catalog.journal.records import erasing as record_erasing
from affidavit.catalog.journal.records.kept import KeptRecords
from affidavit.catalog.journal.segments import places
from affidavit.catalog.journal.segments.keeping import Keeping
from affidavit.catalog.ledger.commitments import without
from affidavit.catalog.ledger.entry import draft
from affidavit.catalog.model import clock
from tests.support.stores import writer_class
from tests.support.killing import Killing
from tests.support.processes import run_python
from tests.support.sealed import ask

path, point, after, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
killing = Killing(point, after)
killing.counting = False
around = killing.around
for module in (sealing, merging, erasing, record_erasing):
    around(module, "write_segment", "segment")
around(writer_class(), "delete", "delete")
around(writer_class(), "delete_where", "delete where")
around(KeptRecords, "leave", "leave")
around(Keeping, "add_segment", "name")
around(Keeping, "keep_leaves", "leaves")
around(places.LocalFolder, "put", "put")
around(places.LocalFolder, "remove", "remove")
around(places.LocalFolder, "remove_others", "remove others")
killing.commits()

with affidavit.connect(path, durability="normal", audit="rows") as session:
    catalog = session._catalog()
    records, gone = catalog.journal.records, frozenset({"query_lineage"})

    def noted(writer, kind, **fields):
        now = clock.now_us()
        entry = draft(kind, f"{kind}-{uuid4().hex}", now, actor="", source="", workspace="", **fields)
        catalog.ledger.append(writer, [entry], now_us=now)

    for turn in range(seed * 100, seed * 100 + 100):
        killing.counting = False
        ids = ask(session, 1, first=turn)
        killing.counting = True
        print(ids[0], flush=True)
        records.sealing.flush()
        if turn % 8 == 5:
            records.merging.compact()
            seq = session.audit.get(ids[0]).seq
            records.erasing.rewrite(
                lambda entry: without(entry.opened, gone if entry.seq == seq else frozenset()),
                lambda writer, seqs: noted(
                    writer, "erasure", entity_id="x", reason="r", events=0,
                    records=[[each, ["query_lineage"]] for each in seqs],
                ),
            )
        if turn % 16 == 15:
            records.erasing.retain(None, 4, lambda writer, let_go: noted(
                writer, "retention", reason="r", keep=4, before=None, of="records", roots=[],
                events=0, ranges=[[each.first_seq, each.last_seq] for each in let_go],
            ))
"""
POINTS = [
    f"{when} {what}"
    for what in (
        "segment", "put", "leaves", "leave", "delete", "delete where", "name", "remove",
        "remove others",
    )
    for when in ("before", "after")
] + ["after commit"]  # fmt: skip


@pytest.fixture
def made(lake: Path) -> Path:
    with connect(lake) as session:
        furnish(session)
    return lake


def run(lake: Path, point: str, after: int, seed: int) -> list[str]:
    """Return the searches that were on record before the process was killed."""
    return run_python(CHILD, lake, point, after, seed, status=-signal.SIGKILL).split()


def check(lake: Path, ids: list[str]) -> None:
    """Every record is there once, in its place, and proves itself; the next session goes on."""
    with connect(lake) as session:
        verdict = session.ledger.verify(progress=False)
        assert verdict, str(verdict)
        text = "SELECT seq FROM system.ledger ORDER BY seq"
        seqs = session.sql(text).to_arrow()["seq"].to_pylist()
        assert len(set(seqs)) == len(seqs)
        dropped = session.sql("SELECT count(*) AS n FROM audit.segments WHERE dropped").to_pylist()
        if not dropped[0]["n"]:
            assert {each.query_id for each in session.audit.recent(1000)} >= set(ids)
        session.journal.flush()
        records = session._catalog().journal.records
        records.merging.compact()
        records.erasing.remove_orphans(age_s=0)
        with session._catalog().read() as reader:
            named = {each.file for each in records.kept.all_segments(reader)}
        assert {path.name for path in (lake / "records" / "default").glob("*.parquet")} == named
        verdict = session.ledger.verify(progress=False)
        assert verdict, str(verdict)


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
def test_p4_killed_at_a_step_every_record_is_there_once(made: Path, point: str) -> None:
    ids: list[str] = []
    for seed, after in enumerate((0, 7)):
        ids += run(made, point, after, seed)
        check(made, ids)
