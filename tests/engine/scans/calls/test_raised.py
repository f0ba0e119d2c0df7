"""What functions of ours raise in a plan is raised by whoever waits for it."""

from __future__ import annotations

import pyarrow as pa
import pytest
from datafusion import SessionContext

from affidavit.engine.plan.errors import engine_errors
from affidavit.engine.scans.calls.raised import KEPT_MAX, RAISED, scalar_function
from affidavit.errors import ExecutionError, InvalidQueryError, MemoryLimitError, SqlError

ERRORS = {
    "SELECT repeat('x', 100000 * value) AS r FROM range(1, 200)": MemoryLimitError,
    "SELECT json_get('{', 'a') AS j": ExecutionError,
    "SELECT json_extract(s, '$[') AS j FROM (VALUES ('{}'), ('[]')) t(s)": ExecutionError,
}


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_is_of_its_class_and_has_no_traceback_in_it(session, text: str) -> None:
    with pytest.raises(ERRORS[text]) as raised:
        session.sql(text).to_arrow()
    assert type(raised.value) is ERRORS[text]
    assert not [each for each in ("PyErr", "[raised", "Traceback") if each in str(raised.value)]


@pytest.mark.parametrize("volatility", ["immutable", "volatile"])
def test_it_is_the_error_itself(volatility: str) -> None:
    context, error = SessionContext(), InvalidQueryError('it\'s "that"')

    def failing(_: pa.Array) -> pa.Array:
        raise error

    context.register_udf(scalar_function(failing, [pa.int64()], pa.int64(), volatility, "failing"))
    with pytest.raises(InvalidQueryError) as raised, engine_errors(None, SqlError):
        context.sql("SELECT failing(1) AS f").collect()
    assert raised.value is error


def test_what_a_vector_table_is_asked_has_them_too(session) -> None:
    """DataFusion pickles them there, and found that a function in a function cannot be."""
    rows = [
        {"id": 1, "j": '{"a": "x"}', "vector": [1.0, 2.0]},
        {"id": 2, "j": "{", "vector": [2.0, 1.0]},
    ]
    session.create_vector_table("docs", rows)
    asked = "SELECT id FROM docs WHERE {} AND length(repeat(j, 10)) > 20"
    assert session.sql(asked.format("json_valid(j)")).to_pylist() == [{"id": 1}]
    with pytest.raises(ExecutionError, match=r"^not JSON: '\{'"):
        session.sql(asked.format("j -> 'a' ->> 'b' = 'x'")).to_arrow()


def test_the_oldest_of_many_are_forgotten() -> None:
    first = str(RAISED.keep(SqlError("first")))
    last = [str(RAISED.keep(SqlError(str(number)))) for number in range(KEPT_MAX)][-1]
    assert RAISED.take(first) is None
    assert str(RAISED.take(last)) == str(KEPT_MAX - 1)
    assert RAISED.take(last) is None
