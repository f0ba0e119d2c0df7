"""P4: of several bad entries the first is named; who can hash and has no key is found out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.forging import BIG, body_with, evil_key

from affidavit.catalog.ledger.verification import signatures

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.forging import Store


# --- more than one --------------------------------------------------------------------------------


def bend_body(store: Store, seq: int) -> None:
    store.set("ledger", store.rowid(seq), body=body_with(store.entry(seq)[0], actor="nobody"))


def bend_record(store: Store, seq: int) -> None:
    body, signature = store.entry(seq)
    store.forge(seq, body_with(body, actor="nobody"), signature)


def bend_signature(store: Store, seq: int) -> None:
    body, signature = store.entry(seq)
    store.forge(seq, body, signature[::-1])


def cut_signature(store: Store, seq: int) -> None:
    body, signature = store.entry(seq)
    store.forge(seq, body, signature[:-1])


def drop_signature(store: Store, seq: int) -> None:
    store.forge(seq, store.entry(seq)[0], None)


def bend_time(store: Store, seq: int) -> None:
    store.run("UPDATE ledger SET created_at = created_at + 1 WHERE seq = ?", seq)


def bend_index(store: Store, seq: int) -> None:
    store.run("UPDATE search_results SET row_id = 'row-y' WHERE seq = ? AND row_id = 'row-x'", seq)


def remove(store: Store, seq: int) -> None:
    store.run("DELETE FROM ledger WHERE seq = ?", seq)


HARM: list[Callable[[Store, int], None]] = [
    bend_body, bend_record, bend_signature, cut_signature, drop_signature, bend_time, bend_index,
    remove,
]  # fmt: skip


@given(st.dictionaries(st.integers(1, BIG - 1), st.sampled_from(HARM), min_size=1, max_size=6))
@settings(max_examples=30)
@pytest.mark.slow
def test_p4_the_first_of_several_bad_entries_is_named(big, harm) -> None:
    """Entries are hashed at once and their signatures later: each must not hide the other."""
    with big.undone():
        for seq, do in harm.items():
            do(big, seq)
        found = big.verify()
    assert (found.ok, found.seq) == (False, min(harm)), (harm, found)


@pytest.mark.parametrize("batch", [1, 7, 500])
@pytest.mark.slow
def test_p4_worker_processes_name_the_first_of_several_bad_entries_too(
    big, monkeypatch, batch
) -> None:
    monkeypatch.setattr(signatures, "PROCESSES_FROM", 10)
    monkeypatch.setattr(signatures, "BATCH_SIGNATURES", batch)
    started = []
    start = signatures.SignatureChecks._start
    monkeypatch.setattr(
        signatures.SignatureChecks, "_start",
        lambda checks, workers: (started.append(workers), start(checks, workers)),
    )  # fmt: skip
    assert big.verify().signatures == BIG - 1
    for seqs in ({599, 598}, {17, 300, 599}, {1, 2, 3}, {250, 256, 511}):
        with big.undone():
            for seq in seqs:
                bend_record(big, seq)
            assert big.verify().seq == min(seqs)
    with big.undone():
        bend_record(big, 400)
        bend_body(big, 401)
        remove(big, 399)
        assert big.verify().seq == 399
    assert len(started) == 6


def test_p4_without_signatures_the_stretch_between_two_signed_heads_is_named(small, big) -> None:
    with small.undone():
        bend_record(small, 2)
        found = small.verify(signatures=False)
        sizes = [row[0] for row in small.run("SELECT size FROM checkpoints ORDER BY size")]
        assert sizes == [2, 3, 4, 5]
        assert (found.seq, found.problem) == (
            2, "one of the entries 2 to 2 is not what the checkpoint at size 3 was signed for",
        )  # fmt: skip
    with big.undone():
        bend_record(big, BIG - 1)
        found = big.verify(signatures=False)
        assert found.seq == BIG - 1  # the checkpoint before it is right
    with big.undone():
        bend_record(big, 7)
        bend_body(big, 9)
        assert big.verify(signatures=False).seq == 9  # which explains the stretch
        bend_time(big, BIG - 1)
        assert big.verify(signatures=False).seq == 9


def test_p4_a_bad_node_does_not_hide_a_bad_entry(big) -> None:
    """A kept node without a place in the tree ended verification before any entry was read."""
    big.run("UPDATE ledger_nodes SET level = 'eight'")
    assert "node" in str(big.verify())
    bend_body(big, 7)
    assert big.verify().seq == 7


# --- whoever can hash, and has no key -------------------------------------------------------------


def test_p4_a_changed_record_is_found_although_every_hash_was_computed_anew(big) -> None:
    body, signature = big.entry(321)
    big.forge(321, body_with(body, actor="nobody"), signature)
    big.rehash()
    found = big.verify()
    assert (found.ok, found.seq) == (False, 321)
    assert "signature is wrong" in str(found)
    without = big.verify(signatures=False)
    assert (without.ok, without.seq) == (False, 0)  # of the stretch up to the first checkpoint
    assert "signed for" in str(without)


def test_p4_a_record_without_its_signature_is_found_although_every_hash_was_computed_anew(
    big,
) -> None:
    body, _ = big.entry(BIG - 1)
    big.forge(BIG - 1, body_with(body, key_id=...), None)
    big.rehash()
    found = big.verify()
    assert (found.ok, found.seq) == (False, BIG - 1)
    assert "signed for" in str(found)


def test_p4_a_record_signed_with_another_key_is_found_and_named(big) -> None:
    key = evil_key()
    body = body_with(big.entry(321)[0], actor="nobody")
    big.forge(321, body, key.sign(body))
    big.rehash()
    found = big.verify()
    assert (found.ok, found.seq) == (False, 321)


def test_p4_a_record_appended_without_a_key_is_found(big) -> None:
    body, signature = big.entry(BIG - 1)
    body = body_with(body, seq=BIG, query_id="new")
    big.run(
        "INSERT INTO ledger SELECT NULL, _tenant, ?, kind, 'new', created_at, leaf_hash, ?, ?, opened"
        " FROM ledger WHERE seq = ?",
        BIG, body, signature, BIG - 1,
    )  # fmt: skip
    assert big.verify().seq == BIG
    assert "does not cover it" in str(big.verify())
    big.rehash()
    assert big.verify().seq == BIG
    assert "signature is wrong" in str(big.verify())
