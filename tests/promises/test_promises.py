"""Each promise is carried by tests, and the README of this folder says by which."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
TESTS = FOLDER.parent
PROMISES = (*range(1, 22),)


def promises_of(path: Path) -> set[int]:
    """Return the promises that a module's tests carry by their names, or its docstring names."""
    tree = ast.parse(path.read_text())
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    carried = {int(found[1]) for name in names if (found := re.match(r"test_p(\d+)_", name))}
    return carried | {
        int(each) for each in re.findall(r"\bP(\d+)\b", ast.get_docstring(tree) or "")
    }


@cache
def carriers() -> dict[int, list[Path]]:
    modules = [path for path in sorted(TESTS.rglob("test_*.py")) if path != Path(__file__)]
    found = {path: promises_of(path) for path in modules}
    return {each: [path for path, has in found.items() if each in has] for each in PROMISES}


def row_of(promise: int, modules: list[Path]) -> str:
    here = [f"`{path.stem.removeprefix('test_')}`" for path in modules if path.parent == FOLDER]
    rooms = {
        str(path.parent.relative_to(TESTS)).replace(".", "tests")
        for path in modules
        if path.parent != FOLDER
    }
    return (
        f"| P{promise} | {', '.join(here)} | {', '.join(f'`{each}`' for each in sorted(rooms))} |"
    )


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.slow
def test_each_promise_is_carried_by_a_test(promise: int) -> None:
    assert carriers()[promise]


def test_the_readme_says_which_tests_carry_which_promise() -> None:
    text = (FOLDER / "README.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| P\d+ \|", line)]
    expected = [row_of(each, modules) for each, modules in carriers().items()]
    assert rows == expected, "the table should be:\n" + "\n".join(expected)
    for promise in PROMISES:
        assert re.search(rf"^- \*\*P{promise}\*\* \w", text, re.MULTILINE), f"what is P{promise}?"
