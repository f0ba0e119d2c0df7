"""Copies of tables in memory: brought up to date by what changed, the same as the store's rows."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.beside import beside

import affidavit
from affidavit.catalog.store.tables import CHANGED_ROWS
from affidavit.catalog.tables.copies import changed, current

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYED = "CREATE TABLE t (id BIGINT PRIMARY KEY, v DOUBLE, s VARCHAR)"
PLAIN = "CREATE TABLE t (id BIGINT, v DOUBLE, s VARCHAR)"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "NOTED_ROWS_MIN", 0)
    monkeypatch.setattr(current, "PART_ROWS", 16)


@pytest.fixture
def other(session: affidavit.Session, lake: Path) -> Iterator[affidavit.Session]:
    """Another session, with copies of its own."""
    with affidavit.connect(lake, durability="normal") as opened:
        assert opened._catalog().lake.cache is not session._catalog().lake.cache
        yield opened


def copied(session: affidavit.Session) -> pa.Table | None:
    """Return the copy that a session has of ``t`` as it is now, if one leads there."""
    catalog = session._catalog()
    with catalog.read() as reader:
        found = current.current_copy(catalog.lake, reader, catalog.get(reader, "t"))
    return None if found is None else found.rows


def stored(session: affidavit.Session) -> pa.Table:
    """Return the rows of ``t`` as the store has them."""
    catalog = session._catalog()
    with catalog.read() as reader:
        return current.read_copy(reader, catalog.get(reader, "t")).rows


def keep(session: affidavit.Session) -> None:
    """Have a session keep a copy of ``t``."""
    session.sql("SELECT * FROM t WHERE v > -1e300").to_arrow()


class Changes:
    """Random changes of ``t``, in and out of transactions, some of them undone."""

    def __init__(self, session: affidavit.Session, seed: int) -> None:
        self.session = session
        self.random = random.Random(seed)
        self.next_id = 1000

    def run(self) -> None:
        if self.random.random() < 0.7:
            self._one()
            return
        self.session.sql("BEGIN")
        for _ in range(self.random.randint(1, 4)):
            self._one()
        self.session.sql(self.random.choice(["ROLLBACK", "COMMIT"]))

    def _one(self) -> None:
        at = self.random.randint(0, self.next_id)
        how = self.random.randint(0, 5)
        if how == 0:
            count = self.random.choice([1, 1, 3, 40])
            rows = [{"id": self.next_id + n, "v": n / 3, "s": "ä" * n} for n in range(count)]
            self.session.table("t").insert(rows)
            self.next_id += count
        elif how == 1:
            self.session.sql("UPDATE t SET v = v + 1, s = NULL WHERE id = $at", at=at)
        elif how == 2:
            self.session.sql("UPDATE t SET s = 'x' WHERE id % 50 = $at", at=at % 50)
        elif how == 3:
            self.session.sql("DELETE FROM t WHERE id = $at OR id = $next", at=at, next=self.next_id)
        elif how == 4:
            self.session.sql("DELETE FROM t WHERE id >= $at AND id < $at + 9", at=at)
        else:
            self.session.sql("DELETE FROM t WHERE id = (SELECT max(id) FROM t)")


def fill(session: affidavit.Session, create: str, rows: int = 200) -> None:
    session.sql(create)
    session.table("t").insert([{"id": n, "v": float(n), "s": str(n)} for n in range(rows)])


@pytest.mark.parametrize("create", [KEYED, PLAIN])
@pytest.mark.parametrize("seed", range(3))
def test_a_copy_that_is_brought_up_to_date_is_what_the_store_has(
    session: affidavit.Session, other: affidavit.Session, create: str, seed: int
) -> None:
    fill(session, create)
    changes, patched = Changes(session, seed), 0
    keep(other)
    for _ in range(25):
        changes.run()
        rows = copied(other)
        if rows is None:
            keep(other)
            continue
        patched += 1
        assert rows.equals(stored(other))
        assert max(batch.num_rows for batch in rows.to_batches()) <= 200
    assert patched > 15


def test_a_scan_after_a_change_reads_what_changed_and_no_more(
    session: affidavit.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("affidavit.engine.scans.mutable.EAGER_ROWS_MAX", 0)
    fill(session, KEYED)
    total = "SELECT sum(v) AS v FROM t"
    before = session.sql(total).to_pylist()[0]["v"]
    session.sql("UPDATE t SET v = v + 1 WHERE id = 7")
    read = []
    real = current.read_table
    monkeypatch.setattr(
        current, "read_table", lambda *given: read.append(given[-1]) or real(*given)
    )
    assert session.sql(total).to_pylist()[0]["v"] == before + 1
    assert len(read) == 1
    assert len(read[0].values) == 1


@pytest.mark.parametrize(
    "forged",
    ["UPDATE changed_rows SET rowids = zeroblob(0)", "DELETE FROM changed_rows"],
)
def test_p17_what_somebody_else_noted_of_changes_misleads_nobody(
    session: affidavit.Session, lake: Path, forged: str
) -> None:
    fill(session, KEYED)
    keep(session)
    session.sql("UPDATE t SET v = -1 WHERE id = 7")
    with beside(lake) as store:
        store.execute(forged)
    assert copied(session) is None
    assert session.sql("SELECT v FROM t WHERE v < 0").to_pylist() == [{"v": -1.0}]


def test_a_copy_of_other_columns_is_not_patched(session: affidavit.Session) -> None:
    fill(session, KEYED)
    keep(session)
    session.sql("ALTER TABLE t ADD COLUMN w BIGINT")
    assert copied(session) is None
    assert session.sql("SELECT count(w) AS n, count(*) AS m FROM t").to_pylist() == [
        {"n": 0, "m": 200}
    ]


def test_a_transaction_reads_its_own_changes_and_keeps_no_copy_of_them(
    session: affidavit.Session,
) -> None:
    fill(session, KEYED)
    keep(session)
    session.sql("BEGIN")
    session.sql("UPDATE t SET v = -5 WHERE id = 3")
    assert session.sql("SELECT min(v) AS v FROM t").to_pylist()[0]["v"] == -5
    session.sql("ROLLBACK")
    session.sql("UPDATE t SET v = -6 WHERE id = 4")
    assert session.sql("SELECT min(v) AS v FROM t").to_pylist()[0]["v"] == -6
    assert session.sql("SELECT v FROM t WHERE id = 3").to_pylist()[0]["v"] == 3.0


def test_what_is_noted_of_changes_is_bounded_and_goes_with_its_table(
    session: affidavit.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changed, "ENTRIES_KEPT", 10)
    fill(session, KEYED, rows=5)
    catalog = session._catalog()
    with session.transaction():
        for at in range(150):
            session.sql("UPDATE t SET v = $v WHERE id = 1", v=at + 0.5)
    with catalog.read() as reader:
        assert reader.count(CHANGED_ROWS) < 80
    session.sql("DROP TABLE t")
    with catalog.read() as reader:
        assert reader.count(CHANGED_ROWS) == 0


def test_ranges_are_joined_where_they_meet_and_kept_apart_where_they_do_not() -> None:
    ranges = changed._ranges([9, 4, 5, 6, 1])
    assert ranges.tolist() == [[1, 2], [4, 7], [9, 10]]
    both = changed._joined(pa.array([5, 9, 1, 3, 2, 4, 9, 12]).to_numpy().reshape(-1, 2))
    assert both.tolist() == [[1, 4], [5, 12]]
