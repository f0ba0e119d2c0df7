"""Many rows come to the sum that they come to one by one, whatever somebody put into them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.catalog.store.covering.elements import MANY_ROWS, ROWS_AT_ONCE, rows_sum
from affidavit.catalog.store.covering.multiset import element, elements_sum
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.store.tables import TABLES

COLUMNS = (ROWID, "name", "a", "b", "c")
INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(
    st.none(), INTEGERS, st.booleans(), st.floats(allow_nan=False), st.binary(max_size=9),
    st.text(st.characters(exclude_categories=()), max_size=9),
)  # fmt: skip
ROWS = st.lists(
    st.tuples(INTEGERS, st.text(max_size=9), INTEGERS, VALUES, VALUES),
    min_size=MANY_ROWS, max_size=2 * MANY_ROWS,
)  # fmt: skip


@pytest.fixture(scope="module", params=[True, False])
def table(request):
    """A table whose order is covered, and one whose is not."""
    assert TABLES.cover is not None
    return replace(TABLES, cover=replace(TABLES.cover, is_ordered=request.param))


@settings(max_examples=40)
@given(rows=ROWS)
def test_many_rows_come_to_the_sum_of_each(table, rows) -> None:
    each = sum(rows_sum(table, "tables/x", COLUMNS, [row]) for row in rows)
    assert rows_sum(table, "tables/x", COLUMNS, rows) == each
    assert rows_sum(table, "tables/x", COLUMNS, map(list, rows)) == each


def test_more_rows_than_are_taken_at_once_come_to_the_sum_of_each(table) -> None:
    rows = [(at, "n", at % 3, None, "v" * at) for at in range(ROWS_AT_ONCE + MANY_ROWS + 5)]
    each = sum(rows_sum(table, "tables/x", COLUMNS, [row]) for row in rows)
    assert rows_sum(table, "tables/x", COLUMNS, iter(rows)) == each


def test_what_is_no_number_of_64_bits_is_refused_in_many_rows_as_in_one(table) -> None:
    for count in (1, MANY_ROWS):
        with pytest.raises(OverflowError):
            rows_sum(table, "tables/x", COLUMNS, [(1, "n", 2**63, None, None)] * count)


def test_elements_carry_beyond_their_width() -> None:
    marked = [b"%d" % at for at in range(300)]
    assert elements_sum(marked) == sum(map(element, marked))
