"""Tables in formats of others: where they may lie, how they fail, and what is refused."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.support.beside import beside
from tests.support.table_formats import Ice, count, rows

import affidavit
from affidavit.errors import (
    AffidavitError,
    PathNotAllowedError,
    SourceError,
    SqlError,
    TableExistsError,
)


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
    copy = f"COPY (SELECT 1 AS id) TO '{tmp_path / 'x.csv'}'"
    with beside(lake) as store:
        store.execute(
            "UPDATE tables SET definition = replace(definition, ?, ?)", ("SELECT 1 AS id", copy)
        )
    with affidavit.connect(lake) as session, pytest.raises(SqlError):
        session.sql("SELECT * FROM v").to_arrow()
    assert not (tmp_path / "x.csv").exists()


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
        session.attach("x", tmp_path / "none", format=kind)
