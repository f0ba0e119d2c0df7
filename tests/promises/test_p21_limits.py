"""P21: each limit of a statement, a search or a value, at the limit and one past it.

docs/reference.md lists them. What would end a process past its limit is only asked past it where
the limit comes before anything is planned.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.support.processes import run_python

from affidavit.catalog.sql.condition import (
    CONDITION_BRACKETS_MAX,
    CONDITION_LENGTH_MAX,
    CONDITION_OPERATORS_MAX,
    checked_condition,
)
from affidavit.catalog.sql.lexer import TEXT_LENGTH_MAX, tokenize
from affidavit.catalog.sql.sized import SIZED_BYTES_MAX, SIZED_NESTING_MAX, bounded
from affidavit.catalog.values.types import NESTING_MAX, check_nesting
from affidavit.engine.search.options import (
    BATCH_QUERIES_MAX,
    COUNT_MAX,
    OPTIONS_LENGTH_MAX,
    checked_count,
    parse_options,
)
from affidavit.engine.session.searching import check_batch
from affidavit.engine.statement.limits import (
    BRACKETS_MAX,
    COLUMNS_MAX,
    COMMON_TABLES_MAX,
    CUBE_MAX,
    IDENTIFIER_LENGTH_MAX,
    IN_VALUES_MAX,
    JOINS_MAX,
    OPERATORS_MAX,
    SETS_MAX,
    WINDOWS_MAX,
    check_size,
)
from affidavit.engine.statement.parameters import PARAMETERS_MAX, arrow_params
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Callable


def sized(text: str) -> None:
    check_size(tokenize(text))


def listed(count: int, one: str = "1", between: str = ", ") -> str:
    return between.join([one] * count)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def calls(depth: int) -> str:
    return "SELECT " + "repeat(" * depth + "a" + ", n)" * depth


LIMITS: dict[str, tuple[int, Callable[[int], object]]] = {
    "OPERATORS_MAX": (OPERATORS_MAX, lambda n: sized("SELECT " + listed(n + 1, between="+"))),
    "BRACKETS_MAX": (BRACKETS_MAX, lambda n: sized("SELECT " + "(" * n + ")" * n)),
    "SETS_MAX": (SETS_MAX, lambda n: sized(listed(n + 1, "SELECT 1", " UNION "))),
    "JOINS_MAX": (JOINS_MAX, lambda n: sized("SELECT 1 FROM a" + " JOIN a" * n)),
    "WINDOWS_MAX": (WINDOWS_MAX, lambda n: sized("SELECT " + listed(n, "sum(a) OVER ()"))),
    "CUBE_MAX": (CUBE_MAX, lambda n: sized(f"SELECT 1 GROUP BY CUBE({listed(n, 'a')})")),
    "COMMON_TABLES_MAX": (
        COMMON_TABLES_MAX, lambda n: sized(f"WITH {listed(n, 'a AS (SELECT 1)')} SELECT 1")
    ),
    "IN_VALUES_MAX": (IN_VALUES_MAX, lambda n: sized(f"SELECT 1 WHERE a IN ({listed(n)})")),
    "COLUMNS_MAX": (COLUMNS_MAX, lambda n: sized(f"SELECT {listed(n, 'a')} FROM t")),
    "IDENTIFIER_LENGTH_MAX": (IDENTIFIER_LENGTH_MAX, lambda n: sized(f"SELECT 1 AS {'a' * n}")),
    "PARAMETERS_MAX": (PARAMETERS_MAX, lambda n: arrow_params(dict.fromkeys(map(str, range(n)), 1))),
    "NESTING_MAX": (NESTING_MAX, lambda n: check_nesting(nested(n))),
    "COUNT_MAX": (COUNT_MAX, lambda n: checked_count(n, "k")),
    "BATCH_QUERIES_MAX": (BATCH_QUERIES_MAX, lambda n: check_batch([None] * n)),
    "OPTIONS_LENGTH_MAX": (
        OPTIONS_LENGTH_MAX, lambda n: parse_options(json.dumps({"where": "x" * (n - 13)}))
    ),
    "CONDITION_LENGTH_MAX": (CONDITION_LENGTH_MAX, lambda n: checked_condition("a" * n)),
    "CONDITION_BRACKETS_MAX": (
        CONDITION_BRACKETS_MAX, lambda n: checked_condition("(" * n + "a" + ")" * n)
    ),
    "CONDITION_OPERATORS_MAX": (
        CONDITION_OPERATORS_MAX, lambda n: checked_condition(listed(n + 1, "a", "+"))
    ),
    "SIZED_NESTING_MAX": (SIZED_NESTING_MAX, lambda n: bounded(calls(n))),
    "SIZED_BYTES_MAX": (SIZED_BYTES_MAX, lambda n: bounded(f"SELECT repeat(1, {n})")),
    "TEXT_LENGTH_MAX": (TEXT_LENGTH_MAX, lambda n: None),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_p21_a_limit_is_where_it_says(name) -> None:
    most, ask = LIMITS[name]
    ask(most)
    if name == "TEXT_LENGTH_MAX":
        return
    with pytest.raises((AffidavitError, ValueError)) as caught:
        ask(most + 1)
    assert len(str(caught.value)) < 500
    assert f"{most:,}" in str(caught.value)


def test_p21_every_limit_is_in_the_reference() -> None:
    reference = (Path(__file__).parents[2] / "docs/reference.md").read_text()
    section = reference.partition("## Limits\n")[2].partition("\n## ")[0]
    for most, _ in LIMITS.values():
        assert re.search(rf"(?<![\d,]){most:,}(?![\d,])", section), f"{most:,}"


def test_p21_a_statement_that_is_too_long_is_refused(session) -> None:
    assert session.sql("SELECT 1 AS a -- ".ljust(TEXT_LENGTH_MAX, "x")).num_rows == 1
    with pytest.raises(AffidavitError, match="1,000,000"):
        session.sql("SELECT 1 AS a -- ".ljust(TEXT_LENGTH_MAX + 1, "x"))


def test_p21_an_option_that_stands_twice_is_refused(session) -> None:
    session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
    text = "SELECT * FROM vector_search('docs', [1.0, 2.0], 1, $o)"
    with pytest.raises(AffidavitError, match="'exact' stands twice"):
        session.sql(text, o='{"exact": true, "exact": false}').to_arrow()
    with pytest.raises(AffidavitError, match="stands twice"):
        session.sql(text, o='{"lineage": {"a": 1, "a": 2}}').to_arrow()
    assert session.sql(text, o='{"exact": true, "lineage": {"a": 1}}').num_rows == 1


DEEP_SCRIPT = """
import sys
import pyarrow as pa
import affidavit

def deep(make):
    value = 1
    for _ in range(5000):
        value = make(value)
    return value

session = affidavit.connect(sys.argv[1])
listed = session.create_table("l", schema=pa.schema([("a", pa.list_(pa.int64()))]))
docs = session.create_vector_table("docs", [{"id": 1, "title": "x", "vector": [1.0, 2.0]}])
for make in (lambda v: [v], lambda v: (v,), lambda v: {"a": v}, lambda v: {"a": [v]}):
    value = deep(make)
    asks = (
        lambda: session.sql("SELECT $a AS a", a=value).to_arrow(),
        lambda: session.sql("SELECT $1 AS a", [[value]]).to_arrow(),
        lambda: session.create_table("n", [{"a": value}]),
        lambda: listed.insert([{"a": value}]),
        lambda: listed.update({"a": value}, "true"),
        lambda: docs.insert([{"id": 2, "title": value, "vector": [1.0, 2.0]}]),
        lambda: session.search("docs", [1.0, 2.0], 1, lineage=value),
        lambda: session.scope(context={"a": value}),
        lambda: session.search("docs", value, 1),
    )
    for at, ask in enumerate(asks):
        try:
            ask()
        except affidavit.AffidavitError as error:
            assert len(str(error)) < 2000, (at, len(str(error)))
        else:
            raise AssertionError(at)
try:
    session.search("docs", [1.0, 2.0], 1, where="id = " + "1 + " * 10000 + "1")
except affidavit.AffidavitError as error:
    print(error)
assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]
"""


def test_p21_values_nested_deep_are_refused_and_end_no_process(tmp_path) -> None:
    """A list in a list, 5,000 deep, once ended the process on its way through Arrow."""
    told = run_python(DEEP_SCRIPT, tmp_path / "lake")
    assert "more than 200 operators" in told


@pytest.mark.parametrize("depth", [1, 20])
def test_p21_values_nested_as_people_do_are_taken(session, depth) -> None:
    value = nested(depth)
    assert session.sql("SELECT $a AS a", a=value).to_pylist() == [{"a": value}]
    table = session.create_table("t", [{"a": value}])
    assert table.to_arrow().to_pylist() == [{"a": value}]
    assert isinstance(table.schema.field("a").type, pa.ListType)
