"""P4, P5: the tree of RFC 9162, its proofs, and signed notes, against published vectors."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.catalog.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    subtree_root,
    verify_consistency,
)
from affidavit.catalog.ledger.verifier import (
    EMPTY_ROOT,
    Checkpoint,
    LedgerProblem,
    PublicKey,
    leaf_hash,
    open_note,
    outside_ranges,
    root_from_range,
    verify_inclusion,
)

# the leaves and roots that certificate transparency's own implementations are tested with
LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# from the documentation of Go's golang.org/x/mod/sumdb/note
KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
SIZE = 1500


class Tree:
    """A tree that was grown leaf by leaf, with what it kept."""

    def __init__(self) -> None:
        self.leaves = [leaf_hash(str(at).encode()) for at in range(SIZE)]
        self.kept: dict[tuple[int, int], bytes] = {}
        self.roots = [Frontier().root]
        frontier = Frontier()
        for leaf in self.leaves:
            frontier, nodes = frontier.extended([leaf])
            self.kept |= {(level, at): found for level, at, found in nodes}
            self.roots.append(frontier.root)

    def fetch(self, level: int, first: int, end: int) -> list[bytes]:
        if level == 0:
            return self.leaves[first:end]
        return [self.kept[level, at] for at in range(first, end)]


TREE = Tree()
sizes = st.integers(1, SIZE)


def test_p4_the_roots_are_the_published_ones() -> None:
    assert hashlib.sha256().digest() == EMPTY_ROOT == Frontier().root
    frontier = Frontier()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        frontier, _ = frontier.extended([leaf_hash(bytes.fromhex(leaf))])
        assert frontier.root.hex() == root


def test_p4_leaves_added_at_once_make_the_same_tree() -> None:
    frontier, nodes = Frontier().extended(TREE.leaves)
    assert frontier.root == TREE.roots[-1]
    assert {(level, at): found for level, at, found in nodes} == TREE.kept


@given(sizes, st.data())
def test_p5_inclusion_proofs_prove_their_leaf_and_no_other(size, data) -> None:
    at = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(TREE.fetch, at, size)
    assert len(proof) <= (size - 1).bit_length()
    assert verify_inclusion(at, size, TREE.leaves[at], proof, TREE.roots[size])
    assert not verify_inclusion(at, size, TREE.leaves[(at + 1) % SIZE], proof, TREE.roots[size])
    assert not verify_inclusion(at, size, TREE.leaves[at], proof, TREE.roots[size - 1])
    assert not verify_inclusion(at, size, TREE.leaves[at], [*proof, b"x" * 32], TREE.roots[size])
    if proof:
        assert not verify_inclusion(at, size, TREE.leaves[at], proof[:-1], TREE.roots[size])
        bent = [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]
        assert not verify_inclusion(at, size, TREE.leaves[at], bent, TREE.roots[size])


@given(sizes, st.data())
def test_p4_consistency_proofs_prove_an_extension_and_nothing_else(size, data) -> None:
    old = data.draw(st.integers(0, size))
    proof = consistency_proof(TREE.fetch, old, size)
    roots = TREE.roots
    assert verify_consistency(old, size, proof, roots[old], roots[size])
    if old not in {0, size}:
        assert not verify_consistency(old, size, proof, roots[old - 1], roots[size])
        assert not verify_consistency(old, size, proof, roots[old], roots[size - 1])
        assert not verify_consistency(old, size, [*proof, b"x" * 32], roots[old], roots[size])
        assert not verify_consistency(old, size, proof[:-1], roots[old], roots[size])


@given(sizes, st.data())
def test_p5_a_range_proves_that_it_stands_whole_in_its_place(size, data) -> None:
    first = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(first + 1, size))
    outside = [subtree_root(TREE.fetch, *each) for each in outside_ranges(first, end, size)]
    leaves = TREE.leaves[first:end]
    assert root_from_range(first, leaves, size, outside) == TREE.roots[size]
    if len(leaves) > 1:
        swapped = [leaves[1], leaves[0], *leaves[2:]]
        assert root_from_range(first, swapped, size, outside) != TREE.roots[size]
    for wrong in (outside[:-1], [*outside, b"x" * 32]):
        if wrong != outside:
            with pytest.raises(LedgerProblem, match="too short|too long"):
                root_from_range(first, leaves, size, wrong)


def test_p5_a_published_note_opens_with_its_key_and_not_when_changed() -> None:
    key = PublicKey.parse(KEY)
    assert str(key) == KEY
    assert open_note(f"{TEXT}\n{SIGNATURE}", [key]) == (TEXT, key)
    with pytest.raises(LedgerProblem, match="signature is wrong"):
        open_note(f"{TEXT.replace('problem', 'Problem')}\n{SIGNATURE}", [key])
    with pytest.raises(LedgerProblem, match="no key"):
        open_note(f"{TEXT}\n{SIGNATURE}", [])
    with pytest.raises(LedgerProblem):
        open_note(TEXT, [key])


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "o\n", "o\n1\n", "o\n01\n" + "A" * 43 + "=\n", "o\n-1\n" + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 42 + "=\n", "o\n1\nAAAA\n", "o\n1\n" + "A" * 43 + "=\nmore\n",
        "\n1\n" + "A" * 43 + "=\n",
    ],
)  # fmt: skip
def test_p12_what_is_no_checkpoint_is_refused(text) -> None:
    with pytest.raises(LedgerProblem):
        Checkpoint.parse(text)


def test_a_checkpoint_reads_back() -> None:
    state = Checkpoint("affidavit/lake/tenant", 7, b"\x07" * 32)
    assert Checkpoint.parse(state.text) == state


@pytest.mark.parametrize(
    "text", ["", "name", "name+00000000+", "name+c74f20a3+AAAA", KEY[:-4], KEY.replace("c7", "c8")]
)
def test_p12_what_is_no_public_key_is_refused(text) -> None:
    with pytest.raises(LedgerProblem):
        PublicKey.parse(text)
