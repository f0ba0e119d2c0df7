"""What is a commitment in a body, and what only looks like one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.beside import beside

import affidavit
from affidavit.catalog.ledger import commitments
from affidavit.catalog.ledger.commitments import COMMITTED, Commitments, check_opened
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.values.canonical import canonical
from affidavit.engine.search.fields import FIELDS

if TYPE_CHECKING:
    from pathlib import Path


def test_an_actor_whose_name_looks_like_a_commitment_breaks_no_proof(tmp_path: Path) -> None:
    """Every member whose text began with ``c:`` was taken for one, and its value called gone.

    So whoever could choose a name for an actor, such as a web application's users, made every
    later check of the ledger say that it was corrupt.
    """
    named = "c:" + "0" * 64
    with affidavit.connect(tmp_path / "lake", actor="c:bob", audit="reads") as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY)")
        with session.scope(actor=named, source=named, workspace=named) as scoped:
            scoped.sql("SELECT * FROM t").to_arrow()
        assert session.ledger.verify().ok


def test_every_member_that_a_record_commits_to_is_known_to_the_check(tmp_path: Path) -> None:
    """One that is missing from the list could be taken away without a word."""
    assert {each.name for each in FIELDS if each.committed} <= COMMITTED
    with affidavit.connect(tmp_path / "lake", audit="rows", store_queries=True) as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY)")
        with session.scope(context={"purpose": "audit"}) as scoped:
            scoped.sql("SELECT id FROM t WHERE id < $n", {"n": 3}).to_arrow()
    with beside(tmp_path / "lake") as store:
        body = store.execute("SELECT body FROM ledger WHERE kind = 'read'").fetchone()[0]
    looks = {name for name, value in json.loads(body).items() if str(value).startswith("c:")}
    assert "context" in looks
    assert looks <= COMMITTED


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_a_number_that_json_has_none_of_is_no_value(number: str) -> None:
    """A byte that is flipped in an exponent makes one, which verifying tells as any other."""
    opened = f'{{"condition":["{"00" * 32}",{number}]}}'.encode()
    with pytest.raises(LedgerProblem, match="cannot be read"):
        check_opened({"condition": "00" * 32}, opened)


@given(
    values=st.dictionaries(
        st.sampled_from(["text", "ids", "params", "filter"]),
        st.recursive(
            st.none() | st.integers(-9, 9) | st.text('],"[{}:ac0\\', max_size=6)
            | st.sampled_from(['],"ids":["' + "0" * 32 + '",1', '":["' + "a" * 32 + '",']),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("ids"), inner),
            max_leaves=4,
        ),
        min_size=1,
    ),
    change=st.sampled_from(["", "flip", "cut", "swap", "twice", "spaces", "more"]),
    at=st.integers(0, 400),
)  # fmt: skip
def test_what_is_checked_as_it_is_written_is_checked_as_it_is_read(
    values: dict[str, object], change: str, at: int
) -> None:
    """What seems to be a member in a text, a member that stands twice, a byte of another value."""
    made = Commitments({name: canonical(value) for name, value in values.items()})
    fields = {name: json.loads(member) for name, member in made.members.items()}
    opened = made.opened or b""
    place = at % len(opened)
    if change == "flip":
        opened = opened[:place] + bytes([opened[place] ^ 1]) + opened[place + 1 :]
    elif change == "cut":
        opened = opened[:place]
    elif change == "swap":
        opened = b"{" + b",".join(reversed(opened[1:-1].split(b"],"))) + b"}"
    elif change == "twice":
        opened = opened[:-1] + b"," + opened[1:]
    elif change == "spaces":
        opened = opened.replace(b":", b": ")
    elif change == "more":
        opened = opened[:-1] + b',"other":["' + b"0" * 32 + b'",1]}'
    quickly = _answer(fields, opened)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commitments, "_opened_as_written", lambda *_: None)
        assert _answer(fields, opened) == quickly
    assert quickly == set(values) or change


def _answer(fields: dict[str, object], opened: bytes) -> object:
    try:
        return set(check_opened(fields, opened))
    except LedgerProblem as problem:
        return problem.problem
