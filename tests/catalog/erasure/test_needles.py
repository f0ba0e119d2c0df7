"""Values that are looked for: where they are found, and where they are not."""

from __future__ import annotations

import base64
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.catalog.erasure.needles import Needles, number_of


def needles(*values: object) -> Needles:
    found = Needles()
    for value in values:
        found.add(value)
    return found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Ann", "where name = 'Ann'"),
        ("Ann", "'%ANN%'"),
        ("Ann", "Ann"),
        ("O'Brien", "it's O'Brien"),
        ("eve@example.org", "<eve@example.org>"),
        ("  spaced  out ", "x spaced  out y"),
        ("Łukasz Żółć", "łukasz żółć!"),
        ("-- dash", "a -- dash b"),
        (123456, "(123456)"),
        (123456, "n = 123_456 OR 1=1"),
        (-123456.5, "123456.50"),
        ("1234567.25", "1.23456725e6"),
        (910000000, "Int64(910000000)"),
        ("2026-11-30T09:00:00", "ts > '2026-11-30 09:00:00'"),
    ],
)
def test_a_value_is_found_where_it_stands_by_itself(value, text) -> None:
    assert needles(value).in_text(text)
    assert needles(value).in_json({"a": [None, {"b": text}]})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Ann", "Annual"), ("Ann", "Hannover"), ("Li", "Li"), ("", "anything"), (12, "12"),
        (1000, "LIMIT 1000"), (123456, "1234567"), (123456, "0.123456"), (123456, "x123456"),
        ("...", "..."), (True, "true"), (None, "null"),
    ],
)  # fmt: skip
def test_what_is_part_of_another_word_or_says_nothing_is_not_found(value, text) -> None:
    assert not needles(value).in_text(text)


def test_in_sql_names_and_keywords_are_not_values() -> None:
    found = needles("name", "select", "O'Brien")
    assert not found.in_sql("SELECT name FROM people WHERE id = 7")
    assert found.in_sql("SELECT x FROM people WHERE y = 'name'")
    assert found.in_sql('SELECT x FROM people WHERE y = "name"')
    assert found.in_sql("SELECT x -- name\nFROM people")
    assert found.in_sql("SELECT x /* select */ FROM people")
    assert found.in_sql("SELECT x FROM people WHERE y = 'O''Brien'")
    assert found.in_sql("'unended name")


def test_vectors_and_hashes_are_found() -> None:
    vector = [0.25, -1.5, 3.0]
    raw = np.asarray(vector, dtype="<f4").tobytes()
    found = needles({"v": vector, "text": "Ann Somebody"})
    assert found.in_json({"query": vector})
    assert found.in_json(base64.b64encode(raw).decode())
    assert found.in_json(hashlib.sha256(raw).hexdigest())
    assert found.in_json(hashlib.sha256(b"Ann Somebody").hexdigest())
    assert not found.in_json([0.25, -1.5, 3.5])
    assert not found.in_json(hashlib.sha256(b"another").hexdigest())


def test_a_question_shares_words_of_four_letters_and_more() -> None:
    found = needles("the patient has diabetes")
    assert found.share_words(["about Diabetes?"])
    assert not found.share_words(["the has"])


def test_what_is_kept_is_read_back() -> None:
    found = needles("Ann", 123456, [1.0, 2.0], "7654321")
    again = Needles.of_json(json.loads(json.dumps(found.to_json())))
    assert (again.texts, again.numbers, again.vectors) == (
        found.texts, found.numbers, found.vectors,
    )  # fmt: skip
    assert bool(found)
    assert not Needles()


@given(st.text(min_size=3, max_size=12), st.text(max_size=6), st.text(max_size=6))
def test_a_text_between_blanks_is_always_found(value: str, before: str, after: str) -> None:
    found = needles(value)
    assume_found = any(character.isalnum() or character == "_" for character in value.strip())
    if found.texts and assume_found:
        assert found.in_text(f"{before} {value.strip()} {after}")


@given(st.integers())
def test_a_number_is_found_however_it_is_written(value: int) -> None:
    if number_of(str(value)) is not None:
        assert needles(value).in_text(f"({abs(value):_})")
        assert needles(value).in_json({"n": value})


@pytest.mark.parametrize(
    ("kept", "written"),
    [
        ("2026-01-02T03:04:05.500000Z", ["2026-01-02 03:04:05.5", "2026-01-02T03:04:05.500"]),
        ("2026-01-02T03:04:05Z", ["2026-01-02 03:04:05", "2026-01-02T03:04:05+02:00"]),
        ("2026-01-02T03:04:00+00:00", ["2026-01-02 03:04", "2026-01-02T03:04:00.000Z"]),
        ("2026-01-02T03:04", ["2026-01-02 03:04:00"]),
    ],
)
def test_a_time_is_found_as_people_write_it(kept: str, written: list[str]) -> None:
    for text in written:
        assert needles(kept).in_sql(f"SELECT * FROM t WHERE at = TIMESTAMP '{text}'")
    assert not needles(kept).in_sql("SELECT TIMESTAMP '2026-01-02 03:05:05.5'")
