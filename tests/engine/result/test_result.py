"""Results: streamed, Arrow out, shown; and the notebook magic."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import affidavit
from affidavit import errors
from affidavit.engine.result.result import Result


@pytest.fixture
def numbers(session: affidavit.Session) -> affidavit.Session:
    session.create_table(
        "n", pa.table({"id": range(100_000), "x": [i / 7 for i in range(100_000)]})
    )
    return session


@pytest.mark.slow
def test_a_result_goes_wherever_arrow_goes(numbers) -> None:
    def result():
        return numbers.sql("SELECT id, x FROM n WHERE id < 3 ORDER BY id")

    rows = [{"id": i, "x": i / 7} for i in range(3)]
    assert result().to_pylist() == rows
    assert list(result()) == rows
    assert result().to_arrow().to_pylist() == rows
    assert result().to_pandas().equals(pd.DataFrame(rows))
    assert result().to_polars().equals(pl.DataFrame(rows))
    assert pa.table(result()).to_pylist() == rows
    assert pl.DataFrame(result()).to_dicts() == rows
    assert pa.RecordBatchReader.from_stream(result()).read_all().to_pylist() == rows
    assert result().num_rows == len(result()) == 3
    assert result().schema == pa.schema([("id", pa.int64()), ("x", pa.float64())])
    assert result().rows_affected is None


@pytest.mark.slow
def test_a_result_is_read_again_after_to_and_once_as_batches(numbers) -> None:
    kept = numbers.sql("SELECT id FROM n")
    assert (
        kept.num_rows == sum(batch.num_rows for batch in kept.batches()) == kept.to_arrow().num_rows
    )
    streamed = numbers.sql("SELECT id FROM n")
    assert sum(batch.num_rows for batch in streamed.batches()) == 100_000
    with pytest.raises(errors.ClosedError, match="streamed already"):
        streamed.to_arrow()
    assert repr(streamed) == "Result(id; streamed)"


@pytest.mark.parametrize("ask", [repr, len, Result.to_pylist])
def test_threads_that_read_one_result_have_all_of_its_rows(ask) -> None:
    """A thread that showed it while another did was told that a generator is executing already."""
    batch = pa.record_batch({"a": [1, 2]})

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(5):
            time.sleep(0.02)
            yield batch

    result = Result(batch.schema, batches())
    with ThreadPoolExecutor(4) as pool:
        told = [each.result(30) for each in [pool.submit(ask, result) for _ in range(4)]]
    assert told == told[:1] * 4
    assert len(result) == 10


def test_a_result_that_was_stopped_says_so_however_often_it_is_asked(session) -> None:
    text = "SELECT count(*) FROM generate_series(1, 100000) a JOIN generate_series(1, 100000) b ON true"
    result = session.sql(text, timeout=0.1)
    for _ in range(3):
        with pytest.raises(errors.StatementTimeoutError):
            result.to_arrow()


@pytest.mark.slow
def test_showing_the_head_loses_no_row(numbers) -> None:
    result = numbers.sql("SELECT id FROM n ORDER BY id")
    text = repr(result)
    assert text.splitlines()[:3] == ["id", "--", "0"]
    assert text.endswith("(the first 20 rows; there are more)")
    assert result._repr_html_().count("<tr>") == 21
    assert sum(batch.num_rows for batch in result.batches()) == 100_000


def test_html_is_escaped_and_text_is_one_line_a_row(session) -> None:
    result = session.sql("SELECT '<b>x</b>' AS a, NULL AS b, 'l1' || chr(10) || 'l2' AS c")
    assert "&lt;b&gt;x" in result._repr_html_()
    assert "<b>" not in result._repr_html_()
    assert repr(result).splitlines()[2].split() == ["<b>x</b>", "NULL", r"l1\nl2"]
    assert repr(session.sql("SELECT 1 WHERE false")).endswith("(0 rows)")
    huge = session.sql("SELECT arrow_cast(9223372036854775807, 'Timestamp(Second, None)') AS t")
    assert repr(huge)
    assert huge._repr_html_()


@pytest.mark.slow
def test_a_result_is_lazy_and_holds_one_batch_at_a_time(numbers) -> None:
    """A cross join of 10 million rows is streamed in a few megabytes."""
    result = numbers.sql("SELECT a.id, b.x FROM n a CROSS JOIN (SELECT x FROM n LIMIT 100) b")
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    seen = most = 0
    for batch in result.batches():
        seen += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    tracemalloc.stop()
    assert seen == 10_000_000
    assert most < 64 * 1024 * 1024


@pytest.mark.slow
def test_a_result_that_is_dropped_gives_its_snapshot_back(numbers) -> None:
    store = numbers._instance.lake.store
    results = [numbers.sql(f"SELECT x FROM n WHERE id > {i}") for i in range(5)]
    next(results[0].batches())
    results[1].close()
    del results
    gc.collect()
    assert len(store._inner._connections._idle) >= 1
    with numbers.sql("SELECT id FROM n") as result:
        assert result.num_rows == 100_000


@pytest.mark.slow
def test_a_statement_reads_one_snapshot(numbers) -> None:
    """What commits while a result streams is not in it, wherever it joins."""
    result = numbers.sql("SELECT count(*) AS c, sum(a.x) AS s FROM n a JOIN n b ON a.id = b.id")
    expected = numbers.sql("SELECT sum(x) AS s FROM n").to_pylist()[0]["s"]
    numbers.sql("DELETE FROM n WHERE id > 10")
    [row] = result.to_pylist()
    assert row["c"] == 100_000
    assert row["s"] == pytest.approx(expected)


def test_errors_at_run_time_are_ours(session) -> None:
    session.sql("CREATE TABLE z (a INT) AS VALUES (1), (0)")
    result = session.sql("SELECT 1 / a FROM z")
    with pytest.raises(errors.ExecutionError, match="(?i)divide by zero"):
        result.to_arrow()
    with pytest.raises(errors.ExecutionError):
        session.sql("INSERT INTO z SELECT 1 / a FROM z")
    assert session.table("z").count() == 2


def test_attached_files_and_frames_are_tables(session, lake, tmp_path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    frame.to_parquet(tmp_path / "p.parquet")
    frame.to_csv(tmp_path / "c.csv", index=False)
    session.attach("p", tmp_path / "p.parquet")
    session.attach("c", str(tmp_path / "c.csv"), has_header="true")
    session.attach("f", frame)
    text = "SELECT p.a FROM p JOIN c ON p.a = c.a JOIN f ON f.a = c.a ORDER BY 1"
    assert session.sql(text).to_pylist() == [{"a": 1}, {"a": 2}]
    with affidavit.connect(lake) as other:
        assert other.sql("SELECT count(*) AS n FROM p").to_pylist() == [{"n": 2}]
        with pytest.raises(errors.TableNotFoundError):
            other.sql("SELECT * FROM f")
    with pytest.raises(errors.TableExistsError):
        session.attach("p", frame)
    for name in ("p", "c", "f"):
        session.detach(name)
    with pytest.raises(errors.TableNotFoundError):
        session.detach("p")
    with pytest.raises(errors.SourceError, match="format"):
        session.attach("x", str(tmp_path / "x.unknown"))
    with pytest.raises(errors.AffidavitError, match="missing"):
        session.attach("x", str(tmp_path / "missing.parquet"))
    assert session.tables().num_rows == 0


def test_views_are_planned_anew_and_may_name_views(session) -> None:
    session.sql("CREATE TABLE t (a INT) AS VALUES (1)")
    session.sql("CREATE VIEW v AS SELECT a + 1 AS b FROM t")
    session.sql("CREATE VIEW w (c) AS SELECT b * 10 FROM v")
    session.sql("INSERT INTO t VALUES (2)")
    assert session.sql("SELECT c FROM w ORDER BY c").to_pylist() == [{"c": 20}, {"c": 30}]
    with pytest.raises(errors.ReadOnlyError, match="view"):
        session.sql("DELETE FROM v")
    with pytest.raises(errors.TableNotFoundError):
        session.sql("DROP TABLE v")
    with pytest.raises(errors.TableExistsError):
        session.sql("CREATE VIEW v AS SELECT 1 AS b")
    session.sql("CREATE OR REPLACE VIEW v AS SELECT a AS b FROM t")
    assert session.sql("SELECT c FROM w ORDER BY c").to_pylist() == [{"c": 10}, {"c": 20}]
    session.sql("DROP VIEW w")
    session.sql("DROP TABLE t")
    with pytest.raises(errors.AffidavitError, match="'t'"):
        session.sql("SELECT * FROM v").to_arrow()


def test_explain_shows_plans(session, docs) -> None:
    text = session.explain("SELECT id FROM docs WHERE id = $1", [3])
    assert text.startswith("logical_plan:")
    assert "metrics" in session.explain("SELECT count(*) FROM docs", analyze=True)


class Shell:
    """The part of IPython that the magic uses."""

    def __init__(self) -> None:
        self.user_ns: dict[str, object] = {}
        self.magics: dict[str, object] = {}

    def register_magic_function(self, function, magic_kind, magic_name) -> None:
        self.magics[magic_name] = function


def test_the_notebook_magic_takes_parameters_from_the_notebook(session) -> None:
    shell = Shell()
    affidavit.load_ipython_extension(shell)
    sql = shell.magics["sql"]
    shell.user_ns |= {"session": session, "floor": 2, "words": ["a", "b"]}
    assert sql("SELECT $floor + 1 AS n").to_pylist() == [{"n": 3}]
    assert sql("", "SELECT $words AS w").to_pylist() == [{"w": ["a", "b"]}]
    assert sql("kept <<", "SELECT 5 AS n") is None
    assert shell.user_ns["kept"].to_pylist() == [{"n": 5}]
    shell.user_ns["other"] = 3
    with pytest.raises(errors.SqlError, match="'nope'"):
        sql("", "SELECT $nope")
    with pytest.raises(errors.SqlError, match="no session"):
        sql("other", "SELECT 1")
    assert sql("session", "SELECT 1 AS n").to_pylist() == [{"n": 1}]
    del shell.user_ns["session"]
    with pytest.raises(errors.SqlError, match="0 open sessions"):
        sql("SELECT 1")


def test_a_transaction_lists_what_it_made(session) -> None:
    """The catalog is listed when the plan runs, by when it used to show committed tables only."""
    session.sql("BEGIN")
    session.sql("CREATE TABLE made (a INT)")
    assert session.sql("SHOW COLUMNS FROM made").num_rows == 1
    listed = session.sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
    )
    assert listed.to_pylist() == [{"table_name": "made"}]
    session.sql("ROLLBACK")
    assert session.tables().num_rows == 0


@pytest.mark.slow
def test_a_result_that_was_closed_is_no_empty_one(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE t AS SELECT value AS id FROM range(0, 100000)")
    result = session.sql("SELECT id FROM t")
    result.close()
    with pytest.raises(errors.ClosedError, match="closed"):
        result.to_arrow()
    result = session.sql("SELECT id FROM t")
    batches = result.batches()
    assert next(batches).num_rows
    result.close()
    with pytest.raises(errors.ClosedError, match="before all of its rows"):
        list(batches)
    with session.sql("SELECT id FROM t") as result:
        assert result.num_rows == 100_000
    assert result.to_arrow().num_rows == 100_000
