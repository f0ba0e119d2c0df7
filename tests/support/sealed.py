"""Records that are sealed: a lake that has some of each kind, and what is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import affidavit
from tests.support.lakes import vectors

QUERY = [1.0] * 8
TABLES = {
    "audit.searches": "seq", "audit.results": "seq, rank", "audit.reads": "seq",
    "audit.read_rows": "seq, row_id", "audit.activity": "seq", "system.ledger": "seq",
}  # fmt: skip


def connect(lake: Path, **options: Any) -> affidavit.Session:
    """Open a lake that puts the rows of what is read on record."""
    return affidavit.connect(
        lake, **{"actor": "ward-7", "durability": "normal", "audit": "rows", **options}
    )


def furnish(session: affidavit.Session) -> None:
    """Make the tables that are searched and read."""
    session.create_vector_table("docs", vectors(30))
    session.create_table("notes", [{"id": at, "n": at} for at in range(20)], primary_key="id")


def ask(session: affidavit.Session, count: int, *, first: int = 0) -> list[str]:
    """Search and read ``count`` times each, and return the ids of the searches."""
    found = []
    for at in range(first, first + count):
        searched = session.search("docs", query(at), k=3, lineage={"at": at})
        found.append(str(searched.query_id))
        session.sql("SELECT n FROM notes WHERE id <= $id", id=3 + at % 5).to_arrow()
    return found


def query(at: int) -> list[float]:
    """Return the query of the search of that number."""
    return [1.0 + at, *QUERY[1:]]


def shown(session: affidavit.Session, below: int) -> dict[str, list[dict[str, Any]]]:
    """Return what each table of records has of the entries before ``below``."""
    return {
        name: session.sql(f"SELECT * FROM {name} WHERE seq < {below} ORDER BY {order}").to_pylist()
        for name, order in TABLES.items()
    }


def in_store(session: affidavit.Session) -> int:
    """Return how many records stand in the store."""
    records = session._catalog().journal.records
    with session._catalog().read() as reader:
        return records.kept.tail_events(reader)


def segments(session: affidavit.Session) -> list[dict[str, Any]]:
    """Return the segments of records."""
    return session.sql("SELECT * FROM audit.segments ORDER BY first_seq").to_pylist()


def files(lake: Path) -> list[Path]:
    """Return the files of sealed records, without their indexes."""
    return sorted((lake / "records" / "default").glob("*.parquet"))
