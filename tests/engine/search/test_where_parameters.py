"""A search's condition takes parameters: whatever a value has in it, it is only a value."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

import affidavit
from affidavit.errors import InvalidQueryError, SqlError

NASTY = [
    "a' OR 1 = 1 --",
    "''",
    "'",
    "\\'",
    '"',
    "a; DROP",
    "$x",
    "?",
    "\n",
    "ü",
    "",
    " ",
    "(",
    "`c`",
]
DAY = dt.date(2024, 2, 29)
AT = dt.datetime(2024, 2, 29, 1, 2, 3, 456789)


@pytest.fixture
def table(session: affidavit.Session) -> affidavit.Session:
    rows = [
        {
            "id": at, "c": text, "n": at - 2, "f": at / 2 - 1, "b": at % 2 == 0,
            "d": DAY + dt.timedelta(at), "t": AT + dt.timedelta(at),
            "z": (AT + dt.timedelta(at)).replace(tzinfo=dt.UTC), "u": UUID(int=at),
            "m": Decimal(at) - Decimal("1.50"), "vector": [1.0, float(at)],
        }
        for at, text in enumerate(NASTY)
    ]  # fmt: skip
    session.create_vector_table("docs", rows)
    return session


def ids(session: affidavit.Session, where: str, params: Any) -> list[int]:
    found = session.search("docs", [1.0, 0.0], 100, where=where, params=params)
    return sorted(row["id"] for row in found.to_pylist())


@pytest.mark.parametrize("at", range(len(NASTY)))
def test_a_text_is_only_a_text(table: affidavit.Session, at: int) -> None:
    """Filters were text, into which callers pasted what users type."""
    assert ids(table, "c = $c", {"c": NASTY[at]}) == [at]
    assert ids(table, "c <> $c", {"c": NASTY[at]}) == [n for n in range(len(NASTY)) if n != at]


@pytest.mark.parametrize(
    ("where", "params", "found"),
    [
        ("n = $n", {"n": -1}, [1]),
        ("n = -$n", {"n": -1}, [3]),
        ("n = 1-$n", {"n": -1}, [4]),
        ("n = ?", [-1], [1]),
        ("n = $1 AND c = $2", [-2, NASTY[0]], [0]),
        ("n = $n", {"n": np.int64(-1)}, [1]),
        ("f = $f", {"f": 0.5}, [3]),
        ("f < $f", {"f": -0.5}, [0]),
        ("f > $f", {"f": 1e300}, []),
        ("b = $b AND n < $n", {"b": True, "n": 1}, [0, 2]),
        ("b = $b AND n < $n", {"b": np.bool_(False), "n": 1}, [1]),
        ("d = $d", {"d": DAY}, [0]),
        ("t = $t", {"t": AT}, [0]),
        ("z = $t", {"t": AT.replace(tzinfo=dt.UTC)}, [0]),
        (
            "z = $t",
            {"t": AT.replace(tzinfo=dt.UTC).astimezone(dt.timezone(dt.timedelta(hours=3)))},
            [0],
        ),
        ("u = $u", {"u": UUID(int=2)}, [2]),
        ("m = $m", {"m": Decimal("-1.50")}, [0]),
        ("c IN $c", {"c": [NASTY[0], NASTY[2]]}, [0, 2]),
        ("n IN $n", {"n": (-1, 0)}, [1, 2]),
        ("n IN ($n)", {"n": np.array([-1, 0])}, [1, 2]),
        ("n IN (?)", [pa.array([-1, 0])], [1, 2]),
        ("n = ANY($n)", {"n": [-1, 0]}, [1, 2]),
        ("n IN $n", {"n": []}, []),
        ("n NOT IN ($n)", {"n": []}, [*range(len(NASTY))]),
        ("(n, b) IN $n", {"n": [(0, True), (1, True)]}, [2]),
        ("(n, b) NOT IN $n", {"n": []}, [*range(len(NASTY))]),
        ("c = $c", {"c": None}, []),
        ("n = 0", {}, [2]),
    ],
)
def test_values_of_every_kind_are_bound(
    table: affidavit.Session, where: str, params: Any, found: list[int]
) -> None:
    assert ids(table, where, params) == found
    batch = table.search_batch("docs", [[1.0, 0.0]], 100, where=where, params=params)
    assert sorted(row["id"] for row in batch[0].to_pylist()) == found


@pytest.mark.parametrize(
    ("where", "params", "told"),
    [
        ("c = $c", {}, r"\$c of where= has no value"),
        ("c = $c", {"c": "x", "d": 1}, r"names no parameter \$d"),
        ("c = 'x'", ["x"], r"names no parameter \$1"),
        ("c = ?", [], r"\$1 of where= has no value"),
        ("c = $c", {"c": object()}, r"\$c must be text"),
        ("c = $c", {"c": b"x"}, r"\$c must be text"),
        ("c = $c", {"c": "a\x00b"}, r"\$c must be text"),
        ("c = $c", {"c": float("nan")}, r"\$c must be text"),
        ("c IN $c", {"c": None}, r"\$c is None: pass a list"),
        ("c IN $c", {"c": 5}, r"of type int: pass a list, or write = \$c"),
        ("c = $c", 5, "params must be"),
        (None, {"c": 1}, "where must be text"),
    ],
)
def test_what_cannot_be_bound_is_named(
    table: affidavit.Session, where: Any, params: Any, told: str
) -> None:
    with pytest.raises(InvalidQueryError, match=told):
        ids(table, where, params)


def test_without_params_a_parameter_is_refused(table: affidavit.Session) -> None:
    with pytest.raises((InvalidQueryError, SqlError), match="params="):
        ids(table, "c = $c", None)


def test_the_record_has_the_condition_with_its_values(table: affidavit.Session) -> None:
    found = table.search("docs", [1.0, 0.0], 1, where="c = $c", params={"c": "it's"})
    written = table.search("docs", [1.0, 0.0], 1, where="c = 'it''s'")
    assert found.audit is not None
    assert written.audit is not None
    assert found.audit.params == written.audit.params
    assert table.audit.replay(found.query_id or "", [1.0, 0.0])
