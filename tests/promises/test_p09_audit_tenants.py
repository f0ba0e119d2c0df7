"""P9: each ledger is its tenant's own, and nobody writes what the engine keeps."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from tests.support.lakes import events, vectors
from tests.support.records import Q8

import affidavit
from affidavit import errors


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    """``red`` with three records, ``blue`` with one, the shared scope with two."""
    lake = tmp_path_factory.mktemp("tenants")
    with affidavit.connect(lake, actor="boss", durability="normal", store_queries=True) as session:
        for tenant, searches in (("red", 3), ("blue", 1), (None, 2)):
            with session.scope(tenant=tenant, actor=f"{tenant}-user") as scoped:
                scoped.create_vector_table(f"docs_{tenant}", vectors(20))
                for at in range(searches):
                    scoped.search(f"docs_{tenant}", Q8, k=at + 1, lineage=f"secret of {tenant}")
                scoped.sql(f"SELECT 'secret of {tenant}'").to_arrow()
                scoped.ledger.checkpoint()
        with session.scope(tenant="nobody") as scoped:
            scoped.sql("SELECT 1").to_arrow()  # which begins a ledger of its own
        session._instance.statements.flush()
        yield session


READS = [
    "SELECT * FROM audit.searches",
    "SELECT * FROM audit.results",
    "SELECT * FROM audit.statements WHERE text LIKE 'SELECT ''secret%'",
    "SELECT * FROM audit.checkpoints",
    "SELECT * FROM system.ledger",
    "SELECT * FROM lake.audit.searches WHERE tenant IS NOT NULL OR tenant IS NULL",
    "SELECT * FROM audit.searches WHERE seq >= 0 OR true",
]


@pytest.mark.parametrize("text", READS)
def test_p9_each_ledger_is_its_tenants_own_in_sql(tenants, text) -> None:
    shown = {}
    for tenant in ("red", "blue", None, "nobody"):
        with tenants.scope(tenant=tenant) as scoped:
            rows = scoped.sql(text).to_pylist()
            shown[tenant] = len(rows)
            others = {f"secret of {each}" for each in ("red", "blue", None)} - {
                f"secret of {tenant}"
            }
            assert not any(other in str(rows) for other in others)
            assert not any(f"{o.removeprefix('secret of ')}-user" in str(rows) for o in others)
            count = scoped.sql(text.replace("*", "count(*) AS n", 1)).to_pylist()
            assert count == [{"n": len(rows)}]
    records = {"red": 3, "blue": 1, None: 2, "nobody": 0}
    assert shown["nobody"] == ("ledger" in text or "checkpoints" in text), "its own first key"
    if "searches" in text:
        assert shown == records
    elif "results" in text:
        assert shown == {"red": 6, "blue": 1, None: 3, "nobody": 0}
    elif "ledger" in text:
        made = {"red": 2, "blue": 2, None: 2, "nobody": 0}  # the events of the table that was made
        assert shown == {each: n + 1 + made[each] for each, n in records.items()}
    else:
        assert all(shown[name] >= 1 for name in ("red", "blue", None))


def test_p9_each_ledger_is_its_tenants_own_in_the_api(tenants) -> None:
    with tenants.scope(tenant="red") as red, tenants.scope(tenant="blue") as blue:
        [theirs] = blue.audit.recent()
        assert [each.tenant for each in red.audit.recent()] == ["red"] * 3
        sizes = [each.ledger.size - events(each) for each in (red, blue)]
        assert sizes == [4, 2]
        for ask in (
            lambda query_id: red.audit.get(query_id),
            lambda query_id: red.audit.replay(query_id, Q8),
        ):
            with pytest.raises(errors.RecordNotFoundError) as refused:
                ask(theirs.query_id)
            with pytest.raises(errors.RecordNotFoundError) as absent:
                ask("nobody")
            assert str(refused.value).replace(theirs.query_id, "nobody") == str(absent.value)
        with pytest.raises(errors.RecordNotFoundError, match="has 6 entries"):
            red.ledger.prove(6)
        assert {each.tenant for each in red.audit.received(theirs.top_k_result_ids[0])} <= {"red"}
        assert red.ledger.origin.endswith("/red")
        assert red.ledger.public_key != blue.ledger.public_key
        assert red.ledger.verify()
        assert not red.audit.verify(theirs)
        assert red.audit.release(datetime.now(UTC), reason="asked") == 0
        assert blue.table("docs_blue").tags() != {}
    with tenants.scope(tenant=None) as shared:
        assert [each.tenant for each in shared.audit.recent()] == [None, None]
        assert shared.ledger.origin.endswith("/_shared")
    assert tenants.ledger.size == 0, "nor does the session itself have any of them"


def test_p9_a_search_of_a_shared_table_is_the_searching_tenants(tenants) -> None:
    with tenants.scope(tenant="green", actor="gil", source="web", workspace="w") as green:
        result = green.search("docs_None", Q8, k=2)
        rows = green.sql(f"SELECT id FROM vector_search('docs_None', {Q8}, 1)").num_rows
        assert (rows, len(green.audit.recent())) == (1, 2)
        said = result.audit
        assert (said.tenant, said.actor, said.source, said.workspace) == (
            "green",
            "gil",
            "web",
            "w",
        )
        assert str(green.audit.replay(result.query_id, Q8).outcome) == "REPRODUCED"
    with tenants.scope(tenant=None) as shared:
        assert len(shared.audit.recent()) == 2
        assert len(shared.audit.received(said.top_k_result_ids[0])) == 2


def test_p9_a_result_is_recorded_for_who_asked_wherever_it_is_read(tenants) -> None:
    with tenants.scope(tenant="lazy", actor="lou") as lazy:
        found = lazy.sql(f"SELECT id FROM vector_search('docs_None', {Q8}, 2)")
        assert lazy.audit.recent() == []
        with ThreadPoolExecutor(1) as pool, tenants.scope(actor="ann"):
            assert pool.submit(lambda: found.num_rows).result() == 2
    with tenants.scope(tenant="lazy") as lazy:
        assert [(each.tenant, each.actor) for each in lazy.audit.recent()] == [("lazy", "lou")]
        left = lazy.sql(f"SELECT id FROM vector_search('docs_None', {Q8}, 2)")
    with pytest.raises(errors.ClosedError):
        left.to_arrow()
    assert tenants.ledger.size == 0


WRITES = [
    "INSERT INTO audit.searches SELECT * FROM audit.searches", "UPDATE audit.searches SET seq = 1",
    "DELETE FROM audit.searches", "TRUNCATE audit.searches", "DROP TABLE audit.searches",
    "DROP TABLE IF EXISTS audit.searches", "DROP VIEW audit.searches",
    "ALTER TABLE audit.searches ADD COLUMN x INT", "ALTER TABLE audit.searches RENAME TO x",
    "CREATE INDEX i ON audit.searches (seq)", "CREATE TABLE audit.x (a INT)",
    "CREATE VIEW audit.x AS SELECT 1 AS a", "SELECT 1 AS a INTO audit.x",
    "CREATE OR REPLACE VIEW audit.searches AS SELECT 1 AS a",
    "CREATE OR REPLACE TABLE system.ledger AS SELECT 1 AS a", "CREATE SCHEMA audit",
    'CREATE SCHEMA "AUDIT"', "DROP SCHEMA audit CASCADE", "DROP SCHEMA IF EXISTS system",
    "MERGE INTO audit.searches USING t ON true WHEN MATCHED THEN DELETE",
    "DELETE FROM system.ledger", "INSERT INTO system.ledger VALUES (1)", "DELETE FROM system.tables",
    "UPDATE audit.statements SET text = 'x'", "DELETE FROM audit.checkpoints",
    "DELETE FROM audit.results", "DELETE FROM lake.audit.searches", "CREATE TABLE lake.audit.x (a INT)",
    'CREATE TABLE "audit"."x" (a INT)', "CREATE TABLE journal (a INT)",
    "CREATE EXTERNAL TABLE audit.x STORED AS CSV LOCATION '/nowhere.csv'",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITES)
def test_p9_what_the_engine_keeps_is_written_by_no_statement(indexed, text) -> None:
    before = indexed.ledger.size
    with pytest.raises(errors.ReservedNameError):
        indexed.sql(text)
    assert indexed.ledger.size == before
    assert indexed.ledger.verify()


def test_p9_what_the_engine_keeps_is_written_by_no_call(indexed) -> None:
    size, frame = indexed.ledger.size, pa.table({"a": [1]})
    for write in (
        lambda: indexed.create_table("journal", [{"a": 1}]),
        lambda: indexed.create_vector_table("journal", vectors(1)),
        lambda: indexed.attach("journal", frame),
        lambda: indexed.drop_table("audit.searches"),
        lambda: indexed.drop_table("system.ledger", if_exists=True),
    ):
        with pytest.raises(errors.ReservedNameError):
            write()
    for write in (
        lambda: indexed.create_table("audit.searches", [{"a": 1}]),
        lambda: indexed.create_vector_table("audit.searches", vectors(1)),
        lambda: indexed.attach("audit.searches", frame),
    ):
        with pytest.raises(errors.InvalidNameError):
            write()
    for handle in ("audit.searches", "system.ledger", "audit.statements"):
        with pytest.raises(errors.TableNotFoundError):
            indexed.table(handle)
    with pytest.raises(errors.TableNotFoundError):
        indexed.detach("audit.searches")
    for store_table in ("ledger", "ledger_heads", "search_results", "statements", "lake"):
        with pytest.raises(errors.TableNotFoundError):
            indexed.sql(f"DELETE FROM {store_table}")
    refused = indexed.sql("SELECT DISTINCT status FROM audit.reads").to_pylist()
    assert refused == [{"status": "refused"}]
    assert indexed.ledger.size == size + indexed.sql("SELECT * FROM audit.reads").num_rows
