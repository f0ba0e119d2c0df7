"""A table of a database of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.outgoing import SCHEMA, SOURCES, TABLE, make

import affidavit


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, session: affidavit.Session, tmp_path: Path) -> str:
    """Attach a database that has a table ``t``, and return that table's name."""
    kind: str = request.param
    session.attach(kind, make(kind, request, tmp_path, TABLE[kind]))
    return f"{kind}.{SCHEMA[kind]}.t"
