"""Files are read as they are meant: by column name, with NaN, NULL and odd folders."""

from __future__ import annotations

import gzip
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affidavit.catalog.sources.files.evidence import files_evidence
from affidavit.errors import AffidavitError, PathNotAllowedError, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import affidavit

NAN = float("nan")


def written(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def rows(session: affidavit.Session, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(each.values()) for each in session.sql(sql).to_pylist()]


# --- CSV ------------------------------------------------------------------------------------------


def test_csv_files_are_read_by_the_names_of_their_columns(
    session: affidavit.Session, tmp_path: Path
) -> None:
    """Only the first file's header was heeded, and the others' values were swapped."""
    folder = written(
        tmp_path / "f",
        {
            "a.csv": "payer,n,payee\nann,1,bob\n",
            "b.csv": b'\xef\xbb\xbf"payee",payer,"n"\n"cid, x",dan,2.5\n',
            "d.csv": "n,payer,payee\n",
            "e.csv": "",
            "c.csv.gz": gzip.compress(b"payer,n,payee\nlate,9,x\n"),
        },
    )
    session.attach("t", str(folder / "*.csv"))
    found = rows(session, "SELECT payer, payee, n FROM t ORDER BY payer")
    assert found == [("ann", "bob", 1.0), ("dan", "cid, x", 2.5)]
    assert rows(session, "SELECT payee FROM t WHERE n > 2") == [("cid, x",)]
    assert rows(session, "SELECT count(*) AS n FROM t") == [(2,)]


def test_a_column_that_is_a_number_in_one_file_and_a_text_in_another_is_text(
    session: affidavit.Session, tmp_path: Path
) -> None:
    folder = written(tmp_path / "f", {"a.csv": "x,y\n007,1\n", "b.csv": "y,x\n2,seven\n"})
    session.attach("t", str(folder), format="csv")
    assert rows(session, "SELECT x, y FROM t ORDER BY y") == [("007", 1), ("seven", 2)]


def test_files_in_another_order_keep_their_partitions(
    session: affidavit.Session, tmp_path: Path
) -> None:
    folder = written(
        tmp_path / "f",
        {"y=a%20b/a.csv": "x,z\n1,2\n", "y=__HIVE_DEFAULT_PARTITION__/a.csv": "z,x\n4,3\n"},
    )
    session.attach("t", str(folder), format="csv")
    assert rows(session, "SELECT x, z, y FROM t ORDER BY x") == [(1, 2, "a b"), (3, 4, None)]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"a.csv": "x,x\n1,2\n"}, ("a.csv", "'x'")),
        ({"a.csv": "x,y\n1,2\n", "b.csv": "x,y,z\n1,2,3\n"}, ("a.csv", "'z'")),
        ({"a.csv": "x,y\n1,2\n", "b.csv": "x\n1\n"}, ("b.csv", "'y'")),
        ({"a.csv": "x,y\n1,2\n", "b.csv": "x,z\n1,2\n"}, ("b.csv", "'y'")),
        ({"a.csv": "x,y\n1,2\n", "b.csv": "1,2\n"}, ("b.csv", "'x'")),
        ({"a.csv": "x,y\n1,2\n", "b.csv": "x,y\n1\n"}, ("b.csv",)),
        ({"a.csv": "x\n1\n", "b.csv": "X\n1\n"}, ("b.csv", "'x'")),
        ({"a.csv": "x\n1\n", "b.csv": "x\n1\n".encode("utf-16")}, ("b.csv",)),
        ({"a.csv": "x\nü\n".encode("latin-1")}, ("a.csv",)),
        ({"a.json": '{"x": 1}\n', "b.json": '{"x": "one"}\n'}, ("b.json", "'x'")),
        ({"a.json": '{"x": 1}\n', "b.json": '{"x": \n'}, ("b.json",)),
        ({"a.parquet": b"PAR1"}, ("a.parquet",)),
    ],
)
def test_a_file_that_differs_is_named_with_its_column(
    session: affidavit.Session,
    tmp_path: Path,
    files: Mapping[str, str | bytes],
    named: tuple[str, ...],
) -> None:
    ending = next(iter(files)).rpartition(".")[2]
    with pytest.raises(SourceError) as raised:
        session.attach("t", str(written(tmp_path / "f", files) / f"*.{ending}"))
    assert all(each in str(raised.value) for each in named), raised.value


def test_files_without_headers_have_the_same_number_of_columns(
    session: affidavit.Session, tmp_path: Path
) -> None:
    folder = written(tmp_path / "f", {"a.csv": "1,2\n", "b.csv": "3,4,5\n"})
    with pytest.raises(SourceError, match=r"b\.csv' has 3 columns.*a\.csv' has 2"):
        session.attach("t", str(folder / "*.csv"), has_header="false")


def test_a_value_that_comes_late_is_named_with_its_file_column_and_line(
    session: affidavit.Session, tmp_path: Path
) -> None:
    many = "".join(f"{at},{at}\n" for at in range(1500))
    folder = written(tmp_path / "f", {"a.csv": f"x,n\n{many}", "b.csv": f"x,n\n{many}7,late\n"})
    session.attach("t", str(folder / "*.csv"))
    with pytest.raises(AffidavitError, match=r"b\.csv.*'late' in column 'n' of line 1502"):
        session.sql("SELECT sum(n) FROM t").to_arrow()
    session.attach("forgiven", str(folder / "*.csv"), on_bad_value="null")
    (found,) = rows(session, "SELECT count(*) AS rows, count(n) AS n, max(x) AS x FROM forgiven")
    assert found == (3001, 3000, 1499)


def test_what_is_null_is_heeded_by_the_reader(session: affidavit.Session, tmp_path: Path) -> None:
    """The option was heeded when the types were guessed, and not when the rows were read."""
    folder = written(
        tmp_path / "f",
        {"y=1/a.csv": "id,n,d,s\n1,NULL,NULL,NULL\n2,5,2024-01-01,x\n4,x,NULL,NULLs\n"},
    )
    session.attach("t", str(folder), format="csv", null_regex="^(NULL|x)$")
    assert rows(session, "SELECT id, n, d IS NULL AS d, s FROM t ORDER BY id") == [
        (1, None, True, None), (2, 5, False, None), (4, None, True, "NULLs")
    ]  # fmt: skip
    assert rows(session, "SELECT id FROM t WHERE n = 5 AND y = 1") == [(2,)]
    session.sql(
        f"CREATE EXTERNAL TABLE declared (id BIGINT, n SMALLINT, d DATE, s VARCHAR) STORED AS CSV "
        f"LOCATION '{folder}/y=1/a.csv' OPTIONS ('on_bad_value' 'null')"
    )
    assert rows(session, "SELECT id, n, s FROM declared WHERE id IN (1, 4) ORDER BY id") == [
        (1, None, "NULL"), (4, None, "NULLs")
    ]  # fmt: skip


def test_the_choice_about_bad_values_is_refused_where_it_is_none(
    session: affidavit.Session, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="on_bad_value='null' is for CSV"):
        session.attach("t", str(tmp_path / "a.parquet"), on_bad_value="null")
    written(tmp_path, {"a.csv": "x\n1\n"})
    with pytest.raises(SourceError, match="'error' or 'null'"):
        session.attach("t", str(tmp_path / "a.csv"), on_bad_value="ignore")


# --- Parquet --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [[1.0, NAN], [1.0, NAN, None], [NAN, NAN], [1.0, 2.0], [0.0, -0.0, -NAN]]
)
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_nan_of_parquet_is_greater_than_any_number(
    session: affidavit.Session, tmp_path: Path, values: list[float | None], kind: pa.DataType
) -> None:
    """The statistics leave it out: [1.0, NaN] was read as 1.0 twice, and no filter found it."""
    table = pa.table({"i": range(len(values)), "f": pa.array(values, kind)})
    pq.write_table(table, tmp_path / "t.parquet")
    session.attach("there", str(tmp_path / "t.parquet"))
    session.create_table("here", table)
    for text in (
        "SELECT * FROM {} ORDER BY i", "SELECT i FROM {} WHERE f > 5 ORDER BY i",
        "SELECT i FROM {} WHERE f <> 1 ORDER BY i", "SELECT i FROM {} WHERE NOT f <= 5 ORDER BY i",
        "SELECT i FROM {} WHERE f = CAST('NaN' AS DOUBLE) ORDER BY i", "SELECT max(f) AS f FROM {}",
        "SELECT i FROM {} WHERE f BETWEEN 1 AND 2 AND i > 0 ORDER BY i", "SELECT min(f) AS f FROM {}",
    ):  # fmt: skip
        found, wanted = (session.sql(text.format(name)).to_pylist() for name in ("there", "here"))
        assert str(found) == str(wanted), text
    assert "i_max" in session.explain("SELECT i FROM there WHERE i > 1 AND f > 5")


def test_files_of_other_widths_are_read_by_the_widest(
    session: affidavit.Session, tmp_path: Path
) -> None:
    kinds = [(pa.int32(), pa.float64()), (pa.int64(), pa.float32()), (pa.uint8(), pa.float32())]
    for at, (whole, real) in enumerate(kinds):
        folder = tmp_path / "f" / f"y={at}"
        folder.mkdir(parents=True)
        n = pa.array([2**40 if whole == pa.int64() else at], whole)
        table = pa.table({"n": n, "f": pa.array([0.5], real), f"only{at}": [at]})
        pq.write_table(table, folder / "a.parquet")
        pq.write_table(table, tmp_path / f"{at}.parquet")
    session.attach("folder", str(tmp_path / "f"), format="parquet")
    session.attach("pattern", str(tmp_path / "*.parquet"))
    for name in ("folder", "pattern"):
        found = session.sql(f"SELECT n, f, only2 FROM {name} ORDER BY n").to_arrow()
        assert found.schema.types[:2] == [pa.int64(), pa.float64()]
        assert found.to_pylist()[1:] == [
            {"n": 2, "f": 0.5, "only2": 2}, {"n": 2**40, "f": 0.5, "only2": None}
        ]  # fmt: skip
    assert rows(session, "SELECT n FROM folder WHERE y = 2") == [(2,)]


def test_columns_of_other_kinds_are_an_error_of_the_file(
    session: affidavit.Session, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    pq.write_table(pa.table({"n": [1]}), tmp_path / "f" / "a.parquet")
    pq.write_table(pa.table({"n": [[1]]}), tmp_path / "f" / "b.parquet")
    with pytest.raises(SourceError, match=r"'n'.*b\.parquet.*int64.*a\.parquet"):
        session.attach("t", str(tmp_path / "f"), format="parquet")


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_stands_for_the_value_that_is_written_in_its_name(
    session: affidavit.Session, tmp_path: Path
) -> None:
    for at, name in enumerate(("2024", "__HIVE_DEFAULT_PARTITION__", "2025")):
        folder = tmp_path / "years" / f"y={name}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"v": [at]}), folder / "a.parquet")
    session.attach("years", str(tmp_path / "years"), format="parquet")
    assert rows(session, "SELECT v FROM years WHERE y IS NULL") == [(1,)]
    assert rows(session, "SELECT v FROM years WHERE y = 2024") == [(0,)]
    assert rows(session, "SELECT v FROM years WHERE y > 2024") == [(2,)]
    parts = f"PARTITIONED BY (y) LOCATION '{tmp_path / 'years'}/'"
    session.sql(f"CREATE EXTERNAL TABLE typed (v BIGINT, y INT) STORED AS PARQUET {parts}")
    assert rows(session, "SELECT * FROM typed ORDER BY v") == [(0, 2024), (1, None), (2, 2025)]
    assert rows(session, "SELECT v FROM typed WHERE y IS NULL") == [(1,)]
    for at, name in enumerate(("a%20b", "100%25", "plain", "%3A:")):
        folder = tmp_path / "names" / f"p={name}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"v": [at]}), folder / "x%20y.parquet")
    session.attach("names", str(tmp_path / "names"), format="parquet")
    assert rows(session, "SELECT p, v FROM names ORDER BY v") == [
        ("a b", 0), ("100%", 1), ("plain", 2), ("::", 3)
    ]  # fmt: skip
    assert rows(session, "SELECT v FROM names WHERE p = 'a b'") == [(0,)]


def test_rows_are_still_appended_to_the_files_of_a_folder(
    session: affidavit.Session, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    pq.write_table(pa.table({"f": [1.5]}), tmp_path / "f" / "a.parquet")
    session.attach("t", f"{tmp_path / 'f'}/", format="parquet")
    session.sql("INSERT INTO t VALUES (2.5)")
    assert rows(session, "SELECT f FROM t ORDER BY f") == [(1.5,), (2.5,)]


def test_a_setting_of_the_session_stays_where_a_file_has_floats(session, tmp_path: Path) -> None:
    """The setting was put aside for the table, and came back as another."""
    pq.write_table(pa.table({"x": [1.0, float("nan")]}), tmp_path / "f.parquet")
    asked = "SELECT value FROM information_schema.df_settings WHERE name LIKE '%collect_stat%'"
    session.sql("SET datafusion.execution.collect_statistics = false")
    found = session.sql(f"SELECT x FROM '{tmp_path}/f.parquet' WHERE x > 1").to_pylist()
    assert len(found) == 1
    assert session.sql(asked).to_pylist() == [{"value": "false"}]


# --- patterns over folders ------------------------------------------------------------------------


def tree(tmp_path: Path) -> Path:
    return written(
        tmp_path,
        {
            "f/1.csv": "id,v\n1,top\n",
            "f/a/2.csv": "v,id\nx,2\n",
            "f/a/deep/3.csv": "id,v\n007,y\n",
            "f/b/4.csv": "id,v\nfour,z\n",
            "f/b/no.txt": "other\n",
            "p/k=1/a.csv": "k,v\n1,x\n",
            "p/k=2/a.csv": "k,v\n2,y\n",
            "q/k=1/a.csv": "v\nx\n",
            "q/k=2/j=3/a.csv": "v\ny\n",
            "q/a.csv": "v\nz\n",
        },
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("f/*/*.csv", [("2", "x"), ("four", "z")]),
        ("f/[a]/*.csv", [(2, "x")]),
        ("f/?/*/*.csv", [(7, "y")]),
        ("f/**/*.csv", [("007", "y"), ("1", "top"), ("2", "x"), ("four", "z")]),
        ("f/**/deep/*.csv", [(7, "y")]),
        ("p/*/*.csv", [(1, "x"), (2, "y")]),
        ("p/**/*.csv", [(1, "x"), (2, "y")]),
        ("p/k=*/*.csv", [(1, "x"), (2, "y")]),
        ("q/**/*.csv", [("x",), ("y",), ("z",)]),
        ("q/*.csv", [("z",)]),
        ("q/*/*/*.csv", [("y", 2, 3)]),
    ],
)
def test_a_pattern_is_of_the_files_that_it_names_in_whichever_folders(
    session: affidavit.Session, tmp_path: Path, pattern: str, expected: list[tuple[Any, ...]]
) -> None:
    """DataFusion asks it of one name below its folder, and found none, or others besides."""
    place = str(tree(tmp_path) / pattern)
    select = "SELECT {} FROM {} ORDER BY 1, 2" if len(expected[0]) > 1 else "SELECT * FROM {1}"
    columns = "id, v" if pattern[0] == "f" else "*"
    assert sorted(rows(session, select.format(columns, f"'{place}'"))) == expected
    session.attach("t", place)
    assert sorted(rows(session, select.format(columns, "t"))) == expected
    session.sql(f"CREATE EXTERNAL TABLE u STORED AS CSV LOCATION '{place}'")
    assert sorted(rows(session, select.format(columns, "u"))) == expected
    session.sql("CREATE TABLE c AS SELECT * FROM t WHERE FALSE")
    session.sql(f"COPY c FROM '{place}'")
    assert len(rows(session, "SELECT * FROM c")) == len(expected)


def test_all_files_of_a_pattern_over_folders_are_evidence(tmp_path: Path) -> None:
    evidence = files_evidence(str(tree(tmp_path) / "f" / "**" / "*.csv"))
    assert evidence is not None
    assert evidence["files"] == 4


def test_patterns_over_folders_of_parquet_take_what_their_folders_say(
    session: affidavit.Session, tmp_path: Path
) -> None:
    for name, table in {
        "k=1": pa.table({"n": pa.array([1], pa.int32())}),
        "k=2": pa.table({"n": pa.array([2], pa.int64()), "more": ["x"]}),
    }.items():
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "a.parquet")
    found = rows(session, f"SELECT n, more, k FROM '{tmp_path}/**/*.parquet' ORDER BY n")
    assert found == [(1, None, 1), (2, "x", 2)]


def test_no_pattern_over_folders_leads_a_restricted_session_out(
    session: affidavit.Session, tmp_path: Path
) -> None:
    """A link to what another folder is already was not looked into, by the name that was asked."""
    folder = tree(tmp_path / "in")
    written(tmp_path / "out", {"secret.csv": "id,v\n9,secret\n"})
    with session.scope(allowed_paths=[str(folder)]) as limited:
        limited.attach("t", str(folder / "f" / "*" / "*.csv"))
        assert len(rows(limited, "SELECT * FROM t")) == 2
        (folder / "f" / "b" / "5.csv").symlink_to(tmp_path / "out" / "secret.csv")
        with pytest.raises(PathNotAllowedError):
            rows(limited, "SELECT * FROM t")
        (folder / "f" / "b" / "5.csv").unlink()
        (folder / "f" / "a" / "o").symlink_to(tmp_path / "out")
        (folder / "f" / "z").symlink_to(folder / "f" / "a")
        for pattern in ("f/**/*.csv", "f/z/*/*.csv", "f/z*/*/*.csv"):
            with pytest.raises(PathNotAllowedError):
                limited.attach("other", str(folder / pattern))


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_says_its_format_and_the_types_of_its_partitions(
    session: affidavit.Session, tmp_path: Path
) -> None:
    """Whole numbers and dates came as texts, and a format had to be given."""
    folder = tmp_path / "years"
    for n, day in enumerate(("2024-02-29", "__HIVE_DEFAULT_PARTITION__")):
        inner = folder / f"year={2023 + n}" / f"m=0{n}" / f"d={day}"
        inner.mkdir(parents=True)
        pq.write_table(pa.table({"n": [n]}), inner / "a.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "year=2023" / ".a.parquet.crc").write_bytes(b"crc")
    session.attach("t", folder)
    found = session.sql(f"SELECT n, year, d, m || '' AS m FROM '{folder}' ORDER BY n").to_arrow()
    assert [*found.schema.types[:3]] == [pa.int64(), pa.int64(), pa.date32()]
    expected = [(0, 2023, date(2024, 2, 29), "00"), (1, 2024, None, "01")]
    assert [tuple(each.values()) for each in found.to_pylist()] == expected
    assert rows(session, "SELECT n FROM t WHERE year = 2024 AND d IS NULL") == [(1,)]
    plan = session.explain("SELECT n FROM t WHERE year = 2024")
    assert "year=2024" in plan
    assert "year=2023" not in plan
    (folder / "year=2024" / "b.csv").write_text("n\n1\n")
    with pytest.raises(SourceError, match="cannot tell the format"):
        session.attach("u", folder)


def test_a_column_that_files_have_as_their_folders_do_is_theirs(
    session: affidavit.Session, tmp_path: Path
) -> None:
    session.attach("t", tree(tmp_path) / "p", format="csv")
    assert rows(session, "SELECT * FROM t ORDER BY k") == [(1, "x"), (2, "y")]
