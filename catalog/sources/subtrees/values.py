"""Expressions as a database's SQL, where they mean there what DataFusion means by them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sources.subtrees.expressions import Call, ColumnAt, Constant, class_of
from affidavit.catalog.sources.subtrees.speech import COMPARED
from affidavit.catalog.sql.quoting import quoted_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.sources.databases.dialect import Dialect
    from affidavit.catalog.sources.subtrees.expressions import Expression
    from affidavit.catalog.sources.subtrees.relations import SortKey
    from affidavit.catalog.sources.subtrees.speech import Speech

_COMPARISONS: Final = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_ARITHMETIC: Final = frozenset({"+", "-", "*"})
_DIGITS: Final = {8: 3, 16: 5, 32: 10, 64: 19}
"""The digits of integers, by their bits."""

_DECIMALS_MAX: Final = 38
LISTED_MAX: Final = 1_000
LARGE_BITS: Final = 64


class OtherwiseError(Exception):
    """What would not surely mean the same there."""


@dataclass(frozen=True, slots=True)
class Sql:
    """A value as SQL.

    Attributes:
        text: The SQL, which needs no brackets around it.
        type: Its type.
        orders: Whether the database compares all of it by its bytes, if it is a text.
        is_plain: Whether it is a column of a table as it is.
        can_fail: Whether it may be a value that cannot be given, which is to be guarded.
    """

    text: str
    type: pa.DataType
    orders: bool = True
    is_plain: bool = False
    can_fail: bool = False


class Values:
    """Writes expressions over columns.

    Attributes:
        dialect: How filters are written for the database.
        speech: What it is asked beside.

    Args:
        dialect: See above.
        speech: See above.
        columns: What the columns are there.
        bad_is_null: Whether a value that cannot be given is NULL.
    """

    def __init__(
        self, dialect: Dialect, speech: Speech, columns: Sequence[Sql], *, bad_is_null: bool = False
    ) -> None:
        self.dialect = dialect
        self.speech = speech
        self._columns = columns
        self._guards = speech.nulls if bad_is_null else speech.guards

    def value(self, expression: Expression) -> Sql:
        """Return an expression as SQL.

        Raises:
            OtherwiseError: It would not surely mean the same there.
        """
        if isinstance(expression, ColumnAt):
            return self._columns[expression.at]
        if isinstance(expression, Constant):
            return Sql(self._constant(expression.value), expression.type)
        return self._call(expression)

    def key(self, expression: Expression) -> Sql:
        """Return what rows are compared by: sorted, grouped, or joined.

        Raises:
            OtherwiseError: They would not surely be compared alike there.
        """
        return self.compared(self.value(expression))

    def compared(self, value: Sql, *, sorts: bool = True) -> Sql:
        """Return a value as what is compared alike, and perhaps sorted.

        Raises:
            OtherwiseError: There is no such thing.
        """
        kind = class_of(value.type)
        needs_order = kind == "text" and (sorts or self.speech.text == "{}")
        if kind not in COMPARED & self.speech.classes or (needs_order and not value.orders):
            raise OtherwiseError
        if kind == "text" and sorts and not (self.dialect.typed or self.dialect.text_order):
            raise OtherwiseError  # SQLite's texts in UTF-16, which its bytes order otherwise
        value = self.seen(value)
        if kind == "text":
            return Sql(self.speech.text.format(value.text), value.type)
        return value

    def seen(self, value: Sql) -> Sql:
        """Return a value of which none is taken that cannot be given."""
        guard = self._guards.get(class_of(value.type)) if value.can_fail else None
        return value if guard is None else Sql(f"({guard.format(value.text)})", value.type)

    def condition(self, expression: Expression) -> str:
        """Return a condition as SQL.

        Raises:
            OtherwiseError: It would not surely mean the same there.
        """
        if isinstance(expression, Call) and expression.name in {"and", "or"}:
            both = [self.condition(each) for each in expression.arguments]
            return f"({f' {expression.name.upper()} '.join(both)})"
        if isinstance(expression, Call) and expression.name == "not":
            return f"(NOT {self.condition(expression.arguments[0])})"
        if isinstance(expression, Constant) and not self.dialect.booleans:
            raise OtherwiseError
        return self.value(expression).text

    def order(self, keys: Sequence[SortKey]) -> str:
        """Return what rows are ordered by, with where NULL stands.

        Raises:
            OtherwiseError: They would not surely be ordered alike there.
        """
        found = []
        for each in keys:
            text = self.key(each.expression).text
            way = "DESC" if each.descending else "ASC"
            if self.dialect.null_order:
                found.append(f"{text} {way} NULLS {'FIRST' if each.nulls_first else 'LAST'}")
            else:
                null = "IS NOT NULL" if each.nulls_first else "IS NULL"
                found += [f"{text} {null}", f"{text} {way}"]
        return ", ".join(found)

    # --- one kind at a time ----------------------------------------------------------------------

    def _constant(self, value: pa.Scalar) -> str:
        kind, plain = class_of(value.type), _python(value)
        if plain is None:
            name = self.speech.name_of(value.type)
            if name is None or value.is_valid:
                raise OtherwiseError
            return f"CAST(NULL AS {name})"
        match kind:
            case "integer":
                return f"{plain}" if isinstance(plain, int) and plain >= 0 else f"({plain})"
            case "decimal" if isinstance(plain, Decimal) and "decimal" in self.speech.classes:
                return f"{plain:f}" if plain >= 0 else f"({plain:f})"
            case "float" if isinstance(plain, float) and isfinite(plain) and str(plain) != "-0.0":
                return self.cast(f"{plain!r}", pa.float64())
            case "text" if isinstance(plain, str) and "\x00" not in plain and "\\" not in plain:
                return quoted_text(plain)
            case "truth" if self.dialect.booleans:
                return "TRUE" if plain else "FALSE"
            case "date" | "moment" if kind in self.speech.classes:
                assert isinstance(plain, date | datetime)
                literal = self.dialect.moment(value.type, plain)
                if literal is not None:
                    return literal
        raise OtherwiseError

    def _call(self, call: Call) -> Sql:
        name = call.name
        if name in _COMPARISONS or name == "is not distinct from":
            return self._comparison(call)
        if name in _ARITHMETIC:
            return self._arithmetic(call)
        if name in {"and", "or", "not"}:
            return Sql(self.condition(call), call.type)
        write = _CALLS.get(name)
        if write is None:
            raise OtherwiseError
        return write(self, call)

    def _comparison(self, call: Call) -> Sql:
        left, right = (self.value(each) for each in call.arguments)
        if class_of(left.type) != class_of(right.type):
            raise OtherwiseError
        if class_of(left.type) == "float":
            return self._of_floats(call, left, right)
        sorts = not self.dialect.typed and call.name in {"<", "<=", ">", ">="}
        a, b = (self.compared(each, sorts=sorts).text for each in (left, right))
        if call.name == "is not distinct from":
            return Sql(f"({self.speech.is_null_safe.format(a, b)})", call.type)
        text = f"{a} {_COMPARISONS[call.name]} {b}"
        if call.name == "=" and a != left.text and class_of(left.type) == "text":
            text += f" AND {left.text} = {right.text}"  # by an index too
        return Sql(f"({text})", call.type)

    def _of_floats(self, call: Call, left: Sql, right: Sql) -> Sql:
        """Compare a float with a number; a NaN, whose sign DataFusion heeds, is an error.

        Databases have NaN as the largest, and both zeros as the same, which is not told of a float
        that is more than zero.
        """
        is_second = isinstance(call.arguments[1], Constant)
        number = call.arguments[is_second]
        plain = _python(number.value) if isinstance(number, Constant) else None
        is_plain = isinstance(plain, float) and isfinite(plain) and call.name in _COMPARISONS
        is_alike = plain or call.name in ({">", "<="} if is_second else {"<", ">="})
        if not (is_plain and is_alike and self.speech.is_nan):
            raise OtherwiseError
        text = f"{left.text} {_COMPARISONS[call.name]} {right.text}"
        if call.name in {"=", "!="}:
            return Sql(f"({text})", call.type)
        value = (left if is_second else right).text
        is_nan, fails = self.speech.is_nan.format(value), f"CAST({value} AS INTEGER) = 0"
        if call.name.startswith(">") == is_second:  # so NaN is among what is found, and else not
            return Sql(f"({text} AND CASE WHEN {is_nan} THEN {fails} ELSE TRUE END)", call.type)
        return Sql(f"({text} OR CASE WHEN {is_nan} THEN {fails} ELSE FALSE END)", call.type)

    def _arithmetic(self, call: Call) -> Sql:
        left, right = (self.value(each) for each in call.arguments)
        kind = class_of(call.type)
        alike = {class_of(left.type), class_of(right.type)} == {kind}
        is_signed = kind == "integer" and pt.is_signed_integer(call.type)
        whole = is_signed and left.type == right.type == call.type
        if not alike or not (whole or kind == "decimal") or not self.speech.counts_exactly:
            raise OtherwiseError
        text = f"({left.text} {call.name} {right.text})"
        if kind == "decimal":
            if call.type.scale != _scale(call.name, left.type, right.type):
                raise OtherwiseError
            if call.type.precision == _DECIMALS_MAX:  # where DataFusion says if it has more
                text = self.cast(text, call.type)
        return Sql(text, call.type, can_fail=left.can_fail or right.can_fail)

    def cast(self, text: str, kind: pa.DataType) -> str:
        """Return SQL as a type.

        Raises:
            OtherwiseError: The database has none that is the same.
        """
        name = self.speech.name_of(kind)
        if name is None:
            raise OtherwiseError
        return f"CAST({text} AS {name})"

    def _cast(self, call: Call) -> Sql:
        value = self.value(call.arguments[0])
        is_cut = self.speech.fails_beyond and is_whole(value.type) and call.type == pa.int64()
        if not is_cut and not widens(value.type, call.type):
            raise OtherwiseError
        if class_of(call.type) == "text":
            return Sql(value.text, call.type, value.orders, can_fail=value.can_fail)
        if class_of(call.type) == "integer" and not self.dialect.typed:
            return Sql(value.text, call.type, can_fail=value.can_fail)
        return Sql(self.cast(value.text, call.type), call.type, can_fail=value.can_fail)

    def _case(self, call: Call) -> Sql:
        *pairs, last = call.arguments
        results = [self.value(each) for each in (*pairs[1::2], last)]
        tests = [self.condition(each) for each in pairs[::2]]
        shown = " ".join(f"WHEN {a} THEN {b.text}" for a, b in zip(tests, results, strict=False))
        return Sql(
            f"(CASE {shown} ELSE {results[-1].text} END)", call.type,
            all(each.orders for each in results), can_fail=any(each.can_fail for each in results),
        )  # fmt: skip

    def _in(self, call: Call) -> Sql:
        first, *rest = call.arguments
        if len(rest) > LISTED_MAX or not all(
            isinstance(each, Constant) and each.value.is_valid for each in rest
        ):
            raise OtherwiseError
        value = self.value(first)
        listed = ", ".join(self.value(each).text for each in rest)
        if any(class_of(each.type) != class_of(value.type) for each in rest):
            raise OtherwiseError
        return Sql(f"({self.compared(value, sorts=False).text} IN ({listed}))", call.type)

    def _like(self, call: Call) -> Sql:
        value, pattern = call.arguments
        if not self.speech.likes or not isinstance(pattern, Constant) or not pattern.value.is_valid:
            raise OtherwiseError
        text = self.compared(self.value(value), sorts=False).text
        return Sql(f"({text} LIKE {self._constant(pattern.value)})", call.type)

    def _is_null(self, call: Call) -> Sql:
        value = self.value(call.arguments[0])
        return Sql(f"({self.seen(value).text} {call.name.upper()})", call.type)

    def _year(self, call: Call) -> Sql:
        if not self.speech.year:
            raise OtherwiseError
        value = self.value(call.arguments[0])
        if class_of(value.type) != "date":
            raise OtherwiseError
        return Sql(f"({self.speech.year.format(value.text)})", call.type)

    def _substring(self, call: Call) -> Sql:
        value, *ends = call.arguments
        plain = [_python(each.value) for each in ends if isinstance(each, Constant)]
        whole = [each for each in plain if isinstance(each, int) and each >= 0]
        if len(whole) < len(ends) or whole[0] < 1:
            raise OtherwiseError
        text = self.value(value)
        shown = ", ".join(map(str, whole))
        return Sql(f"substr({text.text}, {shown})", call.type, text.orders, can_fail=text.can_fail)

    def _coalesce(self, call: Call) -> Sql:
        values = [self.value(each) for each in call.arguments]
        return Sql(
            f"coalesce({', '.join(each.text for each in values)})", call.type,
            all(each.orders for each in values), can_fail=any(each.can_fail for each in values),
        )  # fmt: skip


_CALLS: Final = {
    "cast": Values._cast, "case": Values._case, "in": Values._in, "like": Values._like,  # noqa: SLF001 - its own
    "is null": Values._is_null, "is not null": Values._is_null, "year": Values._year,  # noqa: SLF001 - as above
    "substr": Values._substring, "coalesce": Values._coalesce,  # noqa: SLF001 - as above
}  # fmt: skip


def _python(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except (ValueError, OverflowError):  # a moment that Python has no name for
        return None


def _scale(operator: str, left: pa.DataType, right: pa.DataType) -> int:
    """Return the digits behind the point of what arithmetic makes of decimals."""
    return left.scale + right.scale if operator == "*" else max(left.scale, right.scale)


def is_whole(kind: pa.DataType) -> bool:
    """Return whether a type is one of decimals without digits behind the point."""
    return class_of(kind) == "decimal" and kind.scale == 0


def widens(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether every value of a type is, exactly, one of another."""
    kinds = (class_of(given), class_of(wanted))
    if kinds == ("text", "text"):
        return True
    if kinds == ("integer", "integer"):
        signed = pt.is_signed_integer(given) and pt.is_signed_integer(wanted)
        return signed and given.bit_width <= wanted.bit_width
    if kinds == ("integer", "decimal"):
        return bool(wanted.precision - wanted.scale >= _DIGITS[given.bit_width])
    if kinds == ("decimal", "decimal"):
        whole = wanted.precision - wanted.scale >= given.precision - given.scale
        return bool(whole and wanted.scale >= given.scale)
    if kinds == ("float", "float"):
        return bool(given.bit_width <= wanted.bit_width)
    if kinds == ("integer", "float"):
        return bool(pt.is_signed_integer(given) and given.bit_width < LARGE_BITS)
    return False
