"""Delta and Iceberg tables, as the real libraries write, change and read them."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import struct
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import SessionContext
from tests.support.lakes import vectors
from tests.support.optional import library

import affidavit
from affidavit.catalog.sources.files.iceberg_metadata import newest_metadata
from affidavit.errors import (
    AffidavitError,
    PathNotAllowedError,
    ReadOnlyError,
    SourceError,
    SqlError,
    TableExistsError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FILTERS = 25
START = datetime(2024, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)
WORDS = ("", "a", "A", "ä", "zz", "it's", "\U0001f980", "a" * 60 + "b", "a" * 60 + "c")
FLOATS = (0.0, -0.0, 1.5, -1.5, 1e300, float("inf"), float("-inf"), float("nan"))


def rows(first: int, count: int, seed: int = 1) -> pa.Table:
    """Return rows with NULL, NaN and neighbours of bounds, so that files overlap a little."""
    draw = random.Random(seed + first)

    def some(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array([None if draw.random() < 0.15 else v for v in values], kind)

    at = range(first, first + count)
    us = [START + timedelta(microseconds=i * 333 + draw.randrange(3)) for i in at]
    return pa.table(
        {
            "id": pa.array(at, pa.int64()),
            "n": some([i % 50 - 25 for i in at], pa.int32()),
            "s": some([draw.choice(WORDS) for _ in at], pa.string()),
            "f": some([draw.choice(FLOATS) for _ in at], pa.float64()),
            "d": some([date(2024, 1, 1) + timedelta(days=i // 40) for i in at], pa.date32()),
            "ts": some(us, pa.timestamp("us", "UTC")),
            "tn": some([each.replace(tzinfo=None) for each in us], pa.timestamp("us")),
            "c": some([Decimal(i) / 8 for i in at], pa.decimal128(12, 3)),
            "b": some([i % 2 == 0 for i in at], pa.bool_()),
            "raw": some([bytes([i % 256]) for i in at], pa.binary()),
            "l": some([[i, None] for i in at], pa.list_(pa.int64())),
            "p": some([draw.choice(WORDS[1:]) for _ in at], pa.string()),
        }
    )


def condition(draw: random.Random, data: pa.Table, depth: int = 3) -> str:
    """Return a random filter, whose values are mostly those of rows."""
    shape = draw.random() if depth else 1.0 - draw.random() / 2
    if shape < 0.25:
        return f"({condition(draw, data, depth - 1)} AND {condition(draw, data, depth - 1)})"
    if shape < 0.4:
        return f"({condition(draw, data, depth - 1)} OR {condition(draw, data, depth - 1)})"
    if shape < 0.5:
        return f"NOT ({condition(draw, data, depth - 1)})"
    column = draw.choice([name for name in data.column_names if name not in {"raw", "l"}])
    if shape < 0.57:
        return f"{column} IS {draw.choice(['', 'NOT '])}NULL"
    if column == "b":
        return draw.choice(["b", "b = false", "b <> true"])

    def value() -> str:
        found = data[column][draw.randrange(data.num_rows)].as_py()
        match found:
            case None:
                return "NULL"
            case bool() | int() | Decimal():
                return str(found)
            case float():
                return f"'{found!r}'::DOUBLE"
            case datetime():
                kind = (
                    'Timestamp(Microsecond, Some("UTC"))'
                    if found.tzinfo
                    else "Timestamp(Microsecond, None)"
                )
                return f"arrow_cast('{found:%Y-%m-%dT%H:%M:%S.%f}{'Z' if found.tzinfo else ''}', '{kind}')"
            case date():
                return f"DATE '{found}'"
        return "'" + found.replace("'", "''") + "'"

    if shape < 0.65:
        return f"{column} IN ({value()}, {value()})"
    if shape < 0.72:
        return f"{column} BETWEEN {value()} AND {value()}"
    return f"{column} {draw.choice(['=', '<>', '<', '<=', '>', '>='])} {value()}"


def assert_same(session: affidavit.Session, table: str, data: pa.Table, seed: int = 5) -> None:
    """Compare a table with what its library says is in it, under random filters."""
    plain = SessionContext()
    plain.register_record_batches("t", [data.combine_chunks().to_batches()])
    draw = random.Random(seed)
    whole = session.sql(f"SELECT * FROM {table} ORDER BY id").to_arrow()
    assert whole.column_names == data.column_names
    expected = data.sort_by("id")
    for name in data.column_names:
        # as text, since NaN is not equal to itself
        assert repr(whole[name].to_pylist()) == repr(expected[name].to_pylist()), name
    assert session.sql(f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": data.num_rows}]
    for _ in range(FILTERS):
        where = condition(draw, data)
        text = (
            "SELECT id FROM {} WHERE "
            + where.replace("{", "{{").replace("}", "}}")
            + " ORDER BY id"
        )
        found = session.sql(text.format(table)).to_arrow()["id"].to_pylist()
        assert found == plain.sql(text.format("t")).to_arrow_table()["id"].to_pylist(), where


# --- Delta ----------------------------------------------------------------------------------------


@pytest.fixture
def deltalake() -> Any:
    return library("deltalake", "deltalake")


@pytest.fixture
def sales(deltalake: Any, tmp_path: Path) -> Path:
    """A small Delta table of two versions."""
    path = tmp_path / "sales"
    data = pa.table({"id": [1, 2, 3], "region": ["n", "s", None], "amount": [1.5, None, 2.0]})
    deltalake.write_deltalake(path, data, partition_by=["region"])
    deltalake.write_deltalake(path, data.slice(0, 1), mode="append")
    return path


def count(session: affidavit.Session, table: str) -> int:
    found = session.sql(f"SELECT count(*) AS n FROM {table}").to_pylist()
    return int(found[0]["n"])


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


# --- Iceberg --------------------------------------------------------------------------------------


class Ice:
    """A catalog of the tests' own, over a folder."""

    def __init__(self, warehouse: Path) -> None:
        memory = library("pyiceberg.catalog.memory", "'pyiceberg[sql-sqlite]'")
        self.catalog = memory.InMemoryCatalog("tests", warehouse=warehouse.as_uri())
        self.catalog.create_namespace("main")
        self.warehouse = warehouse

    def table(self, name: str, schema: Any, **options: Any) -> Any:
        return self.catalog.create_table(f"main.{name}", schema=schema, **options)

    def folder(self, name: str, data: pa.Table) -> Path:
        """Make a table of some rows, and return where it is."""
        self.table(name, data.schema).append(data)
        return self.warehouse / "main" / name

    def close(self) -> None:
        self.catalog.engine.dispose()


@pytest.fixture
def ice(tmp_path: Path) -> Any:
    made = Ice(tmp_path / "warehouse")
    yield made
    made.close()


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
    assert found == [{"id": 1, "u": str(given)}]
    with pytest.raises(SqlError, match=r"'nothing'.*unknown"):
        session.sql("SELECT nothing FROM t")


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


# --- what is refused ------------------------------------------------------------------------------


def test_a_session_of_some_folders_attaches_none_and_reads_what_is_attached(
    lake: Path, sales: Path, ice: Ice, tmp_path: Path
) -> None:
    """Its metadata names any file of the machine; whoever attached it answered for it."""
    folder = ice.folder("t", rows(0, 5))
    with affidavit.connect(lake, allowed_paths=[tmp_path / "elsewhere"]) as session:
        for path in (str(sales), str(folder), "s3://bucket/x"):
            with pytest.raises(PathNotAllowedError):
                session.attach("x", path, format="delta")
    with affidavit.connect(lake, allowed_paths=[tmp_path]) as session:
        for path, kind in ((sales, "delta"), (folder, "ICEBERG")):
            with pytest.raises(SourceError, match="names files itself.*without allowed_paths"):
                session.attach("x", path)
            with pytest.raises(SourceError, match="names files itself"):
                session.sql(f"CREATE EXTERNAL TABLE x STORED AS {kind} LOCATION '{path}'")
        assert session.sql("SELECT * FROM system.tables").to_pylist() == []
    with affidavit.connect(lake) as session:
        session.attach("d", sales)
        session.attach("i", folder)
    with affidavit.connect(lake, allowed_paths=[tmp_path / "elsewhere"]) as session:
        assert (count(session, "d"), count(session, "i")) == (4, 5)


@pytest.mark.parametrize("name", ["100%", "a b", "a+b", "ü"])
def test_a_folder_may_have_any_name(
    session: affidavit.Session, deltalake: Any, tmp_path: Path, name: str
) -> None:
    """Names were compared decoded once with names decoded twice."""
    deltalake.write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    (tmp_path / "t").rename(tmp_path / name)
    session.attach("t", tmp_path / name)
    assert session.sql("SELECT id FROM t").to_pylist() == [{"id": 1}]


def test_a_constant_filter_is_asked_of_tables_and_views_alike(
    session: affidavit.Session, sales: Path, tmp_path: Path
) -> None:
    """datafusion-python cannot hand such a filter over: views went on reading what cannot take it."""
    session.attach("sales", sales)
    session.create_table("big", pa.table({"id": range(5000)}))
    begun = session.sql("SELECT max(seq) AS n FROM system.ledger").to_pylist()[0]["n"]
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.executescript("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)")
    connection.close()
    session.attach("old", f"sqlite:///{tmp_path / 'x.db'}")
    session.sql("CREATE VIEW of_sales AS SELECT id FROM sales")
    session.sql("CREATE VIEW of_big AS SELECT id FROM big")
    session.sql("CREATE VIEW of_old AS SELECT id FROM old.main.t")
    session.sql("CREATE VIEW of_views AS SELECT id FROM of_sales UNION ALL SELECT id FROM of_big")
    for name in (
        "sales", "big", "old.main.t", "of_sales", "of_big", "of_old", "of_views",
        f"as_of('big', {begun})",
    ):  # fmt: skip
        found = session.sql(f"SELECT id FROM {name} WHERE id BETWEEN NULL AND 3")
        assert found.to_pylist() == [], name
    found = session.sql("SELECT seq FROM journal WHERE seq BETWEEN NULL AND 3")
    assert found.to_pylist() == []


def test_a_table_that_cannot_be_opened_fails_who_reads_it(
    lake: Path, sales: Path, tmp_path: Path
) -> None:
    """Its name may be a column's: such a statement failed too."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    for tenant in (None, "default"):
        with affidavit.connect(lake, tenant=tenant) as session:
            session.attach(f"gone_{tenant}".lower(), sales)
            session.attach(f"file_{tenant}".lower(), tmp_path / "x.csv")
            session.sql(f"CREATE VIEW v_{tenant} AS SELECT id FROM gone_{tenant}")
    shutil.rmtree(sales)
    (tmp_path / "x.csv").unlink()
    with affidavit.connect(lake) as session:
        for name in ("gone_none", "gone_default", "v_none", "v_default"):
            assert session.sql(f"SELECT 1 AS {name}").to_pylist() == [{name: 1}]
            with pytest.raises(SourceError, match="gone_"):
                session.sql(f"SELECT * FROM {name}").to_arrow()
        assert session.sql("SELECT 1 AS file_default").to_pylist() == [{"file_default": 1}]
        session.create_table("t", [{"gone_default": 1}])
        session.sql("UPDATE t SET gone_default = 2")
        assert session.sql("SELECT * FROM t").to_pylist() == [{"gone_default": 2}]


def test_a_view_that_was_made_a_statement_runs_nothing(lake: Path, tmp_path: Path) -> None:
    with affidavit.connect(lake) as session:
        session.sql("CREATE VIEW v AS SELECT 1 AS id")
    connection = sqlite3.connect(lake / "catalog.db")
    copy = f"COPY (SELECT 1 AS id) TO '{tmp_path / 'x.csv'}'"
    connection.execute(
        "UPDATE tables SET definition = replace(definition, ?, ?)", ("SELECT 1 AS id", copy)
    )
    connection.commit()
    connection.close()
    with affidavit.connect(lake) as session, pytest.raises(SqlError):
        session.sql("SELECT * FROM v").to_arrow()
    assert not (tmp_path / "x.csv").exists()


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


def test_a_failed_attach_leaves_nothing(
    session: affidavit.Session, sales: Path, ice: Ice, tmp_path: Path
) -> None:
    folder = ice.folder("t", rows(0, 5))
    broken = tmp_path / "broken"
    (broken / "_delta_log").mkdir(parents=True)
    (broken / "_delta_log" / "00000000000000000000.json").write_text("{not json\n")
    torn = tmp_path / "torn" / "metadata"
    torn.mkdir(parents=True)
    (torn / "v1.metadata.json").write_text("{}")
    for path, options in (
        (sales, {"version": 99}),
        (sales, {"version": -1}),
        (sales, {"version": "x"}),
        (sales, {"versoin": 1}),
        (sales, {"format": "iceberg"}),
        (folder, {"format": "delta"}),
        (folder, {"snapshot_id": 1}),
        (broken, {}),
        (torn.parent, {}),
        (tmp_path / "nothing", {"format": "delta"}),
        (tmp_path / "nothing", {"format": "iceberg"}),
    ):
        with pytest.raises(SourceError):
            session.attach("x", path, **options)
    for text in (
        f"CREATE EXTERNAL TABLE x (id INT) STORED AS DELTA LOCATION '{sales}'",
        f"CREATE EXTERNAL TABLE x STORED AS DELTA PARTITIONED BY (region) LOCATION '{sales}'",
        f"CREATE EXTERNAL TABLE x STORED AS DELTA LOCATION '{sales}' OPTIONS ('format.a' 'b')",
        f"CREATE UNBOUNDED EXTERNAL TABLE x STORED AS ICEBERG LOCATION '{sales}'",
        f"CREATE EXTERNAL TABLE x STORED AS DELTA LOCATION '{sales}' LOCATION '/'",
        f"CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{sales}' OPTIONS (",
        f"CREATE EXTERNAL TABLE x STORED AS DELTA STORED AS DELTA LOCATION '{sales}'",
        f"CREATE EXTERNAL TABLE x STORED FOO DELTA LOCATION '{sales}'",
        f"CREATE EXTERNAL TABLE x STORED AS DELTA LOCATION '{sales}' "
        "OPTIONS ('version' '0') OPTIONS ('version' '1')",
        f"CREATE EXTERNAL TABLE x STORED AS DELTA LOCATION '{sales}' OPTIONS ('version' '\u0660')",
        f"CREATE EXTERNAL TABLE x STORED AS DELTA LOCATION E'{sales}'",
        f"CREATE EXTERNAL TABLE x LOCATION '{sales}'",
        "CREATE EXTERNAL TABLE x STORED AS DELTA",
    ):
        with pytest.raises(AffidavitError):
            session.sql(text)
    assert session.sql("SELECT * FROM system.tables").to_pylist() == []
    session.attach("x", sales)
    with pytest.raises(TableExistsError):
        session.attach("x", sales)
    assert count(session, "x") == 4


def test_a_table_that_went_away_is_named_and_breaks_nothing_else(
    session: affidavit.Session, sales: Path, ice: Ice
) -> None:
    folder = ice.folder("t", rows(0, 5))
    session.attach("sales", sales)
    session.attach("ice", folder)
    for file in [*sales.rglob("*.parquet"), *folder.rglob("*.parquet")]:
        file.unlink()
    for name in ("sales", "ice"):
        with pytest.raises(SourceError, match=f"'{name}'"):
            session.sql(f"SELECT * FROM {name}").to_arrow()
    shutil.rmtree(sales)
    shutil.rmtree(folder)
    for name in ("sales", "ice"):
        with pytest.raises(SourceError, match=f"'{name}'"):
            session.sql(f"SELECT * FROM {name}")
        session.detach(name)
    assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]


@pytest.mark.parametrize(("module", "kind"), [("deltalake", "delta"), ("pyiceberg", "iceberg")])
def test_a_library_that_is_missing_is_named(
    session: affidavit.Session, tmp_path: Path, monkeypatch: Any, module: str, kind: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=rf"pip install 'affidavit\[{kind}\]'"):
        session.attach("x", tmp_path, format=kind)
