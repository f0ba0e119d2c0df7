"""P4: whatever is changed in sealed records, or in what finds them, is found and named."""

from __future__ import annotations

import hashlib
import random
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.beside import beside
from tests.support.sealed import ask, connect, files, furnish, segments

import affidavit
from affidavit import errors

BYTES_FLIPPED = 60
"""How many bytes of a segment are flipped, drawn anew each time."""


@pytest.fixture
def sealed(lake) -> Path:
    """A lake with two segments of records, and some that are not sealed."""
    with connect(lake) as session:
        furnish(session)
        for at in range(2):
            ask(session, 3, first=3 * at)
            session.journal.flush()
        ask(session, 1, first=6)
    return lake


def verified(lake: Path) -> affidavit.Verification:
    with connect(lake, read_only=True, audit="searches") as session:
        return session.ledger.verify(progress=False)


def first_of(lake: Path, at: int) -> tuple[int, int]:
    with connect(lake, read_only=True, audit="searches") as session:
        found = segments(session)[at]
    return found["first_seq"], found["last_seq"]


def replace(path: Path, lake: Path, table: pa.Table) -> None:
    """Write another table in the place of a segment, and write down its hash."""
    pq.write_table(table, path)
    data = path.read_bytes()
    with beside(lake) as store:
        store.execute(
            "UPDATE ledger_segments SET sha256 = ?, bytes = ? WHERE file = ?",
            (hashlib.sha256(data).digest(), len(data), path.name),
        )


@pytest.mark.parametrize(
    "column",
    ["kind", "entry_id", "created_at", "body", "signature", "leaf_hash", "opened", "logged_at"],
)
def test_p4_a_column_of_a_sealed_record_that_is_changed_is_named(sealed, column) -> None:
    """With the hash of the file written down anew: the record tells on its own."""
    path = files(sealed)[0]
    table = pq.read_table(path)
    at = table["kind"].to_pylist().index("search")
    values = table[column].to_pylist()
    old = values[at]
    values[at] = {
        str: lambda: f"{old[:-1]}x", bytes: lambda: old[:-1] + bytes([old[-1] ^ 1]),
        type(None): lambda: table["created_at"][0].as_py(),
    }.get(type(old), lambda: old.replace(year=2001))()  # fmt: skip
    place = table.schema.get_field_index(column)
    changed = table.set_column(place, column, pa.array(values, table.schema.field(column).type))
    replace(path, sealed, changed)
    found = verified(sealed)
    first, _ = first_of(sealed, 0)
    named = table["seq"][at].as_py()
    assert not found
    assert found.seq == (first if column == "logged_at" else named)


@pytest.mark.parametrize("how", ["dropped", "twice", "swapped", "added"])
def test_p4_a_sealed_record_that_is_not_in_its_place_is_named(sealed, how) -> None:
    path = files(sealed)[0]
    table = pq.read_table(path)
    numbers = list(range(table.num_rows))
    numbers = {
        "dropped": [0, *numbers[2:]], "twice": [0, 1, *numbers[1:]],
        "swapped": [0, 2, 1, *numbers[3:]], "added": numbers,
    }[how]  # fmt: skip
    changed = table.take(numbers)
    if how == "added":
        seq = pa.array([*table["seq"].to_pylist()[:-1], 10_000], pa.int64())
        changed = changed.set_column(0, "seq", seq)
    replace(path, sealed, changed)
    found = verified(sealed)
    assert not found
    assert found.seq in table["seq"].to_pylist()


def test_p4_a_byte_of_a_sealed_file_that_is_flipped_is_found(sealed) -> None:
    """Wherever it is: the report names an entry of that segment."""
    chance = random.Random()
    path = files(sealed)[0]
    first, last = first_of(sealed, 0)
    whole = path.read_bytes()
    for _ in range(BYTES_FLIPPED):
        at, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        found = verified(sealed)
        assert not found, (at, bit)
        assert found.seq is not None, (at, bit, str(found))
        assert first <= found.seq <= last, (at, bit, str(found))
    path.write_bytes(whole)
    assert verified(sealed)


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "other"])
def test_p4_a_sealed_file_that_is_not_there_is_named(sealed, how) -> None:
    path, other = files(sealed)[:2]
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        data = {"empty": b"", "truncated": whole[:-50], "other": other.read_bytes()}[how]
        path.write_bytes(data)
    found = verified(sealed)
    assert (found.ok, found.seq) == (False, first_of(sealed, 0)[0])
    with connect(sealed, read_only=True, audit="searches") as session:
        assert path.name in str(found)
        with pytest.raises(errors.LedgerCorruptError, match=path.name):
            session.sql("SELECT count(query_id) FROM audit.searches").to_pylist()
        with pytest.raises(errors.LedgerCorruptError, match=path.name):
            session.audit.recent(100)
    path.write_bytes(whole)
    assert verified(sealed)


def nobody(lake: Path) -> None:
    for path in (lake / "records").rglob("*.entities"):
        path.write_bytes(bytes(len(path.read_bytes()) - 8) + b"\xff" * 8)


@pytest.mark.parametrize(
    ("forge", "segment"),
    [
        (nobody, 0),
        ("UPDATE ledger_segments SET dropped = 1 WHERE first_seq = (SELECT min(first_seq) FROM ledger_segments)", 0),
        ("UPDATE ledger_segments SET last_at = 0", 0),
        ("UPDATE ledger_segments SET root = sha256", 0),
        ("UPDATE ledger_segments SET sha256 = root", 0),
        ("UPDATE ledger_segments SET records = '7'", 0),
        ("UPDATE ledger_segments SET file = '../default/' || file", 0),
        ("DELETE FROM ledger_segments WHERE first_seq = (SELECT max(first_seq) FROM ledger_segments)", 1),
        ("UPDATE ledger_leaves SET data = zeroblob(length(data))", None),
        ("UPDATE ledger_leaves SET end_seq = 100000", None),
        ("INSERT INTO search_results (_tenant, row_id, seq) VALUES ('default', '1', 3)", None),
    ],
)  # fmt: skip
def test_p4_whatever_readers_find_records_by_is_verified(sealed, forge, segment) -> None:
    first = None if segment is None else first_of(sealed, segment)[0]
    if isinstance(forge, str):
        with beside(sealed) as store:
            store.execute(forge)
    else:
        forge(sealed)
    found = None
    with suppress(errors.LedgerCorruptError):
        found = verified(sealed)
    assert not found
    if first is not None and found is not None:
        assert found.seq == first


def test_p4_a_record_that_is_put_back_beside_its_sealed_one_is_found(sealed) -> None:
    with beside(sealed) as store:
        row = pq.read_table(files(sealed)[0]).slice(1, 1).to_pylist()[0]
        store.execute(
            "INSERT INTO ledger (_tenant, seq, kind, entry_id, created_at, leaf_hash, body,"
            " signature, opened) VALUES ('default', ?, ?, ?, 0, ?, ?, ?, NULL)",
            (
                row["seq"], row["kind"], row["entry_id"], row["leaf_hash"], row["body"].encode(),
                row["signature"],
            ),
        )  # fmt: skip
    found = verified(sealed)
    assert (found.ok, found.seq) == (False, row["seq"])
