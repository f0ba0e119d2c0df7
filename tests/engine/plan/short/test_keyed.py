"""A read by a key is what a plan of the same statement gives: rows, types, errors and records."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import affidavit
from affidavit import errors
from affidavit.engine.plan.short.asked import keyed_read

PLANNED = " -- planned"
"""What makes a statement one that is not read by its key."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    with affidavit.connect(
        tmp_path_factory.mktemp("keyed") / "lake", durability="normal"
    ) as opened:
        opened.sql(
            "CREATE TABLE t (id INT PRIMARY KEY, n DOUBLE, s VARCHAR NOT NULL, m MAP(VARCHAR, INT), "
            '"Odd one" DECIMAL(12, 3), at TIMESTAMPTZ)'
        )
        opened.sql(
            "INSERT INTO t VALUES (1, 0.5, 'a', MAP {'k': 1}, 1.5, '2020-01-01'), (-2, NULL, '', NULL, NULL, NULL)"
        )
        opened.sql("CREATE TABLE words (w VARCHAR PRIMARY KEY, n BIGINT)")
        opened.sql("INSERT INTO words VALUES ('a', 1), ('', 2), ('ß', 3), ('it''s', 4)")
        opened.sql("CREATE TABLE two (a BIGINT, b VARCHAR, c INT, PRIMARY KEY (a, b))")
        opened.sql("INSERT INTO two VALUES (1, 'x', 1), (1, 'y', 2), (9007199254740993, 'x', 3)")
        opened.create_table(
            "wide",
            pa.table({"id": pa.array([2**64 - 1], pa.uint64()), "camelCase": [1]}),
            primary_key="id",
        )
        opened.create_table(
            "many", pa.table({"id": range(3000), "v": np.arange(3000.0)}), primary_key="id"
        )
        opened.sql("CREATE SCHEMA other")
        opened.sql("CREATE TABLE other.t (id BIGINT PRIMARY KEY, v INT)")
        opened.sql("INSERT INTO other.t VALUES (1, 5)")
        yield opened


def outcome(session: affidavit.Session, text: str, params: Any) -> object:
    try:
        result = session.sql(text, params)
        rows = result.to_arrow()
    except errors.AffidavitError as error:
        return type(error)
    assert result.schema.equals(rows.schema, check_metadata=True)
    return rows.schema, str(rows.to_pylist())


COLUMNS = st.sampled_from(
    [
        "*",
        "id",
        "n, s",
        "s, id",
        "m",
        '"Odd one", at',
        "w",
        "n",
        "c, a, b",
        "v",
        "nope",
        '"camelCase"',
        "camelcase",
        "camelCase",
        "ID",
        "S",
        "id, id",
        "null",
        "true",
        "current_date",
        "id AS x",
        "t.id",
    ]
)
TABLES = st.sampled_from(
    [
        "t",
        "T",
        "main.t",
        '"t"',
        '"T"',
        "words",
        "two",
        "wide",
        "many",
        "other.t",
        "nope",
        "system.queries",
        "lake.main.t",
    ]
)
VALUES = st.sampled_from(["1", "-2", "+1", "2999", "9007199254740993", "18446744073709551615", "99999999999999999999", "1.0", "'1'", "'a'", "''",
                          "'ß'", "'it''s'", "NULL", "TRUE", "$p", "$1", "1e0", "- 2", "$missing"])  # fmt: skip
PARAMETERS = st.sampled_from([1, -2, 2**40, 2**63, 2**64 - 1, 1.0, True, None, "a", "1", "", "\ud800", Decimal(1), np.int64(1), dt.date(2020, 1, 1),
                              pa.scalar(1, pa.int8()), b"a"])  # fmt: skip


@pytest.mark.fuzz
@given(st.data())
@settings(max_examples=50)
def test_p19_it_answers_as_a_plan_does(session: affidavit.Session, data: st.DataObject) -> None:
    draw = data.draw
    keys = draw(
        st.lists(st.sampled_from(["id", "w", "a", "b", "ID", '"id"', "n"]), min_size=1, max_size=2)
    )
    where = " AND ".join(f"{each} = {draw(VALUES)}" for each in keys)
    text = f"SELECT {draw(COLUMNS)} FROM {draw(TABLES)} WHERE {where}"
    given_ = draw(PARAMETERS)
    params: Any = (
        {"p": given_}
        if "$p" in text
        else [given_]
        if "$1" in text
        else draw(st.sampled_from([None, {"q": 1}]))
    )
    assert outcome(session, text, params) == outcome(session, text + PLANNED, params), text


READ = [
    "SELECT * FROM t WHERE id = 1",
    'select s, "Odd one" from main.t where ID = $id ;',
    "SELECT c FROM two WHERE b = 'x' AND a = $1",
]


@pytest.mark.parametrize("text", READ)
def test_what_is_read_by_a_key(session, monkeypatch, text: str) -> None:
    assert keyed_read(text) is not None
    monkeypatch.setattr("affidavit.engine.plan.planner.Planner.plan", None)  # nothing is planned
    params = {"id": 1} if "$id" in text else [1] if "$1" in text else None
    assert session.sql(text, params).num_rows == 1


NOT_READ = ["SELECT * FROM t WHERE id = 1 OR id = 2", "SELECT * FROM t WHERE id > 1", "SELECT id + 1 FROM t WHERE id = 1", "SELECT id x FROM t WHERE id = 1",
            "SELECT * FROM t WHERE id = 1 LIMIT 1", "SELECT * FROM t, t WHERE id = 1", "SELECT * FROM a.b.t WHERE id = 1", "SELECT * FROM t WHERE id = 1 AND id = 2",
            "SELECT null FROM t WHERE id = 1", "SELECT * FROM t WHERE id = 1; SELECT 1", "SELECT * FROM t WHERE id = 1.5", "SELECT * FROM t AS u WHERE id = 1",
            "SELECT id, id FROM t WHERE id = 1", "SELECT DISTINCT id FROM t WHERE id = 1"]  # fmt: skip


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_planned(text: str) -> None:
    assert keyed_read(text) is None


def test_what_a_name_means_in_a_session_is_read(lake) -> None:
    text = "SELECT v FROM t WHERE id = 1"
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
        session.sql("INSERT INTO t VALUES (1, 1)")
        then = session.ledger.size - 1
        session.sql("UPDATE t SET v = 2")
        assert session.sql(text).to_pylist() == [{"v": 2}]
        assert session.at(then).sql(text).to_pylist() == [{"v": 1}]
        with session.transaction():
            session.sql("UPDATE t SET v = 3")
            assert session.sql(text).to_pylist() == [{"v": 3}]
            with affidavit.connect(lake) as other:
                assert other.sql(text).to_pylist() == [{"v": 2}]
        lazy = session.sql(text)
        session.sql("UPDATE t SET v = 4")
        assert lazy.to_pylist() == [{"v": 3}], "its moment was then"
        session.sql("CREATE TEMP TABLE t (id INT PRIMARY KEY, v INT)")
        session.sql("INSERT INTO t VALUES (1, 7)")
        assert session.sql(text).to_pylist() == [{"v": 7}]
        session.sql("DROP TABLE t")
        assert session.sql(text).to_pylist() == [{"v": 4}]


CHANGING = {
    "seq",
    "opened_seq",
    "read_id",
    "executed_at",
    "logged_at",
    "duration_us",
    "journal_seq",
    "text",
    "result_sha256",
    "signature",
}
"""What two records of the same read differ in: their digests are salted."""


@pytest.mark.parametrize("policy", ["reads", "rows"])
def test_p16_its_record_is_that_of_a_planned_one(lake, policy: str) -> None:
    texts = ["SELECT v, id FROM t WHERE id = $id", "SELECT v FROM t WHERE id = $id", "SELECT * FROM t WHERE id = 3", "SELECT b FROM two WHERE a = 1 AND b = 'x'",
             "SELECT b, c, a FROM two WHERE b = 'x' AND a = 1"]  # fmt: skip
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
        session.sql("INSERT INTO t VALUES (1, 1)")
        session.sql("CREATE TABLE two (a BIGINT, b VARCHAR, c INT, PRIMARY KEY (a, b))")
        session.sql("INSERT INTO two VALUES (1, 'x', 1)")
        for table in ("t", "two"):
            session.sql(f"ALTER TABLE {table} SET (audit = '{policy}')")
        for text in texts:
            for asked in (text, text + PLANNED):
                result = session.sql(asked, {"id": 1} if "$id" in text else None)
                rows = result.to_arrow()
                assert session.audit.check(result.receipt, rows)
        found = session.sql("SELECT * FROM audit.reads ORDER BY seq").to_pylist()
        told = [{name: each[name] for name in each.keys() - CHANGING} for each in found]
        given_ = session.sql(
            "SELECT read_id, row_id, how FROM audit.read_rows ORDER BY 1"
        ).to_pylist()
        for each, text in zip(found[::2], texts, strict=True):
            params = {"id": 1} if "$id" in text else None
            verdict = session.audit.replay(each["read_id"], text=text, params=params)
            assert str(verdict.outcome) == "REPRODUCED"
        assert session.ledger.verify()
    assert len(told) == 2 * len(texts)
    assert told[::2] == told[1::2]
    rows_of = [
        [(row["row_id"], row["how"]) for row in given_ if row["read_id"] == each["read_id"]]
        for each in found
    ]
    assert rows_of[::2] == rows_of[1::2]
    assert any(rows_of) == (policy == "rows")


def test_it_is_in_the_log_as_a_planned_one_is(lake) -> None:
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
        session.sql("INSERT INTO t VALUES (1, 1)")
        for text in ("SELECT v FROM t WHERE id = 1", "SELECT v FROM t WHERE id = 1" + PLANNED):
            session.sql(text).to_arrow()
    with affidavit.connect(lake) as session:
        found = session.sql("SELECT * FROM audit.statements").to_pylist()
    log = [each for each in found if each["text"].startswith("SELECT v")]
    own = {"seq", "statement_id", "executed_at", "duration_us", "text"}
    one, other = ({name: each[name] for name in each.keys() - own} for each in log)
    assert one == other
    assert one["rows"] == 1


def test_p21_one_that_is_cancelled_or_closed_says_so(lake) -> None:
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
        session.sql("INSERT INTO t VALUES (1, 1)")
        lazy = session.sql("SELECT v FROM t WHERE id = 1")
        lazy.close()
        with pytest.raises(errors.ClosedError):
            lazy.to_arrow()
        left = session.sql("SELECT v FROM t WHERE id = 1")
    with pytest.raises(errors.ClosedError):
        left.to_arrow()
