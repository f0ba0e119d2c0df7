"""Pure rooms decide and do nothing: they know no thread, no clock and no file.

What they need of the world is handed in, so that a test can choose it.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.tree import ROOT, modules, name_of, only_listed, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

PURE = (
    "catalog/values",
    "catalog/sql",
    "catalog/model",
    "catalog/ledger/merkle.py",
    "catalog/ledger/verifier.py",
    "triggers/predicates",
    "engine/statement",
)
LIBRARIES: Final = {
    "threads": {"threading", "concurrent", "asyncio", "multiprocessing", "queue", "_thread"},
    "a clock": {"time", "sched"},
    "files": {"os", "shutil", "tempfile", "glob", "fcntl", "mmap", "filelock", "sqlite3"},
}
CALLS: Final = {
    "a clock": {"now", "utcnow", "today"},
    "files": {
        "open", "read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "rglob", "exists",
        "is_file", "is_dir", "mkdir", "rmdir", "unlink", "touch", "rename",
    },
}  # fmt: skip
ALLOWED: Final = {
    "catalog/model/clock.py: a clock": "it is the clock: the others of these rooms do not import it",
    "catalog/model/clock.py: as_dated: a clock": "the same, as libraries date their files",
    "catalog/model/listeners.py: threads": "a listener comes and goes in any thread",
    "catalog/ledger/verifier.py: _read: files": "its way in: the files of a bundle",
    "triggers/predicates/planned.py: threads": "one plan of DataFusion's runs at a time",
}
"""A list that only shrinks."""


def impurities(tree: ast.Module) -> Iterator[str]:
    """Yield what a module knows of the world, and in which function if it is a call."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(inner): each.name for each in functions for inner in ast.walk(each)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for what, libraries in LIBRARIES.items():
            if {name.partition(".")[0] for name in names} & libraries:
                yield what
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            for what, calls in CALLS.items():
                if called in calls:
                    yield f"{inside.get(id(node), 'the module')}: {what}"


def test_pure_rooms_know_no_thread_no_clock_and_no_file() -> None:
    found = {
        f"{name_of(path)}: {each}" for path in modules(*PURE) for each in impurities(parsed(path))
    }
    only_listed(found, ALLOWED, "have it handed in")


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_are_there(room: str) -> None:
    assert modules(room)
    assert (ROOT / room).exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import threading", ["threads"]),
        ("from concurrent.futures import Future", ["threads"]),
        ("from time import monotonic", ["a clock"]),
        ("def f():\n    return datetime.now(UTC)", ["f: a clock"]),
        ("import os.path", ["files"]),
        ("def f(path):\n    with open(path) as file: pass", ["f: files"]),
        ("DATA = Path('x').read_bytes()", ["the module: files"]),
        (
            "from pathlib import Path\nimport datetime, io\nclosed = datetime.datetime(1970, 1, 1)",
            [],
        ),
    ],
)
def test_what_is_impure_is_seen(text: str, expected: list[str]) -> None:
    assert list(impurities(ast.parse(text))) == expected
