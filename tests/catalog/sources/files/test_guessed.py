"""What is attached, or named in a query, is known by what it holds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

import affidavit
from affidavit import errors
from affidavit.catalog.sources.files.guessed import guessed

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
TABLE = pa.Table.from_pylist(ROWS)
CSV = b"a,b\n1,x\n2,y\n"


def write(folder: Path, name: str) -> Path:
    path = folder / name
    match name.partition(".")[2]:
        case "parquet" | "data":
            pq.write_table(TABLE, path)
        case "arrow" | "bin":
            feather.write_feather(TABLE, path, compression="uncompressed")
        case "csv":
            path.write_bytes(CSV)
        case "tsv":
            path.write_bytes(CSV.replace(b",", b"\t"))
        case "csv.gz":
            path.write_bytes(gzip.compress(CSV))
        case "csv.bz2":
            path.write_bytes(bz2.compress(CSV))
        case "csv.xz":
            path.write_bytes(lzma.compress(CSV))
        case "json":
            path.write_text(' \n[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]')
        case "json.gz":
            path.write_bytes(gzip.compress(b'[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'))
        case "packed.csv":
            path.write_bytes(gzip.compress(CSV))
        case "jsonl":
            path.write_text('{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n')
    return path


NAMES = ["t.parquet", "t.data", "t.arrow", "t.bin", "t.csv", "t.tsv", "t.csv.gz", "t.csv.bz2",
         "t.csv.xz", "t.json", "t.jsonl", "t.json.gz", "t.packed.csv"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_attached_and_named_in_a_query(session, tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    session.attach("t", path)
    assert session.sql("SELECT * FROM t ORDER BY a").to_pylist() == ROWS
    assert session.sql(f"SELECT * FROM '{path}' ORDER BY a").to_pylist() == ROWS
    assert session.sql(f"FROM '{path}' AS f JOIN t ON f.a = t.a").num_rows == 2


def test_a_database_is_known_by_its_first_bytes(session, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "one.db")) as made:
        made.execute("CREATE TABLE t (a INT)")
        made.commit()
    duckdb.connect(str(tmp_path / "two.db")).execute("CREATE TABLE t (a INT)").close()
    (tmp_path / "one.db").rename(tmp_path / "o%20n e?#.db")
    for name, file in {"one": "o%20n e?#.db", "two": "two.db"}.items():
        session.attach(name, tmp_path / file)
        assert session.sql(f"SELECT * FROM {name}.main.t").to_pylist() == []


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("t", "none.parquet", "there is no file or folder '.*none.parquet'"),
        ("t", "none/*.csv", r"no file is called '.*none/\*.csv'"),
        ("t", "t.unknown", "cannot tell the format of"),
        ("t.csv", "t", "the name comes first, as in attach\\('t', 't.csv'\\)"),
        ("t", "foo://x", r"foo:// is not read: .*'postgresql://'.*'s3://'"),
    ],
)
def test_what_cannot_be_attached_is_told(
    session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.unknown").write_text("a,b")
    with pytest.raises(errors.AffidavitError, match=why):
        session.attach(name, given)


# --- written --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.csv.gz", ""), ("a.csv.gz", "(FORMAT csv)"), ("a.tsv", ""), ("a.tsv", "STORED AS CSV"),
        ("a.ndjson", ""), ("a.jsonl.gz", ""), ("a.feather", ""), ("a.ipc", "(FORMAT ipc)"),
        ("a.txt", "(FORMAT csv, DELIMITER '\\t')"), ("a.parquet", "(COMPRESSION zstd)"),
        ("a.parquet", "(FORMAT parquet, COMPRESSION 'zstd(9)')"), ("a.bin", "(FORMAT tsv)"),
    ],
)  # fmt: skip
def test_what_copy_writes_is_what_its_name_and_its_options_say(
    session, tmp_path: Path, name: str, options: str
) -> None:
    path = tmp_path / name
    session.sql(f"COPY (SELECT 1 AS a, 'x' AS b) TO '{path}' {options}")
    if name == "a.bin":
        assert path.read_text() == "a\tb\n1\tx\n"
        return
    told = {"format": "tsv"} if name == "a.txt" else {}
    session.attach("t", path, **told)
    assert session.sql("SELECT a, b FROM t").to_pylist() == [{"a": 1, "b": "x"}]
    assert guessed(str(path))[1].get("compression") == ("gzip" if name.endswith("gz") else None)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("a.csv", "(FORMAT exl)", "EXL is not written: .* ARROW, CSV, JSON, PARQUET"),
        ("a.csv", "STORED AS orc", "ORC is not written"),
        ("a.avro", "", "does not say its format: write .FORMAT"),
        ("a", "", "does not say its format: write .FORMAT"),
        ("a.csv", "(DELIMITER 'ab')", "DELIMITER is one character of ASCII, got 'ab'"),
        ("a.csv", "(QUOTE '')", "QUOTE is one character of ASCII"),
    ],
)
def test_a_format_that_is_not_written_is_refused_with_those_that_are(
    session, tmp_path: Path, name: str, options: str, why: str
) -> None:
    """One that nobody knows was left out, and a file called t.csv written as CSV."""
    with pytest.raises(errors.AffidavitError, match=why):
        session.sql(f"COPY (SELECT 1 AS a) TO '{tmp_path / name}' {options}")
    assert not list(tmp_path.glob("a*"))


def test_a_path_in_double_quotes_and_another_scheme_are_told_what_to_write(session) -> None:
    for text, why in {
        'SELECT * FROM "https://x/y.csv"': "single quotes",
        "SELECT * FROM 'ftp://x/y.csv'": "s3://, gs://, az://, or https:// to read",
    }.items():
        with pytest.raises(errors.AffidavitError, match=why):
            session.sql(text)


def test_a_format_that_is_none_is_refused_with_those_that_are(session, tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv")
    session.sql("CREATE TABLE kept (a BIGINT, b VARCHAR)")
    for ask in (
        lambda: session.attach("t", path, format="exl"),
        lambda: session.sql(f"CREATE EXTERNAL TABLE t STORED AS exl LOCATION '{path}'"),
        lambda: session.sql(f"COPY kept FROM '{path}' (FORMAT exl)"),
    ):
        with pytest.raises(errors.SourceError, match="(?i)no format 'exl'.* CSV, DELTA,.* PARQUET"):
            ask()


# --- in queries -----------------------------------------------------------------------------------


def test_a_file_in_a_query_is_one_source_of_what_it_reads(
    session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "t.csv")
    session.sql("CREATE TABLE kept AS FROM 't.csv'")
    session.sql("INSERT INTO kept SELECT * FROM 't.csv' WHERE a > 1")
    session.sql("CREATE VIEW seen AS SELECT count(*) AS n FROM 't.csv'")
    assert session.sql("SELECT n FROM seen").to_pylist() == [{"n": 2}]
    monkeypatch.chdir("/")
    assert session.sql("SELECT n FROM seen").to_pylist() == [{"n": 2}]
    monkeypatch.chdir(tmp_path)
    assert session.table("kept").count() == 3
    query = "SELECT trim('x' FROM 'xt.csvx') AS t, 'a' IS DISTINCT FROM 't.csv' AS d FROM 't.csv'"
    assert session.sql(query).to_pylist()[0] == {"t": "t.csv", "d": True}
    with affidavit.connect(tmp_path / "lake", audit="reads", actor="reader") as reading:
        result = reading.sql("SELECT a FROM 't.csv'")
        assert result.num_rows == 2
        record = reading.audit.get_read(result.receipt.read_id)
    assert [table["name"] for table in record.tables] == ["main.t.csv"]
    assert record.rows_returned == 2


def test_a_file_is_named_wherever_a_table_is(
    session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first one behind FROM or JOIN was found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("k,v\n1,2\n")
    (tmp_path / "y.csv").write_text("c\n3\n")
    session.sql("CREATE TABLE t (a INT PRIMARY KEY, b BIGINT) AS VALUES (1, 0), (2, 0)")
    for text, found in (
        ("SELECT * FROM 'x.csv', 'y.csv'", [{"k": 1, "v": 2, "c": 3}]),
        ("SELECT a FROM t WHERE a IN (SELECT k FROM t, 'x.csv')", [{"a": 1}]),
        ("DESCRIBE 'y.csv'", [{"column_name": "c", "data_type": "Int64", "is_nullable": "YES"}]),
        ("UPDATE t SET b = v FROM 'x.csv' WHERE a = k RETURNING b, v", [{"b": 2, "v": 2}]),
        ("MERGE INTO t USING 'x.csv' AS f ON a = k WHEN MATCHED THEN UPDATE SET b = b + v "
         "RETURNING b", [{"b": 4}]),
        ("DELETE FROM t USING 'x.csv' AS f WHERE a = k RETURNING f.v", [{"v": 2}]),
        ("SELECT a FROM t WHERE 'x' IN ('x.csv', 'x') ORDER BY a, 'x'", [{"a": 2}]),
    ):  # fmt: skip
        assert session.sql(text).to_pylist() == found, text
    session.sql("CREATE VIEW both AS SELECT v, c FROM 'x.csv', 'y.csv'")
    monkeypatch.chdir("/")
    assert session.sql("SELECT * FROM both").to_pylist() == [{"v": 2, "c": 3}]


@pytest.mark.parametrize("is_attached", [False, True])
def test_a_read_of_a_file_is_run_again_while_the_file_is_as_it_was(
    tmp_path: Path, *, is_attached: bool
) -> None:
    """One by a path was once told to be gone, and one before any entry ended in an assertion."""
    path = write(tmp_path, "t.csv")
    with affidavit.connect(tmp_path / "lake", audit="reads", store_queries=True) as session:
        if is_attached:
            session.attach("t", path)
        result = session.sql(f"SELECT * FROM {'t' if is_attached else repr(str(path))} ORDER BY a")
        assert result.num_rows == 2
        found = []
        for body in (CSV, CSV.replace(b"x", b"z"), None):
            path.unlink() if body is None else path.write_bytes(body)
            found.append(str(session.audit.replay(result.receipt.read_id)))
    assert found[0].startswith("REPRODUCED")
    assert re.match("EVIDENCE_GONE: .*its files are others now", found[1])
    assert re.match("EVIDENCE_GONE: .*its files cannot be read any more", found[2])


def test_a_session_with_limits_names_no_files(session, tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv")
    session.sql(f"CREATE VIEW seen AS SELECT count(*) AS n FROM '{path}'")
    with session.scope(allowed_paths=[tmp_path]) as limited:
        for text in (f"SELECT * FROM '{path}'", "SELECT n FROM seen"):
            with pytest.raises(errors.AffidavitError, match="by their paths"):
                limited.sql(text).to_arrow()


def test_the_files_of_a_lake_are_not_named_either(session, lake: Path) -> None:
    with pytest.raises(errors.PathNotAllowedError):
        session.sql(f"SELECT * FROM '{lake}/catalog.db'").to_arrow()
