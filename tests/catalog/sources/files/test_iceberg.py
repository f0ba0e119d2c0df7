"""Iceberg tables, as the real library writes, changes and reads them."""

from __future__ import annotations

import json
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.optional import library
from tests.support.table_formats import Ice, assert_same, count, rows

import affidavit
from affidavit.catalog.sources.files.iceberg_metadata import newest_metadata
from affidavit.errors import SourceError


@pytest.mark.fuzz
@pytest.mark.parametrize("partition", ["p", "d", "n", "bucket", "month", "truncate", ""])
def test_an_iceberg_table_gives_pyicebergs_own_answer(
    session: affidavit.Session, ice: Ice, partition: str
) -> None:
    transforms = library("pyiceberg.transforms", "pyiceberg")
    if partition in {"bucket", "month", "truncate"}:
        library("pyiceberg_core", "pyiceberg-core")
    table = ice.table("t", rows(0, 1).schema)
    with table.update_spec() as spec:
        if partition == "bucket":
            spec.add_field("id", transforms.BucketTransform(4))
        elif partition == "month":
            spec.add_field("ts", transforms.MonthTransform())
        elif partition == "truncate":
            spec.add_field("s", transforms.TruncateTransform(2))
        elif partition:
            spec.add_identity(partition)
    for first in range(0, 400, 100):
        table.append(rows(first, 100))
    table.delete("id >= 250 and id < 260")
    session.attach("t", ice.warehouse / "main" / "t")
    assert_same(session, "t", table.scan().to_arrow())


@pytest.mark.slow
def test_an_iceberg_schema_that_changed_is_read_as_it_is_now(
    session: affidavit.Session, ice: Ice
) -> None:
    types = library("pyiceberg.types", "pyiceberg")
    table = ice.table("t", rows(0, 1).schema)
    table.append(rows(0, 80))
    first = table.current_snapshot().snapshot_id
    with table.update_schema() as schema:
        schema.add_column("late", types.LongType())
        schema.rename_column("s", "renamed")
        schema.update_column("n", types.LongType())
        schema.delete_column("raw")
        schema.move_first("p")
    later = rows(80, 80).drop_columns(["raw"])
    later = later.append_column("late", pa.array(range(80), pa.int64()))
    names = ["renamed" if name == "s" else name for name in later.column_names]
    later = later.rename_columns(names)
    later = later.set_column(1, "n", later["n"].cast(pa.int64()))
    table.append(later.select([field.name for field in table.schema().fields]))
    folder = ice.warehouse / "main" / "t"
    session.attach("t", folder)
    session.attach("then", folder, snapshot_id=first)
    assert_same(session, "t", table.scan().to_arrow())
    assert_same(session, "then", table.scan(snapshot_id=first).to_arrow())


def delete_file(table: Any, path: Path, data: pa.Table, content: str) -> None:
    """Commit a file of deletes, as engines that merge on read write them."""
    manifest = library("pyiceberg.manifest", "pyiceberg")
    typedef = library("pyiceberg.typedef", "pyiceberg")
    pq.write_table(data, path)
    found = manifest.DataFile.from_args(
        content=manifest.DataFileContent[content], file_path=path.as_uri(),
        file_format=manifest.FileFormat.PARQUET, partition=typedef.Record(),
        record_count=data.num_rows, file_size_in_bytes=path.stat().st_size, column_sizes={},
        value_counts={}, null_value_counts={}, nan_value_counts={}, lower_bounds={},
        upper_bounds={}, key_metadata=None, split_offsets=[4], equality_ids=[1], sort_order_id=None,
    )  # fmt: skip
    found.spec_id = 0
    with table.transaction() as change, change.update_snapshot().fast_append() as files:
        files.append_data_file(found)


@pytest.mark.slow
def test_rows_that_a_delete_file_deletes_are_gone(session: affidavit.Session, ice: Ice) -> None:
    folder = ice.folder("t", rows(0, 200))
    table = ice.catalog.load_table("main.t")
    data = next(iter(table.scan().plan_files())).file.file_path
    deletes = pa.table({"file_path": [data, data], "pos": pa.array([3, 150], pa.int64())})
    delete_file(table, folder / "data" / "deletes.parquet", deletes, "POSITION_DELETES")
    session.attach("t", folder)
    expected = table.scan().to_arrow()
    assert expected.num_rows == 198
    assert_same(session, "t", expected)


def test_deletes_by_equality_are_an_error_and_no_wrong_answer(
    session: affidavit.Session, ice: Ice
) -> None:
    folder = ice.folder("t", rows(0, 20))
    table = ice.catalog.load_table("main.t")
    path = folder / "data" / "deletes.parquet"
    delete_file(table, path, pa.table({"id": [3]}), "EQUALITY_DELETES")
    session.attach("t", folder)
    for text in ("SELECT id FROM t", "SELECT count(*) FROM t"):
        with pytest.raises(SourceError, match=r"'t'.*equality deletes"):
            session.sql(text).to_arrow()
    assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_a_uuid_is_text_and_what_cannot_be_given_is_named(
    session: affidavit.Session, ice: Ice
) -> None:
    types = library("pyiceberg.types", "pyiceberg")
    schema = library("pyiceberg.schema", "pyiceberg").Schema(
        types.NestedField(1, "id", types.LongType()), types.NestedField(2, "u", types.UUIDType())
    )
    given = UUID("12345678-0000-0000-0000-000000000001")
    ice.table("t", schema).append(
        pa.table({"id": [1, 2], "u": pa.array([given.bytes, None], pa.uuid())})
    )
    folder = ice.warehouse / "main" / "t"
    newest = folder / "metadata" / newest_metadata_of(folder)
    told = json.loads(newest.read_text())
    told["format-version"], told["next-row-id"] = 3, 0  # pyiceberg reads it, and writes it not yet
    column = {"id": 3, "name": "nothing", "required": False, "type": "unknown"}
    told["schemas"][0]["fields"].append(column)
    newest.write_text(json.dumps(told))
    session.attach("t", folder)
    found = session.sql(f"SELECT * FROM t WHERE u = '{given}'").to_pylist()
    assert found == [{"id": 1, "u": str(given), "nothing": None}]


def newest_metadata_of(folder: Path) -> str:
    return newest_metadata(each.name for each in (folder / "metadata").iterdir()) or ""


def test_an_iceberg_table_is_found_by_its_folder_or_its_metadata(
    session: affidavit.Session, ice: Ice
) -> None:
    folder = ice.folder("t", rows(0, 10))
    session.attach("t", folder)
    table = ice.catalog.load_table("main.t")
    path = Path(table.metadata_location.removeprefix("file://"))
    session.attach("then", path)
    begun = session.sql("SELECT id FROM t")
    table.append(rows(10, 10))
    assert begun.to_arrow().num_rows == 10
    assert (count(session, "t"), count(session, "then")) == (20, 10)
    session.sql(f"CREATE EXTERNAL TABLE sq STORED AS ICEBERG LOCATION '{folder}'")
    assert count(session, "sq") == 20
    with pytest.raises(SourceError, match=r"no snapshot 5; there are \["):
        session.attach("none", folder, snapshot_id=5)


def test_the_newest_metadata_is_told_by_its_number() -> None:
    names = ["00000-a.metadata.json", "00010-b.metadata.json", "00009-c.metadata.json", "snap.avro"]
    assert newest_metadata(names) == "00010-b.metadata.json"
    assert newest_metadata(["v1.metadata.json", "v2.gz.metadata.json"]) == "v2.gz.metadata.json"
    assert newest_metadata(["version-hint.text"]) is None
    with pytest.raises(SourceError, match="00003-a.*00003-b"):
        newest_metadata(["00003-a.metadata.json", "00003-b.metadata.json", "00002-c.metadata.json"])


def test_a_version_hint_decides(session: affidavit.Session, ice: Ice) -> None:
    """Two writers without a catalog can leave two files of one version."""
    folder = ice.folder("t", rows(0, 10))
    metadata = folder / "metadata"
    last = max(metadata.glob("*.metadata.json"))
    shutil.copy(last, metadata / last.name.replace("-", "-x", 1))
    with pytest.raises(SourceError, match="attach the one that is meant"):
        session.attach("t", folder)
    (metadata / "version-hint.text").write_text(last.name)
    session.attach("t", folder)
    assert count(session, "t") == 10


def test_null_lists_and_long_decimals_are_asked_here(session: affidavit.Session, ice: Ice) -> None:
    long = Decimal("12345678901234567890123456789.123")
    data = pa.table(
        {
            "id": [0, 1, 2],
            "l": pa.array([[1], None, []], pa.list_(pa.int64())),
            "m": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
            "st": pa.array([{"a": 1}, None, {"a": None}], pa.struct({"a": pa.int64()})),
            "c": pa.array([long, None, Decimal("1.5")], pa.decimal128(38, 3)),
        }
    )
    session.attach("t", ice.folder("t", data))
    for name in ("l", "m", "st"):
        found = session.sql(f"SELECT id FROM t WHERE {name} IS NULL").to_pylist()
        assert found == [{"id": 1}], name
        found = session.sql(f"SELECT id FROM t WHERE {name} IS NOT NULL ORDER BY id").to_pylist()
        assert found == [{"id": 0}, {"id": 2}], name
    found = session.sql(f"SELECT id FROM t WHERE c = CAST('{long}' AS DECIMAL(38, 3))")
    assert found.to_pylist() == [{"id": 0}]


def test_the_first_and_the_last_day_are_found(session: affidavit.Session, ice: Ice) -> None:
    """Its library plans with the day after, which has no name."""
    transforms = library("pyiceberg.transforms", "pyiceberg")
    library("pyiceberg_core", "pyiceberg-core")
    days = pa.table({"id": [0, 1], "d": pa.array([date(1, 1, 1), date(9999, 12, 31)])})
    table = ice.table("t", days.schema)
    with table.update_spec() as spec:
        spec.add_field("d", transforms.YearTransform())
    table.append(days)
    session.attach("t", ice.warehouse / "main" / "t")
    for where, found in (
        ("d > '9999-12-31'", []), ("d <= '9999-12-31'", [0, 1]), ("d < '0001-01-01'", []),
        ("d >= '0001-01-02'", [1]),
    ):  # fmt: skip
        text = f"SELECT id FROM t WHERE {where} ORDER BY id"
        assert session.sql(text).to_arrow()["id"].to_pylist() == found, where
