"""JSON, as SQL reads it: operators and functions over texts."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import affidavit
from affidavit import errors
from affidavit.engine.scans.calls.json import _FUNCTIONS, NESTED_MAX

TEXT = '{"a": {"b": [1.10, 2e400, "x"], "say \\"hi\\"": 1}, "c": "é", "n": null, "0": true}'


@pytest.fixture
def told(session: affidavit.Session) -> affidavit.Session:
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, j JSON, k VARCHAR)")
    rows = [(1, TEXT, "c"), (2, None, "c"), (3, "[10, 20, 30]", "-1"), (4, '"x"', None)]
    session.table("t").insert([dict(zip(("id", "j", "k"), row, strict=True)) for row in rows])
    return session


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("j -> 'a'", ['{"b":[1.10,2e400,"x"],"say \\"hi\\"":1}', None, None, None]),
        ("j -> 'a' -> 'b' ->> 0", ["1.10", None, None, None]),
        ("j -> 'a' -> 'b' ->> -1", ["x", None, None, None]),
        ("j ->> 1", [None, None, "20", None]),
        ("j ->> '0'", ["true", None, "10", None]),
        ("j ->> 'c'", ["é", None, None, None]),
        ("j -> 'c'", ['"é"', None, None, None]),
        ("j -> 'n'", ["null", None, None, None]),
        ("j ->> 'n'", [None] * 4),
        ("j ->> k", ["é", None, "30", None]),
        ("json_extract(j, '$.a.b[1]')", ["2e400", None, None, None]),
        ("json_extract(j, '$[#-1]')", [None, None, "30", None]),
        ("json_extract(j, '$')", [TEXT.replace(": ", ":").replace(", ", ","), None,
                                  "[10,20,30]", '"x"']),
        ('json_extract_string(j, \'$.a."say \\"hi\\""\')', ["1", None, None, None]),
        ("json_extract_string(j, 'c')", ["é", None, None, None]),
        ("json_keys(j)", [["a", "c", "n", "0"], None, [], []]),
        ("json_array_length(j)", [0, None, 3, 0]),
        ("json_typeof(j)", ["object", None, "array", "string"]),
        ("json_valid(k)", [False, False, True, None]),
        ("(j ->> 'c') IS NULL", [False, True, True, True]),
    ],
)  # fmt: skip
def test_what_is_got_of_a_text(told, expression: str, expected: list[object]) -> None:
    rows = told.sql(f"SELECT {expression} AS got FROM t ORDER BY id").to_pylist()
    assert [row["got"] for row in rows] == expected


def test_it_stands_wherever_an_expression_does(told) -> None:
    told.sql("CREATE VIEW v AS SELECT id, j ->> 'c' AS c FROM t WHERE j -> 'a' IS NOT NULL")
    assert told.sql("SELECT c FROM v").to_pylist() == [{"c": "é"}]
    assert told.sql("UPDATE t SET k = j ->> 0 WHERE j ->> 0 = '10'").rows_affected == 1
    assert told.sql("DELETE FROM t WHERE json_typeof(j) = $kind", kind="array").rows_affected == 1
    events = (
        "SELECT new_value ->> 'k' AS k FROM journal WHERE entity_id = '3' AND action = 'insert'"
    )
    assert {row["k"] for row in told.sql(events).to_pylist()} == {"-1"}


@pytest.mark.parametrize("text", ["hello", "{", '{"a": NaN}', "", "[1,]", "[" * 100_000])
def test_what_is_no_json_is_an_error(told, text: str) -> None:
    with pytest.raises(errors.ExecutionError, match="^not JSON: ") as raised:
        told.sql("SELECT $given ->> 'a' AS a", given=text).to_arrow()
    assert "Traceback" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * NESTED_MAX + "]" * NESTED_MAX, None),
        ('{"[": ' * NESTED_MAX + '"[{["' + "}" * NESTED_MAX, None),
        ("[" * (NESTED_MAX + 1) + "]" * (NESTED_MAX + 1), "nested more than 256 deep"),
        ('{"a":[' * 300 + "]}" * 300, "nested more than 256 deep"),
        ('{"a": ' * 50_000 + "1" + "}" * 50_000, "nested more than 256 deep"),
        ('{"a": "\\ud83d\\ude00"}', None),
        ('{"a": "\\\\ud83d"}', None),
        ('{"a": "\\ud83d"}', "half of a pair of surrogates"),
        ('{"a": {"\\uDE00": 1}}', "half of a pair of surrogates"),
        ("7" * 5_000, None),
    ],
)
def test_what_is_valid_is_read_and_nothing_else(told, text: str, why: str | None) -> None:
    """What json_valid had called JSON the others could not read or write."""
    asked = "SELECT json_valid($t) AS v"
    assert told.sql(asked, t=text).to_pylist() == [{"v": why is None}]
    for call in ("json_extract($t, '$')", "json_typeof($t)", "$t -> 'a' ->> 'b'", "json_keys($t)"):
        if why is None:
            told.sql(f"SELECT {call} AS got", t=text).to_arrow()
        else:
            with pytest.raises(errors.ExecutionError, match=f"^not JSON: .*{why}"):
                told.sql(f"SELECT {call} AS got", t=text).to_arrow()


@pytest.mark.parametrize(
    "path", ["$.", "$[", "$[x]", "$a", "$[*]", '$."a', '$."\\x"', '$."\\u12"', '$."a\n"']
)
def test_what_is_no_path_is_an_error(told, path: str) -> None:
    with pytest.raises(errors.ExecutionError, match="is no path into JSON: write"):
        told.sql("SELECT json_extract(j, $path) AS a FROM t", path=path).to_arrow()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(VALUES, min_size=1, max_size=5), st.data())
def test_it_is_what_python_reads(values: list[object], data: st.DataObject) -> None:
    texts = pa.array([json.dumps(each) for each in values])
    keys = {key for each in values if isinstance(each, dict) for key in each} | {"0", "-1"}
    key = data.draw(st.sampled_from(sorted(keys)))

    def step(value: object) -> list[object]:
        if isinstance(value, dict):
            return [value[key]] if key in value else []
        if isinstance(value, list) and key in {"0", "-1"} and value:
            return [value[int(key)]]
        return []

    got = _FUNCTIONS["json_get"][0](texts, pa.array([key] * len(values))).to_pylist()
    expected = [step(each) for each in values]
    assert [[] if each is None else [json.loads(each)] for each in got] == expected
