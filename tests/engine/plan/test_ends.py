"""Tables that are read from an end on give what sorting and cutting all of them gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import affidavit
from affidavit.catalog.sql.scan import End, ScanDataset
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYS = {
    "journal": ("seq",),
    "system.ledger": ("seq",),
    "audit.searches": ("seq",),
    "audit.results": ("seq", "rank"),
    "audit.reads": ("seq",),
    "audit.read_rows": ("seq", "row_id"),
    "audit.activity": ("seq",),
    'topics."news"': ("_offset", "_row_index"),
}
"""Tables that are kept in the order of a number, and what puts their rows in one order."""

BATCH = 1_100
"""More than a row group has of records, and a page of few."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a lake with events, searches, reads and a topic, some of each sealed and some not."""
    lake = tmp_path_factory.mktemp("ends") / "lake"
    rows = [{"id": at, "name": f"name {at}"} for at in range(BATCH)]
    with affidavit.connect(lake, durability="normal", audit="rows") as session:
        session.create_table("t", rows, primary_key="id")
        session.topics.register("news", pa.schema([("n", pa.int64())]))
        for part, many in enumerate((BATCH, BATCH, 5)):
            session.sql("UPDATE t SET name = $n WHERE id < $many", n=f"again {part}", many=many)
            session.audit.log([_record(part, at) for at in range(many)])
            session.sql("SELECT name FROM t WHERE id < 40").to_arrow()
            for at in range(30):
                session.topics.publish("news", {"n": list(range(at % 3 + 1))})
            if part < 2:
                journal = session._catalog().journal
                journal.sealing.flush()
                journal.records.sealing.flush()
        yield lake


def _record(part: int, at: int) -> affidavit.SearchRecord:
    return affidavit.SearchRecord(
        model_id=f"m{at % 5}", model_version="1", query_lineage={"part": part},
        top_k_result_ids=[f"{at}", f"{at + 1}"], retrieval_scores=[0.5, 0.25],
    )  # fmt: skip


@pytest.fixture(scope="module")
def session(lake: Path) -> Iterator[affidavit.Session]:
    """Open a session that leaves nothing on record itself."""
    with affidavit.connect(lake, audit="off") as session:
        yield session


@pytest.fixture(scope="module")
def held(session: affidavit.Session) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every table, in its order."""
    return {
        table: session.sql(f"SELECT * FROM {table}")
        .to_arrow()
        .sort_by([(name, "ascending") for name in key])
        .to_pylist()
        for table, key in KEYS.items()
    }


@settings(max_examples=25)
@given(data=st.data())
def test_the_end_of_a_table_is_what_sorting_all_of_it_gives(
    session: affidavit.Session, held: dict[str, list[dict[str, Any]]], data: st.DataObject
) -> None:
    """Newest or oldest first, of a stretch or of all, with an offset or without one."""
    table = data.draw(st.sampled_from(sorted(KEYS)))
    order, *rest = KEYS[table]
    rows = held[table]
    numbers = st.sampled_from([-1, 0, 3, *(row[order] for row in rows[:: len(rows) // 20 or 1])])
    low, high = data.draw(numbers), data.draw(numbers)
    where, kept = data.draw(
        st.sampled_from(
            [
                ("", rows),
                (f"WHERE {order} < {high}", [r for r in rows if r[order] < high]),
                (f"WHERE {order} > {low}", [r for r in rows if r[order] > low]),
                (f"WHERE {order} % 7 = 2", [r for r in rows if r[order] % 7 == 2]),
                (f"WHERE {order} IN ({low}, {high})", [r for r in rows if r[order] in (low, high)]),
            ]
        )
    )
    limit = data.draw(st.sampled_from([0, 1, 3, 10, 1_500, 5_000]))
    offset = data.draw(st.sampled_from([0, 2]))
    is_last = data.draw(st.booleans())
    way = "DESC" if is_last else "ASC"
    ordered = ", ".join(f'"{name}" {way}' for name in (order, *rest))
    text = f"SELECT * FROM {table} {where} ORDER BY {ordered} LIMIT {limit} OFFSET {offset}"
    found = session.sql(text).to_arrow()
    assert found.to_pylist() == (kept[::-1] if is_last else kept)[offset : offset + limit]
    assert found.schema == session.sql(f"SELECT * FROM {table}").schema
    counted = session.sql(f"SELECT count(*) AS n FROM {table} {where}").to_pylist()
    assert counted == [{"n": len(kept)}]
    ends = session.sql(f"SELECT max({order}) AS last FROM {table} {where}").to_pylist()
    assert ends == [{"last": kept[-1][order] if kept else None}]


def test_events_of_an_entity_come_from_the_end_too(
    session: affidavit.Session, held: dict[str, list[dict[str, Any]]]
) -> None:
    """The index finds them, oldest first."""
    text = "SELECT * FROM journal WHERE entity_id = '3' ORDER BY seq DESC LIMIT 2"
    about = [row for row in held["journal"] if row["entity_id"] == "3"]
    assert session.sql(text).to_pylist() == about[:-3:-1]
    rows = [row for row in held["audit.results"] if row["row_id"] == "3"]
    text = "SELECT * FROM audit.results WHERE row_id = '3' ORDER BY seq DESC, rank DESC LIMIT 3"
    assert session.sql(text).to_pylist() == rows[:-4:-1]


def test_entries_of_an_id_or_a_time_are_those_that_reading_all_finds(
    session: affidavit.Session, held: dict[str, list[dict[str, Any]]]
) -> None:
    """Of events and of records, sealed ones and others."""
    rows = held["system.ledger"]
    for row in (rows[0], rows[1], rows[len(rows) // 2], *rows[-1:-200:-90]):
        given = {"e": row["entry_id"], "t": row["created_at"], "s": row["seq"]}
        same = [each for each in rows if each["created_at"] == row["created_at"]]
        for where, wanted in (
            ("entry_id = $e", [row]),
            ("entry_id IN ($e, 'evt-1-3', 'none') AND seq <= $s", [row]),
            ("entry_id = $e AND seq < $s", []),
            ("created_at = $t", same),
            ("created_at >= $t AND created_at <= $t AND seq >= $s", same[same.index(row) :]),
            ("created_at = $t AND entry_id <> $e", [each for each in same if each != row]),
            ("created_at < $t", [r for r in rows if r["created_at"] < row["created_at"]]),
        ):
            used = {name: value for name, value in given.items() if f"${name}" in where}
            text = f"SELECT * FROM system.ledger WHERE {where} ORDER BY seq"
            assert session.sql(text, **used).to_pylist() == wanted, where
            last = session.sql(f"{text} DESC LIMIT 2", **used).to_pylist()
            assert last == wanted[::-1][:2], where


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("SELECT * FROM journal ORDER BY seq DESC LIMIT 3", End(3, is_last=True)),
        ("SELECT action FROM system.journal ORDER BY seq LIMIT 3", End(3, is_last=False)),
        ("SELECT * FROM journal WHERE seq < 9 ORDER BY seq DESC LIMIT 3 OFFSET 2", End(5, True)),
        ("SELECT s.seq AS n FROM audit.searches s ORDER BY n DESC LIMIT 3", End(3, is_last=True)),
        ("SELECT * FROM audit.searches LIMIT 3", End(3, is_last=False)),
        ("SELECT max(seq) FROM system.ledger", End(1, is_last=True)),
        ("SELECT min(seq) + 1 AS n FROM audit.reads", End(1, is_last=False)),
        ('SELECT * FROM topics."news" ORDER BY _offset DESC LIMIT 1', End(1, is_last=True)),
        (
            "SELECT * FROM (SELECT * FROM journal ORDER BY seq DESC LIMIT 3) x, (VALUES (1)) y",
            End(3, True),
        ),
        ("SELECT * FROM journal ORDER BY seq DESC", None),
        ("SELECT * FROM journal ORDER BY action, seq DESC LIMIT 3", None),
        ("SELECT -seq AS seq FROM journal ORDER BY seq DESC LIMIT 3", None),
        ("SELECT * FROM journal WHERE seq % 2 = 0 ORDER BY seq DESC LIMIT 3", None),
        ("SELECT action FROM journal GROUP BY action ORDER BY action LIMIT 3", None),
        ("SELECT max(seq) FILTER (WHERE action = 'x') AS n FROM journal", None),
        ("SELECT max(seq), max(action) FROM journal", None),
        ("SELECT max(seq) FROM journal GROUP BY action", None),
        ("SELECT * FROM journal UNION ALL SELECT * FROM journal ORDER BY seq DESC LIMIT 3", None),
        ("SELECT * FROM journal a JOIN journal b USING (seq) ORDER BY seq DESC LIMIT 3", None),
        ("SELECT seq FROM journal WHERE seq IN (SELECT seq FROM journal LIMIT 3) LIMIT 4", None),
        ("SELECT seq, sum(seq) OVER () AS s FROM journal ORDER BY seq DESC LIMIT 3", None),
        ("SELECT DISTINCT seq FROM audit.results ORDER BY seq DESC LIMIT 3", None),
    ],
)
def test_a_table_is_told_of_an_end_only_where_nothing_else_is_wanted_of_it(
    session: affidavit.Session, monkeypatch: pytest.MonkeyPatch, text: str, end: End | None
) -> None:
    """What stands between the table and the cut may leave rows out, or make more of them."""
    told: list[End | None] = []
    monkeypatch.setattr(ScanDataset, "want", lambda _, wanted: told.append(wanted))
    session.sql(text).to_arrow()
    assert [each for each in told if each is not None] == ([] if end is None else [end])


def test_a_count_misses_a_segment_that_is_gone(tmp_path: Path) -> None:
    """It reads none of the rows, and still says nothing of files that are not there."""
    with affidavit.connect(tmp_path / "lake", durability="normal") as session:
        session.create_table("t", [{"id": 1}], primary_key="id")
        session.audit.log([_record(0, 1)])
        journal = session._catalog().journal
        for sealing, folder, tables in (
            (journal.sealing, "journal", ("journal", "system.ledger")),
            (journal.records.sealing, "records", ("audit.searches", "system.ledger")),
        ):
            sealing.flush()
            for table in tables:
                assert session.sql(f"SELECT count(*) AS n FROM {table}").to_pylist()[0]["n"]
            for path in (tmp_path / "lake" / folder).rglob("*.parquet"):
                path.rename(path.with_suffix(".away"))
            for table in tables:
                with pytest.raises(LedgerCorruptError, match="missing"):
                    session.sql(f"SELECT count(*) FROM {table}").to_arrow()
            for path in (tmp_path / "lake" / folder).rglob("*.away"):
                path.rename(path.with_suffix(".parquet"))
