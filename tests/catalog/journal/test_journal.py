"""P6: every mutation is an event, committed with it, and read back."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime

import pytest
from tests.support.faults import Faulty
from tests.support.journals import events, fill
from tests.support.lakes import vectors

import affidavit
from affidavit import errors
from affidavit.catalog.journal import signing
from affidavit.engine.session.housekeeping import Housekeeper

# --- whether there is one -------------------------------------------------------------------------


def test_a_journal_begins_with_the_first_change_unless_the_session_begins_none(lake) -> None:
    with affidavit.connect(lake, durability="normal", journal=False) as silent:
        silent.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        silent.sql("INSERT INTO notes VALUES (1, 'a')")
        assert events(silent) == []
        assert silent.ledger.size == 0
    with affidavit.connect(lake, durability="normal") as session:
        assert events(session) == []
        session.sql("INSERT INTO notes VALUES (2, 'b')")
        assert [event[1:4] for event in events(session)] == [("2", "*", "insert")]


def test_a_journal_that_was_begun_is_kept_by_every_session(lake, session, notes) -> None:
    with affidavit.connect(lake, durability="normal", journal=False) as silent:
        silent.sql("INSERT INTO notes VALUES (1, 'a', 5)")
        assert [event[3] for event in events(silent)] == ["create", "insert"]
        with silent.scope(tenant="red") as red:
            red.sql("CREATE TABLE notes (id BIGINT)")
            assert events(red) == []
            assert red.ledger.size == 0, "each tenant's is begun by itself"
        session.journal.flush()
    with affidavit.connect(lake, durability="normal", journal=False) as silent:
        silent.sql("DELETE FROM notes")
        assert [event[3] for event in events(silent)] == ["create", "insert", "delete"]


def test_a_session_that_only_reads_begins_no_journal(lake) -> None:
    with affidavit.connect(lake, durability="normal", journal=False) as silent:
        silent.create_vector_table("docs", vectors(20))
    with affidavit.connect(lake, durability="normal", read_only=True) as reader:
        assert reader.search("docs", [1.0] * 8).num_rows == 10
        assert events(reader) == []
        kinds = reader.sql("SELECT kind FROM system.ledger ORDER BY seq").to_pylist()
    assert [row["kind"] for row in kinds] == ["key", "search"]


# --- what is written down -------------------------------------------------------------------------


def test_an_insert_is_one_event_a_row_with_the_whole_row(session, notes) -> None:
    session.sql("INSERT INTO notes VALUES (1, 'a', 5), (2, NULL, NULL), (3, '', 0)")
    assert events(session, "action = 'insert'") == [
        ("notes", "1", "*", "insert", None, '{"id":1,"body":"a","stars":5}'),
        ("notes", "2", "*", "insert", None, '{"id":2,"body":null,"stars":null}'),
        ("notes", "3", "*", "insert", None, '{"id":3,"body":"","stars":0}'),
    ]


def test_an_update_is_one_event_for_each_column_that_really_changed(session, notes) -> None:
    session.sql("INSERT INTO notes VALUES (1, 'a', 5), (2, 'b', 5)")
    session.sql("UPDATE notes SET body = 'a', stars = stars + id - 1")
    session.sql("UPDATE notes SET body = NULL WHERE id = 2")
    assert events(session, "action = 'update'") == [
        ("notes", "2", "body", "update", '"b"', '"a"'),
        ("notes", "2", "stars", "update", "5", "6"),
        ("notes", "2", "body", "update", '"a"', "null"),
    ]


def test_a_row_whose_key_changes_is_deleted_and_inserted(session, notes) -> None:
    session.sql("INSERT INTO notes VALUES (1, 'a', 5)")
    session.sql("UPDATE notes SET id = 9")
    assert events(session, "action IN ('delete', 'insert')")[1:] == [
        ("notes", "1", "*", "delete", '{"id":1,"body":"a","stars":5}', None),
        ("notes", "9", "*", "insert", None, '{"id":9,"body":"a","stars":5}'),
    ]


@pytest.mark.parametrize(
    ("change", "actions"),
    [
        (lambda s: s.table("notes").insert([{"id": 5}]), ["insert"]),
        (lambda s: s.table("notes").upsert([{"id": 1, "body": "z"}, {"id": 6}]), ["update", "insert"]),
        (lambda s: s.table("notes").update({"stars": 1}, "id = 1"), ["update"]),
        (lambda s: s.table("notes").delete("id = 1"), ["delete"]),
        (lambda s: s.table("notes").truncate(), ["truncate", "delete", "delete"]),
        (lambda s: s.sql("TRUNCATE notes"), ["truncate", "delete", "delete"]),
        (lambda s: s.sql("INSERT INTO notes VALUES (1,'q',1) ON CONFLICT (id) DO UPDATE SET body = 'q'"), ["update"]),
        (lambda s: s.sql("MERGE INTO notes USING (SELECT 1 AS k) m ON notes.id = m.k WHEN MATCHED THEN DELETE"), ["delete"]),
        (lambda s: s.sql("CREATE TABLE copy AS SELECT * FROM notes"), ["create", "insert", "insert"]),
        (lambda s: s.sql("ALTER TABLE notes RENAME COLUMN stars TO points"), ["alter"]),
        (lambda s: s.sql("ALTER TABLE notes ADD COLUMN n INT DEFAULT 3"), ["alter", "update", "update"]),
        (lambda s: s.sql("ALTER TABLE notes DROP COLUMN body"), ["update", "update", "alter"]),
        (lambda s: s.sql("CREATE INDEX i ON notes (stars)"), ["index"]),
        (lambda s: s.sql("CREATE VIEW v AS SELECT 1 AS one"), ["create"]),
        (lambda s: s.drop_table("notes"), ["drop"]),
    ],
)  # fmt: skip
def test_every_change_of_a_mutable_table_is_written_down(session, notes, change, actions) -> None:
    notes.insert([{"id": 1, "body": "x", "stars": 2}, {"id": 2, "body": "y", "stars": 3}])
    before = session.ledger.size
    change(session)
    found = session.sql(f"SELECT action FROM journal WHERE seq >= {before} ORDER BY seq")
    assert [row["action"] for row in found] == actions
    assert session.ledger.verify(progress=False)


@pytest.mark.parametrize(
    ("change", "action", "told"),
    [
        (lambda t: t.insert(vectors(2, start=50)), "ingest", {"rows": 2}),
        (lambda t: t.upsert(vectors(2)), "update", {"rows": 2}),
        (lambda t: t.delete("id < 3"), "delete", {"rows": 3}),
        (lambda t: t.update({"text": "x"}, "id = 4"), "update", {"rows": 1}),
        (lambda t: t.create_index("bucket", "BTREE"), "index", {"detail": "BTREE on bucket"}),
        (lambda t: t.optimize(), "optimize", {}),
        (lambda t: t.tag("first"), "tag", {"detail": "first"}),
    ],
)
def test_a_change_of_a_vector_table_is_one_event_with_its_versions(
    session, change, action, told
) -> None:
    table = session.create_vector_table("docs", vectors(20))
    was = table.version
    change(table)
    kind, _, field, found, old, new = events(session)[-1]
    said = json.loads(new)
    assert (kind, field, found, old) == ("docs", "*", action, None)
    assert told.items() <= said.items()
    assert said["version_after"] == table.version
    if action != "tag":
        assert said["version_before"] == was
    if "rows" in told:
        assert len(said["keys_sha256"]) == 64


def test_who_and_why_come_from_the_session_and_the_scope(session, notes) -> None:
    with session.scope(actor="ada", source="import", workspace="w1", reason="ticket 7") as scoped:
        scoped.sql("INSERT INTO notes VALUES (1, 'a', 1)")
    session.sql("INSERT INTO notes VALUES (2, 'b', 1)")
    found = session.sql(
        "SELECT actor, source, workspace_id, reason, tenant FROM journal WHERE action = 'insert' ORDER BY seq"
    )
    assert found.to_pylist() == [
        {"actor": "ada", "source": "import", "workspace_id": "w1", "reason": "ticket 7", "tenant": "default"},
        {"actor": "tester", "source": "api", "workspace_id": "", "reason": "", "tenant": "default"},
    ]  # fmt: skip


def test_events_are_numbered_named_and_timed_and_share_their_transaction(session, notes) -> None:
    began = datetime.now(UTC)
    with session.transaction():
        session.sql("INSERT INTO notes VALUES (1, 'a', 1)")
        session.sql("UPDATE notes SET stars = 2")
    rows = session.sql("SELECT * FROM journal WHERE entity_id = '1' ORDER BY seq").to_pylist()
    assert len({row["tx_id"] for row in rows}) == 1
    for row in rows:
        milliseconds = int(row["timestamp"].timestamp() * 1000 + 1e-6)
        assert row["event_id"].rsplit("-", 2)[0] == "evt"
        assert abs(int(row["event_id"].split("-")[1]) - milliseconds) <= 1
        assert row["event_id"].endswith(f"-{row['seq']}")
        assert began <= row["timestamp"] <= datetime.now(UTC)


def test_p6_what_is_rolled_back_leaves_no_event(session, notes) -> None:
    before = session.ledger.size
    with pytest.raises(RuntimeError), session.transaction():
        session.sql("INSERT INTO notes VALUES (1, 'a', 1)")
        session.journal.record("thing", "1", "*", "seen")
        raise RuntimeError
    with pytest.raises(errors.ConstraintError):
        session.sql("INSERT INTO notes VALUES (1, 'a', 1), (1, 'b', 1)")
    assert session.ledger.size == before
    assert session.journal.stats()["total_events_created"] == before - 1


def test_p10_awkward_values_read_back(session) -> None:
    session.sql("CREATE TABLE odd (k VARCHAR PRIMARY KEY, f DOUBLE, b BYTEA)")
    name = "a\"'\\ \x01 ☃ 100%s {x}"
    session.table("odd").insert([{"k": name, "f": float("-inf"), "b": b"\x00"}])
    session.table("odd").insert([{"k": "", "f": float("nan"), "b": None}])
    found = events(session, "action = 'insert'")
    assert found[0][1] == name
    assert json.loads(found[0][5]) == {"k": name, "f": "-Infinity", "b": "AA=="}
    assert found[1][1] == ""
    assert session.journal.history(name).num_rows == 1
    assert session.ledger.verify(progress=False)


# --- callers' own ---------------------------------------------------------------------------------


def test_callers_write_their_own_events(session) -> None:
    journal = session.journal
    journal.record("candidate", "c1", "stage", "move", "screen", "offer", "eva", "ui", "team")
    journal.record_insert("candidate", "c2", actor="eva")
    journal.record_update("candidate", "c1", "name", None, "", source="form")
    journal.record_ingest("placement", 12, source_file="june.csv")
    assert events(session) == [
        ("candidate", "c1", "stage", "move", '"screen"', '"offer"'),
        ("candidate", "c2", "*", "insert", None, None),
        ("candidate", "c1", "name", "update", "null", '""'),
        ("placement", "batch:12", "*", "ingest", None, '{"rows": 12, "source_file": "june.csv"}'),
    ]
    first = journal.history("c1").to_pylist()[0]
    assert (first["actor"], first["source"], first["workspace_id"]) == ("eva", "ui", "team")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda j: j.record(1, "e", "f", "a"), "entity_type"),
        (lambda j: j.record("t", 2, "f", "a"), "entity_id"),
        (lambda j: j.record("t", "e", None, "a"), "field"),
        (lambda j: j.record("t", "e", "f", b"a"), "action"),
        (lambda j: j.record("t", "e", "f", "a", object()), "old_value"),
        (lambda j: j.record("t", "e", "f", "a", None, float), "new_value"),
        (lambda j: j.record("t", "\ud800", "f", "a"), "entity_id"),
        (lambda j: j.record("t", "e", "f", "a", None, "x" * (17 * 1024 * 1024)), "more than the journal"),
        (lambda j: j.record_ingest("t", -1), "count"),
        (lambda j: j.recent(-1), "limit"),
    ],
)  # fmt: skip
def test_p12_bad_events_are_refused_and_nothing_is_written(session, call, named) -> None:
    session.journal.record("t", "e", "f", "a")
    before = session.ledger.size
    with pytest.raises(errors.InvalidQueryError, match=named):
        call(session.journal)
    assert session.ledger.size == before


# --- reading --------------------------------------------------------------------------------------


def test_recent_and_history_span_the_store_and_the_segments(session, notes) -> None:
    fill(session, 30)
    session.journal.flush()
    session.sql("UPDATE notes SET stars = 1 WHERE id IN (3, 4)")
    assert [row["entity_id"] for row in session.journal.recent(3)] == ["4", "3", "29"]
    assert [row["action"] for row in session.journal.history("3")] == ["insert", "update"]
    assert session.journal.history("no such").num_rows == 0
    assert session.journal.recent(0).num_rows == 0
    assert session.journal.recent(1000).num_rows == 33
    for where, count in (
        ("seq BETWEEN 5 AND 9", 5), ("entity_id = '3'", 2), ("actor = 'tester'", 33),
        ("event_id LIKE 'evt-%-7'", 1), ("old_value IS NULL", 31), ("timestamp > now()", 0),
        ("action IN ('update', 'create')", 3), ("entity_id = '28' AND NOT seq < 3", 1),
        ("tenant = 'default' AND new_value LIKE '%\"b7\"%'", 1), ("entity_type != 'notes'", 0),
    ):  # fmt: skip
        assert session.sql(f"SELECT seq FROM journal WHERE {where}").num_rows == count, where


def test_p9_a_tenant_reads_its_own_journal_only(session, notes) -> None:
    fill(session, 3)
    with session.scope(tenant="other") as other:
        assert other.sql("SELECT * FROM journal").num_rows == 0
        assert other.journal.history("1").num_rows == 0
        other.journal.record("thing", "1", "*", "seen")
        assert other.sql("SELECT seq FROM journal").to_pylist() == [{"seq": 1}]
        assert other.ledger.verify(progress=False)
    assert session.journal.history("1").num_rows == 1


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO journal VALUES (1)",
        "DELETE FROM journal",
        "UPDATE journal SET actor = 'x'",
        "DROP TABLE journal",
        "TRUNCATE journal",
    ],
)
def test_p12_nobody_writes_the_journal(session, text) -> None:
    with pytest.raises(errors.ReservedNameError):
        session.sql(text)


# --- what journaling by default showed ------------------------------------------------------------


def test_p6_whichever_call_of_the_store_fails_what_raised_changed_nothing(monkeypatch, tmp_path):
    """After the commit the tail was counted; where that failed, a change that stays had raised."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **kw: connect(*a, factory=Faulty, **kw))
    monkeypatch.setattr(Housekeeper, "wake", lambda _: None)
    with affidavit.connect(tmp_path / "lake", durability="normal") as session:
        session.create_table("t", [{"id": 1, "v": 0}], primary_key="id")
    for at in range(1, 200):
        with affidavit.connect(tmp_path / "lake", durability="normal") as session:
            had = session.sql("SELECT v FROM t").to_pylist()[0]["v"]
            Faulty.left, done = at, True
            try:
                session.sql("UPDATE t SET v = v + 1")
            except errors.AffidavitError:
                done = False
            unused, Faulty.left = Faulty.left, None
            assert session.sql("SELECT v FROM t").to_pylist() == [{"v": had + done}], at
        if unused > 0:
            break
    assert unused > 0


def test_an_event_that_is_rolled_back_begins_no_journal(tmp_path):
    with affidavit.connect(tmp_path / "lake", durability="normal", journal=False) as session:
        session.sql("CREATE TABLE t (a BIGINT)")
        with pytest.raises(ZeroDivisionError), session.transaction():
            session.journal.record("thing", "1", "*", "seen")
            session.sql("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError
        session.sql("INSERT INTO t VALUES (2)")
        assert session.ledger.size == 0


@pytest.mark.parametrize("text", ["DELETE FROM notes", "TRUNCATE notes", "DROP TABLE notes"])
def test_a_row_that_grew_too_large_to_be_inserted_can_be_deleted(
    session, notes, monkeypatch, text
) -> None:
    """Each column could be written down by itself, the row never: it was there for good."""
    monkeypatch.setattr(signing, "VALUE_BYTES_MAX", 1000)
    session.sql("INSERT INTO notes (id) VALUES (1)")
    session.sql("ALTER TABLE notes ADD COLUMN more VARCHAR")
    session.sql("UPDATE notes SET body = repeat('a', 900), more = repeat('b', 900)")
    moment = session.ledger.size - 1
    with pytest.raises(errors.InvalidQueryError, match="more than the journal takes"):
        session.sql("UPDATE notes SET id = 2")
    with pytest.raises(errors.InvalidQueryError, match="more than the journal takes"):
        session.journal.record("t", "1", "f", "update", "x" * 1000, "y")
    session.sql(text)
    session.journal.flush()
    (row,) = session.sql(f"SELECT body, more FROM as_of('notes', {moment})")
    assert row == {"body": "a" * 900, "more": "b" * 900}
    assert session.ledger.verify(progress=False)


def test_p6_a_large_change_is_kept_in_several_blocks(session, notes, monkeypatch) -> None:
    monkeypatch.setattr("affidavit.catalog.journal.blocks.BLOCK_CHARACTERS_MAX", 5_000)
    rows = [{"id": at, "body": "x" * 40, "stars": at % 5} for at in range(500)]
    notes.insert(rows)
    session.sql("UPDATE notes SET stars = stars + 1")
    session.sql("DELETE FROM notes WHERE id >= 100")
    assert len(events(session, "action = 'delete'")) == 400
    assert [event[1] for event in events(session, "action = 'update'")] == [
        str(at) for at in range(500)
    ]
    middle = session.sql("SELECT max(seq) AS s FROM journal WHERE action = 'update'").to_pylist()[
        0
    ]["s"]
    past = session.sql(f"SELECT count(*) AS n, sum(stars) AS s FROM as_of('notes', {middle})")
    assert past.to_pylist() == [{"n": 500, "s": sum(at % 5 + 1 for at in range(500))}]
    session.journal.flush()
    assert len(events(session, "action = 'delete'")) == 400
    assert session.ledger.verify()
