"""Names and texts mean themselves, whatever they hold, to each that reads our SQL."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.catalog.sql.quoting import lance_in, lance_name, quoted, quoted_text

ROOT = Path(__file__).parents[3]
SIGNS = st.sampled_from(["'", '"', "`", "\\", ";", "--", "/*", "$", "%", "{", "}", "\n", "a", "ü"])
TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    st.lists(SIGNS).map("".join),
)
NAMES = TEXTS.filter(bool)


@given(NAMES, TEXTS)
@settings(max_examples=66)
def test_the_engine_reads_a_name_and_a_text(name: str, text: str) -> None:
    found = SessionContext().sql(f"SELECT {quoted_text(text)} AS {quoted(name)}").to_arrow_table()
    assert found.schema.names == [name]
    assert found[0].to_pylist() == [text]


@given(NAMES, TEXTS)
@settings(max_examples=66)
def test_the_store_reads_a_name_and_a_text(name: str, text: str) -> None:
    connection = sqlite3.connect(":memory:")
    try:
        cursor = connection.execute(f"SELECT {quoted_text(text)} AS {quoted(name)}")
        assert cursor.description[0][0] == name
        assert cursor.fetchall() == [(text,)]
    finally:
        connection.close()


@given(st.lists(TEXTS, min_size=1, max_size=4, unique=True), st.data())
@settings(max_examples=30, deadline=None)
def test_lance_finds_the_keys_that_are_asked_for(keys: list[str], data: st.DataObject) -> None:
    """A name between double quotes would be a text there, and no key equal to it."""
    name = data.draw(st.sampled_from(["id", "Id", "a b", 'c"d', "e'f", "g\\h", "ü", "select"]))
    wanted = data.draw(st.lists(st.sampled_from(keys), min_size=1, unique=True))
    with tempfile.TemporaryDirectory() as folder:
        dataset = lance.write_dataset(pa.table({name: keys}), Path(folder) / "t.lance")
        for bare in (False, True):
            found = dataset.scanner(filter=lance_in(name, wanted, bare=bare)).to_table()
            assert sorted(found[name].to_pylist()) == sorted(wanted)


def test_a_filter_of_whole_numbers_and_of_texts() -> None:
    assert lance_in("id", [1, -2]) == "`id` IN (1, -2)"
    assert lance_in("id", ["a", "b'c"], bare=True) == "id IN ('a', 'b''c')"
    assert lance_name("Id", bare=True) == "`Id`"
    assert lance_name("a b", bare=True) == "`a b`"
    assert lance_name("a` = 1 OR `a") == "`a`` = 1 OR ``a`"


ESCAPES = re.compile(r"""replace\((["'])(["'`])\1, (["'])\2\2\3\)""")


@pytest.mark.parametrize("wing", ["catalog", "triggers", "engine"])
def test_only_one_module_escapes(wing: str) -> None:
    """Two copies of such a rule have not stayed the same: six had four of them."""
    found = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / wing).rglob("*.py"))
        if ESCAPES.search(path.read_text())
    ]
    assert found == (["catalog/sql/quoting.py"] if wing == "catalog" else [])
