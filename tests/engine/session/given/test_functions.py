"""session.functions: Python functions in SQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import affidavit
from affidavit.engine.statement.reading.functions import SCALAR_FUNCTIONS, TABLE_FUNCTIONS
from affidavit.errors import (
    ClosedError,
    ExecutionError,
    FunctionNotFoundError,
    InvalidQueryError,
    SqlError,
    UnsupportedPredicateError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from affidavit import Session


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder: Path = tmp_path_factory.mktemp("functions")
    with affidavit.connect(folder / "lake", audit="reads") as opened:
        opened.create_table("t", [{"id": 1, "s": "a"}, {"id": 2, "s": None}], primary_key="id")

        @opened.functions.register("doubled", inputs=pa.int64(), output=pa.int64())
        def doubled(values: pa.Array) -> pa.Array:
            return pc.multiply(values, 2)

        yield opened


def _rows(session: Session, text: str) -> list[dict[str, Any]]:
    return session.sql(text).to_pylist()


def _say(session: Session, name: str, function: Any) -> None:
    session.functions.register(name, function, [pa.string()], pa.string())


def test_a_function_is_called_wherever_an_expression_stands(session: Session) -> None:
    found = _rows(session, "SELECT doubled(id) AS d FROM t WHERE doubled(id) > 2")
    assert found == [{"d": 4}]
    assert _rows(session, "SELECT doubled(id + 1) AS d FROM t ORDER BY doubled(-id)") == [
        {"d": 6},
        {"d": 4},
    ]
    assert _rows(session, "SELECT doubled(21) AS d") == [{"d": 42}]
    assert _rows(session, "SELECT doubled(NULL) AS d") == [{"d": None}]
    assert session.sql("SELECT doubled($n) AS d", n=4).to_pylist() == [{"d": 8}]


def test_nulls_come_and_go_as_arrows(session: Session) -> None:
    seen: list[int] = []

    def shouted(texts: pa.Array) -> pa.Array:
        seen.append(texts.null_count)
        return pc.utf8_upper(texts)

    _say(session, "shouted", shouted)
    assert _rows(session, "SELECT shouted(s) AS s FROM t ORDER BY id") == [{"s": "A"}, {"s": None}]
    assert seen == [1]


def test_arguments_are_cast_where_nothing_can_be_lost(session: Session) -> None:
    _say(session, "told", pc.utf8_upper)
    found = _rows(session, "SELECT doubled(CAST(2 AS SMALLINT)) AS a, told(id) AS b FROM t")
    assert {each["a"] for each in found} == {4}
    assert {each["b"] for each in found} == {"1", "2"}
    for text in ("'4'", "2.5", "TRUE"):
        with pytest.raises(SqlError, match="explicit type casts"):
            session.sql(f"SELECT doubled({text})")
        assert session.sql(f"SELECT doubled(CAST({text} AS BIGINT))").num_rows == 1


@pytest.mark.parametrize("volatility", ["immutable", "stable", "volatile"])
def test_a_vector_tables_rows_are_given_to_the_function_itself(tmp_path, volatility) -> None:
    """Lance was handed the condition, and called a copy of the function, or failed."""
    seen: list[list[int]] = []
    lock = threading.Lock()  # which nobody can pickle

    def even(values: pa.Array) -> pa.Array:
        with lock:
            seen.append(values.to_pylist())
        return pc.equal(pc.bit_wise_and(values, 1), 0)

    with affidavit.connect(tmp_path / "lake") as own:
        table = own.create_vector_table("docs", [{"id": n, "vector": [1.0, n]} for n in range(9)])
        table.create_index("id", "BTREE")
        own.create_table("other", [{"id": 4}], primary_key="id")
        own.sql("CREATE VIEW seen AS SELECT id FROM docs")
        own.functions.register("even", even, [pa.int64()], pa.bool_(), volatility)
        own.sql("CREATE VIEW evens AS SELECT id FROM seen WHERE even(id)")
        for text in (
            "SELECT id FROM docs WHERE even(id)",
            "SELECT id FROM seen WHERE EVEN(id)",
            "SELECT s.id FROM seen s JOIN evens USING (id)",
            "SELECT id FROM as_of('docs', 'v1') WHERE even(id)",
            "WITH d AS (SELECT * FROM docs) SELECT id FROM d WHERE even(id) AND vector[1] = 1",
        ):
            assert sorted(row["id"] for row in _rows(own, text)) == [0, 2, 4, 6, 8]
            assert [sorted(each) for each in seen] == [list(range(9))]
            seen.clear()
        narrowed = "even(id) AND id IN (2, 3, 4) AND id > 2"
        assert _rows(own, f"SELECT id FROM docs WHERE {narrowed}") == [{"id": 4}]
        assert own.search("docs", [1.0, 0.0], where=narrowed).num_rows == 1
        merged = "MERGE INTO docs USING other o ON docs.id = o.id WHEN MATCHED AND even(docs.id)"
        assert own.sql(f"{merged} THEN DELETE").rows_affected == 1
        assert own.sql("DELETE FROM docs WHERE even(id)").rows_affected == 4
        assert table.update({"vector": [1.0, 1.0]}, "NOT even(id)") == 4
        assert table.count() == 4


def test_changes_are_made_with_it(session: Session) -> None:
    session.sql("CREATE TABLE made AS SELECT id, doubled(id) AS d FROM t")
    session.sql("UPDATE made SET d = doubled(d) WHERE doubled(id) = 4")
    assert _rows(session, "SELECT d FROM made ORDER BY id") == [{"d": 2}, {"d": 8}]
    assert session.sql("DELETE FROM made WHERE doubled(id) = 4").rows_affected == 1


def test_what_it_read_is_on_record_as_any_read(session: Session) -> None:
    _rows(session, "SELECT doubled(id) AS recorded FROM t")
    [told] = _rows(
        session, "SELECT text, rows_returned FROM audit.reads WHERE text LIKE '% AS recorded %'"
    )
    assert told == {"text": "SELECT doubled(id) AS recorded FROM t", "rows_returned": 2}


def test_no_other_session_has_it_and_a_view_says_so(session: Session) -> None:
    session.sql("CREATE VIEW twice AS SELECT doubled(id) AS d FROM t")
    assert len(_rows(session, "SELECT * FROM twice")) == 2
    with session.scope(actor="noor") as other:
        assert other.functions.list() == []
        with pytest.raises(FunctionNotFoundError, match="view 'twice': no function 'doubled'"):
            other.sql("SELECT * FROM twice").to_arrow()
        with pytest.raises(
            FunctionNotFoundError, match=r"functions\.register\('doubled', \.\.\.\)"
        ):
            other.sql("SELECT doubled(1)").to_arrow()
        assert (
            _rows(
                other,
                "SELECT routine_name FROM information_schema.routines WHERE routine_name = 'doubled'",
            )
            == []
        )
        other.functions.register("doubled", lambda v: pc.negate(v), [pa.int64()], pa.int64())
        assert _rows(other, "SELECT * FROM twice ORDER BY d") == [{"d": -2}, {"d": -1}]
    assert _rows(session, "SELECT * FROM twice ORDER BY d") == [{"d": 2}, {"d": 4}]


def test_it_outlives_set_and_is_replaced_and_forgotten(session: Session) -> None:
    with session.scope() as own:
        _say(own, "told", lambda texts: texts)
        own.sql("SET datafusion.execution.batch_size = 100")
        assert _rows(own, "SELECT told('x') AS x") == [{"x": "x"}]
        _say(own, "told", pc.utf8_upper)
        assert _rows(own, "SELECT told('x') AS x") == [{"x": "X"}]
        assert list(map(str, own.functions)) == ["told(string) -> string"]
        own.functions.unregister("told")
        with pytest.raises(FunctionNotFoundError, match="'told'"):
            own.sql("SELECT told('x')").to_arrow()
        with pytest.raises(FunctionNotFoundError):
            own.functions.unregister("told")


@pytest.mark.parametrize(
    "text", ["SELECT broken(s) FROM t", "SELECT broken('x')", "UPDATE t SET s = broken(s)"]
)
def test_what_it_raises_is_the_cause_of_an_error_that_names_it(session: Session, text: str) -> None:
    why = ValueError("of two\nlines")

    def broken(_: pa.Array) -> pa.Array:
        raise why

    _say(session, "broken", broken)
    with pytest.raises(
        ExecutionError, match="^function 'broken' failed: ValueError: of two\nlines$"
    ) as told:
        session.sql(text).to_arrow()
    assert told.value.__cause__ is why
    assert why.__traceback__ is not None


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (lambda v: v.slice(1), "must return a value for each of 2 rows, and returned 1"),
        (
            lambda v: pa.array([1] * len(v)),
            "must return string, as it was registered, and returned int64",
        ),
        (lambda _: None, "must return a pyarrow.Array, got NoneType"),
    ],
)
def test_what_it_gives_is_of_its_length_and_type(session: Session, gives: Any, said: str) -> None:
    _say(session, "wrong", gives)
    with pytest.raises(ExecutionError, match=f"function 'wrong' {said}"):
        session.sql("SELECT wrong(s) FROM t").to_arrow()


@pytest.mark.parametrize(
    "name",
    [
        "abs",
        "sum",
        "rank",
        "cast",
        "extract",
        *TABLE_FUNCTIONS,
        *sorted(SCALAR_FUNCTIONS),
        "timestamp",
        "offset",
        "Doubled",
        "a b",
        "",
    ],
)
def test_a_name_that_means_something_is_refused(session: Session, name: str) -> None:
    with pytest.raises(InvalidQueryError, match="function"):
        _say(session, name, lambda v: v)
    assert _rows(session, "SELECT abs(-1) AS a, sum(id) AS s FROM t") == [{"a": 1, "s": 3}]


def test_arguments_are_checked(session: Session) -> None:
    register, text = session.functions.register, pa.string()
    with pytest.raises(InvalidQueryError, match="must be callable"):
        register("f", "no", [text], text)  # type: ignore[call-overload]  # wrong
    with pytest.raises(InvalidQueryError, match="at least one"):
        register("f", len, [], text)
    with pytest.raises(InvalidQueryError, match="output of function 'f'"):
        register("f", len, [text], "text")  # type: ignore[call-overload]  # wrong
    with pytest.raises(InvalidQueryError, match="volatility"):
        register("f", len, [text], text, "often")


def test_what_holds_for_all_sessions_does_not_call_it(session: Session) -> None:
    with pytest.raises(UnsupportedPredicateError, match="'doubled'(.|\n)*all sessions"):
        session.sql("CREATE TABLE c (a BIGINT CHECK (doubled(a) > 1))")
    for text in (
        "CREATE TABLE c (a BIGINT DEFAULT doubled(1))",
        "ALTER TABLE t ADD COLUMN c BIGINT DEFAULT doubled(1)",
    ):
        with pytest.raises(SqlError, match="DEFAULT of column '.' calls 'doubled'"):
            session.sql(text)


def test_it_runs_no_statement_of_its_own(session: Session) -> None:
    def asks(values: pa.Array) -> pa.Array:
        session.sql("SELECT 1").to_arrow()
        return values

    session.functions.register("asks", asks, [pa.int64()], pa.int64(), "volatile")
    said = "function 'asks' failed: ExecutionError: function 'asks' is called by a plan"
    with pytest.raises(ExecutionError, match=said):
        session.sql("SELECT asks(id) FROM t").to_arrow()


def test_threads_call_it_side_by_side(session: Session) -> None:
    both = threading.Barrier(2, timeout=30)

    def met(values: pa.Array) -> pa.Array:
        both.wait()
        return values

    session.functions.register("met", met, [pa.int64()], pa.int64(), "volatile")
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda n: _rows(session, f"SELECT met({n}) AS n"), (1, 2)))
    assert found == [[{"n": 1}], [{"n": 2}]]


def test_a_function_goes_with_its_session(session: Session) -> None:
    with session.scope() as own:
        _say(own, "mine", lambda v: v)
        listed = own.functions
    assert listed.list() == []
    with pytest.raises(ClosedError):
        own.functions.list()
