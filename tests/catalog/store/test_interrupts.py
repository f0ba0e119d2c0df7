"""Ctrl-C, held back while others call us, comes where it can be raised as what it is."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from datafusion import SessionContext
from datafusion.catalog import CatalogProvider, SchemaProvider

from affidavit.catalog.store.interrupts import deliver, held

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    """Interrupt the process, and let Python notice."""
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100):
        pass


def test_an_interrupt_is_raised_where_the_block_ends() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), held():
        interrupt()
        reached = True
    assert reached


def test_it_is_raised_whatever_else_was() -> None:
    with pytest.raises(KeyboardInterrupt), held():
        interrupt()
        raise ValueError


def test_without_an_interrupt_nothing_is_raised_and_what_was_raised_is() -> None:
    with held():
        pass
    with pytest.raises(ValueError, match="mine"), held():
        raise ValueError("mine")


def test_a_block_within_a_block_raises_nothing() -> None:
    inner = False
    with pytest.raises(KeyboardInterrupt), held():
        with held():
            interrupt()
        inner = True
    assert inner


def test_an_interrupt_is_raised_once() -> None:
    with pytest.raises(KeyboardInterrupt), held():
        interrupt()
    with held():
        pass


def test_what_waits_inside_of_a_block_is_told() -> None:
    after = False
    with held():
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            deliver()
        after = True
    assert after
    deliver()


def test_a_programs_own_handler_is_asked() -> None:
    told = []
    signal.signal(signal.SIGINT, lambda *_: told.append(1))
    with held():
        interrupt()
        assert told == []
    assert told == [1]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_program_that_ignores_interrupts_goes_on() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held():
        interrupt()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_another_thread_holds_nothing_back() -> None:
    begun, ends = threading.Event(), threading.Event()

    def beside() -> None:
        with held():
            begun.set()
            ends.wait(30)

    thread = threading.Thread(target=beside)
    thread.start()
    begun.wait(30)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        ends.set()
        thread.join()


class _Schema(SchemaProvider):
    """A schema whose every look-up is interrupted."""

    @property
    def table_names(self) -> list[str]:
        interrupt()
        return []

    def table(self, name: str) -> None:
        interrupt()

    def table_exist(self, name: str) -> bool:
        interrupt()
        return False


class _Catalog(CatalogProvider):
    def schema_names(self) -> set[str]:
        interrupt()
        return {"s"}

    def schema(self, name: str) -> _Schema:
        return _Schema()


def test_an_interrupt_in_what_datafusion_calls_is_no_error_of_its_own() -> None:
    context = SessionContext()
    context.register_catalog_provider("c", _Catalog())
    with pytest.raises(KeyboardInterrupt), held():
        context.sql("SELECT * FROM c.s.t")
    with pytest.raises(Exception, match="not found"), held():
        signal.signal(signal.SIGINT, lambda *_: None)
        try:
            context.sql("SELECT * FROM c.s.t")
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
