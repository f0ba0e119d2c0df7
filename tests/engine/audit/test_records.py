"""P12: what ``audit.verify`` denies, how ids are ordered, and which records can be asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.lakes import vectors
from tests.support.records import FIELDS, LINEAGE, Q8, Q16, Listener

import affidavit
from affidavit import SearchRecord, errors
from affidavit.catalog.model.clock import uuid7


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(0, 10_000))
def test_a_uuid7_orders_by_the_microsecond(at_us: int, more: int) -> None:
    first, second = UUID(uuid7(at_us)), UUID(uuid7(min(at_us + more, 2**48 * 1000 - 1)))
    assert (first.version, first.variant) == (7, UUID(int=2 << 62).variant)
    assert first.int >> 80 == at_us // 1000
    if second.int >> 64 != first.int >> 64:
        assert first < second
    else:
        assert more == 0 or at_us + more >= 2**48 * 1000 - 1


OTHER = {
    "query_lineage": {"doc": "b"}, "top_k_result_ids": ["9", "8", "7"],
    "retrieval_scores": [0.1, 0.2, math.nan], "exact": True, "k_requested": 4, "params": {},
    "query_vector": [1.0], "recall": 0.5, "executed_at": datetime(2020, 1, 1, tzinfo=UTC),
    "logged": True, "signature": bytes(64),
}  # fmt: skip


@pytest.fixture(scope="module")
def signed(indexed) -> SearchRecord:
    return indexed.search("docs", Q16, k=3, lineage=LINEAGE).audit


@pytest.mark.parametrize("name", FIELDS)
def test_verify_denies_a_record_with_any_field_changed(indexed, signed, name: str) -> None:
    assert indexed.audit.verify(signed)
    was = getattr(signed, name)
    other = OTHER.get(name, was + 1 if isinstance(was, int) else f"{was}x")
    assert other != was
    assert not indexed.audit.verify(replace(signed, **{name: other}))
    if was is not None:
        assert not indexed.audit.verify(signed.replaced(**{name: None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"executed_at": datetime(2020, 1, 1)}, {"executed_at": "now"}, {"recall": "x"},
        {"query_vector": "abc"}, {"query_vector": [[1.0]]}, {"seq": [1]}, {"seq": "1"},
        {"seq": 10**9}, {"seq": -1}, {"signature": "x"}, {"signature": b""}, {"signature": 3},
        {"key_id": 3}, {"key_id": ""}, {"params": [1]}, {"params": {1: 2}}, {"tenant": 3},
        {"query_lineage": 1j}, {"retrieval_scores": ["a", "b", "c"]}, {"exact": 1},
        {"top_k_result_ids": [None, None, None]}, {"k_requested": True}, {"logged": None},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_p12_verify_denies_what_is_no_record(indexed, signed, changes) -> None:
    assert indexed.audit.verify(signed.replaced(**changes)) is False


def test_verify_denies_what_was_never_signed_or_is_no_record(indexed, signed) -> None:
    unsigned = SearchRecord(None, None, None, ["1"], [0.5])
    for other in (unsigned, None, 3, {}, "record", signed.signature):
        assert indexed.audit.verify(other) is False
    assert indexed.audit.verify(signed.to_dict())
    elsewhere = signed.executed_at.astimezone(timezone(timedelta(hours=5)))
    assert indexed.audit.verify(signed.replaced(executed_at=elsewhere)), "the same instant"


def test_verify_denies_another_ledgers_record(indexed, signed, tmp_path) -> None:
    with indexed.scope(tenant="red") as red:
        red.create_vector_table("docs", vectors(20, 16))
        theirs = red.search("docs", Q16, k=3).audit
        assert red.audit.verify(theirs)
        assert not red.audit.verify(signed)
        assert not red.audit.verify(signed.replaced(tenant="red"))
    assert not indexed.audit.verify(theirs)
    with affidavit.connect(tmp_path / "other", durability="normal") as other:
        other.create_vector_table("docs", vectors(20, 16))
        assert not indexed.audit.verify(other.search("docs", Q16, k=3).audit)


def test_a_scoped_listener_hears_of_its_tenant_alone(session, docs) -> None:
    red_only, all_of_them = Listener(), Listener()
    session.audit.add_listener(all_of_them)
    with session.scope(tenant="red") as red:
        red.audit.add_listener(red_only)
        red.create_vector_table("docs", vectors(10))
        red.search("docs", Q8)
    session.search("docs", Q8)
    assert [each.tenant for each in red_only.seen] == ["red"]
    assert [each.tenant for each in all_of_them.seen] == ["red", "default"]


@pytest.mark.parametrize("limit", [-1, 1.5, "3", True, None])
def test_p12_recent_takes_a_number_of_records(indexed, limit) -> None:
    with pytest.raises(errors.InvalidQueryError, match="limit must be"):
        indexed.audit.recent(limit)


def test_p12_a_record_that_is_not_there_is_named(indexed) -> None:
    for query_id in ("nope", None, 3, "", "key-0", "x'; DROP TABLE ledger; --"):
        with pytest.raises(errors.RecordNotFoundError, match="no search record"):
            indexed.audit.get(query_id)


def test_what_no_search_returned_was_received_by_nobody(session, docs) -> None:
    session.search("docs", [1.0] * 8, k=2)
    assert session.audit.received("nope") == session.audit.received(None) == []


def test_received_tells_a_table_from_its_successor(session) -> None:
    """Rows were looked up by the table's name, so a new table of an old name had its records."""

    def searched(name: str) -> SearchRecord:
        return session.search(name, Q8, k=2, exact=True).audit

    session.create_vector_table("docs", vectors(10))
    old = searched("docs")
    session.sql("ALTER TABLE docs RENAME TO papers")
    renamed = searched("papers")
    row = old.top_k_result_ids[0]
    assert session.audit.received(row, table="papers") == [old, renamed]
    assert session.audit.received(row, table="docs") == [old, renamed], "it was called so"
    session.create_vector_table("docs", vectors(10))
    assert session.audit.received(row, table="docs") == [], "the new table was never searched"
    new = searched("docs")
    assert session.audit.received(row, table="docs") == [new]
    assert session.audit.received(row, table="papers") == [old, renamed]
    assert session.audit.received(row, table=old.table_id) == [old, renamed]
    assert session.audit.received(row) == [old, renamed, new]
    session.sql("DROP TABLE docs")
    session.sql("DROP TABLE papers")
    assert session.audit.received(row, table="docs") == [new], "the newest of that name"
    assert session.audit.received(row, table="papers") == [old, renamed]
    assert session.audit.received(row, table=old.table_id) == [old, renamed]
    assert session.audit.received(row, table=new.table_id) == [new]
    assert session.audit.received(row, table="nope") == []


def test_received_goes_by_the_name_where_a_record_has_no_table_id(session) -> None:
    given_ = {"model_id": None, "model_version": None, "query_lineage": None,
              "top_k_result_ids": ["1"], "retrieval_scores": [0.5]}  # fmt: skip
    [there] = session.audit.log([{**given_, "table_name": "docs"}])
    session.create_vector_table("docs", vectors(10))
    here = session.search("docs", Q8, k=10).audit
    assert session.audit.received("1", table="docs") == [there, here]
    assert session.audit.received("1", table=here.table_id) == [here]
    session.sql("DROP TABLE docs")
    assert session.audit.received("1", table="docs") == [there, here]
    assert session.audit.received("1", table="other") == []
