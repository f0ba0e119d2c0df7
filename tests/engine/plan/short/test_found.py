"""A search that is read without a plan is what a plan gives: rows, types, errors and records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import affidavit
from affidavit import errors
from affidavit.engine.plan.short.sought import search_read

PLANNED = " -- planned"
"""What makes a statement one that is not read in the short way."""

SIZE = 4


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    drawn = np.random.default_rng(7).random((300, SIZE), dtype=np.float32)
    rows = pa.table(
        {
            "id": np.arange(300),
            "text": [f"word number {each % 17}" for each in range(300)],
            "Odd one": pa.array([None, *np.arange(299) * 1.5]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(drawn.ravel()), SIZE),
        }
    )
    with affidavit.connect(
        tmp_path_factory.mktemp("found") / "lake", durability="normal"
    ) as opened:
        opened.create_vector_table("docs", rows)
        table = opened.table("docs")
        table.create_index("text", "FTS")
        table.create_index("vector")
        opened.create_vector_table("few", rows.slice(0, 3).select(["id", "vector"]), metric="l2")
        opened.sql("CREATE TABLE plain (id INT PRIMARY KEY)")
        yield opened


CHANGING = {"seq", "query_id", "executed_at", "logged_at", "duration_us", "journal_seq", "leaf_index"} | {
    "record", "signature", "result_sha256", "query_lineage",
}  # fmt: skip
"""What two records of the same search differ in."""


def newest(session: affidavit.Session) -> dict[str, Any]:
    [found] = session.sql("SELECT * FROM audit.searches ORDER BY seq DESC LIMIT 1").to_pylist()
    return {name: found[name] for name in found.keys() - CHANGING}


def outcome(session: affidavit.Session, text: str, params: Any) -> object:
    size = session.ledger.size
    try:
        result = session.sql(text, params)
        rows = result.to_arrow()
    except errors.AffidavitError as error:
        return type(error), str(error), session.ledger.size - size
    assert result.schema.equals(rows.schema, check_metadata=True)
    told = newest(session) if session.ledger.size > size else None
    return str(rows.schema), str(rows.to_pylist()), told, session.ledger.size - size


COLUMNS = st.sampled_from(["*", "id", "id, text, _distance", "_distance, id", "_score", "_score AS s, id", '"Odd one" AS x', "text AS Text, vector", "nope",
                           "id, id", "id, id AS other", "ID", "_distance AS _distance", "id AS _distance", "id AS null", "d.id", "count(*)", "vector", "upper(text)"])  # fmt: skip
TABLES = st.sampled_from(
    ["'docs'", "'main.docs'", "'few'", "'DOCS'", "'plain'", "'nope'", "$t", "docs"]
)
QUERIES = st.sampled_from(
    ["$q", "$q", "$q", "[1, 0, 0, 0.5]", "'[0, 1, 0.25, -1]'", "'words'", "[1]", "[1, 2, 3, -4]", "[01, 2, 3, 4]", "NULL", "'it''s'"]
)  # fmt: skip
WORDS = st.sampled_from(["'number'", "'word 3'", "''", "$w", "'zebra'"])
COUNTS = st.sampled_from(["5", "1", "300", "0", "$k", "2.0", "03", "'3'", "-1", "k => 4", "K => 2"])
MORE = st.sampled_from(["", "", ", exact => TRUE", ", nprobes => 3, refine_factor => 2", ", where => 'id < 20'", ", where => 'upper(text) = text'", ", where => 'no <'",
                        """, '{"exact": true}'""", """, '{"select": ["id"]}'""", ", metric => 'l2'", ", metric => 'x'", ", nope => 1", ", k => 2",
                        ", lineage => 'by hand'", ", model => 'm'", ", version => 1", ", version => 9", ", column => 'text'", ", 5"])  # fmt: skip
ENDS = st.sampled_from(["", "", "", " AS d", " ORDER BY _distance", " ORDER BY _score DESC LIMIT 2", " AS d ORDER BY _distance ASC LIMIT 3", " LIMIT 1;", " LIMIT 0",
                        " ORDER BY id", " WHERE id < 5", " ORDER BY _distance DESC", " d", " AS where", " LIMIT 2 OFFSET 1"])  # fmt: skip
VECTORS = st.sampled_from(
    [
        np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        np.array([0.1, 0.2, 0.3, 0.4]),
        [0.4, 0.3, 0.2, 0.1],
        (1, 2, 3, 4),
        np.array([1, 2, 3, 4]),
        np.array([1, np.nan, 3, 4]),
        np.array([1e300, 1, 1, 1]),
        np.zeros(SIZE, np.float32),
        np.zeros(0, np.float32),
        np.ones((2, 2), np.float32),
        np.ones(SIZE, np.float16),
        np.ma.array([1.0, 2.0, 3.0, 4.0], mask=[True, False, False, False]),
        pa.array([1.0, 2.0, 3.0, 4.0]),
        pa.scalar([1.0, 2.0, 3.0, 4.0]),
        np.ones(3, np.float32),
        "[1, 0, 0, 0]",
        "a text",
        None,
        5,
        [],
    ]
)
FORMS = {
    "vector_search": "{table}, {query}, {k}{more}",
    "text_search": "{table}, {words}, {k}{more}",
    "hybrid_search": "{table}, {query}, {words}, {k}{more}",
}


@pytest.mark.fuzz
@given(st.data())
@settings(max_examples=50)
def test_p19_it_finds_what_a_plan_does(session: affidavit.Session, data: st.DataObject) -> None:
    draw = data.draw
    function = draw(st.sampled_from([*FORMS, "vector_search", "VECTOR_SEARCH"]))
    given_ = FORMS[function.lower()].format(
        table=draw(TABLES), query=draw(QUERIES), words=draw(WORDS), k=draw(COUNTS), more=draw(MORE)
    )
    text = f"SELECT {draw(COLUMNS)} FROM {function}({given_}){draw(ENDS)}"
    values = {"t": "docs", "q": draw(VECTORS), "w": "number", "k": draw(st.sampled_from([3, 3.5]))}
    params = {name: value for name, value in values.items() if f"${name}" in text}
    assert outcome(session, text, params) == outcome(session, text + PLANNED, params), text


READ = ["SELECT id, _distance FROM vector_search('docs', $q, 5)", "select * from vector_search('docs', query => $q, k => 5, nprobes => 2) as d limit 5;",
        'SELECT "Odd one" AS odd FROM vector_search(\'docs\', $q, 5, \'{"exact": true}\') ORDER BY _distance LIMIT 5',
        "SELECT id FROM hybrid_search('docs', $q, 'number', 5) ORDER BY _score DESC"]  # fmt: skip


@pytest.mark.parametrize("text", READ)
def test_what_is_found_without_a_plan(session, monkeypatch, text: str) -> None:
    monkeypatch.setattr("affidavit.engine.plan.planner.Planner.plan", None)  # nothing is planned
    assert session.sql(text, q=np.ones(SIZE, np.float32)).num_rows == 5


NOT_READ = ["SELECT id FROM vector_search('docs', $q, 5), plain", "SELECT DISTINCT id FROM vector_search('docs', $q, 5)", "SELECT id + 1 FROM vector_search('docs', $q, 5)",
            "SELECT id, id FROM vector_search('docs', $q, 5)", "SELECT id FROM vector_search('docs', $q, 5) WHERE id = 1", "SELECT id FROM vector_search('docs', $q, 5) LIMIT 0",
            "SELECT id FROM vector_search('docs', $q)", "SELECT id FROM vector_search('docs', k => 5, $q)", "SELECT id FROM vector_search('docs', $q, 5, k => 5)",
            "SELECT id FROM vector_search('docs', embed('m', 'text'), 5)", "SELECT id FROM vector_search('docs', $q, 5) ORDER BY _distance DESC",
            "SELECT id FROM as_of('docs', 5)", "SELECT id FROM vector_search('it''s', $q, 5)", "SELECT id FROM vector_search('\ud800', $q, 5)",
            "SELECT id FROM vector_search('docs', [00, 1], 5)", "SELECT id FROM vector_search('docs', $q, 05)",
            "SELECT id AS _distance FROM vector_search('docs', $q, 5) ORDER BY _distance"]  # fmt: skip


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_planned(text: str) -> None:
    assert search_read(text) is None


def test_its_rows_are_those_of_its_moment_and_its_record_comes_first(lake) -> None:
    text = "SELECT id FROM vector_search('t', [1, 0], 5)"
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 0, 0, 1], pa.float32()), 2)
    with affidavit.connect(lake) as session:
        table = session.create_vector_table("t", pa.table({"id": [1, 2], "vector": vectors}))
        before = session.ledger.size
        lazy = session.sql(text)
        assert session.ledger.size == before, "nobody has asked for its rows"
        table.delete(keys=[1])
        assert lazy.to_pylist() == [{"id": 1}, {"id": 2}], "its moment was then"
        assert session.sql(text).to_pylist() == [{"id": 2}]
        with session.transaction():
            session.sql("CREATE TABLE other (id INT)")
            assert session.sql(text).to_pylist() == [{"id": 2}]
        session.sql("SELECT 1").to_arrow()
        log = session.sql(
            "SELECT kind, tables_read, rows, status FROM audit.statements"
        ).to_pylist()
    told = [each for each in log if "main.t@" in str(each["tables_read"])]
    assert [each["rows"] for each in told] == [2, 1, 1]
    assert {(each["kind"], each["status"]) for each in told} == {("query", "ok")}


def test_p02_hooks_and_policies_are_asked_as_of_a_planned_one(lake) -> None:
    class Refuses:
        def before(self, request: object) -> None:
            raise ValueError("not today")

    text = "SELECT id FROM vector_search('t', [1, 0], 5)"
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 0], pa.float32()), 2)
    with affidavit.connect(lake) as session:
        session.create_vector_table("t", pa.table({"id": [1], "vector": vectors}))
        hook = Refuses()
        session.hooks.add(hook)
        with pytest.raises(errors.HookError, match="not today"):
            session.sql(text).to_arrow()
        session.hooks.remove(hook)
        session.sql("ALTER TABLE t SET (audit = 'rows')")
        result = session.sql(text)
        rows = result.to_arrow()
        assert session.audit.check(result.receipt, rows)
        with pytest.raises(errors.StatementTimeoutError):
            session.sql(text, timeout=1e-9).to_arrow()
        lazy = session.sql(text)
        lazy.close()
        with pytest.raises(errors.ClosedError):
            lazy.to_arrow()
        assert session.ledger.verify()
