"""Rows of a RIGHT JOIN are filtered by the column that the condition names."""

from __future__ import annotations

import itertools
import sqlite3
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from datafusion import SessionContext

import affidavit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEFT = pa.table({"j": [1, 2, 3, 4, None], "v": pa.array([None, 5, -7, 2, 9], pa.int64())})
RIGHT = pa.table({
    "j": [3, 4, 5, None, 2] * 40, "v": pa.array([*range(100), *[None] * 100], pa.int64()),
})  # fmt: skip
SOME = "(SELECT * FROM r WHERE v + 0 >= 0) AS q"
WRONG = f"SELECT q.j, q.v, p.v AS w FROM l AS p RIGHT JOIN {SOME} ON p.j = q.j WHERE p.v IS NULL"
CONDITIONS = (
    "p.v IS NULL", "q.v IS NULL", "p.v + q.v > 3", "coalesce(p.v, 0) + coalesce(q.v, 1) > 3",
    "p.v IS NULL OR q.v > 3", "p.v IS DISTINCT FROM q.v", "p.v > 3 AND q.v < 80", "p.j IS NULL",
    "coalesce(p.v, 1) = 1 AND q.j IS NOT NULL",
)  # fmt: skip


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    folder: Path = tmp_path_factory.mktemp("rights")
    with affidavit.connect(folder / "lake") as opened:
        opened.create_table("l", LEFT)
        opened.create_table("r", RIGHT)
        opened.sql(
            "CREATE VIEW joined AS SELECT q.j, q.v AS qv, p.v FROM l AS p RIGHT JOIN "
            f"{SOME} ON p.j = q.j"
        )
        yield opened


def by_sqlite(kind: str, condition: str) -> int:
    """Return how many rows a join has, by SQLite."""
    with sqlite3.connect(":memory:") as peer:
        for name, table in (("l", LEFT), ("r", RIGHT)):
            peer.execute(f"CREATE TABLE {name} (j INTEGER, v INTEGER)")
            peer.executemany(
                f"INSERT INTO {name} VALUES (?, ?)",
                zip(*table.to_pydict().values(), strict=True),
            )
        asked = f"SELECT count(*) FROM l AS p {kind} JOIN {SOME} ON p.j = q.j WHERE {condition}"
        (found,) = peer.execute(asked).fetchone()
    peer.close()
    return int(found)


def test_it_can_go_once_datafusion_finds_the_right_column() -> None:
    peer = SessionContext()
    for name, table in (("l", LEFT), ("r", RIGHT)):
        peer.register_record_batches(name, [table.to_batches()])
    assert peer.sql(WRONG).to_arrow_table().num_rows == 0


@pytest.mark.parametrize("kind", ["RIGHT", "FULL", "LEFT", "INNER"])
def test_p11_a_join_s_rows_are_filtered_by_their_own_columns(
    session: affidavit.Session, kind: str
) -> None:
    shown = "p.j AS pj, p.v AS pv, q.j AS qj, q.v AS qv"
    for condition in CONDITIONS:
        joined = f"FROM l AS p {kind} JOIN {SOME} ON p.j = q.j WHERE {condition}"
        wanted = by_sqlite(kind, condition)
        assert session.sql(f"SELECT {shown} {joined}").to_arrow().num_rows == wanted, condition
        assert session.sql(f"SELECT count(*) AS n {joined}").to_pylist() == [{"n": wanted}]


def test_p11_views_parameters_and_queries_within_are_so_too(session: affidavit.Session) -> None:
    wanted = by_sqlite("RIGHT", "p.v IS NULL")
    for text in (
        "SELECT count(*) AS n FROM joined WHERE v IS NULL",
        "SELECT (SELECT count(*) FROM joined WHERE v IS NULL) AS n",
        "SELECT count(*) AS n FROM (SELECT * FROM joined WHERE coalesce(v, $none) = $none) q",
    ):
        params = {"none": -12345} if "$" in text else {}
        assert session.sql(text, params).to_pylist() == [{"n": wanted}], text


def test_p11_what_a_join_above_finds_out_leaves_out_no_row(session: affidavit.Session) -> None:
    inner = f"SELECT q.j, q.v AS qv, p.v FROM l AS p RIGHT JOIN {SOME} ON p.j = q.j"
    for order in ("v DESC NULLS LAST, qv", "v, qv DESC"):
        first = session.sql(f"SELECT v, qv FROM ({inner}) t ORDER BY {order} LIMIT 5").to_pylist()
        whole = session.sql(f"SELECT v, qv FROM ({inner}) t ORDER BY {order}").to_pylist()
        assert first == whole[:5]
    found = session.sql(f"SELECT t.v FROM l AS m JOIN ({inner}) t ON m.v = t.v").to_pylist()
    values = [row["v"] for row in session.sql(inner).to_pylist()]
    mine = [value for value in LEFT["v"].to_pylist() if value is not None]
    assert len(found) == sum(a == b for a, b in itertools.product(values, mine))
