"""What is made of a text is kept, if it is short."""

from __future__ import annotations

import pytest

from affidavit.catalog.sql.lexer import REMEMBERED_LENGTH_MAX, REMEMBERED_MAX, remembered


def test_what_is_made_of_short_texts_is_kept_and_errors_are_not() -> None:
    made: list[str] = []

    @remembered
    def make(text: str) -> str:
        made.append(text)
        if text == "bad":
            raise ValueError(text)
        return text.lower()

    assert [make("A"), make("A")] == ["a", "a"]
    long = "B" * (REMEMBERED_LENGTH_MAX + 1)
    assert make(long) == make(long)
    assert made == ["A", long, long]
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            make("bad")
    assert made[3:] == ["bad", "bad"]
    for number in range(REMEMBERED_MAX):
        make(f"N{number}")
    assert make("A") == "a"
    assert made[-1] == "A"
