"""What the journal has of a lake's changes."""

from __future__ import annotations

import affidavit


def events(session: affidavit.Session, where: str = "true") -> list[tuple]:
    text = f"SELECT entity_type, entity_id, field, action, old_value, new_value FROM journal WHERE {where} ORDER BY seq"
    return [tuple(row.values()) for row in session.sql(text).to_pylist()]


def fill(session, count: int, *, start: int = 0) -> None:
    session.table("notes").insert([{"id": start + at, "body": f"b{at}"} for at in range(count)])
