"""Files of the web as tables: known by what they hold, read as files here are, named by their URL."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

import affidavit
from affidavit.errors import AffidavitError, ExecutionError, ReadOnlyError, SourceError, SqlError

if TYPE_CHECKING:
    from tests.support.web_files import WebFiles

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
TABLE = pa.Table.from_pylist(ROWS)
CSV = b"a,b\n1,x\n2,y\n"
LIST = b' \n[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'
LINES = b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def arrow() -> bytes:
    sink = io.BytesIO()
    feather.write_feather(TABLE, sink, compression="uncompressed")
    return sink.getvalue()


FILES = [
    ("/t.csv", CSV, ""), ("/t.csv.gz", gzip.compress(CSV), "application/gzip"), ("/t.csv", gzip.compress(CSV), ""),
    ("/t.csv.bz2", bz2.compress(CSV), ""), ("/t.tsv", lzma.compress(CSV.replace(b",", b"\t")), ""),
    ("/t.csv", parquet(), "text/csv"), ("/export?as=t.json", parquet(), ""), ("/t.parquet", arrow(), "text/html"),
    ("/t.json", LIST, "text/plain"), ("/t.json", gzip.compress(LIST), ""), ("/t.jsonl?v=1.csv", LINES, "text/csv"),
    ("/export", CSV, "text/csv; charset=utf-8"), ("/export", LIST, "application/json"),
    ("/export", gzip.compress(LINES), "application/x-ndjson"),
]  # fmt: skip


def test_a_file_is_known_by_what_it_holds_then_by_its_name_then_by_what_its_server_says(
    session, web: WebFiles
) -> None:
    for path, body, media_type in FILES:
        web.asked.clear()
        url = web.put(path, body, media_type)
        session.attach("t", url)
        session.sql(f"ATTACH '{url}' AS u")
        assert [asked for asked, _ in web.asked] == [path] * 2, "each asks once"
        for name in ("t", "u", f"'{url}'"):
            found = session.sql(f"SELECT * FROM {name} ORDER BY a").to_pylist()
            assert found == ROWS, (path, media_type)
        session.detach("t")
        session.sql("DETACH u")


def test_a_table_of_a_url_is_the_lakes_and_keeps_the_url(tmp_path: Path, web: WebFiles) -> None:
    url = web.put("/t.csv", CSV.replace(b",", b";"), "text/plain", headers={"ETag": '"1"'})
    with affidavit.connect(tmp_path / "lake", store_queries=True) as session:
        session.attach("t", url, delimiter=";")
        session.sql(
            f"CREATE EXTERNAL TABLE typed (a SMALLINT, b VARCHAR) STORED AS CSV LOCATION '{url}' "
            "OPTIONS ('format.delimiter' ';', 'format.has_header' 'true')"
        )
        session.sql(f"CREATE VIEW v AS SELECT b FROM '{web.put('/x.csv', CSV)}'")
        assert session.sql("SELECT arrow_typeof(a) AS a FROM typed LIMIT 1").to_pylist() == [
            {"a": "Int16"}
        ]
        assert session.sql("SELECT b FROM t").num_rows == 2
        plan = session.explain("SELECT b FROM t")
        assert url.lstrip("/") in plan
        said = plan + str([
            session.sql(f"SELECT * FROM {name}").to_pylist()
            for name in ("journal", "audit.statements", "system.tables")
        ])  # fmt: skip
        assert "affidavit-" not in said
    with affidavit.connect(tmp_path / "other") as session:
        session.attach("archive", f"lake:///{tmp_path / 'lake'}")
        text = "SELECT t.b FROM archive.main.t JOIN archive.main.v ON t.b = v.b"
        assert session.sql(text).num_rows == 2


def test_copy_reads_a_url_as_the_tables_types(session, web: WebFiles) -> None:
    session.sql("CREATE TABLE t (a VARCHAR, b VARCHAR)")
    for path, media_type in (("/t.csv?v=1", ""), ("/export", "text/csv")):
        url = web.put(path, b"b,a\nx,007\n", media_type)
        assert session.sql(f"COPY t FROM '{url}'").rows_affected == 1
    session.sql(f"COPY t (a) FROM '{web.put('/p.csv', parquet())}' (FORMAT parquet)")
    found = session.sql("SELECT DISTINCT a, b FROM t ORDER BY a").to_pylist()
    assert found == [{"a": "007", "b": "x"}, {"a": "1", "b": None}, {"a": "2", "b": None}]


def test_what_is_wrong_with_a_file_is_told_of_its_url(session, web: WebFiles) -> None:
    bad = web.put("/bad.csv", CSV + b"3,z\n" * 2000 + b"four,z\n")
    with pytest.raises(ExecutionError, match=f"'{bad}' has 'four' in column 'a' of line 2004"):
        session.sql(f"SELECT max(a) FROM '{bad}'").to_arrow()
    session.attach("t", bad, on_bad_value="null")
    assert session.sql("SELECT count(*) - count(a) AS n FROM t").to_pylist() == [{"n": 1}]
    for path, body in (
        ("/cut.parquet", parquet()[:-4]), ("/twice.csv", b"a,a\n1,2\n"), ("/x.avro", b"Obj\x01\x02"),
        ("/cut.csv.gz", gzip.compress(CSV * 9)[:-9]), ("/x.json", b"[{"),
    ):  # fmt: skip
        url = web.put(path, body)
        with pytest.raises(AffidavitError, match=f"'?{url}") as raised:
            session.sql(f"SELECT * FROM '{url}'").to_arrow()
        assert "affidavit-" not in str(raised.value)


def database(tmp_path: Path) -> bytes:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE t (a INT)")
    return path.read_bytes()


def test_what_is_no_table_over_the_web_is_refused_by_name(
    session, web: WebFiles, tmp_path: Path
) -> None:
    page = web.put("/t.csv", b"<html>", "text/html; charset=utf-8")
    unknown = web.put("/t", CSV)
    held = web.put("/x.csv", database(tmp_path))
    for url, why in (
        (page, "which its server says is text/html: pass format="), (unknown, "cannot tell the format"),
        (held, "is a sqlite database: download it"), (f"{page}?token=hush", "'token' is a secret"),
        ("https://h/x/", "names a folder"), ("http://h/x.csv", "write https://"), (f"{page}#x", "part of a page"),
    ):  # fmt: skip
        query = f"SELECT * FROM '{url}'"
        for run, *given in ((session.attach, "t", url), (session.sql, query), (session.sql, f"CREATE VIEW v AS {query}")):  # fmt: skip
            with pytest.raises(SourceError, match=re.escape(why)) as raised:
                run(*given)
            assert "hush" not in str(raised.value)
    session.attach("t", page, format="csv")
    asked = len(web.asked)
    with pytest.raises(ReadOnlyError, match="'t' is external"):
        session.sql("INSERT INTO t VALUES ('x')")
    with pytest.raises(SqlError, match="COPY TO https:// is not supported: write to a path"):
        session.sql(f"COPY (SELECT 1 AS a) TO '{page}'")
    for kind in ("DELTA", "ICEBERG"):
        with pytest.raises(SourceError, match=f"a {kind} table is a folder"):
            session.sql(f"CREATE EXTERNAL TABLE d STORED AS {kind} LOCATION '{page}'")
    with pytest.raises(SourceError, match="aws.region says how a store is reached"):
        session.sql(
            f"CREATE EXTERNAL TABLE d STORED AS CSV LOCATION '{page}' OPTIONS ('aws.region' 'x')"
        )
    with pytest.raises(SourceError, match="'secret' is a secret by its name"):
        session.attach("d", page, secret="hush")
    assert len(web.asked) == asked + 1
    assert session.tables().num_rows == 1


# --- on record ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_attached", [False, True])
def test_a_read_of_a_url_is_run_again_while_the_file_is_as_it_was(
    tmp_path: Path, web: WebFiles, *, is_attached: bool
) -> None:
    url = web.put("/t.csv", CSV)
    with affidavit.connect(tmp_path / "lake", audit="reads", store_queries=True) as session:
        if is_attached:
            session.attach("t", url)
        result = session.sql(f"SELECT * FROM {'t' if is_attached else repr(url)} ORDER BY a")
        assert result.num_rows == 2
        [told] = session.audit.get_read(result.receipt.read_id).tables
        assert told["name"] == ("main.t" if is_attached else f"main.{url}")
        assert told["source"]["each"] == [[len(CSV), hashlib.sha256(CSV).hexdigest()]]
        assert told["columns"] == ["a", "b"]
        found = []
        for body in (CSV, CSV.replace(b"x", b"z"), None):
            web.clear() if body is None else web.put("/t.csv", body)
            found.append(str(session.audit.replay(result.receipt.read_id)))
    assert found[0].startswith("REPRODUCED")
    assert re.match("EVIDENCE_GONE: .*its files are others now", found[1])
    assert re.match("EVIDENCE_GONE: .*its files cannot be read any more", found[2])
