"""What the tests' own plugins do: seconds a folder, a budget, and servers that say what they are."""

from __future__ import annotations

import re

import pytest

from tests.support.tree import ROOT

pytest_plugins = ["pytester"]

SLEEPY = "import time\ndef test_sleeps() -> None:\n    time.sleep(0.3)\n"
QUICK = "def test_passes() -> None: pass\n"
SERVER = """
import pytest
from tests.support.marks import may_start_server

class Server:
    def __init__(self) -> None:
        may_start_server()

@pytest.fixture
def one() -> Server:
    return Server()

def test_by_a_fixture(one) -> None: pass

@pytest.mark.parametrize("kind", ["none", pytest.param("some", marks=pytest.mark.server)])
def test_by_a_parameter(kind) -> None:
    if kind == "some":
        Server()

def test_unsaid() -> None:
    Server()
"""


PLUGINS = ("-p", "tests.support.budget", "-p", "tests.support.marks", "-p", "no:cacheprovider")


@pytest.fixture
def tree(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nmarkers = server\n")
    pytester.syspathinsert(ROOT)
    return pytester


def run(tree: pytest.Pytester, *arguments: str) -> tuple[int, str]:
    done = tree.runpytest_inprocess(*PLUGINS, *arguments)
    return done.ret, done.stdout.str()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_run_over_its_budget_fails_and_names_the_slowest_folders(tree, workers: int) -> None:
    for name, text in (("a", QUICK), ("b", SLEEPY)):
        (tree.mkdir(name) / f"test_{name}.py").write_text(text)
    code, said = run(tree, "--budget", "0.1", "-n", str(workers))
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "OVER BUDGET" in said
    assert "of 0.1 s; the slowest folders: b, a" in said
    code, said = run(tree, "--budget", "600", "-n", str(workers))
    assert code == pytest.ExitCode.OK
    assert "OVER BUDGET" not in said
    assert re.search(r"0\.\d  b \(1 tests\)\n     0\.0  a \(1 tests\)\n     0\.\d  in all", said)


def test_without_a_budget_a_run_may_take_what_it_takes(tree) -> None:
    tree.makepyfile(test_b=SLEEPY)
    code, said = run(tree)
    assert code == pytest.ExitCode.OK
    assert re.search(r"\d\.\d  \. \(1 tests\)", said)


def test_a_failure_is_told_as_ever(tree) -> None:
    tree.makepyfile(test_a="def test_fails() -> None: assert False\n")
    code, said = run(tree, "--budget", "600")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed" in said


def test_tests_that_need_a_server_are_marked_or_fail(tree) -> None:
    tree.makepyfile(test_a=SERVER)
    code, said = run(tree)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "3 passed" in said
    assert "test_unsaid starts a server: mark it pytest.mark.server" in said
    code, said = run(tree, "-m", "not server", "--deselect", "test_a.py::test_unsaid")
    assert "1 passed, 3 deselected" in said
