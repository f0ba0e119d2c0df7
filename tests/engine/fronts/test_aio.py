"""The async session: every verb of the session's, awaited, and what it gives."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.records import Q8
from tests.support.tree import ROOT
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.engine.audit.audit import Audit
from affidavit.engine.fronts.aio.handles import (
    AsyncAudit,
    AsyncJournal,
    AsyncLedger,
    AsyncTopics,
    AsyncTriggers,
)
from affidavit.engine.fronts.aio.threads import Threads
from affidavit.engine.session.caller import Caller
from affidavit.engine.session.journal import JournalHandle
from affidavit.engine.session.ledger import LedgerHandle
from affidavit.triggers.topics import Topics
from affidavit.triggers.triggers import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

SCHEMA = pa.schema([("a", pa.int64())])


def run(lake: Path, main: Callable[[affidavit.AsyncSession], Coroutine[Any, Any, None]]) -> None:
    async def opened() -> None:
        async with affidavit.aconnect(lake, actor="ann", durability="normal") as session:
            await main(session)

    asyncio.run(asyncio.wait_for(opened(), 120))


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("blocking", "asking"),
    [
        (affidavit.Session, affidavit.AsyncSession),
        (affidavit.MutableTable, affidavit.AsyncMutableTable),
        (affidavit.VectorTable, affidavit.AsyncVectorTable),
        (affidavit.Result, affidavit.AsyncResult),
        (affidavit.SearchResult, affidavit.AsyncSearchResult),
        (Audit, AsyncAudit), (LedgerHandle, AsyncLedger), (JournalHandle, AsyncJournal),
        (Topics, AsyncTopics), (Triggers, AsyncTriggers),
    ],
    ids=lambda each: each.__name__,
)  # fmt: skip
def test_every_public_name_is_there_and_says_what_it_is(blocking: type, asking: type) -> None:

    assert public(blocking) - public(asking) <= {"of"}  # which makes one of rows
    for name in public(asking):
        assert getattr(asking, name).__doc__, name


def test_signatures_are_those_of_connect_and_of_the_session() -> None:
    assert inspect.signature(affidavit.aconnect) == inspect.signature(affidavit.connect)
    for name in (
        "search",
        "create_table",
        "create_vector_table",
        "explain",
        "transaction",
        "scope",
    ):
        blocking = inspect.signature(
            getattr(Caller, name, None) or getattr(affidavit.Session, name)
        )
        asking = inspect.signature(getattr(affidavit.AsyncSession, name))
        assert list(asking.parameters) == list(blocking.parameters), name


def test_connecting_is_awaited_or_entered_and_opens_nothing_before(lake: Path) -> None:
    async def main() -> None:
        connecting = affidavit.aconnect(lake, durability="normal")
        assert not os.path.exists(lake)  # noqa: ASYNC240, PTH110 - nothing else is there to wait
        session = await connecting
        assert isinstance(session, affidavit.AsyncSession)
        assert await (await session.sql("SELECT 1 AS a")).to_pylist() == [{"a": 1}]
        await session.close()
        async with await affidavit.aconnect(lake, tenant="red", durability="normal") as again:
            assert (again.tenant, again.actor, again.is_scoped) == ("red", "", False)
        with pytest.raises(errors.ClosedError):
            await again.sql("SELECT 1")
        with pytest.raises(errors.NoTenantError):
            await affidavit.aconnect(lake, tenant="")

    asyncio.run(main())


def test_results_are_read_whole_by_batches_and_by_rows(lake: Path) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        text = "SELECT value AS a FROM generate_series(1, 20000)"
        result = await session.sql(text)
        assert (result.schema.names, result.rows_affected) == (["a"], None)
        sizes = [batch.num_rows async for batch in result.batches()]
        assert (sum(sizes), len(sizes) > 1) == (20000, True)
        with pytest.raises(errors.ClosedError, match="streamed already"):
            await result.to_arrow()
        assert [row["a"] async for row in await session.sql(text)] == list(range(1, 20001))
        whole = await session.sql(text, timeout=60)
        assert await whole.num_rows() == (await whole.to_arrow()).num_rows == 20000
        assert len(await whole.to_pandas()) == len(await whole.to_polars()) == 20000
        assert await (await session.sql("SELECT $a + $1 AS n", {"1": 1}, a=2)).to_pylist() == [
            {"n": 3}
        ]
        with pytest.raises(errors.SqlError):
            await session.sql("SELEC 1")
        with pytest.raises(errors.ExecutionError):
            await (
                await session.sql("SELECT 1 / (value - 1) FROM generate_series(1, 2)")
            ).to_arrow()

    run(lake, main)


def test_tables_are_created_changed_read_and_dropped(lake: Path, tmp_path: Path) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        t = await session.create_table("t", [{"id": 1, "n": 0}], primary_key="id", order_column="n")
        assert isinstance(t, affidavit.AsyncMutableTable)
        assert (t.name, await t.primary_key(), (await t.schema()).names) == (
            "t",
            ("id",),
            ["id", "n"],
        )
        assert await t.insert([{"id": 2, "n": 5}]) == 1
        assert await t.upsert([{"id": 2, "n": 6}, {"id": 3, "n": 7}]) == 2
        assert await t.update({"n": affidavit.expr("n + 1")}, "id = 3") == 1
        assert (await t.scan_after(6)).to_pylist() == [{"id": 3, "n": 8}]
        assert await t.delete("id = 1") == 1
        assert await t.count() == (await t.to_arrow()).num_rows == 2
        again = await session.table("t")
        assert isinstance(again, affidavit.AsyncMutableTable)
        assert await again.audit() is None
        await again.set_audit("rows")
        assert await t.audit() == "rows"
        with pytest.raises(errors.InvalidQueryError, match="audit must be"):
            await t.set_audit("everything")
        assert await again.truncate() == 2
        with pytest.raises(errors.ConstraintError):
            await t.insert([{"id": 1, "n": 0}, {"id": 1, "n": 0}])
        assert [row["name"] async for row in await session.tables()] == ["t"]
        await session.attach("f", pa.table({"a": [7]}))
        assert await (await session.sql("SELECT a FROM f")).to_pylist() == [{"a": 7}]
        await session.detach("f")
        told = await session.describe("SELECT id FROM t")
        assert told.columns.names == ["id"]
        assert "t" in await session.explain("SELECT id FROM t")
        await session.drop_table("t")
        await session.drop_table("t", if_exists=True)
        with pytest.raises(errors.TableNotFoundError):
            await session.table("t")

    run(lake, main)


def test_vector_tables_are_searched_indexed_and_read_in_the_past(lake: Path) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        docs = await session.create_vector_table("docs", vectors(300))
        assert isinstance(await session.table("docs"), affidavit.AsyncVectorTable)
        assert (await docs.key(), await docs.metric(), await docs.model()) == ("id", "cosine", None)
        first = await docs.version()
        moment = await session.ledger.size() - 1
        await docs.create_index("id", "BTREE", replace=True)
        assert [each["name"] for each in await docs.indexes()]
        await docs.tag("one")
        await docs.delete("id < 10")
        assert (await docs.count(), "one" in await docs.tags()) == (290, True)
        assert len(await docs.versions()) > 1
        await docs.optimize()
        found = await session.search("docs", Q8, k=3, where="id > 50", lineage={"by": "ann"})
        assert (found.k_requested, found.k_returned, await found.num_rows()) == (3, 3, 3)
        assert found.request.k == 3
        assert found.audit.query_id == found.query_id
        assert [row["id"] async for row in found] == [row["id"] for row in await found.to_pylist()]
        two = await session.search_batch("docs", [Q8, Q8], 2, exact=True)
        assert [each.k_returned for each in two] == [2, 2]
        past = await session.at(moment)
        counted = "SELECT count(*) AS n FROM docs"
        assert await (await past.sql(counted)).to_pylist() == [{"n": 300}]
        await docs.restore(first)
        assert await docs.count() == (await docs.to_lance()).count_rows() == 300

    run(lake, main)


def test_audit_ledger_journal_and_triggers_are_awaited(lake: Path, tmp_path: Path) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        docs = await session.create_vector_table("docs", vectors(30))
        found = await session.search("docs", Q8, k=3)
        record = await session.audit.get(found.query_id)
        assert record == (await session.audit.recent(1))[0] == found.audit
        assert await session.audit.verify(record)
        assert (
            await session.audit.replay(found.query_id, Q8)
        ).outcome is affidavit.Outcome.REPRODUCED
        assert session.audit.mode == "statements"
        row = (await found.to_pylist())[0]["id"]
        assert await session.audit.received(row) == [record]
        assert (await session.ledger.verify()).ok
        assert await session.ledger.checkpoint()
        assert (await session.ledger.public_key()).startswith(session.ledger.origin)
        assert await session.ledger.prove(0)
        await session.journal.record_insert("patient", "7")
        assert [e["action"] async for e in await session.journal.history("7")]
        assert await (await session.journal.recent(1)).num_rows() == 1
        assert await session.journal.stats()
        assert await session.triggers.list() == []
        assert await docs.count() == 30

    run(lake, main)


def test_topics_are_published_subscribed_acknowledged_and_replayed(lake: Path) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        await session.topics.register("jobs", SCHEMA)
        assert [each.name for each in await session.topics.list() if each.name == "jobs"] == [
            "jobs"
        ]
        with await session.topics.subscribe("jobs", consumer="worker", timeout=30) as jobs:
            for at in range(3):
                assert await session.topics.publish("jobs", {"a": at}) == at
            taken = []
            async for delivery in jobs:
                async with session.transaction() as tx:
                    await tx.topics.ack(delivery)
                taken.append(delivery.data.to_pylist()[0]["a"])
                if len(taken) == 3:
                    break
            assert taken == [0, 1, 2]
        found = [each.offset async for each in session.topics.replay("jobs", from_offset=1)]
        assert found == [1, 2]
        position = "SELECT position, unsettled FROM system.consumers"
        assert await (await session.sql(position)).to_pylist() == [{"position": 3, "unsettled": 0}]

    run(lake, main)


def test_what_has_no_verb_is_run_in_a_thread(lake: Path) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        def where(blocking: affidavit.Session) -> str:
            assert blocking is session.blocking
            return threading.current_thread().name

        assert await session.run(where) == "affidavit-call"
        async with session.transaction() as tx:
            assert (
                await tx.run(lambda _: threading.current_thread().name) == "affidavit-call-inside"
            )
        with pytest.raises(ZeroDivisionError):
            await session.run(lambda _: 1 / 0)

    run(lake, main)


def test_the_references_example_runs_as_it_stands(tmp_path: Path, monkeypatch, capsys) -> None:
    page = (ROOT / "docs/reference.md").read_text().partition("## `affidavit.aconnect`")[2]
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "reference.md", "exec"), {})
    assert capsys.readouterr().out == "1\n"


# --- the threads ---------------------------------------------------------------------------------


def named(name: str) -> int:
    return sum(each.name == name for each in threading.enumerate())


def test_threads_are_as_many_as_may_be_and_end() -> None:
    threads, done, free = Threads("test-few", 2, linger_s=60), [], threading.Event()
    for at in range(6):
        threads.submit(lambda at=at: (free.wait(30), done.append(at)))
    assert named("test-few") == 2
    free.set()
    eventually(lambda: sorted(done) == list(range(6)))
    threads.end()
    eventually(lambda: named("test-few") == 0)
    threads.submit(lambda: done.append("late"))
    eventually(lambda: done[-1] == "late" and named("test-few") == 0)


def test_one_thread_takes_jobs_in_the_order_in_which_they_came() -> None:
    threads, done, free = Threads("test-one", 1, linger_s=0.01), [], threading.Event()
    threads.submit(lambda: free.wait(30))
    for at in range(20):
        threads.submit(lambda at=at: done.append(at))
    assert not done
    free.set()
    eventually(lambda: len(done) == 20)
    assert done == list(range(20))


def test_a_thread_that_finds_no_work_ends_by_itself() -> None:
    threads, done = Threads("test-idle", 3, linger_s=0.01), threading.Event()
    threads.submit(done.set)
    assert done.wait(30)
    eventually(lambda: named("test-idle") == 0)


def test_where_no_thread_can_be_started_nothing_is_left_to_be_done(monkeypatch) -> None:
    def refuses(_: object) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    threads, done = Threads("test-none", 1, linger_s=0.01), []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuses)
        with pytest.raises(RuntimeError):
            threads.submit(lambda: done.append("first"))
    threads.submit(lambda: done.append("second"))
    eventually(lambda: named("test-none") == 0 and done)
    assert done == ["second"]


def test_closing_a_lake_ends_its_threads(lake: Path) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        await session.sql("SELECT 1")
        async with session.scope() as mine, mine.transaction() as tx:
            await tx.sql("SELECT 1")

    run(lake, main)
    eventually(
        lambda: not [t for t in threading.enumerate() if t.name.startswith("affidavit-call")]
    )
