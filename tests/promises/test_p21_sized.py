"""P21: what a statement makes of little is bounded, and the process goes on.

Each statement that would make gigabytes runs in a process of its own, which may use 6 GB.
"""

from __future__ import annotations

import datafusion
import pyarrow as pa
import pytest
from tests.support.processes import run_python

import affidavit
from affidavit.catalog.sql.sized import SIZED_BYTES_MAX, bounded
from affidavit.errors import AffidavitError, MemoryLimitError, SqlError

ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int32()),
        "s": pa.array(["ab", None, "é", ""], pa.string_view()),
        "l": pa.array(["ab", None, "é", ""], pa.large_string()),
        "n": pa.array([3, 4, None, -2], pa.int64()),
        "m": pa.array([2, 1, 3, 0], pa.int32()),
    }
)

SAME = [
    "SELECT repeat(s, n), repeat(l, n), repeat(arrow_cast(s, 'Utf8'), n) FROM t",
    "SELECT repeat(s, m), id FROM t ORDER BY n",
    "SELECT lpad(s, m), rpad(s, n, 'xy'), lpad(s, n, s), rpad(l, n) FROM t",
    "SELECT array_repeat(s, n), list_repeat(n, m) FROM t WHERE n > 0",
    "SELECT array_repeat(array_repeat(n, m), 2) FROM t",
    "SELECT list_resize(make_array(n), m, 7), array_resize([id], m) FROM t",
    "SELECT * FROM (SELECT repeat(repeat(s, m), 2) FROM t)",
    "SELECT max(repeat(s, n)) AS m, repeat(s, n) FROM t GROUP BY s, n ORDER BY n",
    "SELECT repeat('x', 1+2), repeat(\"s\" , (n+m)), repeat('', 999999) FROM t",
    "SELECT repeat(NULL, 3), repeat(NULL, n), repeat(s, NULL), repeat(s, -1) FROM t",
    "WITH repeat (a, b) AS (SELECT 1, 2) SELECT * FROM repeat",
    "SELECT repeat.n FROM t AS repeat",
    "SELECT id FROM t WHERE length(repeat(s, n)) > 2",
    "SELECT repeat(s, n) || ')\"(', repeat('a)b', n) FROM t",
    "SELECT repeat(s, 3.0) FROM t",
    "SELECT repeat(5, n) FROM t",
    "SELECT repeat(s) FROM t",
    "SELECT repeat() FROM t",
    "SELECT CASE WHEN n > 2 THEN repeat(s, n) ELSE '' END FROM t",
    "SELECT count(*), repeat(s, n) AS r FROM t GROUP BY r ORDER BY r",
    "SELECT repeat(s, n) FROM t ORDER BY repeat(s, n)",
    "SELECT DISTINCT repeat(s, n) FROM t ORDER BY 1",
    "SELECT row_number() OVER (ORDER BY repeat(s, n), id), repeat(s, n) FROM t ORDER BY 1",
    "SELECT /* repeat(s, n) */ 'repeat(s, n)' AS x, id -- repeat(s, n)\n FROM t",
    "SELECT s || 'a', [s, s], concat_ws(',', s, s), replace(s, 'a', s) FROM t",
    "SELECT range(1, n), generate_series(m) FROM t WHERE n > 0",
    "SELECT value FROM generate_series(1, 5) ORDER BY 1",
    "SELECT REPEAT(s, N), Lpad(s, m) FROM t",
]


@pytest.fixture
def table(session: affidavit.Session) -> affidavit.Session:
    session.create_table("t", ROWS, primary_key="id")
    return session


@pytest.mark.parametrize("text", SAME)
def test_p11_p21_a_bounded_function_answers_as_datafusion_does(table, text) -> None:
    """Types and values are those of plain DataFusion; so is what is refused."""
    plain = datafusion.SessionContext()
    plain.register_record_batches("t", [ROWS.to_batches()])
    try:
        expected = plain.sql(text).to_arrow_table()
    except Exception:
        with pytest.raises(AffidavitError):
            table.sql(text).to_arrow()
        return
    got = table.sql(text).to_arrow()
    assert not any("affidavit" in name for name in got.schema.names)
    assert got.schema.types == expected.schema.types
    order = "ORDER BY" in text
    rows = [[*zip(*(each.to_pylist() for each in table), strict=True)] for table in (got, expected)]
    assert rows[0] == rows[1] if order else sorted(map(str, rows[0])) == sorted(map(str, rows[1]))


def test_p11_p21_a_view_and_a_table_made_of_it_have_the_plain_name(table) -> None:
    table.sql("CREATE VIEW v AS SELECT repeat(s, n) FROM t WHERE id = 1")
    table.sql("CREATE TABLE made AS SELECT repeat(s, n), id FROM t WHERE id = 1")
    assert table.sql("SELECT * FROM v").to_pylist() == [{"repeat(s, n)": "ababab"}]
    assert table.sql('SELECT "repeat(s, n)" AS x FROM v').to_pylist() == [{"x": "ababab"}]
    assert table.sql("SELECT * FROM made").to_pylist() == [{"repeat(s, n)": "ababab", "id": 1}]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT repeat('x', 9) -- end", "SELECT repeat('x', 9)"),
        ("SELECT repeat(a, b)", "SELECT repeat(a, affidavit_bounded(b, octet_length(a)))"),
        ("SELECT lpad(a, f(b, 1), 'c')", "SELECT lpad(a, affidavit_bounded(f(b, 1), 4), 'c')"),
        ("/* a */ SELECT repeat(a, 2)", "/* a */ SELECT repeat(a, affidavit_bounded(2, octet_length(a)))"),
        ("CREATE TABLE repeat (a INT, b INT)", "CREATE TABLE repeat (a INT, b INT)"),
        ("INSERT INTO repeat (a, b) VALUES (1, 2)", "INSERT INTO repeat (a, b) VALUES (1, 2)"),
        ("SELECT repeat", "SELECT repeat"),
        ("SELECT repeat(", "SELECT repeat("),
    ],
)  # fmt: skip
def test_p21_counts_are_handed_through(text, made) -> None:
    assert bounded(text) == made


# --- at the limit, and past it --------------------------------------------------------------------

AT = SIZED_BYTES_MAX // 64


@pytest.mark.parametrize(
    ("what", "most"),
    [
        ("octet_length(repeat('x', {}))", SIZED_BYTES_MAX),
        ("octet_length(repeat('x', {} + 0))", SIZED_BYTES_MAX),
        ("array_length(array_repeat(1, {}))", AT),
        ("array_length(array_repeat(1, {} + 0))", AT),
        ("array_length(list_resize([1], {} + 0))", AT),
        ("octet_length(lpad('x', {} + 0))", SIZED_BYTES_MAX // 4),
    ],
)
def test_p21_the_limit_of_a_size_is_where_it_says(session, what, most) -> None:
    text = "SELECT " + what + " AS n"
    assert session.sql(text.format(most)).to_pylist() == [{"n": most}]
    with pytest.raises((SqlError, MemoryLimitError), match="268,435,456 are allowed"):
        session.sql(text.format(most + 1)).to_arrow()


def test_p21_the_rows_of_a_batch_count_together(session) -> None:
    text = "SELECT sum(octet_length(repeat(CAST(value AS VARCHAR), {}))) AS n FROM generate_series(1, 1000)"
    assert session.sql(text.format(1000)).to_pylist() == [{"n": 2_893_000}]
    with pytest.raises(MemoryLimitError, match="for fewer rows"):
        session.sql(text.format(100_000)).to_arrow()


def chain(step: str, count: int, first: str = "repeat('x', 1000000)") -> str:
    tables = [f"c0 AS (SELECT {first} AS t)"]
    tables += [f"c{at} AS (SELECT {step} AS t FROM c{at - 1})" for at in range(1, count)]
    return f"WITH {', '.join(tables)} SELECT octet_length(t) AS n FROM c{count - 1}"


LARGE = {
    "literal": "SELECT length(repeat('x', 2000000000)) AS n",
    "expression": "SELECT length(repeat('x', 2000000000 + 0)) AS n",
    "column": "SELECT length(repeat(s, id * 1000000000)) AS n FROM t",
    "comment": "SELECT length(repeat/**/ (s/*,*/, -- x\n id * 1000000000)) AS n FROM t",
    "quoted": 'SELECT length("repeat"(s, id * 1000000000)) AS n FROM t',
    "lpad": "SELECT length(lpad(s, id * 1000000000)) AS n FROM t",
    "rpad": "SELECT length(rpad('x', 2000000000, 'ab')) AS n",
    "array_repeat": "SELECT array_length(array_repeat(id, id * 2000000000)) AS n FROM t",
    "array_resize": "SELECT array_length(array_resize([id], id * 2000000000)) AS n FROM t",
    "range": "SELECT array_length(range(2000000000)) AS n",
    "range of a column": "SELECT array_length(range(id * 20000000000)) AS n FROM t",
    "where": "SELECT id FROM t WHERE length(repeat(s, id * 1000000000)) > 5",
    "update": "UPDATE t SET s = repeat('x', id * 2000000000)",
    "insert": "INSERT INTO t VALUES (9, repeat('x', 2000000000 + 0))",
    "delete": "DELETE FROM t WHERE length(repeat('x', 2000000000 + id)) > 1",
    "merge": "MERGE INTO t USING (SELECT 1 AS k) u ON t.id = u.k "
    "WHEN MATCHED THEN UPDATE SET s = repeat('x', u.k * 2000000000)",
    "default": "CREATE TABLE d (id INT, s VARCHAR DEFAULT repeat('x', 2000000000 + 1))",
    "view": "SELECT length(s) FROM v",
    "doubled": chain("t || t", 20),
    "concatenated": chain("concat(t, t)", 20),
    "replaced": chain("replace(t, 'x', 'xx')", 20),
    "replaced by patterns": chain("regexp_replace(t, 'x', 'xx', 'g')", 20),
    "lists": chain("array_concat(t, t)", 20, "array_repeat(1, 100000)").replace("octet_", "array_"),
    "joined": "SELECT octet_length(array_to_string(array_repeat(1, 100000), repeat('x', 100000))) AS n",
    "stored": chain("t || t", 30, "(SELECT max(s) FROM t)"),
    "wide": chain("arrow_cast(t, 'LargeUtf8') || t", 25),
}  # fmt: skip
LARGE_SCRIPT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
import affidavit
session = affidavit.connect(sys.argv[1])
session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, s VARCHAR)")
session.sql("INSERT INTO t VALUES (1, 'ab'), (2, NULL), (3, 'é')")
session.sql("CREATE VIEW v AS SELECT repeat(s, id * 1000000000) AS s FROM t")
for text in sys.argv[2:]:
    try:
        print("answered", session.sql(text).to_pylist())
    except affidavit.AffidavitError as error:
        assert "are allowed" in str(error) or "Range too large" in str(error), str(error)[:500]
        print("refused")
assert session.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 3}]
"""


def test_p21_no_size_ends_the_process(tmp_path) -> None:
    """Each is refused by an own error within 6 GB, where all of them were once an abort."""
    told = run_python(LARGE_SCRIPT, tmp_path / "lake", *LARGE.values(), anew=True).splitlines()
    assert dict(zip(LARGE, told, strict=True)) == dict.fromkeys(LARGE, "refused")


def test_p21_parameters_and_prepared_statements_are_bounded(session) -> None:
    text = "SELECT length(repeat('x', $n)) AS n"
    assert session.sql(text, n=3).to_pylist() == [{"n": 3}]
    with pytest.raises(MemoryLimitError):
        session.sql(text, n=2_000_000_000).to_arrow()
    session.sql("PREPARE p AS SELECT length(repeat('x', $1)) AS n")
    assert session.sql("EXECUTE p(3)").to_pylist() == [{"n": 3}]
    with pytest.raises(MemoryLimitError):
        session.sql("EXECUTE p(2000000000)").to_arrow()


def test_p21_a_chain_of_views_is_bounded_where_it_is_made(session) -> None:
    session.sql("CREATE VIEW g0 AS SELECT repeat('x', 1000000) AS t")
    with pytest.raises(SqlError, match="done too often over"):
        for at in range(1, 32):
            session.sql(f"CREATE VIEW g{at} AS SELECT t || t AS t FROM g{at - 1}")
    assert session.sql("SELECT octet_length(t) AS n FROM g5").to_pylist() == [{"n": 32_000_000}]


@pytest.mark.parametrize(
    "condition",
    [
        "length(repeat('x', 2000000000)) > 1",
        "length(repeat(title, 1001)) > 1",
        "length(lpad(title, id * 2000000000)) > 1",
        "repeat(repeat(repeat(title, 1000), 1000), 1000) = ''",
    ],
)
def test_p21_conditions_that_others_compute_have_small_counts(session, condition) -> None:
    """A search's is computed by Lance, a trigger's without a session: none of ours is there."""
    session.create_vector_table("docs", [{"id": 1, "title": "x", "vector": [1.0, 2.0]}])
    with pytest.raises(AffidavitError, match="with counts that are written out, up to 1,000"):
        session.search("docs", [1.0, 2.0], 1, where=condition)
    with pytest.raises(AffidavitError, match="with counts that are written out"):
        session.triggers.on("docs", "insert", where=condition, publish="x")
    fine = "lpad(title, 5, '0') = '0000x' AND length(repeat(title, 1000)) > 1"
    assert session.search("docs", [1.0, 2.0], 1, where=fine).num_rows == 1
    session.triggers.on("docs", "insert", where=fine, publish="x")
