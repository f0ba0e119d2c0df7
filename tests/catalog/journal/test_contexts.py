"""P4: the context of a scope stands in its events and entries: signed, readable, and let go."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.beside import beside
from tests.support.journals import fill

from affidavit.catalog.journal.events import PLAIN_SCHEMA
from affidavit.catalog.ledger.verifier import check_bundle, commitment

if TYPE_CHECKING:
    from affidavit import Session

CONTEXT = {"address": "10.0.0.7", "purpose": "ward round: Zoë"}
WRITTEN = '{"address":"10.0.0.7","purpose":"ward round: Zoë"}'
ROOT = Path(__file__).parents[3]
OTHER_VERIFIER = ROOT / "tests" / "support" / "verify_bundle.mjs"


def contexts(session: Session) -> list[str | None]:
    rows = session.sql("SELECT context FROM journal ORDER BY seq").to_pylist()
    return [row["context"] for row in rows]


def body(session: Session, seq: int) -> dict[str, object]:
    (row,) = session.sql(f"SELECT body FROM system.ledger WHERE seq = {seq}").to_pylist()
    return json.loads(row["body"])


@pytest.mark.parametrize("rows", [1, 100])
def test_p4_events_say_in_which_context_they_were_written(session, notes, lake, rows) -> None:
    """Up to 64 events are one JSON text, and more are Arrow: neither has room for what is not."""
    fill(session, rows)
    with session.scope(context=CONTEXT) as scoped:
        fill(scoped, rows, start=rows)
        scoped.journal.record("visit", "7", "*", "note")
    session.sql("DELETE FROM notes WHERE id = 0")
    expected = [None] * (rows + 1) + [WRITTEN] * (rows + 1) + [None]
    assert contexts(session) == expected
    assert session.journal.history(rows).to_pylist()[0]["context"] == WRITTEN
    assert [row["context"] for row in session.journal.recent(2).to_pylist()] == [None, WRITTEN]
    assert session.ledger.verify(progress=False)
    session.journal.flush()
    assert contexts(session) == expected
    assert session.journal.history(rows).to_pylist()[0]["context"] == WRITTEN
    assert session.journal.history(0).to_pylist()[0]["context"] is None
    assert session.ledger.verify(progress=False)
    where = "context LIKE '%ward round%' AND entity_type = 'visit'"
    found = session.sql(f"SELECT entity_id FROM journal WHERE {where}").to_pylist()
    assert found == [{"entity_id": "7"}]


def test_events_without_a_context_are_kept_as_before(session, notes, lake) -> None:
    fill(session, 3)
    fill(session, 100, start=3)
    with beside(lake) as store:
        few, many = store.execute(
            "SELECT data FROM journal_tail ORDER BY first_seq LIMIT 2 OFFSET 1"
        ).fetchall()
    assert {len(each) for each in json.loads(few[0])} == {len(PLAIN_SCHEMA) - 1}
    with pa.ipc.open_stream(many[0]) as reader:
        assert reader.schema.names == PLAIN_SCHEMA.names[:-1]
    session.journal.flush()
    (path,) = (lake / "journal" / "default").glob("*.parquet")
    assert pq.read_schema(path).equals(PLAIN_SCHEMA)
    assert "v" not in body(session, 2)
    assert "context" not in body(session, 2)


def test_segments_with_and_without_contexts_become_one(session, notes) -> None:
    for at in range(8):
        with session.scope(context={"n": at} if at == 5 else {}) as scoped:
            fill(scoped, 2, start=2 * at)
        session.journal.flush()
    assert session._catalog().journal.merging.compact() == 8
    assert contexts(session) == [None] * 11 + ['{"n":5}'] * 2 + [None] * 4
    assert session.ledger.verify(progress=False)


def test_p4_a_context_that_was_changed_or_taken_away_is_found(session, notes, lake) -> None:
    with session.scope(context=CONTEXT) as scoped:
        fill(scoped, 2)
    session.journal.flush()
    (path,) = (lake / "journal" / "default").glob("*.parquet")
    whole = pq.read_table(path)
    at = whole.schema.get_field_index("context")
    for wrong in ([None, '{"n":1}', WRITTEN], [None, None, WRITTEN]):
        pq.write_table(whole.set_column(at, whole.schema.field(at), [wrong]), path)
        found = session.ledger.verify(progress=False)
        assert (found.ok, found.seq) == (False, 2)


@pytest.mark.parametrize("name", ["context", "new_value"])
def test_p4_a_value_that_gave_way_to_its_digest_is_found(session, notes, lake, name) -> None:
    """With the salt left in place no erasure was asked for: the value could be taken away."""
    from affidavit.catalog.journal.signing import NEW, context_digest, value_digest

    with session.scope(context=CONTEXT) as scoped:
        fill(scoped, 2)
    session.journal.flush()
    (path,) = (lake / "journal" / "default").glob("*.parquet")
    columns = pq.read_table(path).to_pydict()
    salt, value = columns["salt"][1], columns[name][1]
    is_context = name == "context"
    digest = context_digest(salt, value) if is_context else value_digest(salt, NEW, value)
    columns["context_digest" if is_context else "new_digest"][1] = bytes.fromhex(digest or "")
    columns[name][1] = None
    pq.write_table(pa.table(columns, schema=pq.read_schema(path)), path)
    found = session.ledger.verify(progress=False)
    assert (found.ok, found.seq) == (False, 2)
    assert "no entry says" in found.problem


def test_an_erased_entity_loses_its_contexts_too(session, notes, lake) -> None:
    with session.scope(context=CONTEXT) as scoped:
        fill(scoped, 2)
        scoped.sql("UPDATE notes SET stars = 5 WHERE id = 0")
    session.journal.flush()
    with session.scope(context=CONTEXT) as scoped:
        scoped.sql("DELETE FROM notes WHERE id = 0")
    assert session.journal.erase("0", "asked to be forgotten") == 3
    assert contexts(session) == [None, None, WRITTEN, None, None]
    verdict = session.ledger.verify(progress=False)
    assert verdict
    assert list(verdict.erased.values()) == [3]
    session.journal.flush()
    assert session.ledger.verify(progress=False)
    files = (lake / "journal" / "default").glob("*.parquet")
    kept = [row for path in files for row in pq.read_table(path).to_pylist()]
    kept.sort(key=lambda row: row["seq"])
    told = [(row["context"], row["context_digest"], row["salt"]) for row in kept]
    assert told[1][0] is told[1][2] is told[4][0] is None
    assert len(told[1][1]) == len(told[4][1]) == 32


def test_entries_that_are_no_events_have_their_context_as_well(session, notes) -> None:
    fill(session, 2)
    session.journal.flush()
    with session.scope(context=CONTEXT) as scoped:
        scoped.journal.erase("0", "asked")
        scoped.journal.retain(keep=0, reason="policy")
    session.journal.record("visit", "1", "*", "note")
    rows = session.sql("SELECT seq, kind, context FROM audit.activity ORDER BY seq").to_pylist()
    assert [(row["kind"], row["context"]) for row in rows[-4:]] == [
        ("erasure", WRITTEN), ("erasure-certificate", WRITTEN), ("retention", WRITTEN),
        ("event", None),
    ]  # fmt: skip
    found = body(session, rows[-4]["seq"])
    assert found["v"] == 2
    assert str(found["context"]).startswith("c:")
    assert session.ledger.verify(progress=False)


def test_p5_a_bundle_opens_contexts_and_tells_no_salt_of_a_value(
    session, notes, lake, tmp_path
) -> None:
    with session.scope(context=CONTEXT) as scoped:
        fill(scoped, 1)
        scoped.journal.record("visit", "7", "*", "note")
        scoped.journal.erase("0", "asked")
    session.journal.flush()
    whole, bare = tmp_path / "whole", tmp_path / "bare"
    session.ledger.export(whole, progress=False)
    session.ledger.export(bare, values=False, progress=False)
    lines = [json.loads(line) for line in (whole / "entries.jsonl").read_text().splitlines()]
    opened = [line.get("opened", {}).get("context") for line in lines]
    assert [each is not None for each in opened] == [False, False, False, True, True, True]
    for line, (salt, value) in zip(lines[3:], opened[3:], strict=True):
        told = json.loads(line["body"])
        assert value == WRITTEN
        assert told["context"] == commitment(bytes.fromhex(salt), "context", value.encode())
    (path,) = (lake / "journal" / "default").glob("*.parquet")
    salts = [each.hex() for each in pq.read_table(path)["salt"].to_pylist() if each]
    assert salts
    assert not [each for each in salts if each in (whole / "entries.jsonl").read_text()]
    assert "ward round" not in (bare / "entries.jsonl").read_text()
    assert check_bundle(whole)
    assert check_bundle(bare)
    if node := shutil.which("node"):
        command = [node, str(OTHER_VERIFIER), str(whole), str(bare)]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        assert [line.partition(":")[0] for line in said.splitlines()] == ["VERIFIED"] * 2
    line = json.loads((whole / "entries.jsonl").read_text().splitlines()[3])
    line["opened"]["context"][1] = '{"purpose":"another"}'
    lines[3] = line
    written = "".join(json.dumps(each) + "\n" for each in lines)
    (whole / "entries.jsonl").write_text(written)
    assert not check_bundle(whole)


def test_the_pages_events_have_the_leaves_that_it_says() -> None:
    """Both bodies are those that the code makes of what the page says that they are of."""
    from affidavit.catalog.journal.signing import (
        NEW,
        OLD,
        body_template,
        context_digest,
        context_salt,
        value_digest,
    )
    from affidavit.catalog.ledger.verifier import leaf_hash

    page = (ROOT / "docs" / "journal.md").read_text(encoding="utf-8")
    shown = [json.loads(each) for each in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    salt, context = bytes(range(16)), '{"purpose":"ward round"}'
    assert context_salt(salt).hex() in page
    for told, digest in zip(shown, (None, context_digest(salt, context)), strict=True):
        template = body_template(
            entity_type="notes", table_id="0123456789abcdef0123456789abcdef", tenant="Zoë",
            actor="maria", source="api", workspace="", reason="typo", tx_id="tx-1",
            at_us=1_700_000_000_000_001, has_context=digest is not None,
        )  # fmt: skip
        new, old = value_digest(salt, NEW, '"ü"'), value_digest(salt, OLD, '"a"')
        begun = ('"update"',) if digest is None else ('"update"', digest)
        made = template % (*begun, '"7"', 5, '"body"', f'"{new}"', f'"{old}"', 5)
        assert told == {"body": made, "leaf": leaf_hash(made.encode()).hex()}


def test_changes_of_vector_tables_have_their_context_too(session) -> None:
    """Theirs go by an intent, which a later session may have to settle with all that it says."""
    with session.scope(context=CONTEXT) as scoped:
        docs = scoped.create_vector_table("docs", [{"id": "a", "vector": [0.0, 1.0]}])
        docs.insert([{"id": "b", "vector": [1.0, 1.0]}])
        scoped.sql("DELETE FROM docs WHERE id = 'a'")
    rows = session.sql("SELECT action, context FROM journal").to_pylist()
    assert {row["context"] for row in rows} == {WRITTEN}
    assert {"ingest", "delete"} <= {row["action"] for row in rows}
    assert session.ledger.verify(progress=False)
