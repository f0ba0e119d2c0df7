"""Rows of the past that are looked up by key are those that reading the whole table gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit.catalog.past import table as past_table

if TYPE_CHECKING:
    import affidavit

KEYS = {
    "number": ("k BIGINT PRIMARY KEY, o VARCHAR", "k", ["1", "2"]),
    "text": ("k VARCHAR PRIMARY KEY, o BIGINT", "k", ["'1'", "'row:2'"]),
    "both": ("k BIGINT, o VARCHAR, PRIMARY KEY (k, o)", "k, o", ["1", "2"]),
    "day": ("k DATE PRIMARY KEY, o VARCHAR", "k", ["'2024-01-01'", "'2024-01-02'"]),
    "none": ("k BIGINT, o VARCHAR", "k", ["1", "2"]),
}
"""What tables are keyed by, and two keys; a day is looked up by nothing, nor is no key."""


@pytest.mark.parametrize("kind", KEYS)
def test_rows_looked_up_are_those_of_the_whole_table(
    session: affidavit.Session, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Of rows that came, changed, went, and have the names that others had."""
    columns, _, (one, two) = KEYS[kind]
    session.sql(f"CREATE TABLE t ({columns}, v VARCHAR)")
    moments = [session.ledger.size - 1]
    for text in (
        f"INSERT INTO t VALUES ({one}, '7', 'a'), ({two}, '8', 'b')",
        f"UPDATE t SET v = 'c' WHERE k = {two}",
        "ALTER TABLE t RENAME COLUMN v TO w",
        f"DELETE FROM t WHERE k = {one}",
        f"INSERT INTO t VALUES ({one}, '7', 'd')",
        "ALTER TABLE t RENAME COLUMN o TO v",
        f"UPDATE t SET v = '9', w = NULL WHERE k = {one}",
        f"DELETE FROM t WHERE k = {two}",
    ):
        session.sql(text)
        moments.append(session.ledger.size - 1)
        if "RENAME" in text:
            session.journal.flush()
    last = moments[-1]
    texts = [
        f"SELECT * FROM changes('t', {at}, {min(at + 3, last)}) ORDER BY ALL" for at in moments
    ]
    texts += [
        f"SELECT * FROM as_of('t', {at}) WHERE {where} ORDER BY k"
        for at in moments
        for where in (
            f"k = {one}", f"k IN ({one}, {two})", f"k = {two} AND w IS NOT NULL",
            f"k = {one} AND v = '7'", f"k = {one} AND o = '7'", f"k = {one} AND k = {two}",
        )
    ]  # fmt: skip
    looked_up = [_told(session, text) for text in texts]
    found: list[object] = []
    monkeypatch.setattr(past_table, "named", lambda *told: found.append(told))
    assert [_told(session, text) for text in texts] == looked_up
    assert found  # which the other way asks, too


def _told(session: affidavit.Session, text: str) -> object:
    """Return the rows of a statement, or its error."""
    try:
        rows = session.sql(text).to_arrow()
    except Exception as error:
        return type(error), str(error)
    return rows.schema, rows.to_pylist()
