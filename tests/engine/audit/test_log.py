"""P12: ``audit.log`` puts callers' own records on the ledger: all of them or none."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import numpy as np
import pytest
from tests.support.records import everything, made

from affidavit import SearchRecord, errors


def test_log_takes_records_and_dicts_and_fills_in_what_is_missing(session) -> None:
    theirs = SearchRecord(
        "m", None, None, [7, "b"], [1, np.float32(0.5)], tenant="other", seq=99, key_id="k",
        signature=b"s", logged=False, actor="somebody", query_id="run-1", k_returned=7,
        executed_at=datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
    )  # fmt: skip
    first, second = session.audit.log(iter([theirs, made(workspace="w")]))
    assert (first.query_id, first.actor, first.executed_at) == (
        "run-1", "somebody", theirs.executed_at,
    )  # fmt: skip
    assert (first.tenant, first.seq, first.logged, first.k_returned) == ("default", 1, True, 2)
    assert (first.top_k_result_ids, first.retrieval_scores) == (["7", "b"], [1.0, 0.5])
    assert (second.actor, second.source, second.workspace) == ("tester", "api", "w")
    assert UUID(second.query_id).version == 7
    assert abs(second.executed_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert everything(session) == [first, second]
    assert all(map(session.audit.verify, (first, second)))
    assert not session.audit.verify(theirs)
    assert session.audit.received("b") == [first, second]
    logged = session.sql("SELECT logged, tenant FROM audit.searches").to_pylist()
    assert logged == [{"logged": True, "tenant": "default"}] * 2
    naive = datetime(2024, 5, 6, 7, 8, 9)
    [local] = session.audit.log([made(executed_at=naive)])
    assert local.executed_at == naive.astimezone()
    assert session.ledger.verify()


def test_log_of_nothing_writes_nothing(session) -> None:
    assert session.audit.log([]) == []
    assert session.audit.log(iter(())) == []
    assert session.ledger.size == 0


def nested(depth: int) -> object:
    """Return so many lists, one inside the other."""
    found: list[object] = []
    for _ in range(depth):
        found = [found]
    return found


BAD_RECORDS = [
    (made(retrieval_scores=[0.5]), errors.LengthMismatchError, "2 and retrieval_scores has 1"),
    (made(top_k_result_ids="ab"), errors.InvalidQueryError, "top_k_result_ids must be a list, got str"),
    (made(top_k_result_ids={"a"}), errors.InvalidQueryError, "must be a list, got set"),
    (made(top_k_result_ids={"a": 1, "b": 2}), errors.InvalidQueryError, "must be a list, got dict"),
    (made(retrieval_scores=b"ab"), errors.InvalidQueryError, "must be a list, got bytes"),
    (made(retrieval_scores=3), errors.InvalidQueryError, "retrieval_scores must be a list, got int"),
    (made(top_k_result_ids=["a", None]), errors.InvalidQueryError, "top_k_result_ids.*got None"),
    (made(retrieval_scores=["x", 1]), errors.InvalidQueryError, "retrieval_scores.*got str: 'x'"),
    (made(retrieval_scores=[None, 1]), errors.InvalidQueryError, "retrieval_scores.*NoneType"),
    (made(retrieval_scores=[True, 1]), errors.InvalidQueryError, "retrieval_scores.*got bool"),
    (made(retrieval_scores=[10**400, 1]), errors.InvalidQueryError, "retrieval_scores.*a float can"),
    (made(recall="x"), errors.InvalidQueryError, "recall must be numbers, got str: 'x'"),
    (made(params=[1]), errors.InvalidQueryError, "params must be a mapping, got list"),
    (made(params={"a": 1j}), errors.InvalidQueryError, "params cannot be written as JSON"),
    (made(query_vector="abc"), errors.InvalidQueryError, "query_vector"),
    (made(query_vector=["1"]), errors.InvalidQueryError, "query_vector"),
    (made(query_vector=[[1.0], [2.0]]), errors.InvalidQueryError, r"query_vector.*\(2, 1\)"),
    (made(query_vector=[1e300]), errors.InvalidQueryError, "query_vector.*finite"),
    (made(query_vector=[None]), errors.InvalidQueryError, "query_vector"),
    (made(query_lineage=math.nan), errors.InvalidQueryError, "query_lineage cannot be written"),
    (made(query_lineage="x" * 9000), errors.LineageTooLargeError, "9,002 bytes"),
    (made(model_id=3), errors.InvalidQueryError, "model_id must be str, got int: 3"),
    (made(table_version="3"), errors.InvalidQueryError, "table_version must be int, got str"),
    (made(k_requested=True), errors.InvalidQueryError, "k_requested must be int, got bool"),
    (made(duration_us=2**53), errors.InvalidQueryError, "duration_us cannot be written as JSON"),
    (made(exact=1), errors.InvalidQueryError, "exact must be bool, got int"),
    (made(executed_at="now"), errors.InvalidQueryError, "executed_at must be a datetime, got str"),
    (
        made(executed_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))),
        errors.InvalidQueryError, "executed_at must be a time from year 1 to 9999",
    ),
    (made(query_text="\ud800"), errors.InvalidQueryError, "query_text cannot be written"),
    (made(top_k_result_ids=["\ud800", "b"]), errors.InvalidQueryError, "top_k_result_ids cannot"),
    (made(query_id=7), errors.InvalidQueryError, "query_id must be str, got int"),
    (made(query_id="key-1"), errors.InvalidQueryError, "'key-1' is what the ledger calls a key"),
    (made(query_id=""), errors.InvalidQueryError, "query_id must have 1 to 1,000 characters"),
    (made(query_id="a\0b"), errors.InvalidQueryError, r"query_id .* no NUL, got 3: 'a\\x00b';"),
    (made(query_id="x" * 10**6), errors.InvalidQueryError, r"query_id .* got 1,000,000: '(x{40})'\.\.\.;"),
    *(
        (made(**{name: -1}), errors.InvalidQueryError, f"{name} must be 0 or more, got -1")
        for name in ("table_version", "k_requested", "k_returned", "duration_us", "journal_seq")
    ),
    (made(query_lineage={1: 2}), errors.InvalidQueryError, "query_lineage cannot be written"),
    (made(query_lineage=b"{}"), errors.InvalidQueryError, "query_lineage cannot be written"),
    (made(query_lineage=nested(4_000)), errors.InvalidQueryError, "query_lineage cannot be written"),
    (made(query_id="taken"), errors.ConstraintError, "'taken' is on record already"),
    (made(colour="red"), errors.InvalidQueryError, "no field 'colour'; it has .*'actor'"),
    ({"model_id": "m"}, errors.InvalidQueryError, "no search record: .*model_version"),
    ({3: 4}, errors.InvalidQueryError, "no field '3'"),
    ("record", errors.InvalidQueryError, "expected a SearchRecord or a dict, got str"),
    (None, errors.InvalidQueryError, "expected a SearchRecord or a dict, got NoneType"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "kind", "words"), BAD_RECORDS, ids=[case[2] for case in BAD_RECORDS]
)
def test_p12_a_bad_record_is_named_and_none_is_logged(indexed, bad, kind, words) -> None:
    size = indexed.ledger.size
    if bad == made(query_id="taken"):
        indexed.audit.log([bad])
        size += 1
    with pytest.raises(kind, match=words) as raised:
        indexed.audit.log([made(), bad, made()])
    if kind in {errors.InvalidQueryError, errors.ConstraintError}:
        assert str(raised.value).startswith("record 1: ")
    else:
        assert raised.value.__notes__ == ["this is record 1 of those to be logged"]
    assert indexed.ledger.size == size
    assert len(indexed.audit.log([made()])) == 1


@pytest.mark.parametrize(
    "lineage",
    ["", "free text", '{"doc": 1}', "a\0b", "é\U0001f600", 0, 1e20, True, [], {"": {"\0": [None]}},
     nested(300)],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_a_lineage_is_any_json_and_a_text_is_json_too(session, lineage) -> None:
    [logged] = session.audit.log([made(query_lineage=lineage)])
    found = session.audit.get(logged.query_id)
    assert (found.query_lineage, type(found.query_lineage)) == (lineage, type(lineage))
    assert session.audit.verify(found)


def test_ids_and_counts_at_their_limits_are_logged(session) -> None:
    longest = made(query_id="\u20ac" * 1_000, k_requested=0, duration_us=0, table_version=0)
    [logged] = session.audit.log([longest])
    assert session.audit.get(longest["query_id"]) == logged


@pytest.mark.parametrize(
    "given_",
    [None, 3, "abc", made(), SearchRecord(None, None, None, [], [])],
    ids=lambda value: type(value).__name__,
)
def test_p12_log_takes_a_list_of_records(indexed, given_) -> None:
    with pytest.raises(errors.InvalidQueryError, match="expected a list of records"):
        indexed.audit.log(given_)


def test_a_generator_that_raises_leaves_nothing_logged(session) -> None:
    def records() -> Iterator[dict]:
        yield made()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.audit.log(records())
    assert session.ledger.size == 0


def test_the_same_id_twice_in_one_call_logs_nothing(session) -> None:
    with pytest.raises(errors.ConstraintError):
        session.audit.log([made(query_id="x"), made(query_id="x")])
    assert session.audit.recent() == []
    with session.scope(tenant="red") as red:
        red.audit.log([made(query_id="x")])
    assert session.audit.log([made(query_id="x")])[0].seq == 1, "ids are each ledger's own"
    session.ledger.rotate_key()
    assert session.ledger.verify()


@pytest.mark.slow
def test_ten_thousand_records_are_logged_at_once(session) -> None:
    numbers = random.Random(3)
    records = [
        made(
            query_id=f"q{at}",
            top_k_result_ids=[at, at + 1],
            retrieval_scores=[numbers.random()] * 2,
        )
        for at in range(10_000)
    ]
    logged = session.audit.log(records)
    assert [each.seq for each in logged] == list(range(1, 10_001))
    assert session.audit.get("q9999") == logged[-1]
    found = session.sql(
        "SELECT count(*) AS n, sum(k_returned) AS r FROM audit.searches"
    ).to_pylist()
    assert found == [{"n": 10_000, "r": 20_000}]
    assert [each.query_id for each in session.audit.received("5000")] == ["q4999", "q5000"]
    assert session.ledger.verify(signatures=False)
