"""Segments of records: the entries of a ledger that are no events, as they were signed.

Rules:
    - A row is an entry as the ledger's own table had it, byte for byte, with the time when it was
      logged where its body says one: plain Parquet readers find all of it there.
    - The index finds a record by its id, by each row that it gave, and by its kind where few have
      that: by hashes, so that whoever reads makes sure.
    - Entries that name keys, or say what was let go, are never sealed: every commit needs the ones,
      and whoever verifies needs the others first.
"""

from __future__ import annotations

import json
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import KIND as EVENT
from affidavit.catalog.journal.segments.form import Form
from affidavit.catalog.journal.segments.index import postings_of
from affidavit.catalog.ledger.commitments import VERSION
from affidavit.catalog.ledger.entry import DROPPED, SEARCH, STAYING, StoredEntry, rows_given
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.store.tables import LEDGER_LEAVES, LEDGER_SEGMENTS
from affidavit.catalog.values.canonical import to_us

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.journal.segments.form import Postings

_TIME: Final = pa.timestamp("us", "UTC")

RECORDS_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("entry_id", pa.string()),
        pa.field("created_at", _TIME),
        pa.field("logged_at", _TIME),
        pa.field("body", pa.string()),
        pa.field("signature", pa.binary()),
        pa.field("leaf_hash", pa.binary()),
        pa.field("opened", pa.string()),
    ]
)
"""How records are kept; ``body`` and ``opened`` are JSON."""

FREQUENT: Final = frozenset({SEARCH, "read", "read-closed"})
"""The kinds that most records are of; of every other kind the index has each record."""

_ID, _ROW, _KIND = 1, 2, 3
"""What hashes begin with, so that a name is no row's."""

_IDS: Final = '"top_k_result_ids":["'
_LOGGED_AT: Final = '"logged_at":"'
_decode: Final = json.JSONDecoder().raw_decode


# --- what the index finds -------------------------------------------------------------------------


def hashes_of_ids(entry_ids: Iterable[str]) -> list[int]:
    """Return what the index has of records with these ids."""
    return _hashes(entry_ids, _ID)


def hashes_of_rows(rows: Iterable[str]) -> list[int]:
    """Return what the index has of records that gave these rows."""
    return _hashes(rows, _ROW)


def hashes_of_kinds(kinds: Iterable[str]) -> list[int]:
    """Return what the index has of records of these kinds, which are not frequent."""
    return _hashes(kinds, _KIND)


def _hashes(texts: Iterable[str], begun: int) -> list[int]:
    return [crc32(text.encode(errors="surrogatepass"), begun) for text in texts]


def _hashed(texts: Sequence[str], begun: int) -> Postings:
    """Return the hashes of many texts."""
    try:
        found = map(crc32, map(str.encode, texts), repeat(begun))
        return np.fromiter(found, dtype="<u8", count=len(texts))
    except UnicodeEncodeError:  # a lone surrogate, as JSON can have it
        return np.array(_hashes(texts, begun), dtype="<u8")


def _postings(records: pa.Table, first_row: int) -> Postings:
    """Return the postings of records that begin at ``first_row``, unsorted."""
    if records["body"].null_count:  # husks, which nobody looks for
        return np.zeros(0, dtype="<u8")
    kinds, ids, opened = (records[name].to_pylist() for name in ("kind", "entry_id", "opened"))
    bodies = records["body"]
    given: list[str] = []
    counts: list[int] = []
    for at, (kind, told) in enumerate(zip(kinds, opened, strict=True)):
        rows: Sequence[str] = ()
        if kind in FREQUENT and (told is not None or kind == SEARCH):
            rows = _given(kind, bodies[at].as_py() if told is None else "", told)
            given += rows
        counts.append(len(rows))
    rare = [at for at, kind in enumerate(kinds) if kind not in FREQUENT]
    numbers = np.arange(first_row, first_row + len(kinds), dtype="<u8")
    hashes = [_hashed(ids, _ID), _hashed(given, _ROW), _hashed([kinds[at] for at in rare], _KIND)]
    rows_of = [numbers, np.repeat(numbers, counts), numbers[rare] if rare else numbers[:0]]
    return postings_of(np.concatenate(hashes), np.concatenate(rows_of))


def given_rows(kind: str, body: bytes, opened: bytes | None) -> list[str]:
    """Return the rows that a record gave, in the order in which it says so."""
    if kind not in FREQUENT or (opened is None and kind != SEARCH):
        return []
    return _given(kind, body.decode(), None if opened is None else opened.decode())


def _given(kind: str, body: str, opened: str | None) -> list[str]:
    """Return the rows that a record gave; ``body`` is asked where nothing stands beside it."""
    try:
        if kind == SEARCH and opened is not None:
            found = opened.find(_IDS)
            # it can stand in what a caller said, too: not in a string, where quotes are escaped
            if found >= 0 and opened.find(_IDS, found + 1) < 0:
                salted = opened.index('",', found + len(_IDS)) + 2
                return _texts(_decode(opened, salted)[0])
        fields = {"v": VERSION} if opened is not None else json.loads(body)
    except (ValueError, RecursionError):
        return []  # which its leaf tells
    entry = StoredEntry(0, b"", None, kind, opened=None if opened is None else opened.encode())
    return _texts([row for row, _ in rows_given(entry, fields)])


def _texts(values: object) -> list[str]:
    if not isinstance(values, list):
        return []
    if set(map(type, values)) <= {str}:
        return values
    return [each for each in values if isinstance(each, str)]


# --- rows -----------------------------------------------------------------------------------------


def table_of(rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Return records as they are sealed, from rows of the ledger's own table.

    Args:
        rows: ``seq``, ``kind``, ``entry_id``, ``created_at``, ``body``, ``signature``,
            ``leaf_hash`` and ``opened`` of each.

    Raises:
        ValueError: A column has what an append never puts there.
    """
    seqs, kinds, ids, times, bodies, signatures, leaves, opened = zip(*rows, strict=True)
    for values, allowed in (
        (seqs, {int}), (kinds, {str}), (ids, {str}), (times, {int}), (bodies, {bytes}),
        (signatures, {bytes, type(None)}), (leaves, {bytes}), (opened, {bytes, type(None)}),
    ):  # fmt: skip
        if not set(map(type, values)) <= allowed:
            raise ValueError("a column has another type")
    texts = pa.array(bodies, pa.binary()).cast(pa.string())
    logged: list[int | None] = [None] * len(rows)
    if set(kinds) != {SEARCH}:
        for at in pc.indices_nonzero(pc.match_substring(texts, _LOGGED_AT)).to_pylist():
            logged[at] = logged_at(kinds[at], texts[at].as_py())
    arrays = [
        pa.array(seqs, pa.int64()), pa.array(kinds, pa.string()), pa.array(ids, pa.string()),
        pa.array(times, pa.int64()).view(_TIME), pa.array(logged, pa.int64()).view(_TIME),
        texts, pa.array(signatures, pa.binary()), pa.array(leaves, pa.binary()),
        pa.array(opened, pa.binary()).cast(pa.string()),
    ]  # fmt: skip
    return pa.Table.from_arrays(arrays, schema=RECORDS_SCHEMA)


def logged_at(kind: str, body: str) -> int | None:
    """Return when a body says that it was logged, in microseconds; ``None`` if it says no time."""
    found = -1 if kind == SEARCH else body.find(_LOGGED_AT)
    if found < 0:
        return None  # a search says when it was executed
    try:
        if kind in FREQUENT and body.find(_LOGGED_AT, found + 1) < 0:
            start = found + len(_LOGGED_AT)
            told = body[start : body.index('"', start)]
        else:
            told = json.loads(body).get("logged_at")
        return to_us(told) if isinstance(told, str) else None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def entries_of(records: pa.Table) -> Iterator[StoredEntry]:
    """Yield records as entries."""
    names = ("seq", "kind", "entry_id", "body", "signature", "leaf_hash", "opened")
    columns = [_plain(records[name]) for name in names]
    times = records["created_at"].cast(pa.int64()).to_pylist()
    for seq, kind, entry_id, body, signature, leaf, opened, at_us in zip(
        *columns, times, strict=True
    ):
        yield StoredEntry(
            seq, body or b"", signature, _text(kind), _text(entry_id), at_us, leaf or b"",
            gone=DROPPED if body is None else "", opened=opened, is_sealed=True,
        )  # fmt: skip


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values, texts as bytes: whoever changed a file may have left none."""
    is_text = pa.types.is_string(column.type)
    found: list[Any] = (column.cast(pa.binary()) if is_text else column).to_pylist()
    return found


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _wrong(records: pa.Table) -> str | None:
    """Return what is wrong with some records that neither their leaves nor the index tell."""
    kinds = pc.unique(records["kind"]).to_pylist()
    if kinds == [SEARCH] and records["logged_at"].null_count == records.num_rows:
        return None  # a search says when it was executed
    times = records["logged_at"].cast(pa.int64()).to_pylist()
    for entry, stated in zip(entries_of(records), times, strict=True):
        if entry.kind in {EVENT, *STAYING}:
            return f"has an entry {entry.seq} of the kind {entry.kind!r}"
        if entry.gone:
            continue
        try:
            told = logged_at(entry.kind, entry.body.decode())
        except (UnicodeDecodeError, LedgerProblem):
            continue  # which its leaf tells
        if told != stated:
            return f"has another time at which entry {entry.seq} was logged than its body"
    return None


RECORDS: Final = Form(
    whose="the ledger",
    rows="records",
    schema=RECORDS_SCHEMA,
    time="created_at",
    told="body",
    husk=frozenset({"seq", "kind", "created_at", "logged_at", "leaf_hash"}),
    group_rows=1024,
    postings=_postings,
    one_posting=False,
    segments=LEDGER_SEGMENTS,
    leaves=LEDGER_LEAVES,
    lock="records",
    is_of_reads=True,
    dictionaries=("kind",),
    statistics=("seq", "kind", "created_at"),
    encodings={
        "entry_id": "DELTA_BYTE_ARRAY",
        "signature": "DELTA_LENGTH_BYTE_ARRAY",
        "leaf_hash": "DELTA_LENGTH_BYTE_ARRAY",
    },
    level=1,  # what is in hexadecimal comes out smaller than at higher levels
    plain=frozenset({"signature", "leaf_hash"}),
    wrong=_wrong,
)
"""A segment of records."""
