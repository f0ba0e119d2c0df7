"""What is no text is not written into a column of JSON as a text that is another value."""

from __future__ import annotations

from typing import Any

import pytest

import affidavit
from affidavit.errors import AffidavitError


@pytest.mark.parametrize("value", [[None], ["1"], (1,), {"a": 1}, {}, [{"a": None}]])
def test_lists_and_dicts_are_refused_for_json(session: affidavit.Session, value: Any) -> None:
    """``[None]`` was kept as ``[]``, and ``["1"]`` as ``[1]``."""
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, j JSON, l INT[])")
    session.sql("INSERT INTO t VALUES (1, '1', $l), ($n, NULL, NULL)", l=[None, 2], n=2)
    for write in (
        lambda: session.sql("INSERT INTO t VALUES (3, '2', NULL), (4, $j, $l)", j=value, l=[1]),
        lambda: session.sql("INSERT INTO t (j, id) VALUES ($j, 5)", j=value),
        lambda: session.sql("INSERT INTO t VALUES (?, ?, NULL)", [6, value]),
        lambda: session.sql("UPDATE t SET l = NULL, j = $j WHERE id = 1", j=value),
        lambda: session.sql(
            "INSERT INTO t VALUES (1, '1', NULL) ON CONFLICT (id) DO UPDATE SET j = $j", j=value
        ),
        lambda: session.sql(
            "MERGE INTO t USING (SELECT 1 AS i) s ON id = i WHEN MATCHED THEN UPDATE SET j = $j "
            "WHEN NOT MATCHED THEN INSERT (id, j) VALUES (9, $j)",
            j=value,
        ),
        lambda: session.table("t").update({"j": value}, "id = 1"),
        lambda: session.table("t").insert([{"id": 7, "j": value}]),
    ):
        with pytest.raises(AffidavitError, match=r"column 'j'.*json\.dumps"):
            write()
    found = session.sql("SELECT * FROM t ORDER BY id").to_pylist()
    assert found == [{"id": 1, "j": "1", "l": [None, 2]}, {"id": 2, "j": None, "l": None}]
