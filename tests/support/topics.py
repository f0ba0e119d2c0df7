"""A topic of three columns, and what is in it."""

from __future__ import annotations

import pyarrow as pa

SCHEMA = pa.schema([("id", pa.int64()), ("score", pa.float64()), ("tag", pa.string())])


class Clock:
    """The topics' clock, in seconds, as a test sets it."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def now_us(self) -> int:
        return int(self.now_s * 1_000_000)


def row(number: int) -> dict[str, object]:
    return {"id": number, "score": number / 10, "tag": "a"}


def ids(session, name: str = "t", **options) -> list[int]:
    return [
        each for d in session.topics.replay(name, **options) for each in d.data["id"].to_pylist()
    ]


def offsets(session, name: str = "t", **options) -> list[int]:
    return [delivery.offset for delivery in session.topics.replay(name, **options)]
