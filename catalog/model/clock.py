"""The clock: the one place that reads what time it is, and the ids that tell when they were made.

How long something takes is measured with the monotonic clock, where it is done. What decides takes
the time as an argument.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from time import time_ns


def now_us() -> int:
    """Return the time in microseconds since 1970."""
    return time_ns() // 1000


def as_dated() -> datetime:
    """Return the time by which libraries date what they write, in UTC."""
    return datetime.now(UTC)


def uuid7(at_us: int) -> str:
    """Return a UUIDv7 (RFC 9562 section 5.7) of that time, its microseconds included.

    What was before 1970 has the id of 1970's first moment: there is none below it.
    """
    milliseconds, rest = divmod(max(at_us, 0), 1000)
    fraction = rest * 4096 // 1000
    tail = 2 << 62 | secrets.randbits(62)
    text = f"{milliseconds:012x}7{fraction:03x}{tail:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
