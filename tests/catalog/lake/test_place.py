"""Where a lake may be: what is no folder for one is refused, and nothing is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import pytest

import affidavit
from affidavit.catalog.lake.place import lake_folder
from affidavit.errors import LakeError

NO_FOLDERS = [
    ("s3://bucket/lake", "URL"),
    (Path("s3://bucket/lake"), "URL"),
    ("gs://bucket", "URL"),
    ("postgresql://host/db", "URL"),
    ("lake:///somewhere", "URL"),
    ("file://host/lake", "URL"),
    ("http://[", "URL"),
    (":memory:", "memory"),
    ("", "non-empty"),
    (" ", "non-empty"),
    ("a\x00b", "NUL"),
    (None, "NoneType"),
    (b"lake", "bytes"),
    (5, "int 5"),
    (["lake"], "list"),
    ("~nobody-of-this-name/lake", "cannot be opened"),
    ("x" * 5000, "cannot be opened"),
]


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize(("path", "told"), NO_FOLDERS)
def test_what_names_no_folder_is_refused(
    path: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder called ``s3:`` was made, with a lake in it that nobody looked for."""
    monkeypatch.chdir(tmp_path)
    for read_only in (False, True):
        with pytest.raises(LakeError, match=told):
            affidavit.connect(path, read_only=read_only)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("prefix", ["file://", "file://localhost"])
def test_a_file_url_names_its_folder(tmp_path: Path, prefix: str) -> None:
    assert lake_folder(f"{prefix}{tmp_path}/a%20lake") == tmp_path / "a lake"


def test_a_windows_path_is_no_url() -> None:
    assert lake_folder("c:/lake").name == "lake"


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("x")
    with pytest.raises(LakeError, match="is a file"):
        affidavit.connect(tmp_path / "lake")


def test_a_folder_of_lancedb_is_refused(tmp_path: Path) -> None:
    lancedb.connect(tmp_path).create_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
    with pytest.raises(LakeError, match=r"LanceDB.*docs\.lance.*empty folder"):
        affidavit.connect(tmp_path)
    assert names_in(tmp_path) == ["docs.lance"]


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    names = ["a.csv", "b.csv", "c.csv", "d.csv"]
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(LakeError, match=r"'a\.csv', 'b\.csv', 'c\.csv'\.\.\."):
        affidavit.connect(tmp_path)
    assert names_in(tmp_path) == names


@pytest.mark.parametrize("names", [[], [".gitignore"], ["vectors", "locks"], ["keys"]])
def test_a_folder_in_which_nothing_is_in_the_way_is_taken(tmp_path: Path, names: list[str]) -> None:
    """A lake whose making was stopped half-way is made by who comes next."""
    for name in names:
        (tmp_path / name).mkdir()
    affidavit.connect(tmp_path).close()
    (tmp_path / "notes.txt").write_text("beside a lake")
    affidavit.connect(tmp_path).close()
