"""Many rows are changed, and told of, in parts: what comes out is what one part gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit.catalog.tables import row_writing
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    import affidavit

STATEMENTS = [
    "UPDATE {t} SET v = v + 1 WHERE id > 3",
    "UPDATE {t} SET id = id + 1",  # each takes the key that another had
    "INSERT INTO {t} (id, v, s) SELECT id, 0.5, 'y' FROM {t} WHERE id < 9 ON CONFLICT (id) DO UPDATE SET v = 7",
    "UPDATE {t} SET s = NULL",
    "DELETE FROM {t} WHERE id % 3 = 0",
    "UPDATE {t} SET u = u + 0 WHERE u > -5",
]


def test_rows_and_events_are_the_same_in_parts(
    session: affidavit.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in (("a", 1000), ("b", 4)):
        monkeypatch.setattr(row_writing, "PART_ROWS", rows)
        session.sql(
            f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, v DOUBLE, s VARCHAR, u BIGINT UNIQUE)"
        )
        session.table(name).insert(
            [{"id": at, "v": at / 2, "s": f"n{at}", "u": -at} for at in range(20)]
        )
        for text in STATEMENTS:
            session.sql(text.format(t=name))
    found = [session.sql(f"SELECT * FROM {name} ORDER BY id").to_pylist() for name in "ab"]
    assert found[0] == found[1]
    told = [
        session.sql(
            "SELECT action, entity_id, field, old_value, new_value FROM journal "
            "WHERE entity_type = $t AND action <> 'create' ORDER BY seq",
            t=name,
        ).to_pylist()
        for name in "ab"
    ]
    assert told[0] == told[1]
    assert session.ledger.verify(data=True).ok


def test_a_part_that_is_refused_leaves_all_as_it_was(
    session: affidavit.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_writing, "PART_ROWS", 2)
    session.sql("CREATE TABLE p (id BIGINT PRIMARY KEY)")
    session.sql("CREATE TABLE c (id BIGINT PRIMARY KEY, p BIGINT REFERENCES p (id))")
    session.sql("INSERT INTO p VALUES (1), (2), (3), (4), (5)")
    session.sql("INSERT INTO c VALUES (1, 5)")
    with pytest.raises(ConstraintError):
        session.sql("DELETE FROM p")
    assert session.table("p").count() == 5
