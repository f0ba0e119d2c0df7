"""P11, P12: topics as tables: what SQL reads of them, and that it never writes them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from tests.support.topics import SCHEMA, Clock

from affidavit import errors
from affidavit.catalog.topics import log as topic_log


@pytest.fixture
def log(session, topics):
    """Six events of one to six rows, ten seconds apart."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topic_log, "clock", clock)
        for n in range(6):
            topics.publish(
                "t", [{"id": 10 * n + i, "score": i / 10, "tag": "ab"[i % 2]} for i in range(n + 1)]
            )
            clock.now_s += 10
    return session


def test_a_log_is_a_table_with_a_row_for_each_row_of_each_event(log) -> None:
    found = log.sql("SELECT * FROM topics.t").to_arrow()
    assert found.schema.names == ["_offset", "_row_index", "_produced_at", "id", "score", "tag"]
    assert found.schema.field("_produced_at").type == pa.timestamp("us", "UTC")
    places = [(r["_offset"], r["_row_index"]) for r in found.to_pylist()]
    assert places == [(n, i) for n in range(6) for i in range(n + 1)]
    assert [r["id"] for r in found.to_pylist()] == [10 * n + i for n, i in places]


FILTERS = [
        "_offset = 3", "_offset >= 2 AND _offset < 4", "_offset IN (1, 5, 99)", "_offset != 0", "NOT (_offset = 2)",
        "_offset > 2.5", "_offset BETWEEN 2 AND 3 OR id = 0", "_row_index = 2", "id > 40", "score < 0.2 AND tag = 'b'",
        "tag IS NULL", "_produced_at >= TIMESTAMP '2023-11-14T22:13:40Z'", "_produced_at IS NULL", "false", "_offset = id",
        "_offset > 9223372036854775806", "_offset = 3 AND _row_index IN (SELECT max(_row_index) FROM topics.t)",
    ]  # fmt: skip


def test_p11_filters_select_what_they_select_from_the_same_rows_as_a_table(log) -> None:
    log.sql("CREATE TABLE same AS SELECT * FROM topics.t")
    for where in FILTERS:
        query = "SELECT _offset, _row_index, id, tag FROM {} WHERE {} ORDER BY 1, 2"
        expected = log.sql(query.format("same", where)).to_pylist()
        assert log.sql(query.format("topics.t", where)).to_pylist() == expected
        counted = log.sql(f"SELECT count(*) AS n FROM topics.t WHERE {where}").to_pylist()
        assert counted == [{"n": len(expected)}]


def test_logs_are_projected_counted_joined_and_grouped(log) -> None:
    def rows(text: str) -> list[dict[str, object]]:
        return log.sql(text).to_pylist()

    assert rows("SELECT count(*) AS n FROM topics.t") == [{"n": 21}]
    assert rows("SELECT tag FROM topics.t WHERE _offset = 1 ORDER BY id") == [
        {"tag": "a"},
        {"tag": "b"},
    ]
    assert rows("SELECT max(_offset) AS o FROM topics.t WHERE tag = 'b'") == [{"o": 5}]
    assert rows("SELECT 1 AS one FROM topics.t LIMIT 2") == [{"one": 1}] * 2
    log.sql("CREATE TABLE people (id BIGINT, name VARCHAR) AS VALUES (20, 'ann'), (51, 'bob')")
    assert rows("SELECT name, _offset FROM topics.t JOIN people USING (id) ORDER BY name") == [
        {"name": "ann", "_offset": 2}, {"name": "bob", "_offset": 5},
    ]  # fmt: skip
    per_event = rows("SELECT _offset, count(*) AS n FROM topics.t GROUP BY _offset ORDER BY 1")
    assert per_event == [{"_offset": n, "n": n + 1} for n in range(6)]
    log.sql("CREATE VIEW late AS SELECT * FROM topics.t WHERE _offset > 4")
    assert rows("SELECT count(*) AS n FROM late") == [{"n": 6}]


def test_topics_are_listed(log) -> None:
    log.topics.register("a.b", SCHEMA, {"why": "test"}, retain_events=9, retain_for=1.5)
    tables = log.sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'topics' ORDER BY 1"
    )
    assert [r["table_name"] for r in tables] == ["a.b", "t"]
    shown = {(r["table_schema"], r["table_name"]) for r in log.sql("SHOW TABLES")}
    assert {("topics", "t"), ("topics", "a.b")} <= shown
    columns = log.sql("SELECT column_name FROM information_schema.columns WHERE table_name = 'a.b'")
    assert [r["column_name"] for r in columns] == [
        "_offset",
        "_row_index",
        "_produced_at",
        "id",
        "score",
        "tag",
    ]
    first, second = log.sql("SELECT * FROM system.topics").to_pylist()
    assert first == {
        "name": "a.b", "tenant": "default", "columns": ["id int64", "score double", "tag string"],
        "metadata": '{"why": "test"}', "first_offset": 0, "next_offset": 0, "retain_events": 9,
        "retain_seconds": 1.5,
    }  # fmt: skip
    assert (second["name"], second["next_offset"], second["retain_events"]) == ("t", 6, None)


WRITES = [
        "INSERT INTO topics.t VALUES (9, 9, now(), 1, 1.0, 'x')", "UPDATE topics.t SET id = 1", "DELETE FROM topics.t",
        "DROP TABLE topics.t", "TRUNCATE topics.t", "ALTER TABLE topics.t ADD COLUMN x INT", "ALTER TABLE topics.t RENAME TO x",
        "CREATE INDEX i ON topics.t (id)", "CREATE TABLE topics.x (a INT)", "CREATE VIEW topics.v AS SELECT 1",
        "CREATE SCHEMA topics", "DROP SCHEMA topics", "CREATE OR REPLACE TABLE topics.t AS SELECT 1 AS a",
        "MERGE INTO topics.t USING topics.t s ON false WHEN NOT MATCHED THEN INSERT VALUES (1)",
    ]  # fmt: skip


def test_p12_logs_are_never_written_by_sql(log) -> None:
    for text in WRITES:
        before = log.sql("SELECT * FROM topics.t").to_pylist()
        with pytest.raises(errors.AffidavitError):
            log.sql(text)
        assert log.sql("SELECT * FROM topics.t").to_pylist() == before
        assert [topic.name for topic in log.topics.list()] == ["t"]
