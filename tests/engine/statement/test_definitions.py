"""What a CREATE, an ALTER, an EXPLAIN, a PREPARE and a COPY say, read without running them."""

from __future__ import annotations

import pytest

from affidavit import errors
from affidavit.engine.statement.assignments import Name, computed_values, parse_assignments
from affidavit.engine.statement.clauses import parse_delete, parse_insert, parse_update
from affidavit.engine.statement.commands import (
    Execute,
    Prepare,
    parse_copy,
    parse_execute,
    parse_explain,
    parse_prepare,
)
from affidavit.engine.statement.definitions import (
    NewIndex,
    NewTrigger,
    parse_index,
    parse_schema_name,
    parse_trigger,
)
from affidavit.engine.statement.statement import Kind, parse_statement


def at(text: str):
    return parse_statement(text).cursor()


def test_an_index_and_a_trigger_are_read_to_the_end() -> None:
    assert parse_index(at("IF NOT EXISTS i ON s.t USING ivf_pq (v) WITH (k = 3, m = 'x')")) == (
        NewIndex("i", Name("s", "t"), "IVF_PQ", ("v",), {"k": 3, "m": "x"}, if_not_exists=True)
    )
    assert parse_index(at("ON t (a, b)")).name == ""
    trigger = "x AFTER insert OR update ON t FOR EACH ROW WHEN (new.a > (1)) PUBLISH 'it''s'"
    assert parse_trigger(at(trigger)) == NewTrigger(
        "x", ("insert", "update"), Name("main", "t"), "new.a > (1)", "it's", if_not_exists=False
    )
    with pytest.raises(errors.SqlError, match="expected the end of CREATE TRIGGER, found 'y'"):
        parse_trigger(at("x AFTER insert ON t PUBLISH 'z' y"))


def test_a_schema_is_of_the_lakes_catalog() -> None:
    assert parse_schema_name(at("lake.s")) == parse_schema_name(at("s")) == "s"
    with pytest.raises(errors.SqlError, match="there is no catalog 'other'"):
        parse_schema_name(at("other.s"))


def test_explain_says_what_is_explained() -> None:
    asked = parse_explain(at("EXPLAIN ANALYZE VERBOSE FORMAT indent DELETE FROM t"))
    assert (asked.analyze, asked.inner.kind, asked.inner.text) == (
        True,
        Kind.DELETE,
        "DELETE FROM t",
    )
    assert not parse_explain(at("EXPLAIN SELECT 1")).analyze


def test_prepare_and_execute_say_types_and_values() -> None:
    prepared = parse_prepare(at("PREPARE p(DECIMAL(3, 1), INT) AS SELECT $1 + $2"))
    assert prepared == Prepare("p", ("DECIMAL(3, 1)", "INT"), "SELECT $1 + $2")
    assert parse_execute(at("EXECUTE p(round(1.5, 1), 2)")) == Execute("p", ("round(1.5, 1)", "2"))
    assert parse_execute(at("EXECUTE p")) == parse_execute(at("EXECUTE p()")) == Execute("p", ())


def test_copy_can_be_told_another_place() -> None:
    asked = parse_copy(at("COPY (SELECT 1) /* to */ TO 'it''s' STORED AS CSV"))
    assert asked.location == "it's"
    assert asked.options.format == "CSV"
    assert asked.to("/a'b", "CSV", {}) == "COPY ( SELECT 1 ) TO '/a''b' STORED AS CSV"
    packed = asked.to("b", "CSV", {"compression": "gzip"})
    assert packed.endswith("STORED AS CSV OPTIONS ('format.compression' 'gzip')")


def test_an_update_and_a_delete_are_cut_into_clauses() -> None:
    update = parse_update(
        at("WITH w AS (SELECT 1) UPDATE s.t AS x SET a = 1, (b, c) = (2, w.d) FROM w "
           "WHERE a = 1 OR b = 2 LIMIT 3 RETURNING a")
    )  # fmt: skip
    assert (update.prefix, update.source, update.rest, update.returning) == (
        "WITH w AS (SELECT 1)", "w", "WHERE (a = 1 OR b = 2) LIMIT 3", "a",
    )  # fmt: skip
    sets = parse_assignments(update.sets.cursor(), ["a", "b", "c"], "t", "x")
    assert sets == {"a": "1", "b": "2", "c": "w.d"}
    assert computed_values(sets) == (
        '(1) AS "__0", (2) AS "__1", (w.d) AS "__2"', {"a": "__0", "b": "__1", "c": "__2"},
    )  # fmt: skip
    delete = parse_delete(at("DELETE FROM t USING u, v WHERE t.a = u.a"))
    assert (delete.source, delete.rest, delete.returning) == ("u, v", "WHERE (t.a = u.a)", "")


def test_an_insert_is_cut_into_parts_with_their_parameters() -> None:
    insert = parse_insert(
        at("INSERT INTO t (a, b) VALUES ($x, $y) "
           "ON CONFLICT (a) DO UPDATE SET b = $z WHERE t.b < 3 RETURNING b")
    )  # fmt: skip
    assert insert.columns == ("a", "b")
    assert insert.source.text == "VALUES ($x, $y)"
    assert insert.source.placeholders == ("x", "y")
    assert insert.conflict is not None
    assert insert.conflict.sets is not None
    assert insert.conflict.sets.text == "b = $z"
    assert insert.conflict.where is not None
    assert (insert.conflict.where.text, insert.returning) == ("t.b < 3", "b")


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE kept (id INT DEFAULT $1)",
        "CREATE TABLE kept (id INT, n INT DEFAULT 1 + ?)",
        "ALTER TABLE there ADD COLUMN n INT DEFAULT $x",
        "CREATE VIEW seen AS SELECT $1 AS a",
        "CREATE VIEW seen (a) AS SELECT ?",
    ],
)
def test_p12_what_is_kept_has_no_parameters(session, text) -> None:
    session.sql("CREATE TABLE there (id INT)")
    with pytest.raises(errors.SqlError, match="kept without values"):
        session.sql(text, {"x": 1} if "$x" in text else [1])


@pytest.mark.parametrize("query", ["(SELECT 1)", "1 + (SELECT max(id) FROM there)"])
def test_p19_a_default_has_no_query(session, query) -> None:
    """It was kept, and each INSERT that took it failed with an error of DataFusion's own."""
    session.sql("CREATE TABLE there (id INT)")
    for text in (f"CREATE TABLE kept (id INT DEFAULT {query})",
                 f"ALTER TABLE there ADD COLUMN n INT DEFAULT {query}"):  # fmt: skip
        with pytest.raises(errors.SqlError, match="it has no query"):
            session.sql(text)
