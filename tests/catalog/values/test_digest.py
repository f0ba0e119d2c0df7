"""The digest of rows is the page's, byte by byte, and one for whatever layout the rows are in."""

from __future__ import annotations

import decimal
import gc
import hashlib
import json
import math
import re
import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.arrow_values import any_type, make_array
from tests.support.tree import ROOT

import affidavit
from affidavit.catalog.values import layout
from affidavit.catalog.values.digest import (
    CHUNK_ROWS,
    RowsDigest,
    RowsSetDigest,
    digest,
    rows_set_digest,
    schema_json,
)
from affidavit.engine.reads.hashing import HashingThread
from affidavit.errors import SchemaMismatchError, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Sequence

# --- the page in plain Python --------------------------------------------------------------------

DECIMALS = decimal.Context(prec=100)
STRUCTS = {"float16": "<e", "float32": "<f", "float64": "<d"}
QUIET = {"float16": "007e", "float32": "0000c07f", "float64": "000000000000f87f"}


def name_of(kind: pa.DataType) -> Any:
    """Return a type's name as docs/ledger.md has it, read from Arrow's own."""
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return name_of(kind.value_type)
    if pt.is_map(kind):
        return ["map", name_of(kind.key_type), name_of(kind.item_type)]
    if pt.is_struct(kind):
        return ["struct", [[field.name, name_of(field.type)] for field in kind]]
    if hasattr(kind, "value_field"):
        return ["list", name_of(kind.value_type)]
    text = str(kind).replace("_view", "").replace("large_", "")
    text = text.replace("halffloat", "float16").replace("double", "float64")
    text = text.replace("month_day_nano_interval", "interval[month_day_nano]")
    text = text.replace(", tz=", ",").replace(", ", ",").replace("[day]", "")
    if text in {"date64[ms]", "float"}:
        return {"date64[ms]": "date64", "float": "float32"}[text]
    return text


def bits(values: Sequence[bool]) -> bytes:
    """Return eight values a byte, the first the lowest bit."""
    padded = [*values, *[False] * (-len(values) % 8)]
    return bytes(
        sum(bit << at for at, bit in enumerate(padded[byte : byte + 8]))
        for byte in range(0, len(padded), 8)
    )


def column(name: Any, items: Sequence[Any]) -> bytes:
    """Return a column of type ``name`` as the page writes it; ``items`` are raw counts and such."""
    head = bits([item is not None for item in items])
    if name == "null":
        return head
    if name == "bool":
        return head + bits([bool(item) for item in items])
    if name == "string" or name == "binary":  # noqa: PLR1714 - a list cannot be hashed
        texts = [b"" if i is None else i.encode() if isinstance(i, str) else i for i in items]
        return head + b"".join(struct.pack("<I", len(t)) for t in texts) + b"".join(texts)
    if isinstance(name, str):
        return head + b"".join(fixed(name, item) for item in items)
    if name[0] == "struct":
        for at, (field, kind) in enumerate(name[1]):
            head += column(kind, [None if i is None else field_of(i, field, at) for i in items])
        return head
    head += b"".join(struct.pack("<I", 0 if item is None else len(item)) for item in items)
    flat = [each for item in items if item is not None for each in item]
    if name[0] == "list":
        return head + column(name[1], flat)
    return head + column(name[1], [k for k, _ in flat]) + column(name[2], [v for _, v in flat])


def field_of(item: Any, field: str, at: int) -> Any:
    return item[field] if isinstance(item, dict) else item[at]


def fixed(name: str, item: Any) -> bytes:
    if name in STRUCTS:
        if item is not None and math.isnan(item):
            return bytes.fromhex(QUIET[name])
        return struct.pack(STRUCTS[name], item or (0.0 if item is None else item))
    if name.startswith("fixed_size_binary"):
        return item if item is not None else bytes(int(name[18:-1]))
    if name == "interval[month_day_nano]":
        return struct.pack("<iiq", *(item or (0, 0, 0)))
    if name.startswith("decimal"):
        width, _, scale = name[7:-1].replace("(", ",").split(",")
        whole = 0 if item is None else int(item.scaleb(int(scale), DECIMALS))
        return whole.to_bytes(int(width) // 8, "little", signed=True)
    width = 4 if name.startswith(("date32", "time32")) else 8
    if name.startswith(("int", "uint")):
        width = int(name.removeprefix("u").removeprefix("int")) // 8
    return (item or 0).to_bytes(width, "little", signed=not name.startswith("uint"))


def reference(
    columns: Sequence[tuple[str, Any, Sequence[Any]]], rows: int, salt: bytes = b""
) -> str:
    """Return the digest of columns given as name, type and items."""
    schema = json.dumps([[n, k] for n, k, _ in columns], separators=(",", ":"), ensure_ascii=False)
    whole = salt + b"affidavit rows 1\n" + schema.encode() + b"\n"
    for first in range(0, rows, 65_536):
        for _, kind, items in columns:
            whole += hashlib.sha256(column(kind, items[first : first + 65_536])).digest()
    return hashlib.sha256(whole + struct.pack("<Q", rows)).hexdigest()


def set_reference(columns: Sequence[tuple[str, Any, Sequence[Any]]], rows: int) -> str:
    """Return the digest of the same rows in no order."""
    schema = json.dumps([[n, k] for n, k, _ in columns], separators=(",", ":"), ensure_ascii=False)
    each = sorted(
        hashlib.sha256(b"".join(column(k, items[at : at + 1]) for _, k, items in columns)).digest()
        for at in range(rows)
    )
    whole = b"affidavit rows set 1\n" + schema.encode() + b"\n" + b"".join(each)
    return hashlib.sha256(whole + struct.pack("<Q", rows)).hexdigest()


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.DataType, list[Any]]:
    kind, values = draw(any_type())
    return kind, draw(st.lists(st.none() | values, max_size=12))


@given(st.lists(columns(), max_size=3), st.binary(max_size=4), st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_the_digest_is_the_one_that_the_page_tells(drawn, salt, cut) -> None:
    """Of any types, nulls and nesting, and wherever the rows are cut."""
    rows = min((len(items) for _, items in drawn), default=0)
    arrays = [make_array(items, kind)[:rows] for kind, items in drawn]
    told = [(str(at), name_of(kind), items[:rows]) for at, (kind, items) in enumerate(drawn)]
    table = pa.table(arrays, names=[str(at) for at in range(len(arrays))])
    assert schema_json(table.schema) == json.dumps(
        [[n, k] for n, k, _ in told], separators=(",", ":")
    ).encode()  # fmt: skip
    assert digest(table, salt) == reference(told, rows, salt)
    assert rows_set_digest(table) == set_reference(told, rows)
    parts = [table.slice(0, cut), table.slice(cut)]
    assert digest(pa.concat_tables(parts), salt) == digest(table, salt)


# --- vectors -------------------------------------------------------------------------------------


def vectors() -> dict[str, dict[str, Any]]:
    """Return the vectors of docs/ledger.md by name."""
    page = (ROOT / "docs/ledger.md").read_text()
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    return {each["name"]: each for each in json.loads(blocks[-1])}


NAN = float("nan")
VECTOR_TABLES = {
    "nothing": pa.table({}),
    "no rows": pa.table({"a": pa.array([], pa.int64())}),
    "integers": pa.table({"a": pa.array([1, None, -2], pa.int32()), "b": [2**63 - 1, 0, None]}),
    "floats": pa.table(
        {
            "half": pa.array([1.0, -0.0, NAN], pa.float16()),
            "single": pa.array([1.5, None, NAN], pa.float32()),
            "double": pa.array([0.0, -0.0, NAN]),
        }
    ),
    "text": pa.table({"t": ["", None, "Zoë", "a\0"], "b": pa.array([b"\xff", b"", None, b"xy"])}),
    "many bits": pa.table({"ok": [True, None, False, True, True, True, True, True, True]}),
    "times": pa.table(
        {
            "day": pa.array([1, None], pa.int32()).cast(pa.date32()),
            "at": pa.array([1, None], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "for": pa.array([-1, None], pa.int64()).cast(pa.duration("ns")),
            "every": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
        }
    ),
    "exact": pa.table(
        {
            "price": pa.array([decimal.Decimal("-1.25"), None], pa.decimal128(9, 2)),
            "id": pa.array([b"abc", None], pa.binary(3)),
            "none": pa.nulls(2),
        }
    ),
    "nested": pa.table(
        {
            "l": pa.array([[1, None], None, []], pa.list_(pa.int8())),
            "s": pa.array(
                [{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}],
                pa.struct([("x", pa.int8()), ("y", pa.string())]),
            ),
            "m": pa.array([[("k", True)], None, []], pa.map_(pa.string(), pa.bool_())),
        }
    ),
}


@pytest.mark.parametrize("name", VECTOR_TABLES)
def test_a_vector_of_the_page_is_what_the_engine_gives(name: str) -> None:
    told, table = vectors()[name], VECTOR_TABLES[name]
    assert schema_json(table.schema).decode() == told["schema"]
    assert digest(table, bytes.fromhex(told["salt"])) == told["digest"]
    assert rows_set_digest(table) == told["rows_set"]


def test_every_vector_follows_from_its_bytes_and_is_asked_for() -> None:
    """With SHA-256 alone: the digest is that of the bytes that the page gives of each column."""
    assert list(vectors()) == list(VECTOR_TABLES)
    for told in vectors().values():
        hashes = [hashlib.sha256(bytes.fromhex(each)).digest() for each in told["columns"]]
        head = bytes.fromhex(told["salt"]) + b"affidavit rows 1\n" + told["schema"].encode() + b"\n"
        whole = head + b"".join(hashes) + struct.pack("<Q", told["rows"])
        assert hashlib.sha256(whole).hexdigest() == told["digest"], told["name"]


# --- layouts -------------------------------------------------------------------------------------

WORDS = ["a", None, "", "bb", "a", "a", None, "longer than twelve bytes"]
PLAIN = pa.array(WORDS)
LISTS = [["a"], None, [], ["b", None, "longer than twelve bytes"], ["a"], ["c"], [""], None]


def runs(array: pa.Array) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(array) + 1), pa.int32()), array)


@pytest.mark.parametrize(
    "other",
    [
        PLAIN.cast(pa.large_string()),
        PLAIN.cast(pa.string_view()),
        PLAIN.dictionary_encode(),
        PLAIN.dictionary_encode().cast(pa.dictionary(pa.uint8(), pa.string())),
        pa.DictionaryArray.from_arrays(pa.array([3, 0, 2, 1, 3, 3, None, 4]), pa.array(
            [None, "bb", "", "a", "longer than twelve bytes"])),
        pa.DictionaryArray.from_arrays(pa.array([1, 0, 2, 3, 1, 1, None, 4]), pa.array(
            [None, "a", "", "bb", "longer than twelve bytes"], pa.string_view())),
        pc.run_end_encode(PLAIN),
        runs(PLAIN.cast(pa.string_view())),
        runs(PLAIN.dictionary_encode()),
    ],
    ids=lambda array: str(array.type),
)  # fmt: skip
def test_text_is_the_same_in_every_layout(other: pa.Array) -> None:
    """Whole, in parts, and inside of lists and structs."""
    same(PLAIN, other)
    offsets = pa.array([0, 2, 2, 5, 8], pa.int32())
    mask = pa.array([False, False, True, False])
    same(
        pa.ListArray.from_arrays(offsets, PLAIN, mask=mask),
        pa.ListArray.from_arrays(offsets, other, mask=mask),
    )
    hidden = pa.array([False, False, True, True, False, False, False, False])
    same(
        pa.array([None if at in {2, 3} else {"x": word} for at, word in enumerate(WORDS)]),
        pa.StructArray.from_arrays([other], ["x"], mask=hidden),
    )


@given(columns(), st.lists(st.booleans(), min_size=12, max_size=12))
@settings(max_examples=60, deadline=None)
def test_values_of_every_type_are_the_same_in_every_layout(drawn, hidden) -> None:
    """Amid others, in a dictionary, in runs, and below a struct or a list that hides some."""
    kind, items = drawn
    array, count = make_array(items, kind), len(items)
    hide = hidden[:count]
    same(array, pa.concat_arrays([array, array, array])[count : 2 * count])
    same(array, pa.DictionaryArray.from_arrays(pa.array(range(count), pa.int16()), array))
    same(array, runs(array))
    for inside in (array, runs(array)):
        below = pa.StructArray.from_arrays([inside], ["x"], mask=pa.array(hide, pa.bool_()))
        told = [None if h else {"x": each} for each, h in zip(items, hide, strict=True)]
        name = ["struct", [["x", name_of(kind)]]]
        assert digest(pa.table({"s": below})) == reference([("s", name, told)], count)
        assert rows_set_digest(pa.table({"s": below})) == set_reference([("s", name, told)], count)
        offsets = pa.array(range(count + 1), pa.int32())
        lists = pa.ListArray.from_arrays(offsets, inside, mask=pa.array(hide, pa.bool_()))
        told = [None if h else [each] for each, h in zip(items, hide, strict=True)]
        name = ["list", name_of(kind)]
        assert digest(pa.table({"l": lists})) == reference([("l", name, told)], count)
        assert rows_set_digest(pa.table({"l": lists})) == set_reference([("l", name, told)], count)


def same(one: pa.Array, other: pa.Array) -> None:
    """Check that two arrays have the same digests, and so have their slices."""
    for first, last in ((0, len(one)), (1, len(one)), (3, 6), (2, 2)):
        tables = [pa.table({"x": each[first:last]}) for each in (one, other)]
        assert digest(tables[0]) == digest(tables[1]), (first, last)
        assert rows_set_digest(tables[0]) == rows_set_digest(tables[1]), (first, last)


@pytest.mark.parametrize("item", [pa.string(), pa.string_view()], ids=str)
@pytest.mark.parametrize(
    "kind", [pa.large_list, pa.list_view, pa.large_list_view], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("pieces", [1, 64])
def test_lists_are_the_same_in_every_layout(kind, item, pieces, monkeypatch) -> None:
    monkeypatch.setattr(layout, "PIECES_MAX", pieces)
    plain = pa.array(LISTS, pa.list_(pa.string()))
    same(plain, pa.array(LISTS, kind(item)))


def test_a_list_view_may_repeat_its_items_and_have_them_in_any_order() -> None:
    views = pa.ListViewArray.from_arrays(
        pa.array([2, 0, 2, 0], pa.int32()), pa.array([2, 2, 1, 0], pa.int32()),
        pa.array([1, 2, 3, 4]), mask=pa.array([False, False, True, False]),
    )  # fmt: skip
    same(pa.array([[3, 4], [1, 2], None, []]), views)


@pytest.mark.parametrize("pieces", [1, 64])
def test_a_list_of_fixed_size_is_a_list(pieces, monkeypatch) -> None:
    monkeypatch.setattr(layout, "PIECES_MAX", pieces)
    lists = [[1.0, None], None, [3.0, 4.0], [5.0, 6.0], None, [NAN, 8.0], [9.0, 0.0]]
    same(pa.array(lists), pa.array(lists, pa.list_(pa.float64(), 2)))


@pytest.mark.parametrize("item", [pa.int64(), pa.string(), pa.string_view(), pa.bool_()], ids=str)
def test_what_lies_under_a_null_does_not_matter(item: pa.DataType) -> None:
    """In lists and maps with items where they are NULL, in structs, and both in one another."""
    values = pa.array(["1", "0", None, "1", "1", "0"]).cast(pa.string())
    values = values.cast(item) if item != pa.string_view() else values.cast(pa.string_view())
    hide = pa.array([False, True, False])
    offsets = pa.array([0, 1, 4, 6], pa.int32())
    told = [values[:1].to_pylist(), None, values[4:].to_pylist()]
    lists = pa.ListArray.from_arrays(offsets, values, mask=hide)
    same(pa.array(told, pa.list_(item)), lists)
    inside = pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays(offsets, values)], ["x"], mask=hide
    )
    fields = pa.struct([("x", pa.list_(item))])
    same(pa.array([None if t is None else {"x": t} for t in told], fields), inside)
    if item == pa.int64():
        buffers = pa.array([9, 8, 7]).buffers()[1], pa.array([True, False, True]).buffers()[1]
        same(pa.array([9, None, 7]), pa.Array.from_buffers(item, 3, [buffers[1], buffers[0]]))


def test_a_map_has_no_order_of_its_own_and_no_names_inside() -> None:
    pairs = [[("b", 1), ("a", None)], None, []]
    plain = pa.map_(pa.string(), pa.int64())
    other = pa.map_(pa.field("k", pa.large_string(), nullable=False), pa.int64(), keys_sorted=True)
    same(pa.array(pairs, plain), pa.array(pairs, other))


@pytest.mark.parametrize("width", [16, 32, 64])
def test_every_nan_is_one_and_zero_has_a_sign(width: int) -> None:
    one = {16: 0x7E00, 32: 0x7FC00000, 64: 0x7FF8000000000000}[width]
    bits_of = np.array([one, one + 1, one | 1 << (width - 1)], f"u{width // 8}")
    nans = pa.array(bits_of.view(f"f{width // 8}"))
    table = pa.table({"x": nans})
    assert digest(table) == digest(pa.table({"x": pa.array([NAN] * 3, nans.type)}))
    zeros = [pa.table({"x": pa.array(np.array([z], f"f{width // 8}"))}) for z in (0.0, -0.0)]
    assert digest(zeros[0]) != digest(zeros[1])


def test_metadata_nullability_and_batches_do_not_count() -> None:
    table = pa.table({"a": [1, 2, 3]})
    strict = pa.schema([pa.field("a", pa.int64(), nullable=False, metadata={"k": "v"})], {"m": "n"})
    assert digest(table) == digest(table.cast(strict))
    assert digest(table) == digest(pa.concat_tables([table[:0], table[:1], table[:0], table[1:]]))
    assert digest(table) == digest(table.to_reader()) == digest(table.to_batches())
    assert digest(table) == digest([{"a": 1}, {"a": 2}, {"a": 3}])


# --- what counts ---------------------------------------------------------------------------------


def test_names_types_values_order_and_salt_count() -> None:
    table = pa.table({"a": pa.array([1, 2]), "b": ["x", "y"]})
    others = [
        table.rename_columns(["a", "c"]), table.select(["b", "a"]), table.take([1, 0]), table[:1],
        table.set_column(0, "a", pa.array([1, 2], pa.int32())),
        table.set_column(0, "a", pa.array([1, 2], pa.uint64())),
        table.set_column(0, "a", pa.array([1, None])),
        table.set_column(1, "b", pa.array([b"x", b"y"])),
        table.set_column(1, "b", pa.array([b"x", b"y"], pa.binary(1))),
        table.set_column(1, "b", pa.array(["xy", ""])),
    ]  # fmt: skip
    moments = [
        table.set_column(0, "a", pa.array([1, 2]).cast(kind))
        for kind in (pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us", "UTC"),
                     pa.timestamp("us", "+00:00"), pa.duration("us"), pa.time64("us"))
    ]  # fmt: skip
    amounts = [
        table.set_column(0, "a", pa.array([1, 2]).cast(kind))
        for kind in (pa.decimal128(20, 0), pa.decimal256(20, 0), pa.decimal128(21, 0))
    ]
    digests = [digest(each) for each in (table, *others, *moments, *amounts)]
    digests += [digest(table, salt) for salt in (b"\0", b"\0\0", b"salt")]
    assert len(set(digests)) == len(digests)
    assert digest(table, b"") == digest(table) == digest(table, bytearray())


def test_a_salt_is_bytes() -> None:
    with pytest.raises(TypeError, match="salt must be bytes, got str"):
        digest(pa.table({"a": [1]}), "salt")  # type: ignore[arg-type]


def test_two_columns_may_have_one_name() -> None:
    one = pa.table([[1], [2]], names=["a", "a"])
    assert digest(one) == reference([("a", "int64", [1]), ("a", "int64", [2])], 1)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([b"0" * 16], pa.uuid()),
        pa.nulls(1, pa.list_(pa.uuid())),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
        pa.nulls(1, pa.struct([("x", pa.uuid())])),
    ],
    ids=lambda array: str(array.type),
)
def test_a_type_without_a_canonical_form_is_refused_by_its_columns_name(array: pa.Array) -> None:
    table = pa.table({"fine": [1], "odd": array})
    for each in (digest, rows_set_digest):
        with pytest.raises(UnsupportedTypeError, match="column 'odd' has type"):
            each(table)


def test_a_type_that_is_nested_too_deep_is_refused() -> None:
    kind = pa.int64()
    for _ in range(120):
        kind = pa.list_(kind)
    with pytest.raises(UnsupportedTypeError, match="column 'deep'"):
        schema_json(pa.schema([("deep", kind)]))


def test_a_batch_of_other_columns_is_refused_and_one_of_another_layout_is_not() -> None:
    rows = RowsDigest(pa.schema([("a", pa.string())]))
    rows.add(pa.record_batch({"a": ["x"]}))
    rows.add(pa.record_batch({"a": pa.array(["y"]).dictionary_encode()}))
    rows.add(pa.record_batch({"a": pa.array(["z"], pa.string_view())}))
    with pytest.raises(SchemaMismatchError, match="int64"):
        rows.add(pa.record_batch({"a": [1]}))
    assert rows.finish().hex() == digest(pa.table({"a": ["x", "y", "z"]}))
    assert rows.finish() == rows.finish()
    with pytest.raises(ValueError, match="before finish"):
        rows.add(pa.record_batch({"a": ["x"]}))


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1])
@pytest.mark.parametrize("cut", [1, 999, 65_535, 65_536])
def test_chunks_are_of_65536_rows_however_the_rows_come(rows: int, cut: int) -> None:
    items = [None if at % 5 == 0 else at for at in range(rows)]
    words = [None if at % 7 == 0 else str(at) for at in range(rows)]
    table = pa.table({"a": pa.array(items), "b": words, "c": [at % 3 == 0 for at in range(rows)]})
    told = [("a", "int64", items), ("b", "string", words),
            ("c", "bool", [at % 3 == 0 for at in range(rows)])]  # fmt: skip
    parts = RowsDigest(table.schema)
    for at in range(0, min(rows, 40 * cut), cut):
        parts.add(table[at : at + cut].combine_chunks().to_batches()[0])
    for batch in table[min(rows, 40 * cut) :].to_batches():
        parts.add(batch)
    assert parts.finish().hex() == reference(told, rows) == digest(table)
    assert parts.rows == rows


def test_many_small_batches_are_held_as_few() -> None:
    table = pa.table({"a": range(1000), "b": pa.array(map(str, range(1000)), pa.string_view())})
    rows = RowsDigest(table.schema)
    for at in range(1000):
        rows.add(table[at : at + 1].to_batches()[0])
        assert len(rows._held) <= 257
    assert rows.finish().hex() == digest(table)


@pytest.mark.parametrize("kind", [pa.string(), pa.string_view()], ids=str)
def test_what_a_dictionary_repeats_is_put_together_in_parts(kind, monkeypatch) -> None:
    monkeypatch.setattr(layout, "GATHER_BYTES", 100)
    words = [["x" * 30, None, "y" * 250, ""][at % 4] for at in range(200)]
    plain = pa.array(words)
    same(plain, plain.cast(kind))
    same(plain, plain.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())))
    mask = pa.array([at % 3 == 0 for at in range(200)])
    told = [None if at % 3 == 0 else {"x": word} for at, word in enumerate(words)]
    same(pa.array(told), pa.StructArray.from_arrays([plain.cast(kind)], ["x"], mask=mask))


def test_a_value_that_is_too_long_is_refused_by_its_columns_name(monkeypatch) -> None:
    monkeypatch.setattr("affidavit.catalog.values.columns.LENGTH_MAX", 3)
    for value in ("four", [1, 2, 3, 4]):
        for each in (digest, rows_set_digest):
            with pytest.raises(UnsupportedTypeError, match=r"column 'b'.*2\*\*32"):
                each(pa.table({"a": [1], "b": [value]}))


# --- rows in no order ----------------------------------------------------------------------------


def test_rows_in_no_order_have_one_digest_and_each_counts() -> None:
    table = pa.table({"a": [1, 2, 2], "b": [["x"], None, ["y", ""]]})
    assert rows_set_digest(table) == rows_set_digest(table.take([2, 0, 1]))
    twice = pa.concat_tables([table, table[:1]])
    assert len({rows_set_digest(t) for t in (table, twice, table[:2], table[:0])}) == 4
    assert rows_set_digest(pa.table({"a": pa.array([], pa.int8())})) is not None


def test_rows_without_columns_or_bytes_are_rows_all_the_same() -> None:
    bare = pa.table({"a": [1, 2]}).select([])
    assert digest(bare) == reference([], 2)
    assert rows_set_digest(bare) == set_reference([], 2)
    empty = pa.table({"a": pa.array([b"", None], pa.binary(0)), "b": ["", ""]})
    told = [("a", "fixed_size_binary[0]", [b"", None]), ("b", "string", ["", ""])]
    assert digest(empty) == reference(told, 2)
    assert rows_set_digest(empty) == set_reference(told, 2)


def test_of_more_than_100000_rows_there_is_no_digest_of_a_set() -> None:
    table = pa.table({"a": np.arange(100_001)})
    assert rows_set_digest(table[:100_000]) is not None
    assert rows_set_digest(table) is None
    rows = RowsSetDigest(table.schema)
    rows.add(table.to_batches()[0])
    rows.add(table.to_batches()[0])
    assert rows.finish() is None
    assert rows._digests == []


# --- what holds rows -----------------------------------------------------------------------------


def test_frames_results_and_tables_have_one_digest(session: affidavit.Session) -> None:
    session.create_table("t", pa.table({"id": [1, 2], "w": ["a", None]}), primary_key="id")
    result = session.sql("SELECT id, w FROM t ORDER BY id")
    table = result.to_arrow()
    assert affidavit.digest(table) == affidavit.digest(result)
    assert affidavit.digest(table) == affidavit.digest(result.to_polars())
    assert affidavit.digest(table) == affidavit.digest(pl.from_arrow(table).lazy())
    assert affidavit.digest(table) == affidavit.digest(result.to_pandas())
    assert affidavit.digest(table) == affidavit.digest(table.to_pandas(types_mapper=pd.ArrowDtype))


def test_a_frame_that_changes_types_changes_the_digest() -> None:
    """What numpy has no NULL for becomes a float, and polars knows no seconds: other values."""
    whole = pa.table({"a": [1, None]})
    assert digest(whole) != digest(whole.to_pandas())
    assert digest(whole) == digest(whole.to_pandas(types_mapper=pd.ArrowDtype))
    seconds = pa.table({"a": pa.array([1]).cast(pa.timestamp("s"))})
    assert digest(seconds) != digest(pl.from_arrow(seconds))


def test_what_holds_no_rows_is_refused() -> None:
    with pytest.raises(SchemaMismatchError):
        digest(3)


# --- beside the caller ---------------------------------------------------------------------------


def hashing_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "affidavit-digest"]


def test_a_thread_gives_the_same_digest_and_ends() -> None:
    table = pa.table({"a": np.arange(200_000)})
    with HashingThread(RowsDigest(table.schema, b"s")) as hashing:
        for batch in table.to_batches(max_chunksize=7_000):
            hashing.add(batch)
        assert hashing.finish().hex() == digest(table, b"s")
        assert not hashing_threads()
        for each in (hashing.finish, lambda: hashing.add(batch)):
            with pytest.raises(ValueError, match="finished or closed"):
                each()


class Stuck:
    """A hasher that waits until it is let go, and then may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go, self.added, self._error = threading.Event(), 0, error

    def add(self, _batch: pa.RecordBatch) -> None:
        self.go.wait(10)
        self.added += 1
        if self._error is not None:
            raise self._error

    def finish(self) -> int:
        return self.added


BATCH = pa.record_batch({"a": [1]})


def test_what_a_hasher_raises_is_raised_at_the_end() -> None:
    hasher = Stuck(OSError("broken"))
    hasher.go.set()
    with HashingThread(hasher) as hashing:
        for _ in range(20):  # more than may wait: nobody is held up by a hasher that is broken
            hashing.add(BATCH)
        with pytest.raises(OSError, match="broken"):
            hashing.finish()
    assert hasher.added == 1
    assert not hashing_threads()


def test_a_caller_waits_for_a_slow_hasher_and_nothing_is_lost() -> None:
    hasher = Stuck()
    with HashingThread(hasher) as hashing:
        fed = threading.Thread(target=lambda: [hashing.add(BATCH) for _ in range(9)])
        fed.start()
        fed.join(0.05)
        assert fed.is_alive()
        hasher.go.set()
        fed.join()
        assert hashing.finish() == 9


def test_closing_lets_go_of_what_waits() -> None:
    hasher = Stuck()
    hashing = HashingThread(hasher)
    for _ in range(3):
        hashing.add(BATCH)
    threading.Timer(0.05, hasher.go.set).start()
    hashing.close()
    hashing.close()
    assert hasher.added <= 1
    assert not hashing_threads()


def test_a_thread_ends_with_its_owner() -> None:
    hashing = HashingThread(RowsDigest(BATCH.schema))
    hashing.add(BATCH)
    (thread,) = hashing_threads()
    del hashing
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_block_that_raises_leaves_no_thread() -> None:
    with pytest.raises(KeyboardInterrupt), HashingThread(RowsDigest(BATCH.schema)) as hashing:
        hashing.add(BATCH)
        raise KeyboardInterrupt
    assert not hashing_threads()
