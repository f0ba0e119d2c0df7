"""P16: who holds rows to a receipt is told in what they differ."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pytest

import affidavit
from affidavit.catalog.values import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROWS = [{"id": at, "word": f"w{at}", "n": None if at == 2 else at} for at in range(5)]
MANY = 70_000


@pytest.fixture
def audited(lake: Path) -> Iterator[affidavit.Session]:
    with affidavit.connect(lake, audit="reads") as session:
        session.create_table("t", ROWS, primary_key="id")
        yield session


def given(
    session: affidavit.Session, text: str = "SELECT * FROM t ORDER BY id"
) -> tuple[affidavit.Receipt, pa.Table]:
    result = session.sql(text)
    table = result.to_arrow()
    assert result.receipt is not None
    return result.receipt, table


def test_p16_what_was_given_needs_no_reason(audited: affidavit.Session) -> None:
    receipt, table = given(audited)
    for rows in (table, table.to_pandas(), table.to_pylist(), table.to_reader()):
        found = audited.audit.check(receipt, rows)
        assert found == True  # noqa: E712 - it is no bool, and is equal to one
        assert found.reason == ""
        assert repr(found) == "True"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.drop_columns(["word"]), "column 'word' is missing"),
        (lambda t: t.append_column("more", t["id"]), "column 'more' was not given"),
        (lambda t: t.rename_columns(["id", "w", "n"]), "column 'word' is missing"),
        (lambda t: t.select(["word", "id", "n"]), "the columns stand in another order"),
        (lambda t: t.slice(1), "4 rows are there, and 5 were given"),
        (lambda t: t.set_column(0, "id", t["id"].cast(pa.string())), "column 'id' is of type string"),
        (lambda t: t.set_column(0, "id", [[0.5, 1, 2, 3, 4]]), "column 'id'"),
        (lambda t: t.set_column(2, "n", [[0, 1, 2, 3, 9]]), "of its 5 rows some are others"),
        (lambda t: t.take([1, 0, 2, 3, 4]), "of its 5 rows some are others, or stand in another"),
    ],
)  # fmt: skip
def test_p16_in_what_rows_differ_is_said(
    audited: affidavit.Session, change: Callable[[pa.Table], pa.Table], reason: str
) -> None:
    receipt, table = given(audited)
    for rows in (change(table), change(table).to_reader()):
        found = audited.audit.check(receipt, rows)
        assert not found
        assert found == False  # noqa: E712 - as above
        assert reason in found.reason
        assert repr(found) == f"False: {found.reason}"


def test_p16_the_right_rows_in_another_order_are_told(audited: affidavit.Session) -> None:
    receipt, table = given(audited, "SELECT * FROM t")
    found = audited.audit.check(receipt, table.take([4, 3, 2, 1, 0]))
    assert found.reason == "the rows stand in another order: each of them was given"
    frame = table.take([4, 3, 2, 1, 0]).to_pandas()
    assert audited.audit.check(receipt, frame).reason == found.reason


def test_p16_a_frame_is_told_which_column_lost_what_it_said(audited: affidavit.Session) -> None:
    receipt, table = given(audited)
    frame = table.to_pandas()
    assert audited.audit.check(receipt, frame)
    frame["n"] = [0.0, 1.0, 2.5, 3.0, 4.0]
    assert "column 'n'" in audited.audit.check(receipt, frame).reason
    frame["n"] = pd.to_datetime(["2020-01-01"] * 5)
    assert "column 'n' is of type" in audited.audit.check(receipt, frame).reason


def test_p16_of_many_rows_it_is_said_among_which_the_first_is_that_differs(
    audited: affidavit.Session,
) -> None:
    text = f"SELECT value AS v FROM generate_series(1, {MANY}) CROSS JOIN t WHERE id = 0 ORDER BY v"
    receipt, table = given(audited, text)
    assert len(receipt.chunks) == 2
    kept = affidavit.Receipt.from_dict(json.loads(json.dumps(receipt.to_dict())))
    assert kept.chunks == receipt.chunks
    values = table["v"].to_pylist()
    changed = pa.table({"v": [*values[:-1], 0]})
    said = audited.audit.check(kept, changed).reason
    assert said.startswith(f"of rows {digest.CHUNK_ROWS + 1:,} to {MANY:,} some are others")
    changed = pa.table({"v": [0, *values[1:]]})
    said = audited.audit.check(kept, changed).reason
    assert said.startswith(f"of rows 1 to {digest.CHUNK_ROWS:,} some are others")
    bare = dataclasses.replace(kept, chunks=())
    assert audited.audit.check(bare, changed).reason.startswith(f"of its {MANY:,} rows some")


def test_p16_a_receipt_that_was_changed_says_so(audited: affidavit.Session) -> None:
    receipt, table = given(audited)
    found = audited.audit.check(dataclasses.replace(receipt, salt="00" * 16), table)
    assert not found
    assert "the receipt is not that of its record" in found.reason


def test_p16_a_receipt_without_a_schema_is_held_to_what_the_record_says(
    audited: affidavit.Session,
) -> None:
    receipt, table = given(audited, "SELECT id, n + 1 AS m FROM t ORDER BY id")
    bare = dataclasses.replace(receipt, schema=None)
    assert audited.audit.check(bare, table)
    other = table.set_column(0, "id", table["id"].cast(pa.int32()))
    said = audited.audit.check(bare, other).reason
    assert said == "column 'id' is of type int32, and was given as int64"
    said = audited.audit.check(bare, table.select([1, 0])).reason
    assert "columns" in said or "column" in said
