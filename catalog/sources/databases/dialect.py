"""Filters as a database's own SQL, as far as it and DataFusion mean the same.

Rules:
    - What is sent selects every row that DataFusion would, and perhaps others: all of the filter is
      asked again here. So a filter may be sent where the database selects more, and must not be
      where it could select less.
    - Under NOT that turns around, so only what both select exactly is sent there.
    - What is not listed is not sent.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql import predicate as p
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.catalog.values.types import is_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.sources.databases.tops import Top
    from affidavit.catalog.sql.predicate import Predicate

PADDED: Final = pa.large_string()
"""What a text is compared as that trailing spaces are no part of: by ``=`` alone, which lets more
through, since they are none of a literal either."""

NARROW: Final = pa.string_view()
"""What a text is compared as that is written in other characters than Unicode's there: a literal
that they have not would be an error."""

IN_VALUES_MAX: Final = 5000
IN_FEW: Final = 16
"""So many values are written as a list of SQL's."""

_WIDE: Final = 2**63
_YEAR_MIN: Final = 1000  # before it strftime writes fewer digits
_UUID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIALECT_OPS: Final = {"!=": "<>"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A condition as SQL.

    Attributes:
        sql: The text.
        exact: Whether it selects no row that DataFusion would not.
    """

    sql: str
    exact: bool


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a database means by its SQL, where that is what DataFusion means.

    Attributes:
        name: The database's.
        booleans: Whether it has a type for truth.
        dates: Whether dates and timestamps are types that it compares as such.
        floats: What a float stands in, written with an exponent; empty if floats are not sent.
        nan: Whether it has NaN, and holds it equal to itself and greater than any number.
        decimals: Whether it compares decimals exactly.
        nulls: Whether only that is NULL here which is NULL there.
        zoned: What a moment in UTC stands in.
        text_order: What a column stands in to have it ordered by code points; empty where nothing
            does that.
        quote: What an identifier stands between.
        null_order: Whether it has NULLS FIRST and NULLS LAST.
        typed: Whether a column has values of its type alone.
        listed: How a column is one of many integers, which are written behind one another: a list
            of as many expressions takes the database longer to read than to answer.
    """

    name: str
    booleans: bool = True
    dates: bool = True
    floats: str = ""
    nan: bool = True
    decimals: bool = True
    nulls: bool = True
    zoned: str = "TIMESTAMP WITH TIME ZONE '{}+00'"
    text_order: str = ""
    quote: str = '"'
    null_order: bool = True
    typed: bool = True
    listed: str = ""

    def quoted(self, name: str) -> str:
        """Return a name as an identifier."""
        return self.quote + name.replace(self.quote, self.quote * 2) + self.quote

    def conditions(
        self, predicate: Predicate | None, types: Mapping[str, pa.DataType]
    ) -> list[str]:
        """Return the parts of a filter that can be sent; all of them hold for what is wanted."""
        parts = p.conjuncts(predicate) if predicate is not None else ()
        found = [self.condition(part, types) for part in parts]
        return [each.sql for each in found if each is not None]

    def condition(self, predicate: Predicate, types: Mapping[str, pa.DataType]) -> Sent | None:
        """Return a condition as SQL; ``None`` if it cannot be sent."""
        match predicate:
            case p.And(operands):
                return self._all(operands, types)
            case p.Or(operands):
                found = [self.condition(each, types) for each in operands]
                sent = [each for each in found if each is not None]
                if len(sent) < len(found):
                    return None
                text = " OR ".join(f"({each.sql})" for each in sent)
                return Sent(text, all(each.exact for each in sent))
            case p.Not(operand):
                inner = self.condition(operand, types)
                if inner is None or not inner.exact:
                    return None
                return Sent(f"NOT ({inner.sql})", exact=True)
            case p.IsNull(column) if self.nulls and column in types:
                return Sent(f"{self.quoted(column)} IS NULL", exact=True)
            case p.IsTrue(column) if self.booleans and column in types:
                return Sent(self.quoted(column), exact=True)
            case p.Compare(op, column, value) if column in types:
                return self._compare(op, column, types[column], value)
            case p.In(column, values, False) if column in types:
                return self._in(column, types[column], values)
        return None

    def is_exact(self, predicate: Predicate | None, types: Mapping[str, pa.DataType]) -> bool:
        """Return whether all of a filter can be sent, and then selects the same rows there."""
        if predicate is None:
            return True
        sent = self.condition(predicate, types)
        return sent is not None and sent.exact

    def top(self, top: Top, types: Mapping[str, pa.DataType]) -> tuple[str, str] | None:
        """Return a condition and the SQL for the first rows; ``None`` if their order is another."""
        keys: list[str] = []
        for each in top.order:
            value = self._ordered(each.column, types)
            if value is None:
                return None
            way = "DESC" if each.descending else "ASC"
            if each.column == top.present:
                keys.append(f"{value} {way}")
            elif self.null_order:
                keys.append(f"{value} {way} NULLS {'FIRST' if each.nulls_first else 'LAST'}")
            else:
                null = "IS NOT NULL" if each.nulls_first else "IS NULL"
                keys += [f"{self.quoted(each.column)} {null}", f"{value} {way}"]
        order = f"ORDER BY {', '.join(keys)} " if keys else ""
        condition = f"{self.quoted(top.present)} IS NOT NULL" if top.present is not None else ""
        return condition, f"{order}LIMIT {top.rows:d}"

    def _ordered(self, column: str, types: Mapping[str, pa.DataType]) -> str | None:
        """Return what orders a column there as DataFusion does here."""
        name, kind = self.quoted(column), types.get(column)
        if kind is None:
            return None
        if is_text(kind):
            return self.text_order.format(name) if self.text_order else None
        moments = self.dates and (pt.is_date32(kind) or pt.is_timestamp(kind))
        plain = pt.is_integer(kind) or (pt.is_decimal(kind) and self.decimals) or moments
        return name if plain else None

    def _all(
        self, operands: tuple[Predicate, ...], types: Mapping[str, pa.DataType]
    ) -> Sent | None:
        found = [self.condition(each, types) for each in operands]
        sent = [each for each in found if each is not None]
        if not sent:
            return None
        whole = len(sent) == len(found) and all(each.exact for each in sent)
        return Sent(" AND ".join(f"({each.sql})" for each in sent), whole)

    def among(self, column: str, integers: Sequence[int]) -> str:
        """Return that a column of integers is one of some, as SQL; empty if they are too many."""
        if not integers:
            return "1 = 0"
        name, shown = self.quoted(column), ",".join(map(str, integers))
        within = min(integers) >= -_WIDE and max(integers) < _WIDE
        if self.listed and len(integers) > IN_FEW and within:
            return self.listed.format(name, shown)
        return f"{name} IN ({shown})" if len(integers) <= IN_VALUES_MAX else ""

    def _in(self, column: str, kind: pa.DataType, values: Sequence[object]) -> Sent | None:
        if pt.is_integer(kind) and len(values) > IN_FEW:
            plain = [_plain(each) for each in values]
            whole = [each for each in plain if isinstance(each, int) and not isinstance(each, bool)]
            text = self.among(column, whole) if len(whole) == len(plain) else ""
            return Sent(text, exact=True) if text else None
        if len(values) > IN_VALUES_MAX:
            return None
        found = [self._compare("=", column, kind, value) for value in values]
        sent = [each for each in found if each is not None]
        if len(sent) < len(found) or not sent:
            return None
        start, is_exact = f"{self.quoted(column)} = ", all(each.exact for each in sent)
        if all(each.sql.startswith(start) and " OR " not in each.sql for each in sent):
            listed = ", ".join(each.sql.removeprefix(start) for each in sent)
            return Sent(f"{self.quoted(column)} IN ({listed})", is_exact)
        return Sent(" OR ".join(f"({each.sql})" for each in sent), is_exact)

    def _compare(self, op: str, column: str, kind: pa.DataType, value: object) -> Sent | None:
        name, sign = self.quoted(column), _DIALECT_OPS.get(op, op)
        plain = _plain(value)
        if plain is None:
            return None
        if kind == pa.uuid():  # text here; its digits are in the order of its bytes
            is_one = isinstance(plain, str) and _UUID.fullmatch(plain)
            return Sent(f"{name} {sign} CAST('{plain}' AS UUID)", exact=True) if is_one else None
        if pt.is_dictionary(kind):  # an enum: as text there too, since it need not have the word
            named = f"CAST({name} AS VARCHAR)"
            return self._compare_text(named, op, plain) if isinstance(plain, str) else None
        if pt.is_integer(kind) and isinstance(plain, int) and not isinstance(plain, bool):
            return Sent(f"{name} {sign} {plain}", exact=True)
        if pt.is_boolean(kind) and isinstance(plain, bool) and self.booleans and op in {"=", "!="}:
            return Sent(f"{name} {sign} {'TRUE' if plain else 'FALSE'}", exact=True)
        if pt.is_floating(kind) and isinstance(plain, float):
            return self._compare_float(name, op, plain)
        if pt.is_decimal(kind) and isinstance(plain, Decimal) and self.decimals:
            return Sent(f"{name} {sign} {plain:f}", exact=True)
        if isinstance(plain, str) and is_text(kind):
            if kind == NARROW and op == "=" and not plain.isascii():
                name = self.text_order.format(name)
            return None if kind == PADDED and op != "=" else self._compare_text(name, op, plain)
        if self.dates and (pt.is_date32(kind) or pt.is_timestamp(kind)):
            literal = self.moment(kind, plain)
            return None if literal is None else Sent(f"{name} {sign} {literal}", exact=True)
        return None

    def _compare_float(self, name: str, op: str, value: float) -> Sent | None:
        """Compare as IEEE 754 totalOrder does, but for zeros and NaN, which are not sent."""
        if not self.floats or not math.isfinite(value) or value == 0 or op == "!=":
            return None
        shown = repr(value)
        # a bare 0.1 is a decimal in SQL, which need not become the nearest float
        literal = self.floats.format(shown if "e" in shown else f"{shown}e0")
        text = f"{name} {op} {literal}"
        if self.nan and op in {"<", "<="}:  # a NaN with a sign is the least number of all
            text = f"{text} OR {name} = {self.floats.format('NaN')}"
        return Sent(text, exact=False)

    def _compare_text(self, name: str, op: str, value: str) -> Sent | None:
        """Compare bytes, where the database can; equal bytes are equal in every collation."""
        if "\x00" in value or "\\" in value:
            return None
        literal = quoted_text(value)
        if op == "=":
            return Sent(f"{name} = {literal}", exact=False)
        if op == "!=" or not self.text_order:
            return None
        return Sent(f"{self.text_order.format(name)} {op} {literal}", exact=False)

    def moment(self, kind: pa.DataType, value: object) -> str | None:
        """Return a date or time as a literal; ``None`` outside of the years that all can write."""
        if isinstance(value, datetime) and pt.is_timestamp(kind) and kind.unit == "us":
            moment = value if kind.tz is None else value.astimezone(UTC)
            shown = f"{moment:%Y-%m-%d %H:%M:%S.%f}"
            literal = f"TIMESTAMP '{shown}'" if kind.tz is None else self.zoned.format(shown)
            return literal if moment.year >= _YEAR_MIN else None
        if isinstance(value, date) and not isinstance(value, datetime) and pt.is_date32(kind):
            return f"DATE '{value:%Y-%m-%d}'" if value.year >= _YEAR_MIN else None
        return None


def _plain(value: object) -> object:
    assert isinstance(value, pa.Scalar)
    try:
        return value.as_py()
    except (ValueError, OverflowError):  # a moment that Python has no name for
        return None
