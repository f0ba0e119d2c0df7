"""P15: what would block a loop for good is told, if it is certain; all else waits as ever."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from affidavit.catalog.store.loops import (
    Asked,
    holds_writer,
    refuse_own_turn,
    refuse_own_writer,
    serving,
)
from affidavit.errors import TransactionError


class Store:
    """Anything that is known by itself."""


def asks(asked: Asked, loop: object) -> None:
    """Ask once, from a thread that works for a task of ``loop``."""

    def call() -> None:
        with serving(loop):
            asked.note()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


def test_who_holds_the_writer_for_this_loop_alone_and_does_nothing_is_told() -> None:
    store, other, asked = Store(), Store(), Asked()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        asks(asked, loop)
        refuse_own_writer(store)  # nobody holds it
        holds_writer(store, asked)
        refuse_own_writer(other)
        with pytest.raises(TransactionError, match="event loop"):
            refuse_own_writer(store)
        asked.begin()  # a call of theirs runs, and may end it
        refuse_own_writer(store)
        asked.end()
        with pytest.raises(TransactionError):
            refuse_own_writer(store)
        await asyncio.to_thread(refuse_own_writer, store)  # blocks no loop
        holds_writer(store, None)
        refuse_own_writer(store)

    asyncio.run(main())


@pytest.mark.parametrize("who", ["a thread", "another loop"])
def test_a_transaction_that_others_have_used_may_be_ended_by_them(who: str) -> None:
    store, asked = Store(), Asked()
    another = asyncio.new_event_loop()

    async def main() -> None:
        asks(asked, asyncio.get_running_loop())
        holds_writer(store, asked)
        if who == "a thread":
            asked.note()
        else:
            asks(asked, another)
        refuse_own_writer(store)
        asked.forget()  # the next transaction is another matter
        asks(asked, asyncio.get_running_loop())
        with pytest.raises(TransactionError):
            refuse_own_writer(store)

    asyncio.run(main())
    another.close()


def test_who_holds_a_turn_for_a_task_of_this_loop_is_told_of() -> None:
    inside, free = threading.Event(), threading.Event()

    def call(loop: object) -> None:
        with serving(loop):
            inside.set()
            free.wait(30)

    async def main() -> None:
        thread = threading.Thread(target=call, args=[asyncio.get_running_loop()])
        thread.start()
        inside.wait(30)
        try:
            with pytest.raises(TransactionError, match="scope"):
                refuse_own_turn(thread.ident)
            refuse_own_turn(threading.get_ident())
            refuse_own_turn(None)
            await asyncio.to_thread(refuse_own_turn, thread.ident)
        finally:
            free.set()
            thread.join()
        refuse_own_turn(thread.ident)

    asyncio.run(main())


def test_without_a_loop_nobody_is_told() -> None:
    store, asked = Store(), Asked()
    asks(asked, "a loop")
    holds_writer(store, asked)
    refuse_own_writer(store)
    refuse_own_turn(threading.get_ident())
