"""P4: whatever is changed in a ledger's tables is found, and the first entry that is wrong named."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.forging import BIG, flipped, length

if TYPE_CHECKING:
    from tests.support.forging import Store, Value


def flips(value: Value) -> list[Value]:
    return [flipped(value, at) for at in range(length(value))]


def test_p4_what_nobody_touched_verifies(small: Store, big: Store) -> None:
    assert small.verify().ok
    assert (small.verify().entries, small.verify().signatures) == (5, 3)
    assert (big.verify().ok, big.verify(signatures=False).ok, big.size) == (True, True, BIG)
    assert big.one("SELECT count(*) FROM ledger_nodes") == 2


# --- one byte -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("column", ["body", "signature", "leaf_hash"])
def test_p4_each_flipped_byte_of_an_entry_is_found_and_its_entry_named(small, column) -> None:
    for seq in range(small.size):
        rowid = small.rowid(seq)
        for wrong in flips(small.one(f"SELECT {column} FROM ledger WHERE _rowid = ?", rowid)):
            with small.undone():
                small.set("ledger", rowid, **{column: wrong})
                found = small.verify(signatures=False)
            assert (found.ok, found.seq) == (False, seq), found


@pytest.mark.slow
def test_p4_each_flipped_byte_of_a_body_is_found_although_its_leaf_was_computed_anew(small) -> None:
    """The changed entry was called one of a stretch, and the stretch's first entry named.

    Whoever recomputes the leaf changes every root above it, and the first checkpoint above, found
    wrong too, reported that some entry from the first on was not what it was signed for; the entry
    itself, whose signature is wrong, was not named.
    """
    for seq in range(small.size):
        body, signature = small.entry(seq)
        for wrong in flips(body):
            with small.undone():
                small.forge(seq, wrong, signature)
                found = small.verify()
            assert (found.ok, found.seq) == (False, seq), found


@pytest.mark.slow
def test_p4_each_flipped_byte_of_a_signature_is_found_although_its_leaf_was_computed_anew(
    small,
) -> None:
    for seq in range(small.size):
        body, signature = small.entry(seq)
        for wrong in flips(signature):
            with small.undone():
                small.forge(seq, body, wrong)
                found = small.verify()
            assert (found.ok, found.seq) == (False, seq), found


@pytest.mark.parametrize("column", ["seq", "kind", "entry_id", "created_at"])
def test_p4_each_flipped_byte_of_an_entrys_columns_is_found_and_its_entry_named(
    small, column
) -> None:
    for seq in range(small.size):
        rowid = small.rowid(seq)
        for wrong in flips(small.one(f"SELECT {column} FROM ledger WHERE _rowid = ?", rowid)):
            with small.undone(), suppress(sqlite3.IntegrityError):  # another entry's number
                small.set("ledger", rowid, **{column: wrong})
                found = small.verify(signatures=False)
                assert (found.ok, found.seq) == (False, seq), found


@pytest.mark.parametrize(
    "column",
    ["size", "peaks", "note", "key_id", "generation", "checkpoint_size", "checkpoint_at"],
)
def test_p4_each_flipped_byte_of_the_head_is_found_and_no_entry_blamed(small, column) -> None:
    """Key, generation and newest checkpoint of a head were not compared with anything.

    A wrong size was blamed on the entry that was then missing or too many, and the last digit of a
    signature's base64 has bits to spare that nobody looked at.
    """
    for wrong in flips(small.one(f"SELECT {column} FROM ledger_heads")):
        with small.undone():
            small.run(f"UPDATE ledger_heads SET {column} = ?", wrong)
            found = small.verify(signatures=False)
        assert (found.ok, found.seq, "head" in str(found)) == (False, None, True), found


@pytest.mark.slow
@pytest.mark.parametrize("column", ["size", "root", "key_id", "note"])
def test_p4_each_flipped_byte_of_a_checkpoint_is_found_and_no_entry_blamed(small, column) -> None:
    for rowid, value in small.run(f"SELECT _rowid, {column} FROM checkpoints"):
        for wrong in flips(value):
            with small.undone(), suppress(sqlite3.IntegrityError):  # another checkpoint's size
                small.set("checkpoints", rowid, **{column: wrong})
                found = small.verify(signatures=False)
                assert (found.ok, found.seq, "checkpoint" in str(found)) == (False, None, True)


def test_p4_each_flipped_byte_of_the_newest_checkpoints_time_is_found(small) -> None:
    """No signature says when a checkpoint was kept; the head says it of the newest again."""
    rowid, at_us = small.run("SELECT _rowid, created_at FROM checkpoints ORDER BY size")[-1]
    for wrong in flips(at_us):
        with small.undone():
            small.set("checkpoints", rowid, created_at=wrong)
            assert not small.verify(signatures=False)


@pytest.mark.parametrize("column", ["row_id", "seq"])
def test_p4_each_flipped_byte_of_the_index_of_results_is_found_and_its_search_named(
    small, column
) -> None:
    for rowid, seq, value in small.run(f"SELECT _rowid, seq, {column} FROM search_results"):
        for wrong in flips(value):
            with small.undone():
                small.set("search_results", rowid, **{column: wrong})
                found = small.verify(signatures=False)
            lower = column == "seq" and 0 <= wrong < seq  # as if that search had returned it
            assert (found.ok, found.seq) == (False, wrong if lower else seq), found


@pytest.mark.parametrize("column", ["level", "position", "hash"])
def test_p4_each_flipped_byte_of_a_kept_node_is_found(big, column) -> None:
    for rowid, value in big.run(f"SELECT _rowid, {column} FROM ledger_nodes"):
        for wrong in flips(value)[:: 1 if column != "hash" else 5]:
            with big.undone(), suppress(sqlite3.IntegrityError):  # another node's place
                big.set("ledger_nodes", rowid, **{column: wrong})
                found = big.verify(signatures=False)
                assert (found.ok, found.seq, "node" in str(found)) == (False, None, True)


@pytest.mark.parametrize("table", ["ledger_heads", "checkpoints"])
def test_p4_a_signature_written_in_another_way_is_found(small, table) -> None:
    """Spare bits in the last digit of base64, and whatever came after the signature, were passed."""
    rowid, note = small.run(f"SELECT _rowid, note FROM {table}")[0]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    others = [f"{note[:-3]}{digit}=\n" for digit in digits if digit != note[-3]]
    others += [note[:-1], note + "\n", note + "x", note[:-1] + "\r\n", note[:-1] + "\x0b",
               note + note.split("\n\n")[1], note.replace("— ", "—  "), note[:-2] + "\n"]  # fmt: skip
    for other in others:
        with small.undone():
            small.set(table, rowid, note=other)
            assert not small.verify(signatures=False), other


@given(st.data())
@settings(max_examples=33)
def test_p4_any_bit_of_any_column_matters(small, data) -> None:
    table = data.draw(st.sampled_from(["ledger", "ledger_heads", "checkpoints", "search_results"]))
    columns = [row[1] for row in small.run(f"PRAGMA table_info({table})")]
    kept = {"_rowid", "_tenant", "created_at"}  # whose a row is has tests of its own
    kept |= {"opened", "how"}  # beside what is signed
    column = data.draw(st.sampled_from([each for each in columns if each not in kept]))
    rows = small.run(f"SELECT _rowid, {column} FROM {table}")
    rowid, value = data.draw(st.sampled_from([row for row in rows if length(row[1])]))
    at = data.draw(st.integers(0, length(value) - 1))
    wrong = 1 if value is None else flipped(value, at, data.draw(st.integers(0, 6)))
    with small.undone(), suppress(sqlite3.IntegrityError):
        small.set(table, rowid, **{column: wrong})
        assert not small.verify()


# --- other types and other shapes -----------------------------------------------------------------

COLUMNS = [
    ("ledger", "seq"), ("ledger", "kind"), ("ledger", "entry_id"), ("ledger", "created_at"),
    ("ledger", "leaf_hash"), ("ledger", "body"), ("ledger", "signature"),
    ("ledger_heads", "size"), ("ledger_heads", "peaks"), ("ledger_heads", "note"),
    ("ledger_heads", "key_id"), ("ledger_heads", "generation"),
    ("ledger_heads", "checkpoint_size"), ("ledger_heads", "checkpoint_at"),
    ("ledger_heads", "log_rows"), ("ledger_heads", "log_digest"), ("ledger_heads", "log_first"),
    ("checkpoints", "size"), ("checkpoints", "root"), ("checkpoints", "key_id"),
    ("checkpoints", "note"), ("checkpoints", "created_at"),
    ("search_results", "row_id"), ("search_results", "seq"), ("ledger_nodes", "level"),
    ("ledger_nodes", "position"), ("ledger_nodes", "hash"),
]  # fmt: skip


def other_types(value: Value) -> list[Value]:
    """Return values of each other type, first those that say the same."""
    same: list[Value] = []
    if isinstance(value, int):
        same = [float(value), str(value), str(value).encode()]
    elif isinstance(value, str):
        same = [value.encode()]
    elif isinstance(value, bytes):
        same = [value.decode("latin-1")]
    return [*same, None, "text", "", b"blob", b"", 1.5, -1, 0, 2**62, "1\nVERIFIED", "\x1b[2J"]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_p4_a_value_of_another_type_is_found_in_every_column(big, table, column) -> None:
    """A number kept as 3.0 passed for 3, and text where bytes belong ended verification."""
    rowid, value = big.run(f"SELECT _rowid, {column} FROM {table} ORDER BY 1 DESC")[0]
    for wrong in other_types(value):
        if type(wrong) is type(value) and wrong == value:
            continue
        with big.undone():
            try:
                big.set(table, rowid, **{column: wrong})
            except sqlite3.IntegrityError:  # another row has this place
                continue
            found = big.verify(signatures=False)
        assert not found, (table, column, wrong)
        assert str(found).isprintable()
        if table == "ledger" or (
            table == "search_results" and not (column == "seq" and type(wrong) is int)
        ):
            assert found.seq == BIG - 1
        elif table != "search_results":
            assert found.seq is None


SHAPES: dict[str, bytes] = {
    "nothing": b"", "no JSON": b"{", "no UTF-8": b"\xff", "a list": b"[]", "a number": b"7",
    "null": b"null", "no members": b"{}", "nested": b'{"seq":' + b"[" * 500 + b"]" * 500 + b"}",
    "nested too deep": b"[" * 100_000, "a long number": b'{"seq":' + b"9" * 9000 + b"}",
    "not a number": b'{"seq":NaN}', "a long text": b'{"seq":"' + b"9" * 9000 + b'"}',
}  # fmt: skip
MEMBERS: list[dict[str, object]] = [
    {"seq": ...}, {"seq": None}, {"seq": "1"}, {"seq": [1]}, {"seq": 2}, {"seq": "\x1b[2J"},
    {"kind": ...}, {"kind": None}, {"kind": ["search"]}, {"kind": {}}, {"kind": "key"},
    {"kind": "key", "public_key": None}, {"kind": "key", "public_key": "\ud800+00+AA"},
    {"tenant": ...}, {"tenant": None}, {"tenant": 1}, {"tenant": ["default"]}, {"tenant": "other"},
    {"tenant": "\ud800"}, {"tenant": ""}, {"tenant": "../default"}, {"tenant": "x" * 9000},
    {"key_id": ...}, {"key_id": None}, {"key_id": 1}, {"key_id": {"a": []}}, {"key_id": "\x1b[2J"},
    {"query_id": ...}, {"query_id": []}, {"query_id": "other"}, {"executed_at": ...},
    {"executed_at": 1}, {"executed_at": "yesterday"}, {"executed_at": "0001-01-01T00:00:00+23:59"},
    {"executed_at": "9999-12-31T23:59:59.999999-23:59"}, {"executed_at": "2026-01-01T00:00:00"},
    {"executed_at": [[]]}, {"top_k_result_ids": ...}, {"top_k_result_ids": {}},
    {"top_k_result_ids": [[], None]}, {"top_k_result_ids": "row"},
]  # fmt: skip


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_p4_a_body_that_is_no_record_at_all_is_found_and_named(small, name, signed) -> None:
    small.forge(1, SHAPES[name], small.entry(1)[1] if signed else None)
    for options in ({}, {"signatures": False}):
        found = small.verify(**options)
        assert (found.ok, found.seq) == (False, 1)
        assert str(found).isprintable()
        assert len(str(found)) < 400


@pytest.mark.parametrize("changed", MEMBERS, ids=str)
def test_p4_a_body_with_members_missing_or_of_another_type_is_found_and_named(
    small, changed
) -> None:
    """A lone surrogate in a name ended verification, and what was printed could move the cursor."""
    body, signature = small.entry(1)
    small.forge(1, body_with_escapes(body, changed), signature)
    found = small.verify()
    assert (found.ok, found.seq) == (False, 1)
    assert str(found).isprintable()
    assert len(str(found)) < 400


def body_with_escapes(body: bytes, changed: dict[str, object]) -> bytes:
    """Return the changed body in ASCII, which can hold a lone surrogate."""
    fields = {**json.loads(body), **changed}
    return json.dumps({name: each for name, each in fields.items() if each is not ...}).encode()
