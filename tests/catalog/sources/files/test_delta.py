"""Delta tables, as the real library writes, changes and reads them."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.optional import library
from tests.support.table_formats import Ice, assert_same, count, rows

import affidavit
from affidavit.errors import ReadOnlyError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.fuzz
@pytest.mark.parametrize("partition", [["p"], ["d"], ["n"], ["b", "p"], ["tn"], []])
def test_a_delta_table_gives_deltalakes_own_answer(
    session: affidavit.Session, deltalake: Any, tmp_path: Path, partition: list[str]
) -> None:
    path = tmp_path / "t"
    for first in range(0, 400, 100):
        deltalake.write_deltalake(
            path, rows(first, 100), mode="append", partition_by=partition or None
        )
    table = deltalake.DeltaTable(path)
    table.delete("id % 7 = 3")
    table.update(updates={"s": "'changed'"}, predicate="id % 11 = 1")
    session.attach("t", path)
    assert_same(session, "t", deltalake.DeltaTable(path).to_pyarrow_table())


@pytest.mark.slow
def test_columns_added_later_are_null_in_older_files(
    session: affidavit.Session, deltalake: Any, tmp_path: Path
) -> None:
    path = tmp_path / "t"
    deltalake.write_deltalake(path, rows(0, 60))
    later = rows(60, 60).append_column("late", pa.array(range(60), pa.int64()))
    deltalake.write_deltalake(path, later, mode="append", schema_mode="merge")
    session.attach("t", path)
    assert_same(session, "t", deltalake.DeltaTable(path).to_pyarrow_table())


def test_statistics_that_cut_a_moment_hide_no_row(
    session: affidavit.Session, deltalake: Any, tmp_path: Path
) -> None:
    """Delta's statistics have milliseconds, and its moments microseconds."""
    path = tmp_path / "t"
    moment = datetime(2024, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)
    data = pa.table({"id": [1], "ts": pa.array([moment], pa.timestamp("us", "UTC"))})
    deltalake.write_deltalake(path, data)
    rewrite(path, lambda add: add.update(stats=add["stats"].replace("123456Z", "123Z")))
    session.attach("t", path)
    zoned = 'Timestamp(Microsecond, Some("UTC"))'
    for where in (">", "="):
        micros = 123_456 if where == "=" else 123_400
        text = f"SELECT id FROM t WHERE ts {where} arrow_cast('2024-01-01T00:00:00.{micros}Z', '{zoned}')"
        assert session.sql(text).to_pylist() == [{"id": 1}]


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every ``add`` of a table's log."""
    for log in (path / "_delta_log").glob("*.json"):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            if "add" in line:
                change(line["add"])
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))


def deletion_vector(deleted: list[int]) -> dict[str, Any]:
    """Return a deletion vector as Delta's protocol writes it into the log."""
    bitmaps = library("pyroaring", "pyiceberg")
    raw = struct.pack("<IQI", 1681511377, 1, 0) + bitmaps.BitMap(deleted).serialize()
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    padded, text = raw + b"\0" * (-len(raw) % 4), ""
    for (word,) in struct.iter_unpack(">I", padded):
        text += "".join(digits[word // 85**at % 85] for at in (4, 3, 2, 1, 0))
    return {
        "storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(raw),
        "cardinality": len(deleted),
    }  # fmt: skip


def test_rows_that_a_deletion_vector_deletes_are_gone(
    session: affidavit.Session, deltalake: Any, tmp_path: Path
) -> None:
    path = tmp_path / "t"
    deltalake.write_deltalake(
        path, pa.table({"id": range(100)}), configuration={"delta.enableDeletionVectors": "true"}
    )
    vector = deletion_vector([0, 5, 99])
    rewrite(path, lambda add: add.update(deletionVector=vector))
    session.attach("t", path)
    found = session.sql("SELECT id FROM t ORDER BY id").to_arrow()["id"].to_pylist()
    assert found == [i for i in range(100) if i not in {0, 5, 99}]
    assert count(session, "t") == 97
    assert session.sql("SELECT id FROM t WHERE id < 6 AND id > 4").to_pylist() == []


def test_renamed_columns_are_read_by_their_new_names(
    session: affidavit.Session, deltalake: Any, tmp_path: Path
) -> None:
    """Column mapping: the files have the names of old."""
    path = tmp_path / "t"
    deltalake.write_deltalake(path, pa.table({"old": [1, 2, 3]}))
    log = path / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "protocol" in line:
            line["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}
        if "metaData" in line:
            column = {
                "name": "new", "type": "long", "nullable": True,
                "metadata": {
                    "delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "old",
                },
            }  # fmt: skip
            line["metaData"]["schemaString"] = json.dumps({"type": "struct", "fields": [column]})
            line["metaData"]["configuration"] = {
                "delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "1",
            }  # fmt: skip
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    session.attach("t", path)
    assert session.sql("SELECT new FROM t WHERE new > 1 ORDER BY new").to_pylist() == [
        {"new": 2},
        {"new": 3},
    ]


def test_each_statement_reads_the_newest_version_and_no_other(
    session: affidavit.Session, deltalake: Any, sales: Path
) -> None:
    session.attach("sales", sales)
    session.attach("then", sales, version=0)
    begun = session.sql("SELECT count(*) AS n FROM sales a JOIN sales b ON a.id = b.id")
    before = count(session, "sales")
    deltalake.write_deltalake(
        sales, pa.table({"id": [9], "region": ["n"], "amount": [1.0]}), mode="append"
    )
    assert begun.to_pylist() == [{"n": 6}]
    assert (before, count(session, "sales"), count(session, "then")) == (4, 5, 3)


def test_a_delta_table_joins_with_tables_and_searches(
    session: affidavit.Session, sales: Path
) -> None:
    session.attach("sales", sales)
    session.create_table("names", [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}])
    session.create_vector_table("docs", vectors(20))
    found = session.sql(
        "SELECT n.name, sum(s.amount) AS total FROM sales s JOIN names n ON n.id = s.id "
        "JOIN vector_search('docs', $q, 20) d ON d.id = s.id GROUP BY n.name ORDER BY n.name",
        {"q": [1.0] * 8},
    )
    assert found.to_pylist() == [{"name": "one", "total": 3.0}, {"name": "two", "total": None}]
    assert session.sql("SELECT id FROM sales LIMIT 1").to_arrow().num_rows == 1
    assert session.sql("SELECT 1 AS one FROM sales WHERE 1 = 0 AND id > 2").to_pylist() == []


def test_sql_makes_remembers_and_drops_one(lake: Path, sales: Path) -> None:
    with affidavit.connect(lake) as session:
        session.sql(f"CREATE EXTERNAL TABLE s STORED AS DELTA LOCATION '{sales}'")
        session.sql(
            f"CREATE EXTERNAL TABLE IF NOT EXISTS old STORED AS delta LOCATION '{sales}' "
            "OPTIONS ('version' '0')"
        )
        assert (count(session, "s"), count(session, "old")) == (4, 3)
        session.sql("CREATE VIEW v AS SELECT region FROM s WHERE id = 2")
    with affidavit.connect(lake) as session:
        assert session.sql("SELECT * FROM v").to_pylist() == [{"region": "s"}]
        kinds = session.sql("SELECT name, kind FROM system.tables WHERE kind = 'external'")
        assert [each["name"] for each in kinds.to_pylist()] == ["old", "s"]
        assert "s" in {
            each["entity_id"] for each in session.sql("SELECT * FROM journal").to_pylist()
        }
        with session.scope(tenant="other") as other, pytest.raises(TableNotFoundError):
            other.sql("SELECT * FROM s")
        session.sql("DROP TABLE old")
        session.detach("s")
        with pytest.raises(TableNotFoundError):
            session.sql("SELECT * FROM s")


@pytest.mark.slow
def test_delta_and_iceberg_tables_are_not_written(
    session: affidavit.Session, sales: Path, ice: Ice
) -> None:
    session.attach("sales", sales)
    session.attach("ice", ice.folder("t", rows(0, 5)))
    for name in ("sales", "ice"):
        for text in (
            f"INSERT INTO {name} (id) VALUES (1)",
            f"UPDATE {name} SET id = 1",
            f"DELETE FROM {name}",
        ):
            with pytest.raises(ReadOnlyError, match=name):
                session.sql(text)
