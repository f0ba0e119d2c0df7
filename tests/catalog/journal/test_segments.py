"""Which neighbours are merged, and what a reader of segments keeps at hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.catalog.journal.merging import mergeable
from affidavit.catalog.journal.segments.remembered import Recent
from affidavit.catalog.journal.segments.segment import Segment


def segments_of(*counts: int) -> list[Segment]:
    return [Segment(at, at, count, 0, 0, b"", b"", "", 0) for at, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("counts", "merged"),
    [
        ([1] * 7, 0),
        ([1] * 8, 8),
        ([20, *[1] * 7], 0),
        ([20, *[1] * 8], 8),
        ([7, *[1] * 7], 14),
        ([1] * 4 + [1000] + [1] * 7, 0),
        ([300] * 8, 0),
    ],
)
def test_neighbours_are_merged_that_are_small_and_about_as_large_as_each_other(
    counts, merged
) -> None:
    found = mergeable(segments_of(*counts), large=1000, events_max=2000)
    assert sum(each.events for each in found) == merged


@given(st.lists(st.integers(1, 300), max_size=400))
def test_merging_leaves_few_segments_and_writes_an_event_few_times(counts) -> None:
    """However much each flush has: below 64 flushes' events there are few, and each merge doubles."""
    segments: list[Segment] = []
    written = 0
    for count in counts:
        segments += segments_of(count)
        while group := mergeable(segments, large=64 * 300):
            at = next(at for at, each in enumerate(segments) if each is group[0])
            whole = sum(each.events for each in group)
            written += whole
            segments[at : at + len(group)] = segments_of(whole)
    assert sum(each.events for each in segments) == sum(counts)
    assert written <= 15 * sum(counts)
    assert len([each for each in segments if each.events < 64 * 300]) <= 8 * 15


def test_what_was_used_last_is_kept_within_its_budget() -> None:
    recent: Recent[str] = Recent(100)
    for name in "abc":
        recent.put(name, name, 40)
    assert [recent.get(name) for name in "abc"] == [None, "b", "c"]
    assert recent.get("b") == "b"
    recent.put("d", "d", 40)
    assert [recent.get(name) for name in "bcd"] == ["b", None, "d"]
    recent.put("large", "large", 1000)
    assert recent.get("large") == "large"
    assert recent.get("d") is None
