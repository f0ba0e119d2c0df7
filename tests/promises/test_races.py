"""Races and cut-off commits, each found by review and each told here."""

from __future__ import annotations

import gc
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.lakes import Recorder, vectors
from tests.support.processes import run_python

import affidavit
from affidavit import errors
from affidavit.catalog.lake import staged


def test_what_lance_committed_is_never_discarded(session, docs, monkeypatch) -> None:
    """An interrupt after Lance's commit used to remove the committed version's files."""
    original = staged.Staged.commit

    def interrupted(self, properties):
        original(self, properties)
        raise KeyboardInterrupt

    monkeypatch.setattr(staged.Staged, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        docs.insert(vectors(3, start=900))
    monkeypatch.undo()
    assert docs.count() == len(docs.to_arrow()) == 303
    docs.insert(vectors(1, start=950))
    assert session.sql("SELECT count(*) AS n FROM docs").to_pylist() == [{"n": 304}]
    assert session.tables().to_pylist()[0]["rows"] == 304


def test_a_stale_drop_leaves_the_table_of_the_same_name_alone(lake) -> None:
    """Two drops and a new table: the second drop used to remove the new table's data."""
    from affidavit.catalog.tables.vector_making import drop_vector

    with affidavit.connect(lake) as first, affidavit.connect(lake) as second:
        first.create_vector_table("v", vectors(3))
        catalog = second._catalog()
        with catalog.read() as reader:
            stale = catalog.get(reader, "v")
        first.drop_table("v")
        first.create_vector_table("v", vectors(5))
        with pytest.raises(errors.TableNotFoundError):
            drop_vector(catalog, stale)
        assert len(first.table("v").to_arrow()) == 5


def test_many_threads_drop_and_create_one_name(lake) -> None:
    """Whoever wins, a name that is there has its data."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with affidavit.connect(lake, durability="normal") as session:
                for _ in range(8):
                    session.drop_table("v", if_exists=True)
                    with suppress(errors.TableExistsError):
                        session.create_vector_table("v", vectors(2))
                    session.sql("DROP TABLE IF EXISTS m")
                    with suppress(errors.TableExistsError):
                        session.sql("CREATE TABLE m (a INT)")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with affidavit.connect(lake) as session:
        assert len(session.table("v").to_arrow()) == 2
        assert session.table("m").count() == 0


@pytest.mark.slow
def test_a_rename_that_was_cut_off_is_put_right(lake: Path) -> None:
    """The folder had its new name and the catalog the old one: the table could not be read."""
    with affidavit.connect(lake) as session:
        session.create_vector_table("v", vectors(4))
    script = f"""
import os, pathlib, affidavit
session = affidavit.connect({str(lake)!r})
rename = pathlib.Path.rename
def dying(self, target):
    rename(self, target)
    os._exit(9)
pathlib.Path.rename = dying
session.sql("ALTER TABLE v RENAME TO w")
"""
    run_python(script, status=9)
    assert (lake / "vectors" / "default" / "w.lance").exists()
    with affidavit.connect(lake) as session:
        session.create_vector_table("w", vectors(1))
        assert len(session.table("v").to_arrow()) == 4
        assert len(session.table("w").to_arrow()) == 1
        session.sql("DROP TABLE w")
        session.sql("ALTER TABLE v RENAME TO w")
        assert len(session.table("w").to_arrow()) == 4


def test_two_alterations_of_one_table_are_both_kept(lake) -> None:
    """Each was computed from what it had read before the other: the last one won."""
    with affidavit.connect(lake) as first, affidavit.connect(lake) as second:
        first.sql("CREATE TABLE t (a INT) AS VALUES (1)")
        steps = [
            lambda: first.sql("ALTER TABLE t ADD COLUMN b INT DEFAULT 2"),
            lambda: second.sql("ALTER TABLE t RENAME COLUMN a TO aa"),
        ]
        threads = [threading.Thread(target=step) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert first.sql("SELECT aa, b FROM t").to_pylist() == [{"aa": 1, "b": 2}]


@pytest.mark.parametrize("action", ["index", "optimize"])
def test_what_lance_does_by_itself_is_taken_back(session, docs, recorder: Recorder, action) -> None:
    """A listener that refused an index used to leave it in place."""
    docs.create_index("bucket", "BTREE")
    recorder.refuse = action
    with pytest.raises(RuntimeError, match="today"):
        docs.create_index("vector", "IVF_FLAT") if action == "index" else docs.optimize()
    assert [index["name"] for index in docs.indexes()] == ["bucket_idx"]
    assert docs.count() == 300


ESCAPES = [
    "COPY (SELECT E'\\' '/* ' AS q) TO '{allowed}/x' -- */ AS q) TO '{forbidden}/evil.csv' STORED AS CSV\nOPTIONS ('format.has_header' 'true')",
    "CREATE EXTERNAL TABLE e (a varchar DEFAULT E'\\' '/* ') LOCATION '{allowed}/x' -- */) LOCATION '{forbidden}/secret.csv'\nSTORED AS CSV",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_p9_two_readings_of_a_text_do_not_open_a_path(session, tmp_path, text) -> None:
    """A backslash in an escape string made our reading and DataFusion's run in opposite phase."""
    allowed, forbidden = tmp_path / "allowed", tmp_path / "forbidden"
    allowed.mkdir()
    forbidden.mkdir()
    (forbidden / "secret.csv").write_text("a\nsecret\n")
    with session.scope(tenant="red", allowed_paths=[allowed]) as red:
        with pytest.raises(errors.AffidavitError):
            red.sql(text.format(allowed=allowed, forbidden=forbidden))
        assert red.tables().num_rows == 0
    assert [p.name for p in forbidden.iterdir()] == ["secret.csv"]
    assert session.sql(r"SELECT E'it\'s' AS s").to_pylist() == [{"s": "it's"}]


def test_p9_a_scoped_session_stays_in_its_scope(session, tmp_path) -> None:
    with session.scope(tenant="red") as red:
        with pytest.raises(errors.NoTenantError), red.scope(tenant="blue"):
            pass
        with pytest.raises(errors.PathNotAllowedError), red.scope(allowed_paths=[tmp_path]):
            pass
        with pytest.raises(errors.ReadOnlyError, match="runtime"):
            red.sql(f"SET datafusion.runtime.temp_directory = '{tmp_path}/x'")
        seen = Recorder()
        red.add_change_listener(seen)
        red.create_table("mine", [{"a": 1}])

        class Hook:
            count = 0

            def after(self, searches) -> None:
                self.count += 1

        hook = Hook()
        red.hooks.add(hook)
    session.create_table("other", [{"a": 1}])
    session.create_vector_table("docs", vectors(3))
    session.search("docs", [1.0] * 8)
    assert {change.table for change in seen.changes} == {"mine"}
    assert hook.count == 0


def test_p14_a_transaction_is_ended_by_its_own_session(session) -> None:
    session.sql("CREATE TABLE t (a INT)")
    session.sql("BEGIN")
    session.sql("INSERT INTO t VALUES (1)")
    with session.scope(tenant="red") as red:
        for word in ("COMMIT", "ROLLBACK"):
            with pytest.raises(errors.TransactionError, match="without a transaction"):
                red.sql(word)
    session.sql("ROLLBACK")
    assert session.table("t").count() == 0


def test_p14_a_transaction_goes_with_the_session_that_nobody_holds(session) -> None:
    session.sql("CREATE TABLE t (a INT)")

    def abandon() -> None:
        left = session.scope()
        left.sql("BEGIN")
        left.sql("INSERT INTO t VALUES (1)")

    thread = threading.Thread(target=abandon)
    thread.start()
    thread.join()
    del thread
    gc.collect()
    session.sql("INSERT INTO t VALUES (2)")
    assert session.sql("SELECT a FROM t").to_pylist() == [{"a": 2}]


def test_closing_inside_a_transaction_is_refused(session) -> None:
    """It used to wait for itself."""
    with session.transaction(), pytest.raises(errors.TransactionError, match="leave the block"):
        session.close()
    assert session.tables().num_rows == 0


def test_a_tenants_schema_outlives_the_shared_one(session) -> None:
    with session.scope(tenant=None) as shared:
        shared.sql("CREATE SCHEMA x")
        with session.scope(tenant="red") as red:
            red.sql("CREATE TABLE x.t (a INT)")
        shared.sql("DROP SCHEMA x")
    with session.scope(tenant="red") as red:
        assert red.sql("SELECT count(*) AS n FROM x.t").to_pylist() == [{"n": 0}]


def test_a_frame_is_not_hidden_by_a_table(session, docs) -> None:
    session.attach("f", docs.to_arrow())
    for make in (
        lambda: session.sql("CREATE TABLE f (a INT)"),
        lambda: session.create_table("f", [{"a": 1}]),
        lambda: session.create_vector_table("f", vectors(1)),
    ):
        with pytest.raises(errors.TableExistsError, match="frame"):
            make()
