"""The examples run as a newcomer runs them: by themselves, from some other folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
@pytest.mark.slow
def test_an_example_runs_says_something_and_leaves_nothing(program: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::ResourceWarning", str(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not done.stderr
    assert not list(tmp_path.iterdir())


def test_every_example_is_listed_and_short() -> None:
    """The page names each program once, and a newcomer reads each without scrolling much."""
    listed = re.findall(r"\]\((\w+\.py)\)", (FOLDER / "README.md").read_text())
    assert listed == [path.name for path in PROGRAMS]
    assert all(path.read_text().count("\n") <= 60 for path in PROGRAMS)
