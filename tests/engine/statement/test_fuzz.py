"""P12, P21: whatever text comes, what is answered is a description or an error of our tree.

Texts are grown from a grammar of every kind of statement, and then most of them are hurt: cut,
doubled, swapped, with foreign words and bytes put in. Each is described, which reads and plans it
and runs nothing. ``AFFIDAVIT_FUZZ`` says how many; the seed is the number of the text.
"""

from __future__ import annotations

import os
import random
import re
from typing import TYPE_CHECKING

import pytest
from tests.support.processes import run_python

import affidavit
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = int(os.environ.get("AFFIDAVIT_FUZZ", "20000"))
PARTS = 4
"""How many tests the texts are spread over, for workers side by side."""

GRAMMAR: dict[str, list[str]] = {
    "statement": [
        "<query>", "<query>", "<with> <query>", "<insert>", "<update>", "<delete>", "<merge>",
        "<create>", "<alter>", "TRUNCATE TABLE <table>", "DROP TABLE IF EXISTS <table>",
        "EXPLAIN <query>", "EXPLAIN ANALYZE <query>", "PREPARE p (INT) AS <query>", "EXECUTE p (<e>)",
        "DEALLOCATE p", "COPY (<query>) TO 'out.csv' STORED AS CSV", "COPY <table> TO 'x.json'",
        "SET datafusion.execution.batch_size = <e>", "SET datafusion.optimizer.max_passes = <n>",
        "SET datafusion.runtime.memory_limit = '<n>G'", "RESET datafusion.runtime.temp_directory", "SHOW TABLES", "DESCRIBE <table>", "BEGIN",
        "COMMIT", "ROLLBACK", "SELECT <items> INTO made FROM <from>",
    ],
    "query": [
        "SELECT <items> FROM <from> <tail>", "SELECT DISTINCT <items> FROM <from>", "SELECT <items>",
        "(<query>) UNION ALL <query>", "VALUES (<e>, <e>), (<e>, <e>)", "FROM <from> WHERE <e>",
        "SELECT count(*) FROM <from> GROUP BY CUBE (<c>, <e>, <e>)", "<doubled>",
        "SELECT <c>, count(*) AS n FROM <from> GROUP BY <c> HAVING count(*) > <e>",
    ],
    "with": ["WITH x AS (<query>)", "WITH RECURSIVE x (a) AS (<query>), y AS (<query>)"],
    "doubled": [
        "WITH a AS (SELECT <e> AS x), b AS (SELECT x || x AS x FROM a), c AS (SELECT concat(x, x, x) AS x FROM b), "
        "d AS (SELECT replace(x, 'x', repeat('x', 100)) AS x FROM c) SELECT length(x || x) FROM d",
    ],
    "items": ["<e>", "<e> AS offset, <e>", "*", 't.*, <e> "a b"', "* EXCLUDE (id)"],
    "tail": ["", "WHERE <e>", "WHERE <e> ORDER BY <e> DESC NULLS LAST LIMIT 3 OFFSET 1", "QUALIFY <e>"],
    "from": [
        "<table>", "<table> AS u", "<table>, docs", "<table> t JOIN docs d ON <e>", "(<query>) AS s",
        "<table> LEFT JOIN docs USING (id)", "vector_search('docs', [1.0, <n>], 2) v",
        "generate_series(1, 3) g(v)", "unnest([1, 2]) AS z", "<table> TABLESAMPLE (10)", "journal",
        "as_of('t', <n>)", "audit.searches", "information_schema.tables",
    ],
    "insert": [
        "INSERT INTO t VALUES (<e>, <e>, <e>)", "INSERT INTO t (id, name) <query> <conflict>",
        "<with> INSERT INTO t (id) SELECT <e> FROM <from> RETURNING <items>",
        "INSERT INTO t DEFAULT VALUES", "INSERT OR REPLACE INTO t VALUES (1)",
    ],
    "conflict": [
        "", "ON CONFLICT DO NOTHING", "ON CONFLICT (id) DO UPDATE SET <sets> WHERE <e> RETURNING *",
    ],
    "sets": ["name = <e>", "name = <e>, t.at = <e>", "(name, at) = (<e>, <e>)", "name = DEFAULT"],
    "update": ["UPDATE t SET <sets> WHERE <e>", "UPDATE t AS u SET <sets> FROM <from> WHERE <e>",
               "<with> UPDATE t SET <sets> RETURNING <items>"],
    "delete": ["DELETE FROM t WHERE <e>", "DELETE FROM t USING <from> WHERE <e> RETURNING <items>"],
    "merge": [
        "MERGE INTO t USING docs d ON <e> WHEN MATCHED AND <e> THEN UPDATE SET <sets> "
        "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (<e>, <e>)",
        "MERGE INTO t USING (<query>) s (a, b) ON <e> WHEN NOT MATCHED BY SOURCE THEN DELETE",
    ],
    "create": [
        "CREATE TABLE made (id INT PRIMARY KEY, a VARCHAR DEFAULT <e> NOT NULL, UNIQUE (a))",
        "CREATE TABLE made AS <query>", "CREATE OR REPLACE VIEW w AS <query>",
        "CREATE INDEX i ON t (name) WITH (kind = 'x')", "CREATE SCHEMA IF NOT EXISTS s",
        "CREATE TRIGGER g AFTER insert OR update ON t WHEN (<e>) PUBLISH 'topic'",
        "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION 'nowhere.csv' OPTIONS ('a' '<n>')",
    ],
    "alter": ["ALTER TABLE t ADD COLUMN b INT DEFAULT <e>", "ALTER TABLE t RENAME COLUMN name TO b",
              "ALTER TABLE t DROP COLUMN name"],
    "e": [
        "<c>", "<c>", "<n>", "'text'", "$p", "$1", "?", "NULL", "(<e>)", "-<e>", "NOT <e>", "<e> = <e>",
        "<e> AND <e>", "<e> + <e>", "<e> IS DISTINCT FROM <e>", "<e> BETWEEN <e> AND <e>",
        "<e> IN (<e>, <e>)", "<c> IN (<query>)", "EXISTS (<query>)", "CASE WHEN <e> THEN <e> ELSE <e> END",
        "CAST(<e> AS VARCHAR)", "<e>::int", "count(<e>) OVER (PARTITION BY <c>)", "upper(<e>)",
        "INTERVAL '1 day'", "DATE '2020-01-01'", "[<e>, <e>]", "E'a\\n'", "$$raw$$", "x'00'",
        "repeat(<e>, <n>)", "repeat('x', <big>)", "lpad(<e>, <big>, <e>)", "rpad(name, id * <big>)",
        "array_repeat(<e>, <big>)", "array_resize([<e>], <e>)", "range(<big>)", "<e> || <e>", "concat(<e>, <e>)",
        "replace(<e>, 'x', <e>)", "array_concat([<e>], [<e>])", "repeat(repeat(<e>, <n>), <big>)",
        "<e> LIKE '%a' ESCAPE '!'", "sum(<e>) FILTER (WHERE <e>)", "extract(YEAR FROM <c>)", "(<query>)",
    ],
    "c": ["id", "name", "at", "t.id", "docs.title", '"offset"', "conflict", "x.a"],
    "big": ["2000000000", "9223372036854775807", "1e30", "$p", "-1", "id * 1000000000"],
    "n": ["1", "0", "1_000", "0xff", "1e3", "9223372036854775808", ".5"],
    "table": ["t", "main.t", "lake.main.t", "docs", "missing", "v"],
}  # fmt: skip

FOREIGN = [
    "'", '"', "`", "$$", "/*", "*/", "--", ";", "(", ")", "[", "]", "{", "}", ",", ".", "\x00", "\ud800",
    "é", "\U0001f600", "\u202e", "WITH ROLLUP", "PREWHERE 1", "LIMIT 1 BY id", "TOP 3", "FOR UPDATE",
    "SELECT", "FROM", "WHERE", "WHEN", "END", "ON CONFLICT", "RETURNING", "SET", "VALUES", "::", "=>",
    "?", "$", "@x", "#", "\\", "1a", "COLLATE x", "PIVOT (a FOR b IN (1))", "CONNECT BY a", "(" * 300,
    "NOT " * 2000, "\u00a0", "\ufeff", "0x", "1__0", "E'\\", "U&'x'", "<=>", "::::",
]  # fmt: skip
_HOLE = re.compile(r"<(\w+)>")


def grown(rng: random.Random, symbol: str = "statement", depth: int = 0) -> str:
    """Return a text of the grammar; deep down, of its first and shortest alternatives."""
    choices = GRAMMAR[symbol]
    text = rng.choice(choices if depth < 7 else choices[: max(1, len(choices) // 4)])
    return _HOLE.sub(lambda hole: grown(rng, hole[1], depth + 1), text) if depth < 12 else "1"


def hurt(rng: random.Random, text: str) -> str:
    """Return the text with a few changes that a tired or hostile hand makes."""
    for _ in range(rng.randrange(4)):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in "ab")
        words = text.split(" ")
        text = rng.choice(
            [
                text[:at],
                text[:at] + rng.choice(FOREIGN) + text[at:],
                text[:at] + text[to:],
                text + " " + text[at:to],
                " ".join(rng.sample(words, len(words))) if len(words) < 40 else text,
                f"{text} {rng.choice(FOREIGN)}",
                text.swapcase(),
            ]
        )
    return text


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    lake = tmp_path_factory.mktemp("fuzz") / "lake"
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR, at DATE)")
        session.sql("INSERT INTO t VALUES (1, 'a', NULL)")
        session.create_vector_table("docs", [{"id": 1, "title": "x", "vector": [1.0, 2.0]}])
        session.sql("CREATE VIEW v AS SELECT id, name FROM t")
        yield session


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_p21_any_text_is_described_or_refused(session, part: int) -> None:
    before = session.sql("SELECT * FROM t").to_pylist(), session.ledger.size
    described = 0
    for seed in range(part, COUNT, PARTS):
        rng = random.Random(seed)
        text = hurt(rng, grown(rng))
        try:
            session.describe(text)
            described += 1
        except AffidavitError as error:
            told = str(error)
            assert told.strip(), (seed, text)
            assert "Traceback" not in told, (seed, text, told)
            assert len(told) < 5_000, (seed, text[:500], len(told))
        except BaseException as error:
            error.add_note(f"seed {seed}: {text[:2000]!r}")
            raise
    assert described > COUNT // PARTS // 50, "the grammar grows nothing that can be planned"
    assert (session.sql("SELECT * FROM t").to_pylist(), session.ledger.size) == before


RUN_SCRIPT = """
import random, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
import affidavit
from tests.engine.statement.test_fuzz import grown, hurt

with affidavit.connect(sys.argv[1], durability="normal", memory_limit="200MB") as session:
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR, at DATE)")
    session.sql("INSERT INTO t VALUES (1, 'a', NULL), (2, 'xx', NULL)")
    session.create_vector_table("docs", [{"id": 1, "title": "x", "vector": [1.0, 2.0]}])
    session.sql("CREATE VIEW v AS SELECT id, name FROM t")
    for seed in range(int(sys.argv[2])):
        rng = random.Random(seed)
        text = grown(rng, "query")
        text = hurt(rng, text) if seed % 2 else text
        print(seed, flush=True)
        try:
            session.sql(text, p=2_000_000_000, timeout=10).to_arrow()
        except affidavit.AffidavitError as error:
            assert str(error).strip() and "Traceback" not in str(error), (seed, text)
print("END")
"""


@pytest.mark.fuzz
@pytest.mark.slow
def test_p21_any_query_is_answered_or_refused_and_ends_no_process(tmp_path) -> None:
    """Queries run, with sizes of gigabytes in them, in a process that may use 8 GB."""
    told = run_python(RUN_SCRIPT, tmp_path / "lake", COUNT // 20)
    assert told.splitlines()[-1] == "END"
