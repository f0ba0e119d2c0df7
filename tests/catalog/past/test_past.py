"""Time travel: any moment of any table, beside a Python model that remembers them all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.arrow_values import sound_arrays
from tests.support.lakes import vectors

import affidavit
from affidavit import errors
from affidavit.catalog.journal.events import row_texts
from affidavit.catalog.values.arrays import take


@pytest.fixture
def session(lake):
    with affidavit.connect(lake, actor="tester", durability="normal", journal=True) as opened:
        yield opened


KEYS = st.integers(0, 5)
TEXTS = st.sampled_from(["a", "", None, "ü'\"", "%s"])


class Past(RuleBasedStateMachine):
    """Inserts, updates, deletes, truncations, renamings, flushes and reopenings of one table.

    After each step the model keeps a copy of the rows under the newest entry's number; at the end
    of each step some moment is read back.
    """

    keyed = True

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "lake"
        self.session = affidavit.connect(self.path, durability="normal", journal=True)
        self.rows: list[dict] = []
        self.column = "t"
        self.extra = False
        self.past: dict[int, list[dict]] = {}

    @initialize()
    def create(self) -> None:
        key = ", PRIMARY KEY (k)" if self.keyed else ""
        self.session.sql(f"CREATE TABLE x (k BIGINT, t VARCHAR, f DOUBLE{key})")
        self.remember()

    def remember(self) -> None:
        self.past[self.session.ledger.size - 1] = [dict(row) for row in self.rows]

    @rule(key=KEYS, text=TEXTS, number=st.floats(allow_nan=False) | st.none())
    def insert(self, key: int, text: str | None, number: float | None) -> None:
        row = {"k": key, self.column: text, "f": number, **({"e": 7} if self.extra else {})}
        if self.keyed and any(each["k"] == key for each in self.rows):
            with pytest.raises(errors.ConstraintError):
                self.session.table("x").insert([row])
            return
        self.session.table("x").insert([row])
        self.rows.append(row)
        self.remember()

    @rule(key=KEYS, text=TEXTS)
    def update(self, key: int, text: str | None) -> None:
        self.session.table("x").update({self.column: text}, f"k <= {key}")
        for row in self.rows:
            if row["k"] <= key:
                row[self.column] = text
        self.remember()

    @rule(old=KEYS, new=KEYS)
    def move(self, old: int, new: int) -> None:
        if self.keyed and any(row["k"] == new for row in self.rows):
            return
        self.session.table("x").update({"k": new}, f"k = {old}")
        for row in self.rows:
            row["k"] = new if row["k"] == old else row["k"]
        self.remember()

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        self.session.table("x").delete(f"k = {key}")
        self.rows = [row for row in self.rows if row["k"] != key]
        self.remember()

    @rule()
    def truncate(self) -> None:
        self.session.sql("TRUNCATE x")
        self.rows = []
        self.remember()

    @rule()
    def rename(self) -> None:
        new = "u" if self.column == "t" else "t"
        self.session.sql(f"ALTER TABLE x RENAME COLUMN {self.column} TO {new}")
        for row in self.rows:
            row[new] = row.pop(self.column)
        self.column = new
        self.remember()

    @rule()
    def widen_or_narrow(self) -> None:
        if self.extra:
            self.session.sql("ALTER TABLE x DROP COLUMN e")
        else:
            self.session.sql("ALTER TABLE x ADD COLUMN e BIGINT DEFAULT 7")
        self.extra = not self.extra
        for row in self.rows:
            if self.extra:
                row["e"] = 7
            else:
                del row["e"]
        self.remember()

    @rule()
    def flush(self) -> None:
        self.session.journal.flush()

    @rule()
    def roll_back(self) -> None:
        with pytest.raises(RuntimeError), self.session.transaction():
            self.session.sql("DELETE FROM x")
            raise RuntimeError

    @rule()
    def reopen(self) -> None:
        self.session.close()
        self.session = affidavit.connect(self.path, durability="normal", journal=True)

    @invariant()
    def some_moment_reads_as_it_was(self) -> None:
        if not self.past:
            return
        moments = sorted(self.past)
        for seq in {moments[0], moments[len(moments) // 2], moments[-1]}:
            found = self.session.sql(f"SELECT * FROM as_of('x', {seq})").to_pylist()
            assert shown(found) == shown(self.past[seq]), seq

    def teardown(self) -> None:
        moments = sorted(self.past)
        for seq in moments:
            found = self.session.at(seq).sql("SELECT * FROM x").to_pylist()
            assert shown(found) == shown(self.past[seq]), seq
        if moments:
            assert self.session.ledger.verify(progress=False)
            self.session.drop_table("x")
            last = moments[-1]
            found = self.session.sql(f"SELECT * FROM as_of('x', {last})").to_pylist()
            assert shown(found) == shown(self.past[last])
        self.session.close()
        self.folder.cleanup()


def shown(rows: list[dict]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


class PastWithoutKey(Past):
    keyed = False


SETTINGS = settings(max_examples=6, stateful_step_count=18, deadline=None)
Past.TestCase.settings = SETTINGS
PastWithoutKey.TestCase.settings = SETTINGS
TestPast = pytest.mark.fuzz(Past.TestCase)
TestPastWithoutKey = pytest.mark.fuzz(PastWithoutKey.TestCase)


@pytest.fixture
def filled(session) -> int:
    session.create_vector_table("docs", vectors(20))
    session.create_table("notes", [{"id": at, "stars": at} for at in range(5)], primary_key="id")
    moment = session.ledger.size - 1
    session.table("docs").delete("id < 10")
    session.table("docs").insert(vectors(5, start=100))
    session.sql("UPDATE notes SET stars = stars + 10 WHERE id < 3")
    session.sql("DELETE FROM notes WHERE id = 4")
    return moment


def test_one_statement_reads_both_kinds_at_one_moment(session, filled) -> None:
    text = "SELECT count(*) AS n, sum(stars) AS s FROM as_of('docs', $m) d JOIN as_of('notes', $m) n ON n.id = d.id"
    assert session.sql(text, m=filled).to_pylist() == [{"n": 5, "s": 10}]
    assert session.sql(text, m=session.ledger.size - 1).to_pylist() == [{"n": 0, "s": None}]


def test_a_moment_may_be_a_version_or_a_time(session, filled) -> None:
    assert session.sql("SELECT count(*) AS n FROM as_of('docs', 'v1')").to_pylist() == [{"n": 20}]
    row = session.sql(f"SELECT timestamp FROM journal WHERE seq = {filled}").to_pylist()[0]
    found = session.sql(
        "SELECT count(*) AS n FROM as_of('notes', $t)", t=row["timestamp"].isoformat()
    )
    assert found.to_pylist() == [{"n": 5}]
    assert session.at(row["timestamp"]).sql("SELECT count(*) AS n FROM notes").to_pylist() == [
        {"n": 5}
    ]


def test_a_session_at_a_moment_reads_and_searches_it_and_changes_nothing(session, filled) -> None:
    past = session.at(filled)
    assert past.sql("SELECT count(*) AS n FROM docs").to_pylist() == [{"n": 20}]
    session.sql("CREATE VIEW v AS SELECT max(stars) AS m FROM notes")
    assert past.sql("SELECT * FROM v").to_pylist() == [{"m": 4}]
    found = past.search("docs", np.ones(8), 20)
    assert (found.k_returned, found.audit.table_version) == (20, 1)
    assert session.audit.get(found.query_id).table_version == 1
    rows = past.sql("SELECT id FROM vector_search('docs', $q, 30)", q=np.ones(8)).num_rows
    assert rows == 20
    for change in (
        lambda: past.sql("DELETE FROM notes"),
        lambda: past.sql("CREATE TABLE z (a INT)"),
        lambda: past.table("notes").insert([{"id": 9}]),
        lambda: past.table("docs").delete("true"),
        lambda: past.create_table("z", [{"a": 1}]),
        lambda: past.drop_table("notes"),
        lambda: past.journal.record("a", "b", "c", "d"),
        lambda: past.journal.erase("1", "no"),
    ):
        with pytest.raises(errors.ReadOnlyError):
            change()
    assert session.sql("SELECT count(*) AS n FROM notes").to_pylist() == [{"n": 4}]


def test_changes_have_deltas_columns_and_values(session, filled) -> None:
    rows = session.sql(
        f"SELECT * FROM changes('notes', {filled + 1}, 1000) ORDER BY _commit_seq, id"
    ).to_pylist()
    assert [(r["id"], r["stars"], r["_change_type"]) for r in rows] == [
        (0, 0, "update_preimage"), (0, 10, "update_postimage"),
        (1, 1, "update_preimage"), (1, 11, "update_postimage"),
        (2, 2, "update_preimage"), (2, 12, "update_postimage"),
        (4, 4, "delete"),
    ]  # fmt: skip
    assert all(row["_commit_timestamp"] is not None for row in rows)
    text = f"SELECT _change_type AS t, count(*) AS n FROM changes('docs', {filled + 1}, 1000) GROUP BY t ORDER BY t"
    assert session.sql(text).to_pylist() == [{"t": "delete", "n": 10}, {"t": "insert", "n": 5}]
    every = session.sql("SELECT count(*) AS n FROM changes('notes', 0, 1000)").to_pylist()
    assert every == [{"n": 5 + 7}]


def test_history_of_a_table_is_its_events(session, filled) -> None:
    rows = session.sql(
        "SELECT action, count(*) AS n FROM history('notes') GROUP BY action ORDER BY action"
    )
    assert rows.to_pylist() == [
        {"action": "create", "n": 1}, {"action": "delete", "n": 1}, {"action": "insert", "n": 5},
        {"action": "update", "n": 3},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error", "named"),
    [
        ("SELECT * FROM as_of('nope', 1)", errors.TableNotFoundError, "nope"),
        ("SELECT * FROM as_of('notes', 0)", errors.TableNotFoundError, "notes"),
        ("SELECT * FROM as_of('notes', 99999)", errors.InvalidQueryError, "99999"),
        ("SELECT * FROM as_of('notes', '1999-01-01')", errors.InvalidQueryError, "did not exist"),
        ("SELECT * FROM as_of('notes', 'yesterday')", errors.InvalidQueryError, "yesterday"),
        ("SELECT * FROM as_of('notes', -1)", errors.InvalidQueryError, "-1"),
        ("SELECT * FROM as_of('notes')", errors.InvalidQueryError, "moment"),
        ("SELECT * FROM as_of(7, 7)", errors.InvalidQueryError, "name in quotes"),
        ("SELECT * FROM as_of('docs', 'v99')", errors.InvalidQueryError, "99"),
        ("SELECT * FROM changes('notes', 99999, 100000)", errors.InvalidQueryError, "99999"),
        ("SELECT * FROM changes('notes', 'a', 5)", errors.InvalidQueryError, "from_seq"),
        ("SELECT * FROM history()", errors.InvalidQueryError, "table"),
    ],
)
def test_p12_moments_that_are_none(session, filled, text, error, named) -> None:
    with pytest.raises(error, match=named):
        session.sql(text).to_arrow()


def test_p12_a_session_cannot_be_at_what_has_not_happened(session, filled) -> None:
    for moment in (10**9, datetime.now(UTC) - timedelta(days=900), object(), "soon", -3):
        with pytest.raises(errors.InvalidQueryError):
            session.at(moment)


def test_p9_a_shared_tables_past_is_read_by_every_tenant(lake) -> None:
    with affidavit.connect(lake, tenant=None, durability="normal", journal=True) as shared:
        shared.create_table("rates", [{"id": 1, "rate": 5}], primary_key="id")
        with shared.scope(tenant="bank") as bank:
            bank.create_table("own", [{"id": 1}])
            moment = bank.ledger.size - 1
            shared_scope = shared
            del shared_scope
        with affidavit.connect(lake, tenant=None, durability="normal", journal=True) as other:
            other.sql("UPDATE rates SET rate = 6")
        with shared.scope(tenant="bank") as bank:
            assert bank.sql("SELECT rate FROM rates").to_pylist() == [{"rate": 6}]
            past = bank.sql(f"SELECT rate FROM as_of('rates', {moment})")
            assert past.to_pylist() == [{"rate": 5}]


def test_a_row_that_is_called_like_its_table_has_a_past(session) -> None:
    """Events of the table ``x`` and of its row ``x`` were taken for one entity's."""
    session.sql("CREATE TABLE x (k VARCHAR PRIMARY KEY, n INT)")
    session.sql("INSERT INTO x VALUES ('x', 1), ('y', 2)")
    moment = session.ledger.size - 1
    session.sql("CREATE INDEX i ON x (n)")
    session.sql("DELETE FROM x")
    rows = session.sql(f"SELECT k FROM as_of('x', {moment}) ORDER BY k").to_pylist()
    assert rows == [{"k": "x"}, {"k": "y"}]


def test_a_table_that_was_dropped_and_made_again_has_both_pasts(session) -> None:
    session.create_table("t", [{"a": 1}], primary_key="a")
    first = session.ledger.size - 1
    session.drop_table("t")
    gone = session.ledger.size - 1
    session.create_table("t", [{"b": "new"}])
    assert session.sql(f"SELECT * FROM as_of('t', {first})").to_pylist() == [{"a": 1}]
    with pytest.raises(errors.TableNotFoundError):
        session.sql(f"SELECT * FROM as_of('t', {gone})")
    now = session.ledger.size - 1
    assert session.sql(f"SELECT * FROM as_of('t', {now})").to_pylist() == [{"b": "new"}]


def test_p12_a_dropped_vector_tables_past_is_gone_and_says_so(session, filled) -> None:
    session.drop_table("docs")
    with pytest.raises(errors.InvalidQueryError, match="its versions with it"):
        session.sql(f"SELECT * FROM as_of('docs', {filled})")


def test_p12_what_is_older_than_the_journal_says_so(lake) -> None:
    with affidavit.connect(lake, durability="normal", journal=False) as session:
        session.create_table("old", [{"a": 1}], primary_key="a")
        session.create_table("older", [{"a": 1}], primary_key="a")
    with affidavit.connect(lake, durability="normal", journal=True) as session:
        session.sql("UPDATE old SET a = 2")
        moment = session.ledger.size - 1
        session.sql("UPDATE old SET a = 3")
        assert session.sql(f"SELECT * FROM as_of('old', {moment})").to_pylist() == [{"a": 2}]
        session.sql("ALTER TABLE old RENAME COLUMN a TO b")
        with pytest.raises(errors.InvalidQueryError, match="older than its journal"):
            session.sql(f"SELECT * FROM as_of('old', {moment})")
        with pytest.raises(errors.InvalidQueryError, match="begins with entry"):
            session.sql("SELECT * FROM as_of('older', 0)")
        session.drop_table("older")
        with pytest.raises(errors.InvalidQueryError, match="does not have the beginning"):
            session.sql(f"SELECT * FROM as_of('older', {moment})")
    # once begun, always kept
    with affidavit.connect(lake, durability="normal", journal=False) as session:
        before = session.ledger.size
        session.sql("UPDATE old SET b = 9")
        assert session.ledger.size == before + 2


def test_p12_changes_of_a_shared_table_are_asked_of_the_shared_scope(lake) -> None:
    with affidavit.connect(lake, tenant=None, durability="normal", journal=True) as shared:
        shared.create_table("rates", [{"id": 1, "rate": 5}], primary_key="id")
        shared.sql("UPDATE rates SET rate = 6")
        assert shared.sql("SELECT * FROM changes('rates', 0, NULL)").num_rows == 3
        with shared.scope(tenant="bank") as bank:
            bank.create_table("own", [{"id": 1}])
            with pytest.raises(errors.InvalidQueryError, match="tenant=None"):
                bank.sql("SELECT * FROM changes('rates', 0, NULL)").to_arrow()


def test_changes_are_those_of_the_schema_that_was_named(session) -> None:
    """They were looked up a second time by the table's name alone, and so in ``main``."""
    session.sql("CREATE SCHEMA other")
    for at, name in enumerate(["other.t", "t"]):
        session.sql(f"CREATE TABLE {name} (id BIGINT PRIMARY KEY)")
        session.sql(f"INSERT INTO {name} VALUES ({at})")
        found = session.sql("SELECT id FROM changes('other.t', 0, NULL)").to_pylist()
        assert found == [{"id": 0}]
    assert session.sql("SELECT id FROM changes('t', 0, NULL)").to_pylist() == [{"id": 1}]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lasting") / "lake"
    with affidavit.connect(folder, durability="normal", journal=True) as opened:
        yield opened


STEPS = st.lists(
    st.sampled_from(["insert", "rewrite", "delete", "move", "rename", "add", "drop", "flush"]),
    min_size=2, max_size=6,
)  # fmt: skip


@pytest.mark.fuzz
@given(sound_arrays(max_size=3), st.lists(st.integers(0, 5), max_size=30), STEPS, st.booleans())
@settings(max_examples=20, deadline=None)
def test_p10_every_type_reads_as_it_was(lasting, values, picks, steps, keyed) -> None:
    """Rows that change, go, come back and get other keys, in columns that come and go."""
    name, column, added = f"t_{uuid4().hex}", "v", 0
    schema = pa.schema([("k", pa.int64()), ("v", values.type), ("w", pa.string())])
    lasting.create_table(name, schema=schema, primary_key="k" if keyed else ())
    seen = {}

    def rows(offset: int) -> pa.Table:
        at = [(pick + offset) % len(values) for pick in picks] if len(values) else []
        arrays = [
            pa.array(range(len(at))),
            take_array(values, at),
            pa.array([f"{offset}"] * len(at)),
        ]
        return pa.table(dict(zip(["k", column, "w"], arrays, strict=True)))

    for number, step in enumerate(steps):
        table = lasting.table(name)
        if step == "insert":
            table.delete("k < 1000")
            table.insert(rows(number))
        elif step == "rewrite" and keyed:
            table.upsert(rows(number))
        elif step == "delete":
            table.delete("k % 3 = 0")
        elif step == "move":
            lasting.sql(f"UPDATE {name} SET k = k + 1000 * {number + 1} WHERE k % 4 = 1")
        elif step == "rename":
            new = "u" if column == "v" else "v"
            lasting.sql(f"ALTER TABLE {name} RENAME COLUMN {column} TO {new}")
            column = new
        elif step == "add":
            added += 1
            lasting.sql(f"ALTER TABLE {name} ADD COLUMN more_{added} DOUBLE DEFAULT -0.0")
        elif step == "drop" and added:
            lasting.sql(f"ALTER TABLE {name} DROP COLUMN more_{added}")
            added -= 1
        elif step == "flush":
            lasting.journal.flush()
        now = lasting.sql(f"SELECT * FROM {name}").to_arrow()
        seen[lasting.ledger.size - 1] = (now.schema.names, written(now))
    for moment, (names, texts) in seen.items():
        then = lasting.sql(f"SELECT * FROM as_of('{name}', {moment})").to_arrow()
        assert (then.schema.names, written(then)) == (names, texts)
        part = lasting.sql(f"SELECT {names[-1]} FROM as_of('{name}', {moment})").to_arrow()
        assert written(part) == written(then.select([names[-1]]))
        count = lasting.sql(f"SELECT count(*) AS n FROM as_of('{name}', {moment})")
        assert count.to_pylist() == [{"n": then.num_rows}]


def take_array(values: pa.Array, at: list[int]) -> pa.Array:
    return take(pa.RecordBatch.from_arrays([values], ["v"]), pa.array(at, pa.int64())).column(0)


def written(table: pa.Table) -> list[str]:
    return sorted(row_texts(table))


def test_only_the_columns_that_are_asked_for_are_undone(session) -> None:
    session.sql("CREATE TABLE x (k BIGINT PRIMARY KEY, a BIGINT, b VARCHAR)")
    session.sql("INSERT INTO x VALUES (1, 10, 'one'), (2, 20, 'two'), (3, 30, NULL)")
    moment = session.ledger.size - 1
    session.sql("UPDATE x SET a = a + 1, b = 'new'")
    session.sql("DELETE FROM x WHERE k = 2")
    session.sql("INSERT INTO x VALUES (4, 40, 'four')")
    session.sql("ALTER TABLE x RENAME COLUMN b TO c")
    for text, rows in (
        (f"SELECT a FROM as_of('x', {moment}) WHERE b = 'two'", [{"a": 20}]),
        (
            f"SELECT b FROM as_of('x', {moment}) WHERE k = 3 OR a < 15 ORDER BY a",
            [{"b": "one"}, {"b": None}],
        ),
        (f"SELECT count(*) AS n FROM as_of('x', {moment})", [{"n": 3}]),
        (f"SELECT count(*) AS n FROM as_of('x', {moment}) WHERE b IS NULL", [{"n": 1}]),
    ):
        assert session.sql(text).to_pylist() == rows


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE x SET k = 3 - k",
        "UPDATE x SET k = k % 3 + 1",
        "MERGE INTO x USING (SELECT column1 AS old, column2 AS new FROM (VALUES (1, 2), (2, 1))) AS s ON x.k = s.old"
        " WHEN MATCHED THEN UPDATE SET k = s.new",
        "MERGE INTO x USING (SELECT column1 AS old, column2 AS new FROM (VALUES (1, 2), (2, 0))) AS s ON x.k = s.old"
        " WHEN MATCHED AND s.new = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET k = s.new",
        "MERGE INTO x USING (SELECT 1 AS old UNION SELECT 9) AS s ON x.k = s.old"
        " WHEN MATCHED THEN UPDATE SET k = 7 WHEN NOT MATCHED THEN INSERT (k, a) VALUES (1, 'in')",
        "INSERT INTO x VALUES (1, 'in'), (7, 'new') ON CONFLICT (k) DO UPDATE SET k = 9",
    ],
)
def test_rows_may_take_each_others_keys(session, text) -> None:
    """An insert stood before the delete of the row whose key it took: the past had lost a row."""
    session.sql("CREATE TABLE x (k BIGINT PRIMARY KEY, a VARCHAR)")
    session.sql("INSERT INTO x VALUES (1, 'one'), (2, 'two')")
    seen = {session.ledger.size - 1: shown(session.sql("SELECT * FROM x").to_pylist())}
    began = session.ledger.size
    session.sql(text)
    seen[session.ledger.size - 1] = shown(session.sql("SELECT * FROM x").to_pylist())
    session.sql("DELETE FROM x")
    for moment, rows in seen.items():
        found = session.sql(f"SELECT * FROM as_of('x', {moment})")
        assert shown(found.to_pylist()) == rows
    gone = sum(
        1 if row["_change_type"] in {"insert", "update_postimage"} else -1
        for row in session.sql(f"SELECT * FROM changes('x', {began}, NULL)")
    )
    assert gone == -2
    session.drop_table("x")
    for moment, rows in seen.items():
        found = session.sql(f"SELECT * FROM as_of('x', {moment})")
        assert shown(found.to_pylist()) == rows


def test_a_vector_table_that_was_altered_is_read_as_it_was_after_that(session) -> None:
    """The event did not say which version the alteration made: as of it, the columns were old."""
    session.create_vector_table("docs", vectors(3))
    seen = {}
    for text in (
        "ALTER TABLE docs ADD COLUMN n BIGINT DEFAULT 4",
        "ALTER TABLE docs RENAME COLUMN n TO m",
        "ALTER TABLE docs DROP COLUMN m",
    ):
        session.sql(text)
        table = session.table("docs")
        seen[session.ledger.size - 1] = (table.version, table.schema.names)
    for moment, (version, names) in seen.items():
        then = session.sql(f"SELECT * FROM as_of('docs', {moment})")
        assert sorted(then.schema.names) == sorted(names)
        found = session.at(moment).search("docs", [1.0] * 8, k=1)
        assert found.audit is not None
        assert found.audit.table_version == version


def test_changes_of_a_vector_table_have_the_columns_of_their_end(session) -> None:
    """A column that was renamed, added or dropped in between was looked for in every version."""
    session.create_vector_table("docs", vectors(3))
    moments = []
    for text in (
        "UPDATE docs SET text = 'new' WHERE id = 1",
        "ALTER TABLE docs RENAME COLUMN text TO words",
        "ALTER TABLE docs RENAME COLUMN id TO number",
        "ALTER TABLE docs ADD COLUMN n BIGINT DEFAULT 4",
        "UPDATE docs SET n = 5 WHERE number = 2",
        "ALTER TABLE docs DROP COLUMN bucket",
        "DELETE FROM docs WHERE number = 0",
    ):
        session.sql(text)
        moments.append(session.ledger.size - 1)
    found = session.sql(f"SELECT number, words, n FROM changes('docs', {moments[0]}, NULL)")
    assert [tuple(row.values()) for row in found] == [
        (1, "word1 of odd row", None), (1, "new", None), (2, "word2 of even row", 4),
        (2, "word2 of even row", 5), (0, "word0 of even row", 4),
    ]  # fmt: skip
    was = session.sql(f"SELECT id, text FROM changes('docs', 0, {moments[0]}) ORDER BY id")
    assert [row["id"] for row in was] == [0, 1, 1, 1, 2]


def test_the_present_that_is_undone_is_that_of_the_open_transaction(session) -> None:
    """A copy in memory is of what was committed, and may have the same version number."""
    session.sql("CREATE TABLE x (k BIGINT PRIMARY KEY, a BIGINT)")
    session.sql("INSERT INTO x VALUES (1, 10)")
    moment = session.ledger.size - 1
    session.sql("UPDATE x SET a = 11")
    assert session.sql("SELECT a FROM x").to_pylist() == [{"a": 11}]
    with session.transaction():
        session.sql("INSERT INTO x VALUES (2, 20)")
        session.sql("DELETE FROM x WHERE k = 1")
        assert session.sql(f"SELECT * FROM as_of('x', {moment})").to_pylist() == [{"k": 1, "a": 10}]
        now = session.ledger.size - 1
        assert session.sql(f"SELECT * FROM as_of('x', {now})").to_pylist() == [{"k": 2, "a": 20}]
    assert session.sql(f"SELECT * FROM as_of('x', {moment})").to_pylist() == [{"k": 1, "a": 10}]


def test_moments_are_named_alike_whatever_stands_beside_them(session) -> None:
    """A key was written as a number where a moment far off stood in the same statement."""
    far, near = -(2**62), 1_700_000_000_000_000
    schema = pa.schema([("at", pa.timestamp("us")), ("n", pa.int64())])
    session.create_table("x", schema=schema, primary_key="at")
    rows = pa.table(
        [pa.array([far, near]).cast(pa.timestamp("us")), pa.array([1, 2])], schema=schema
    )
    session.table("x").insert(rows)
    moment = session.ledger.size - 1
    session.sql("UPDATE x SET n = 3 WHERE n = 2")
    found = session.sql(f"SELECT n FROM as_of('x', {moment}) ORDER BY n").to_pylist()
    assert found == [{"n": 1}, {"n": 2}]
