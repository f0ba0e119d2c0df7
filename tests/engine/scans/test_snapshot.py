"""What a statement read is let go of with it."""

from __future__ import annotations

import gc
from contextlib import suppress

import pyarrow as pa
import pytest

import affidavit
from affidavit import errors
from affidavit.engine.scans.snapshot import Snapshot

STATEMENTS = [
    "SELECT * FROM v",
    "INSERT INTO t VALUES (1, 1)",
    "INSERT INTO t SELECT a + 100, n FROM v",
    "INSERT INTO t VALUES (1, 1) ON CONFLICT (a) DO UPDATE SET n = excluded.n RETURNING *",
    "UPDATE t SET n = n + 1 WHERE a IN (SELECT a FROM v) RETURNING n",
    "DELETE FROM t WHERE a = 1",
    "MERGE INTO t USING v ON t.a = v.a WHEN MATCHED THEN UPDATE SET n = 5",
    "INSERT INTO docs VALUES (1, [1.0, 2.0]) ON CONFLICT (id) DO NOTHING",
    "DELETE FROM docs WHERE id = 1",
]


def left() -> int:
    gc.collect()
    return sum(isinstance(each, Snapshot) for each in gc.get_objects())


@pytest.mark.parametrize("text", STATEMENTS)
@pytest.mark.parametrize("within", [False, True])
def test_a_snapshot_goes_with_its_statement(session, text: str, within: bool) -> None:
    """DataFusion's tables of it held it, and it held them: 8 kB for each change, for good."""
    session.create_table("t", [{"a": 1, "n": 0}, {"a": 2, "n": 0}], primary_key="a")
    session.sql("CREATE VIEW v AS SELECT a, n FROM t")
    session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
    before = left()
    if within:
        session.begin()
    for _ in range(3):
        with suppress(errors.ConstraintError, errors.TransactionError):
            session.sql(text).to_arrow()
    if within:
        session.rollback()
    assert left() <= before


def test_a_result_of_a_search_holds_no_snapshot(session: affidavit.Session) -> None:
    session.create_vector_table("docs", [{"id": n, "vector": [1.0, n]} for n in range(3)])
    session.functions.register("same", lambda values: values, [pa.int64()], pa.int64())
    before = left()
    found = session.search("docs", [1.0, 2.0], where="same(id) = 2")
    session.sql("DELETE FROM docs WHERE same(id) = 1")
    assert [row["id"] for row in found] == [2]
    assert left() == before


PLAIN = [
    "id IN (1, NULL)", "id NOT IN (1, NULL)", "k = -9223372036854775808", "u = 18446744073709551615",
    "k IN (1, -9223372036854775808)", "t = 'it''s'", "t IN ('', 'ü')", "t = 'x' || chr(0)",
    "id = 3 AND t = 'it''s'", "id = 3 OR t = ''", "NOT id = 3", "id IN (1, 2) AND id IN (2, 3)",
]  # fmt: skip


def test_a_vector_table_that_is_read_here_answers_as_lance_does(session: affidavit.Session) -> None:
    """Where its rows are on record, or a function is called, Lance is given a part of what is asked."""
    texts = ["it's", "", "x\x00", "ü", None]
    rows = [
        {"id": n, "k": -(2**63) if n == 0 else n, "u": 2**64 - 1 if n == 1 else n, "t": texts[n % 5],
         "vector": [1.0, n]} for n in range(10)
    ]  # fmt: skip
    schema = pa.schema(
        [("id", pa.int64()), ("k", pa.int64()), ("u", pa.uint64()), ("t", pa.string()),
         ("vector", pa.list_(pa.float32(), 2))]
    )  # fmt: skip
    table = session.create_vector_table("docs", pa.Table.from_pylist(rows, schema))
    table.create_index("id", "BTREE")

    def asked() -> list[list[int]]:
        found = [session.sql(f"SELECT id, t FROM docs WHERE {each}").to_pylist() for each in PLAIN]
        return [sorted(row["id"] for row in each) for each in found]

    by_lance = asked()
    assert [0] in by_lance
    table.audit = "rows"
    assert asked() == by_lance
