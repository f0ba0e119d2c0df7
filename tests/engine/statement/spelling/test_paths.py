"""Which texts in quotes are files."""

from __future__ import annotations

import pytest

from affidavit.engine.statement.spelling.paths import paths_in, placed


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("FROM 'a'", ("a",)),
        ("SELECT * FROM 'a', t, 'b' AS b JOIN 'c''d' ON x = 'e' CROSS JOIN 'a'", ("a", "b", "c'd")),
        ("SELECT trim(FROM 'a'), extract(day FROM 'b') FROM t WHERE 'c' IN ('d', 'e')", ()),
        ("SELECT 'a' IS DISTINCT FROM 'b', f('c', 'd') FROM f('e', 'f'), g(1)", ()),
        ("SELECT (SELECT max(a) FROM 'a', 'b') FROM t GROUP BY 'c', 'd' ORDER BY x, 'e'",
         ("a", "b")),
        ("DELETE FROM t USING 'a', 'b' WHERE x = 'c' RETURNING 1, 'd'", ("a", "b")),
        ("UPDATE t SET a = 'a', b = 'b' FROM 'c'", ("c",)),
        ("DESCRIBE 'a'", ("a",)),
        ("SELECT 'a', 'b'", ()),
        ("INSERT INTO t VALUES ('from', 'a'), ('b', 'c')", ()),
    ],
)  # fmt: skip
def test_a_file_stands_where_a_table_does(text: str, paths: tuple[str, ...]) -> None:
    assert paths_in(text) == paths


def test_each_is_placed() -> None:
    text = "SELECT 'a' FROM 'a', 'b''' WHERE s = 'b'''"
    assert placed(text, lambda path: f"/{path}") == "SELECT 'a' FROM '/a', '/b''' WHERE s = 'b'''"
