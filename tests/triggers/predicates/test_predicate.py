"""Predicates over events: DataFusion's answer whichever way it is found, and clear refusals."""

from __future__ import annotations

import datetime as dt
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from affidavit.catalog.values.types import FEW_ROWS_MAX
from affidavit.errors import ExecutionError, SqlError, UnsupportedPredicateError
from affidavit.triggers.predicates import planned as planned_module
from affidavit.triggers.predicates.predicate import EventPredicate, compile_predicate

EVENTS = pa.schema(
    [
        ("id", pa.int64()),
        ("score", pa.float64()),
        ("tag", pa.string()),
        ("Tag", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("where", pa.struct([("city", pa.string()), ("zip", pa.int32())])),
        ("parts", pa.list_(pa.int64())),
    ]
)
TWO = pa.Table.from_pylist(
    [
        {"id": 1, "score": 0.1, "tag": "a", "where": {"city": "Bern"}, "parts": [1]},
        {"id": 2, "score": 0.9, "tag": "b", "Tag": "B"},
    ],
    EVENTS,
)


def matches(text: str, rows: pa.Table = TWO, **options: bool) -> list[bool]:
    return compile_predicate(text, rows.schema, **options).mask(rows).to_pylist()


# --- what it answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("score < 0.3 and tag in ('a', 'b')", [True, False]),
        ("tag like 'a%'", [True, False]),
        ("score < 0.3 and tag like '%b'", [False, False]),
        ("score < 0.95 and tag like '%b'", [False, True]),
        ("\"Tag\" = 'B'", [False, True]),
        ("TAG = 'a'", [True, False]),
        ("not (\"Tag\" = 'B')", [False, False]),
        ("\"where\".city = 'Bern'", [True, False]),
        ("\"where\"['city'] is null", [False, True]),
        ('"where" is not null', [True, False]),
        ("parts is null", [False, True]),
        ("parts[1] = 1", [True, False]),
        ("lower(\"Tag\") = 'b'", [False, True]),
        ("case when id = 1 then score < 1 else false end", [True, False]),
        ("cast(id as text) = '2' -- the second", [False, True]),
        ("at > '2024-01-01' or id = 2", [False, True]),
        ("id % 2 = 0", [False, True]),
        ("true", [True, True]),
        ("1 = 2", [False, False]),
        ("null", [False, False]),
        ("case when tag like 'x' then null end", [False, False]),
        ("tag = 'now()'", [False, False]),
        ("id <> 1 and 10 / (id - 1) = 10", [False, True]),
    ],
)
def test_a_predicate_selects_the_rows_for_which_it_is_true(text: str, expected: list[bool]):
    predicate = compile_predicate(text, EVENTS)
    kept = [row for row, match in zip(TWO.to_pylist(), expected, strict=True) if match]
    assert predicate.mask(TWO).to_pylist() == expected
    assert predicate.mask(TWO.combine_chunks().to_batches()[0]).to_pylist() == expected
    assert predicate.keep(TWO).to_pylist() == kept
    assert predicate.keep(TWO).schema == EVENTS
    assert predicate.any(TWO) is any(expected)
    many = pa.concat_tables([TWO] * FEW_ROWS_MAX)
    assert predicate.mask(many).to_pylist() == expected * FEW_ROWS_MAX
    assert predicate.keep(many).to_pylist() == kept * FEW_ROWS_MAX
    assert predicate.any(many) is any(expected)


@pytest.mark.parametrize("text", ["id = 1", "tag like 'a%'", "id = 1 and tag like 'a%'", "true"])
def test_no_rows_have_no_answer(text: str):
    predicate = compile_predicate(text, EVENTS)
    for empty in (TWO.slice(0, 0), EVENTS.empty_table(), pa.RecordBatch.from_pylist([], EVENTS)):
        assert predicate.mask(empty).to_pylist() == []
        assert not predicate.any(empty)
    assert predicate.keep(EVENTS.empty_table()).num_rows == 0


def test_it_says_what_it_reads():
    predicate = compile_predicate('id = 1 or "Tag" like \'x\' or "where".zip > 3', EVENTS)
    assert predicate.columns == {"id", "Tag", "where"}
    assert predicate.sql.startswith("id = 1")
    assert isinstance(predicate, EventPredicate)


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("score < 0.3 and tag in ('a', 'b')", True),
        ("id < 0.5", True),
        ("id not in (1, 2, 3, 4, null)", True),
        ("tag like 'a%'", False),
    ],
)
def test_simple_predicates_are_answered_without_executing_a_plan(text: str, here: bool):
    predicate = compile_predicate(text, EVENTS)
    assert (predicate._planned is None) is here


def test_what_is_executed_sees_only_the_rows_that_can_still_match(monkeypatch: pytest.MonkeyPatch):
    predicate = compile_predicate("id = 2 and tag like 'b%'", EVENTS)
    seen: list[int] = []
    execute = predicate._planned.mask
    monkeypatch.setattr(
        predicate._planned, "mask", lambda rows: seen.append(rows.num_rows) or execute(rows)
    )
    assert predicate.mask(TWO).to_pylist() == [False, True]
    assert predicate.mask(TWO.slice(0, 1)).to_pylist() == [False]
    assert seen == [1]


def test_a_plan_is_renewed_before_its_metrics_grow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planned_module, "PLAN_RUNS_MAX", 2)
    predicate = compile_predicate("tag like 'a%'", EVENTS)
    first = predicate._planned._plan
    assert [predicate.mask(TWO).to_pylist() for _ in range(5)] == [[True, False]] * 5
    assert predicate._planned._plan is not first


def test_a_value_that_cannot_be_computed_with_is_an_error_that_names_the_predicate():
    predicate = compile_predicate("cast(tag as int) = 1", EVENTS)
    with pytest.raises(ExecutionError, match=r"cast\(tag as int\) = 1.*Cannot cast") as caught:
        predicate.mask(TWO)
    assert caught.value.__cause__ is not None
    assert predicate.mask(TWO.set_column(2, EVENTS.field("tag"), [["1", "2"]])).to_pylist() == [
        True,
        False,
    ]


def test_many_threads_may_ask_one_predicate():
    predicate = compile_predicate("id <> 0 and tag like 'x%'", EVENTS)
    start = threading.Barrier(8)

    def ask(worker: int) -> bool:
        start.wait()
        for turn in range(60):
            wanted = [(worker + turn + at) % 3 == 0 for at in range(1 + worker)]
            rows = [{"id": 1, "tag": "xy" if match else "yx"} for match in wanted]
            if predicate.mask(pa.Table.from_pylist(rows, EVENTS)).to_pylist() != wanted:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


# --- what it refuses ---------------------------------------------------------------------------

REFUSED: list[tuple[Any, str]] = [
    (
        "flag IS DISTINCT FROM TRUE AND id = 1",
        "put IS DISTINCT FROM and both of its sides in brackets",
    ),
    ("id = 1 OR flag IS NOT DISTINCT FROM (id = 2) OR flag", "in brackets before OR"),
    (None, "expected text, got NoneType"),
    (3, "expected text, got int"),
    ("", "empty"),
    ("  -- nothing", "empty"),
    ("/* open", "comment .* does not end"),
    ("'open", "does not end"),
    ("\ud800", "surrogates"),
    ("\x00", "Expected"),
    ("id =", "Expected"),
    ("(id = 1", "Expected"),
    ("nosuch = 1", "no column nosuch; there are 'Tag', 'at', 'id'"),
    ("NoSuch = 1", "no column nosuch"),
    ('"ID" = 1', 'no column "ID"'),
    ("new.id = 1", "no column new.id"),
    ("\"where\".nosuch = 'x'", "nosuch not found"),
    ("nosuch(id) = 1", "Invalid function 'nosuch'"),
    ("id", "non-boolean"),
    ("id + 1", "non-boolean"),
    ("tag", "non-boolean"),
    ("(true, true)", "non-boolean"),
    ("id and true", "boolean"),
    ("tag like 3", "LIKE"),
    ("1 / 0 = 1", "Divide by zero"),
    ("date 'today' > at", "today"),
    ("id in (select 1)", "InSubquery"),
    ("id in (select id from __event)", "InSubquery"),
    ("id = (select 1)", "ScalarSubquery"),
    ("(select true)", "ScalarSubquery"),
    ("exists (select 1)", "Exists"),
    ("id > all (select 1)", "SetComparison"),
    ("id in (select 1 from elsewhere)", "elsewhere"),
    ("sum(id) > 1", "Aggregate"),
    ("count(*) > 1", "Aggregate"),
    ("row_number() over () = 1", "WindowFunction"),
    ("unnest(parts) = 1", "Unnest"),
    ("id = $1", "Placeholder"),
    ("id = $id", "Placeholder"),
    ("id = ?", "Placeholder"),
    ("@@version = 'x'", "version"),
    ("true; drop table x", "Expected"),
    ("true limit 1", "Expected"),
    ("true order by id", "Expected"),
    ("true union select 1", "Expected"),
    ("id = 1 as x", "Expected"),
    ("true) or (true", "closes a bracket"),
    ("true) limit (1", "closes a bracket"),
    ("true) union select * from __event where (true", "closes a bracket"),
    ("true) group by (id", "closes a bracket"),
    ("true); select (1", "closes a bracket"),
    ("true) -- ", "closes a bracket"),
    ("true) /*", "does not end"),
    *[
        (f"{clock} is null", "not the same at all times")
        for clock in [
            *("now()", "NOW()", '"now"()', "{fn now()}", "current_timestamp", "current_date"),
            *("current_date()", "current_time", "today()", "random()", "rand()", "uuid()"),
        ]
    ],
    ("abs(coalesce(random(), 1)) > 0.5", "not the same at all times"),
    ("case when random() > 0.5 then true end", "not the same at all times"),
    ("+".join(["id"] * 300) + " > 1", "operators"),
    (" or ".join(["id = 1"] * 300), "operators"),
    ("id = 1" + " " * 200_000, "characters"),
    ("(" * 100 + "true" + ")" * 100, "Recursion"),
]


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=lambda value: repr(value)[:40])
def test_it_is_refused_with_the_text_and_the_reason(text: Any, reason: str, images: bool):
    if images and text in {"new.id = 1", "id in (select id from __event)"}:
        pytest.skip("names other columns then")
    with pytest.raises(UnsupportedPredicateError, match=f"(?s){reason}") as caught:
        compile_predicate(text, EVENTS, images=images)
    assert isinstance(caught.value, SqlError)
    assert caught.value.__cause__ is not None
    message = str(caught.value)
    assert message.startswith(f"predicate {repr(text)[:500]}")
    assert "__event." not in message.replace(repr(text), "")
    assert len(message) < 2_000


@given(st.text("()'\"/*-;., =aid1ornt\n", max_size=30))
@settings(max_examples=100)
@pytest.mark.slow
def test_any_text_is_compiled_or_refused(text: str):
    for images in (False, True):
        try:
            predicate = compile_predicate(text, EVENTS, images=images)
        except UnsupportedPredicateError:
            continue
        assert len(predicate.columns) <= len(EVENTS) * 2


# --- before and after a change -----------------------------------------------------------------

ORDERS = pa.schema(
    [
        ("id", pa.int64()),
        ("total", pa.float64()),
        ("Total", pa.float64()),
        ("date", pa.date32()),
        ("year", pa.int32()),
        ("precision", pa.int32()),
        ('od"d', pa.int64()),
        ("new", pa.struct([("id", pa.int64()), ("deep", pa.int64())])),
        ("old", pa.int64()),
        ("s", pa.struct([("field", pa.int64())])),
    ]
)
FLAT = pa.schema([(f"{image}.{f.name}", f.type) for image in ("new", "old") for f in ORDERS])


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("new.total > 100 and old.total <= 100", {"new.total", "old.total"}),
        ("NEW.TOTAL > 100 and Old . total <= 100", {"new.total", "old.total"}),
        ('"new"."Total" > 1 and old."Total" < 1', {"new.Total", "old.Total"}),
        ("total > 100", {"new.total"}),
        ("total <> old.total", {"new.total", "old.total"}),
        ("new.id is null or old.id is null", {"new.id", "old.id"}),
        ("new.deep = 1", {"new.new"}),
        ("new.new.deep = 1", {"new.new"}),
        ("old.new.deep = 1", {"old.new"}),
        ("new is null", {"new.new"}),
        ("old = 1", {"new.old"}),
        ("new.old <> old.old", {"new.old", "old.old"}),
        ("new.s.field > old.s.field", {"new.s", "old.s"}),
        ("s.field = 1", {"new.s"}),
        ("s['field'] = 1", {"new.s"}),
        ('"od""d" = 1 and old."od""d" = 2', {'new.od"d', 'old.od"d'}),
        ("date > date '2024-01-01'", {"new.date"}),
        ("cast(date as date) > cast('2024-01-01' as date)", {"new.date"}),
        ("'2024-01-01'::date = old.date", {"old.date"}),
        ("extract(year from date) = year", {"new.date", "new.year"}),
        ("date + interval '1' year > date", {"new.date"}),
        ("cast(total as double precision) > precision", {"new.total", "new.precision"}),
        ("year between 1 and precision", {"new.year", "new.precision"}),
        (
            "case year when precision then true else id = 1 end",
            {"new.year", "new.precision", "new.id"},
        ),
        ("case when year = 1 then total else id end = 1", {"new.year", "new.total", "new.id"}),
        ("year not in (id, 2)", {"new.year", "new.id"}),
        ("substring('abc' from id for year) = 'a'", {"new.id", "new.year"}),
        ("abs(-id) > 1 or not total > 1", {"new.id", "new.total"}),
        ("total is not distinct from old.total", {"new.total", "old.total"}),
        ("/* old.id */ id = 1 -- year", {"new.id"}),
        ("date_part('year', old.date) = 1", {"old.date"}),
    ],
)
def test_an_image_is_named_by_new_and_old(text: str, columns: set[str]):
    predicate = compile_predicate(text, ORDERS, images=True)
    assert predicate.columns == columns
    assert predicate.sql == text
    nothing = pa.Table.from_pylist([{}], FLAT)
    assert len(predicate.mask(nothing)) == 1


def test_a_change_is_compared_with_what_it_replaced():
    changes = pa.Table.from_pylist(
        [
            {"new.total": 120.0, "old.total": 80.0, "new.s": {"field": 1}},
            {"new.total": 120.0, "old.total": 110.0},
            {"new.total": 120.0},
            {"old.total": 80.0, "old.s": {"field": 1}},
        ],
        FLAT,
    )
    text = "new.total > 100 and (old.total <= 100 or old.total is null)"
    assert matches_images(text, changes) == [True, False, True, False]
    assert matches_images("total > 100", changes) == [True, True, True, False]
    assert matches_images("s.field = 1", changes) == [True, False, False, False]
    assert matches_images("old.s.field = 1", changes) == [False, False, False, True]


def matches_images(text: str, changes: pa.Table) -> list[bool]:
    return compile_predicate(text, ORDERS, images=True).mask(changes).to_pylist()


@pytest.mark.parametrize("name", ["new.nosuch", "old.nosuch", "nosuch"])
def test_an_image_of_an_unknown_column_is_refused_with_the_tables_columns(name: str):
    schema = pa.schema([("id", pa.int64()), ("total", pa.float64())])
    with pytest.raises(
        UnsupportedPredicateError, match=f"no column {name}; there are 'id', 'total'$"
    ):
        compile_predicate(f"{name} = 1", schema, images=True)


# --- the same answer as DataFusion's, whichever way it is found --------------------------------

DAYS = st.dates(dt.date(1960, 1, 1), dt.date(2060, 1, 1))
TIMES = st.datetimes(dt.datetime(1960, 1, 1), dt.datetime(2060, 1, 1))
NUMBERS = st.integers(-3, 3) | st.sampled_from([127, -128])
REALS = st.sampled_from([0.0, -0.0, 0.3, -1.5, 2.0, math.inf, -math.inf, math.nan, -math.nan])
WORDS = st.text("aAb%_é'\\", max_size=3)


def real(value: float) -> str:
    text = {"inf": "'inf'::double", "-inf": "'-inf'::double", "nan": "'NaN'::double"}
    return text.get(str(value), repr(value))


def quoted(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def hexed(value: bytes) -> str:
    return f"X'{value.hex()}'"


NUMERIC = NUMBERS.map(str) | REALS.map(real)
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any], st.SearchStrategy[str]]] = {
    "i64": (pa.int64(), NUMBERS | st.sampled_from([2**53 + 1, -(2**63)]), NUMERIC),
    "i32": (pa.int32(), NUMBERS, NUMERIC),
    "i8": (pa.int8(), NUMBERS, NUMERIC | st.just("1000")),
    "u64": (pa.uint64(), st.integers(0, 3) | st.just(2**64 - 1), NUMERIC),
    "u8": (pa.uint8(), st.integers(0, 3), NUMERIC),
    "f64": (pa.float64(), REALS, NUMERIC),
    "f32": (
        pa.float32(),
        REALS,
        NUMERIC | REALS.map(lambda v: f"arrow_cast({real(v)}, 'Float32')"),
    ),
    "text": (pa.string(), WORDS, WORDS.map(quoted)),
    "large": (pa.large_string(), WORDS, WORDS.map(quoted)),
    "view": (pa.string_view(), WORDS, WORDS.map(quoted)),
    "dict": (pa.dictionary(pa.int16(), pa.string()), WORDS, WORDS.map(quoted)),
    "bin": (pa.binary(), st.binary(max_size=2), st.binary(max_size=2).map(hexed)),
    "day": (pa.date32(), DAYS, DAYS.map(quoted)),
    "ts": (pa.timestamp("us"), TIMES, TIMES.map(quoted)),
    "tz": (pa.timestamp("ns", "UTC"), TIMES, TIMES.map(quoted)),
    "clock": (
        pa.time64("us"),
        TIMES.map(lambda t: t.time()),
        TIMES.map(lambda t: quoted(t.time())),
    ),
    "dec": (
        pa.decimal128(10, 2),
        st.integers(-300, 300).map(lambda n: Decimal(n).scaleb(-2)),
        st.integers(-300, 300).map(lambda n: str(Decimal(n).scaleb(-2))) | st.just("1.555"),
    ),
    "flag": (pa.bool_(), st.booleans(), st.sampled_from(["true", "false"])),
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _, _) in KINDS.items()])
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, (_, values, _) in KINDS.items()}),
    min_size=1,
    max_size=FEW_ROWS_MAX,
)
OPERATORS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
NUMERIC_COLUMNS = st.sampled_from(["i64", "i32", "i8", "u8", "f64", "f32"])


@st.composite
def atoms(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(list(KINDS)))
    literal = KINDS[name][2] | st.just("null")
    operator, values = draw(OPERATORS), draw(st.lists(literal, min_size=1, max_size=6))
    return draw(
        st.sampled_from(
            [
                f"{name} {operator} {values[0]}",
                f"{name} {operator} {values[0]}",
                f"{values[0]} {operator} {name}",
                f"{name} in ({', '.join(values)})",
                f"{name} not in ({', '.join(values)})",
                f"{name} between {values[0]} and {values[-1]}",
                f"{name} is null",
                f"{name} is not null",
                f"{draw(NUMERIC_COLUMNS)} {operator} {draw(NUMERIC_COLUMNS)}",
                f"({name} is distinct from {values[0]})",
                f"nullif({name}, {values[0]}) is null",
                "flag",
                "flag is not true",
                f"text like {draw(WORDS.map(quoted))}",
                f"view ilike {draw(WORDS.map(quoted))}",
                f"upper(text) {operator} {draw(WORDS.map(quoted))}",
                f"i8 + i32 {operator} {draw(NUMBERS)}",
                f"case when flag then {name} {operator} {values[0]} else flag is null end",
            ]
        )
    )


PREDICATES = st.recursive(
    atoms(),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) and ({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} or {two[1]})"),
        inner.map(lambda one: f"not ({one})"),
    ),
    max_leaves=5,
)


def by_datafusion(text: str, table: pa.Table) -> list[bool]:
    context = SessionContext()
    numbers = pa.array(range(table.num_rows), pa.int64())
    context.from_arrow(table.append_column("_n", numbers), name="t")
    found = context.sql(f"SELECT _n FROM t WHERE ({text}\n)").to_pydict().get("_n", [])
    return [number in set(found) for number in range(table.num_rows)]


def zeros() -> list[dict[str, Any]]:
    return [{"f64": value, "f32": value} for value in (0.0, -0.0, math.nan, -math.nan, None)]


@pytest.mark.fuzz
@given(PREDICATES, ROWS)
@example("f64 = 0.0 or f64 = -0.0", zeros())
@example("f64 = -0.0", zeros())
@example("f64 in (-0.0, 1, 2, 3, 'NaN'::double)", zeros())
@example("f32 in (0.0, 1, 2, 3, 'NaN'::double)", zeros())
@example("f64 > 'inf'::double", zeros())
@example("f32 >= f64 and f32 <= 0.0", zeros())
@example("not (f64 < 0.0)", zeros())
@example("i64 = 9007199254740992.0", [{"i64": 2**53 + 1}])
@settings(max_examples=133)
def test_every_way_answers_as_datafusion_does(text: str, rows: list[dict[str, Any]]):
    """Row tests, Arrow's kernels and a plan must select what a query over a table selects."""
    table = pa.Table.from_pylist(rows, SCHEMA)
    try:
        expected = by_datafusion(text, table)
    except Exception:
        assume(False)
    predicate = compile_predicate(text, SCHEMA)
    assert predicate.mask(table).to_pylist() == expected
    times = FEW_ROWS_MAX // len(rows) + 1
    many = pa.concat_tables([table] * times)
    assert predicate.mask(many).to_pylist() == expected * times
    planned = planned_module.Planned(text, text, SCHEMA, predicate.columns)
    assert planned.mask(table).to_pylist() == expected
    assert predicate.keep(table).num_rows == sum(expected)
    assert predicate.any(table) is any(expected)
    sliced = many.slice(1)
    assert predicate.mask(sliced.slice(0, 3)).to_pylist() == (expected * times)[1:4]


@given(PREDICATES, ROWS)
@settings(max_examples=50)
@pytest.mark.slow
def test_a_bare_name_is_the_new_image(text: str, rows: list[dict[str, Any]]):
    table = pa.Table.from_pylist(rows, SCHEMA)
    try:
        expected = by_datafusion(text, table)
    except Exception:
        assume(False)
    old = pa.Table.from_pylist([{}] * len(rows), SCHEMA)
    names = [f"{image}.{name}" for image in ("new", "old") for name in SCHEMA.names]
    flat = pa.table([*table.columns, *old.columns], names=names)
    assert compile_predicate(text, SCHEMA, images=True).mask(flat).to_pylist() == expected
