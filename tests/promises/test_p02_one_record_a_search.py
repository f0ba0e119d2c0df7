"""P2: one record for each search that runs, however it was written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import pytest
from tests.support.lakes import vectors
from tests.support.records import Q8, SEARCH, Refusing, recorded

import affidavit
from affidavit import errors

STATEMENTS = [
    (1, f"SELECT * FROM {SEARCH}"),
    (1, f"SELECT count(*) FROM {SEARCH}"),
    (1, f"SELECT h.id FROM {SEARCH} h JOIN t ON t.id = h.id"),
    (1, f"SELECT t.id FROM t LEFT JOIN {SEARCH} h ON t.id = h.id WHERE t.id < 3"),
    (1, f"WITH h AS (SELECT * FROM {SEARCH}) SELECT * FROM h"),
    (1, f"WITH h AS (SELECT * FROM {SEARCH}) SELECT a.id FROM h a JOIN h b ON a.id = b.id"),
    (
        1,
        f"WITH h AS (SELECT * FROM {SEARCH}) SELECT a.id, b.text FROM h a, h b WHERE b.bucket >= 0",
    ),
    (1, f"WITH h AS (SELECT * FROM {SEARCH}) SELECT id FROM h UNION ALL SELECT bucket FROM h"),
    (1, f"WITH h AS (SELECT * FROM {SEARCH}) SELECT id FROM h WHERE id IN (SELECT id FROM h)"),
    (
        1,
        f"WITH RECURSIVE r AS (SELECT id, 0 AS n FROM {SEARCH} UNION ALL "
        "SELECT id, n + 1 FROM r WHERE n < 2) SELECT * FROM r",
    ),
    (2, f"SELECT a.id FROM {SEARCH} a JOIN {SEARCH} b ON a.id = b.id"),
    (1, f"SELECT id FROM t WHERE id IN (SELECT id FROM {SEARCH})"),
    (1, f"SELECT id FROM t WHERE id NOT IN (SELECT id FROM {SEARCH})"),
    (1, f"SELECT 1 WHERE EXISTS (SELECT 1 FROM {SEARCH})"),
    (1, f"SELECT v FROM t WHERE EXISTS (SELECT 1 FROM {SEARCH} h WHERE h.id = t.id)"),
    (1, f"SELECT (SELECT min(id) FROM {SEARCH}) AS m, v FROM t"),
    (2, f"SELECT id FROM {SEARCH} UNION ALL SELECT id FROM {SEARCH}"),
    (2, f"SELECT id FROM {SEARCH} UNION SELECT id FROM vector_search('docs', $q, 4)"),
    (1, "SELECT * FROM near"),
    (1, "SELECT a.id, b.text FROM near a, near b"),
    (1, f"SELECT * FROM {SEARCH} LIMIT 1"),
    (1, f"SELECT * FROM {SEARCH} WHERE id = -1"),
    (1, f"SELECT * FROM {SEARCH} WHERE id IS NOT NULL AND true ORDER BY text LIMIT 2"),
    (1, f"EXPLAIN ANALYZE SELECT * FROM {SEARCH}"),
    (1, f"CREATE TABLE made AS SELECT id FROM {SEARCH}"),
    (1, f"SELECT id INTO made FROM {SEARCH}"),
    (1, f"INSERT INTO t SELECT id + 10000, 1 FROM {SEARCH}"),
    (1, f"INSERT INTO t SELECT id + 10000, 1 FROM {SEARCH} RETURNING id"),
    (1, f"INSERT INTO t SELECT id, 1 FROM {SEARCH} ON CONFLICT (id) DO UPDATE SET v = 5"),
    (1, f"UPDATE t SET v = -1 WHERE id IN (SELECT id FROM {SEARCH})"),
    (1, f"UPDATE t SET v = h.id FROM {SEARCH} h WHERE h.id = t.id RETURNING t.id"),
    (1, f"UPDATE docs SET bucket = 9 WHERE id IN (SELECT id FROM {SEARCH})"),
    (1, f"DELETE FROM t WHERE id IN (SELECT id FROM {SEARCH}) RETURNING id"),
    (1, f"DELETE FROM t USING {SEARCH} h WHERE h.id = t.id"),
    (1, f"DELETE FROM docs WHERE id IN (SELECT id FROM {SEARCH})"),
    (
        1,
        f"MERGE INTO t USING (SELECT id FROM {SEARCH}) h ON h.id = t.id "
        "WHEN MATCHED THEN UPDATE SET v = 7",
    ),
    # a search that fails later, or whose statement does, was a search all the same
    (1, f"SELECT * FROM {SEARCH} WHERE 1 / (id - id) = 1"),
    (1, f"INSERT INTO t SELECT 5, 1 FROM {SEARCH}"),
    # none
    (0, f"SELECT * FROM {SEARCH} LIMIT 0"),
    (0, f"SELECT * FROM {SEARCH} WHERE false"),
    (0, f"SELECT id FROM t WHERE false AND id IN (SELECT id FROM {SEARCH})"),
    (0, f"EXPLAIN SELECT * FROM {SEARCH}"),
    (0, f"EXPLAIN DELETE FROM t WHERE id IN (SELECT id FROM {SEARCH})"),
    (0, f"CREATE TABLE IF NOT EXISTS t AS SELECT id FROM {SEARCH}"),
    (0, "DESCRIBE near"),
    (0, "SELECT * FROM vector_search('docs', $q, 0)"),
    (0, "SELECT * FROM vector_search('docs', [1.0], 3)"),
    (0, "SELECT * FROM vector_search('nope', $q, 3)"),
    (0, "SELECT nope FROM vector_search('docs', $q, 3)"),
]


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    """A session whose tables each test may change, with a view over a search."""
    lake = tmp_path_factory.mktemp("counting")
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(300))
        session.create_table("t", [{"id": i, "v": i} for i in range(300)], primary_key="id")
        session.sql(f"CREATE VIEW near AS SELECT * FROM vector_search('docs', {Q8}, 3)")
        yield session


@pytest.mark.parametrize(("count", "text"), STATEMENTS, ids=lambda value: str(value)[:70])
def test_p2_a_statement_leaves_one_record_for_each_search_it_runs(counting, count, text) -> None:
    counting.sql("DELETE FROM t WHERE id >= 10000")
    with recorded(counting, count) as new:
        try:
            rows = counting.sql(text, {"q": Q8} if "$q" in text else None).to_arrow().num_rows
        except errors.AffidavitError:
            rows = 0
    assert rows or not count or text.startswith(("CREATE", "SELECT id INTO", "SELECT *", "INSERT"))
    assert {each.k_requested for each in new} <= {3, 4}
    assert all(len(each.top_k_result_ids) == each.k_requested for each in new)
    assert {each.table_name for each in new} <= {"docs"}
    counting.drop_table("made", if_exists=True)


def test_p2_prepared_statements_leave_one_record_an_execution(counting) -> None:
    with recorded(counting, 0):
        counting.sql(f"PREPARE p AS SELECT id FROM vector_search('docs', {Q8}, 3)")
    with recorded(counting, 2):
        assert counting.sql("EXECUTE p").num_rows == 3
        assert counting.sql("EXECUTE p").num_rows == 3
    counting.sql("DEALLOCATE p")


def test_p2_a_result_leaves_its_record_when_it_is_read_and_once(counting) -> None:
    def query() -> affidavit.Result:
        return counting.sql(f"SELECT * FROM {SEARCH}", q=Q8)

    with recorded(counting, 0):
        query().close()
        del (dropped := [query()])[:]
        assert query().schema.names[-1] == "_distance"
    with recorded(counting, 1):
        result = query()
        assert result.to_arrow() == result.to_arrow()
        assert len(result) == len(result.to_pylist()) == 3
    with recorded(counting, 1):
        assert sum(batch.num_rows for batch in query().batches()) == 3
    with recorded(counting, 1):
        for _ in query():
            break
    with recorded(counting, 1):
        repr(result := query())
        result.to_arrow()
    assert dropped == []


@pytest.mark.parametrize("size", [0, 1, 5, 40])
def test_p2_a_batch_leaves_a_record_for_each_of_its_queries(counting, size: int) -> None:
    queries = [np.eye(8)[at % 8] + at for at in range(size)]
    with recorded(counting, size) as new:
        results = counting.search_batch("docs", queries, k=2)
    assert [each.audit for each in results] == new
    hashes = [hashlib.sha256(each.astype("<f4").tobytes()).hexdigest() for each in queries]
    assert [each.query_sha256 for each in new] == hashes


@pytest.mark.parametrize(("moment", "count"), [("before", 0), ("after", 1)])
def test_p2_a_hook_that_refuses_before_leaves_no_record(counting, moment, count) -> None:
    """And one that refuses after does: the search ran, and somebody saw what it found."""
    hook = Refusing(moment)
    counting.hooks.add(hook)
    try:
        for ask in (
            lambda: counting.search("docs", Q8),
            lambda: counting.sql(f"SELECT * FROM {SEARCH}", q=Q8).to_arrow(),
        ):
            with recorded(counting, count), pytest.raises(errors.HookError, match="not today"):
                ask()
    finally:
        counting.hooks.remove(hook)
    hook = Refusing("before", passes=2)
    counting.hooks.add(hook)
    with recorded(counting, 0), pytest.raises(errors.HookError):
        counting.search_batch("docs", [Q8] * 3)
    counting.hooks.remove(hook)


def test_a_hook_sees_the_record_before_the_rows_are_released(counting) -> None:
    class Hook:
        def after(self, searches) -> None:
            self.seen = [each.record for each in searches]
            self.kept = [counting.audit.get(each.record.query_id) for each in searches]

    hook = Hook()
    counting.hooks.add(hook)
    results = counting.search_batch("docs", [Q8, Q8], k=2)
    counting.hooks.remove(hook)
    assert hook.seen == hook.kept == [each.audit for each in results]


def test_p2_a_bad_search_leaves_no_record(counting) -> None:
    with recorded(counting, 0):
        for bad in (
            dict(query=[1.0]), dict(query=Q8, k=0), dict(query=Q8, where="nope = 1"),
            dict(query=Q8, select=["nope"]), dict(query=Q8, version=99), dict(query=Q8, version=-1), dict(query=Q8, version=1.5), dict(query="words"),
            dict(query="words", mode="text"), dict(query=Q8, lineage={"a": math.nan}),
            dict(query=Q8, lineage=object()),
        ):  # fmt: skip
            with pytest.raises(errors.AffidavitError):
                counting.search("docs", **bad)
            with pytest.raises(errors.AffidavitError):
                counting.search_batch("docs", [Q8, bad.pop("query")], **(bad or {"k": 0}))
