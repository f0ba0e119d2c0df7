"""A table whose changes are written down."""

from __future__ import annotations

import pytest


@pytest.fixture
def notes(session):
    session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR, stars INT)")
    return session.table("notes")
