"""The tree of the code, as the tests that look at it read it."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
WINGS = ("engine", "triggers", "catalog")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules(*rooms: str) -> list[Path]:
    """Return the modules of the rooms, or of all wings and the errors."""
    if not rooms:
        return [*modules(*WINGS), ROOT / "src/affidavit/errors.py"]
    places = [ROOT / room for room in rooms]
    return [
        path
        for place in places
        for path in ([place] if place.suffix == ".py" else sorted(place.rglob("*.py")))
    ]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, those for types alone too."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""}
    return found


def only_listed(found: set[str], listed: dict[str, str], remedy: str) -> None:
    """Fail where something was found that no exception names, or an exception names nothing."""
    new, stale = sorted(found - listed.keys()), sorted(listed.keys() - found)
    assert not new, "\n".join([f"new ({remedy}):", *new])
    assert not stale, "\n".join(["no longer needed, take it from the list:", *stale])
