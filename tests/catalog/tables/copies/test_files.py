"""Copies of large tables in files: read by the next process, let go of, and checked."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from tests.support.beside import beside

import affidavit
from affidavit.catalog.lake import cache
from affidavit.catalog.tables import loading
from affidavit.catalog.tables.copies import changed, current, files
from affidavit.engine.scans import mutable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 300


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cache, current, loading):
        monkeypatch.setattr(module, "IN_FILE_ROWS_MIN", 100)
    monkeypatch.setattr(loading, "STAGED_ROWS_MIN", 100)
    monkeypatch.setattr(changed, "NOTED_ROWS_MIN", 0)
    monkeypatch.setattr(mutable, "EAGER_ROWS_MAX", 0)


def rows() -> pa.Table:
    return pa.table(
        {
            "id": np.arange(ROWS),
            "name": [f"person {at}" if at % 7 else None for at in range(ROWS)],
            "v": np.arange(ROWS) / 3,
        }
    )


@contextmanager
def opened(lake: Path) -> Iterator[affidavit.Session]:
    with affidavit.connect(lake, durability="normal") as session:
        yield session


@pytest.fixture
def loaded(lake: Path) -> Path:
    """A lake whose table ``t`` was loaded, and is in a file."""
    with opened(lake) as session:
        session.create_table("t", rows(), primary_key="id")
    assert len(copies(lake)) == 1
    return lake


def copies(lake: Path) -> list[Path]:
    return list(lake.glob("copies/*/*.arrow"))


def everything(session: affidavit.Session) -> list[dict[str, object]]:
    """Return all rows, by a plan that scans the whole table."""
    found = session.sql("SELECT * FROM t WHERE v > -1 OR v IS NULL").to_pylist()
    return sorted(found, key=lambda row: row["id"])


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The conditions by which rows were read from the store."""
    seen: list[object] = []
    for module in (mutable, files, current):
        for name in ("read_rows", "read_table"):
            if hasattr(module, name):
                real = getattr(module, name)

                def spy(*given: object, real: object = real, **named: object) -> object:
                    seen.append(given)
                    return real(*given, **named)  # type: ignore[operator]  # it is a function

                monkeypatch.setattr(module, name, spy)
    return seen


def test_the_next_session_reads_the_file_and_not_the_store(
    loaded: Path, scanned: list[object]
) -> None:
    with opened(loaded) as session:
        assert everything(session) == rows().to_pylist()
        assert not scanned
        session.sql("UPDATE t SET v = 0 WHERE id = 5")
        session.sql("INSERT INTO t VALUES (1000, 'new', 1)")
    scanned.clear()
    with opened(loaded) as session:
        found = everything(session)
        assert [len(given) for given in scanned] == [4]  # the rows that changed, and no others
        assert found[5]["v"] == 0
        assert found[-1] == {"id": 1000, "name": "new", "v": 1.0}


def test_a_table_that_was_scanned_is_in_a_file_from_then_on(
    lake: Path, scanned: list[object]
) -> None:
    with opened(lake) as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR, v DOUBLE)")
        session.table("t").insert(rows())
        assert everything(session) == rows().to_pylist()
    assert len(copies(lake)) == 1
    scanned.clear()
    with opened(lake) as session:
        assert everything(session) == rows().to_pylist()
        assert not scanned
        assert session.ledger.verify(data=True).ok


def test_p17_a_file_that_is_not_what_was_written_is_not_read_and_a_check_tells_of_it(
    loaded: Path,
) -> None:
    (path,) = copies(loaded)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with opened(loaded) as session:
        assert everything(session) == rows().to_pylist()
        report = session.ledger.verify(data=True)
        assert not report.ok
        assert f"its copy {path.name} is not what was written" in str(report)


def test_p17_a_file_that_is_named_by_somebody_else_is_found(loaded: Path) -> None:
    import hashlib

    (path,) = copies(loaded)
    forged = rows().set_column(2, "v", pa.array([-1.0] * ROWS))
    with pa.OSFile(str(path), "wb") as sink:
        batches = files.with_rowids(forged.to_batches())
        schema = pa.schema([current.ROWID_FIELD, *forged.schema])
        with pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    with beside(loaded) as store:
        digest = hashlib.sha256(path.read_bytes()).digest()
        store.execute("UPDATE copies SET sha256 = ?", [digest])
    with opened(loaded) as session:
        assert not session.ledger.verify(data=True).ok


def test_a_file_that_is_gone_is_missed_by_nobody(loaded: Path) -> None:
    (path,) = copies(loaded)
    path.unlink()
    with opened(loaded) as session:
        assert everything(session) == rows().to_pylist()
        assert session.ledger.verify(data=True).ok
    assert len(copies(loaded)) == 1


def test_p18_erasing_a_row_removes_every_copy_that_has_it(loaded: Path) -> None:
    with opened(loaded) as session, opened(loaded) as other:
        everything(other)  # which has a copy of before
        everything(session)
        session.erase("t", 41, reason="asked")
        assert not copies(loaded)
        (late,) = other._catalog().lake.cache._tables.values()
        late.in_file = None
        files.write_files(other._catalog().lake)
        assert not copies(loaded)
    with opened(loaded) as session:
        assert len(everything(session)) == ROWS - 1
    for path in copies(loaded):
        assert b"person 41" not in path.read_bytes()


def test_p18_what_is_told_of_a_row_that_left_its_table_is_in_no_copy_either(loaded: Path) -> None:
    with opened(loaded) as session:
        session.sql("DELETE FROM t WHERE id = 41")
        session.journal.erase("41", reason="asked")
        assert not copies(loaded)


def test_p18_no_copy_outlives_the_past_that_it_is_of(loaded: Path) -> None:
    with opened(loaded) as session:
        session.journal.retain(reason="the deal")
        assert len(copies(loaded)) == 1, "which is of the table as it is"
        session.sql("DELETE FROM t WHERE id = 41")
        session._catalog().journal.sealing.flush()
        assert session.journal.retain(reason="the deal") == 1
        assert not copies(loaded)


def test_p18_a_copy_that_cannot_be_removed_keeps_an_erasure_from_its_end(loaded: Path) -> None:
    (path,) = copies(loaded)
    kept = path.with_name(f"{path.stem}x.arrow")
    kept.mkdir()
    with opened(loaded) as session:
        with pytest.raises(affidavit.errors.StoreError, match="cannot be removed"):
            session.erase("t", 41, reason="asked")
        kept.rmdir()
        assert session.erase("t", 41, reason="asked").certificate is not None


def test_p18_who_read_a_table_before_an_erasure_keeps_no_copy_after_it(loaded: Path) -> None:
    with opened(loaded) as session:
        everything(session)
        cached = session._catalog().lake.cache
        (late,) = cached._tables.values()
        session.erase("t", 41, reason="asked")
        assert cached.put(late) is None
        assert not cached._tables


@pytest.mark.parametrize("how", ["load", "scan"])
def test_a_copy_that_cannot_be_written_keeps_nobody_from_anything(lake: Path, how: str) -> None:
    with opened(lake) as session:
        (lake / "copies").write_text("no folder")
        if how == "load":
            session.create_table("t", rows(), primary_key="id")
        else:
            session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR, v DOUBLE)")
            session.table("t").insert(rows())
        assert everything(session) == rows().to_pylist()
        assert session.ledger.verify(data=True).ok


def test_what_a_change_brings_into_memory_counts_and_what_is_mapped_does_not(
    loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current, "PART_ROWS", 1)
    with opened(loaded) as session:
        everything(session)
        (held,) = session._catalog().lake.cache._tables.values()
        assert held.size == 0
        session.sql("UPDATE t SET v = 0 WHERE id = 5")
        everything(session)
        (held,) = session._catalog().lake.cache._tables.values()
        assert held.size == held.rows.nbytes, "its one batch is another"


def test_dropping_a_table_removes_its_copy(loaded: Path) -> None:
    with opened(loaded) as session:
        everything(session)
        session.sql("DROP TABLE t")
        assert not copies(loaded)
        assert not session._catalog().lake.cache._tables


def test_a_file_that_a_crash_left_is_removed_once_it_is_old(loaded: Path) -> None:
    (path,) = copies(loaded)
    left = path.with_name(f"{path.stem}0.arrow")
    left.write_bytes(b"half")
    with opened(loaded):
        assert left.exists()
    os.utime(left, (1, 1))
    with opened(loaded):
        assert copies(loaded) == [path]


def test_a_load_that_is_refused_leaves_no_file(lake: Path) -> None:
    twice = pa.concat_tables([rows(), rows().slice(0, 1)])
    with opened(lake) as session, pytest.raises(affidavit.errors.ConstraintError):
        session.create_table("t", twice, primary_key="id")
    assert not copies(lake)


def test_a_lake_that_is_only_read_uses_the_file_and_writes_none(
    loaded: Path, scanned: list[object]
) -> None:
    with affidavit.connect(loaded, read_only=True) as session:
        assert everything(session) == rows().to_pylist()
        assert not scanned
    (path,) = copies(loaded)
    path.unlink()
    with affidavit.connect(loaded, read_only=True) as session:
        assert everything(session) == rows().to_pylist()
    assert not copies(loaded)
