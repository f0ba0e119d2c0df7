"""What a statement read is let go of with it."""

from __future__ import annotations

import gc
from contextlib import suppress

import pytest

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
