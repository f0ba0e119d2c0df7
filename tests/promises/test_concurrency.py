"""Several processes and threads on one lake: nothing lost, nothing doubled, nobody locked out."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from tests.support.lakes import vectors
from tests.support.processes import Child

import affidavit

WORKER = """
import json, random, sys
import affidavit
from affidavit import errors

path, number, operations = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(number)
inserted, deleted, bumped, vectors = 0, 0, 0, 0
with affidavit.connect(path, durability="normal", actor=f"worker {number}") as session:
    rows, counter = session.table("rows"), session.table("counter")
    mine = []
    for step in range(operations):
        choice = random.random()
        if choice < 0.45:
            key = number * 1_000_000 + step
            rows.insert([{"id": key, "worker": number}])
            mine.append(key)
            inserted += 1
        elif choice < 0.6 and mine:
            key = mine.pop(random.randrange(len(mine)))
            assert session.sql("DELETE FROM rows WHERE id = $1", [key]).rows_affected == 1
            deleted += 1
        elif choice < 0.8:
            assert session.sql("UPDATE counter SET n = n + 1 WHERE id = 1").rows_affected == 1
            bumped += 1
        elif choice < 0.84:
            session.table("docs").insert([{"id": number * 1_000_000 + step, "vector": [1.0, step]}])
            vectors += 1
        else:
            assert session.sql("SELECT count(*) AS c FROM rows").to_pylist()[0]["c"] >= len(mine)
print(json.dumps([inserted, deleted, bumped, vectors, len(mine)]))
"""


@pytest.mark.slow
def test_four_processes_of_mixed_operations_lose_nothing(lake: Path) -> None:
    """4 x 500 inserts, deletes, increments, vector inserts and reads: every one is accounted for."""
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE rows (id BIGINT PRIMARY KEY, worker BIGINT)")
        session.sql("CREATE TABLE counter (id INT PRIMARY KEY, n BIGINT) AS VALUES (1, 0)")
        session.create_vector_table("docs", [{"id": -1, "vector": [1.0, 2.0]}])
    workers = [Child(WORKER, lake, n, 500) for n in range(1, 5)]
    finished = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, [err for _, err in finished]
    totals = [sum(column) for column in zip(*(json.loads(out) for out, _ in finished), strict=True)]
    inserted, deleted, bumped, added, kept = totals
    with affidavit.connect(lake) as session:
        rows = session.table("rows")
        assert rows.count() == inserted - deleted == kept == len(rows.to_arrow())
        assert session.sql("SELECT n FROM counter").to_pylist() == [{"n": bumped}]
        assert session.table("docs").count() == added + 1
        assert session.sql("SELECT count(DISTINCT id) AS n FROM docs").to_pylist() == [
            {"n": added + 1}
        ]


@pytest.mark.slow
def test_threads_share_one_session(session: affidavit.Session) -> None:
    """Reads, writes and searches of eight threads on one session, and a scope's transactions."""
    session.sql(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT) AS SELECT value, 0 FROM range(100)"
    )
    session.create_vector_table("docs", vectors(200))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(25):
                session.sql("UPDATE t SET n = n + 1 WHERE id = $1", [number])
                with session.scope() as scoped, scoped.transaction() as mine:
                    mine.sql("UPDATE t SET n = n + 1 WHERE id = 99")
                    mine.table("t").insert([{"id": 1000 + number * 100 + step, "n": 0}])
                assert session.search("docs", [1.0] * 8, k=3).num_rows == 3
                found = session.sql("SELECT sum(n) AS s FROM t WHERE id < 99").to_pylist()
                assert found[0]["s"] >= step
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert session.sql("SELECT sum(n) AS s FROM t").to_pylist() == [{"s": 400}]
    assert session.table("t").count() == 300


def test_a_session_sees_what_another_process_commits(lake: Path) -> None:
    with affidavit.connect(lake) as first, affidavit.connect(lake) as second:
        first.create_table("t", [{"id": 1}], primary_key="id")
        first.create_vector_table("v", vectors(5))
        assert second.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 1}]
        assert second.search("v", [1.0] * 8).num_rows == 5
        first.table("t").insert([{"id": 2}])
        first.table("v").insert(vectors(1, start=50))
        first.sql("ALTER TABLE t ADD COLUMN x INT DEFAULT 3")
        assert second.sql("SELECT sum(x) AS s FROM t").to_pylist() == [{"s": 6}]
        assert second.search("v", [1.0] * 8).num_rows == 6
        first.drop_table("v")
        first.create_vector_table("v", vectors(2, 3))
        assert second.search("v", [1.0] * 3).num_rows == 2
