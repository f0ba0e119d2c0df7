"""P19: a setting is followed by every statement, or refused."""

from __future__ import annotations

import pytest

from affidavit.errors import SqlError


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("datafusion.catalog.default_schema = 'zz'", "write schema.table"),
        ("datafusion.catalog.default_catalog = 'zz'", "write lake.schema.table"),
        ("datafusion.sql_parser.enable_ident_normalization = false", "in quotes to have it exact"),
        ("datafusion.sql_parser.dialect = 'mysql'", "dialect 'mysql' is not supported"),
        ("datafusion.execution.batch_size = 0", "must be between 1"),
        ("datafusion.execution.batch_size TO '0'", "must be between 1"),
    ],
)
def test_p19_a_setting_that_only_queries_would_follow_is_refused(session, setting, told) -> None:
    with pytest.raises(SqlError, match=told):
        session.sql(f"SET {setting}")
    session.sql("CREATE TABLE t (a INT)")
    assert session.sql("SELECT * FROM t").num_rows == 0


def test_p19_resetting_what_is_fixed_is_refused_too(session) -> None:
    with pytest.raises(SqlError, match="default_schema is not supported"):
        session.sql("RESET datafusion.catalog.default_schema")


def test_p14_a_dialect_is_one_sessions(session) -> None:
    text = "SELECT CAST({a: 1} AS STRUCT(a INT)) AS s"
    with session.scope() as other:
        other.sql("SET datafusion.sql_parser.dialect = 'duckdb'")
        assert other.sql(text).to_pylist() == [{"s": {"a": 1}}]
        with pytest.raises(SqlError):
            session.sql(text)
        other.sql("RESET datafusion.sql_parser.dialect")
        with pytest.raises(SqlError):
            other.sql(text)
