"""COPY with options in brackets, into files and out of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import affidavit
from affidavit import errors


@pytest.fixture
def filled(
    session: affidavit.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> affidavit.Session:
    monkeypatch.chdir(tmp_path)
    session.sql(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, zip VARCHAR, d DATE, n DECIMAL(9,2) DEFAULT 7)"
    )
    session.sql("INSERT INTO t VALUES (1, '007', '2026-01-02', 1.50), (2, NULL, NULL, NULL)")
    return session


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("(HEADER true)", "id,zip,d,n\n1,007,2026-01-02,1.50\n2,,,\n"),
        ("WITH (FORMAT csv, HEADER, DELIMITER ';')", "id;zip;d;n\n1;007;2026-01-02;1.50\n2;;;\n"),
        ("(HEADER off, NULL 'NA')", "1,007,2026-01-02,1.50\n2,NA,NA,NA\n"),
        ("", "id,zip,d,n\n1,007,2026-01-02,1.50\n2,,,\n"),
    ],
)
def test_files_are_written_as_the_options_say(filled, said: str, written: str) -> None:
    assert filled.sql(f"COPY (SELECT * FROM t ORDER BY id) TO 'x.csv' {said}").rows_affected == 2
    assert Path("x.csv").read_text() == written


def test_parts_become_folders(filled) -> None:
    filled.sql("COPY t TO 'parts' (FORMAT parquet, PARTITION_BY (id), COMPRESSION 'zstd(3)')")
    assert {path.name for path in Path("parts").iterdir()} == {"id=1", "id=2"}


@pytest.mark.parametrize(
    "said", ["", "(HEADER true)", "(FORMAT csv, DELIMITER ';', NULL 'NA')", "(HEADER false)"]
)
def test_what_was_written_is_read_again(filled, said: str) -> None:
    filled.sql(f"COPY t TO 'x.csv' {said}")
    before = filled.sql("SELECT * FROM t ORDER BY id").to_pylist()
    filled.sql("TRUNCATE t")
    assert filled.sql(f"COPY t FROM 'x.csv' {said}").rows_affected == 2
    assert filled.sql("SELECT * FROM t ORDER BY id").to_pylist() == before


def test_names_say_which_column_and_others_have_their_defaults(filled) -> None:
    Path("x.csv").write_text("zip,id,more\n00123,5,x\n")
    assert filled.sql("COPY t (id, zip) FROM 'x.csv'").rows_affected == 1
    [row] = filled.sql("SELECT zip, CAST(n AS VARCHAR) AS n FROM t WHERE id = 5").to_pylist()
    assert row == {"zip": "00123", "n": "7.00"}
    Path("y.csv").write_text("6,00456\n")
    assert filled.sql("COPY t (id, zip) FROM 'y.csv' (HEADER false)").rows_affected == 1
    assert filled.sql("SELECT zip FROM t WHERE id = 6").to_pylist() == [{"zip": "00456"}]


def test_names_of_columns_are_found_without_case(filled) -> None:
    Path("x.csv").write_text("ID,Zip\n5,a\n")
    Path("y.csv").write_text("Id,id\n7,6\n")
    filled.sql("COPY t FROM 'x.csv'")
    filled.sql("COPY t (id) FROM 'y.csv'")
    filled.sql('INSERT INTO t BY NAME SELECT 8 AS "ID", \'b\' AS "ZIP"')
    assert filled.sql("SELECT id, zip FROM t WHERE id > 4 ORDER BY id").to_pylist() == [
        {"id": 5, "zip": "a"}, {"id": 6, "zip": None}, {"id": 8, "zip": "b"},
    ]  # fmt: skip


def test_other_formats_are_read_by_names(filled) -> None:
    pq.write_table(pa.table({"zip": ["9"], "id": [9]}), "x.parquet")
    Path("x.json").write_text('[{"id": 10, "zip": "10"}]')
    assert filled.sql("COPY main.t FROM 'x.parquet'").rows_affected == 1
    assert filled.sql("COPY t FROM 'x.json' (FORMAT json, )".replace(", )", ")")).rows_affected == 1
    assert filled.sql("SELECT id, zip FROM t WHERE id > 8 ORDER BY id").to_pylist() == [
        {"id": 9, "zip": "9"}, {"id": 10, "zip": "10"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("COPY t FROM 'none.csv'", "there is no file or folder"),
        ("COPY t FROM 'bad.csv'", "bad.csv', line 4, column 'id': 'x' cannot be cast to BIGINT"),
        ("COPY t (zip, id) FROM 'bad.csv'", "bad.csv', line 4, column 'id': 'x'"),
        ("COPY t (zip, id) FROM 'none*.tsv' (HEADER false)", "none.tsv', line 2, column 'id': 'y'"),
        ("COPY t FROM 'days.csv.gz'", "days.csv.gz', line 3, column 'D': '2026-13-01'"),
        ("COPY t FROM 'few.csv'", "few.csv' has 1 fields in line 2, and 2 columns"),
        ("COPY t FROM 'cases.csv'", "'t' has no column 'ID'|no column 'ID'"),
        ("COPY t FROM 'more.csv'", "'t' has no column 'more'|no column 'more'"),
        ("COPY t (zip, none) FROM 'more.csv'", r"has no columns \['none'\]"),
        ("COPY t FROM 'more.csv' (OIDS)", "COPY has no option OIDS: it has FORMAT, HEADER"),
        ("COPY t FROM 'more.csv' (PARTITION_BY id)", "takes no PARTITION_BY"),
        ("COPY t TO 'x.csv' (HEADER perhaps)", "HEADER is true or false, got perhaps"),
        ("COPY t FROM stdin", r"expected COPY ... FROM 'path'"),
        ("COPY t TO 'x.csv' (HEADER true) more", "COPY"),
        ("COPY t FROM 'same.csv'", "has a row with id = 1 already"),
    ],
)
def test_what_cannot_be_copied_changes_nothing(filled, text: str, why: str) -> None:
    Path("bad.csv").write_text('id,zip\n8,"o\nk"\nx,not\n')
    Path("none.tsv").write_text("a\t1\ny\ty\n")
    Path("days.csv.gz").write_bytes(gzip.compress(b"ID,D\n8,2026-12-01\n9,2026-13-01\n"))
    Path("few.csv").write_text("id,zip\n8\n")
    Path("cases.csv").write_text("ID,Id,zip\n8,9,x\n")
    Path("more.csv").write_text("id,zip,more\n8,ok,1\n")
    Path("same.csv").write_text("id,zip\n8,ok\n1,not\n")
    with pytest.raises(errors.AffidavitError, match=why):
        filled.sql(text)
    assert filled.table("t").count() == 2


def test_a_session_with_limits_copies_from_no_file(filled, tmp_path: Path) -> None:
    Path("x.csv").write_text("id\n8\n")
    with filled.scope(allowed_paths=[tmp_path]) as limited:
        with pytest.raises(errors.SourceError, match="by their paths"):
            limited.sql("COPY t FROM 'x.csv'")


def test_it_is_journaled_and_the_file_is_on_record(filled, lake, tmp_path: Path) -> None:
    Path("x.csv").write_text("id\n8\n")
    with affidavit.connect(lake, audit="reads", actor="loader") as loading:
        loading.sql("COPY t FROM 'x.csv'")
        assert loading.sql("SELECT count(*) AS n FROM journal WHERE entity_id = '8' AND "
                           "actor = 'loader'").to_pylist()[0]["n"] > 0  # fmt: skip
        tables = loading.sql("SELECT tables FROM audit.reads WHERE actor = 'loader'").to_pylist()
    assert "main.x.csv" in str(tables[0])
