"""Small tables for a lake, and who listens to its changes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

import affidavit


def vectors(rows: int, dimension: int = 8, *, start: int = 0, seed: int = 7) -> pa.Table:
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, dimension)).astype(np.float32)
    return pa.table(
        {
            "id": pa.array(range(start, start + rows), pa.int64()),
            "text": [f"word{i} of {'even' if i % 2 == 0 else 'odd'} row" for i in range(rows)],
            "bucket": pa.array([i % 10 for i in range(rows)], pa.int32()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), dimension),
        }
    )


def events(session: affidavit.Session) -> int:
    """Return how many of the ledger's entries are events of the journal: every change adds some."""
    return session.journal.stats()["total_events_created"]


class Recorder:
    """A change listener that keeps what it saw, or refuses."""

    def __init__(self) -> None:
        self.changes: list[affidavit.Change] = []
        self.refuse: str | None = None

    def on_change(self, change: affidavit.Change, writer: object) -> None:
        if self.refuse is not None and change.action == self.refuse:
            msg = f"no {change.action} today"
            raise RuntimeError(msg)
        self.changes.append(change)

    @property
    def actions(self) -> list[str]:
        return [change.action for change in self.changes]
