"""Hypothesis strategies for Arrow types and values, extremes included."""

from __future__ import annotations

import decimal
import math
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 2**63 - 1, -(2**63)])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", "\x00", "a\x00b", "NULL", "'", '"', "ß", "🎈", " "]
)
FLOATS = {
    16: st.floats(width=16) | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf]),
    32: st.floats(width=32) | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf]),
    64: st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324]),
}


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high) | st.sampled_from([low, high, 0])


def _decimals(precision: int, scale: int) -> st.SearchStrategy[decimal.Decimal]:
    most = 10**precision - 1
    context = decimal.Context(prec=100)
    return st.integers(-most, most).map(lambda n: decimal.Decimal(n).scaleb(-scale, context))


_ALL_SECONDS = 24 * 60 * 60

LEAVES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.bool_(), st.booleans()),
    *[(getattr(pa, f"int{b}")(), _integers(b, signed=True)) for b in (8, 16, 32, 64)],
    *[(getattr(pa, f"uint{b}")(), _integers(b, signed=False)) for b in (8, 16, 32, 64)],
    *[(getattr(pa, f"float{b}")(), FLOATS[b]) for b in (16, 32, 64)],
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.string_view(), TEXT),
    (pa.binary(), st.binary(max_size=8)),
    (pa.large_binary(), st.binary(max_size=8)),
    (pa.binary_view(), st.binary(max_size=20)),
    (pa.binary(4), st.binary(min_size=4, max_size=4)),
    (pa.date32(), _integers(32, signed=True)),
    (pa.date64(), st.integers(-(10**6), 10**6).map(lambda d: d * 86_400_000)),
    *[(pa.timestamp(u), INT64) for u in ("s", "ms", "us", "ns")],
    (pa.timestamp("us", "UTC"), INT64),
    (pa.timestamp("ns", "Europe/Berlin"), INT64),
    (pa.time32("s"), st.integers(0, _ALL_SECONDS - 1)),
    (pa.time32("ms"), st.integers(0, _ALL_SECONDS * 1000 - 1)),
    (pa.time64("us"), st.integers(0, _ALL_SECONDS * 10**6 - 1)),
    (pa.time64("ns"), st.integers(0, _ALL_SECONDS * 10**9 - 1)),
    *[(pa.duration(u), INT64) for u in ("s", "ms", "us", "ns")],
    (pa.decimal32(7, 2), _decimals(7, 2)),
    (pa.decimal64(15, 4), _decimals(15, 4)),
    (pa.decimal128(38, 10), _decimals(38, 10)),
    (pa.decimal256(70, 20), _decimals(70, 20)),
    (
        pa.month_day_nano_interval(),
        st.tuples(_integers(32, signed=True), _integers(32, signed=True), INT64).map(
            pa.MonthDayNano
        ),
    ),
    (pa.null(), st.none()),
    (pa.dictionary(pa.int16(), pa.string()), TEXT),
]


def leaf() -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    return st.sampled_from(LEAVES)


def _nested(
    children: st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]],
) -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    # pyarrow makes an invalid array of a struct with a list of nothing but NULLs
    children = children.filter(lambda c: not pa.types.is_null(c[0]))

    def nullable(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.none() | values

    return st.one_of(
        children.map(lambda c: (pa.list_(c[0]), st.lists(nullable(c[1]), max_size=3))),
        children.map(lambda c: (pa.large_list(c[0]), st.lists(nullable(c[1]), max_size=3))),
        children.map(
            lambda c: (pa.list_(c[0], 2), st.lists(nullable(c[1]), min_size=2, max_size=2))
        ),
        st.tuples(children, children).map(
            lambda cs: (
                pa.struct([("a", cs[0][0]), ("b", cs[1][0])]),
                st.fixed_dictionaries({"a": nullable(cs[0][1]), "b": nullable(cs[1][1])}),
            )
        ),
        children.map(
            lambda c: (
                pa.map_(pa.string(), c[0]),
                st.lists(st.tuples(TEXT, nullable(c[1])), max_size=3),
            )
        ),
    )


def any_type() -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    return st.recursive(leaf(), _nested, max_leaves=3)


@st.composite
def arrays(draw: st.DrawFn, max_size: int = 6) -> pa.Array:
    arrow_type, values = draw(any_type())
    items = draw(st.lists(st.none() | values, max_size=max_size))
    return make_array(items, arrow_type)


def make_array(items: list[Any], arrow_type: pa.DataType) -> pa.Array:
    """Return an array of raw counts for temporal types, which Python's own cannot hold."""
    array = pa.array(items, plain(arrow_type))
    if array.type != arrow_type:
        array = array.cast(arrow_type)
    array.validate(full=True)
    return array


def plain(arrow_type: pa.DataType) -> pa.DataType:
    import pyarrow.types as pt

    if pt.is_temporal(arrow_type) and not pt.is_interval(arrow_type):
        return pa.int32() if arrow_type.bit_width == 32 else pa.int64()
    if pt.is_fixed_size_list(arrow_type):
        return pa.list_(plain(arrow_type.value_type), arrow_type.list_size)
    if pt.is_list(arrow_type):
        return pa.list_(plain(arrow_type.value_type))
    if pt.is_large_list(arrow_type):
        return pa.large_list(plain(arrow_type.value_type))
    if pt.is_struct(arrow_type):
        return pa.struct([field.with_type(plain(field.type)) for field in arrow_type])
    if pt.is_map(arrow_type):
        return pa.map_(arrow_type.key_type, plain(arrow_type.item_type))
    if pt.is_dictionary(arrow_type):
        return arrow_type.value_type
    if pt.is_string_view(arrow_type):
        return pa.string()
    if pt.is_binary_view(arrow_type):
        return pa.binary()
    return arrow_type


def bits(array: pa.Array) -> str:
    """Return ``array`` as text in which different values look different: NaN, -0.0, NULL."""
    raw = array if plain(array.type) == array.type else array.cast(plain(array.type))
    return f"{array.type} {raw.to_pylist()!r}"


def is_sound(typed: tuple[pa.DataType, object]) -> bool:
    """Whether pyarrow casts the type: what it makes of a struct of lists of null is no array."""
    return not (pa.types.is_nested(typed[0]) and "null" in str(typed[0]))


@st.composite
def sound_arrays(draw: st.DrawFn, max_size: int = 6) -> pa.Array:
    kind, values = draw(any_type().filter(is_sound))
    return make_array(draw(st.lists(st.none() | values, max_size=max_size)), kind)
