"""A web application on one lake, as FastAPI's users write it: every way to ask, and to depend.

The lake is the environment's ``WEB_LAKE``. Each request says who it is in the header ``x-actor``.
"""

from __future__ import annotations

import gc
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request

import affidavit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

QUERY = [1.0] * 8
INSERT = "INSERT INTO seen VALUES ($1, $2, $3)"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with affidavit.aconnect(os.environ["WEB_LAKE"], durability="normal") as lake:
        app.state.lake = lake
        yield


app = FastAPI(lifespan=lifespan)
Actor = Annotated[str, Header(alias="x-actor")]


# --- what a request depends on -------------------------------------------------------------------


def blocking_scope(request: Request, actor: Actor) -> Iterator[affidavit.Session]:
    with request.app.state.lake.blocking.scope(actor=actor) as mine:
        yield mine


def blocking_transaction(
    mine: Annotated[affidavit.Session, Depends(blocking_scope)],
) -> Iterator[affidavit.Session]:
    with mine.transaction() as tx:
        yield tx


async def scope(request: Request, actor: Actor) -> AsyncIterator[affidavit.AsyncSession]:
    async with request.app.state.lake.scope(actor=actor) as mine:
        yield mine


async def transaction(
    mine: Annotated[affidavit.AsyncSession, Depends(scope)],
) -> AsyncIterator[affidavit.AsyncSession]:
    async with mine.transaction() as tx:
        yield tx


Blocking = Annotated[affidavit.Session, Depends(blocking_scope)]
BlockingTransaction = Annotated[affidavit.Session, Depends(blocking_transaction)]
Scope = Annotated[affidavit.AsyncSession, Depends(scope)]
Transaction = Annotated[affidavit.AsyncSession, Depends(transaction)]


def refuse(fails: bool) -> None:
    if fails:
        raise HTTPException(status_code=418, detail="as it was asked to")


# --- what it asks --------------------------------------------------------------------------------


@app.get("/sync/search")
def sync_search(mine: Blocking, at: int) -> dict[str, Any]:
    found = mine.search("docs", QUERY, 3, lineage={"at": at})
    return {"actor": mine.actor, "query_id": found.query_id, "rows": found.num_rows}


@app.get("/async/search")
async def async_search(mine: Scope, at: int) -> dict[str, Any]:
    found = await mine.search("docs", QUERY, 3, lineage={"at": at})
    return {"actor": mine.actor, "query_id": found.query_id, "rows": await found.num_rows()}


@app.get("/sync/sql")
def sync_sql(mine: Blocking, at: int) -> dict[str, Any]:
    lineage = f'{{"lineage": {{"at": {at}}}}}'
    text = f"SELECT count(*) AS n FROM vector_search('docs', $q, 3, '{lineage}')"
    return {"actor": mine.actor, "rows": mine.sql(text, q=QUERY).to_pylist()[0]["n"]}


@app.get("/async/sql")
async def async_sql(mine: Scope, at: int) -> dict[str, Any]:
    lineage = f'{{"lineage": {{"at": {at}}}}}'
    text = f"SELECT count(*) AS n FROM vector_search('docs', $q, 3, '{lineage}')"
    rows = [row async for row in await mine.sql(text, q=QUERY)]
    return {"actor": mine.actor, "rows": rows[0]["n"]}


@app.post("/sync/insert")
def sync_insert(tx: BlockingTransaction, at: int, fails: bool) -> dict[str, Any]:
    tx.sql(INSERT, [at, tx.actor, "sync"])
    found = tx.search("docs", QUERY, 3, lineage={"at": at})
    refuse(fails)
    return {"actor": tx.actor, "rows": found.num_rows}


@app.post("/async/insert")
async def async_insert(tx: Transaction, at: int, fails: bool) -> dict[str, Any]:
    await tx.sql(INSERT, [at, tx.actor, "async"])
    found = await tx.search("docs", QUERY, 3, lineage={"at": at})
    refuse(fails)
    return {"actor": tx.actor, "rows": found.k_returned}


# --- what is left --------------------------------------------------------------------------------


@app.get("/left")
async def left(request: Request) -> dict[str, Any]:
    """Return what this process has open of scopes and transactions, but the lake's own session."""
    gc.collect()
    lake = request.app.state.lake.blocking
    opened = [each for each in lake._instance._opened if each is not lake._own.transactions]
    return {
        "pid": os.getpid(),
        "scopes": sum(not each._closed for each in opened),
        "transactions": sum(each.begun is not None for each in opened),
    }
