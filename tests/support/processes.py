"""Scripts in processes of their own, which may be killed."""

from __future__ import annotations

import subprocess
import sys


def run_python(script: str, *arguments: object, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout
