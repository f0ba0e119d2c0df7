"""A lake's store is moved from its folder to PostgreSQL, whole or not at all."""

from __future__ import annotations

import pytest
from tests.support.lakes import vectors
from tests.support.tampering import furnish
from typer.testing import CliRunner

import affidavit
from affidavit import errors
from affidavit.catalog.lake.elsewhere import moving
from affidavit.catalog.lake.elsewhere.said import find_elsewhere
from affidavit.engine.fronts.cli import app

pytestmark = [pytest.mark.server, pytest.mark.sqlite("a store is moved from there")]


@pytest.fixture
def url(pg_server, lake) -> str:
    return pg_server.schema(lake)


def seen(session: affidavit.Session) -> list[object]:
    """Return what a lake says of itself."""
    checked = session.ledger.verify()
    assert checked, checked
    return [
        checked.entries, checked.key,
        session.sql("SELECT * FROM notes ORDER BY id").to_pylist(),
        session.sql("SELECT * FROM docs ORDER BY id").to_pylist(),
        session.sql("SELECT * FROM log ORDER BY a").to_pylist(),
    ]  # fmt: skip


def test_a_lake_that_was_moved_is_what_it_was(lake, url, monkeypatch) -> None:
    with affidavit.connect(lake, audit="searches") as session:
        furnish(session)
        other = session.scope(tenant="other")
        other.create_table("t", [{"id": 1, "text": "a\x00b"}])
        before = seen(session)
    still_open = affidavit.connect(lake, audit="searches")
    said = CliRunner().invoke(app, ["migrate-store", str(lake), url])
    assert said.exit_code == 0, said.output
    assert "2 ledgers" in said.output
    with pytest.raises(errors.AffidavitError, match="moved to another store"):
        still_open.sql("INSERT INTO log VALUES (9, 'late')")
    still_open.close()
    with pytest.raises(errors.LakeError, match="lies elsewhere: give store="):
        affidavit.connect(lake)
    with affidavit.connect(lake, read_only=True, audit="off") as old:
        assert old.ledger.verify(data=True)
        assert old.sql("SELECT * FROM notes ORDER BY id").to_pylist() == before[2]
        with pytest.raises(errors.ReadOnlyError):  # nothing more can be put on record here
            old.sql("SELECT * FROM log").to_arrow()
    with pytest.raises(errors.MasterKeyError, match="none of its files"):
        affidavit.connect(lake, store=url)
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", (lake / "keys" / "master.key").read_text().strip())
    with affidavit.connect(lake, store=url, audit="searches") as session:
        assert seen(session) == [before[0] + 1, *before[1:]]  # the record of what was read
        session.table("notes").insert([{"id": 500, "offset": "after", "x": 1.0}])
        session.table("docs").insert(vectors(1, start=5000))
        assert session.scope(tenant="other").sql("SELECT text FROM t").to_pylist() == [
            {"text": "a\x00b"}
        ]
        assert session.ledger.verify(data=True)
    again = CliRunner().invoke(app, ["migrate-store", str(lake), url])
    assert again.exit_code == 2


def test_a_row_that_came_otherwise_stops_the_move(lake, url, monkeypatch) -> None:
    with affidavit.connect(lake) as session:
        session.create_table("t", [{"id": 1, "v": "a"}])
    copy = moving._copy_table

    def wrong(reader, writer, table, tenant) -> None:
        copy(reader, writer, table, tenant)
        if table.name == "ledger":
            writer.update_where(table, {"created_at": 1}, None)

    monkeypatch.setattr(moving, "_copy_table", wrong)
    said = CliRunner().invoke(app, ["migrate-store", str(lake), url])
    assert said.exit_code == 2
    assert "ledger did not come as it was" in said.output
    assert find_elsewhere(lake) is None
    monkeypatch.undo()
    said = CliRunner().invoke(app, ["migrate-store", str(lake), url])
    assert "drop it first" in said.output
    with affidavit.connect(lake) as session:
        session.sql("INSERT INTO t VALUES (2, 'b')")


def test_a_lake_whose_data_was_changed_is_not_moved(lake, url) -> None:
    import sqlite3

    with affidavit.connect(lake) as session:
        session.create_table("t", [{"id": 1, "v": "a"}])
    with sqlite3.connect(lake / "catalog.db") as db:
        db.execute("UPDATE ledger_heads SET size = size + 1")
    db.close()
    said = CliRunner().invoke(app, ["migrate-store", str(lake), url])
    assert said.exit_code == 2
    assert find_elsewhere(lake) is None
