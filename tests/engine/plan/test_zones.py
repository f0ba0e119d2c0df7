"""TIMESTAMPTZ is a moment in UTC, whatever zone it was written in, and equals its own copy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import affidavit


def test_a_moment_with_a_zone_is_kept_and_joined_as_that_moment(
    session: affidavit.Session,
) -> None:
    """A lake's TIMESTAMPTZ had no zone: what it held was taken for local time."""
    noon = pa.array([1719828000000000], pa.timestamp("us", "Europe/Berlin"))
    session.attach("berlin", pa.table({"id": [1], "moment": noon}))
    session.sql("CREATE TABLE kept (id INT, moment TIMESTAMPTZ)")
    session.sql("INSERT INTO kept SELECT * FROM berlin")
    session.sql("INSERT INTO kept VALUES (2, '2024-07-01 12:00:00+02:00'), (3, now())")
    assert session.sql("SELECT id, moment FROM kept WHERE id < 3 ORDER BY id").to_pylist() == [
        {"id": at, "moment": datetime(2024, 7, 1, 10, tzinfo=UTC)} for at in (1, 2)
    ]
    joined = "SELECT kept.id FROM berlin JOIN kept ON berlin.moment = kept.moment ORDER BY 1"
    assert [each["id"] for each in session.sql(joined).to_pylist()] == [1, 2]
    assert len(session.sql("SELECT 1 FROM kept WHERE moment <= now()").to_arrow()) == 3
