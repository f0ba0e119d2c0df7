"""The kinds of table: a room that does something by kind does it for each of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from affidavit.catalog.journal.events import EVENTS_OF
from affidavit.catalog.model.definition import KINDS, parse_definition
from affidavit.catalog.tables.altering.renames import RENAMES
from affidavit.catalog.tables.kinds import DROPS, HANDLES
from affidavit.engine.scans.resolve import READINGS
from affidavit.engine.scans.system import COUNTS


@pytest.mark.parametrize(
    "rows",
    [READINGS, COUNTS, EVENTS_OF, RENAMES, DROPS],
    ids=["read", "counted", "told", "renamed", "dropped"],
)
def test_every_kind_has_its_row(rows: Mapping[str, object]) -> None:
    """A kind without one would fail where it is first met, and not here."""
    assert set(rows) == set(KINDS)


def test_a_kind_has_a_handle_where_its_rows_are_kept_here() -> None:
    assert set(HANDLES) == {name for name, kind in KINDS.items() if kind.has_rows}
    assert all(handle.kind == name for name, handle in HANDLES.items())


def test_a_text_has_no_rows_of_its_own() -> None:
    assert not any(kind.is_text and kind.has_rows for kind in KINDS.values())
    assert all(kind.has_rows for kind in KINDS.values() if kind.has_versions)


def test_the_names_on_disk_are_these() -> None:
    """A lake that is there has them in its store."""
    assert list(KINDS) == ["mutable", "vector", "view", "external", "sequence"]
    assert all(kind.name == name for name, kind in KINDS.items())


def test_a_definition_is_read_by_its_kind() -> None:
    text = '{"table_id": "t", "sql": "SELECT 1", "paths": ["a"]}'
    for name in ("view", "external"):
        assert parse_definition(name, text).to_json() == text
