"""Searches to be put on record, and how tests look at what was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields

import numpy as np

import affidavit
from affidavit import SearchRecord
from affidavit.catalog.ledger.entry import Draft
from affidavit.catalog.values.canonical import us_of
from affidavit.engine.search.record import KIND, _written

Q8 = [1.0] * 8
Q16 = [1.0] * 16
SEARCH = "vector_search('docs', $q, 3)"
FIELDS = [each.name for each in fields(SearchRecord)]
LINEAGE = {"doc": "a", "at": [1, 2.5, None]}


def everything(session: affidavit.Session) -> list[SearchRecord]:
    """Return every record, oldest first."""
    return session.audit.recent(1_000_000)[::-1]


@contextmanager
def recorded(session: affidavit.Session, count: int) -> Iterator[list[SearchRecord]]:
    """Assert that the block leaves so many records, and fill the list with them."""
    before, new = len(everything(session)), []
    yield new
    new += everything(session)[before:]
    assert len(new) == count


def encode(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), *[1.0] * 15] for text in texts], dtype=np.float32)


class Refusing:
    """A hook that refuses at one moment, once it has let some pass."""

    def __init__(self, moment: str, *, passes: int = 0) -> None:
        setattr(self, moment, self.refuse)
        self.passes = passes

    def refuse(self, *_: object) -> None:
        self.passes -= 1
        if self.passes < 0:
            msg = "not today"
            raise RuntimeError(msg)


ASKS: dict[str, Callable[[affidavit.Session], int]] = {
    "search": lambda s: s.search("docs", Q8, k=3).num_rows,
    "batch": lambda s: sum(each.num_rows for each in s.search_batch("docs", [Q8] * 3, k=1)),
    "sql": lambda s: s.sql(f"SELECT * FROM {SEARCH}", q=Q8).num_rows,
    "dml": lambda s: (
        s.sql(
            f"UPDATE t SET v = v + 1 WHERE id IN (SELECT id FROM {SEARCH}) RETURNING id", q=Q8
        ).num_rows
    ),
}


class Listener:
    """Sees records inside their transaction; refuses those of one k."""

    def __init__(self, refused_k: int | None = None) -> None:
        self.refused_k = refused_k
        self.seen: list[SearchRecord] = []

    def on_records(self, records, writer) -> None:
        from affidavit.catalog.sql.predicate import In
        from affidavit.catalog.store.tables import LEDGER

        seqs = tuple(each.seq for each in records)
        assert len(writer.select(LEDGER, ("seq",), In("seq", seqs))) == len(records)
        self.seen += records
        if any(each.k_requested == self.refused_k for each in records):
            msg = "refused"
            raise RuntimeError(msg)


def pending(session: affidavit.Session) -> list[str]:
    folder = session._instance.lake.path / "pending"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def made(**changes: object) -> dict:
    base = {
        "model_id": "m", "model_version": "1", "query_lineage": None, "top_k_result_ids": ["a", "b"],
        "retrieval_scores": [0.5, 0.25],
    }  # fmt: skip
    return {**base, **changes}


def draft_of_first_version(record: SearchRecord) -> Draft:
    """Return a record as it was written before bodies had commitments: all in the clear."""
    written = _written(record)
    del written["context"]
    members = {name: b"null" if value is None else value for name, value in written.items()}
    rows = [(str(each), None) for each in record.top_k_result_ids]
    return Draft(KIND, record.query_id, us_of(record.executed_at), members, rows=rows)
