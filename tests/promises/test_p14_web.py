"""P1, P14, P15 behind a web server: each request is its own caller, in whatever thread or task."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.lakes import vectors
from tests.support.optional import library
from tests.support.web_server import WebServer

import affidavit

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS = 1_000
AT_ONCE = 32
WAYS = (
    ("GET", "/sync/search"), ("GET", "/async/search"), ("GET", "/sync/sql"), ("GET", "/async/sql"),
    ("POST", "/sync/insert"), ("POST", "/async/insert"),
)  # fmt: skip


def way_of(at: int) -> tuple[str, str]:
    return WAYS[at % len(WAYS)]


def fails(at: int) -> bool:
    """Whether the request is one that is to be rolled back."""
    return way_of(at)[0] == "POST" and at // len(WAYS) % 5 == 0


async def ask(url: str, count: int) -> list[tuple[int, dict[str, Any]]]:
    httpx = library("httpx", "httpx")
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE // 2)
    turns = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=120, trust_env=False
    ) as client:

        async def one(at: int) -> tuple[int, dict[str, Any]]:
            method, path = way_of(at)
            params = {"at": at, **({"fails": fails(at)} if method == "POST" else {})}
            async with turns:
                found = await client.request(
                    method, path, params=params, headers={"x-actor": f"actor-{at}"}
                )
            return found.status_code, found.json() if found.status_code in {200, 418} else {}

        return await asyncio.gather(*(one(at) for at in range(count)))


async def left(url: str, workers: int) -> dict[int, dict[str, Any]]:
    """Return what each of the processes has open, once they have nothing, or after a while."""
    httpx = library("httpx", "httpx")
    found: dict[int, dict[str, Any]] = {}
    until = time.monotonic() + 30
    while time.monotonic() < until:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            told = (await client.get("/left")).json()
        found[told["pid"]] = told
        open_ones = [each for each in found.values() if each["scopes"] or each["transactions"]]
        if len(found) == workers and not open_ones:
            break
    return found


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_p14_a_thousand_requests_each_as_its_own_actor(
    lake: Path, tmp_path: Path, workers: int
) -> None:
    for name in ("fastapi", "uvicorn", "httpx"):
        library(name, name)
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(200))
        session.sql("CREATE TABLE seen (at BIGINT PRIMARY KEY, actor VARCHAR, how VARCHAR)")
    with WebServer(lake, tmp_path / "web.log", workers=workers) as server:
        answers = asyncio.run(ask(server.url, REQUESTS))
        codes = Counter(code for code, _ in answers)
        expected = Counter(418 if fails(at) else 200 for at in range(REQUESTS))
        assert codes == expected, server.log[-3000:]
        for at, (code, told) in enumerate(answers):
            assert code == 418 or (told["actor"], told["rows"]) == (f"actor-{at}", 3)
        found = asyncio.run(left(server.url, workers))
        assert len(found) == workers
        assert {(each["scopes"], each["transactions"]) for each in found.values()} == {(0, 0)}
        with affidavit.connect(lake, durability="normal", busy_timeout_s=5) as session:
            session.sql("INSERT INTO seen VALUES (-1, 'who came after', 'blocking')")
        server.stop()
        assert "Traceback" not in server.log, server.log[-3000:]
        assert "ERROR" not in server.log
    with affidavit.connect(lake, durability="normal") as session:
        kept = session.sql("SELECT at, actor FROM seen WHERE at >= 0").to_pylist()
        posted = {at for at in range(REQUESTS) if way_of(at)[0] == "POST" and not fails(at)}
        assert {row["at"]: row["actor"] for row in kept} == {at: f"actor-{at}" for at in posted}
        journaled = session.sql(
            "SELECT actor, count(*) AS n FROM journal WHERE entity_type = 'seen' AND action = 'insert' "
            "GROUP BY actor"
        ).to_pylist()
        by = {row["actor"]: row["n"] for row in journaled if row["actor"].startswith("actor-")}
        assert by == {f"actor-{at}": 1 for at in posted}
        records = session.audit.recent(REQUESTS * 2)
        asked = {record.query_lineage["at"]: record.actor for record in records}
        assert asked == {at: f"actor-{at}" for at in range(REQUESTS)}
        assert len(records) == REQUESTS
        assert session.ledger.verify().ok
