"""The arrows between the wings, and which libraries stay outside of which wing.

The rooms inside a wing are layers too: ``lint-imports`` checks those, and ``tools/house.py`` counts.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.support.tree import ROOT, imported, modules, name_of, only_listed, parsed

if TYPE_CHECKING:
    from pathlib import Path

ORDER = {
    "affidavit.engine": 3,
    "affidavit.triggers": 2,
    "affidavit.catalog": 1,
    "affidavit.errors": 0,
}


def wing_of(name: str) -> int | None:
    return next((rank for prefix, rank in ORDER.items() if name.startswith(prefix)), None)


OPTIONAL = {
    "nats", "polars", "adbc_driver_manager", "adbc_driver_postgresql.dbapi", "adbc_driver_duckdb",
    "adbcbridge", "deltalake", "duckdb", "pyiceberg", "pyiceberg.catalog", "pyiceberg.io",
}  # fmt: skip
"""What functions import where it is asked for: extras."""


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_right_and_stand_at_the_top(path: Path) -> None:
    """Engine to triggers to catalog to errors; never left, never at the face, never in a function.

    The one exception is a library that is optional, imported where it is asked for.
    """
    parts = path.relative_to(ROOT).parts
    own = ORDER["affidavit.errors"] if parts[0] == "src" else ORDER[f"affidavit.{parts[0]}"]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            names = {alias.name for n in inner if isinstance(n, ast.Import) for alias in n.names}
            names |= {n.module for n in inner if isinstance(n, ast.ImportFrom)}
            assert names <= OPTIONAL, f"{node.name} imports {names}"
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
    for name in imported(path):
        rank = wing_of(name)
        assert name != "affidavit", "an import at the face"
        assert rank is None or rank <= own, f"imports {name}"


KEPT_OUT = {"catalog": "datafusion", "engine": "sqlite3"}
"""What a wing does not know, for types neither: who executes, and how the store stores."""
STILL_IN: dict[str, str] = {}
"""A list that only shrinks."""


def test_libraries_stay_out_of_the_wings_that_do_not_know_them() -> None:
    found = {
        f"{name_of(path)}: {library}"
        for wing, library in KEPT_OUT.items()
        for path in modules(wing)
        if library in {name.partition(".")[0] for name in imported(path)}
    }
    only_listed(found, STILL_IN, "have what is needed handed in")
