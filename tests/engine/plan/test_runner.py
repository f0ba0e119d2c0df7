"""Who runs a plan: a query's rows come from whatever runner the planner was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from affidavit import errors
from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.sources.reach import ANYTHING
from affidavit.engine.plan.planner import Planner
from affidavit.engine.plan.runner import LocalRunner, Planned
from affidavit.engine.plan.tenant import TenantEngine
from affidavit.engine.run.executor import Executor
from affidavit.engine.search.models import Models
from affidavit.engine.statement.statement import parse_statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    import affidavit


class Elsewhere:
    """A runner that notes what it was given, and runs it here."""

    def __init__(self) -> None:
        self.given: list[Planned] = []

    def run(self, planned: Planned) -> Iterator[pa.RecordBatch]:
        self.given.append(planned)
        return LocalRunner().run(planned)


@pytest.fixture
def catalog(session: affidavit.Session) -> Catalog:
    session.create_table("t", [{"a": at} for at in range(5)])
    return session._catalog()


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def executor(catalog: Catalog, elsewhere: Elsewhere) -> Executor:
    planner = Planner(TenantEngine(catalog, None, Models(), prepares=Planner), runner=elsewhere)
    return Executor(planner, catalog, ANYTHING)


def test_a_querys_rows_come_from_the_planners_runner(executor, elsewhere) -> None:
    result = executor.execute(parse_statement("SELECT a FROM t WHERE a > $1"), {"1": 2})
    assert len(elsewhere.given) == 1
    assert "t" in elsewhere.given[0].frame.logical_plan().display_indent()
    assert result.to_pylist() == [{"a": 3}, {"a": 4}]


def test_what_changes_or_explains_runs_here(executor, elsewhere, tmp_path) -> None:
    executor.execute(parse_statement("INSERT INTO t VALUES (5)"), {})
    executor.execute(parse_statement("UPDATE t SET a = a + 1 WHERE a < 3"), {})
    executor.execute(parse_statement("CREATE TABLE u AS SELECT * FROM t"), {})
    executor.execute(parse_statement("EXPLAIN SELECT * FROM t"), {})
    executor.execute(parse_statement(f"COPY (SELECT * FROM t) TO '{tmp_path / 'x.parquet'}'"), {})
    assert elsewhere.given == []


def test_a_statement_can_be_planned_again_at_another_snapshot(executor, catalog, elsewhere) -> None:
    """What runs a plan elsewhere plans it over other tables."""
    executor.execute(parse_statement("SELECT sum(a) AS n FROM t"), {}).to_arrow()
    executor.execute(parse_statement("INSERT INTO t VALUES (100)"), {})
    planner = Planner(TenantEngine(catalog, None, Models(), prepares=Planner))
    with planner.snapshot(catalog) as snapshot:
        again = elsewhere.given[0].plan(snapshot)
        assert again.to_pylist() == [{"n": 110}]


def test_a_plan_whose_filter_no_table_takes_is_made_again_over_whole_tables(
    session, catalog
) -> None:
    session.create_table("big", pa.table({"id": range(5000)}))
    planner = Planner(TenantEngine(catalog, None, Models(), prepares=Planner))
    planned = []

    def plan(snapshot):
        planned.append(dict(snapshot.prepared))
        return planner.plan(
            "SELECT id FROM big WHERE id IN ((NULL), 3) AND id BETWEEN NULL AND 4",
            {},
            snapshot,
            names={"big", "id"},
        )

    with planner.snapshot(catalog) as snapshot:
        assert not sum(each.num_rows for each in LocalRunner().run(Planned.at(snapshot, plan)))
    assert [list(prepared) for prepared in planned] == [[], [("main", "big")]]


def test_a_plan_that_fails_is_not_made_again(session, catalog) -> None:
    planner = Planner(TenantEngine(catalog, None, Models(), prepares=Planner))
    planned = []

    def plan(snapshot):
        planned.append(snapshot)
        return planner.plan("SELECT a / 0 AS n FROM t", {}, snapshot, names={"t"})

    with planner.snapshot(catalog) as snapshot:
        rows = LocalRunner().run(Planned.at(snapshot, plan))
        with pytest.raises(errors.ExecutionError, match="Divide by zero"):
            list(rows)
    assert len(planned) == 1
