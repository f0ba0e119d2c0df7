"""Which of a statement's errors is told: the first, and of a table that is not read none."""

from __future__ import annotations

import pytest

from affidavit import errors
from affidavit.engine.scans.failures import Failures

KEY = ("main", "v")


def test_the_first_error_is_kept() -> None:
    failures = Failures()
    assert failures.first is None
    first = errors.SourceError("the server is away")
    failures.add(first)
    failures.add(errors.SourceError("the connection is closed"))
    assert failures.first is first


def test_a_plan_that_is_made_anew_begins_without() -> None:
    failures = Failures()
    failures.add(ValueError("a filter"))
    failures.forget()
    assert failures.first is None
    second = ValueError("a row")
    failures.add(second)
    assert failures.first is second


def test_a_table_that_cannot_be_planned_fails_nobody_until_it_is_read() -> None:
    failures = Failures()
    cause = errors.SourceError("the bucket is away")
    failures.add(cause)  # a provider raised it while the view was planned
    failures.keep_unplanned(KEY, cause)
    assert failures.first is None
    failures.refuse_unplanned(("main", "other"))
    with pytest.raises(errors.SourceError) as caught:
        failures.refuse_unplanned(KEY)
    assert caught.value is cause


def test_a_table_that_cannot_be_planned_is_told_however_often_it_is_read() -> None:
    failures = Failures()
    failures.keep_unplanned(KEY, errors.SqlError("it has no end"))
    failures.forget()
    for _ in range(2):
        with pytest.raises(errors.SqlError):
            failures.refuse_unplanned(KEY)


def test_a_view_that_fails_is_told_to_who_reads_it_and_to_nobody_else(session, tmp_path) -> None:
    """A column may have the view's name."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    session.attach("files", tmp_path / "x.csv")
    session.sql("CREATE VIEW gone AS SELECT a FROM files")
    session.sql("CREATE TABLE t AS SELECT 1 AS gone")
    (tmp_path / "x.csv").unlink()
    session.detach("files")
    assert session.sql("SELECT gone FROM t").to_pylist() == [{"gone": 1}]
    with pytest.raises(errors.TableNotFoundError):
        session.sql("SELECT * FROM gone").to_arrow()
    with pytest.raises(errors.TableNotFoundError):
        session.sql("SELECT t.gone FROM t, gone").to_arrow()
