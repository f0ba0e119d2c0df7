"""Names of rows keep their numbers, whether they are kept as texts or as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from affidavit.catalog.past import touched, undo
from affidavit.catalog.past.touched import UNKNOWN, Touched

PARTS = {
    "numbers": [["7", "3", "7"], ["-1", "3", "12"], ["0", "9223372036854775807", "12"]],
    "texts at last": [["7", "3"], ["5", "1"], ["a", "3"], ["2", "7"]],
    "no number's text": [["7", "3"], ["5", "1"], ["07", "+7", "7"], ["-0", "0"]],
    "too large": [["1", "2"], ["9223372036854775808", "1"]],
    "texts": [["row:1", "row:2"], ["row:2", "row:3"]],
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("texts_max", [0, 2, 100])
def test_names_are_numbered_in_the_order_in_which_they_came(
    monkeypatch: pytest.MonkeyPatch, kind: str, texts_max: int
) -> None:
    monkeypatch.setattr(touched, "TEXTS_MAX", texts_max)
    known, numbers = Touched(), dict[str, int]()
    for part in PARTS[kind]:
        expected = [numbers.setdefault(name, len(numbers)) for name in part]
        assert known.add(pa.array(part, pa.string())).tolist() == expected
    assert len(known) == len(numbers)
    asked = pa.array([*reversed(numbers), "99", "x"], pa.string())
    for names in (asked[:-1], asked):
        found = [numbers.get(name, UNKNOWN) for name in names.to_pylist()]
        assert known.find(names).tolist() == found
    assert known.names(np.array([*numbers.values()])).to_pylist() == [*numbers]


def test_the_past_is_put_together_in_blocks(session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows that stay, change, go, and come back, in the order of one block."""
    session.sql("CREATE TABLE t (k BIGINT PRIMARY KEY, v VARCHAR, w DOUBLE)")
    session.sql("INSERT INTO t SELECT value, 'v' || value, value / 4 FROM range(40)")
    moments = [session.ledger.size - 1]
    for text in (
        "UPDATE t SET w = NULL WHERE k % 3 = 0",
        "DELETE FROM t WHERE k % 4 = 1",
        "INSERT INTO t VALUES (5, 'back', 1), (100, 'new', 2)",
        "UPDATE t SET k = k + 1000, v = 'moved' WHERE k % 7 = 6",
        "DELETE FROM t WHERE k > 30",
    ):
        session.sql(text)
        moments.append(session.ledger.size - 1)

    def told() -> list[object]:
        texts = [f"SELECT * FROM as_of('t', {at})" for at in moments]
        return [session.sql(text).to_pylist() for text in texts]

    whole = told()
    monkeypatch.setattr(undo, "BLOCK_ROWS", 3)
    monkeypatch.setattr(touched, "TEXTS_MAX", 4)
    assert told() == whole
    assert {row["k"]: row["w"] for row in whole[0]} == {k: k // 4 for k in range(40)}
