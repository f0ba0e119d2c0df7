"""COPY to a file: written down, and let out by nobody who may not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.outgoing import entries

import affidavit
from affidavit.errors import ExecutionError, TransactionError


def test_what_is_copied_to_a_file_is_written_down(
    session: affidavit.Session, tmp_path: Path, lake: Path
) -> None:
    session.sql("CREATE TABLE src AS SELECT value AS id FROM range(0, 5)")
    path = tmp_path / "out.parquet"
    assert session.sql(f"COPY (SELECT id FROM src) TO '{path}'").rows_affected == 5
    assert pq.read_table(path).num_rows == 5
    assert entries(session, str(path)) == [("copy", None), ("commit", {"rows": 5})]
    other = tmp_path / "other.csv"
    with pytest.raises(ExecutionError):
        session.sql(f"COPY (SELECT 1 / (id - 3) AS x FROM src) TO '{other}'")
    told = ("unsettled", {"error": "ExecutionError"})
    assert entries(session, str(other)) == [("copy", None), told]


def test_a_moment_of_the_past_can_be_copied_and_a_read_only_lake_too(
    session: affidavit.Session, tmp_path: Path, lake: Path
) -> None:
    session.sql("CREATE TABLE src AS SELECT 1 AS id")
    seq = session.journal.recent(1).to_pylist()[0]["seq"]
    session.sql("INSERT INTO src VALUES (2)")
    path = tmp_path / "past.parquet"
    with session.at(seq) as past:
        assert past.sql(f"COPY src TO '{path}'").rows_affected == 1
    assert [action for action, _ in entries(session, str(path))] == ["copy", "commit"]
    last = tmp_path / "reader.parquet"
    with affidavit.connect(lake, read_only=True) as reader:
        assert reader.sql(f"COPY src TO '{last}'").rows_affected == 2
    assert entries(session, str(last)) == []


def test_a_transaction_lets_nothing_out_to_files(
    session: affidavit.Session, tmp_path: Path
) -> None:
    """Its ROLLBACK would take the entries back, and not the file."""
    session.sql("CREATE TABLE src AS SELECT 1 AS id")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "a.parquet")
    session.attach("files", tmp_path / "a.parquet")
    path = tmp_path / "out.parquet"
    for statement in (f"COPY src TO '{path}'", "INSERT INTO files VALUES (2)"):
        with pytest.raises(TransactionError, match="ROLLBACK"), session.transaction():
            session.sql(statement)
    assert not path.exists()
    assert session.sql("SELECT count(*) AS n FROM files").to_pylist() == [{"n": 1}]


def test_rows_for_the_files_of_a_table_are_written_down(
    session: affidavit.Session, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    pq.write_table(pa.table({"id": [1]}), folder / "a.parquet")
    session.attach("files", f"{folder}/", format="parquet")
    assert session.sql("INSERT INTO files VALUES (2), (3)").rows_affected == 2
    assert session.sql("SELECT count(*) AS n FROM files").to_pylist() == [{"n": 3}]
    told = [("insert", {"paths": [f"{folder}/"]}), ("commit", {"rows": 2})]
    assert entries(session, "main.files") == told
