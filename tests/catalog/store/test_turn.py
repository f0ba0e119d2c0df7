"""Whose turn it is in a transaction."""

from __future__ import annotations

import threading

from affidavit.catalog.store.turn import Turn


def test_p14_who_comes_again_and_again_lets_those_in_who_wait() -> None:
    """A thread whose statements followed each other kept every other one out of the transaction."""
    turn, over, taken = Turn(), threading.Event(), []

    def again() -> None:
        while not over.is_set():
            held = turn.take(0) or turn.take(30)
            assert held is not None
            over.wait(0.001)  # what it is taken for
            held.give_back()

    busy = threading.Thread(target=again)
    busy.start()
    try:
        for _ in range(20):
            held = turn.take(10)
            taken.append(held)
            if held is None:
                break
            held.give_back()
    finally:
        over.set()
        busy.join()
    assert None not in taken


def test_a_turn_is_its_threads_until_it_is_given_back() -> None:
    turn = Turn()
    held = turn.take(0)
    assert held is not None
    assert turn.holder == threading.get_ident()
    inner = turn.take(0)
    assert inner is not None
    inner.give_back()
    found: list[object] = []
    for _ in range(2):
        other = threading.Thread(target=lambda: found.append(turn.take(0)))
        other.start()
        other.join()
        held.give_back()
    assert found[0] is None
    assert found[1] is not None
