"""What tables ask of their rows, evaluated."""

from __future__ import annotations

import pyarrow as pa
import pytest

from affidavit.errors import ExecutionError, UnsupportedPredicateError
from affidavit.triggers.predicates.expressions import RowExpressions

SCHEMA = pa.schema([("n", pa.int64()), ("unitPrice", pa.float64()), ("v", pa.string_view())])
ROWS = pa.table({"n": [1, None, 3], "unitPrice": [1.0, 2.0, None], "v": ["a", "b", None]}, SCHEMA)
ASKED = RowExpressions()


def test_a_condition_is_kept_as_the_table_spells_its_columns() -> None:
    assert ASKED.condition("N > 0 AND unitprice < 5", SCHEMA) == (
        'N > 0 AND "unitPrice" < 5', ("n", "unitPrice"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "false"),
    [
        ("n > 1", 0),
        ("v LIKE 'b%'", 0),
        ("n IS NOT NULL", 1),
        ('"unitPrice" = n', None),
        ("false", 0),
        ("null", None),
    ],
)
def test_what_is_unknown_is_not_false(condition, false) -> None:
    assert ASKED.first_false(condition, SCHEMA, ROWS) == false


def test_an_expression_has_a_type_and_values_as_another() -> None:
    assert ASKED.expression("n", SCHEMA) == ("n", ("n",), pa.int64())
    sql, columns, kind = ASKED.expression("UNITPRICE * n", SCHEMA)
    assert (columns, kind) == (("n", "unitPrice"), pa.float64())
    assert ASKED.values(sql, SCHEMA, pa.int32(), ROWS).to_pylist() == [1, None, None]
    with pytest.raises(ExecutionError, match="Divide by zero"):
        ASKED.values("1 / (n - 1)", SCHEMA, pa.int64(), ROWS)


@pytest.mark.parametrize(
    "text", ["", "n >", "now()", "random()", "sum(n)", "$1", "x", "(SELECT 1)"]
)
def test_what_is_no_rows_own_is_refused(text) -> None:
    with pytest.raises(UnsupportedPredicateError, match="is refused"):
        ASKED.expression(text, SCHEMA)
    with pytest.raises(UnsupportedPredicateError, match="is refused"):
        ASKED.condition(text, SCHEMA)
