"""What a column list says, read without running it."""

from __future__ import annotations

import pytest

from affidavit import errors
from affidavit.engine.statement.assignments import Name
from affidavit.engine.statement.defining.columns import (
    Constraints,
    NewCheck,
    Reference,
    Unique,
    parse_constraints,
    parse_new_column,
)
from affidavit.engine.statement.defining.sequences import NumberOptions, parse_options
from affidavit.engine.statement.defining.types import parse_type
from affidavit.engine.statement.statement import parse_statement


def at(text: str):
    return parse_statement(text).cursor()


@pytest.mark.parametrize(
    ("text", "key", "unique", "defaults"),
    [
        ("(a INT, b TEXT)", (), (), {}),
        ("(a INT PRIMARY KEY, b TEXT UNIQUE)", ("a",), (Unique(("b",)),), {}),
        ("(a INT, b INT, PRIMARY KEY (a, b))", ("a", "b"), (), {}),
        ("(a INT, CONSTRAINT x UNIQUE (a), b INT)", (), (Unique(("a",), "x"),), {}),
        (
            "(a DECIMAL(10, 2) DEFAULT round(1.5, 1) NOT NULL, b INT DEFAULT (1 + 2) UNIQUE)",
            (), (Unique(("b",)),), {"a": "round(1.5, 1)", "b": "(1 + 2)"},
        ),
    ],
)  # fmt: skip
def test_a_column_list_says_keys_and_defaults(text, key, unique, defaults) -> None:
    found = parse_constraints(at(text))
    assert (found.primary_key, found.unique, found.defaults) == (key, unique, defaults)


def test_no_column_list_says_nothing() -> None:
    assert parse_constraints(at("AS SELECT 1")) == Constraints()


def test_it_says_what_is_asked_of_rows() -> None:
    found = parse_constraints(
        at("(a INT CHECK (a > (1)), b INT CONSTRAINT r REFERENCES s.t ON DELETE SET NULL, "
           "CONSTRAINT c CHECK (a < b), FOREIGN KEY (a, b) REFERENCES u (x, y) ON UPDATE CASCADE)")
    )  # fmt: skip
    assert found.checks == (NewCheck("a > (1)"), NewCheck("a < b", "c"))
    assert found.references == (
        Reference(("b",), Name("s", "t"), on_delete="SET NULL", name="r"),
        Reference(("a", "b"), Name("main", "u"), ("x", "y"), on_update="CASCADE"),
    )
    assert found.text == '("a" INT, "b" INT)'


@pytest.mark.parametrize("word", ["check", "primary", "foreign", "generated", "start", "comment"])
def test_a_column_may_be_called_as_a_clause_begins(word) -> None:
    [column] = parse_constraints(at(f"({word} INT NOT NULL)")).columns
    assert (column.name, column.nullable) == (word, False)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("c BIGINT", ("c", "BIGINT", None, True, False)),
        (
            "COLUMN IF NOT EXISTS c DECIMAL(3, 1) DEFAULT 1.5 NOT NULL",
            ("c", "DECIMAL(3, 1)", "1.5", False, True),
        ),
        ("c TEXT NULL", ("c", "TEXT", None, True, False)),
    ],
)
def test_a_new_column_is_read_to_the_end(text, column) -> None:
    new, asked = parse_new_column(at(text))
    said = (new.name, new.type.sql, new.default, new.nullable, new.if_not_exists)
    assert (said, asked) == (column, Constraints())


@pytest.mark.parametrize(
    ("text", "sql", "length", "kind"),
    [
        ("VARCHAR(3)", "VARCHAR", 3, None),
        ("character varying (12)", "VARCHAR", 12, None),
        ("CHAR(1)", "VARCHAR", 1, None),
        ("VARCHAR", "VARCHAR", None, None),
        ("DECIMAL(3, 1)", "DECIMAL(3, 1)", None, None),
        ("HUGEINT", "DECIMAL(38, 0)", None, None),
        ("BLOB", "BYTEA", None, None),
        ("uuid", "VARCHAR", None, "uuid"),
        ("ENUM ('a', 'it''s')", "VARCHAR", None, ("a", "it's")),
        ("STRUCT(a INT, b STRUCT(c BLOB))", "STRUCT<a INT, b STRUCT<c BYTEA>>", None, None),
        ("STRUCT(a INT)[]", "STRUCT<a INT>[]", None, None),
    ],
)
def test_a_type_is_what_datafusion_reads_and_what_it_would_drop(text, sql, length, kind) -> None:
    found = parse_type(at(text))
    assert (found.sql, found.length, found.kind) == (sql, length, kind)


def test_numbers_go_where_they_are_told_to() -> None:
    found = parse_options(at("START WITH 5 INCREMENT BY -2 MINVALUE -9 CACHE 3 NO CYCLE"))
    assert found == NumberOptions(5, -2, -9)
    counter = found.counter("x")
    assert [counter.number(place) for place in range(3)] == [5, 3, 1]
    assert (counter.places, counter.place_after(0), counter.place_after(9)) == (8, 3, 0)
    assert parse_options(at("(1, 10)"), bracketed=True) == NumberOptions(1, 10)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("()", "at least one column"),
        ("(a INT, a INT)", "two columns of one name"),
        ("(a INT PRIMARY KEY, b INT PRIMARY KEY)", "one PRIMARY KEY"),
        ("(a INT COLLATE x)", "COLLATE is not supported"),
        ("(a INT b)", "B is not supported here"),
        ("(a INT, CHECK a > 1)", r"expected"),
        ("(a VARCHAR(0))", "can hold no text"),
        ("(a ENUM ('x', 'x'))", "each of its values once"),
        ("(a STRUCT(b VARCHAR(3)))", "has a plain type"),
        ("(a UUID[])", "a list of UUID is not supported"),
        ("(a INT", "expected"),
        ("(a INT REFERENCES t ON DELETE NOTHING)", "expected NO ACTION"),
    ],
)
def test_what_is_no_column_list_is_refused_by_name(text, told) -> None:
    with pytest.raises(errors.SqlError, match=told):
        parse_constraints(at(text))
