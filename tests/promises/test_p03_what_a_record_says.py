"""P3: a record names its data, its query, who asked and what came back, all of it signed."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
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
from tests.support.json_values import JSON, TEXTS
from tests.support.lakes import vectors
from tests.support.records import FIELDS, LINEAGE, Q8, Q16, encode, everything, recorded

import affidavit
from affidavit import SearchRecord
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER
from affidavit.engine.search.record import SEARCHES_SCHEMA

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
        "seq": indexed.ledger.size - 1, "logged": False, "key_id": record.key_id, "context": None,
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
            with session._catalog().lake.store.read("default") as reader:
                newer = Compare(">=", "seq", kept[0].seq)
                rows = reader.select(LEDGER, ("body", "opened"), own("default", newer))
            bodies = b"".join(part for row in rows for part in row if part).decode()
            assert not any(word in body.decode() for body, _ in rows for word in (packed, words))
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


def test_p3_results_of_any_kind_of_key_and_score_are_recorded(session) -> None:
    kind = pa.list_(pa.float32(), 2)
    data = pa.table(
        {"id": ["a\n", "", "é\u2028"], "vector": pa.array([[1, 2], None, [8e18, 1]], kind)}
    )
    session.create_vector_table("odd", data, metric="l2")
    session.create_vector_table("empty", schema=data.schema)
    far = session.search("odd", [-8e18, 1.0], k=5).audit
    assert far.top_k_result_ids == ["a\n", "é\u2028"]
    assert far.retrieval_scores == pytest.approx([6.4e37, 2.56e38])  # the largest that there are
    assert far == session.audit.get(far.query_id)
    [row] = session.sql("SELECT retrieval_scores AS s FROM audit.searches").to_pylist()
    assert row["s"] == far.retrieval_scores
    none = session.search("empty", [1.0, 1.0]).audit
    assert (none.k_requested, none.k_returned, none.top_k_result_ids) == (10, 0, [])
    assert session.ledger.verify()


COMMITTED = {
    "filter", "params", "query_sha256", "query_vector", "query_text", "query_lineage", "context",
    "top_k_result_ids", "retrieval_scores",
}  # fmt: skip


def body_of(record: SearchRecord, opened: dict[str, list]) -> bytes:
    """Return what must have been signed, written without any of the engine's own code.

    ``opened`` has the salt of each member that the body commits to.
    """
    body = {"v": 2, **record.to_dict()}
    del body["signature"]
    body["kind"] = "search"
    body["executed_at"] = record.executed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if record.query_vector is not None:
        packed = np.array(record.query_vector, dtype="<f4").tobytes()
        body["query_vector"] = base64.b64encode(packed).decode()
    for name in COMMITTED:
        if body[name] is not None:
            salt, value = bytes.fromhex(opened[name][0]), rfc8785.dumps(body[name])
            hashed = hashlib.sha256(salt + b"\x02" + name.encode() + b"\x00" + value)
            body[name] = f"c:{hashed.hexdigest()}"
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
        session.ledger.export(lake / "bundle", record.seq, record.seq)
        opened = json.loads((lake / "bundle" / "entries.jsonl").read_text())["opened"]
    assert name.startswith("affidavit/")
    assert hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:4].hex() == stated
    key = Ed25519PublicKey.from_public_bytes(raw)
    key.verify(record.signature, body_of(record, opened))
    assert entry == {"body": body_of(record, opened).decode(), "signature": record.signature}
    with pytest.raises(InvalidSignature):
        key.verify(record.signature, body_of(record.replaced(k_requested=4), opened))


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
@pytest.mark.slow
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
