"""P21: no value of a setting ends the process, hangs it, or lifts a limit."""

from __future__ import annotations

import json
import time
from typing import Final

import datafusion
import pytest
from tests.support.processes import run_python

from affidavit.engine.run.control import BOUNDS, CONNECTED, FRACTION, NUMBER_MAX
from affidavit.errors import ExecutionError, SqlError

VALUES: Final = (
    "0", "-1", "1", "2", "1048576", "1099511627776", "18446744073709551615", "1" * 40, "'abc'", "1.5", "true",
    "''", "NULL",
)  # fmt: skip
SCRIPT: Final = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
import affidavit
from affidavit.errors import AffidavitError, StatementTimeoutError

names, values = json.loads(sys.argv[2]), json.loads(sys.argv[3])
out = sys.argv[4]
QUERIES = (
    "SELECT a, sum(d) AS s FROM t GROUP BY a ORDER BY s DESC LIMIT 5",
    "SELECT x.id FROM t x JOIN t y ON x.id = y.id WHERE x.a <> '3' ORDER BY 1",
    "SELECT row_number() OVER (PARTITION BY id % 7 ORDER BY a) FROM t",
    "SELECT id FROM t UNION SELECT id + 1 FROM t",
    "INSERT INTO t VALUES (-1, 'z', 1)", "DELETE FROM t WHERE id = -1", "EXPLAIN SELECT * FROM t",
    "SELECT count(DISTINCT a) FROM t x LEFT JOIN t y USING (a)",
    "WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < 10) SELECT * FROM r",
    f"COPY t TO '{out}.parquet'", f"COPY t TO '{out}.csv'",
)
session = affidavit.connect(sys.argv[1])
session.sql("CREATE TABLE t (id INT PRIMARY KEY, a TEXT, d DOUBLE)")
session.sql("INSERT INTO t SELECT value, CAST(value AS TEXT) AS a, value / 7.0 AS d FROM generate_series(1, 300)")
for name in names:
    for value in values:
        print(name, value, flush=True)
        mine = session.scope(actor="x")
        try:
            mine.sql(f"SET {name} = {value}")
        except AffidavitError:
            mine.close()
            continue
        for query in QUERIES:
            try:
                mine.sql(query, timeout=20).to_arrow()
            except StatementTimeoutError:
                print("HANGS", name, value, query, flush=True)
            except AffidavitError as error:
                if "panic" in str(error).lower() or "internal error" in str(error).lower():
                    print("PANICS", name, value, query, str(error)[:200].replace(chr(10), " "), flush=True)
        mine.close()
print("END")
"""


def settings() -> list[str]:
    config = datafusion.SessionConfig().with_information_schema(enabled=True)
    rows = datafusion.SessionContext(config).sql("SELECT name FROM information_schema.df_settings")
    return sorted(row["name"] for row in rows.to_pylist())


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_p21_no_setting_ends_or_hangs_the_process(tmp_path, part) -> None:
    """Each is set to what nobody would, and a dozen statements run: none hangs or panics."""
    names = json.dumps(settings()[part::4])
    told = run_python(SCRIPT, tmp_path / "lake", names, json.dumps(VALUES), tmp_path / "out")
    lines = told.splitlines()
    assert lines[-1] == "END"
    assert [line for line in lines if line.startswith(("HANGS", "PANICS"))] == []


def test_p21_every_bound_is_of_a_setting() -> None:
    assert {*BOUNDS, *CONNECTED, FRACTION} <= {*settings(), *CONNECTED}


@pytest.mark.parametrize("name", BOUNDS)
def test_p21_a_setting_is_taken_at_its_bounds_and_not_past_them(session, name) -> None:
    least, most = BOUNDS[name]
    for value in {max(least - 1, 0), most + 1, 10**30} - ({0} if least == 0 else set()):
        with pytest.raises(SqlError, match=f"{name} must be between"):
            session.sql(f"SET {name} = {value}")
        with pytest.raises(SqlError, match="must be between"):
            session.sql(f"SET {name.upper()} TO '{value}'")
    for value in (least, most):
        session.sql(f"SET {name} = {value}")


def test_p21_any_other_number_has_a_limit_too(session) -> None:
    name = "datafusion.execution.sort_spill_reservation_bytes"
    session.sql(f"SET {name} = {NUMBER_MAX}")
    with pytest.raises(SqlError, match="between 0 and 1,099,511,627,776"):
        session.sql(f"SET {name} = {NUMBER_MAX + 1}")


@pytest.mark.parametrize("value", ["0", "1", "-1", "1.5", "'x'", "1e3", "NULL"])
def test_p21_a_share_is_between_0_and_1(session, value) -> None:
    with pytest.raises(SqlError, match="must be between 0 and 1"):
        session.sql(f"SET {FRACTION} = {value}")
    session.sql(f"SET {FRACTION} = 0.05")


@pytest.mark.parametrize("name", CONNECTED)
@pytest.mark.parametrize("text", ["SET {} = '1G'", 'SET "{}" = 0', "SET {} TO '/tmp'", "RESET {}"])
def test_p21_what_connect_says_no_session_sets(session, name, text) -> None:
    """The pool and the spill folder are of all sessions, whoever asks."""
    with pytest.raises(SqlError, match=r"see memory_limit= and spill_to= of affidavit\.connect"):
        session.sql(text.format(name.upper() if '"' not in text else name))


def test_p21_no_set_lifts_a_limit(session) -> None:
    """The deepest that a session may let DataFusion go is as deep as brackets may be nested."""
    session.sql("SET datafusion.sql_parser.recursion_limit = 200")
    begun = time.monotonic()
    for text in ("SELECT " + "(" * 199 + "1" + ")" * 199, "SELECT " + "NOT " * 900 + "true"):
        try:
            session.sql(text).to_arrow()
        except (SqlError, ExecutionError):
            continue
    assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    assert time.monotonic() - begun < 60
