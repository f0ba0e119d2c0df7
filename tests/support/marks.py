"""A pytest plugin: tests that need a server are marked ``server``, and no others may start one.

A test is marked for its fixtures: those that say in their return type that they give a server. Where a
server is started elsewhere, the test or its parameter is marked by hand; ``may_start_server`` fails
where somebody forgot.
"""

from __future__ import annotations

import re

import pytest

_running: list[pytest.Item] = []


def may_start_server() -> None:
    """Fail where the test that runs is not marked ``server``: it would be run where there is none."""
    if _running and _running[0].get_closest_marker("server") is None:
        pytest.fail(f"{_running[0].nodeid} starts a server: mark it pytest.mark.server")


def gives_server(fixture: pytest.FixtureDef[object]) -> bool:
    given = getattr(fixture.func, "__annotations__", {}).get("return", "")
    return re.search(r"Server\b", str(given)) is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "_fixtureinfo", None)
        if fixtures is not None and any(
            gives_server(found[-1]) for found in fixtures.name2fixturedefs.values()
        ):
            item.add_marker("server")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> object:
    before, _running[:] = _running[:], [item]
    try:
        return (yield)
    finally:
        _running[:] = before
