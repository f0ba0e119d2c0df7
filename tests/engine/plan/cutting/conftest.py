"""A fault of the cutter, which leaves a plan as it was, is an error here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.sub_trees import without_faults

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def faults() -> Iterator[list[str]]:
    with without_faults() as told:
        yield told
