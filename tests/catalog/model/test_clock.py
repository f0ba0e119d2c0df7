"""What time it is, is read in one place, and not at all by what decides."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

from affidavit.catalog.model import clock
from affidavit.catalog.values.canonical import us_of

ROOT = Path(__file__).parents[3]
CLOCK = "catalog/model/clock.py"
DURATIONS = {"monotonic", "perf_counter_ns", "sleep"}
PURE = ("catalog/values", "catalog/sql", "catalog/model", "engine/statement")
MODULES = [
    str(path.relative_to(ROOT))
    for wing in ("catalog", "engine", "triggers")
    for path in sorted((ROOT / wing).rglob("*.py"))
]


def imports(tree: ast.AST) -> set[tuple[str, str]]:
    """Every module that is imported, with each name that is taken from it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(str(node.module), alias.name) for alias in node.names}
    return found


@pytest.mark.parametrize("name", [name for name in MODULES if name != CLOCK])
def test_nothing_but_the_clock_reads_the_time(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text())
    taken = {name for module, name in imports(tree) if module == "time"}
    assert taken <= DURATIONS
    asked = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not asked & {"now", "utcnow", "today", "localtime", "gmtime", "time_ns"}


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.startswith(PURE) and name != CLOCK]
)
def test_what_decides_is_told_the_time(name: str) -> None:
    found = imports(ast.parse((ROOT / name).read_text()))
    assert not {module for module, _ in found} & {"time", "affidavit.catalog.model.clock"}
    assert ("affidavit.catalog.model", "clock") not in found


def test_the_clock_counts_microseconds() -> None:
    before = us_of(datetime.now(UTC))
    assert before - 1 <= clock.now_us() <= us_of(datetime.now(UTC)) + 1
