"""Events whose leaves are rebuilt many at a time are checked as those that are read one by one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.support.beside import beside

import affidavit
from affidavit.catalog.ledger.kept import KeptEntries

if TYPE_CHECKING:
    from pathlib import Path

TAMPERED = (
    "SELECT 1",
    "UPDATE journal_tail SET data = replace(data, 'again', 'other')",
    "UPDATE journal_tail SET data = replace(data, 'ward', 'yard')",
    "UPDATE journal_tail SET leaves = zeroblob(length(leaves)) WHERE first_seq = "
    "(SELECT max(first_seq) FROM journal_tail)",
    "UPDATE journal_tail SET first_seq = first_seq + 1, last_seq = last_seq + 1 WHERE first_seq = "
    "(SELECT max(first_seq) FROM journal_tail)",
    "DELETE FROM journal_tail WHERE first_seq = (SELECT max(first_seq) FROM journal_tail)",
    "DELETE FROM journal_segments WHERE first_seq = (SELECT max(first_seq) FROM journal_segments)",
    "UPDATE journal_leaves SET data = zeroblob(length(data))",
    "INSERT INTO ledger (_tenant, seq, kind, entry_id, created_at, leaf_hash, body) SELECT _tenant,"
    " seq + 3, 'event', 'evt-1-1', created_at, leaf_hash, body FROM ledger WHERE seq = 0",
    "UPDATE ledger_nodes SET hash = zeroblob(32) WHERE position = 1",
    "UPDATE ledger SET body = replace(body, '\"seq\":', '\"seq\": ') WHERE kind <> 'key'",
)
"""What somebody may do to the store behind the engine's back; nothing, first."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake with events of many sizes, some erased, sealed ones and others, and records."""
    lake = tmp_path_factory.mktemp("rebuilt") / "lake"
    rows = [{"id": at, "name": f"%d näme {at}" if at % 3 else None} for at in range(700)]
    with affidavit.connect(lake, durability="normal", actor="ward", audit="reads") as session:
        session.create_table("t", rows, primary_key="id")
        session.sql("UPDATE t SET name = 'again' WHERE id < 300")
        session.journal.flush()
        session.erase("t", key=5, reason="asked")
        session.sql("SELECT * FROM t WHERE id = 3").to_arrow()
        with session.scope(actor="ward", context={"case": 1}) as scoped:
            scoped.sql("UPDATE t SET name = 'again and again' WHERE id > 680")
        session.journal.flush()
        session.sql("UPDATE t SET name = 'again' WHERE id = 3")
        session.sql("DELETE FROM t WHERE id = 4")
        _copy(lake, lake.with_name("copy"))
    return lake.with_name("copy")


def _copy(lake: Path, to: Path) -> None:
    shutil.copytree(lake, to)
    with beside(to):  # a schema is copied when it is first asked for
        pass


@pytest.mark.parametrize("text", TAMPERED)
def test_what_is_found_is_the_same(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Whatever was done to the store, and where nothing was."""
    _copy(lake, tmp_path / "lake")
    with beside(tmp_path / "lake") as store:
        store.execute(text)
    with affidavit.connect(tmp_path / "lake", read_only=True) as session:
        found = session.ledger.verify(progress=False)
        asked: list[tuple[int, int]] = []
        monkeypatch.setattr(KeptEntries, "rebuilt_leaves", lambda _, __, *span: asked.append(span))
        assert str(session.ledger.verify(progress=False)) == str(found)
    assert asked
    assert bool(found) == (text == TAMPERED[0])


def test_many_are_rebuilt_at_a_time(lake: Path) -> None:
    """All events of which nothing is gone, where no record stands among them."""
    with affidavit.connect(lake, read_only=True) as session:
        catalog = session._catalog()
        with catalog.read() as reader:
            ledger = catalog.ledger
            every = list(ledger.between(reader, 0, session.ledger.size))
            for first, end in (
                (0, 600),
                (100, 700),
                (350, 353),
                (690, 990),
                (len(every) - 2, 9999),
            ):
                part = every[first:end]
                are_plain = all(each.kind == "event" and not each.gone for each in part)
                leaves = [each.leaf_hash for each in part] if are_plain else None
                assert ledger.rebuilt_leaves(reader, first, min(end, len(every))) == leaves
            assert ledger.rebuilt_leaves(reader, 100, 103) is not None
