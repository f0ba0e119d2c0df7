"""Runners: one a key, the former ended before the next begins, all of them with the session."""

from __future__ import annotations

from affidavit.triggers.subscriptions.runners import STOPPING_S, Runners


class Runner:
    """A runner that writes down what is asked of it."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name = name
        self.said = said
        self.patience: list[float] = []
        said.append(f"{name} begins")

    def stop(self) -> None:
        self.said.append(f"{self.name} stops")

    def wait(self, seconds: float) -> None:
        self.said.append(f"{self.name} is waited for")
        self.patience.append(seconds)


def test_a_runner_ends_before_the_one_in_its_place_begins() -> None:
    said: list[str] = []
    runners = Runners()
    runners.run("a", lambda: Runner("first", said))
    runners.run("b", lambda: Runner("other", said))
    runners.run("a", lambda: Runner("second", said))
    assert said == [
        "first begins", "other begins", "first stops", "first is waited for", "second begins",
    ]  # fmt: skip


def test_what_is_not_there_ends_without_a_word() -> None:
    said: list[str] = []
    runners = Runners()
    runners.end("a")
    runners.run("a", lambda: Runner("first", said))
    runners.end("a")
    runners.end("a")
    assert said == ["first begins", "first stops", "first is waited for"]


def test_all_stop_before_any_is_waited_for_and_they_share_the_time() -> None:
    said: list[str] = []
    runners, made = Runners(), []

    def begin(name: str) -> Runner:
        made.append(Runner(name, said))
        return made[-1]

    runners.run("a", lambda: begin("first"))
    runners.run("b", lambda: begin("second"))
    del said[:]
    runners.close()
    assert said == ["first stops", "second stops", "first is waited for", "second is waited for"]
    assert STOPPING_S >= made[0].patience[0] >= made[1].patience[0]
