"""P11: what DataFusion answers wrongly is right here, or refused; and when a rewrite can go."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import SessionContext

import affidavit
from affidavit.engine.statement.mended.mended import mended
from affidavit.errors import AffidavitError, ExecutionError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = {
    "whole": "(VALUES (1, 1), (2, 2)) AS v(a, n)",
    "part": "(VALUES (2, 2)) AS v(b, m)",
    "gaps": "(VALUES (2), (NULL)) AS v(id)",
    "odd": "(VALUES (1), (3)) AS v(id)",
    "some": "(VALUES (1), (3), (NULL)) AS v(id)",
    "big": "(VALUES (1, 9223372036854775807), (2, 5)) AS v(id, n)",
    "texts": "(SELECT id, arrow_cast(s, 'Utf8View') AS s FROM (VALUES (1, 'x'), (2, 'y')) t(id, s))",
    "lists": "(VALUES (1, 1.5)) AS v(id, x)",
}

Rows = list[tuple[object, ...]]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    """The tables, which are only read."""
    lake = tmp_path_factory.mktemp("mended") / "lake"
    with affidavit.connect(lake, actor="tester", durability="normal") as session:
        yield made(session)


@pytest.fixture
def written(session: affidavit.Session) -> affidavit.Session:
    """The tables, of one test."""
    return made(session)


def made(session: affidavit.Session) -> affidavit.Session:
    for name, rows in TABLES.items():
        session.sql(f"CREATE TABLE {name} AS SELECT * FROM {rows}")
    return session


@pytest.fixture(scope="module")
def plain() -> SessionContext:
    context = SessionContext()
    for name, rows in TABLES.items():
        context.sql(f"CREATE TABLE {name} AS SELECT * FROM {rows}").collect()
    return context


def rows_of(session: affidavit.Session, text: str, **params: object) -> Rows:
    rows = [tuple(row.values()) for row in session.sql(text, **params).to_pylist()]
    return sorted(rows, key=lambda row: [(value is None, str(value)) for value in row])


def plainly(context: SessionContext, text: str) -> object:
    """Return the rows of plain DataFusion, or what it says."""
    try:
        batches = context.sql(text).collect()
    except BaseException as error:
        return str(error)
    rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: [(value is None, str(value)) for value in row])


WRONG = {
    "SELECT id FROM odd WHERE id <> 1 AND id NOT IN (SELECT id FROM gaps)": [],
    "SELECT id FROM odd WHERE id <> 1 OR id NOT IN (SELECT id FROM gaps)": [(3,)],
    "SELECT id FROM some WHERE id = 7 OR ((SELECT count(*) FROM part WHERE b = 1) = 0 "
    "AND id NOT IN (SELECT id FROM odd WHERE id = 1))": [(3,)],
    "SELECT id FROM some WHERE NOT (id IN (SELECT id FROM gaps) AND id > 0)": [],
    "SELECT id FROM some WHERE (id IN (SELECT id FROM gaps)) IS NULL": [(1,), (3,), (None,)],
    "SELECT id FROM some o WHERE o.id NOT IN "
    "(SELECT g.id FROM gaps g WHERE g.id IS NULL AND o.id = 3)": [(1,), (None,)],
    "SELECT id, id IN (SELECT id FROM gaps) FROM some": [(1, None), (3, None), (None, None)],
    "SELECT a FROM whole WHERE (a, n) IN (SELECT b, m FROM part)": [(2,)],
    "SELECT a FROM whole WHERE (a, n) NOT IN (SELECT b, m FROM part)": [(1,)],
    "SELECT a FROM whole WHERE EXISTS (SELECT count(*) FROM part WHERE a = b)": [(1,), (2,)],
    "SELECT a FROM whole WHERE NOT EXISTS (SELECT count(*) FROM part WHERE a = b)": [],
    "SELECT a FROM whole WHERE EXISTS "
    "(SELECT count(*) FROM part WHERE a = b HAVING count(*) = 0)": [(1,)],
    "SELECT a FROM whole WHERE 0 IN (SELECT count(*) FROM part WHERE a = b)": [(1,)],
    "SELECT a, EXISTS (SELECT 1 FROM part WHERE a = b) FROM whole": [(1, False), (2, True)],
    "SELECT EXISTS (SELECT 1 FROM part WHERE a = b), EXISTS (SELECT 1 FROM gaps) FROM whole": [
        (False, True),
        (True, True),
    ],
    "SELECT a, (SELECT regr_count(1.0, 1.0) FROM part WHERE b = a) FROM whole": [(1, 0), (2, 1)],
    "SELECT a, (SELECT approx_distinct(m) FROM part WHERE b = a) FROM whole": [(1, 0), (2, 1)],
    "SELECT a, (SELECT m FROM part WHERE b = a) FROM whole": [(1, None), (2, 2)],
    "SELECT a, (SELECT m FROM part WHERE b = a ORDER BY m LIMIT 1) FROM whole": [
        (1, None),
        (2, 2),
    ],
    "SELECT * FROM (VALUES (1), (1)) t(a) INTERSECT ALL SELECT * FROM (VALUES (1)) u(a)": [(1,)],
    "SELECT * FROM (VALUES (1), (1), (NULL), (NULL)) t(a) "
    "EXCEPT ALL SELECT * FROM (VALUES (1), (NULL)) u(a)": [(1,), (None,)],
    "WITH w AS (SELECT 1 AS a UNION ALL SELECT 1) "
    "SELECT a FROM w EXCEPT ALL SELECT a FROM whole ORDER BY a": [(1,)],
    "SELECT id FROM texts WHERE s = 'x' AND 'x' = s": [(1,)],
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) "
    "SELECT sum(n) FROM r": [(15,)],
    "SELECT x LIKE 'a!%b' ESCAPE '!' FROM (VALUES ('a%b'), ('axb')) t(x)": [(False,), (True,)],
    r"SELECT x LIKE 'a\!%' ESCAPE '!' FROM (VALUES ('a\%'), ('a\b')) t(x)": [(False,), (True,)],
    "SELECT count(*) FILTER (WHERE NULL) FROM whole": [(0,)],
    "SELECT * FROM (VALUES ((SELECT max(a) FROM whole)), (7)) t(x)": [(2,), (7,)],
    "SELECT a + 1 AS a FROM (SELECT a + 1 AS a FROM (SELECT a + 1 a FROM whole))": [(4,), (5,)],
    "SELECT a + 1 AS a FROM (SELECT a + 1 AS a FROM (SELECT a + 1 a FROM whole)) WHERE a > 0": [
        (4,),
        (5,),
    ],
    "SELECT -a AS b FROM (SELECT a, -a AS b FROM (SELECT -a AS a FROM whole)), part": [(1,), (2,)],
    "SELECT 1234567890123456.78": [(Decimal("1234567890123456.78"),)],
    "SELECT 0.1 + 0.2 = 0.3": [(True,)],
}
"""What plain DataFusion 54.1 answers wrongly or not at all, and the right answer."""


@pytest.mark.parametrize("text", WRONG)
def test_what_datafusion_answers_wrongly_is_right_here(tables, text) -> None:
    assert rows_of(tables, text) == WRONG[text]


@pytest.mark.parametrize("text", WRONG)
def test_datafusion_still_answers_it_wrongly(plain, text) -> None:
    """Where this fails DataFusion has learnt it, and what writes the statement anew can go."""
    assert plainly(plain, text) != WRONG[text]


OVERFLOWS = [
    "SELECT 9223372036854775807 + 1",
    "SELECT -9223372036854775807 - 2",
    "SELECT n + 1 FROM big",
    "SELECT 3 * n AS m FROM big",
    "SELECT sum(n) FROM big",
    "SELECT id, sum(n) OVER (ORDER BY id) FROM big",
    "SELECT sum(n * id) FROM big HAVING sum(n * id) > 0",
    "SELECT CASE WHEN id = 1 THEN (n + id) * 1 END FROM big",
    "WITH w AS (SELECT n FROM big) SELECT n - -1 FROM w",
    "SELECT s FROM (SELECT n + n AS s FROM big) WHERE s <> 0",
    "SELECT arrow_cast(2147483647, 'Int32') + arrow_cast(1, 'Int32')",
]


@pytest.mark.parametrize("text", OVERFLOWS)
def test_a_whole_number_past_its_end_is_refused(tables, plain, text) -> None:
    """Plain DataFusion goes on at the other end of the type; where it fails, the casts can go."""
    with pytest.raises(AffidavitError, match="out of range"):
        tables.sql(text).to_arrow()
    assert isinstance(plainly(plain, text), list)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("UPDATE big SET n = n + 1", "n"),
        ("INSERT INTO big VALUES (3, 9223372036854775807 + 5)", "n"),
        ("INSERT INTO big SELECT id, n + 1 FROM big", "n"),
        (
            "MERGE INTO big USING (SELECT 1 AS k) s ON big.id = s.k "
            "WHEN MATCHED THEN UPDATE SET n = n * 2",
            "n",
        ),
    ],
)
def test_a_statement_that_would_write_such_a_number_writes_nothing(written, change, column) -> None:
    with pytest.raises(AffidavitError, match="out of range"):
        written.sql(change)
    assert rows_of(written, f"SELECT id, {column} FROM big") == [(1, 2**63 - 1), (2, 5)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT n + 1 FROM big WHERE id = 2", [(6,)]),
        (
            "SELECT sum(n) + 1, count(*) FROM big WHERE id = 2 GROUP BY id HAVING sum(n) > 3",
            [(6, 1)],
        ),
        ("SELECT (n + 1) * 2 - 3 x FROM big WHERE id = 2", [(9,)]),
        ("SELECT -n - 5 total FROM big WHERE id = 2", [(-10,)]),
        (
            "SELECT n + 1 AS k, count(*) FROM big WHERE id = 2 GROUP BY n + 1 ORDER BY n + 1",
            [(6, 1)],
        ),
        ("SELECT n * 2 / 3 FROM big WHERE id = 2", [(3,)]),
        ("SELECT sum(DISTINCT n) FILTER (WHERE id = 2) FROM big", [(5,)]),
    ],
)
def test_numbers_that_fit_are_as_before(tables, plain, text, expected) -> None:
    assert rows_of(tables, text) == expected == plainly(plain, text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT n + 1, sum(n + id) FROM big GROUP BY n + 1",
        *(text for text in OVERFLOWS if " FROM " in text),
    ],
)
def test_columns_have_the_types_that_they_have_without_a_rewrite(tables, plain, text) -> None:
    assert tables.describe(text).columns.types == plain.sql(text).schema().types


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 / 3.0", "SELECT 100.0 * 1 / 7", "SELECT avg(id * 0.1) FROM big",
        "SELECT power(2.5, 0.5)", "SELECT 1e100", "SELECT [0.5, 1.25]", "SELECT 1.5e0 + 1",
    ],
)  # fmt: skip
def test_what_is_divided_is_a_float_as_before(tables, plain, text) -> None:
    assert rows_of(tables, text) == plainly(plain, text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT a, a, n, a FROM whole", ["a", "a_1", "n", "a_2"]),
        ("SELECT *, a FROM whole", ["a", "n", "a_1"]),
        ("SELECT DISTINCT a + 1, a + 1 FROM whole", ["a + 1", "a + 1_1"]),
    ],
)  # fmt: skip
def test_a_list_may_have_one_thing_twice(tables, plain, text, names) -> None:
    """DataFusion refuses two that are called alike."""
    assert tables.sql(text).to_arrow().schema.names == names
    assert isinstance(plainly(plain, text), str)


def test_not_in_is_right_where_filters_are_pushed_into_files(session, tmp_path) -> None:
    pq.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "probe.parquet")
    pq.write_table(pa.table({"b": [2, None]}), tmp_path / "list.parquet")
    session.attach("probe", str(tmp_path / "probe.parquet"))
    session.attach("list", str(tmp_path / "list.parquet"))
    session.sql("SET datafusion.execution.parquet.pushdown_filters = true")
    assert rows_of(session, "SELECT a FROM probe WHERE a NOT IN (SELECT b FROM list)") == []
    found = rows_of(session, "SELECT a FROM probe WHERE a NOT IN (SELECT b FROM list WHERE b > 1)")
    assert found == [(1,), (3,)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "SELECT a FROM whole WHERE EXISTS (SELECT b FROM part WHERE a = b OFFSET 1)",
            "takes no OFFSET",
        ),
        ("SELECT 'a' LIKE s ESCAPE '!' FROM texts", "written out"),
        ("SELECT 'a' LIKE 'a!' ESCAPE '!'", "nothing stands behind"),
        ("SELECT 'a' LIKE 'a' ESCAPE 'xy'", "one character"),
        (
            "SELECT a FROM whole WHERE a IN (SELECT m FROM part "
            "INTERSECT ALL SELECT b FROM part WHERE b = a)",
            "INTERSECT ALL is not supported over these",
        ),
    ],
)
def test_what_cannot_be_written_rightly_is_refused(tables, text, said) -> None:
    with pytest.raises(SqlError, match=said):
        tables.sql(text).to_arrow()


def test_a_query_in_brackets_with_two_rows_is_an_error(written) -> None:
    written.sql("INSERT INTO part VALUES (2, 3)")
    with pytest.raises(ExecutionError, match="several rows where one value is wanted"):
        written.sql("SELECT a, (SELECT m FROM part WHERE b = a) FROM whole").to_arrow()


def test_a_lateral_aggregate_with_another_condition_says_what_to_write(tables) -> None:
    query = "SELECT a, s FROM whole, LATERAL (SELECT sum(b) AS s FROM part WHERE b >= a) x"
    with pytest.raises(ExecutionError, match=r"LATERAL.*GROUP BY"):
        tables.sql(query).to_arrow()


def test_a_search_is_never_written_twice(docs, session) -> None:
    """Each copy would leave a record of its own."""
    session.sql("CREATE TABLE kept AS SELECT 3 AS k")
    search = "(SELECT id FROM vector_search('docs', $q, 3))"
    query = [1.0] + [0.0] * 7
    with pytest.raises(SqlError, match="over a search"):
        session.sql(f"SELECT k IN {search} FROM kept", q=query)
    session.sql(f"SELECT k FROM kept WHERE k <> 1 AND k NOT IN {search}", q=query).to_arrow()
    assert session.sql("SELECT count(*) AS n FROM audit.searches").to_pylist() == [{"n": 1}]


@pytest.mark.parametrize(
    "text",
    ["SELECT a, b FROM t WHERE a = 1", "SELECT * FROM t", "SELECT count(*) AS n FROM t", "SHOW x"],
)
def test_what_is_right_stays_as_it_is_written(text) -> None:
    assert mended(text, lambda query: pytest.fail(f"{query} was asked")) == text


def test_sums_of_sums_in_many_common_tables_are_planned_at_once(
    session: affidavit.Session,
) -> None:
    """Casts of casts take DataFusion's planning twice as long with each: functions part them."""
    links = "".join(f", c{at} AS (SELECT a + 1 AS a FROM c{at - 1})" for at in range(1, 40))
    text = f"WITH c0 AS (SELECT 1 AS a){links} SELECT a FROM c39"
    assert session.sql(text, timeout=60).to_pylist() == [{"a": 40}]
    with pytest.raises(AffidavitError, match="out of range"):
        session.sql(text.replace("SELECT 1 AS a", f"SELECT {2**63 - 20} AS a")).to_arrow()
    for at in range(30):
        table = f"v{at - 1}" if at else "(SELECT 1 AS a)"
        session.sql(f"CREATE VIEW v{at} AS SELECT a + 1 AS a FROM {table}")
    assert session.sql("SELECT a FROM v29", timeout=60).to_pylist() == [{"a": 31}]
