"""Where a subscription begins: at an offset, a time, the oldest event or the next."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.catalog.topics.log import end_offset, first_offset, offset_at
from affidavit.catalog.values.canonical import us_of
from affidavit.errors import InvalidQueryError, OffsetEvictedError

if TYPE_CHECKING:
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.topics.topic import Topic

NOW: Final = "now"
BEGINNING: Final = "beginning"
"""Where a subscription may begin besides an offset and a time."""

Start: TypeAlias = int | str | datetime
"""What a caller says: an offset, ``"beginning"``, ``"now"``, or a time."""


def start_offset(reader: Reader, topic: Topic, given: Start) -> int:
    """Return the offset of the first event to read.

    Raises:
        OffsetEvictedError: The event was let go by the topic's retention.
        InvalidQueryError: It is beyond the topic's end, or what is given is no place.
    """
    if given == BEGINNING:
        return first_offset(reader, topic)
    end = end_offset(reader, topic)
    if given == NOW:
        return end
    if isinstance(given, datetime):
        try:
            moment_us = us_of(given if given.tzinfo else given.astimezone())
        except (OverflowError, ValueError) as error:  # near the ends of what datetime can say
            msg = f"from_offset is no time that there is: {given!r}"
            raise InvalidQueryError(msg) from error
        return offset_at(reader, topic, moment_us)
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        msg = f"from_offset must be an offset, a datetime, 'beginning' or 'now', got {given!r}"
        raise InvalidQueryError(msg)
    if given > end:
        msg = f"offset {given:,} is beyond topic {topic.name!r}: its next event will be {end:,}"
        raise InvalidQueryError(msg)
    oldest = first_offset(reader, topic)
    if given < oldest:
        raise OffsetEvictedError(topic.name, given, first_offset=oldest)
    return given
