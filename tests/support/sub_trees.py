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
    "scalar",
)  # fmt: skip


def _comparable(schema: pa.Schema) -> list[str]:
    return [each.name for each in schema if not pt.is_list(each.type)]


@st.composite
def aggregates(draw: st.DrawFn, schema: pa.Schema, of: str, conditions: Conditions) -> list[str]:
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
            case "avg" if exact:
                found.append(f"avg({of}.{draw(st.sampled_from(exact))})")
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
            other = ", ".join(draw(aggregates(schema, "b", conditions)))
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
