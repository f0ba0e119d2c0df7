"""P9, P12: names that differ only in case, or in forms of Unicode, never share a folder.

macOS and Windows tell no case apart: there, two tenants would have had each other's files.
"""

from __future__ import annotations

import shutil
import unicodedata
from typing import TYPE_CHECKING

import lance
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.lakes import vectors
from tests.support.records import Q8

import affidavit
from affidavit.catalog.sql.folder_names import chosen, folded, is_plain, marked
from affidavit.catalog.sql.names import NAME_BYTES_MAX, check_name
from affidavit.catalog.store.disk import folder_in
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = ("con", "prn", "aux", "nul", *(f"{a}{n}" for a in ("com", "lpt") for n in range(10)))
ALIKE = [
    "docs", "Docs", "DOCS", "dOcS", "straße", "strasse", "STRASSE", "ǆ", "Ǆ", "i", "I", "ı", "İ",
    "σ", "ς", "Σ", "k", "K", "é", "E\u0301".lower(), "É", "ŝ", "Ŝ", "ꭰ", "Ꭰ", "µ", "μ", "ﬁ", "fi",
    "a\ufe0f", "a", "a:b", "a*b", "a_b", "a?b", "a<b", "a|b", "_shared", "_Shared", *DEVICES,
    *map(str.upper, DEVICES), "con ", "x" * 128, "X" * 128, "İ" * 90, "ΐ" * 90, "日本", "مرحبا",
]  # fmt: skip


def is_name(text: str) -> bool:
    try:
        return check_name("table", text) == text
    except AffidavitError:
        return False


NAMES = st.one_of(
    st.sampled_from(ALIKE),
    st.text(min_size=1, max_size=12),
    st.text("aAbBiIıİsSßſkKåÅ:*?<>|_ -1", min_size=1, max_size=6),
    st.sampled_from(ALIKE).map(str.swapcase),
).filter(is_name)


def seen_by_others(folder: str) -> set[str]:
    """What file systems without case, or with another form of Unicode, take a name for."""
    return {
        folder.casefold(), folder.lower(), folder.upper().lower(), folded(folder),
        unicodedata.normalize("NFKC", folder).casefold(),
        unicodedata.normalize("NFC", unicodedata.normalize("NFD", folder).casefold()),
    }  # fmt: skip


def folder_name(name: str) -> str:
    return name if is_plain(name) else marked(name)


@given(st.lists(NAMES, min_size=2, max_size=12, unique=True))
@example([each for each in ALIKE if is_name(each)])
def test_p12_distinct_names_have_folders_that_no_file_system_takes_for_one(
    names: list[str],
) -> None:
    found: dict[str, str] = {}
    for name in names:
        for taken_for in seen_by_others(folder_name(name)):
            assert found.setdefault(taken_for, name) == name


@given(NAMES)
@example("con")
@example("NUL")
@example("a:b")
@example("İ" * 90)
def test_p12_a_folder_is_one_that_windows_can_make(name: str) -> None:
    folder = folder_name(name)
    assert not set(folder) & set('<>:"/\\|?*')
    assert folder.partition(".")[0].casefold() not in {*DEVICES, ""}
    assert folder == folder.rstrip(" .")
    assert len(f"{folder}.lance".encode()) <= 255
    assert len(name.encode()) <= NAME_BYTES_MAX
    assert folder != "_shared" or name == "_shared"


@given(st.from_regex(r"[a-z0-9_-]{1,30}", fullmatch=True).filter(lambda name: name not in DEVICES))
def test_p12_a_name_without_capitals_is_its_folders(name: str) -> None:
    assert folder_name(name) == name


@given(st.lists(NAMES, min_size=1, max_size=8, unique=True), st.sampled_from(["", ".lance"]))
def test_p12_folders_of_before_are_kept_and_shared_with_nobody(
    names: list[str], ending: str
) -> None:
    """A lake of before has the first of them under its own name; others come.

    The folder tells no case apart.
    """
    there = [f"{names[0]}{ending}"]
    assert chosen(names[0], there, ending=ending) == there[0]
    for name in names[1:]:
        folder = chosen(name, there, ending=ending)
        assert all(not seen_by_others(folder) & seen_by_others(each) for each in there)
        there.append(folder)
    for name, folder in zip(names, there, strict=True):
        assert chosen(name, there, ending=ending) == folder, "it is found again"


def test_p12_tables_and_tenants_that_differ_in_case_have_their_own(lake: Path) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        for count, tenant in enumerate(["north", "North", "NORTH"], 1):
            with session.scope(tenant=tenant) as own:
                for table in ("docs", "Docs", "con"):
                    own.create_vector_table(table, vectors(10 * count + len(table)))
                own.journal.flush()
        for count, tenant in enumerate(["north", "North", "NORTH"], 1):
            with session.scope(tenant=tenant) as own:
                assert own.table("Docs").to_arrow().num_rows == 10 * count + 4
                assert own.search("docs", Q8, k=3).num_rows == 3
                assert own.ledger.verify(data=True)
    for folder in ("vectors", "journal"):
        names = sorted(each.name for each in (lake / folder).iterdir() if each.name[0] != ".")
        assert len(names) == 3
        assert "north" in names
        assert len({name.casefold() for name in names}) == 3
    tables = [each.name for each in (lake / "vectors" / "north").iterdir()]
    assert "docs.lance" in tables
    assert len({each.casefold() for each in tables}) == 3


@pytest.mark.parametrize("read_only", [False, True])
def test_p12_a_lake_of_before_is_read_written_and_verified_where_it_is(
    lake: Path, *, read_only: bool
) -> None:
    """Before, a folder was called as its name is: capitals too."""
    with (
        affidavit.connect(lake, durability="normal") as session,
        session.scope(tenant="North") as own,
    ):
        own.create_vector_table("Docs", vectors(10))
        own.create_vector_table("con", vectors(5))
        own.journal.flush()
    for parent in (lake / "vectors", lake / "journal"):
        [made] = [each for each in parent.iterdir() if each.name.startswith("north.")]
        made.rename(parent / "North")
    for table in ("Docs", "con"):
        home = lake / "vectors" / "North"
        (home / f"{marked(table)}.lance").rename(home / f"{table}.lance")
    before = sorted(each.name for each in (lake / "vectors").rglob("*.lance"))
    with (
        affidavit.connect(lake, durability="normal", read_only=read_only) as session,
        session.scope(tenant="North") as own,
    ):
        assert own.search("Docs", Q8, k=3).num_rows == 3
        assert own.table("con").to_arrow().num_rows == 5
        assert own.ledger.verify(data=True)
        assert own.sql("SELECT count(*) AS n FROM journal").to_pylist()[0]["n"] > 0
        assert sorted(each.name for each in (lake / "vectors").rglob("*.lance")) == before
        if read_only:
            return
        own.table("Docs").insert(vectors(3, start=50))
        own.journal.flush()
        own.create_vector_table("docs", vectors(4))
        own.sql('ALTER TABLE "Docs" RENAME TO "DOCS"')
        assert own.table("DOCS").to_arrow().num_rows == 13
        own.drop_table("DOCS")
        own.create_vector_table("Docs", vectors(2))
        assert own.table("docs").to_arrow().num_rows == 4
        assert own.ledger.verify(data=True)
    assert sorted(each.name for each in (lake / "journal").iterdir()) == ["North"]
    assert lance.dataset(str(lake / "vectors" / "North" / "docs.lance")).count_rows() == 4


def test_p12_one_that_is_put_elsewhere_is_found_by_its_rule(tmp_path: Path) -> None:
    for name in ("docs", "Docs"):
        made = folder_in(tmp_path, name, ending=".lance")
        made.mkdir()
        assert folder_in(tmp_path, name, ending=".lance") == made
    assert len(list(tmp_path.iterdir())) == 2
    shutil.rmtree(tmp_path / "docs.lance")
    assert folder_in(tmp_path, "docs", ending=".lance") == tmp_path / "docs.lance"
