"""``CREATE EXTERNAL TABLE`` as text: what is written is what is read, for every format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit.catalog.sources.files.external import external_sql, parse_external
from affidavit.catalog.sources.files.formats import FORMATS
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

ENDINGS = [(ending, each.name) for each in FORMATS.values() for ending in each.endings]


def test_an_ending_is_of_one_format() -> None:
    assert len(dict(ENDINGS)) == len(ENDINGS)


@pytest.mark.parametrize(("ending", "kind"), ENDINGS)
def test_a_format_is_told_by_a_files_name(ending: str, kind: str) -> None:
    text = external_sql("t", f"/it's/x.{ending.upper()}", {}, {})
    found = parse_external(text)
    assert (found.kind, found.location, found.is_plain) == (kind, f"/it's/x.{ending.upper()}", True)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_written_is_read(kind: str) -> None:
    options = dict.fromkeys(FORMATS[kind].options, "7")
    text = external_sql("t", "s3://b/x", {"format": kind.lower(), **options}, {"aws.region": "y"})
    found = parse_external(text)
    assert found.kind == kind
    assert found.location == "s3://b/x"
    assert found.options == {"aws.region": "y", **options}
    assert found.is_lake == (FORMATS[kind].open is not None)


def test_what_an_ending_stands_for_gives_way_to_what_is_said() -> None:
    assert "'format.delimiter' '\t'" in external_sql("t", "/x.tsv", {}, {})
    assert "'format.delimiter' ';'" in external_sql("t", "/x.tsv", {"delimiter": ";"}, {})


def test_a_folder_is_told_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "d.csv" / "_delta_log").mkdir(parents=True)
    (tmp_path / "i" / "metadata").mkdir(parents=True)
    (tmp_path / "i" / "metadata" / "v1.metadata.json").touch()
    assert parse_external(external_sql("t", str(tmp_path / "d.csv"), {}, {})).kind == "DELTA"
    assert parse_external(external_sql("t", str(tmp_path / "i"), {}, {})).kind == "ICEBERG"
    with pytest.raises(SourceError, match="cannot tell the format"):
        external_sql("t", str(tmp_path), {}, {})
