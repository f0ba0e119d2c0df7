"""The condition of a search: what it reads, who may ask it, and what stands on record of it."""

from __future__ import annotations

import json

import duckdb
import pyarrow as pa
import pytest

import affidavit
from affidavit import errors

ACTIVE = "owner IN (SELECT name FROM people WHERE active)"


@pytest.fixture
def docs(session: affidavit.Session) -> affidavit.VectorTable:
    session.sql("CREATE TABLE people (name VARCHAR PRIMARY KEY, active BOOLEAN)")
    session.sql("INSERT INTO people VALUES ('ann', true), ('bob', false)")
    return session.create_vector_table(
        "docs",
        [{"id": n, "vector": [1.0, n / 9], "owner": ["ann", "bob"][n % 2]} for n in range(6)],
    )


def ids(result: affidavit.Result) -> list[int]:
    return sorted(row["id"] for row in result.to_pylist())


def test_a_query_in_a_condition_reads_the_moment_of_the_search(session, docs) -> None:
    assert ids(session.search("docs", [1.0, 0.0], where=ACTIVE)) == [0, 2, 4]
    with session.transaction() as tx:
        tx.sql("UPDATE people SET active = NOT active")
        assert ids(tx.search("docs", [1.0, 0.0], where=ACTIVE)) == [1, 3, 5]
        asked = "SELECT id FROM vector_search('docs', [1, 0], 9, where => $w)"
        assert ids(tx.sql(asked, w=ACTIVE)) == [1, 3, 5]
        tx.rollback()
    batch = session.search_batch("docs", [[1.0, 0.0], [0.0, 1.0]], where=ACTIVE, k=2)
    assert [ids(each) for each in batch] == [[0, 2], [2, 4]]


def test_a_search_of_the_past_is_filtered_by_the_past(session, docs) -> None:
    before = session.sql("SELECT max(seq) AS n FROM system.ledger").to_pylist()[0]["n"]
    session.sql("UPDATE people SET active = NOT active")
    docs.delete("id = 0")
    past = session.at(before)
    assert ids(past.search("docs", [1.0, 0.0], where=ACTIVE)) == [0, 2, 4]
    assert ids(session.search("docs", [1.0, 0.0], where="abs(id) < 3", version=1)) == [0, 1, 2]


def test_what_a_condition_reads_is_on_record_and_replayed(lake) -> None:
    with affidavit.connect(lake, audit="reads") as session:
        session.sql("CREATE TABLE people (name VARCHAR PRIMARY KEY, active BOOLEAN)")
        session.sql("INSERT INTO people VALUES ('ann', true), ('bob', false)")
        rows = [{"id": n, "vector": [1.0, n / 9], "owner": ["ann", "bob"][n % 2]} for n in range(4)]
        session.create_vector_table("docs", rows)
        found = session.search("docs", [1.0, 0.0], where=ACTIVE)
        [read] = session.sql("SELECT tables FROM audit.reads").to_pylist()
        assert [(each["name"], each["columns"]) for each in read["tables"]] == [
            ("main.people", ["active", "name"])
        ]
        asked = "SELECT id FROM vector_search('docs', [1, 0], 9, where => $w)"
        assert ids(session.sql(asked, w=ACTIVE)) == [0, 2]
        [last] = session.sql(
            "SELECT tables FROM audit.reads WHERE cardinality(searches) = 1"
        ).to_pylist()
        assert {each["name"] for each in last["tables"]} == {"main.docs", "main.people"}
        session.sql("UPDATE people SET active = false")
        assert session.audit.replay(found.query_id, [1.0, 0.0]).outcome == "REPRODUCED"


def test_a_methods_condition_is_what_its_session_asks(lake, tmp_path) -> None:
    """It was read at a snapshot of its own: without temporary tables, and by nobody's name."""
    with affidavit.connect(lake, audit="reads") as session:
        session.create_vector_table("docs", [{"id": n, "vector": [1.0, n]} for n in range(4)])
        session.sql("CREATE TEMP TABLE wanted AS SELECT 2 AS id")
        duckdb.connect(str(tmp_path / "other.duckdb")).execute("CREATE TABLE o AS SELECT 3 AS id")
        session.attach("other", f"duckdb:///{tmp_path / 'other.duckdb'}")
        where = "id IN (SELECT id FROM wanted) AND 5 > $n"
        assert ids(session.search("docs", [1.0, 0.0], where=where, params={"n": 3})) == [2]
        passed = "id IN (SELECT id FROM source_query('other', 'SELECT id FROM o'))"
        assert ids(session.search("docs", [1.0, 0.0], where=passed)) == [3]
        told = session.sql("SELECT kind, text FROM audit.reads ORDER BY seq").to_pylist()
        assert [each["kind"] for each in told] == ["search", "search"]
        assert told[0]["text"] == "search('docs') WHERE id IN (SELECT id FROM wanted) AND ? > $n"
    with affidavit.connect(lake, audit="reads", store_queries=True) as session:
        session.search_batch("docs", [[1.0, 0.0]], where="abs(id) IN ($n, 1)", params={"n": 3})
        session.create_table("kept", [{"id": 1}])
        session.search("docs", [1.0, 0.0], where="id IN (SELECT $n FROM kept)", params={"n": 3})
        kept = "SELECT text, parameters FROM audit.reads WHERE parameters IS NOT NULL"
        [last] = session.sql(kept).to_pylist()
        assert last["text"] == "search('docs') WHERE id IN (SELECT $n FROM kept)"
        assert json.loads(last["parameters"]) == {"n": 3}


class Seen:
    """A hook that notes what happened, and asks SQL, as it may on the caller's thread."""

    def __init__(self, session: affidavit.Session, happened: list[str]) -> None:
        self.session = session
        self.happened = happened

    def before(self, request: affidavit.SearchRequest) -> None:
        self.happened.append("before")
        self.session.sql("SELECT count(*) FROM people").to_arrow()
        if request.k == 1:
            raise errors.HookError("no")

    def failed(self, _request: affidavit.SearchRequest, _error: BaseException) -> None:
        self.happened.append("failed")


def test_a_condition_is_asked_once_no_hook_refuses(session, docs) -> None:
    happened: list[str] = []

    def noted(names: pa.Array) -> pa.Array:
        happened.append("condition")
        if session.cancel():
            return pa.nulls(len(names), pa.bool_())
        return pa.array([True] * len(names))

    session.functions.register("noted", noted, [pa.string()], pa.bool_())
    session.hooks.add(Seen(session, happened))
    with pytest.raises(errors.HookError):
        session.search_batch("docs", [[1.0, 0.0]], k=1, where="noted(owner)")
    assert happened == ["before", "failed"]
    happened.clear()
    with pytest.raises(errors.StatementCancelledError):
        session.search("docs", [1.0, 0.0], where="noted(owner)")
    assert happened == ["before", "condition", "failed"]


def test_p9_a_condition_reaches_no_more_than_sql(session, docs, tmp_path) -> None:
    (tmp_path / "secret.csv").write_text("name\nann\n")
    reads = f"owner IN (SELECT name FROM '{tmp_path}/secret.csv')"
    with session.scope(tenant="other") as other:
        other.create_vector_table("docs", [{"id": 1, "vector": [1.0, 0.0], "owner": "ann"}])
        for where in (ACTIVE, reads, "owner IN (SELECT entity_id FROM lake.main.people)"):
            for ask in (
                lambda where=where: other.search("docs", [1.0, 0.0], where=where),
                lambda where=where: other.sql(
                    "SELECT id FROM vector_search('docs', [1, 0], 9, where => $w)", w=where
                ).to_arrow(),
            ):
                with pytest.raises(errors.AffidavitError):
                    ask()


def test_a_condition_does_not_run_where_the_statement_does_not(session, docs) -> None:
    inner = "id IN (SELECT id FROM vector_search(''docs'', [1, 0], 2))"
    asked = f"SELECT id FROM vector_search('docs', [0, 1], 9, where => '{inner}')"
    session.explain(asked)
    session.sql(asked).close()
    session.describe(asked)
    assert not session.audit.recent(9)
    assert ids(session.sql(asked)) == [0, 1]
    assert len(session.audit.recent(9)) == 2


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("vector_search('docs', [1, 0], k => 1, nope => 2)", "no argument 'nope'"),
        ("vector_search('docs', [1, 0], k => 1, k => 2)", "'k' stands twice"),
        ("vector_search('docs', query => [1, 0], 3)", "without a name stands behind"),
        ("vector_search('docs', [1, 0])", "k is not given"),
        ("vector_search('docs', [1, 0], 3, '{\"exact\": true}', exact => true)", "given twice"),
        ("vector_search('docs', [1, 0], 3, where => 'owner = $w')", "params="),
        ("vector_search('docs', [1, 0], 3, params => '[1]')", "where must be text"),
        ("vector_search('docs', [1, 0], 3, where => 'nope = 1')", r"in 'docs'.*docs\.owner\.$"),
        ("vector_search('docs', [1, 0], 3, where => 'upper(id, 1) = 1')", "upper"),
        ("vector_search('docs', [1, 0], 3, where => '_rowid = 1')", "told by their keys"),
        ("vector_search('docs', '[1, 0', 3)", "names no model"),
        ("as_of('docs')", "moment is not given"),
    ],
)
def test_p12_what_is_wrong_with_a_call_is_named(session, docs, call: str, told: str) -> None:
    with pytest.raises(errors.AffidavitError, match=told):
        session.sql(f"SELECT * FROM {call}").to_arrow()


def test_p14_a_call_is_described_without_values(session, docs) -> None:
    asked = "vector_search('docs', $q, k => $k, where => $w, exact => $e)"
    told = session.describe(f"SELECT id FROM {asked} JOIN docs VERSION AS OF $v USING (id)")
    assert {name: str(kind) for name, kind in told.parameters.items()} == {
        "q": "list<item: float>", "k": "int64", "w": "string", "e": "bool", "v": "int64",
    }  # fmt: skip
    values = {"q": [1.0, 0.0], "k": 1, "w": "owner = 'bob'", "e": True}
    assert ids(session.sql(f"SELECT id FROM {asked}", values)) == [1]
