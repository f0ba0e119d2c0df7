"""The digest of rows is the page's, byte by byte, and one for whatever layout the rows are in."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.arrow_values import any_type, make_array

from affidavit.catalog.values.digest import (
    digest,
    rows_set_digest,
    schema_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# --- the page in plain Python --------------------------------------------------------------------

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
        whole = 0 if item is None else int(item.scaleb(int(scale), module_context()))
        return whole.to_bytes(int(width) // 8, "little", signed=True)
    width = 4 if name.startswith(("date32", "time32")) else 8
    if name.startswith(("int", "uint")):
        width = int(name.removeprefix("u").removeprefix("int")) // 8
    return (item or 0).to_bytes(width, "little", signed=not name.startswith("uint"))


def module_context() -> Any:
    import decimal

    return decimal.Context(prec=100)


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
@settings(max_examples=300, deadline=None)
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
