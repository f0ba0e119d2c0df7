"""P14: sessions beside a plain model, each statement in whichever thread comes."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import affidavit
from affidavit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

SESSIONS = 2
TRIES_MAX = 20
Rows = dict[int, int]
sessions = st.integers(0, SESSIONS - 1)
threads = st.integers(0, 1)
names = st.sampled_from(["a", "b"])


@dataclass
class Begun:
    """A transaction, as it should be."""

    snapshot: tuple[Rows, int] | None = None
    own: Rows | None = None
    savepoints: list[tuple[str, Rows | None]] = field(default_factory=list)

    def at(self, name: str) -> int | None:
        found = [at for at, each in enumerate(self.savepoints) if each[0] == name]
        return found[-1] if found else None


class Sessions(RuleBasedStateMachine):
    """Two sessions on one lake, and a third that looks on."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.session = affidavit.connect(
            Path(self.folder.name) / "lake", durability="normal", busy_timeout_s=0.1,
            audit="searches",
        )  # fmt: skip
        self.session.create_table("t", [{"id": 0, "n": 0}], primary_key="id")
        self.scopes = [self.session.scope(actor=str(at)) for at in range(SESSIONS)]
        self.pools = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]
        self.kept: Rows = {0: 0}
        self.version = self.next = 0
        self.begun: list[Begun | None] = [None] * SESSIONS

    def teardown(self) -> None:
        for pool in self.pools:
            pool.shutdown()
        for scope in self.scopes:
            scope.close()
        assert self.session.ledger.verify()
        self.session.close()
        self.folder.cleanup()

    # --- asking --------------------------------------------------------------------------------

    def holder(self) -> int | None:
        """Return who holds the writer, if anybody does."""
        held = [
            at for at, each in enumerate(self.begun) if each is not None and each.own is not None
        ]
        assert len(held) < 2
        return held[0] if held else None

    def ask(self, at: int, thread: int, text: str) -> Any:
        return self.pools[thread].submit(self.scopes[at].sql, text).result()

    def refused(self, kind: type[BaseException], at: int, thread: int, text: str) -> None:
        with pytest.raises(kind):
            self.ask(at, thread, text)

    def ask_patiently(self, at: int, thread: int, text: str) -> None:
        """Ask what nobody of ours keeps from being done; the housekeeper may, for a moment."""
        for _ in range(TRIES_MAX):
            with suppress(errors.StoreBusyError):
                self.ask(at, thread, text)
                return
        raise AssertionError(f"the store was busy {TRIES_MAX} times")

    # --- rows ----------------------------------------------------------------------------------

    @rule(at=sessions, thread=threads, key=st.integers(0, 3))
    def put(self, at: int, thread: int, key: int) -> None:
        self.next += 1
        value = self.next

        def apply(rows: Rows) -> None:
            rows[key] = value

        self.change(
            at, thread, apply,
            f"INSERT INTO t VALUES ({key}, {value}) ON CONFLICT (id) DO UPDATE SET n = excluded.n",
        )  # fmt: skip

    @rule(at=sessions, thread=threads)
    def clear(self, at: int, thread: int) -> None:
        self.next += 1
        value = self.next

        def apply(rows: Rows) -> None:
            rows.clear()
            rows[0] = value

        self.change(
            at, thread, apply,
            f"MERGE INTO t USING (SELECT 0 AS id) s ON t.id = s.id "
            f"WHEN MATCHED THEN UPDATE SET n = {value} "
            f"WHEN NOT MATCHED THEN INSERT (id, n) VALUES (0, {value}) "
            f"WHEN NOT MATCHED BY SOURCE THEN DELETE",
        )  # fmt: skip

    def change(self, at: int, thread: int, apply: Callable[[Rows], None], text: str) -> None:
        begun, holder = self.begun[at], self.holder()
        if holder is not None and holder != at:
            self.refused(errors.StoreBusyError, at, thread, text)
        elif begun is None:
            self.ask_patiently(at, thread, text)
            apply(self.kept)
            self.version += 1
        elif begun.own is None and begun.snapshot is not None and begun.snapshot[1] != self.version:
            with pytest.raises(errors.ConflictError):
                self.ask_patiently(at, thread, text)
        else:
            self.ask_patiently(at, thread, text)
            if begun.own is None:
                begun.own = dict(self.kept)
                begun.savepoints = [(name, dict(self.kept)) for name, _ in begun.savepoints]
            apply(begun.own)

    @rule(at=sessions, thread=threads)
    def read(self, at: int, thread: int) -> None:
        begun, expected = self.begun[at], self.kept
        if begun is not None:
            if begun.own is None and begun.snapshot is None:
                begun.snapshot = dict(self.kept), self.version
            expected = begun.own if begun.own is not None else begun.snapshot[0]  # type: ignore[index]
        found = self.ask(at, thread, "SELECT id, n FROM t").to_pylist()
        assert {row["id"]: row["n"] for row in found} == expected

    # --- transactions --------------------------------------------------------------------------

    @rule(at=sessions, thread=threads)
    def begin(self, at: int, thread: int) -> None:
        if self.begun[at] is not None:
            self.refused(errors.TransactionError, at, thread, "BEGIN")
            return
        self.ask(at, thread, "BEGIN")
        self.begun[at] = Begun()

    @rule(at=sessions, thread=threads)
    def begin_and_read(self, at: int, thread: int) -> None:
        """Come to what is seldom come to by chance: a snapshot that others may move past."""
        if self.begun[at] is None:
            self.begin(at, thread)
        self.read(at, thread)

    @rule(at=sessions, thread=threads, verb=st.sampled_from(["COMMIT", "ROLLBACK"]))
    def end(self, at: int, thread: int, verb: str) -> None:
        begun = self.begun[at]
        if begun is None:
            self.refused(errors.TransactionError, at, thread, verb)
            return
        self.ask(at, thread, verb)
        self.begun[at] = None
        if begun.own is not None and verb == "COMMIT":
            self.kept = begun.own
            self.version += 1

    @rule(at=sessions, thread=threads, name=names)
    def savepoint(self, at: int, thread: int, name: str) -> None:
        begun = self.begun[at]
        if begun is None:
            self.refused(errors.TransactionError, at, thread, f"SAVEPOINT {name}")
            return
        self.ask(at, thread, f"SAVEPOINT {name}")
        begun.savepoints.append((name, None if begun.own is None else dict(begun.own)))

    @rule(at=sessions, thread=threads, name=names, verb=st.sampled_from(["ROLLBACK TO", "RELEASE"]))
    def to_savepoint(self, at: int, thread: int, name: str, verb: str) -> None:
        begun = self.begun[at]
        place = None if begun is None else begun.at(name)
        if begun is None or place is None:
            self.refused(errors.TransactionError, at, thread, f"{verb} {name}")
            return
        self.ask(at, thread, f"{verb} {name}")
        if verb == "RELEASE":
            del begun.savepoints[place:]
            return
        del begun.savepoints[place + 1 :]
        saved = begun.savepoints[place][1]
        if begun.own is not None:
            assert saved is not None
            begun.own = dict(saved)

    @rule(at=sessions)
    def close(self, at: int) -> None:
        self.scopes[at].close()
        self.scopes[at] = self.session.scope(actor=str(at))
        self.begun[at] = None

    @invariant()
    def others_see_what_is_committed(self) -> None:
        found = self.session.sql("SELECT id, n FROM t").to_pylist()
        assert {row["id"]: row["n"] for row in found} == self.kept


Sessions.TestCase.settings = settings(max_examples=15, stateful_step_count=50, deadline=None)


TestSessions = pytest.mark.fuzz(Sessions.TestCase)
