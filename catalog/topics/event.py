"""An event's rows: whatever a publisher holds, with exactly the topic's columns and types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.topics.log import EVENT_BYTES_MAX
from affidavit.catalog.values.fit import conform
from affidavit.catalog.values.ingest import new_rows, schema_rows
from affidavit.catalog.values.python.rows import rows_in
from affidavit.errors import InvalidEventError, SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.topics.topic import Topic

QUICK_ROWS_MAX: Final = 64
"""Up to so many rows are made an event while the store is locked: a snapshot would take longer."""


def is_quick(data: object) -> bool:
    """Return whether ``data`` is a few rows that are there already, made an event at once."""
    if isinstance(data, pa.RecordBatch | pa.Table):
        return bool(data.num_rows <= QUICK_ROWS_MAX)
    rows = rows_in(data)
    return rows is not None and len(rows) <= QUICK_ROWS_MAX


def event_rows(data: object, topic: Topic) -> pa.RecordBatch:
    """Return an event's rows with exactly the topic's columns and types.

    Raises:
        SchemaMismatchError: They do not fit; the column is named.
        InvalidEventError: There are none.
    """
    whole = _whole(data, topic)
    for each in topic.schema:
        if not each.nullable and whole.column(each.name).null_count:
            msg = f"column {each.name!r} of topic {topic.name!r} is NOT NULL and the data has NULL"
            raise SchemaMismatchError(msg)
    return whole


def _whole(data: object, topic: Topic) -> pa.RecordBatch:
    """Return an event's rows as one batch."""
    if isinstance(data, pa.RecordBatch) and data.num_rows and data.schema.equals(topic.schema):
        return data
    rows = rows_in(data)
    if rows is not None:
        batches = [schema_rows(rows, topic.schema, table=topic.name, optional=(), kind="topic")]
    else:
        batches = list(_conforming(data, topic))
    batches = [batch for batch in batches if batch.num_rows]
    if not batches:
        msg = f"an event of topic {topic.name!r} needs at least one row"
        raise InvalidEventError(msg)
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _conforming(data: object, topic: Topic) -> Iterator[pa.RecordBatch]:
    """Yield the batches of ``data``, as long as an event can hold them."""
    left = EVENT_BYTES_MAX
    try:
        for batch in new_rows(data, topic.schema):
            yield conform(batch, topic.schema, table=topic.name, kind="topic")
            if isinstance(data, pa.RecordBatch | pa.Table):
                continue  # it is in memory already, and counting takes long
            left -= batch.nbytes
            if left < 0:
                break  # what there is already is refused for its size
    except pa.ArrowException as error:
        reason = str(error).strip().rpartition("\n")[2]
        msg = f"the data for topic {topic.name!r} cannot be read: {reason}"
        raise SchemaMismatchError(msg) from error
