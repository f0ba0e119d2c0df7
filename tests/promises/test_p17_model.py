"""P17: whatever is done to a lake by its own sessions, in whatever order, is no difference."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.lakes import vectors

import affidavit
from affidavit.errors import AffidavitError

STEPS = 400 * int(os.environ.get("AFFIDAVIT_FUZZ", "1"))
EACH = 80
"""After so many steps everything is verified."""


class User:
    """Does anything that a session can do, drawn by a seed."""

    def __init__(self, lake: Path, seed: int) -> None:
        self._lake = lake
        self._random = random.Random(seed)
        self._next = 0
        self.session = self._opened()
        self._steps: list[Callable[[], object]] = [
            *[self._insert] * 4, *[self._update] * 3, *[self._delete] * 3, self._upsert,
            self._create, self._drop, self._alter, self._truncate, self._in_a_transaction,
            self._vectors, self._vectors, self._vector_index, self._clean_up, self._topics,
            self._topics, self._policy, self._search, self._seal, self._erase, self._reopen,
            self._copy, self._rename, self._restore, self._beside,
        ]  # fmt: skip

    def _opened(self) -> affidavit.Session:
        return affidavit.connect(self._lake, durability="normal", actor="user")

    def step(self) -> str:
        """Do one thing, which may be refused, and return what it was."""
        chosen = self._random.choice(self._steps)
        with suppress(AffidavitError):
            chosen()
        return chosen.__name__

    def number(self, below: int) -> int:
        return self._random.randrange(below)

    def _sql(self, text: str, **named: object) -> None:
        self.session.sql(text, named).to_arrow()

    def _table(self, *kinds: str) -> str:
        found = self.session.sql("SELECT name, kind FROM system.tables").to_pylist()
        names = sorted(each["name"] for each in found if each["kind"] in kinds)
        return self._random.choice(names or ["none"])

    def _rows(self, count: int) -> list[dict[str, object]]:
        first, self._next = self._next, self._next + count
        return [
            {"id": first + at, "a": self._random.choice([None, "x", "y" * 50]), "b": at * 0.5}
            for at in range(count)
        ]

    # --- mutable tables --------------------------------------------------------------------------

    def _create(self) -> None:
        self._next += 1
        name = f"t{self._next}"
        if self.number(2):
            self.session.create_table(name, self._rows(5), primary_key="id", indexes=["a"])
        else:
            self._sql(f"CREATE TABLE {name} (id BIGINT, a TEXT, b DOUBLE)")

    def _insert(self) -> None:
        self.session.table(self._table("mutable")).insert(self._rows(1 + self.number(30)))

    def _upsert(self) -> None:
        rows = [{"id": self.number(50), "a": "up", "b": None}]
        self.session.table(self._table("mutable")).upsert(rows)

    def _update(self) -> None:
        column, low = self._random.choice(["a", "b", "id"]), self.number(200)
        value = {"a": "'z'", "b": "b + 1", "id": "id + 1000"}[column]
        self._sql(
            f"UPDATE {self._table('mutable')} SET {column} = {value} WHERE id BETWEEN $l AND $h",
            l=low, h=low + 20,
        )  # fmt: skip

    def _delete(self) -> None:
        self._sql(f"DELETE FROM {self._table('mutable')} WHERE id % 7 = $n", n=self.number(7))

    def _truncate(self) -> None:
        if not self.number(4):
            self._sql(f"TRUNCATE {self._table('mutable')}")

    def _drop(self) -> None:
        if not self.number(3):
            self._sql(f"DROP TABLE {self._table('mutable', 'vector')}")

    def _alter(self) -> None:
        self._next += 1
        table = self._table("mutable", "vector")
        self._sql(
            self._random.choice(
                [
                    f"ALTER TABLE {table} ADD COLUMN c{self._next} BIGINT DEFAULT 3",
                    f"ALTER TABLE {table} ADD COLUMN c{self._next} TEXT",
                    f"ALTER TABLE {table} DROP COLUMN b",
                    f"ALTER TABLE {table} RENAME COLUMN a TO a{self._next}",
                    f"CREATE INDEX i{self._next} ON {table} (a)",
                ]
            )
        )

    def _rename(self) -> None:
        self._next += 1
        self._sql(f"ALTER TABLE {self._table('mutable', 'vector')} RENAME TO r{self._next}")

    def _copy(self) -> None:
        self._next += 1
        self._sql(f"CREATE TABLE c{self._next} AS SELECT * FROM {self._table('mutable')}")

    def _in_a_transaction(self) -> None:
        self._sql("BEGIN")
        try:
            for each in (self._insert, self._update, self._delete):
                with suppress(AffidavitError):
                    each()
            self._sql("SAVEPOINT s")
            for each in (self._delete, self._insert, self._topics, self._create):
                with suppress(AffidavitError):
                    each()
            if self.number(2):
                self._sql("ROLLBACK TO s")
        finally:
            self._sql(self._random.choice(["COMMIT", "ROLLBACK"]))

    # --- the rest --------------------------------------------------------------------------------

    def _vectors(self) -> None:
        table = self._table("vector")
        if table == "none" or not self.number(6):
            self._next += 1
            self.session.create_vector_table(f"v{self._next}", vectors(20, start=self._next))
            return
        self._next += 30
        docs = self.session.table(table)
        how = self.number(4)
        if how == 0:
            docs.delete(f"id % 5 = {self.number(5)}")
        elif how == 1:
            docs.update({"text": "other"}, f"id % 3 = {self.number(3)}")
        else:
            docs.insert(vectors(1 + self.number(20), start=10**6 + self._next))

    def _vector_index(self) -> None:
        kind = self._random.choice(["vector", "text", "bucket"])
        kinds = {"vector": "IVF_FLAT", "text": "FTS", "bucket": "BTREE"}
        self.session.table(self._table("vector")).create_index(kind, kinds[kind])

    def _clean_up(self) -> None:
        older = timedelta(0) if self.number(2) else None
        self.session.table(self._table("vector")).optimize(cleanup_older_than=older)

    def _restore(self) -> None:
        docs = self.session.table(self._table("vector"))
        docs.restore(self._random.choice(docs.versions())["version"])

    def _search(self) -> None:
        self.session.search(self._table("vector"), [1.0] * 8, k=2).to_arrow()

    def _topics(self) -> None:
        topic = f"topic{self.number(3)}"
        with suppress(AffidavitError):
            retain = self._random.choice([None, 5])
            self.session.topics.register(
                topic, pa.schema([("x", pa.int64())]), retain_events=retain
            )
        if not self.number(20):
            self.session.topics.drop(topic)
        self.session.topics.publish(topic, {"x": self.number(9)})
        with suppress(AffidavitError):
            self.session.triggers.on(self._table("mutable"), "insert", publish="changes")

    def _policy(self) -> None:
        self.session.table(self._table("mutable", "vector")).audit = self._random.choice(
            [None, "reads", "rows"]
        )

    def _seal(self) -> None:
        self.session.journal.flush()

    def _erase(self) -> None:
        if not self.number(4):
            self.session.journal.erase(str(self.number(60)), reason="asked for")

    def _beside(self) -> None:
        """Another session writes between two of this one's changes."""
        with self._opened() as other:
            other.table(self._table("mutable")).insert(self._rows(2))
            self._insert()
            other.table(self._table("vector")).delete("id % 11 = 3")

    def _reopen(self) -> None:
        if not self.number(4):
            self.session.close()
            self.session = self._opened()


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.parametrize("seed", [1, 2])
def test_p17_no_use_of_a_lake_is_a_false_alarm(tmp_path, seed) -> None:
    user, done = User(tmp_path / "lake", seed), []
    size = 0
    for at in range(STEPS):
        done.append(user.step())
        if at % EACH == EACH - 1:
            for since in (None, size):
                verified = user.session.ledger.verify(data=True, since=since)
                assert verified, (at, since, done[-EACH:], verified)
            size = user.session.ledger.size
    user.session.close()
    assert len(set(done)) > 20
