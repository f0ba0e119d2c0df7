"""Canonical JSON is that of RFC 8785, and what has none is refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.json_values import JSON

from affidavit import errors
from affidavit.catalog.values.canonical import canonical, canonical_list, canonical_object

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N", "Pc"]), min_size=1, max_size=8)


@given(JSON)
@settings(max_examples=100)
@pytest.mark.slow
def test_canonical_json_is_that_of_rfc_8785(value) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(NAMES, JSON, max_size=6))
@pytest.mark.slow
def test_a_canonical_object_is_put_together_from_its_members(value) -> None:
    members = {name: canonical(each) for name, each in value.items()}
    assert canonical_object(members) == rfc8785.dumps(value)


@given(st.lists(st.text()))
def test_a_list_of_texts_is_written_as_any_list(values) -> None:
    assert canonical_list(values, "ids") == rfc8785.dumps(values)


def test_p12_a_list_with_half_a_character_is_refused_by_name() -> None:
    with pytest.raises(errors.InvalidQueryError, match="ids cannot be written"):
        canonical_list(["a", "\ud800"], "ids")


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 2**53, -(2**53), "\ud800", {1: 2}, {"a": 1j}, b"x", {1.5},
     np.float32(1), ["a", [math.nan]]],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_p12_what_is_no_json_is_refused_by_name(value) -> None:
    with pytest.raises(errors.InvalidQueryError, match="the thing cannot be written as JSON"):
        canonical(value, "the thing")
