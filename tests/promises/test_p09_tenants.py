"""P9: a tenant sees its own rows and the shared ones, and can do nothing to another's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from tests.support.lakes import Recorder, vectors

import affidavit
from affidavit import errors


@pytest.fixture
def tenants(session: affidavit.Session) -> affidavit.Session:
    """Tenants ``red`` and ``blue`` with tables of the same names, and shared tables."""
    for tenant, rows in (("red", 3), ("blue", 5)):
        with session.scope(tenant=tenant) as scoped:
            scoped.create_table(
                "notes", [{"id": i, "owner": tenant} for i in range(rows)], primary_key="id"
            )
            scoped.create_vector_table("docs", vectors(rows * 10, 4))
            scoped.create_table(f"only_{tenant}", [{"secret": f"{tenant}-secret"}])
    with session.scope(tenant=None) as shared:
        shared.create_table("codes", [{"code": "x", "n": 1}], primary_key="code")
        shared.create_vector_table("common", vectors(10, 4))
    return session


def test_p9_two_tenants_may_have_tables_of_one_name(tenants) -> None:
    with tenants.scope(tenant="red") as red, tenants.scope(tenant="blue") as blue:
        assert red.table("notes").count() == 3
        assert blue.table("notes").count() == 5
        assert red.sql("SELECT DISTINCT owner FROM notes").to_pylist() == [{"owner": "red"}]
        assert blue.search("docs", [1.0] * 4, k=99).num_rows == 50


READS = [
    "SELECT * FROM only_blue",
    "SELECT * FROM main.only_blue",
    "SELECT * FROM lake.main.only_blue",
    "SELECT count(*) FROM only_blue",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM only_blue)",
    "DESCRIBE only_blue",
    "SELECT * FROM blue.only_blue",
    'SELECT * FROM "_dml".target',
    "UPDATE only_blue SET secret = 'x'",
    "DELETE FROM only_blue",
    "INSERT INTO only_blue VALUES ('x')",
    "TRUNCATE only_blue",
    "MERGE INTO only_blue USING notes n ON false WHEN NOT MATCHED THEN INSERT VALUES ('x')",
    "DROP TABLE only_blue",
    "ALTER TABLE only_blue RENAME TO mine",
    "CREATE INDEX i ON only_blue (secret)",
    "CREATE VIEW v AS SELECT * FROM only_blue",
    "CREATE TABLE mine AS SELECT * FROM only_blue",
    "COPY only_blue TO '/tmp/x.parquet'",
    "EXPLAIN SELECT * FROM only_blue",
    "PREPARE p AS SELECT * FROM only_blue",
    "SELECT * FROM vector_search('only_blue', [1.0, 1.0, 1.0, 1.0], 1)",
    "SELECT * FROM vector_search('blue.docs', [1.0, 1.0, 1.0, 1.0], 1)",
    "SELECT * FROM vector_search('../blue/docs', [1.0, 1.0, 1.0, 1.0], 1)",
]


@pytest.mark.parametrize("text", READS)
def test_p9_another_tenants_table_is_as_good_as_absent(tenants, text: str) -> None:
    """The error is the one for a table that nobody has, but for the name, and tells nothing more."""
    with tenants.scope(tenant="red") as red:
        with pytest.raises(errors.AffidavitError) as refused:
            red.sql(text).to_arrow()
        with pytest.raises(errors.AffidavitError) as absent:
            red.sql(text.replace("only_blue", "only_nobody").replace("blue", "nobody")).to_arrow()
        said = str(refused.value).replace("only_blue", "only_nobody").replace("blue", "nobody")
        assert type(refused.value) is type(absent.value)
        assert said == str(absent.value)
        assert "secret" not in said
    with tenants.scope(tenant="blue") as blue:
        assert blue.table("only_blue").to_arrow().to_pylist() == [{"secret": "blue-secret"}]


def test_p9_listings_show_own_and_shared_tables_only(tenants) -> None:
    with tenants.scope(tenant="red") as red:
        names = {"notes", "docs", "only_red", "codes", "common"}
        assert {row["name"] for row in red.tables()} == names
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
        assert {row["table_name"] for row in red.sql(query)} == names
        columns = red.sql("SELECT column_name FROM information_schema.columns").to_pylist()
        assert "secret" in {row["column_name"] for row in columns}
        for text in (
            "SHOW TABLES",
            "SELECT * FROM system.tables",
            "SELECT * FROM information_schema.tables",
        ):
            assert "blue" not in str(red.sql(text).to_pylist())
        with pytest.raises(errors.TableNotFoundError) as error:
            red.table("only_blue")
        assert "only_blue" not in str(error.value).split(";")[1]


def test_p9_shared_tables_are_read_by_all_and_written_by_the_shared_scope(tenants) -> None:
    with tenants.scope(tenant="red") as red:
        assert red.sql("SELECT n FROM codes").to_pylist() == [{"n": 1}]
        assert red.search("common", [1.0] * 4).num_rows == 10
        writes = [
            lambda: red.sql("UPDATE codes SET n = 2"),
            lambda: red.sql("DELETE FROM codes"),
            lambda: red.sql("INSERT INTO codes VALUES ('y', 2)"),
            lambda: red.sql("TRUNCATE codes"),
            lambda: red.sql("DROP TABLE codes"),
            lambda: red.sql("ALTER TABLE codes ADD COLUMN z INT"),
            lambda: red.sql("CREATE INDEX i ON codes (n)"),
            lambda: red.sql("DELETE FROM common"),
            lambda: red.table("codes").insert([{"code": "z", "n": 1}]),
            lambda: red.table("codes").upsert([{"code": "x", "n": 9}]),
            lambda: red.table("codes").truncate(),
            lambda: red.table("common").insert(vectors(1, 4, start=99)),
            lambda: red.table("common").upsert(vectors(1, 4)),
            lambda: red.table("common").create_index("vector"),
            lambda: red.table("common").optimize(),
            lambda: red.table("common").tag("mine"),
            lambda: red.table("common").restore(1),
            lambda: red.drop_table("common"),
        ]
        for write in writes:
            with pytest.raises(errors.ReadOnlyError, match="shared"):
                write()
    with tenants.scope(tenant=None) as shared:
        assert shared.sql("UPDATE codes SET n = 7").rows_affected == 1
        with pytest.raises(errors.TableNotFoundError):
            shared.table("notes")
    with tenants.scope(tenant="blue") as blue:
        assert blue.sql("SELECT n FROM codes").to_pylist() == [{"n": 7}]


def test_p9_a_tenants_own_table_hides_the_shared_one(tenants) -> None:
    with tenants.scope(tenant="red") as red:
        red.create_table("codes", [{"code": "mine", "n": 0}])
        assert red.sql("SELECT code FROM codes").to_pylist() == [{"code": "mine"}]
        red.drop_table("codes")
        assert red.sql("SELECT code FROM codes").to_pylist() == [{"code": "x"}]


def test_p9_dropping_ones_own_table_leaves_the_others(tenants) -> None:
    with tenants.scope(tenant="red") as red:
        red.drop_table("docs")
        red.sql("DROP TABLE notes")
    with tenants.scope(tenant="blue") as blue:
        assert blue.table("docs").count() == 50
        assert blue.table("notes").count() == 5


def test_p9_every_row_in_the_store_carries_its_tenant(tenants, lake) -> None:
    """And a reader of another tenant finds none of them, were it handed the very table."""
    from affidavit.catalog.tables.rows import read_table

    with tenants.scope(tenant="blue") as blue, blue._catalog().read() as reader:
        info = blue._catalog().get(reader, "notes")
        assert read_table(reader, info).num_rows == 5
    with tenants.scope(tenant="red") as red, red._catalog().read() as reader:
        assert read_table(reader, info).num_rows == 0
        with red._catalog().write() as writer:
            store = info.definition.store_table
            assert writer.delete_where(store, None) == 0
            writer.delete(store, [1, 2, 3])
    with tenants.scope(tenant="blue") as blue:
        assert len(blue.table("notes").to_arrow()) == 5


def test_scopes_nest_and_end_with_their_block(session) -> None:
    with session.scope(tenant="red", actor="ann") as red:
        assert (red.tenant, red.actor) == ("red", "ann")
        assert (session.tenant, session.actor) == ("default", "tester"), "a scope changes nobody"
        with pytest.raises(ZeroDivisionError), red.scope(actor="bob") as inner:
            assert (inner.tenant, inner.actor) == ("red", "bob")
            raise ZeroDivisionError
        with session.scope(actor="bob") as beside:
            assert (beside.tenant, beside.actor) == ("default", "bob")
        assert red.actor == "ann"
        with session.scope(tenant=None) as shared:
            assert shared.tenant is None
        for other in ("blue", None):
            with (
                pytest.raises(errors.NoTenantError, match="cannot act for another"),
                red.scope(tenant=other),
            ):
                pass
    assert (session.tenant, session.actor) == ("default", "tester")
    for ended in (red, inner, beside):
        with pytest.raises(errors.ClosedError, match="scope"):
            ended.sql("SELECT 1")
    assert red.tenant == "red"


def test_scopes_of_threads_and_tasks_do_not_meet(session) -> None:
    barrier = threading.Barrier(4)

    def work(name: str) -> list[str]:
        with session.scope(tenant=name) as scoped:
            scoped.create_table("t", [{"owner": name}])
            barrier.wait()
            assert session.tenant == "default"
            return [scoped.tenant, *(r["owner"] for r in scoped.sql("SELECT * FROM t"))]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, "abcd")) == [[n, n] for n in "abcd"]

    async def task(name: str) -> list[str]:
        with session.scope(tenant=name) as scoped:
            await asyncio.sleep(0)
            found = scoped.sql("SELECT owner FROM t").to_pylist()
            await asyncio.sleep(0)
            return [scoped.tenant, found[0]["owner"]]

    async def both() -> list[list[str]]:
        return await asyncio.gather(*(task(name) for name in "abcd"))

    assert asyncio.run(both()) == [[n, n] for n in "abcd"]
    assert session.tenant == "default"


@pytest.mark.parametrize(
    "tenant", ["", "a/b", "..", "a\x00", "_shared", " x", "a'b", 'a"b', 3, "ｒed", "rеd"]
)
def test_p12_a_bad_tenant_is_refused(lake, tenant) -> None:
    with pytest.raises(errors.NoTenantError), affidavit.connect(lake, tenant=tenant):
        pass


def test_p9_a_scoped_tenant_touches_no_local_path(session, tmp_path) -> None:
    path = tmp_path / "x.parquet"
    session.sql(f"COPY (SELECT 1 AS a) TO '{path}'")
    statements = [
        f"COPY (SELECT 2 AS a) TO '{path}'",
        f"CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{path}'",
        f"CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION 'file://{path}'",
        "CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION 's3://bucket/x.parquet'",
    ]
    with session.scope(tenant="red") as red:
        for text in statements:
            with pytest.raises(errors.PathNotAllowedError):
                red.sql(text)
        with pytest.raises(errors.PathNotAllowedError):
            red.attach("e", str(path))
    with session.scope(tenant="red", allowed_paths=[tmp_path]) as red:
        red.attach("e", str(path))
        assert red.sql("SELECT a FROM e").to_pylist() == [{"a": 1}]
        link = tmp_path / "link"
        link.symlink_to("/etc")
        with pytest.raises(errors.PathNotAllowedError):
            red.sql(f"COPY (SELECT 1) TO '{link}/x.parquet'")
        with pytest.raises(errors.PathNotAllowedError):
            red.sql(f"COPY (SELECT 1) TO '{tmp_path}/../x.parquet'")


def test_p14_a_transaction_belongs_to_its_session(session) -> None:
    with pytest.raises(ZeroDivisionError), session.scope(tenant="red") as red:
        with session.transaction() as ours:
            assert ours.sql("SELECT count(*) AS n FROM system.tables").to_pylist() == [{"n": 0}]
            red.create_table("t", [{"a": 1}])
            ours.create_table("t", [{"a": 2}])
            raise ZeroDivisionError
    assert session.tables().num_rows == 0
    with session.scope(tenant="red") as red:
        assert red.table("t").to_arrow().to_pylist() == [{"a": 1}]


def test_changes_carry_who_made_them(session, recorder: Recorder) -> None:
    with session.scope(
        tenant="red", actor="ann", source="import", workspace="w", reason="why"
    ) as red:
        red.create_table("t", [{"a": 1}])
    made = recorder.changes[-1].identity
    assert (made.shown_tenant, made.actor, made.source, made.workspace, made.reason) == (
        "red", "ann", "import", "w", "why",
    )  # fmt: skip
    assert isinstance(recorder.changes[-1].after, pa.Table)
