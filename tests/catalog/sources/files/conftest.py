"""A Delta table, and an Iceberg catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.support.optional import library
from tests.support.table_formats import Ice


@pytest.fixture
def deltalake() -> Any:
    return library("deltalake", "deltalake")


@pytest.fixture
def sales(deltalake: Any, tmp_path: Path) -> Path:
    """A small Delta table of two versions."""
    path = tmp_path / "sales"
    data = pa.table({"id": [1, 2, 3], "region": ["n", "s", None], "amount": [1.5, None, 2.0]})
    deltalake.write_deltalake(path, data, partition_by=["region"])
    deltalake.write_deltalake(path, data.slice(0, 1), mode="append")
    return path


@pytest.fixture
def ice(tmp_path: Path) -> Any:
    made = Ice(tmp_path / "warehouse")
    yield made
    made.close()
