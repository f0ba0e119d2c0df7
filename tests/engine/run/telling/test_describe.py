"""``session.describe``: what a statement is, before it has values and without running."""

from __future__ import annotations

import pyarrow as pa
import pytest

import affidavit
from affidavit.errors import InvalidQueryError, SqlError, TableNotFoundError

I64, TEXT = pa.int64(), pa.string_view()
VECTOR = pa.list_(pa.float32())


@pytest.fixture
def lake(session: affidavit.Session) -> affidavit.Session:
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR, at DATE)")
    session.sql("INSERT INTO t VALUES (1, 'a', '2020-01-01')")
    session.create_vector_table("docs", [{"id": 1, "title": "x", "vector": [1.0, 2.0]}])
    return session


def columns(found: affidavit.Description) -> dict[str, pa.DataType]:
    return {each.name: each.type for each in found.columns}


@pytest.mark.parametrize(
    ("text", "kind", "returned", "parameters"),
    [
        ("SELECT id, name FROM t WHERE id = $x AND name LIKE $y", "query",
         {"id": I64, "name": TEXT}, {"x": I64, "y": TEXT}),
        ("SELECT id FROM t WHERE at > ? LIMIT 3", "query", {"id": I64}, {"1": pa.date32()}),
        ("SELECT $a, id + $b FROM t", "query", {"$a": pa.null(), "id + $b": I64},
         {"a": None, "b": I64}),
        ("WITH c AS (SELECT id FROM t WHERE id > $z) SELECT * FROM c", "query", {"id": I64}, {"z": I64}),
        ("SELECT id FROM t WHERE EXISTS (SELECT 1 FROM docs d WHERE d.id = $1)", "query",
         {"id": I64}, {"1": I64}),
        ("VALUES (1, 'x')", "query", {"column1": I64, "column2": pa.string()}, {}),
        ("INSERT INTO t (name, id) VALUES ($n, $i)", "insert", {}, {"n": TEXT, "i": I64}),
        ("INSERT INTO t (id) VALUES ($i) RETURNING id AS made, at", "insert",
         {"made": I64, "at": pa.date32()}, {"i": I64}),
        ("INSERT INTO t VALUES (1, 'x', NULL) ON CONFLICT (id) DO UPDATE SET name = $n "
         "WHERE t.id > $i", "insert", {}, {"n": TEXT, "i": I64}),
        ("UPDATE t SET name = $n, at = $d WHERE id = $i RETURNING *", "update",
         {"id": I64, "name": TEXT, "at": pa.date32()}, {"n": TEXT, "d": pa.date32(), "i": I64}),
        ("UPDATE t SET name = d.title FROM docs d WHERE d.id = t.id AND d.title = $1", "update", {},
         {"1": pa.string()}),
        ("DELETE FROM t WHERE id IN ($a, $b)", "delete", {}, {"a": I64, "b": I64}),
        ("DELETE FROM t USING docs d WHERE d.id = t.id AND d.id > $a RETURNING name", "delete",
         {"name": TEXT}, {"a": I64}),
        ("MERGE INTO t USING docs d ON t.id = d.id WHEN MATCHED AND d.id > $m THEN UPDATE SET "
         "name = $n WHEN NOT MATCHED THEN INSERT (id, name) VALUES (d.id, $z)", "merge", {},
         {"m": I64, "n": TEXT, "z": TEXT}),
        ("TRUNCATE t", "truncate", {}, {}),
        ("SELECT id, _distance FROM vector_search('docs', $q, $k)", "query",
         {"id": I64, "_distance": pa.float32()}, {"q": VECTOR, "k": I64}),
        ("SELECT t.name FROM vector_search('docs', $q, $k, $o) d JOIN t ON t.id = d.id WHERE t.id > $i",
         "query", {"name": TEXT}, {"q": VECTOR, "k": I64, "o": pa.string(), "i": I64}),
        ("SELECT id FROM as_of('t', $m)", "query", {"id": I64}, {"m": None}),
        ("EXPLAIN SELECT id FROM t WHERE id = $i", "explain",
         {"plan_type": pa.string(), "plan": pa.string()}, {"i": I64}),
        ("CREATE TABLE made AS SELECT $a AS a", "create", {}, {"a": None}),
        ("COPY t TO 'out.csv'", "copy", {}, {}),
        ("BEGIN", "begin", {}, {}),
        ("DROP TABLE t", "drop", {}, {}),
    ],
)  # fmt: skip
def test_a_description_says_what_comes_and_goes_in(lake, text, kind, returned, parameters) -> None:
    found = lake.describe(text)
    assert found.kind == kind
    assert columns(found) == returned
    assert found.parameters == parameters


@pytest.mark.parametrize(
    ("text", "reads", "writes"),
    [
        ("SELECT name FROM t WHERE id = 1", {"main.t": ("id", "name")}, {}),
        ("SELECT 1", {}, {}),
        ("INSERT INTO t SELECT id, title, NULL FROM docs", {"main.docs": ("id", "title")},
         {"main.t": ("id", "name", "at")}),
        ("UPDATE t SET at = NULL WHERE id = 1", {"main.t": ("at", "id")}, {"main.t": ("at",)}),
        ("DELETE FROM t WHERE id = 1", {"main.t": ("id",)}, {"main.t": ("id", "name", "at")}),
        ("TRUNCATE t", {}, {"main.t": ("id", "name", "at")}),
    ],
)  # fmt: skip
def test_a_description_names_the_tables_and_their_columns(lake, text, reads, writes) -> None:
    found = lake.describe(text)
    assert (found.reads, found.writes) == (reads, writes)


def test_p2_describing_runs_nothing(lake) -> None:
    before = lake.sql("SELECT * FROM t").to_pylist(), lake.ledger.size
    for text in (
        "DELETE FROM t", "TRUNCATE t", "DROP TABLE t", "UPDATE t SET id = 2", "BEGIN",
        "INSERT INTO t VALUES (2, 'b', NULL) RETURNING *", "SET datafusion.execution.batch_size = 7",
        "SELECT * FROM vector_search('docs', [1.0, 2.0], 1)", "CREATE TABLE x AS SELECT 1 AS a",
        "PREPARE p AS SELECT 1",
    ):  # fmt: skip
        lake.describe(text)
    assert (lake.sql("SELECT * FROM t").to_pylist(), lake.ledger.size) == before
    with pytest.raises(SqlError, match="no prepared statement"):
        lake.sql("EXECUTE p")
    assert lake.sql("SHOW datafusion.execution.batch_size").to_pylist()[0]["value"] != "7"


def test_an_execute_is_described_as_what_was_prepared(lake) -> None:
    lake.sql("PREPARE p AS SELECT name FROM t WHERE id = $1")
    assert columns(lake.describe("EXECUTE p (1)")) == {"name": TEXT}


def test_what_a_description_promises_is_what_comes(lake) -> None:
    for text in ("SELECT * FROM t", "SELECT count(*), max(at) FROM t", "SELECT * FROM docs"):
        assert lake.describe(text).columns == lake.sql(text).to_arrow().schema


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("SELECT * FROM missing", TableNotFoundError),
        ("UPDATE missing SET a = 1", TableNotFoundError),
        ("SELECT nothing FROM t", SqlError),
        ("SELEC 1", SqlError),
        ("SELECT 1; SELECT 2", SqlError),
        ("", SqlError),
        ("EXECUTE unknown", SqlError),
        ("SELECT * FROM vector_search($t, $q, 1)", InvalidQueryError),
        ("SELECT * FROM vector_search('docs', [1.0], 1)", InvalidQueryError),
        ("SELECT id FROM t TABLESAMPLE (10)", SqlError),
    ],
)
def test_p12_what_cannot_be_planned_is_not_described(lake, text, error) -> None:
    with pytest.raises(error):
        lake.describe(text)


def test_p9_a_description_tells_nothing_of_other_tenants(lake) -> None:
    with lake.scope(tenant="other") as other, pytest.raises(TableNotFoundError):
        other.describe("SELECT * FROM t")


@pytest.mark.parametrize("text", ["SELECT upper(x'00')", "SELECT x'00' + x'00'"])
def test_p21_what_only_optimizing_finds_is_an_error_of_ours(lake, text) -> None:
    with pytest.raises(SqlError):
        lake.describe(text)
    with pytest.raises(SqlError):
        _ = lake.sql(text).schema
