"""What is done in the background is tried again, and says once what keeps it."""

from __future__ import annotations

import logging
import threading

import pytest

from affidavit.engine.session.housekeeping import Housekeeper
from affidavit.errors import StoreBusyError


@pytest.fixture
def keeper():
    made = Housekeeper(interval_s=0.001)
    yield made
    made.stop()


@pytest.mark.parametrize("error", [StoreBusyError("the store", timeout_s=1), ValueError("odd")])
def test_what_fails_in_every_round_is_told_once(keeper, caplog, error) -> None:
    tried, over = [], threading.Event()

    def task() -> bool:
        tried.append(1)
        if len(tried) <= 20:
            raise error
        over.set()
        return False

    with caplog.at_level(logging.WARNING, "affidavit"):
        keeper.add(task)
        keeper.add(task)
        keeper.wake()
        assert over.wait(20)
    assert 1 <= len(caplog.records) <= 2


def test_an_error_that_comes_back_or_changes_is_told_again(keeper, caplog) -> None:
    errors = [ValueError("a"), ValueError("a"), None, ValueError("a"), ValueError("b"), None]
    over = threading.Event()

    def task() -> bool:
        error = errors.pop(0)
        if not errors:
            over.set()
        if error is not None:
            raise error
        return bool(errors)

    with caplog.at_level(logging.WARNING, "affidavit"):
        keeper.add(task)
        keeper.wake()
        assert over.wait(20)
        keeper.stop()
    assert len(caplog.records) == 3
