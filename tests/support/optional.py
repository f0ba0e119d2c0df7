"""Libraries that only some tests need."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def library(name: str, extra: str) -> Any:
    """Return a library; skip where it is missing, but fail in CI."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = f"no {name}: pip install {extra} ({error})"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
