"""P10: what goes in comes out."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.arrow_values import LEAVES, arrays, bits, make_array

import affidavit
from affidavit import errors
from affidavit.catalog.values.codecs import codec_for
from affidavit.catalog.values.types import STORAGE_TYPES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.fuzz
@given(arrays())
@settings(max_examples=133)
def test_p10_every_codec_gives_back_what_it_was_given(array: pa.Array) -> None:
    """Encoded and decoded, also as a slice: same type, same bits."""
    codec = codec_for(array.type)
    for part in (array, array.slice(1), array.slice(0, 0)):
        encoded = codec.encode(part)
        assert encoded.type == STORAGE_TYPES[codec.kind]
        decoded = codec.decode(encoded)
        decoded.validate(full=True)
        assert bits(decoded) == bits(part)


@given(st.sampled_from([pair for pair in LEAVES if codec_for(pair[0]).ordered]), st.data())
@settings(max_examples=100)
@pytest.mark.slow
def test_p10_ordered_codecs_keep_datafusions_order(
    leaf: tuple[pa.DataType, st.SearchStrategy], data: st.DataObject
) -> None:
    """Comparing encoded values answers what DataFusion answers about the values."""
    arrow_type, values = leaf
    left = make_array(data.draw(st.lists(values, min_size=1, max_size=5)), arrow_type)
    right = make_array(
        data.draw(st.lists(values, min_size=len(left), max_size=len(left))), arrow_type
    )
    if pa.types.is_null(arrow_type):
        return
    codec = codec_for(arrow_type)
    stored = list(zip(codec.encode(left).to_pylist(), codec.encode(right).to_pylist(), strict=True))
    context = SessionContext()
    batch = pa.RecordBatch.from_arrays([left, right], names=["a", "b"])
    context.register_record_batches("t", [[batch]])
    for sign, compare in (("<", operator.lt), ("=", operator.eq), (">=", operator.ge)):
        expected = context.sql(f"SELECT a {sign} b AS r FROM t").to_pydict()["r"]
        assert [compare(a, b) for a, b in stored] == expected


@pytest.mark.parametrize(
    "arrow_type",
    [
        pa.sparse_union([pa.field("a", pa.int64())]),
        pa.run_end_encoded(pa.int32(), pa.int64()),
        pa.list_(pa.dense_union([pa.field("a", pa.int64())])),
        pa.list_view(pa.int64()),
        pa.uuid(),
        pa.struct([("a", pa.int64()), ("a", pa.int64())]),
    ],
    ids=str,
)
def test_p10_a_type_that_is_not_supported_is_refused_at_create(
    session: affidavit.Session, arrow_type: pa.DataType
) -> None:
    with pytest.raises(errors.UnsupportedTypeError, match="'strange'.*'t'"):
        session.create_table("t", schema=pa.schema([("strange", arrow_type)]))
    assert session.tables().num_rows == 0


@pytest.mark.fuzz
@given(data=st.data())
@settings(max_examples=60)
def test_p10_tables_give_back_what_was_inserted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Through a mutable table, reopened: by handle, and by SQL from the store and from the cache."""
    columns = data.draw(st.lists(arrays(max_size=5), min_size=1, max_size=4))
    rows = min(map(len, columns))
    names = [f"c{at}" for at in range(len(columns))]
    table = pa.table([column.slice(0, rows) for column in columns], names=names)
    path = tmp_path_factory.mktemp("lake")
    with affidavit.connect(path, durability="normal") as session:
        session.create_table("t", table)
    with affidavit.connect(path, durability="normal") as session:
        _same(session.table("t").to_arrow(), table)
        for _ in ("from the store", "from the cache"):
            _same(session.sql("SELECT * FROM t").to_arrow(), table)


def _same(found: pa.Table, expected: pa.Table) -> None:
    assert found.schema.names == expected.schema.names
    for name in expected.schema.names:
        assert bits(found[name].combine_chunks()) == bits(expected[name].combine_chunks()), name


def test_p10_extremes_survive_sql_and_reopening(lake: Path) -> None:
    """NaN, infinities, negative zero, the largest integers, empty and NUL texts."""
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE t (i BIGINT, u BIGINT UNSIGNED, f DOUBLE, s VARCHAR, b BYTEA)")
        values = [
            (-(2**63), 0, math.nan, "", b""),
            (2**63 - 1, 2**64 - 1, -math.inf, "a\x00b", b"\x00"),
            (0, 2**63, -0.0, "'\"", b"'"),
            (None, None, None, None, None),
        ]
        for row in values:
            session.sql("INSERT INTO t VALUES ($1, $2, $3, $4, $5)", list(row))
    with affidavit.connect(lake) as session:
        found = [tuple(row.values()) for row in session.sql("SELECT * FROM t").to_pylist()]
        assert repr(found) == repr(values)
        assert session.sql("SELECT count(*) AS n FROM t WHERE f = 'NaN'::double").to_pylist() == [
            {"n": 1}
        ]
