"""P16: many threads and processes read, some are killed: there is a record of every read."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.support.processes import Child

import affidavit

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = int(os.environ.get("AFFIDAVIT_READERS", "3"))
"""How many processes read; a long run sets more."""

THREADS = 4
READS = 25

CHILD = """
import sys, threading
import affidavit

path, name, threads, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with affidavit.connect(path, durability="normal") as session:
    def read(number):
        with session.scope(actor=f"{name}.{number}") as scope:
            for at in range(count):
                if at % 5 == 4:
                    rows = scope.table("t").to_arrow()
                else:
                    rows = scope.sql("SELECT x FROM t WHERE id = $id", id=at % 10).to_arrow()
                assert rows.num_rows > 0
                sys.stdout.write(f"{name}.{number}\\n")
                sys.stdout.flush()
    workers = [threading.Thread(target=read, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
"""


def started(lake: Path, name: str, count: int) -> Child:
    return Child(CHILD, lake, name, THREADS, count)


@pytest.mark.slow
def test_p16_every_read_of_many_is_on_record_and_none_twice(lake: Path) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_table("t", [{"id": at, "x": f"x{at}"} for at in range(10)], primary_key="id")
        session.table("t").audit = "rows"
    readers = [started(lake, f"p{at}", READS) for at in range(PROCESSES)]
    killed = started(lake, "killed", 10_000)
    given: Counter[str] = Counter()
    for _ in range(THREADS * 5):
        given[killed.stdout.readline().strip()] += 1
    killed.send_signal(signal.SIGKILL)
    rest, _ = killed.communicate(timeout=60)
    given.update(line.strip() for line in rest.splitlines(keepends=True) if line.endswith("\n"))
    for reader in readers:
        out, _ = reader.communicate(timeout=300)
        assert reader.returncode == 0
        given.update(out.split())
    with affidavit.connect(lake) as session:
        rows = session.sql("SELECT actor, read_id, status FROM audit.reads").to_pylist()
        assert len({row["read_id"] for row in rows}) == len(rows)
        assert {row["status"] for row in rows} == {"ok"}
        found = Counter(row["actor"] for row in rows)
        for actor, count in given.items():
            if actor.startswith("p"):
                assert found[actor] == count == READS
            else:  # it may have been killed between a record and its rows
                assert count <= found[actor] <= count + 1
        assert session.ledger.verify()
