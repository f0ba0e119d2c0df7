"""The record of a search: its table of fields, and bodies that were signed before."""

from __future__ import annotations

import base64
import math
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit import SearchRecord, errors
from affidavit.catalog.ledger.commitments import opened_members, without
from affidavit.catalog.ledger.entry import StoredEntry
from affidavit.catalog.ledger.verifier import Entry, PublicKey
from affidavit.catalog.values.canonical import canonical, canonical_object, from_us, us_of
from affidavit.engine.search.fields import BOOLEAN, FIELDS, INTEGER, TEXT, TIME
from affidavit.engine.search.record import (
    SEARCHES_SCHEMA,
    checked_record,
    draft_record,
    is_as_signed,
    record_of,
    records_batch,
)

# --- the table -----------------------------------------------------------------------------------


def test_every_field_is_an_attribute_and_every_attribute_a_field() -> None:
    declared = {each.name: each for each in fields(SearchRecord)}
    assert len(FIELDS) == len(declared)
    assert {each.name for each in FIELDS} == declared.keys()
    assert [each.name for each in FIELDS] == SEARCHES_SCHEMA.names
    plain = {TEXT: "str", INTEGER: "int", BOOLEAN: "bool"}
    for each in FIELDS:
        said = declared[each.name].type
        if each.form in plain:
            assert said.removesuffix(" | None") == plain[each.form], each.name


def test_a_draft_says_every_field_but_the_ledgers_own() -> None:
    record = SearchRecord(None, None, None, [], [], query_id="q", executed_at=datetime.now(UTC))
    drafted = draft_record(record)
    assert drafted.members.keys() == {"v", *(each.name for each in FIELDS if not each.ledgers)}
    own = {each.name for each in FIELDS if each.ledgers}
    assert own == {"seq", "tenant", "key_id", "signature"}
    assert drafted.members["v"] == b"2"


def test_what_may_be_let_go_is_a_salted_hash_in_the_body() -> None:
    """P3: and two entries that say the same have other hashes."""
    committed = {each.name for each in FIELDS if each.committed}
    bodies = [
        {**one.members, **dict.fromkeys(("seq", "tenant", "key_id"), b"null")}
        for one in (draft_record(SPECIAL), draft_record(SPECIAL))
    ]
    nothing = {"query_sha256", "context"}
    for name in committed - nothing:
        assert bodies[0][name].startswith(b'"c:')
        assert bodies[0][name] != bodies[1][name]
    assert bodies[0]["query_sha256"] == b"null"
    opened = opened_members(draft_record(SPECIAL).opened)
    assert opened.keys() == committed - nothing
    plain = canonical_object(bodies[0])
    assert b"elsewhere" not in plain
    assert b"5e-324" not in plain


def test_what_was_let_go_is_not_in_a_record() -> None:
    """P3: the rest of it is."""
    drafted = draft_record(HYBRID)
    body = {**drafted.members, "seq": b"5", "tenant": b'"default"', "key_id": b'"k"'}
    gone = frozenset({"top_k_result_ids", "retrieval_scores", "query_text"})
    entry = StoredEntry(5, canonical_object(body), b"s", opened=without(drafted.opened, gone))
    found = record_of(entry)
    assert (found.top_k_result_ids, found.retrieval_scores, found.query_text) == ([], [], None)
    assert (found.filter, found.query_vector, found.params) == (
        HYBRID.filter, HYBRID.query_vector, HYBRID.params,
    )  # fmt: skip
    whole = record_of(StoredEntry(5, canonical_object(body), b"s", opened=drafted.opened))
    assert repr(whole) == repr(HYBRID.replaced(key_id="k", signature=b"s"))


@given(st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-3, minutes=7))),
                    min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))  # fmt: skip
def test_a_time_is_signed_as_every_time_in_the_ledger_is(moment: datetime) -> None:
    assert TIME.write(moment, "executed_at") == canonical(from_us(us_of(moment)))


def test_a_time_that_utc_has_no_year_for_was_never_signed() -> None:
    """``session.audit.verify`` raised OverflowError of such a record, and did not say no."""
    record = SearchRecord(None, None, None, [], [], query_id="q")
    for moment, hours in ((datetime.min, 14), (datetime.max, -5)):
        zone = timezone(timedelta(hours=hours))
        with pytest.raises(errors.InvalidQueryError, match="executed_at must be a time from year"):
            is_as_signed(record.replaced(executed_at=moment.replace(tzinfo=zone)), _plain_entry())


def _plain_entry() -> Entry:
    _, seq, body, signature = SIGNED["nothing but a time"]
    return Entry(seq, body.encode(), base64.b64decode(signature))


# --- bodies that were signed before --------------------------------------------------------------

DEFAULT = (
    "affidavit/fec4234c7697516b04a4a2996e950199/default+ae0fb9e2+AUyUBeHlY5cMf5GlICvUsIf0AYThIntQg"
    "jaAnTlMvujn"
)
SHARED = (
    "affidavit/fec4234c7697516b04a4a2996e950199/_shared+c24c21f9+Afxj0ezUvp2mREOAOnh7iWvTHmIX/dhc4"
    "rmFSNhS5HpP"
)
SIGNED = {
    "a hybrid search": (
        DEFAULT, 5,
        r'{"actor":"ann","duration_us":31689,"exact":false,"executed_at":"2026-11-29T17:23:46.404916Z","filter":"bucket < 8","index_name":"vector_idx","index_uuid":"b7d33c82-d939-4e64-8e1c-c5ec0085ec3f","journal_seq":4,"k_requested":2,"k_returned":2,"key_id":"b6d6c83e15f742d0","kind":"search","logged":false,"mode":"hybrid","model_id":"lengths","model_version":"3","params":{"column":"vector","exact":false,"metric":"cosine","nprobes":20,"refine_factor":30,"select":["id"],"text_sha256":"f8a6eb8adec63ec32826928bfec3ecff7e457b8cea53da43ed05c9500a122847"},"query_id":"01a22855-9264-7ea7-8a1a-acf40b1c958a","query_lineage":{"ward":7,"why":["ä",null,0.5,true]},"query_sha256":"0feae7d44018eabc0b3277095c081bcefdd0f74446d93b33c3d1b782a4789a02","query_text":"word1é","query_vector":"zczMPbdtWz6EOqg+LL7iPuqgDj++4is/kiRJP2ZmZj8=","recall":null,"retrieval_scores":[0.016393441706895828,0.016129031777381897],"seq":5,"source":"api","table_id":"63df1ce7dde14ddca717ff62bbd1c0f5","table_name":"docs","table_version":3,"tenant":"default","top_k_result_ids":["160","77"],"workspace":"lab"}',
        "w50edX9ZnbVNk4RZX4ygn4wB4ZiaO3NQ14bHJH854q5LAnmFRfzU3/n+HkR64kUhC6U6LcTvU95Hnd1BRaZPAw==",
    ),
    "what JSON has no numbers for": (
        DEFAULT, 6,
        r"""{"actor":"ann","duration_us":0,"exact":false,"executed_at":"0001-01-01T00:00:00.000001Z","filter":"x = 'y'","index_name":"i","index_uuid":"u","journal_seq":0,"k_requested":9,"k_returned":7,"key_id":"b6d6c83e15f742d0","kind":"search","logged":true,"mode":"vector","model_id":"m","model_version":null,"params":{"a":[1,2.5,null],"b":{"c":"d"},"z":1e+21},"query_id":"own-1","query_lineage":"elsewhere \"x\"\n","query_sha256":null,"query_text":"q","query_vector":"zczMPQAAAIDmsWF/","recall":0.25,"retrieval_scores":["NaN","Infinity","-Infinity","-0",0,1e+300,5e-324],"seq":6,"source":"api","table_id":"tid","table_name":"t","table_version":9007199254740991,"tenant":"default","top_k_result_ids":["a","7","1.5","ü\u0000","e","f","g"],"workspace":"lab"}""",
        "sl1XetKwc7wk9IIxi7RioSFT+5kQVMRFc3j1nVNyGqyr1qMv6OZHwNFbECcCstVN8buTUXKlakxu5eb2LhuuDQ==",
    ),
    "nothing but a time": (
        DEFAULT, 7,
        r'{"actor":"","duration_us":null,"exact":null,"executed_at":"9999-12-31T23:59:59.999999Z","filter":null,"index_name":null,"index_uuid":null,"journal_seq":null,"k_requested":null,"k_returned":0,"key_id":"b6d6c83e15f742d0","kind":"search","logged":true,"mode":null,"model_id":null,"model_version":null,"params":null,"query_id":"e677d21f-dbff-7ffb-a959-1a58355c4c2d","query_lineage":null,"query_sha256":null,"query_text":null,"query_vector":"","recall":"NaN","retrieval_scores":[],"seq":7,"source":"api","table_id":null,"table_name":null,"table_version":null,"tenant":"default","top_k_result_ids":[],"workspace":"lab"}',
        "fDhrs8nMexDRqo+eS1iCO6wVGevJ8oZW289vFN9tGH52MTACY2MyBwSQ61dSeAclRLmFLgmAOzgkQ80UdENyDQ==",
    ),
    "of the shared scope": (
        SHARED, 1,
        r'{"actor":"ann","duration_us":null,"exact":null,"executed_at":"2026-11-29T17:23:46.497025Z","filter":null,"index_name":null,"index_uuid":null,"journal_seq":null,"k_requested":null,"k_returned":1,"key_id":"31e99ce4f6049e73","kind":"search","logged":true,"mode":null,"model_id":"m","model_version":"1","params":null,"query_id":"01a22855-92c1-7066-9a7c-83842f7c3d6d","query_lineage":[1],"query_sha256":null,"query_text":null,"query_vector":null,"recall":null,"retrieval_scores":[0.1234567890123],"seq":1,"source":"api","table_id":null,"table_name":null,"table_version":null,"tenant":null,"top_k_result_ids":["1"],"workspace":"lab"}',
        "1TB0YehV61RUf7RVhX34/9mXIgIgID77GJQFrRuq3SjMNVpw5JNkRdZisDKckkSbksVpr+nbiH4C31mkZ5ygBA==",
    ),
}  # fmt: skip

HYBRID = SearchRecord(
    "lengths", "3", {"ward": 7, "why": ["ä", None, 0.5, True]}, ["160", "77"],
    [0.016393441706895828, 0.016129031777381897],
    query_id="01a22855-9264-7ea7-8a1a-acf40b1c958a", table_name="docs", table_version=3,
    table_id="63df1ce7dde14ddca717ff62bbd1c0f5", index_name="vector_idx",
    index_uuid="b7d33c82-d939-4e64-8e1c-c5ec0085ec3f", exact=False, mode="hybrid", k_requested=2,
    k_returned=2, filter="bucket < 8",
    params={
        "column": "vector", "exact": False, "metric": "cosine", "nprobes": 20, "refine_factor": 30,
        "select": ["id"],
        "text_sha256": "f8a6eb8adec63ec32826928bfec3ecff7e457b8cea53da43ed05c9500a122847",
    },
    query_sha256="0feae7d44018eabc0b3277095c081bcefdd0f74446d93b33c3d1b782a4789a02",
    query_vector=[
        0.10000000149011612, 0.2142857164144516, 0.3285714387893677, 0.44285714626312256,
        0.5571428537368774, 0.6714285612106323, 0.7857142686843872, 0.8999999761581421,
    ],
    query_text="word1é", executed_at=datetime(2026, 11, 29, 17, 23, 46, 404916, UTC),
    duration_us=31689, journal_seq=4, actor="ann", source="api", workspace="lab", tenant="default",
    seq=5, key_id="b6d6c83e15f742d0",
)  # fmt: skip
SPECIAL = SearchRecord(
    "m", None, 'elsewhere "x"\n', ["a", "7", "1.5", "ü\x00", "e", "f", "g"],
    [math.nan, math.inf, -math.inf, -0.0, 0.0, 1e300, 5e-324], query_id="own-1", table_name="t",
    table_version=2**53 - 1, table_id="tid", index_name="i", index_uuid="u", exact=False,
    mode="vector", k_requested=9, k_returned=7, filter="x = 'y'",
    params={"a": [1, 2.5, None], "b": {"c": "d"}, "z": 1e21},
    query_vector=[0.10000000149011612, -0.0, 3.0000000054977558e38], query_text="q", recall=0.25,
    executed_at=datetime(1, 1, 1, 0, 0, 0, 1, UTC), duration_us=0, journal_seq=0, actor="ann",
    source="api", workspace="lab", tenant="default", seq=6, logged=True, key_id="b6d6c83e15f742d0",
)  # fmt: skip
BARE = SearchRecord(
    None, None, None, [], [], query_id="e677d21f-dbff-7ffb-a959-1a58355c4c2d", k_returned=0,
    query_vector=[], recall=math.nan, executed_at=datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    actor="", source="api", workspace="lab", tenant="default", seq=7, logged=True,
    key_id="b6d6c83e15f742d0",
)  # fmt: skip
OF_ALL = SearchRecord(
    "m", "1", [1], ["1"], [0.1234567890123], query_id="01a22855-92c1-7066-9a7c-83842f7c3d6d",
    k_returned=1, executed_at=datetime(2026, 11, 29, 17, 23, 46, 497025, UTC), actor="ann",
    source="api", workspace="lab", seq=1, logged=True, key_id="31e99ce4f6049e73",
)  # fmt: skip
SAID = dict(zip(SIGNED, (HYBRID, SPECIAL, BARE, OF_ALL), strict=True))


@pytest.fixture(params=SIGNED)
def signed(request: pytest.FixtureRequest) -> tuple[PublicKey, Entry, SearchRecord]:
    """A key, an entry that it signed before fields were a table, and what that records."""
    key, seq, body, signature = SIGNED[request.param]
    entry = Entry(seq, body.encode(), base64.b64decode(signature))
    said = SAID[request.param].replaced(signature=entry.signature)
    return PublicKey.parse(key), entry, said


def test_p4_a_body_that_was_signed_before_is_read(signed) -> None:
    """NaN is not equal to itself, and -0.0 is equal to 0.0: the texts tell them apart."""
    _, entry, said = signed
    assert repr(record_of(entry)) == repr(said)


def test_p4_a_record_is_what_a_body_that_was_signed_before_says(signed) -> None:
    key, entry, said = signed
    assert key.verifies(entry.signature, entry.body)
    for record in (record_of(entry), checked_record(record_of(entry)), said):
        assert is_as_signed(record, entry)
        assert record.key_id == key.key_id
        for changed in ({"actor": "eve"}, {"seq": 99}, {"tenant": "x"}, {"query_text": "?"}):
            assert not is_as_signed(record.replaced(**changed), entry)


def test_p4_a_body_that_was_signed_before_is_shown(signed) -> None:
    _, entry, said = signed
    batch = records_batch([entry], SEARCHES_SCHEMA.names)
    assert batch.schema == SEARCHES_SCHEMA
    [row] = batch.to_pylist()
    row["executed_at"] = row["executed_at"].replace(tzinfo=UTC)
    assert row.keys() == said.to_dict().keys()
    shown = {**said.to_dict(), "query_vector": row["query_vector"]}
    for name in ("params", "query_lineage"):
        value = shown[name]
        shown[name] = None if value is None else canonical(value).decode()
    assert repr({name: shown[name] for name in row}) == repr(row)


@pytest.mark.parametrize("name", [each.name for each in FIELDS if each.in_body and each.since == 1])
def test_p4_a_body_that_lacks_a_field_is_no_record(name: str) -> None:
    _, seq, body, _ = SIGNED["a hybrid search"]
    lacking = body.replace(f'"{name}":', '"other":')
    assert lacking != body
    with pytest.raises(errors.RecordNotFoundError, match="entry 5 is no search record"):
        record_of(Entry(seq, lacking.encode(), b""))
