"""A table whose changes are told."""

from __future__ import annotations

import pytest


@pytest.fixture
def orders(session):
    session.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY, total DOUBLE, who VARCHAR)")
    return session.table("orders")
