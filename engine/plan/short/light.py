"""Which plans end at once, so that nobody has to leave them: they run on the thread that asks.

To be answered by another thread takes two hand-overs a statement, 100-150 us: a fifth of ``SELECT
1``, and more of it on a busy machine. What is here is a plan without anything that makes rows of
fewer: no join, function, subquery or cube, over nothing but a few rows of the lake's mutable
tables, which may be counted, summed and sorted. What cannot be told is not here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import MUTABLE
from affidavit.engine.statement.statement import DML_SCHEMA

if TYPE_CHECKING:
    from affidavit.engine.scans.snapshot import Snapshot

ROWS_MAX: Final = 100_000
"""How many rows a table may have that is read on the thread that asks."""

PLAN_LENGTH_MAX: Final = 4_000

_LINE: Final = re.compile(
    r" *(?:(?:Projection|Filter|Values|Limit|Sort|SubqueryAlias): .*|EmptyRelation: rows=[01]|"
    r"Distinct:|Aggregate: (?!.*(?:CUBE|ROLLUP|GROUPING SETS)).*|TableScan: (?P<table>.*))"
)
"""A line of a plan, as DataFusion 54 prints it: a node, or the rest of a text that has lines."""

_CALLED: Final = re.compile(r"(\w+)\(")
_VALUES: Final = frozenset(
    {
        "Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64",
        "Float32", "Float64", "Utf8", "Utf8View", "LargeUtf8", "Decimal128", "Date32", "CAST",
    }
)  # fmt: skip
"""What DataFusion prints before a bracket that calls no function."""

_AGGREGATES: Final = frozenset({"avg", "count", "max", "min", "sum"})
"""What gives one small value for many, and makes no other of them meanwhile."""

_LIGHT_CALLS: Final = _VALUES | _AGGREGATES | {"greatest"}
"""With the one function that a checked sum is written with (`statement/mended/arithmetic.py`)."""


def is_light(text: str, snapshot: Snapshot) -> bool:
    """Return whether a plan at a snapshot, given as its text, is known to end at once."""
    tables = _few_rows(snapshot)
    if tables is None:
        return False
    if len(text) > PLAN_LENGTH_MAX or not _LIGHT_CALLS.issuperset(_CALLED.findall(text)):
        return False
    for line in text.split("\n"):
        found = _LINE.fullmatch(line)
        if found is None or (found["table"] is not None and found["table"] not in tables):
            return False
    return True


def _few_rows(snapshot: Snapshot) -> set[str] | None:
    """Return the tables that a plan may read, if each has few rows; ``None`` if one may not."""
    if snapshot.others or snapshot.catalog.at is not None:
        return None
    known = snapshot.known
    if any(each.kind != MUTABLE.name or each.row_count > ROWS_MAX for each in known.values()):
        return None
    for key in (*snapshot.scans, *snapshot.prepared):
        if key not in known and key[0] != DML_SCHEMA:
            return None
    named = {f"{DML_SCHEMA}.{name}" for _, name in snapshot.prepared}
    for schema, name in known:
        named |= {f"lake.{schema}.{name}", f"{schema}.{name}", name}
    return named
