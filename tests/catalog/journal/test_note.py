"""Notes: what is no table has its line in the journal, in the transaction that does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import affidavit
from affidavit.catalog.journal.note import note


@dataclass
class Writing:
    """An author that is no catalog."""

    identity: Any
    journal: Any
    transactions: Any


@pytest.fixture
def author(session) -> Writing:
    catalog = session._catalog()
    return Writing(catalog.identity, catalog.journal, catalog.transactions)


NOTES = (
    "SELECT entity_type, entity_id, field, action, new_value FROM system.journal "
    "WHERE entity_type = 'thing'"
)


def test_a_note_is_one_event_of_the_whole_thing(session, author) -> None:
    catalog = session._catalog()
    with catalog.write() as writer:
        note(author, writer, "thing", "a", "create", {"size": 1, "by": "ü"})
        note(author, writer, "thing", "a", "drop")
    assert [tuple(row.values()) for row in session.sql(NOTES)] == [
        ("thing", "a", "*", "create", '{"by": "ü", "size": 1}'),
        ("thing", "a", "*", "drop", None),
    ]


def test_a_note_is_there_exactly_when_its_transaction_is(session, author) -> None:
    with pytest.raises(KeyError), session.transaction():
        note(author, author.transactions.current().writer, "thing", "a", "create")
        raise KeyError
    assert session.sql(NOTES).to_pylist() == []


def test_without_a_journal_nothing_is_noted(lake) -> None:
    with affidavit.connect(lake, journal=False) as session:
        catalog = session._catalog()
        with catalog.write() as writer:
            note(catalog, writer, "thing", "a", "create")
        assert session.sql(NOTES).to_pylist() == []
