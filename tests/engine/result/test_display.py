"""What a console shows of a table: every digit, one line a row, and no more than fits."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.engine.result.display import as_html, as_text, cell
from affidavit.screen import width_of


def single(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


@given(st.floats())
def test_a_number_is_read_again_from_what_is_shown(value: float) -> None:
    assert repr(float(cell(value))) == repr(value)


@given(st.floats(width=32))
def test_a_number_of_single_precision_is_read_again_and_short(value: float) -> None:
    shown = cell(value, pa.float32())
    assert repr(single(float(shown))) == repr(value)
    assert len(shown) <= len("-9999999827968000.0")


def test_numbers_in_vectors_are_shown_in_their_precision() -> None:
    table = pa.table({"v": pa.array([[0.1, 0.2]], pa.list_(pa.float32(), 2))})
    assert "[0.1, 0.2]" in as_text(table, more=False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "NULL"), ("NULL", "'NULL'"), ("'NULL'", "''NULL''"), ("null", "null"), (True, "True"),
     ("a\nb\tc", r"a\nb\tc"), ("\x1b[2K", r"\x1b[2K"), ("\u202egnp", r"\u202egnp"), (b"\x1b", r"b'\x1b'"),
     ("l'été\xa0: 日本", "l'été\xa0: 日本"), ({"a": "\x1b"}, r"{'a': '\x1b'}"),
     (list(range(9)), "[0, 1, 2, 3, ... 9]"), ([None, "NULL"], "[NULL, 'NULL']"), (10**30, "1" + "0" * 30)],
)  # fmt: skip
def test_a_value_is_one_line_and_told_from_others(value: object, shown: str) -> None:
    assert cell(value) == shown


@given(
    st.lists(st.text(max_size=80), min_size=1, max_size=40),
    st.integers(30, 200),
    st.booleans(),
)
def test_whatever_is_printed_fits_the_terminal(cells: list[str], room: int, more: bool) -> None:
    arrays = [pa.array([each.encode("utf-8", "replace").decode()]) for each in cells]
    table = pa.table(arrays, names=[f"c{at}" for at in range(len(cells))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(room))
        lines = as_text(table, more=more).splitlines()
    assert len(lines) == 4
    assert max(map(width_of, lines[:-1])) <= room
    assert ("columns" in lines[-1]) == ("…" in lines[1].split())


def test_a_table_that_fits_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    assert as_text(pa.table({"a": [1], "日本": ["日本語"]}), more=False).splitlines() == [
        "a  日本", "-  ------", "1  日本語", "(1 row)",
    ]  # fmt: skip


def test_how_many_rows_there_are_is_said() -> None:
    table = pa.table({"a": range(1_000)})
    assert as_text(table, more=False).endswith("(the first 20 of 1,000 rows)")
    assert as_text(table, more=True).endswith("(the first 20 rows; there are more)")


def test_names_are_escaped_like_values() -> None:
    table = pa.table({"a\x1b[2K\nb": [1], "<b>": [2]})
    text, page = as_text(table, more=False), as_html(table, more=False)
    assert text.splitlines()[0].split() == [r"a\x1b[2K\nb", "<b>"]
    assert "\x1b" not in page
    assert "<b>" not in page


def test_a_plan_is_shown_whole_and_in_lines() -> None:
    plan = "\n".join(f"{'  ' * at}Filter: {'x' * 100}" for at in range(5))
    table = pa.table({"plan_type": ["logical_plan"], "plan": [plan]})
    text = as_text(table, more=False)
    assert text.splitlines() == ["logical_plan", *(f"  {line}" for line in plan.splitlines())]
    assert text in as_html(table, more=False)
