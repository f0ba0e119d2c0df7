"""TPC-DS over two databases: the same rows as DataFusion over Parquet, and in which time.

Data and queries come from DuckDB's own extension, with the DuckDB that it was built for, in an
environment of its own. A view in the lake has each table's name, so that the queries stay as they
are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import SessionContext

import affidavit
from bench.federation import postgres
from bench.harness import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.harness import Plan

PACKAGES: Final = ("duckdb-extension-tpcds==1.5.5", "pyarrow")
GENERATE: Final = """
import json, sys
from pathlib import Path
import duckdb, duckdb_extension_tpcds
folder, scale = Path(sys.argv[1]), float(sys.argv[2])
(extension,) = Path(duckdb_extension_tpcds.__file__).parent.rglob("*.duckdb_extension")
made = duckdb.connect()
made.execute(f"LOAD '{extension}'")
made.execute(f"CALL dsdgen(sf = {scale})")
for (name,) in made.execute("SELECT table_name FROM duckdb_tables()").fetchall():
    made.execute(f"COPY {name} TO '{folder / name}.parquet' (FORMAT parquet)")
asked = made.execute("SELECT query_nr, query FROM tpcds_queries() ORDER BY query_nr").fetchall()
(folder / "queries.json").write_text(json.dumps(asked))
"""

IN_DUCKDB: Final = ("catalog_", "web_", "inventory", "warehouse", "ship_mode", "call_center")
"""How the tables begin that are in DuckDB; the others are in PostgreSQL."""

KEYS: Final = {
    "call_center": "cc_call_center_sk", "customer": "c_customer_sk", "date_dim": "d_date_sk",
    "customer_address": "ca_address_sk", "customer_demographics": "cd_demo_sk",
    "household_demographics": "hd_demo_sk", "income_band": "ib_income_band_sk",
    "item": "i_item_sk", "promotion": "p_promo_sk", "reason": "r_reason_sk",
    "store": "s_store_sk", "store_sales": "ss_item_sk, ss_ticket_number",
    "store_returns": "sr_item_sk, sr_ticket_number", "time_dim": "t_time_sk",
}  # fmt: skip


def tpcds(plan: Plan) -> Iterator[Figure]:
    """Yield how long the 99 queries take, all of whose rows are DataFusion's."""
    scale, data = "0.01" if plan.quick else "1", plan.folder / "data"
    queries = _generated(plan.folder / "environment", data, scale)
    peer, own, others, different = SessionContext(), {}, {}, []
    with (
        postgres(plan.folder / "postgres", 1) as (url, connection),
        affidavit.connect(plan.folder / "lake") as session,
    ):
        paths = sorted(data.glob("*.parquet"))
        _fill(connection, plan.folder / "two.duckdb", paths)
        session.attach("pg", url)
        session.attach("dd", str(plan.folder / "two.duckdb"))
        for path in paths:
            place = "dd.main" if path.stem.startswith(IN_DUCKDB) else "pg.public"
            session.sql(f"CREATE VIEW {path.stem} AS SELECT * FROM {place}.{path.stem}")
            peer.register_parquet(path.stem, str(path))
        for number, text in queries:
            started = perf_counter()
            wanted = peer.sql(text).to_arrow_table()
            others[number], started = perf_counter() - started, perf_counter()
            found = session.sql(text).to_arrow()
            own[number] = perf_counter() - started
            if _rows(found) != _rows(wanted):
                different.append(number)
    assert not different, f"other rows than DataFusion's: {different}"
    yield Figure(
        f"TPC-DS at scale {scale}, {len(own)} queries over PostgreSQL and DuckDB, all equal", "s",
        sum(own.values()), sum(others.values()), "DataFusion over Parquet",
        details={"queries_s": own, "baseline_s": others},
    )  # fmt: skip


def _generated(environment: Path, data: Path, scale: str) -> list[tuple[int, str]]:
    """Make the data, and return the queries."""
    data.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, "-c", GENERATE, str(data), scale], check=True, env=clean)
    return [(number, text.strip().rstrip(";")) for number, text in json.loads(
        (data / "queries.json").read_text()
    )]  # fmt: skip


def _fill(connection: Any, file: Path, paths: list[Path]) -> None:  # noqa: ANN401 - ADBC's
    """Put each table into one of the two databases."""
    import duckdb  # noqa: PLC0415 - benchmarks alone need it

    with closing(duckdb.connect(str(file))) as made, connection.cursor() as cursor:
        for path in paths:
            name = path.stem
            if name.startswith(IN_DUCKDB):
                made.execute(f"CREATE TABLE {name} AS SELECT * FROM '{path}'")
                continue
            table = pq.read_table(path)
            cursor.adbc_ingest(name, table, mode="create")
            for column in table.schema:
                if pa.types.is_decimal(column.type):
                    kind = f"numeric({column.type.precision}, {column.type.scale})"
                    cursor.execute(f"ALTER TABLE {name} ALTER {column.name} TYPE {kind}")
            cursor.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({KEYS[name]})")
            cursor.execute(f"ANALYZE {name}")


def _rows(table: pa.Table) -> list[tuple[str, ...]]:
    """Return the rows in an order of their own: texts, of numbers those of their value."""
    return sorted(tuple(_text(value) for value in row.values()) for row in table.to_pylist())


def _text(value: object) -> str:
    if isinstance(value, float | Decimal):  # sums of floats differ in their last digits
        return f"{float(value):.9g}"
    return str(value)
