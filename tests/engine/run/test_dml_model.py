"""Stateful tests: any sequence of DML agrees with a plain model, and with raw SQLite."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import affidavit
from affidavit import errors

KEYS = st.integers(0, 6)
VALUES = st.none() | st.integers(-5, 5)
TEXTS = st.sampled_from(["a", "b", "", "A", "é", "a'b"])


class TableModel(RuleBasedStateMachine):
    """A table ``t (k, v, s)`` beside a dict, of either kind, through transactions and reopening."""

    kind = "mutable"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.rows: dict[int, tuple[int | None, str]] = {}
        self.before: dict[int, tuple[int | None, str]] | None = None
        self.session = affidavit.connect(self.folder / "lake", durability="normal")

    @initialize()
    def create(self) -> None:
        if self.kind == "mutable":
            self.session.sql("CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT, s VARCHAR)")
            return
        import pyarrow as pa

        schema = pa.schema(
            [
                ("k", pa.int64()),
                ("v", pa.int64()),
                ("s", pa.string()),
                ("e", pa.list_(pa.float32(), 2)),
            ]
        )
        self.session.create_vector_table("t", schema=schema, key="k", vector="e")

    def values(self, k: int, v: int | None, s: str) -> tuple[str, dict[str, object]]:
        extra = (
            ""
            if self.kind == "mutable"
            else ", arrow_cast([1.0, 2.0], 'FixedSizeList(2, Float32)')"
        )
        return f"($k, $v, $s{extra})", {"k": k, "v": v, "s": s}

    @rule(k=KEYS, v=VALUES, s=TEXTS)
    def insert(self, k: int, v: int | None, s: str) -> None:
        text, params = self.values(k, v, s)
        if k in self.rows:
            with pytest.raises(errors.ConstraintError):
                self.session.sql(f"INSERT INTO t VALUES {text}", params)
        else:
            self.session.sql(f"INSERT INTO t VALUES {text}", params)
            self.rows[k] = (v, s)

    @rule(k=KEYS, v=VALUES, s=TEXTS)
    def insert_or_update(self, k: int, v: int | None, s: str) -> None:
        text, params = self.values(k, v, s)
        self.session.sql(
            f"INSERT INTO t VALUES {text} ON CONFLICT (k) DO UPDATE SET v = excluded.v, s = t.s || excluded.s",
            params,
        )
        self.rows[k] = (v, self.rows[k][1] + s) if k in self.rows else (v, s)
        if len(self.rows[k][1]) > 20:
            self.update_text(k, "a")

    @rule(k=KEYS, s=TEXTS)
    def update_text(self, k: int, s: str) -> None:
        count = self.session.table("t").update({"s": s}, f"k = {k}")
        assert count == (k in self.rows)
        if k in self.rows:
            self.rows[k] = (self.rows[k][0], s)

    @rule(low=VALUES)
    def update_by_condition(self, low: int | None) -> None:
        changed = [
            k for k, (v, _) in self.rows.items() if v is not None and low is not None and v >= low
        ]
        count = self.session.sql("UPDATE t SET v = v - 1 WHERE v >= $low", low=low).rows_affected
        assert count == len(changed)
        for k in changed:
            self.rows[k] = (self.rows[k][0] - 1, self.rows[k][1])

    @rule()
    def delete_smallest(self) -> None:
        count = self.session.sql("DELETE FROM t WHERE k = (SELECT min(k) FROM t)").rows_affected
        assert count == bool(self.rows)
        if self.rows:
            del self.rows[min(self.rows)]

    @rule(k=KEYS)
    def delete_with_limit(self, k: int) -> None:
        self.session.sql(f"DELETE FROM t WHERE k <= {k} ORDER BY k DESC LIMIT 2")
        for gone in sorted((key for key in self.rows if key <= k), reverse=True)[:2]:
            del self.rows[gone]

    @rule()
    def truncate(self) -> None:
        assert self.session.sql("TRUNCATE t").rows_affected == len(self.rows)
        self.rows.clear()

    @precondition(lambda self: self.kind == "mutable" and self.before is None)
    @rule()
    def begin(self) -> None:
        self.session.sql("BEGIN")
        self.before = dict(self.rows)

    @precondition(lambda self: self.before is not None)
    @rule(keep=st.booleans())
    def end(self, keep: bool) -> None:
        self.session.sql("COMMIT" if keep else "ROLLBACK")
        if not keep:
            self.rows = self.before
        self.before = None

    @precondition(lambda self: self.before is None)
    @rule()
    def reopen(self) -> None:
        self.session.close()
        self.session = affidavit.connect(self.folder / "lake", durability="normal")

    @precondition(lambda self: self.kind == "vector")
    @rule()
    def optimize(self) -> None:
        self.session.table("t").optimize()

    @invariant()
    def rows_agree(self) -> None:
        found = {r["k"]: (r["v"], r["s"]) for r in self.session.sql("SELECT k, v, s FROM t")}
        assert found == self.rows
        assert self.session.table("t").count() == len(self.rows)
        totals = self.session.sql(
            "SELECT sum(v) AS v, count(s) AS n FROM t WHERE k > 2"
        ).to_pylist()
        some = [v for k, (v, _) in self.rows.items() if k > 2 and v is not None]
        assert totals == [{"v": sum(some) if some else None, "n": sum(k > 2 for k in self.rows)}]

    def teardown(self) -> None:
        if self.before is not None:
            self.session.sql("ROLLBACK")
        self.session.close()
        shutil.rmtree(self.folder)


class VectorModel(TableModel):
    """The same rules against a vector table, which knows no transactions."""

    kind = "vector"


TestMutableModel = pytest.mark.fuzz(TableModel.TestCase)
TestMutableModel.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestVectorModel = pytest.mark.fuzz(VectorModel.TestCase)
TestVectorModel.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)


# --- the same statements against raw SQLite -------------------------------------------------------

_NUMBER = st.sampled_from(
    ["a", "b", "a + b", "-b", "3", "0", "NULL", "abs(b)", "coalesce(b, 7)", "a * 2"]
)
_TEXT = st.sampled_from(["s", "'x'", "s || 'y'", "upper(s)", "NULL", "coalesce(s, 'none')"])
# no literal stands first: DataFusion 54.1 finds s = 'x' AND 'x' = s never true
_LEFT_TEXT = _TEXT.filter(lambda text: text != "'x'")
# sub-queries stand alone: DataFusion 54 answers some under NOT, OR and NULL as SQLite does not
_TEST = st.deferred(
    lambda: st.one_of(
        st.tuples(_NUMBER, st.sampled_from(["=", "<", ">=", "<>"]), _NUMBER).map(" ".join),
        st.tuples(_LEFT_TEXT, st.sampled_from(["=", "<", "<>"]), _TEXT).map(" ".join),
        st.sampled_from(
            [
                "s IS NULL",
                "b IS NOT NULL",
                "a IN (1, 2, NULL)",
                "b BETWEEN -1 AND 3",
                "s LIKE 'x%'",
                "b NOT IN (1, 3)",  # of one column DataFusion 54 merges two lists, and loses a NULL
            ]
        ),
        st.tuples(_TEST, st.sampled_from(["AND", "OR"]), _TEST).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        _TEST.map(lambda t: f"NOT ({t})"),
    )
)
_QUERIES = st.sampled_from(
    [
        "a IN (SELECT b FROM t WHERE b IS NOT NULL)",
        "b = (SELECT max(b) FROM t)",
        "EXISTS (SELECT 1 FROM t u WHERE u.a = t.b)",
        "NOT EXISTS (SELECT 1 FROM t u WHERE u.a = t.b)",
    ]
)
_CONDITION = _TEST | _QUERIES
_STATEMENT = st.one_of(
    st.tuples(_NUMBER, _TEXT, _CONDITION).map(
        lambda p: f"UPDATE t SET b = {p[0]}, s = {p[1]} WHERE {p[2]}"
    ),
    _CONDITION.map(lambda t: f"DELETE FROM t WHERE {t}"),
    st.tuples(_NUMBER, _TEXT, _CONDITION).map(
        lambda p: f"INSERT INTO t SELECT a + 100, {p[0]} AS b, {p[1]} AS s FROM t WHERE {p[2]}"
    ),
    st.tuples(st.integers(0, 9), VALUES, TEXTS).map(
        lambda p: (
            "INSERT INTO t VALUES ({}, {}, '{}') ON CONFLICT (a) DO UPDATE SET b = excluded.b + 1".format(
                p[0], "NULL" if p[1] is None else p[1], p[2].replace("'", "''")
            )
        )
    ),
)


@pytest.mark.fuzz
@given(st.lists(_STATEMENT, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_p11_dml_does_what_sqlite_does(statements: list[str]) -> None:
    """The same statements, the same rows and counts, the same refusals for a taken key."""
    folder = Path(tempfile.mkdtemp())
    other = sqlite3.connect(":memory:", isolation_level=None)
    other.execute("PRAGMA case_sensitive_like = ON")  # as DataFusion's LIKE is
    other.create_function("upper", 1, lambda text: text if text is None else str(text).upper())
    create = "CREATE TABLE t (a BIGINT PRIMARY KEY, b BIGINT, s VARCHAR)"
    fill = (
        "INSERT INTO t VALUES (1, 2, 'x'), (2, NULL, 'xy'), (3, -1, NULL), (4, 4, 'Y'), (5, 1, '')"
    )
    with affidavit.connect(folder / "lake", durability="normal") as session:
        for text in (create, fill, *statements):
            try:
                expected = other.execute(text).rowcount
            except sqlite3.IntegrityError:
                expected = None
            if expected is None:
                with pytest.raises(errors.ConstraintError):
                    session.sql(text)
            else:
                affected = session.sql(text).rows_affected
                assert text is create or affected == expected, text
            found = [
                tuple(r.values()) for r in session.sql("SELECT * FROM t ORDER BY a").to_pylist()
            ]
            assert found == other.execute("SELECT * FROM t ORDER BY a").fetchall(), text
    other.close()
    shutil.rmtree(folder)


# --- fuzzing --------------------------------------------------------------------------------------

_WORDS = st.sampled_from(
    "SELECT FROM WHERE t d docs nope a b id INSERT INTO VALUES UPDATE SET DELETE MERGE USING ON WHEN "
    "MATCHED THEN NOT NULL ( ) , ; = < 1 2.5 'x' \"q\" $1 $x * + CREATE TABLE VIEW AS DROP ALTER ADD "
    "COLUMN RETURNING CONFLICT DO NOTHING WITH ORDER BY LIMIT GROUP JOIN LEFT UNION ALL EXPLAIN ANALYZE "
    "BEGIN COMMIT ROLLBACK PREPARE EXECUTE p COPY TO '/nowhere/x' SET SHOW TABLES vector_search text_search "
    "[1.0,2.0] count journal system tables TRUNCATE INDEX INT VARCHAR PRIMARY KEY DEFAULT UNIQUE IF EXISTS "
    "-- /* */ ' \" $$ :: . ~ \\ ü \x01 INTERVAL CASE END IN EXISTS DISTINCT OVER PARTITION CAST".split(
        " "
    )
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    with affidavit.connect(
        tmp_path_factory.mktemp("fuzz") / "lake", durability="normal"
    ) as session:
        session.sql("CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR) AS VALUES (1, 'x')")
        session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
        yield session


@pytest.mark.fuzz
@given(st.lists(_WORDS, max_size=14).map(" ".join) | st.text(max_size=40))
@settings(max_examples=133, deadline=None)
def test_p12_no_sql_text_escapes_the_error_tree(fuzzed: affidavit.Session, text: str) -> None:
    try:
        fuzzed.sql(text, {"1": 1, "x": [1.0, 2.0]}).to_arrow()
    except affidavit.AffidavitError as error:
        assert str(error)
    finally:
        if fuzzed._own.transactions.current() is not None:
            fuzzed.sql("ROLLBACK")


_SEEDS = [
    "SELECT a, b FROM t WHERE a IN (SELECT id FROM vector_search('docs', $x, 3)) ORDER BY a LIMIT 2",
    "INSERT INTO t (a, b) VALUES (2, 'y') ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a",
    "UPDATE t AS u SET b = d.id FROM docs d WHERE d.id = u.a RETURNING *",
    "MERGE INTO t USING docs AS d ON t.a = d.id WHEN MATCHED THEN UPDATE SET b = 'm' WHEN NOT MATCHED THEN INSERT (a) VALUES (d.id)",
    "CREATE TABLE IF NOT EXISTS u (a INT PRIMARY KEY, b VARCHAR DEFAULT 'x' NOT NULL, UNIQUE (b))",
    "DELETE FROM t USING docs d WHERE d.id = t.a RETURNING t.b",
    "ALTER TABLE t ADD COLUMN c DOUBLE DEFAULT 1.5 NOT NULL",
    "PREPARE p(INT) AS SELECT $1 + a FROM t",
]


@pytest.mark.fuzz
@given(st.sampled_from(_SEEDS), st.data())
@settings(max_examples=133, deadline=None)
def test_p12_no_damaged_statement_escapes_the_error_tree(fuzzed, seed: str, data) -> None:
    """Statements with a piece cut out, doubled or replaced."""
    words = seed.split(" ")
    at = data.draw(st.integers(0, len(words) - 1))
    how = data.draw(st.sampled_from(["cut", "double", "swap", "replace", "truncate"]))
    if how == "cut":
        del words[at]
    elif how == "double":
        words.insert(at, words[at])
    elif how == "swap":
        other = data.draw(st.integers(0, len(words) - 1))
        words[at], words[other] = words[other], words[at]
    elif how == "replace":
        words[at] = data.draw(_WORDS)
    else:
        words = words[:at]
    test_p12_no_sql_text_escapes_the_error_tree.hypothesis.inner_test(fuzzed, " ".join(words))
