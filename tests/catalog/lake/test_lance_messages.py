"""The messages of Lance that decide what a caller is told, each provoked by pylance 14.0.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lance
import pyarrow as pa
import pytest

from affidavit import errors
from affidavit.catalog.lake.vectors.datasets import lance_errors

if TYPE_CHECKING:
    from pathlib import Path

VECTORS = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()), 2)


@pytest.fixture
def dataset(tmp_path: Path) -> lance.LanceDataset:
    return lance.write_dataset(pa.table({"id": [1, 2], "v": VECTORS}), tmp_path / "t")


@pytest.mark.parametrize(
    ("read", "text"),
    [
        ({"filter": "nope = 1"}, "No field named nope"),
        ({"columns": ["nope"]}, "No field named nope"),
        ({"nearest": {"column": "nope", "q": [1.0, 2.0], "k": 1}}, "nope is not in the dataset"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_there_is_the_callers_to_correct(dataset, read, text) -> None:
    with pytest.raises(ValueError, match=text):
        dataset.to_table(**read)
    with pytest.raises(errors.InvalidQueryError, match=text), lance_errors("searching"):
        dataset.to_table(**read)


def test_a_message_is_told_without_its_prefix_and_positions(dataset) -> None:
    with pytest.raises(ValueError, match=r"^Invalid user input: .+, /[^ ]+\.rs:\d+:\d+$"):
        dataset.to_table(filter="id =")
    with pytest.raises(errors.InvalidQueryError) as caught, lance_errors("searching"):
        dataset.to_table(filter="id =")
    assert str(caught.value).startswith("searching: Error parsing statement: ")
    assert ".rs:" not in str(caught.value)


def test_a_file_that_is_gone_is_the_stores(dataset, tmp_path) -> None:
    for file in (tmp_path / "t" / "data").iterdir():
        file.unlink()
    with pytest.raises(pa.ArrowInvalid, match="Not found: "):
        dataset.to_table()
    with pytest.raises(errors.StoreError, match="Not found: "), lance_errors("reading"):
        dataset.to_table()


def test_an_interrupt_that_lance_turned_into_text_is_an_interrupt() -> None:
    """Ctrl-C while it merges, in one of some hundred times: too seldom to be provoked here."""
    with pytest.raises(KeyboardInterrupt), lance_errors("merging"):
        raise ValueError("External error: KeyboardInterrupt: , /lance/src/utils.rs:87:18")
    with pytest.raises(errors.InvalidQueryError), lance_errors("merging"):
        raise ValueError("Invalid user input: there is no External error: KeyboardInterrupt:")
