"""P1, P2, P3, P9, P12: every search leaves one signed record, and no record means no rows."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from time import time_ns
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.faults import Faulty
from tests.support.lakes import events, vectors

import affidavit
from affidavit import SearchRecord, errors
from affidavit.catalog.model.clock import uuid7
from affidavit.catalog.store.group_commit import ITEMS_MAX, GroupCommit, _Ticket
from affidavit.catalog.values.canonical import canonical, canonical_object
from affidavit.engine.audit.commits import Commits
from affidavit.engine.search.record import SEARCHES_SCHEMA
from affidavit.engine.session.housekeeping import Housekeeper

Q8 = [1.0] * 8
Q16 = [1.0] * 16
SEARCH = "vector_search('docs', $q, 3)"
FIELDS = [each.name for each in fields(SearchRecord)]
LINEAGE = {"doc": "a", "at": [1, 2.5, None]}


def everything(session: affidavit.Session) -> list[SearchRecord]:
    """Return every record, oldest first."""
    return session.audit.recent(1_000_000)[::-1]


@contextmanager
def recorded(session: affidavit.Session, count: int) -> Iterator[list[SearchRecord]]:
    """Assert that the block leaves so many records, and fill the list with them."""
    before, new = len(everything(session)), []
    yield new
    new += everything(session)[before:]
    assert len(new) == count


def encode(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), *[1.0] * 15] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    """A session on ``docs``: 600 rows in 16 dimensions with a model, a vector and a text index."""
    lake = tmp_path_factory.mktemp("indexed")
    with affidavit.connect(
        lake, actor="ann", source="test", workspace="lab", durability="normal"
    ) as session:
        session.models.register("lengths", encode, version="3", dim=16)
        table = session.create_vector_table("docs", vectors(600, 16), model="lengths")
        table.create_index("vector", num_partitions=4, num_sub_vectors=8)
        table.create_index("text", "FTS")
        session.create_table("t", [{"id": i, "v": i} for i in range(600)], primary_key="id")
        yield session


# --- P3: what a record says ----------------------------------------------------------------------

KINDS = {
    "exact": ({"query": Q16, "exact": True}, "vector_search('docs', $q, 4, $o)", {"exact": True}),
    "index": ({"query": Q16}, "vector_search('docs', $q, 4, $o)", {}),
    "text": ({"query": "word17 odd", "mode": "text"}, "text_search('docs', 'word17 odd', 4, $o)", {}),
    "hybrid": (
        {"query": Q16, "mode": "hybrid", "text": "word17"},
        "hybrid_search('docs', $q, 'word17', 4, $o)", {},
    ),
    "encoded": ({"query": "seven"}, "vector_search('docs', 'seven', 4, $o)", {}),
}  # fmt: skip


def run(session: affidavit.Session, kind: str, by: str) -> tuple[list[dict], str]:
    """Run a search of one kind; return its rows, and what their score is called."""
    options, function, extra = KINDS[kind]
    asked = {"where": "bucket < 8", "nprobes": 3, "refine_factor": 5, "lineage": LINEAGE}
    score = "_score" if kind in {"text", "hybrid"} else "_distance"
    if by == "api":
        return session.search("docs", k=4, select=["id"], **asked, **options).to_pylist(), score
    text = f"SELECT id, {score} FROM {function}"
    params = {"o": json.dumps({**asked, **extra}), **({"q": Q16} if "$q" in function else {})}
    return session.sql(text, params).to_pylist(), score


@pytest.mark.parametrize("by", ["api", "sql"])
@pytest.mark.parametrize("kind", KINDS)
def test_p3_every_field_says_what_ran(indexed, kind: str, by: str) -> None:
    before, size = time_ns() // 1000, indexed.ledger.size
    with recorded(indexed, 1) as new:
        rows, score = run(indexed, kind, by)
    [record] = new
    after = time_ns() // 1000
    table = indexed.table("docs")
    index = next(each for each in table.indexes() if each["name"] == "vector_idx")
    used = kind in {"index", "hybrid", "encoded"}
    asked = {"text": b"word17 odd", "encoded": encode(["seven"])[0].tobytes()}
    hashed = asked.get(kind, np.array(Q16, dtype="<f4").tobytes())
    params = {
        "column": None if kind == "text" else "vector", "metric": "cosine", "select": ["id"],
        "exact": kind == "exact", "nprobes": 3, "refine_factor": 5,
    }  # fmt: skip
    if kind == "hybrid":
        params["text_sha256"] = hashlib.sha256(b"word17").hexdigest()
    said = {name: getattr(record, name) for name in FIELDS}
    moment, duration_us = said.pop("executed_at"), said.pop("duration_us")
    signature = said.pop("signature")
    query_id = UUID(said.pop("query_id"))
    assert said == {
        "model_id": "lengths", "model_version": "3", "query_lineage": LINEAGE,
        "top_k_result_ids": [str(row["id"]) for row in rows],
        "retrieval_scores": [row[score] for row in rows],
        "table_name": "docs", "table_version": table.version, "table_id": table._info().table_id,
        "index_name": index["name"] if used else None, "index_uuid": index["uuid"] if used else None,
        "exact": not used, "mode": kind if kind in {"text", "hybrid"} else "vector",
        "k_requested": 4, "k_returned": 4, "filter": "bucket < 8", "params": params,
        "query_sha256": hashlib.sha256(hashed).hexdigest(), "query_vector": None,
        "query_text": None, "recall": None, "journal_seq": size - 1 if size else None,
        "actor": "ann", "source": "test", "workspace": "lab", "tenant": "default",
        "seq": indexed.ledger.size - 1, "logged": False, "key_id": record.key_id,
    }  # fmt: skip
    at_us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert before <= at_us <= at_us + duration_us <= after
    assert query_id.version == 7
    assert query_id.int >> 80 == at_us // 1000
    assert len(signature) == 64
    assert indexed.audit.verify(record)


@pytest.mark.parametrize("kind", ["index", "hybrid"])
def test_p3_what_search_returns_is_what_the_ledger_has(indexed, kind: str) -> None:
    options, _, _ = KINDS[kind]
    result = indexed.search("docs", k=4, lineage=LINEAGE, **options)
    assert result.audit == indexed.audit.get(result.query_id)
    assert result.audit.query_id == result.query_id
    assert indexed.audit.recent(1) == [result.audit]
    assert (
        indexed.audit.received(result.audit.top_k_result_ids[0], table="docs")[-1] == result.audit
    )
    assert indexed.audit.received(result.audit.top_k_result_ids[0], table="other") == []


def test_p3_sql_shows_native_types_and_the_same_values(indexed) -> None:
    record = indexed.search("docs", Q16, k=3, lineage=LINEAGE).audit
    found = indexed.sql("SELECT * FROM audit.searches WHERE seq = $s", s=record.seq).to_arrow()
    assert found.schema.names == SEARCHES_SCHEMA.names
    types = {field.name: field.type for field in found.schema}
    assert types["executed_at"] == pa.timestamp("us", "UTC")
    assert types["top_k_result_ids"].value_type == pa.string()
    assert types["retrieval_scores"].value_type == pa.float64()
    assert types["query_vector"].value_type == pa.float32()
    assert (types["exact"], types["seq"], types["signature"]) == (
        pa.bool_(),
        pa.int64(),
        pa.binary(),
    )
    [row] = found.to_pylist()
    shown = {**row, **{name: json.loads(row[name]) for name in ("params", "query_lineage")}}
    assert shown == record.to_dict()
    results = indexed.sql("SELECT * FROM audit.results WHERE seq = $s ORDER BY rank", s=record.seq)
    assert [(r["row_id"], r["rank"], r["score"]) for r in results] == [
        (row_id, rank, score)
        for rank, (row_id, score) in enumerate(
            zip(record.top_k_result_ids, record.retrieval_scores, strict=True), 1
        )
    ]


def test_p3_filters_on_the_log_find_what_they_should(indexed) -> None:
    """Those that the store applies, and those that are applied to the rows."""
    record = indexed.search("docs", Q16, k=3, where="bucket = 1").audit
    later = indexed.search("docs", Q16, k=3).audit
    for condition in (
        f"query_id = '{record.query_id}'", f"seq = {record.seq}", f"seq IN ({record.seq}, -5)",
        f"seq BETWEEN {record.seq} AND {record.seq}", f"seq = {record.seq} AND filter = 'bucket = 1'",
        f"executed_at = '{record.executed_at.isoformat()}'",
        f"executed_at <= '{record.executed_at.isoformat()}' AND seq >= {record.seq}",
        f"filter = 'bucket = 1' AND seq < {later.seq} AND seq > {record.seq - 1}",
    ):  # fmt: skip
        found = indexed.sql(f"SELECT seq FROM audit.searches WHERE {condition}").to_pylist()
        assert found == [{"seq": record.seq}], condition
    row = record.top_k_result_ids[1]
    text = f"SELECT query_id, rank FROM audit.results WHERE row_id = $r AND seq = {record.seq}"
    assert indexed.sql(text, r=row).to_pylist() == [{"query_id": record.query_id, "rank": 2}]
    counted = indexed.sql("SELECT count(*) AS n FROM audit.searches").to_pylist()
    assert counted == [{"n": len(everything(indexed))}]


def test_p3_the_query_itself_is_kept_only_where_that_was_asked_for(lake) -> None:
    query, words = np.linspace(0.1, 0.9, 8).astype("f4"), "word17 xylophone"
    packed = base64.b64encode(query.tobytes()).decode()
    for store_queries in (False, True):
        with affidavit.connect(lake, store_queries=store_queries, durability="normal") as session:
            if not store_queries:
                session.create_vector_table("docs", vectors(50)).create_index("text", "FTS")
            made = [
                session.search("docs", query, k=1).audit,
                session.search("docs", words, k=1, mode="text").audit,
                session.search("docs", query, k=1, mode="hybrid", text=words).audit,
            ]
            kept = [session.audit.get(each.query_id) for each in made]
            assert kept == made
            bodies = "".join(
                row["body"]
                for row in session.sql(
                    "SELECT body FROM system.ledger WHERE seq >= $s", s=kept[0].seq
                )
            )
            vector = query.tolist() if store_queries else None
            text = words if store_queries else None
            assert [each.query_vector for each in kept] == [vector, None, vector]
            assert [each.query_text for each in kept] == [None, text, text]
            assert (packed in bodies, words in bodies) == (store_queries, store_queries)
            shown = session.sql(
                "SELECT query_vector FROM audit.searches WHERE query_id = $i", i=made[0].query_id
            )
            assert shown.to_pylist() == [{"query_vector": vector}]
            assert all(map(session.audit.verify, kept))


def test_p3_the_hash_is_that_of_the_float32_vector(indexed) -> None:
    query = np.linspace(0.1, 1.7, 16)  # float64, which float32 cannot hold
    hashed = hashlib.sha256(query.astype("<f4").tobytes()).hexdigest()
    for form in (query, query.tolist(), query.astype("f4"), pa.array(query)):
        assert indexed.search("docs", form, k=1).audit.query_sha256 == hashed


def test_p3_ids_and_journal_seqs_follow_one_another(indexed) -> None:
    records = [indexed.search("docs", Q16, k=1).audit for _ in range(20)]
    ids = [UUID(each.query_id) for each in records]
    assert ids == sorted(ids)
    assert len(set(ids)) == 20
    assert [each.journal_seq for each in records] == [each.seq - 1 for each in records]
    batch = indexed.search_batch("docs", [Q16] * 3, k=1)
    assert {each.audit.journal_seq for each in batch} == {records[-1].seq}
    assert [each.audit.seq for each in batch] == [records[-1].seq + n for n in (1, 2, 3)]


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(0, 10_000))
def test_a_uuid7_orders_by_the_microsecond(at_us: int, more: int) -> None:
    first, second = UUID(uuid7(at_us)), UUID(uuid7(min(at_us + more, 2**48 * 1000 - 1)))
    assert (first.version, first.variant) == (7, UUID(int=2 << 62).variant)
    assert first.int >> 80 == at_us // 1000
    if second.int >> 64 != first.int >> 64:
        assert first < second
    else:
        assert more == 0 or at_us + more >= 2**48 * 1000 - 1


def test_p3_results_of_any_kind_of_key_and_score_are_recorded(session) -> None:
    kind = pa.list_(pa.float32(), 2)
    data = pa.table(
        {"id": ["a\n", "", "é\u2028"], "vector": pa.array([[1, 2], None, [3e38, 1]], kind)}
    )
    session.create_vector_table("odd", data, metric="l2")
    session.create_vector_table("empty", schema=data.schema)
    far = session.search("odd", [-3e38, 1.0], k=5).audit
    assert far.top_k_result_ids == ["a\n", "é\u2028"]
    assert far.retrieval_scores == [math.inf, math.inf]
    assert far == session.audit.get(far.query_id)
    [row] = session.sql("SELECT retrieval_scores AS s FROM audit.searches").to_pylist()
    assert row["s"] == [math.inf, math.inf]
    none = session.search("empty", [1.0, 1.0]).audit
    assert (none.k_requested, none.k_returned, none.top_k_result_ids) == (10, 0, [])
    assert session.ledger.verify()


# --- canonical bytes and signatures --------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N", "Pc"]), min_size=1, max_size=8)


@given(JSON)
@settings(max_examples=300)
def test_canonical_json_is_that_of_rfc_8785(value) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(NAMES, JSON, max_size=6))
def test_a_canonical_object_is_put_together_from_its_members(value) -> None:
    members = {name: canonical(each) for name, each in value.items()}
    assert canonical_object(members) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 2**53, -(2**53), "\ud800", {1: 2}, {"a": 1j}, b"x", {1.5},
     np.float32(1), ["a", [math.nan]]],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_p12_what_is_no_json_is_refused_by_name(value) -> None:
    with pytest.raises(errors.InvalidQueryError, match="the thing cannot be written as JSON"):
        canonical(value, "the thing")


def body_of(record: SearchRecord) -> bytes:
    """Return what must have been signed, written without any of the engine's own code."""
    body = record.to_dict()
    del body["signature"]
    body["kind"] = "search"
    body["executed_at"] = record.executed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if record.query_vector is not None:
        packed = np.array(record.query_vector, dtype="<f4").tobytes()
        body["query_vector"] = base64.b64encode(packed).decode()
    return rfc8785.dumps(body)


def test_p3_a_stranger_checks_a_record_with_the_public_key_alone(lake) -> None:
    """Nothing that a record shows is left unsigned: its fields alone give back what was signed."""
    with affidavit.connect(lake, store_queries=True, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        record = session.search("docs", Q8, k=3, lineage=LINEAGE, where="bucket < 9").audit
        name, stated, encoded = session.ledger.public_key.split("+", 2)
        raw = base64.b64decode(encoded)[1:]
        text = "SELECT body, signature FROM system.ledger WHERE seq = $s"
        [entry] = session.sql(text, s=record.seq).to_pylist()
    assert name.startswith("affidavit/")
    assert hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:4].hex() == stated
    key = Ed25519PublicKey.from_public_bytes(raw)
    key.verify(record.signature, body_of(record))
    assert entry == {"body": body_of(record).decode(), "signature": record.signature}
    with pytest.raises(InvalidSignature):
        key.verify(record.signature, body_of(record.replaced(k_requested=4)))


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


# --- P2: one record an executed search -----------------------------------------------------------

STATEMENTS = [
    (1, f"SELECT * FROM {SEARCH}"),
    (1, f"SELECT count(*) FROM {SEARCH}"),
    (1, f"SELECT h.id FROM {SEARCH} h JOIN t ON t.id = h.id"),
    (1, f"SELECT t.id FROM t LEFT JOIN {SEARCH} h ON t.id = h.id WHERE t.id < 3"),
    (1, f"WITH h AS (SELECT * FROM {SEARCH}) SELECT * FROM h"),
    (2, f"WITH h AS (SELECT * FROM {SEARCH}) SELECT a.id FROM h a JOIN h b ON a.id = b.id"),
    (1, f"SELECT id FROM t WHERE id IN (SELECT id FROM {SEARCH})"),
    (1, f"SELECT id FROM t WHERE id NOT IN (SELECT id FROM {SEARCH})"),
    (1, f"SELECT 1 WHERE EXISTS (SELECT 1 FROM {SEARCH})"),
    (1, f"SELECT v FROM t WHERE EXISTS (SELECT 1 FROM {SEARCH} h WHERE h.id = t.id)"),
    (1, f"SELECT (SELECT min(id) FROM {SEARCH}) AS m, v FROM t"),
    (2, f"SELECT id FROM {SEARCH} UNION ALL SELECT id FROM {SEARCH}"),
    (2, f"SELECT id FROM {SEARCH} UNION SELECT id FROM vector_search('docs', $q, 4)"),
    (1, "SELECT * FROM near"),
    (2, "SELECT a.id FROM near a, near b"),
    (1, f"SELECT * FROM {SEARCH} LIMIT 1"),
    (1, f"SELECT * FROM {SEARCH} WHERE id = -1"),
    (1, f"SELECT * FROM {SEARCH} WHERE id IS NOT NULL AND true ORDER BY text LIMIT 2"),
    (1, f"EXPLAIN ANALYZE SELECT * FROM {SEARCH}"),
    (1, f"CREATE TABLE made AS SELECT id FROM {SEARCH}"),
    (1, f"SELECT id INTO made FROM {SEARCH}"),
    (1, f"INSERT INTO t SELECT id + 10000, 1 FROM {SEARCH}"),
    (1, f"INSERT INTO t SELECT id + 10000, 1 FROM {SEARCH} RETURNING id"),
    (1, f"INSERT INTO t SELECT id, 1 FROM {SEARCH} ON CONFLICT (id) DO UPDATE SET v = 5"),
    (1, f"UPDATE t SET v = -1 WHERE id IN (SELECT id FROM {SEARCH})"),
    (1, f"UPDATE t SET v = h.id FROM {SEARCH} h WHERE h.id = t.id RETURNING t.id"),
    (1, f"UPDATE docs SET bucket = 9 WHERE id IN (SELECT id FROM {SEARCH})"),
    (1, f"DELETE FROM t WHERE id IN (SELECT id FROM {SEARCH}) RETURNING id"),
    (1, f"DELETE FROM t USING {SEARCH} h WHERE h.id = t.id"),
    (1, f"DELETE FROM docs WHERE id IN (SELECT id FROM {SEARCH})"),
    (
        1,
        f"MERGE INTO t USING (SELECT id FROM {SEARCH}) h ON h.id = t.id "
        "WHEN MATCHED THEN UPDATE SET v = 7",
    ),
    # a search that fails later, or whose statement does, was a search all the same
    (1, f"SELECT * FROM {SEARCH} WHERE 1 / (id - id) = 1"),
    (1, f"INSERT INTO t SELECT 5, 1 FROM {SEARCH}"),
    # none
    (0, f"SELECT * FROM {SEARCH} LIMIT 0"),
    (0, f"SELECT * FROM {SEARCH} WHERE false"),
    (0, f"SELECT id FROM t WHERE false AND id IN (SELECT id FROM {SEARCH})"),
    (0, f"EXPLAIN SELECT * FROM {SEARCH}"),
    (0, f"EXPLAIN DELETE FROM t WHERE id IN (SELECT id FROM {SEARCH})"),
    (0, f"CREATE TABLE IF NOT EXISTS t AS SELECT id FROM {SEARCH}"),
    (0, "DESCRIBE near"),
    (0, "SELECT * FROM vector_search('docs', $q, 0)"),
    (0, "SELECT * FROM vector_search('docs', [1.0], 3)"),
    (0, "SELECT * FROM vector_search('nope', $q, 3)"),
    (0, "SELECT nope FROM vector_search('docs', $q, 3)"),
]


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    """A session whose tables each test may change, with a view over a search."""
    lake = tmp_path_factory.mktemp("counting")
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(300))
        session.create_table("t", [{"id": i, "v": i} for i in range(300)], primary_key="id")
        session.sql(f"CREATE VIEW near AS SELECT * FROM vector_search('docs', {Q8}, 3)")
        yield session


@pytest.mark.parametrize(("count", "text"), STATEMENTS, ids=lambda value: str(value)[:70])
def test_p2_a_statement_leaves_one_record_for_each_search_it_runs(counting, count, text) -> None:
    counting.sql("DELETE FROM t WHERE id >= 10000")
    with recorded(counting, count) as new:
        try:
            rows = counting.sql(text, {"q": Q8} if "$q" in text else None).to_arrow().num_rows
        except errors.AffidavitError:
            rows = 0
    assert rows or not count or text.startswith(("CREATE", "SELECT id INTO", "SELECT *", "INSERT"))
    assert {each.k_requested for each in new} <= {3, 4}
    assert all(len(each.top_k_result_ids) == each.k_requested for each in new)
    assert {each.table_name for each in new} <= {"docs"}
    counting.drop_table("made", if_exists=True)


def test_p2_prepared_statements_leave_one_record_an_execution(counting) -> None:
    with recorded(counting, 0):
        counting.sql(f"PREPARE p AS SELECT id FROM vector_search('docs', {Q8}, 3)")
    with recorded(counting, 2):
        assert counting.sql("EXECUTE p").num_rows == 3
        assert counting.sql("EXECUTE p").num_rows == 3
    counting.sql("DEALLOCATE p")


def test_p2_a_result_leaves_its_record_when_it_is_read_and_once(counting) -> None:
    def query() -> affidavit.Result:
        return counting.sql(f"SELECT * FROM {SEARCH}", q=Q8)

    with recorded(counting, 0):
        query().close()
        del (dropped := [query()])[:]
        assert query().schema.names[-1] == "_distance"
    with recorded(counting, 1):
        result = query()
        assert result.to_arrow() == result.to_arrow()
        assert len(result) == len(result.to_pylist()) == 3
    with recorded(counting, 1):
        assert sum(batch.num_rows for batch in query().batches()) == 3
    with recorded(counting, 1):
        for _ in query():
            break
    with recorded(counting, 1):
        repr(result := query())
        result.to_arrow()
    assert dropped == []


@pytest.mark.parametrize("size", [0, 1, 5, 40])
def test_p2_a_batch_leaves_a_record_for_each_of_its_queries(counting, size: int) -> None:
    queries = [np.eye(8)[at % 8] + at for at in range(size)]
    with recorded(counting, size) as new:
        results = counting.search_batch("docs", queries, k=2)
    assert [each.audit for each in results] == new
    hashes = [hashlib.sha256(each.astype("<f4").tobytes()).hexdigest() for each in queries]
    assert [each.query_sha256 for each in new] == hashes


class Refusing:
    """A hook that refuses at one moment, once it has let some pass."""

    def __init__(self, moment: str, *, passes: int = 0) -> None:
        setattr(self, moment, self.refuse)
        self.passes = passes

    def refuse(self, *_: object) -> None:
        self.passes -= 1
        if self.passes < 0:
            msg = "not today"
            raise RuntimeError(msg)


@pytest.mark.parametrize(("moment", "count"), [("before", 0), ("after", 1)])
def test_p2_a_hook_that_refuses_before_leaves_no_record(counting, moment, count) -> None:
    """And one that refuses after does: the search ran, and somebody saw what it found."""
    hook = Refusing(moment)
    counting.hooks.add(hook)
    try:
        for ask in (
            lambda: counting.search("docs", Q8),
            lambda: counting.sql(f"SELECT * FROM {SEARCH}", q=Q8).to_arrow(),
        ):
            with recorded(counting, count), pytest.raises(errors.HookError, match="not today"):
                ask()
    finally:
        counting.hooks.remove(hook)
    hook = Refusing("before", passes=2)
    counting.hooks.add(hook)
    with recorded(counting, 0), pytest.raises(errors.HookError):
        counting.search_batch("docs", [Q8] * 3)
    counting.hooks.remove(hook)


def test_a_hook_sees_the_record_before_the_rows_are_released(counting) -> None:
    class Hook:
        def after(self, searches) -> None:
            self.seen = [each.record for each in searches]
            self.kept = [counting.audit.get(each.record.query_id) for each in searches]

    hook = Hook()
    counting.hooks.add(hook)
    results = counting.search_batch("docs", [Q8, Q8], k=2)
    counting.hooks.remove(hook)
    assert hook.seen == hook.kept == [each.audit for each in results]


def test_p2_a_bad_search_leaves_no_record(counting) -> None:
    with recorded(counting, 0):
        for bad in (
            dict(query=[1.0]), dict(query=Q8, k=0), dict(query=Q8, where="nope = 1"),
            dict(query=Q8, select=["nope"]), dict(query=Q8, version=99), dict(query=Q8, version=-1), dict(query=Q8, version=1.5), dict(query="words"),
            dict(query="words", mode="text"), dict(query=Q8, lineage={"a": math.nan}),
            dict(query=Q8, lineage=object()),
        ):  # fmt: skip
            with pytest.raises(errors.AffidavitError):
                counting.search("docs", **bad)
            with pytest.raises(errors.AffidavitError):
                counting.search_batch("docs", [Q8, bad.pop("query")], **(bad or {"k": 0}))


# --- P1: no record, no rows ----------------------------------------------------------------------


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, lake: Path) -> Iterator[affidavit.Session]:
    """A session whose store can be made to fail, and nothing but the test calls it."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **kw: connect(*a, factory=Faulty, **kw))
    monkeypatch.setattr(Housekeeper, "poke", lambda _: None)
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.create_table("t", [{"id": i, "v": i} for i in range(50)], primary_key="id")
        session.search("docs", Q8)
        yield session
        Faulty.left, Faulty.lasting = None, False


ASKS: dict[str, Callable[[affidavit.Session], int]] = {
    "search": lambda s: s.search("docs", Q8, k=3).num_rows,
    "batch": lambda s: sum(each.num_rows for each in s.search_batch("docs", [Q8] * 3, k=1)),
    "sql": lambda s: s.sql(f"SELECT * FROM {SEARCH}", q=Q8).num_rows,
    "dml": lambda s: (
        s.sql(
            f"UPDATE t SET v = v + 1 WHERE id IN (SELECT id FROM {SEARCH}) RETURNING id", q=Q8
        ).num_rows
    ),
}


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", ASKS)
def test_p1_whichever_call_of_the_store_fails_there_are_no_rows(faulty, name, lasting) -> None:
    """Each statement that a search needs fails in turn: an error, no rows, and all or no records."""
    Faulty.lasting = lasting
    had, changed, failures = faulty.ledger.size - events(faulty), events(faulty), 0
    for at in range(1, 200):
        Faulty.left = at
        try:
            rows = ASKS[name](faulty)
        except errors.AffidavitError:
            rows = 0
        unused, Faulty.left = Faulty.left, None
        size, had = faulty.ledger.size - events(faulty) - had, faulty.ledger.size - events(faulty)
        new, changed = events(faulty) - changed, events(faulty)
        assert size in {0, 3 if name == "batch" else 1}
        assert new in {0, 3 if name == "dml" else 0}
        assert size or not new, "a change without its search's record"
        assert rows in {0, 3}
        assert size or not rows, "rows without a record"
        if rows:
            break
        failures += 1
    assert unused > 0, "the last one ran without a failure"
    assert failures > 8
    assert faulty.ledger.verify()
    assert len(everything(faulty)) == had - 1


def test_p1_a_version_that_cannot_be_kept_for_replay_is_not_searched(session, docs) -> None:
    shared = session._instance
    keep = shared.lake.datasets.keep

    def refuse(*_: object) -> None:
        raise errors.StoreError("no tag")

    shared.lake.datasets.keep = refuse
    with recorded(session, 0), pytest.raises(errors.StoreError, match="no tag"):
        session.search("docs", Q8)
    shared.lake.datasets.keep = keep
    with recorded(session, 1):
        assert session.search("docs", Q8, k=1).num_rows == 1


class Listener:
    """Sees records inside their transaction; refuses those of one k."""

    def __init__(self, refused_k: int | None = None) -> None:
        self.refused_k = refused_k
        self.seen: list[SearchRecord] = []

    def on_records(self, records, writer) -> None:
        from affidavit.catalog.sql.predicate import In
        from affidavit.catalog.store.tables import LEDGER

        seqs = tuple(each.seq for each in records)
        assert len(writer.select(LEDGER, ("seq",), In("seq", seqs))) == len(records)
        self.seen += records
        if any(each.k_requested == self.refused_k for each in records):
            msg = "refused"
            raise RuntimeError(msg)


@pytest.mark.parametrize("name", ASKS)
def test_p1_a_listener_that_raises_keeps_rows_and_records_back(session, docs, name) -> None:
    session.create_table("t", [{"id": i, "v": 0} for i in range(300)], primary_key="id")
    listener = Listener(refused_k=1 if name == "batch" else 3)
    session.audit.add_listener(listener)
    with recorded(session, 0), pytest.raises(Exception, match="refused"):
        ASKS[name](session)
    assert listener.seen
    listener.refused_k = None
    del listener.seen[:]
    with recorded(session, 3 if name == "batch" else 1) as new:
        assert ASKS[name](session) == 3
    assert listener.seen == new
    assert session.sql("SELECT sum(v) AS n FROM t").to_pylist()[0]["n"] == 3 * (name == "dml")


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


@pytest.mark.parametrize("name", ["search", "batch", "sql"])
def test_p1_a_corrupt_ledger_gives_no_rows(session, docs, lake, name) -> None:
    session.search("docs", Q8)
    with sqlite3.connect(lake / "catalog.db") as db:
        db.execute("UPDATE ledger_heads SET size = size + 1")
    db.close()
    with pytest.raises(errors.LedgerCorruptError, match="head"):
        ASKS[name](session)
    with sqlite3.connect(lake / "catalog.db") as db:
        db.execute("UPDATE ledger_heads SET size = size - 1")
    db.close()
    assert len(everything(session)) == 1
    assert ASKS[name](session) == 3
    assert session.ledger.verify()


class Kms:
    """A key-management service: derives without giving its key away, and may be out of reach."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.down = False

    def derive(self, salt: bytes, info: bytes) -> bytes:
        self.asked.append(salt)
        if self.down:
            msg = "no route to host"
            raise ConnectionError(msg)
        return hashlib.sha256(b"never shown" + salt + info).digest()


def test_p1_a_key_store_that_fails_gives_a_new_tenant_no_rows(lake) -> None:
    """A ledger whose key was fetched before goes on."""
    kms = Kms()
    with affidavit.connect(lake, key_store=kms, durability="normal") as session:
        session.create_vector_table("docs", vectors(10))
        with session.scope(tenant=None) as shared:
            shared.create_vector_table("common", vectors(10))
        session.search("docs", Q8)
        kms.down = True
        assert session.search("docs", Q8).num_rows == 10
        with session.scope(tenant="red") as red:
            for ask in (
                lambda: red.search("common", Q8),
                lambda: red.search_batch("common", [Q8] * 2),
                lambda: red.sql(f"SELECT * FROM vector_search('common', {Q8}, 3)").to_arrow(),
            ):
                with pytest.raises(errors.MasterKeyError, match="Kms gave no key"):
                    ask()
            kms.down = False
            assert red.ledger.size == 0
            assert red.search("common", Q8).num_rows == 10
            assert red.ledger.verify()
        assert session.ledger.verify()
        assert session.ledger.origin.encode() in kms.asked


def test_p1_a_lineage_that_is_too_large_writes_nothing(session, docs, monkeypatch) -> None:
    monkeypatch.setenv("AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES", "100")
    fits, too_long = {"a": "x" * 92}, {"a": "x" * 93}
    assert len(rfc8785.dumps(fits)) == 100
    size = session.ledger.size
    hook = Refusing("after", passes=10)
    session.hooks.add(hook)
    for ask in (
        lambda: session.search("docs", Q8, lineage=too_long),
        lambda: session.search_batch("docs", [Q8], lineage=too_long),
        lambda: session.sql(
            "SELECT * FROM vector_search('docs', $q, 3, $o)",
            q=Q8, o=json.dumps({"lineage": too_long}),
        ).to_arrow(),
    ):  # fmt: skip
        with pytest.raises(
            errors.LineageTooLargeError, match="101 bytes.*100 are allowed"
        ) as raised:
            ask()
        assert (raised.value.size, raised.value.limit) == (101, 100)
    assert session.ledger.size == size
    assert hook.passes == 10, "nothing ran"
    assert session.search("docs", Q8, lineage=fits).audit.query_lineage == fits
    monkeypatch.setenv("AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES", "many")
    with pytest.raises(errors.InvalidQueryError, match="AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES.*'many'"):
        session.search("docs", Q8)
    monkeypatch.delenv("AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES")
    assert session.search("docs", Q8, lineage="x" * 8190).num_rows == 10
    with pytest.raises(errors.LineageTooLargeError):
        session.search("docs", Q8, lineage="x" * 8191)


def run_python(script: str, *arguments: object, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout


FULL_DISK = """
import os, resource, signal, sys, affidavit
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
session = affidavit.connect(sys.argv[1], durability="normal")
q = [1.0] * 8
session.search("docs", q)
limit = os.path.getsize(sys.argv[1] + "/catalog.db-wal") + 20_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for ask in (
    lambda: session.search("docs", q, k=3).num_rows,
    lambda: session.sql(f"SELECT * FROM vector_search('docs', {q}, 3)").num_rows,
    lambda: sum(each.num_rows for each in session.search_batch("docs", [q] * 3, k=1)),
):
    try:
        for got in range(50):
            assert ask() == 3
    except affidavit.errors.StoreError:
        print(got, flush=True)
os._exit(0)
"""


def test_p1_a_full_disk_gives_no_rows(lake) -> None:
    """A limit on file size stands in for the disk's end, in a process of its own."""
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
    one_by_one, by_sql, batches = map(int, run_python(FULL_DISK, lake).split())
    with affidavit.connect(lake, durability="normal") as session:
        asked = [each.k_requested for each in everything(session)[1:]]
        assert asked.count(3) == one_by_one + by_sql
        assert asked.count(1) == 3 * batches
        assert session.ledger.verify()


# --- P1: many threads ----------------------------------------------------------------------------


def until(holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until ``holds``."""
    turn = threading.Event()
    for _ in range(int(timeout_s / 0.002)):
        if holds():
            return
        turn.wait(0.002)
    pytest.fail("it never came")


def test_p1_sixteen_threads_at_once_all_find_their_records(session, docs) -> None:
    def work(number: int) -> list[SearchRecord]:
        query = [float(number + 1)] * 8
        made = [session.search("docs", query, k=2).audit for _ in range(5)]
        found = session.sql(f"SELECT id FROM {SEARCH}", q=query).to_pylist()
        assert len(found) == 3
        return made + [each.audit for each in session.search_batch("docs", [query] * 3, k=1)]

    with ThreadPoolExecutor(16) as pool:
        made = [record for records in pool.map(work, range(16)) for record in records]
    assert len(everything(session)) == 16 * 9
    assert {each.query_id for each in made} <= {each.query_id for each in everything(session)}
    assert all(session.audit.get(each.query_id) == each for each in made)
    assert all(map(session.audit.verify, made))
    assert session.ledger.verify().entries == 16 * 9 + 1 + events(session)


@contextmanager
def gathered(
    session: affidavit.Session, ask: Callable[[int], object], threads: int = 16
) -> Iterator[list[Future]]:
    """Hold the store until ``threads`` wait to be recorded; yield what becomes of them."""
    group = session._instance.recorder._commits._group("default")
    leading: list[int] = []
    attempt = group._try

    def noted(batch):
        leading.append(len(batch))
        return attempt(batch)

    group._try = noted
    with ThreadPoolExecutor(threads) as pool:
        with session._instance.lake.store.write("default"):
            futures = [pool.submit(ask, number) for number in range(threads)]
            until(lambda: len(group._waiting) + sum(leading) == threads)
            yield futures
        wait(futures)


def test_p1_searches_that_wait_share_a_transaction(faulty) -> None:
    before, size = Faulty.commits, faulty.ledger.size
    with gathered(faulty, lambda number: faulty.search("docs", Q8, k=number + 1)) as futures:
        pass
    results = [each.result() for each in futures]
    assert [each.num_rows for each in results] == list(range(1, 17))
    assert Faulty.commits - before <= 3, "the one that held the store, the first's, the others'"
    assert sorted(each.audit.seq for each in results) == list(range(size, size + 16))
    assert faulty.ledger.verify()


def test_p1_a_store_that_fails_fails_every_search_that_waits(faulty) -> None:
    with gathered(faulty, lambda number: faulty.search("docs", Q8, k=number + 1)) as futures:
        Faulty.left, Faulty.lasting = 2, True  # after this block's own COMMIT
    for each in futures:
        with pytest.raises(errors.StoreError, match="disk I/O error"):
            each.result()
    Faulty.left = None
    assert len(everything(faulty)) == 1
    assert faulty.search("docs", Q8).num_rows == 10
    assert faulty.ledger.verify()


def test_p1_what_is_wrong_with_one_search_is_no_others_error(session, docs) -> None:
    """A listener that refused one of those that share a transaction refused all of them."""
    session.audit.add_listener(Listener(refused_k=7))
    with gathered(session, lambda number: session.search("docs", Q8, k=number + 1)) as futures:
        pass
    outcomes = [each.exception() for each in futures]
    assert [at + 1 for at, error in enumerate(outcomes) if error is not None] == [7]
    assert str(outcomes[6]) == "refused"
    assert sorted(each.k_requested for each in everything(session)) == [
        k for k in range(1, 17) if k != 7
    ]
    assert session.ledger.verify()


def test_a_group_keeps_its_order_and_its_size() -> None:
    batches: list[list[int]] = []
    first, others = threading.Event(), threading.Event()

    def commit(items):
        if not batches:
            first.set()
            assert others.wait(20)
        batches.append(list(items))
        return [item * 2 for item in items]

    group: GroupCommit[int, int] = GroupCommit(commit)
    with ThreadPoolExecutor(ITEMS_MAX + 20) as pool:
        futures = [pool.submit(group.submit, 0)]
        assert first.wait(20)
        for number in range(1, ITEMS_MAX + 10):
            futures.append(pool.submit(group.submit, number))
            until(lambda number=number: len(group._waiting) == number)
        others.set()
        assert [each.result() for each in futures] == [n * 2 for n in range(ITEMS_MAX + 10)]
    assert [len(batch) for batch in batches] == [1, ITEMS_MAX, 9]
    assert [item for batch in batches for item in batch] == list(range(ITEMS_MAX + 10))


@pytest.mark.parametrize(
    ("error", "commits"), [(errors.StoreBusyError("x", timeout_s=1), 1), (errors.ConstraintError(), 4)],
    ids=["the store's", "an item's"],
)  # fmt: skip
def test_only_what_may_be_an_items_fault_is_tried_item_by_item(error, commits) -> None:
    """A busy store is waited for once, and not once for each."""
    batches = []

    def commit(items):
        batches.append(items)
        raise error

    group: GroupCommit[int, int] = GroupCommit(commit)
    others = [_Ticket(1), _Ticket(2)]
    group._waiting += others
    with pytest.raises(type(error)):
        group.submit(3)
    assert batches == [[1, 2, 3], [1], [2], [3]][:commits]
    assert [each.error for each in others] == [error] * 2


def test_a_thread_that_is_interrupted_fails_those_it_committed_for() -> None:
    """Whatever of it was committed, nobody is given rows; the next one is committed as ever."""

    def commit(items):
        if -1 in items:
            raise KeyboardInterrupt
        return items

    group: GroupCommit[int, int] = GroupCommit(commit)
    other = _Ticket(7)
    group._waiting.append(other)
    with pytest.raises(KeyboardInterrupt):
        group.submit(-1)
    assert isinstance(other.error, errors.StoreError)
    assert other.done
    assert group.submit(3) == 3


# --- transactions --------------------------------------------------------------------------------


def pending(session: affidavit.Session) -> list[str]:
    folder = session._instance.lake.path / "pending"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("how", ["block", "sql"])
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_search_in_a_transaction_stays_on_record_however_that_ends(
    session, docs, how, ends
) -> None:
    session.create_table("t", [{"a": 0}])

    def inside() -> list[str]:
        session.sql("INSERT INTO t VALUES (1)")
        first = session.search("docs", Q8, k=2)
        assert session.audit.get(first.query_id) == first.audit, "the transaction sees it"
        session.sql(f"SELECT id FROM {SEARCH}", q=Q8).to_arrow()
        batch = session.search_batch("docs", [Q8, Q8], k=1)
        assert len(pending(session)) == 6, "three files and their locks"
        return [first.query_id, *(each.query_id for each in batch)]

    if how == "sql":
        session.sql("BEGIN")
        ids = inside()
        session.sql(ends)
    elif ends == "commit":
        with session.transaction():
            ids = inside()
    else:
        with pytest.raises(ZeroDivisionError), session.transaction():
            ids = inside()
            raise ZeroDivisionError
    assert [each.k_requested for each in everything(session)] == [2, 3, 1, 1]
    assert {*ids} < {each.query_id for each in everything(session)}
    assert all(session.audit.verify(session.audit.get(each)) for each in ids)
    assert pending(session) == []
    assert session.table("t").count() == (2 if ends == "commit" else 1)
    assert session.sql("SELECT count(*) AS n FROM audit.results").to_pylist() == [{"n": 7}]
    assert session.ledger.verify().entries == 5 + events(session)


def test_a_statement_that_fails_in_a_transaction_leaves_its_searchs_record(session, docs) -> None:
    """It was signed as the entry that another search became; as such it is denied."""
    listener = Listener()
    session.audit.add_listener(listener)
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
    with session.transaction():
        first = session.search("docs", Q8, k=1).audit
        with pytest.raises(errors.ConstraintError):
            session.sql(f"INSERT INTO t SELECT 7 FROM {SEARCH}", q=Q8)
        second = session.search("docs", Q8, k=2).audit
        session.sql("INSERT INTO t VALUES (8)")
    assert session.table("t").to_arrow().to_pylist() == [{"id": 8}]
    assert [each.k_requested for each in everything(session)] == [1, 2, 3]
    assert session.ledger.verify().entries == 4 + events(session)
    assert second.seq == first.seq + 1
    undone, kept = [each for each in listener.seen if each.k_requested == 3]
    assert undone.seq == second.seq
    assert session.audit.get(undone.query_id) == kept
    assert (kept.seq, session.audit.verify(kept)) == (session.ledger.size - 1, True)
    assert not session.audit.verify(undone)


@pytest.mark.parametrize("text", [
    f"INSERT INTO t SELECT 7, 1 FROM {SEARCH}",
    f"UPDATE t SET id = 1 WHERE id IN (SELECT id FROM {SEARCH})",
    f"CREATE TABLE made (a BIGINT PRIMARY KEY) AS SELECT 7 AS a FROM {SEARCH}",
])  # fmt: skip
def test_a_change_that_fails_leaves_its_searchs_record(session, docs, text) -> None:
    session.create_table("t", [{"id": i, "v": i} for i in range(300)], primary_key="id")
    with recorded(session, 1) as new, pytest.raises(errors.ConstraintError):
        session.sql(text, q=Q8)
    assert session.audit.verify(new[0])
    assert session.table("t").to_arrow()["v"].to_pylist() == list(range(300))
    assert pending(session) == []


def test_a_query_made_before_a_transaction_and_read_in_it_is_recorded(session, docs) -> None:
    """DataFusion's own threads run the search of a join: they waited for the transaction to end."""
    session.create_table("t", [{"id": i} for i in range(5000)], primary_key="id")
    joined = session.sql(f"SELECT t.id FROM t JOIN {SEARCH} h ON h.id = t.id ORDER BY 1", q=Q8)
    with recorded(session, 1), session.transaction():
        session.sql("INSERT INTO t VALUES (5000)")
        assert joined.num_rows == 3


def test_a_transaction_that_a_dead_thread_left_is_ended_with_its_searches_on_record(
    session, docs
) -> None:
    def work() -> None:
        session.sql("BEGIN")
        session.search("docs", Q8, k=2)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    session.create_table("t", [{"a": 1}])
    assert [each.k_requested for each in everything(session)] == [2]
    assert pending(session) == []


def test_closing_in_a_transaction_keeps_the_searches_on_record(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        session.sql("BEGIN")
        session.create_table("t", [{"a": 1}])
        session.search("docs", Q8, k=2)
    with affidavit.connect(lake, durability="normal") as session:
        assert [each.k_requested for each in everything(session)] == [2]
        assert {row["name"] for row in session.tables()} == {"docs"}


def test_p1_searches_of_another_tenants_transaction_give_no_rows(session, docs) -> None:
    with session.scope(tenant="red") as red:
        red.create_vector_table("docs", vectors(10))
        size = red.ledger.size
        with session.scope(tenant="default"), session.transaction():
            with session.scope(tenant="red") as again:
                with pytest.raises(errors.TransactionError, match="another tenant"):
                    again.search("docs", Q8)
        assert pending(session) == []
        assert red.ledger.size == size


def test_a_rollback_that_cannot_be_recorded_is_recorded_by_the_next_open(lake, monkeypatch) -> None:
    """Each of its searches is tried, whatever became of another."""
    failing = 2

    def commit(self, tenant, batches):
        nonlocal failing
        failing -= 1
        if failing >= 0:
            raise errors.StoreError("the disk is full")
        return original(self, tenant, batches)

    original = Commits._commit
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        session.sql("BEGIN")
        ids = [session.search("docs", Q8, k=k).query_id for k in (1, 2, 3)]
        monkeypatch.setattr(Commits, "_commit", commit)
        with pytest.raises(errors.StoreError, match="the disk is full"):
            session.sql("ROLLBACK")
        assert [each.query_id for each in everything(session)] == ids[2:]
        assert len(pending(session)) == 4, "two files and their locks"
    gc.collect()
    with affidavit.connect(lake, durability="normal") as session:
        assert sorted(each.query_id for each in everything(session)) == ids
        assert pending(session) == []
        assert session.ledger.verify()


def test_an_open_transactions_searches_are_not_taken_for_abandoned(session, docs, lake) -> None:
    with session.transaction():
        query_id = session.search("docs", Q8, k=1).query_id
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: affidavit.connect(lake, read_only=True).close()).result()
            opened = pool.submit(affidavit.connect, lake, durability="normal").result()
        assert len(pending(session)) == 2
    with opened:
        assert [each.query_id for each in everything(opened)] == [query_id]
        assert opened.ledger.verify()


CRASHING = """
import os, signal, sqlite3, sys
import affidavit
from affidavit.catalog.ledger.ledger import Ledger
from affidavit.catalog.store.sqlite.writer import SqliteWriter
from affidavit.engine.audit import carried
from affidavit.catalog.store.group_commit import ITEMS_MAX, GroupCommit, _Ticket
from affidavit.engine.session.housekeeping import Housekeeper

path, step = sys.argv[1:]
armed = False

def at(here):
    if armed and step == here:
        os.kill(os.getpid(), signal.SIGKILL)

class Dying(sqlite3.Connection):
    def execute(self, sql, *values):
        if sql == "COMMIT":
            at("before commit")
        done = super().execute(sql, *values)
        if sql == "COMMIT":
            at("after commit")
        return done

connect = sqlite3.connect
sqlite3.connect = lambda *a, **kw: connect(*a, factory=Dying, **kw)
append = Ledger.append

def dying_append(self, *a, **kw):
    at("before the entry")
    entries = append(self, *a, **kw)
    at("after the entry")
    return entries

Ledger.append = dying_append
held = carried.PendingFile

class DyingFile(held):
    def __init__(self, *a):
        super().__init__(*a)
        at("pending")
    def remove(self):
        at("before removing")
        super().remove()
        at("after removing")

carried.PendingFile = DyingFile
Housekeeper.poke = lambda self: None
session = affidavit.connect(path, durability="normal")
q = [1.0] * 8
"""
ALONE = (
    CRASHING
    + """
armed = True
print(session.search("docs", q, k=2).query_id, flush=True)
at("rows returned")
"""
)
INSIDE = (
    CRASHING
    + """
session.sql("BEGIN")
session.sql("INSERT INTO t VALUES (1)")
armed = True
print(session.search("docs", q, k=2).query_id, flush=True)
at("rows returned")
session.sql(f"SELECT id FROM vector_search('docs', {q}, 3)").to_arrow()
print("second", flush=True)
session.sql("ROLLBACK" if "rollback" in path else "COMMIT")
print("ended", flush=True)
at("ended")
"""
)
STEPS = ["before the entry", "after the entry", "before commit", "after commit", "rows returned"]


def check_after_crash(lake: Path, said: list[str], *, most: int) -> list[SearchRecord]:
    """Return the records of a reopened lake; what the dead process had printed is among them."""
    with affidavit.connect(lake, durability="normal") as session:
        found = everything(session)
        assert 0 <= len(found) <= most
        assert len({each.query_id for each in found}) == len(found)
        assert {word for word in said if "-" in word} <= {each.query_id for each in found}
        assert pending(session) == []
        checked = session.ledger.verify()
        assert checked, checked
        key = bool(found or events(session))  # which the first entry of a ledger brings in
        assert checked.entries == key + len(found) + events(session)
        results = session.sql("SELECT count(*) AS n FROM audit.results").to_pylist()[0]["n"]
        assert results == sum(each.k_returned for each in found)
        assert session.search("docs", Q8).num_rows == 10
        return found


@pytest.fixture
def lake_to_crash(lake) -> Path:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        session.sql("CREATE TABLE t (a BIGINT)")
    return lake


@pytest.mark.parametrize("step", STEPS)
def test_p1_kill_9_leaves_record_and_leaf_or_neither(lake_to_crash, step: str) -> None:
    said = run_python(ALONE, lake_to_crash, step, status=-signal.SIGKILL).split()
    found = check_after_crash(lake_to_crash, said, most=1)
    assert len(said) == (step == "rows returned")
    assert len(found) == (step in {"after commit", "rows returned"})


@pytest.mark.parametrize(
    "step", ["pending", "rows returned", "before commit", "before removing", "after removing"]
)
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_p1_kill_9_in_a_transaction_keeps_the_record_once_and_not_its_rows(
    lake_to_crash, step: str, ends: str
) -> None:
    if ends == "rollback":
        if step in {"pending", "rows returned"}:
            pytest.skip("it dies before the transaction ends")
        lake_to_crash = lake_to_crash.rename(lake_to_crash.parent / "rollback")
    said = run_python(INSIDE, lake_to_crash, step, status=-signal.SIGKILL).split()
    found = check_after_crash(lake_to_crash, said, most=2)
    printed = {"pending": 0, "rows returned": 1}.get(step, 2)
    assert len(said) == printed
    assert len(found) == max(printed, 1), "what is durable before the rows are given is kept"
    committed = ends == "commit" and "removing" in step
    with affidavit.connect(lake_to_crash, durability="normal") as session:
        assert session.table("t").count() == (1 if committed else 0)


def test_what_a_crash_left_half_written_beside_a_pending_file_is_removed(lake_to_crash) -> None:
    folder = lake_to_crash / "pending"
    folder.mkdir()
    for name in ("a.aside", "a.lock", "b.lock", "c.aside"):
        (folder / name).write_text("{")
    check_after_crash(lake_to_crash, [], most=0)


@pytest.mark.parametrize("planted", ["unsigned", "changed", "garbage", "folder"])
def test_p12_nobody_without_the_master_key_has_anything_put_on_record(
    lake_to_crash, planted: str
) -> None:
    """A pending file that somebody wrote was signed into the ledger by the next open."""
    with affidavit.connect(lake_to_crash, read_only=True) as session:
        size = session.ledger.size
    run_python(INSIDE, lake_to_crash, "rows returned", status=-signal.SIGKILL)
    [file] = (lake_to_crash / "pending").glob("*.json")
    genuine = file.read_text()
    if planted == "garbage":
        file.write_text("[]")
    elif planted == "folder":
        file.unlink()
        file.mkdir()
    else:
        outer = json.loads(genuine)
        outer["text"] = outer["text"].replace('\\"docs\\"', '\\"other\\"')
        assert outer["text"] != json.loads(genuine)["text"]
        if planted == "unsigned":
            outer["signature"] = base64.b64encode(bytes(64)).decode()
        file.write_text(json.dumps(outer))
    with pytest.raises(
        errors.LedgerCorruptError, match=f"{file.name}.*is not what affidavit wrote"
    ):
        affidavit.connect(lake_to_crash, durability="normal")
    with affidavit.connect(lake_to_crash, read_only=True) as session:
        assert session.ledger.size == size
    if planted == "folder":
        file.rmdir()
    file.write_text(genuine)
    check_after_crash(lake_to_crash, [], most=1)


# --- P9: tenants ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    """``red`` with three records, ``blue`` with one, the shared scope with two."""
    lake = tmp_path_factory.mktemp("tenants")
    with affidavit.connect(lake, actor="boss", durability="normal") as session:
        for tenant, searches in (("red", 3), ("blue", 1), (None, 2)):
            with session.scope(tenant=tenant, actor=f"{tenant}-user") as scoped:
                scoped.create_vector_table(f"docs_{tenant}", vectors(20))
                for at in range(searches):
                    scoped.search(f"docs_{tenant}", Q8, k=at + 1, lineage=f"secret of {tenant}")
                scoped.sql(f"SELECT 'secret of {tenant}'").to_arrow()
                scoped.ledger.checkpoint()
        session._instance.statements.flush()
        yield session


READS = [
    "SELECT * FROM audit.searches",
    "SELECT * FROM audit.results",
    "SELECT * FROM audit.statements WHERE text LIKE 'SELECT ''secret%'",
    "SELECT * FROM audit.checkpoints",
    "SELECT * FROM system.ledger",
    "SELECT * FROM lake.audit.searches WHERE tenant IS NOT NULL OR tenant IS NULL",
    "SELECT * FROM audit.searches WHERE seq >= 0 OR true",
]


@pytest.mark.parametrize("text", READS)
def test_p9_each_ledger_is_its_tenants_own_in_sql(tenants, text) -> None:
    shown = {}
    for tenant in ("red", "blue", None, "nobody"):
        with tenants.scope(tenant=tenant) as scoped:
            rows = scoped.sql(text).to_pylist()
            shown[tenant] = len(rows)
            others = {f"secret of {each}" for each in ("red", "blue", None)} - {
                f"secret of {tenant}"
            }
            assert not any(other in str(rows) for other in others)
            assert not any(f"{o.removeprefix('secret of ')}-user" in str(rows) for o in others)
            count = scoped.sql(text.replace("*", "count(*) AS n", 1)).to_pylist()
            assert count == [{"n": len(rows)}]
    assert shown["nobody"] == 0
    records = {"red": 3, "blue": 1, None: 2, "nobody": 0}
    if "searches" in text:
        assert shown == records
    elif "results" in text:
        assert shown == {"red": 6, "blue": 1, None: 3, "nobody": 0}
    elif "ledger" in text:
        made = {"red": 2, "blue": 2, None: 2, "nobody": 0}  # the events of the table that was made
        assert shown == {each: n + bool(n) + made[each] for each, n in records.items()}
    else:
        assert all(shown[name] >= 1 for name in ("red", "blue", None))


def test_p9_each_ledger_is_its_tenants_own_in_the_api(tenants) -> None:
    with tenants.scope(tenant="red") as red, tenants.scope(tenant="blue") as blue:
        [theirs] = blue.audit.recent()
        assert [each.tenant for each in red.audit.recent()] == ["red"] * 3
        sizes = [each.ledger.size - events(each) for each in (red, blue)]
        assert sizes == [4, 2]
        for ask in (
            lambda query_id: red.audit.get(query_id),
            lambda query_id: red.audit.replay(query_id, Q8),
        ):
            with pytest.raises(errors.RecordNotFoundError) as refused:
                ask(theirs.query_id)
            with pytest.raises(errors.RecordNotFoundError) as absent:
                ask("nobody")
            assert str(refused.value).replace(theirs.query_id, "nobody") == str(absent.value)
        with pytest.raises(errors.RecordNotFoundError, match="has 6 entries"):
            red.ledger.prove(6)
        assert {each.tenant for each in red.audit.received(theirs.top_k_result_ids[0])} <= {"red"}
        assert red.ledger.origin.endswith("/red")
        assert red.ledger.public_key != blue.ledger.public_key
        assert red.ledger.verify()
        assert not red.audit.verify(theirs)
        assert red.audit.release(datetime.now(UTC)) == 0
        assert blue.table("docs_blue").tags() != {}
    with tenants.scope(tenant=None) as shared:
        assert [each.tenant for each in shared.audit.recent()] == [None, None]
        assert shared.ledger.origin.endswith("/_shared")
    assert tenants.ledger.size == 0, "nor does the session itself have any of them"


def test_p9_a_search_of_a_shared_table_is_the_searching_tenants(tenants) -> None:
    with tenants.scope(tenant="green", actor="gil", source="web", workspace="w") as green:
        result = green.search("docs_None", Q8, k=2)
        rows = green.sql(f"SELECT id FROM vector_search('docs_None', {Q8}, 1)").num_rows
        assert (rows, len(green.audit.recent())) == (1, 2)
        said = result.audit
        assert (said.tenant, said.actor, said.source, said.workspace) == (
            "green",
            "gil",
            "web",
            "w",
        )
        assert str(green.audit.replay(result.query_id, Q8).outcome) == "REPRODUCED"
    with tenants.scope(tenant=None) as shared:
        assert len(shared.audit.recent()) == 2
        assert len(shared.audit.received(said.top_k_result_ids[0])) == 2


def test_p9_a_result_is_recorded_for_who_asked_wherever_it_is_read(tenants) -> None:
    with tenants.scope(tenant="lazy", actor="lou") as lazy:
        found = tenants.sql(f"SELECT id FROM vector_search('docs_None', {Q8}, 2)")
        assert lazy.audit.recent() == []
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: found.num_rows).result() == 2
    with tenants.scope(tenant="lazy") as lazy:
        assert [(each.tenant, each.actor) for each in lazy.audit.recent()] == [("lazy", "lou")]
    assert tenants.ledger.size == 0


WRITES = [
    "INSERT INTO audit.searches SELECT * FROM audit.searches", "UPDATE audit.searches SET seq = 1",
    "DELETE FROM audit.searches", "TRUNCATE audit.searches", "DROP TABLE audit.searches",
    "DROP TABLE IF EXISTS audit.searches", "DROP VIEW audit.searches",
    "ALTER TABLE audit.searches ADD COLUMN x INT", "ALTER TABLE audit.searches RENAME TO x",
    "CREATE INDEX i ON audit.searches (seq)", "CREATE TABLE audit.x (a INT)",
    "CREATE VIEW audit.x AS SELECT 1 AS a", "SELECT 1 AS a INTO audit.x",
    "CREATE OR REPLACE VIEW audit.searches AS SELECT 1 AS a",
    "CREATE OR REPLACE TABLE system.ledger AS SELECT 1 AS a", "CREATE SCHEMA audit",
    'CREATE SCHEMA "AUDIT"', "DROP SCHEMA audit CASCADE", "DROP SCHEMA IF EXISTS system",
    "MERGE INTO audit.searches USING t ON true WHEN MATCHED THEN DELETE",
    "DELETE FROM system.ledger", "INSERT INTO system.ledger VALUES (1)", "DELETE FROM system.tables",
    "UPDATE audit.statements SET text = 'x'", "DELETE FROM audit.checkpoints",
    "DELETE FROM audit.results", "DELETE FROM lake.audit.searches", "CREATE TABLE lake.audit.x (a INT)",
    'CREATE TABLE "audit"."x" (a INT)', "CREATE TABLE journal (a INT)",
    "CREATE EXTERNAL TABLE audit.x STORED AS CSV LOCATION '/nowhere.csv'",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITES)
def test_p9_what_the_engine_keeps_is_written_by_no_statement(indexed, text) -> None:
    before = indexed.ledger.size
    with pytest.raises(errors.ReservedNameError):
        indexed.sql(text)
    assert indexed.ledger.size == before
    assert indexed.ledger.verify()


def test_p9_what_the_engine_keeps_is_written_by_no_call(indexed) -> None:
    size, frame = indexed.ledger.size, pa.table({"a": [1]})
    for write in (
        lambda: indexed.create_table("journal", [{"a": 1}]),
        lambda: indexed.create_vector_table("journal", vectors(1)),
        lambda: indexed.attach("journal", frame),
        lambda: indexed.drop_table("audit.searches"),
        lambda: indexed.drop_table("system.ledger", if_exists=True),
    ):
        with pytest.raises(errors.ReservedNameError):
            write()
    for write in (
        lambda: indexed.create_table("audit.searches", [{"a": 1}]),
        lambda: indexed.create_vector_table("audit.searches", vectors(1)),
        lambda: indexed.attach("audit.searches", frame),
    ):
        with pytest.raises(errors.InvalidNameError):
            write()
    for handle in ("audit.searches", "system.ledger", "audit.statements"):
        with pytest.raises(errors.TableNotFoundError):
            indexed.table(handle)
    with pytest.raises(errors.TableNotFoundError):
        indexed.detach("audit.searches")
    for store_table in ("ledger", "ledger_heads", "search_results", "statements", "lake"):
        with pytest.raises(errors.TableNotFoundError):
            indexed.sql(f"DELETE FROM {store_table}")
    assert indexed.ledger.size == size


# --- audit.log -----------------------------------------------------------------------------------


def made(**changes: object) -> dict:
    base = {
        "model_id": "m", "model_version": "1", "query_lineage": None, "top_k_result_ids": ["a", "b"],
        "retrieval_scores": [0.5, 0.25],
    }  # fmt: skip
    return {**base, **changes}


ODD_SCORES = [
    ("a", math.nan),
    ("", math.inf),
    ("c", -math.inf),
    ("d", -0.0),
    ("e", 0.0),
    ("f", 5e-324),
]


@given(
    st.lists(st.tuples(TEXTS, st.floats(width=64)), max_size=5),
    JSON,
    st.none() | TEXTS,
    st.none() | st.dictionaries(TEXTS, JSON, max_size=3),
    st.none() | st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=4),
    st.none() | st.floats(),
    st.datetimes(timezones=st.just(UTC)),
)
@settings(max_examples=60)
@example(
    ODD_SCORES, 2.0**53, "\x00", {"": [1e20, -0.0]}, [-0.0], -0.0, datetime(1, 1, 1, tzinfo=UTC)
)
def test_p3_what_is_logged_is_read_back_exactly(
    indexed, results, lineage, text, params, vector, recall, at
) -> None:
    """NaN, the infinities, -0.0, every character; in Python, in SQL and in what was signed."""
    ids, scores = [row for row, _ in results], [score for _, score in results]
    [record] = indexed.audit.log(
        [SearchRecord(
            text, text, lineage, ids, scores, query_text=text, params=params, query_vector=vector,
            recall=recall, executed_at=at,
        )]
    )  # fmt: skip
    found = indexed.audit.get(record.query_id)
    [row] = indexed.sql(
        "SELECT * FROM audit.searches WHERE query_id = $i", i=record.query_id
    ).to_pylist()
    for shown in (record.to_dict(), found.to_dict(), row):
        assert shown["top_k_result_ids"] == ids
        assert [*map(repr, shown["retrieval_scores"])] == [*map(repr, scores)]
        assert (shown["model_id"], shown["query_text"]) == (text, text)
        assert shown["query_vector"] == vector
        assert repr(shown["recall"]) == repr(recall), "-0.0 and NaN too"
        assert shown["executed_at"] == at
        for name, given_value in (("query_lineage", lineage), ("params", params)):
            value = shown[name]
            if shown is row and value is not None:
                value = json.loads(value, parse_int=float)
            assert rfc8785.dumps(value) == rfc8785.dumps(given_value)
    assert indexed.audit.verify(found)
    assert indexed.audit.verify(record)


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


# --- what is put on record -----------------------------------------------------------------------


def kinds(session: affidavit.Session) -> list[str]:
    return [row["kind"] for row in session.sql("SELECT kind FROM system.ledger ORDER BY seq")]


def test_audit_off_is_noted_once_for_each_tenant_that_searches(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        with session.scope(tenant=None) as shared:
            shared.create_vector_table("docs", vectors(10))
    with affidavit.connect(lake, audit="off", actor="ann", durability="normal") as session:
        assert session.audit.mode == "off"
        for _ in range(2):
            result = session.search("docs", Q8, k=2)
            assert (result.audit, result.query_id, result.num_rows) == (None, None, 2)
            assert "record" not in result._repr_html_()
        assert session.sql(f"SELECT * FROM {SEARCH}", q=Q8).num_rows == 3
        assert kinds(session) == ["key", "audit-off"]
        with session.scope(tenant="red") as red:
            assert red.ledger.size == 0
            with pytest.raises(ZeroDivisionError), red.transaction():
                red.search("docs", Q8)
                raise ZeroDivisionError
            red.search("docs", Q8)
            assert kinds(red) == ["key", "audit-off"]
            [body] = red.sql("SELECT body FROM system.ledger WHERE kind = 'audit-off'").to_pylist()
            assert json.loads(body["body"])["actor"] == "ann"
        assert session.sql("SELECT * FROM audit.statements").num_rows == 0
        assert session.audit.log([made()])[0].seq == 2, "what a caller logs is logged"
        assert session.ledger.verify()


@pytest.mark.parametrize("how", [
    dict(audit="on"), dict(audit=None), dict(audit=False), dict(audit_recall=1.5),
    dict(audit_recall=-0.1), dict(audit_recall="all"), dict(audit_recall=math.nan),
])  # fmt: skip
def test_p12_what_cannot_be_put_on_record_is_refused_before_anything_is_made(lake, how) -> None:
    [name] = how
    with pytest.raises(errors.InvalidQueryError, match=name):
        affidavit.connect(lake, **how)
    assert not lake.exists()


def test_recall_is_measured_where_that_is_asked_for(lake) -> None:
    data = np.random.default_rng(5).normal(size=(800, 16)).astype("f4")
    table = pa.table(
        {"id": range(800), "vector": pa.FixedSizeListArray.from_arrays(data.ravel(), 16)}
    )
    with affidavit.connect(lake, audit_recall=1.0, durability="normal") as session:
        docs = session.create_vector_table("docs", table)
        docs.create_index("vector", num_partitions=8, num_sub_vectors=2)
        result = session.search("docs", Q16, k=20, nprobes=1, refine_factor=1)
        truth = session.search("docs", Q16, k=20, exact=True)
        share = len({r["id"] for r in result} & {r["id"] for r in truth}) / 20
        assert share < 1, "the index must miss something"
        assert (result.audit.recall, truth.audit.recall) == (share, 1.0)
        assert f"measured recall {share:.0%}" in result._repr_html_()
        assert "measured recall 100%" in truth._repr_html_()
        shown = session.sql("SELECT recall FROM audit.searches ORDER BY seq").to_pylist()
        assert shown == [{"recall": share}, {"recall": 1.0}]
        assert session.audit.replay(result.query_id, Q16).recall == share
        assert session.audit.verify(result.audit)
    with affidavit.connect(lake, durability="normal") as session:
        assert session.search("docs", Q16, k=20).audit.recall is None


def test_recall_counts_rows_of_one_score_as_one_another(lake) -> None:
    """Of many copies any may come back: which of them did was taken for a miss."""
    from affidavit.engine.search.ranking import Ranking

    found = Ranking(("a", "x", "y"), (0.1, 0.5, 0.5), 3)
    truth = Ranking(("a", "v", "w"), (0.1, 0.5, 0.5), 3)
    assert found.recall_of(truth) == 1.0
    assert Ranking(("b", "x", "y"), (0.2, 0.5, 0.5), 3).recall_of(truth) == pytest.approx(2 / 3)


# --- sessions that only read ---------------------------------------------------------------------


def test_a_session_that_only_reads_puts_its_searches_on_record(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.create_table("t", [{"a": 1}])
    with affidavit.connect(lake, read_only=True, actor="eve", durability="normal") as session:
        one = session.search("docs", Q8, k=2)
        assert session.sql(f"SELECT id FROM {SEARCH}", q=Q8).num_rows == 3
        assert len(session.search_batch("docs", [Q8] * 2, k=1)) == 2
        assert session.audit.get(one.query_id) == one.audit
        assert str(session.audit.replay(one.query_id, Q8).outcome) == "REPRODUCED"
        before = kinds(session)
        assert before == ["key", *["event"] * 4, *["search"] * 4, "replay"]
        for write in (
            lambda: session.audit.log([made()]),
            lambda: session.audit.release(datetime.now(UTC)),
            lambda: session.sql("INSERT INTO t VALUES (2)"),
            lambda: session.sql("BEGIN"),
            lambda: session.table("t").insert([{"a": 2}]),
            lambda: session.table("docs").insert(vectors(1, start=99)),
            lambda: session.create_table("u", [{"a": 1}]),
            lambda: session.ledger.rotate_key(),
        ):
            with pytest.raises(errors.ReadOnlyError):
                write()
        assert kinds(session) == before
    with affidavit.connect(lake, durability="normal") as session:
        assert [each.actor for each in everything(session)] == ["eve"] * 4
        assert session.sql("SELECT * FROM audit.statements").num_rows == 0
        assert session.ledger.verify()
        assert session.table("t").count() == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes whatever it likes")
def test_p1_where_the_store_cannot_be_written_a_reader_gets_no_rows(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.search("docs", Q8)
    for file in lake.glob("catalog.db*"):
        file.chmod(0o444)
    with affidavit.connect(lake, read_only=True, durability="normal") as session:
        with pytest.raises(errors.AffidavitError):
            session.search("docs", Q8)
        assert session.ledger.size == 2
    (lake / "catalog.db").chmod(0o644)


def test_p1_a_reader_without_the_master_key_gets_no_rows(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.search("docs", Q8)
    (lake / "keys" / "master.key").rename(lake / "elsewhere.key")
    with affidavit.connect(lake, read_only=True, durability="normal") as session:
        for name in ("search", "batch", "sql"):
            with pytest.raises(errors.MasterKeyError, match="no master key"):
                ASKS[name](session)
        assert len(everything(session)) == 1
        assert session.ledger.verify()
