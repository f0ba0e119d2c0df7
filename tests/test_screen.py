"""What reaches a screen is obeyed by none."""

from __future__ import annotations

import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit import errors
from affidavit.screen import cut, escaped, masked, padded, width_of


@given(st.text())
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = escaped(text)
    assert not any(unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} for each in shown)
    assert not any(
        unicodedata.bidirectional(each) in {"RLO", "LRO", "RLE", "PDF"} for each in shown
    )
    assert not set(escaped(text, lines=True)) & {"\x00", "\x1b", "\r", "\x7f", "\x9b"}


def test_words_are_left_as_they_are() -> None:
    for text in ("l'été : 1\xa0000 €", "日本語", "שלום", "👩\u200d⚕️", "a\u0301"):
        assert escaped(text) == text
    assert escaped("a\n\tb", lines=True) == "a\n\tb"


@given(st.text(), st.integers(1, 20))
def test_what_is_cut_and_padded_is_as_wide_as_said(text: str, width: int) -> None:
    shown = escaped(text)
    assert width_of(cut(shown, width)) <= width
    assert width_of(padded(cut(shown, width), width)) == width


def test_p21_an_error_says_no_escape_and_keeps_what_it_is() -> None:
    error = errors.TableNotFoundError("t\x1b[2K", known=["a\x1b"])
    assert "\x1b" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert error.name == "t\x1b[2K"
    assert str(errors.SqlError("one\n  two\x1b")) == "one\n  two\\x1b"


@pytest.mark.parametrize(
    "text",
    ["x = X'" + "ab" * 500_000, "x://a:b " * 60_000 + "@", "a=b," * 200_000 + "@", "k" * 1_000_000 + "="],
    ids=["hex", "urls", "pairs", "word"],
)  # fmt: skip
def test_p21_a_long_text_is_looked_through_once(text: str) -> None:
    """By steps that grow with the text's square, the shortest of these takes minutes."""
    assert masked(f"{text} password=hush").endswith(" password=***")
