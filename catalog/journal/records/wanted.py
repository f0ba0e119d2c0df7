"""Which records are wanted, as conditions say it: what segments, row groups and rows may have."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import KIND as EVENT
from affidavit.catalog.journal.records.form import (
    FREQUENT,
    RECORDS_SCHEMA,
    hashes_of_ids,
    hashes_of_kinds,
)
from affidavit.catalog.journal.span import Span
from affidavit.catalog.ledger.entry import STAYING
from affidavit.catalog.sql.predicate import Compare, In

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.sql.predicate import Predicate

_COMPARE: Final = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions on records.

    Attributes:
        filters: All of them; ``None`` if there are none.
        span: Which numbers they leave.
        seqs: The few numbers that they leave, ascending; ``None`` if they are not few.
        hashes: What the index finds such records by; ``None`` if by nothing.
        is_none: Whether no record can be wanted.
    """

    filters: pc.Expression | None
    span: Span
    seqs: Sequence[int] | None
    hashes: Sequence[int] | None
    is_none: bool

    def may_be_in(self, segment: Segment) -> bool:
        """Return whether a segment can have some."""
        return self.span.has(segment)


def wanted(conditions: Sequence[Predicate]) -> Wanted:
    """Return what ``conditions``, which hold store values, say of records.

    Raises:
        TypeError: One of them is neither a comparison with a value nor a list of values.
    """
    values = {name: _values(conditions, name) for name in ("seq", "kind", "entry_id")}
    span = _span(conditions)
    kinds, ids, seqs = values["kind"], values["entry_id"], values["seq"]
    hashes: Sequence[int] | None = None
    if ids is not None:
        hashes = hashes_of_ids(map(str, ids))
    elif kinds is not None and not kinds & FREQUENT:
        hashes = hashes_of_kinds(map(str, kinds))
    none = any(found is not None and not found for found in values.values())
    none = none or (kinds is not None and kinds <= {EVENT, *STAYING}) or span.first >= span.end
    filters = None
    for each in () if none else conditions:
        made = _expression(each)
        filters = made if filters is None else filters & made
    listed = None if seqs is None else sorted(each for each in seqs if isinstance(each, int))
    return Wanted(filters, span, listed, hashes, none)


def _values(conditions: Sequence[Predicate], name: str) -> set[object] | None:
    """Return which values a column may have, where that is told."""
    found: set[object] | None = None
    for each in conditions:
        match each:
            case Compare("=", column, value) if column == name:
                allowed = {value}
            case In(column, values) if column == name:
                allowed = set(values)
            case _:
                continue
        found = allowed if found is None else found & allowed
    return found


def _span(conditions: Sequence[Predicate]) -> Span:
    """Return which numbers conditions leave."""
    first, end = 0, _LARGEST
    for each in conditions:
        match each:
            case Compare(op, "seq", int() as value):
                first = max(first, value + (op == ">")) if op in {">", ">=", "="} else first
                end = min(end, value + (op != "<")) if op in {"<", "<=", "="} else end
            case In("seq", values):
                numbers = [value for value in values if isinstance(value, int)]
                first = max([first, *([min(numbers)] if numbers else [])])
                end = min([end, *([max(numbers) + 1] if numbers else [0])])
    return Span(min(first, _LARGEST), min(end, _LARGEST))


def _expression(condition: Predicate) -> pc.Expression:
    match condition:
        case Compare(op, column, value):
            return _COMPARE[op](pc.field(column), _scalar(column, value))
        case In(column, values):
            kind = RECORDS_SCHEMA.field(column).type
            listed = pa.array(list(values), _plain(kind))
            return pc.field(column).isin(
                listed.view(kind) if pa.types.is_timestamp(kind) else listed
            )
    msg = f"records are found by values of their columns, not by {condition!r}"
    raise TypeError(msg)


def _scalar(column: str, value: object) -> pa.Scalar:
    kind = RECORDS_SCHEMA.field(column).type
    found = pa.scalar(value, _plain(kind))
    return found.cast(kind) if found.type != kind else found


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_timestamp(kind) else kind
