"""Statements that join, group and sort the rows of one table, for databases to answer or not."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow.types as pt
from hypothesis import strategies as st

from affidavit.engine.plan.cutting.faults import LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    Conditions = st.SearchStrategy[str]

_SHAPES = (
    "group", "group", "distinct", "join", "keyed", "exists", "in", "first", "union", "having",
    "scalar", "window", "window", "ranked",
)  # fmt: skip
_ROWS = ("UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW", "1 FOLLOWING",
         "3 FOLLOWING", "UNBOUNDED FOLLOWING")  # fmt: skip
_RANGES = (
    "", " RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
    " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
)  # fmt: skip


def _comparable(schema: pa.Schema) -> list[str]:
    return [each.name for each in schema if not pt.is_list(each.type)]


@st.composite
def aggregates(
    draw: st.DrawFn, schema: pa.Schema, of: str, conditions: Conditions | None = None
) -> list[str]:
    """Return calls of aggregate functions over the columns of a relation called ``of``."""
    name = st.sampled_from(_comparable(schema)).map(lambda each: f"{of}.{each}")
    whole = [each.name for each in schema if pt.is_signed_integer(each.type)]
    exact = [each.name for each in schema if pt.is_decimal(each.type)]
    found = []
    for _ in range(draw(st.integers(1, 3))):
        match draw(st.sampled_from(["rows", "count", "distinct", "end", "sum", "avg", "case"])):
            case "rows":
                found.append("count(*)")
            case "count":
                found.append(f"count({draw(name)})")
            case "distinct":
                found.append(f"count(DISTINCT {draw(name)})")
            case "sum" if whole:
                found.append(f"sum({of}.{draw(st.sampled_from([*whole, *exact]))})")
            case "avg" if whole:
                found.append(f"avg({of}.{draw(st.sampled_from([*whole, *exact]))})")
            case "case":
                texts = [each.name for each in schema if pt.is_string(each.type)]
                like = draw(st.sampled_from(["LIKE 'a%'", "NOT LIKE 'a%'", "ILIKE 'A_'"]))
                test = draw(st.sampled_from([
                    f"{of}.{draw(st.sampled_from(_comparable(schema)))} IS NULL",
                    f"{of}.{draw(st.sampled_from(texts))} {like}",
                ]))  # fmt: skip
                found.append(f"sum(CASE WHEN {test} THEN 1 ELSE 0 END)")
            case _:
                found.append(f"{draw(st.sampled_from(['min', 'max']))}({draw(name)})")
    if conditions is not None and draw(st.integers(0, 3)) == 0:
        found[-1] += f" FILTER (WHERE {draw(conditions)})"
    return list(dict.fromkeys(found))


def _numbers(schema: pa.Schema) -> list[str]:
    return [
        f"a.{each.name}" for each in schema
        if pt.is_signed_integer(each.type) or pt.is_decimal(each.type)
    ]  # fmt: skip


@st.composite
def windows(draw: st.DrawFn, keys: list[str], numbers: list[str], *, is_split: bool) -> list[str]:
    """Return calls of window functions that are the same whichever of equal rows comes first.

    Rows that equal each other in ``keys`` are told apart by nothing that is selected: so what
    depends on their order is asked of the keys alone, and of ``numbers`` what does not.
    """
    way = st.sampled_from(["", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
    parts = keys[:1] if is_split else []
    order = ", ".join(f"{each}{draw(way)}" for each in keys[len(parts) :])
    spec = f"PARTITION BY {keys[0]} " * is_split + f"ORDER BY {order}"
    found = []
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(_ROWS) - 2))
        end = draw(st.integers(max(start, 1), len(_ROWS) - 1))
        rows = f" ROWS BETWEEN {_ROWS[start]} AND {_ROWS[end]}"
        key, number = draw(st.sampled_from(keys)), draw(st.sampled_from(numbers))
        match draw(st.sampled_from(["rank", "rank", "shift", "nth", "sum", "end", "rows"])):
            case "rank":
                name = draw(st.sampled_from(["row_number", "rank", "dense_rank"]))
                found.append(f"{name}() OVER ({spec})")
            case "shift":
                step = draw(st.sampled_from(["", ", 1", ", 2", ", 2, NULL"]))
                name = draw(st.sampled_from(["lag", "lead"]))
                found.append(f"{name}({key}{step}) OVER ({spec})")
            case "nth":
                name = draw(
                    st.sampled_from(["first_value({})", "last_value({})", "nth_value({}, 2)"])
                )
                frame = draw(st.sampled_from([*_RANGES, rows]))
                found.append(f"{name.format(key)} OVER ({spec}{frame})")
            case "sum":
                name = draw(st.sampled_from(["sum", "avg", "count"]))
                found.append(f"{name}({number}) OVER ({spec}{draw(st.sampled_from(_RANGES))})")
            case "end":
                sums = ["sum", "avg"] if key in numbers else []
                name = draw(st.sampled_from(["min", "max", "count", *sums]))
                found.append(f"{name}({key}) OVER ({spec}{rows})")
            case _:
                whole = f"PARTITION BY {', '.join(keys[:1])}"
                found.append(f"count(*) OVER ({draw(st.sampled_from([spec + rows, whole]))})")
    return list(dict.fromkeys(found))


@st.composite
def works(draw: st.DrawFn, schema: pa.Schema, conditions: Conditions) -> str:
    """Return a statement over the table ``{0}`` that gives the same rows whenever it is run."""

    def some(of: str) -> str:
        where = draw(st.sampled_from(["", f" WHERE {draw(conditions)}"]))
        return f"(SELECT * FROM {{0}}{where}) AS {of}"

    names = st.sampled_from(_comparable(schema))
    alike = [
        (one.name, other.name)
        for one in schema
        for other in schema
        if one.type == other.type and not pt.is_list(one.type)
    ]
    left, right = draw(st.sampled_from(alike))
    calls = ", ".join(draw(aggregates(schema, "a", conditions)))
    keys = [f"a.{each}" for each in draw(st.lists(names, min_size=1, max_size=2, unique=True))]
    shown = ", ".join(keys)
    also = draw(st.sampled_from(["", f" AND a.{draw(names)} IS NOT NULL"]))
    match draw(st.sampled_from(_SHAPES)):
        case "group":
            return f"SELECT {shown}, {calls} FROM {some('a')} GROUP BY {shown}"
        case "having":
            having = f"HAVING count(*) > {draw(st.integers(0, 3))} AND min({keys[0]}) IS NOT NULL"
            return f"SELECT {shown}, {calls} FROM {some('a')} GROUP BY {shown} {having}"
        case "distinct":
            return f"SELECT DISTINCT {shown} FROM {some('a')}"
        case "join":
            kind = draw(st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]))
            other = ", ".join(draw(aggregates(schema, "b")))
            on = f"a.{left} = b.{right}{also}"
            return f"SELECT count(*) AS n, {other} FROM {some('a')} {kind} {some('b')} ON {on}"
        case "keyed":
            counted = f"(SELECT {right} AS k, count(*) AS n FROM {some('c')} GROUP BY {right}) AS q"
            kind = draw(st.sampled_from(["JOIN", "LEFT JOIN"]))
            return f"SELECT a.{left}, q.n FROM {some('a')} {kind} {counted} ON a.{left} = q.k"
        case "exists":
            no = draw(st.sampled_from(["", "NOT "]))
            inner = f"SELECT 1 FROM {some('b')} WHERE b.{right} = a.{left}"
            return f"SELECT {calls} FROM {some('a')} WHERE {no}EXISTS ({inner})"
        case "in":
            no = draw(st.sampled_from(["", "NOT "]))
            inner = f"SELECT b.{right} FROM {some('b')}"
            return f"SELECT {calls} FROM {some('a')} WHERE a.{left} {no}IN ({inner})"
        case "scalar":
            counted = f"(SELECT count(*) FROM {some('b')}) AS n"
            return f"SELECT {shown}, {counted}, {calls} FROM {some('a')} GROUP BY {shown}"
        case "window":
            counted = f"(SELECT {right} AS k, count(*) AS n FROM {some('c')} GROUP BY {right}) AS q"
            return draw(_chosen(schema, some("a"), f"{some('a')} JOIN {counted} ON a.{left} = q.k"))
        case "ranked":
            over = [keys[0], "count(*)"]
            made = draw(windows(over, ["count(*)"], is_split=draw(st.booleans())))
            shown = ", ".join([keys[0], "count(*) AS n", *made])
            return f"SELECT {shown} FROM {some('a')} GROUP BY {keys[0]}"
        case "union":
            both = (
                f"SELECT a.{left} AS k FROM {some('a')} UNION ALL SELECT b.{right} FROM {some('b')}"
            )
            return f"SELECT k, count(*) AS n FROM ({both}) AS u GROUP BY k"
    way = st.sampled_from(["", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
    order = ", ".join(f"{each}{draw(way)}" for each in keys)
    grouped = f"SELECT {shown}, count(*) AS n FROM {some('a')} GROUP BY {shown}"
    return f"{grouped} ORDER BY {order} LIMIT {draw(st.integers(1, 9))}"


@contextmanager
def without_faults() -> Iterator[list[str]]:
    """Fail where a plan runs uncut in the block because something went wrong in cutting it.

    What was told of that is in the list, for who wants it so.
    """
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]  # a list is all that it takes
    log = logging.getLogger(LOGGER)
    log.addHandler(handler)
    try:
        yield told
    finally:
        log.removeHandler(handler)
    assert told == []


@st.composite
def _chosen(draw: st.DrawFn, schema: pa.Schema, rows: str, joined: str) -> str:
    """Return a statement over rows that are chosen, or counted, by what windows give."""
    sorts = [
        f"a.{each}" for each in _comparable(schema) if not pt.is_floating(schema.field(each).type)
    ]
    keys = draw(st.lists(st.sampled_from(sorts), min_size=2, max_size=3, unique=True))
    calls = draw(windows(keys, _numbers(schema), is_split=draw(st.booleans())))
    shown = [f"{each} AS w{at}" for at, each in enumerate([*keys, *calls])]
    source = draw(st.sampled_from([rows, joined]))
    inner = f"(SELECT {', '.join(shown)} FROM {source}) AS q"
    last = f"q.w{len(shown) - 1}"
    match draw(st.sampled_from(["chosen", "counted", "grouped"])):
        case "chosen":
            return f"SELECT * FROM {inner} WHERE {last} IS NOT NULL"
        case "counted":
            return f"SELECT count(*) AS n, count({last}) AS c, min({last}) AS m FROM {inner}"
    return f"SELECT q.w0, count(DISTINCT {last}) AS c FROM {inner} GROUP BY q.w0"
