"""What a topic is registered with, checked: its metadata, and how long its events are kept."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from affidavit.catalog.values.durations import is_seconds
from affidavit.errors import InvalidQueryError, SchemaConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from affidavit.catalog.topics.topic import Topic

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | float | bool | None"
"""What JSON holds."""

METADATA_BYTES_MAX: Final = 65_536
RETAIN_EVENTS_MAX: Final = 10**15


def checked_metadata(metadata: Mapping[str, Json] | None) -> dict[str, Any]:
    """Return what is to be said of a topic, as it will be read again.

    Raises:
        InvalidQueryError: JSON does not hold it, or it is too long.
    """
    try:
        text = json.dumps(dict(metadata or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"metadata must be a dict of what JSON holds: {error}"
        raise InvalidQueryError(msg) from error
    if len(text) > METADATA_BYTES_MAX:
        msg = f"metadata has {len(text):,} bytes as JSON, and {METADATA_BYTES_MAX:,} are allowed"
        raise InvalidQueryError(msg)
    told: dict[str, Any] = json.loads(text)
    return told


def checked_retention(
    events: int | None, duration: timedelta | float | None
) -> tuple[int | None, int | None]:
    """Return how many events a topic keeps, and for how many microseconds; ``None`` for no limit.

    Raises:
        InvalidQueryError: A limit is none.
    """
    if events is not None and (
        isinstance(events, bool)
        or not isinstance(events, int)
        or not 1 <= events <= RETAIN_EVENTS_MAX
    ):
        msg = (
            f"retain_events must be a number of events from 1 to {RETAIN_EVENTS_MAX:,}, got "
            f"{events!r}"
        )
        raise InvalidQueryError(msg)
    if duration is None:
        return events, None
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not is_seconds(seconds, least=1e-6):
        msg = f"retain_for must be a timedelta or seconds above 0, got {duration!r}"
        raise InvalidQueryError(msg)
    return events, int(seconds * 1_000_000)


def check_same_schema(topic: Topic, wanted: pa.Schema) -> None:
    """Raise SchemaConflictError, which says where they differ, unless a topic has that schema."""
    if topic.schema.equals(wanted):
        return
    for has, other in zip(topic.schema, wanted, strict=False):
        if not has.equals(other):
            raise SchemaConflictError(
                f"topic {topic.name!r} has {_shown(has)} where {_shown(other)} was asked for"
            )
    raise SchemaConflictError(
        f"topic {topic.name!r} has the columns {topic.schema.names}, and {wanted.names} were "
        "asked for"
    )


def _shown(column: pa.Field) -> str:
    return f"column {column.name!r} ({column.type}{'' if column.nullable else ' NOT NULL'})"
