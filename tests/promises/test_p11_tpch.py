"""P11: TPC-H over four kinds of sources answers as plain DataFusion over Parquet does."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pyarrow as pa
import pytest
from bench.tpch import PLACES, QUERIES, attach, spread
from datafusion import SessionContext
from tests.support.pg_server import PgServer

import affidavit

SCALE = os.environ.get("AFFIDAVIT_TPCH_SCALE", "0.1")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    tool = shutil.which("tpchgen-cli", path=sysconfig.get_path("scripts"))
    if tool is None:
        missing = "no TPC-H data: pip install tpchgen-cli"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("tpch")
    command = [tool, "parquet", "-s", SCALE, "--output-dir", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def session(data, tmp_path_factory):
    """Tables spread over PostgreSQL, DuckDB, SQLite and Parquet."""
    folder = tmp_path_factory.mktemp("federation")
    server = PgServer()
    url = server.database("tpch")
    with server.connect("tpch") as connection:
        spread(data, folder, connection)
    with affidavit.connect(folder / "lake", durability="normal") as opened:
        attach(opened, url, data, folder)
        yield opened
    server.cleanup()


@pytest.fixture(scope="module")
def expected(data):
    context = SessionContext()
    for path in data.glob("*.parquet"):
        context.register_parquet(path.stem, str(path))
    return context


def rows(table: pa.Table) -> list[tuple]:
    return [tuple(map(rounded, row.values())) for row in table.to_pylist()]


def rounded(value: object) -> object:
    """Sums of floats depend on the order of their rows."""
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.9g}")
    return value


@pytest.mark.server
@pytest.mark.parametrize("number", QUERIES)
def test_p11_a_query_over_four_kinds_of_sources_answers_as_over_parquet(
    session, expected, number: int
) -> None:
    text = QUERIES[number]
    found = session.sql(text.format(**PLACES)).to_arrow()
    plan = expected.sql(text.format(**{name: name for name in PLACES}))
    batches = plan.collect()
    wanted = pa.Table.from_batches(batches, batches[0].schema if batches else plan.schema())
    assert found.num_rows == wanted.num_rows
    assert rows(found) == rows(wanted)
