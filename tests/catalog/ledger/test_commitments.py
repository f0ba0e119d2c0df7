"""What is a commitment in a body, and what only looks like one."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

import affidavit
from affidavit.catalog.ledger.commitments import COMMITTED, check_opened
from affidavit.catalog.ledger.verifier import LedgerProblem
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
    with sqlite3.connect(tmp_path / "lake" / "catalog.db") as store:
        body = store.execute("SELECT body FROM ledger WHERE kind = 'read'").fetchone()[0]
    store.close()
    looks = {name for name, value in json.loads(body).items() if str(value).startswith("c:")}
    assert "context" in looks
    assert looks <= COMMITTED


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_a_number_that_json_has_none_of_is_no_value(number: str) -> None:
    """A byte that is flipped in an exponent makes one, which verifying tells as any other."""
    opened = f'{{"condition":["{"00" * 32}",{number}]}}'.encode()
    with pytest.raises(LedgerProblem, match="cannot be read"):
        check_opened({"condition": "00" * 32}, opened)
