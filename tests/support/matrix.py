"""Every kind of value through every door: what goes in, the ways it goes, and what comes out.

A door takes a session, a place and two columns, ``id`` and ``v``, and gives back what ``v`` has become. It is the same
(``=``), the same in another type (that type's name), or refused (the error's class). Anything else is a fault.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from datafusion import SessionContext

from affidavit import errors
from affidavit.catalog.sql.quoting import quoted_text
from tests.support.arrow_values import bits, make_array

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import affidavit
    from tests.support.doors import Door

DAY: Final = 86_400_000_000
MOMENTS: Final = (0, -1, -62_135_596_800_000_000, 253_402_300_799_999_999, 1_700_000_000_123_456)
"""The epoch, just before it, the first and the last moment of the years 1 to 9999, and another; in microseconds."""

SECONDS: Final = tuple(each // 10**6 for each in MOMENTS)
NANOSECONDS: Final = (0, -1, -(2**63) + 1, 2**63 - 2, 1_700_000_000_123_456_789)
FLOATS: Final = (0.0, -0.0, 1.5, math.nan, math.inf, -math.inf)
TEXTS: Final = ("", " a ", "NULL", "'\"", "ß🎈", "a\nb", "\\N")


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
        name: As a table of this lake declares it.
        arrow: As Arrow has it.
        values: Its extremes, and others; raw counts where it is of time.
        literal: How SQL writes one; ``None`` for one that it has no literal for.
        there: What each database calls it; one that is not listed has nothing like it.
    """

    name: str
    arrow: pa.DataType
    values: tuple[Any, ...]
    literal: Callable[[Any], str | None] = str
    there: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> pa.Table:
        """The values, and NULL, by their numbers."""
        array = make_array([*self.values, None], self.arrow)
        return pa.table({"id": pa.array(range(len(array)), pa.int64()), "v": array})

    @property
    def literals(self) -> list[str | None]:
        """The values, and NULL, in SQL."""
        return [*map(self.literal, self.values), "NULL"]


def _cast(name: str) -> Callable[[Any], str]:
    return lambda value: f"CAST('{value}' AS {name})"


def _moment(name: str, per_second: int, digits: int) -> Callable[[Any], str | None]:
    def literal(count: int) -> str | None:
        seconds, rest = divmod(count, per_second)
        days, clock = divmod(seconds, 86_400)
        ordinal = days + date(1970, 1, 1).toordinal()
        if not 1 <= ordinal <= date.max.toordinal():
            return None
        day, fraction = date.fromordinal(ordinal), f".{rest:0{digits}}" if digits else ""
        told = f"{day} {clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60:02}{fraction}"
        return f"{name} '{told}{'+00:00' if name == 'TIMESTAMPTZ' else ''}'"

    return literal


def _day(count: int) -> str | None:
    ordinal = count + date(1970, 1, 1).toordinal()
    return f"DATE '{date.fromordinal(ordinal)}'" if 1 <= ordinal <= date.max.toordinal() else None


def _time(count: int) -> str:
    seconds, rest = divmod(count, 10**6)
    return f"TIME '{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:06}'"


def _all(name: str, **others: str) -> dict[str, str]:
    return {"PostgreSQL": name, "MariaDB": name, "DuckDB": name, "SQLite": name} | others


def _integer(name: str, bits_: int, there: Mapping[str, str], *, signed: bool = True) -> Kind:
    low, high = (-(2 ** (bits_ - 1)), 2 ** (bits_ - 1) - 1) if signed else (0, 2**bits_ - 1)
    return Kind(
        name, getattr(pa, f"{'' if signed else 'u'}int{bits_}")(), (low, high, 0, 1), str, there
    )


def _unsigned(name: str) -> dict[str, str]:
    return {"MariaDB": f"{name} unsigned", "DuckDB": f"u{name}"}


KINDS: Final = (
    Kind("BOOLEAN", pa.bool_(), (True, False), str, _all("boolean")),
    _integer("TINYINT", 8, {"MariaDB": "tinyint", "DuckDB": "tinyint"}),
    _integer("SMALLINT", 16, {"PostgreSQL": "smallint", "MariaDB": "smallint", "DuckDB": "smallint"}),
    _integer("INTEGER", 32, {"PostgreSQL": "integer", "MariaDB": "integer", "DuckDB": "integer"}),
    _integer("BIGINT", 64, _all("bigint")),
    _integer("TINYINT UNSIGNED", 8, _unsigned("tinyint"), signed=False),
    _integer("SMALLINT UNSIGNED", 16, _unsigned("smallint"), signed=False),
    _integer("INTEGER UNSIGNED", 32, {"MariaDB": "integer unsigned", "DuckDB": "uinteger"}, signed=False),
    _integer("BIGINT UNSIGNED", 64, _unsigned("bigint"), signed=False),
    Kind("REAL", pa.float32(), (*FLOATS, 2.0**-149, 3.4028234663852886e38), _cast("REAL"),
         {"PostgreSQL": "real", "MariaDB": "float", "DuckDB": "real"}),
    Kind("DOUBLE", pa.float64(), (*FLOATS, 5e-324, 1.7976931348623157e308, 0.1), _cast("DOUBLE"),
         _all("double precision", DuckDB="double")),
    Kind("DECIMAL(12, 3)", pa.decimal128(12, 3), tuple(map(Decimal, ("0.000", "-999999999.999", "0.001"))),
         str, _all("decimal(12, 3)")),
    Kind("DECIMAL(38, 10)", pa.decimal128(38, 10), (Decimal("9" * 28 + "." + "9" * 10), Decimal("-0.0000000001")),
         str, {"PostgreSQL": "numeric(38, 10)", "MariaDB": "decimal(38, 10)", "DuckDB": "decimal(38, 10)"}),
    Kind("DECIMAL(60, 5)", pa.decimal256(60, 5), (Decimal("9" * 55 + ".99999"),), str,
         {"PostgreSQL": "numeric(60, 5)", "MariaDB": "decimal(60, 5)"}),
    Kind("VARCHAR", pa.string(), TEXTS, quoted_text, _all("text", MariaDB="text COLLATE utf8mb4_bin")),
    Kind("BYTEA", pa.binary(), (b"", b"\x00", b"'\xff", bytes(range(256))), lambda each: f"X'{each.hex()}'",
         {"PostgreSQL": "bytea", "MariaDB": "blob", "DuckDB": "blob", "SQLite": "blob"}),
    Kind("DATE", pa.date32(), (0, -1, -719_162, 2_932_896, 11_016), _day, _all("date")),
    Kind("TIME", pa.time64("us"), (0, DAY - 1, 1), _time, _all("time", MariaDB="time(6)")),
    Kind("TIMESTAMP(0)", pa.timestamp("s"), SECONDS, _moment("TIMESTAMP", 1, 0),
         _all("timestamp", MariaDB="datetime", DuckDB="timestamp_s")),
    Kind("TIMESTAMP(3)", pa.timestamp("ms"), tuple(each * 1000 for each in SECONDS), _moment("TIMESTAMP", 1000, 3),
         _all("timestamp", MariaDB="datetime(3)", DuckDB="timestamp_ms")),
    Kind("TIMESTAMP", pa.timestamp("us"), MOMENTS, _moment("TIMESTAMP", 10**6, 6),
         _all("timestamp", MariaDB="datetime(6)")),
    Kind("TIMESTAMP(9)", pa.timestamp("ns"), NANOSECONDS, _moment("TIMESTAMP", 10**9, 9), {"DuckDB": "timestamp_ns"}),
    Kind("TIMESTAMPTZ", pa.timestamp("us", "UTC"), MOMENTS, _moment("TIMESTAMPTZ", 10**6, 6),
         {"PostgreSQL": "timestamptz", "DuckDB": "timestamptz"}),
    Kind("INTERVAL", pa.month_day_nano_interval(), (pa.MonthDayNano([1, 2, 3_000]), pa.MonthDayNano([-1, 0, 0])),
         lambda each: f"INTERVAL '{each.months} month {each.days} day {each.nanoseconds // 1000} microsecond'"),
    Kind("INTEGER[]", pa.list_(pa.int32()), ([], [1, None], [2**31 - 1]),
         lambda each: f"[{', '.join('NULL' if one is None else str(one) for one in each)}]",
         {"PostgreSQL": "integer[]", "DuckDB": "integer[]"}),
    Kind("VARCHAR[]", pa.list_(pa.string()), ([], ["a", None, ""]),
         lambda each: f"[{', '.join('NULL' if one is None else quoted_text(one) for one in each)}]",
         {"PostgreSQL": "text[]", "DuckDB": "varchar[]"}),
    Kind("FLOAT[2]", pa.list_(pa.float32(), 2), ([0.0, -1.5], [3.4028234663852886e38, 2.0**-149]),
         lambda each: f"['{each[0]}', '{each[1]}']", {"DuckDB": "float[2]"}),
    Kind("STRUCT(a INTEGER, b VARCHAR)", pa.struct([("a", pa.int32()), ("b", pa.string())]),
         ({"a": 1, "b": "x"}, {"a": None, "b": ""}),
         lambda each: f"{{'a': {'NULL' if each['a'] is None else each['a']}, 'b': '{each['b']}'}}",
         {"DuckDB": "struct(a integer, b varchar)"}),
    Kind("MAP(VARCHAR, INTEGER)", pa.map_(pa.string(), pa.int32()), ([("k", 1), ("", None)], []),
         lambda each: f"MAP {{{', '.join(f'{key!r}: {value}' for key, value in each).replace('None', 'NULL')}}}",
         {"DuckDB": "map(varchar, integer)"}),
)  # fmt: skip


def tried(door: Door, session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> str:
    """Return what becomes of a kind's values that go through a door, as the documentation says it.

    Raises:
        AssertionError: One has become another value, or an error is not ours.
    """
    refused: list[object] = []
    try:
        found = door(session, folder, kind, rows)
    except errors.AffidavitError:
        fit = [row for row in _single(rows) if not _is_refused(door, session, folder, kind, row)]
        if sum(row["v"].null_count == 0 for row in fit) == 0:
            return "refused"
        kept = pa.concat_tables(fit)
        ids = kept["id"].to_pylist()
        refused = [_shown(row["v"][0]) for row in _single(rows) if row["id"][0].as_py() not in ids]
        rows, found = kept, door(session, folder, kind, kept)
    assert found["id"].to_pylist() == rows["id"].to_pylist()
    told, lost = _outcome(kind, found["v"].combine_chunks(), rows["v"].combine_chunks())
    return told + _listed("refused", refused) + lost


def _single(rows: pa.Table) -> list[pa.Table]:
    return [rows.slice(at, 1) for at in range(len(rows))]


def _is_refused(
    door: Door, session: affidavit.Session, folder: Path, kind: Kind, row: pa.Table
) -> bool:
    try:
        door(session, folder, kind, row)
    except errors.AffidavitError:
        return True
    return False


def _listed(what: str, values: list[object]) -> str:
    return f"; {what}: {', '.join(map(str, values))}" if values else ""


def _shown(value: pa.Scalar) -> str:
    raw = value.as_py()
    return "''" if raw in ("", b"") else str(raw)


def _outcome(kind: Kind, found: pa.Array, given: pa.Array) -> tuple[str, str]:
    """Return the type that values have now, ``=`` if it is theirs, and what is said of some."""
    found = found.cast(_laid_out(found.type))
    lost = [at for at in range(len(given)) if given[at].is_valid and not found[at].is_valid]
    kept = pa.array([at for at in range(len(given)) if at not in lost], pa.int64())
    expected, array = given.take(kept), found.take(kept)
    said = _listed("NULL", [_shown(given[at]) for at in lost])
    if (
        array.type == kind.arrow
        and pt.is_floating(kind.arrow)
        and "-0.0" not in str(array.to_pylist())
    ):
        expected = pc.add(expected, pa.scalar(0.0, kind.arrow))
        said += _listed("0.0", ["-0.0"])
    if array.type == kind.arrow:
        assert bits(array) == bits(expected), kind.name
        return "=", said
    told = str(array.type)
    if (
        pt.is_float64(array.type)
        and not pt.is_floating(kind.arrow)
        and _back(array, kind) != expected
    ):
        nearest = [None if each is None else float(each) for each in expected.to_pylist()]
        assert array.to_pylist() == nearest, kind.name
        return "nearest double", said
    if pt.is_struct(array.type) and pt.is_map(kind.arrow):
        without = [
            None if each is None else {key: one for key, one in each if one is not None}
            for each in expected.to_pylist()
        ]
        names = array.type.names
        assert array.to_pylist() == [
            None if each is None else {name: each.get(name) for name in names} for each in without
        ]
        return "struct", said
    back = _back(array, kind)
    assert bits(back) == bits(expected), f"{kind.name}, {told}: {array.to_pylist()!r}"
    return told, said


def _laid_out(kind: pa.DataType) -> pa.DataType:
    """Return a type whose texts, bytes and lists are laid out as by default."""
    if pt.is_string_view(kind) or pt.is_large_string(kind):
        return pa.string()
    if pt.is_binary_view(kind) or pt.is_large_binary(kind):
        return pa.binary()
    if pt.is_list(kind) or pt.is_large_list(kind):
        return pa.list_(_laid_out(kind.value_type))
    if pt.is_map(kind):
        return pa.map_(_laid_out(kind.key_type), _laid_out(kind.item_type))
    if pt.is_struct(kind):
        return pa.struct([(each.name, _laid_out(each.type)) for each in kind])
    return kind


def _back(array: pa.Array, kind: Kind) -> pa.Array | None:
    """Return values of another type as their kind has them, ``None`` if they are not held by it."""
    if not pt.is_nested(array.type) and str(array.type) == "string":
        texts = array.to_pylist()
        if pt.is_binary(kind.arrow):
            return pa.array([None if v is None else bytes.fromhex(v) for v in texts], kind.arrow)
        if pt.is_decimal(kind.arrow):
            return pa.array([None if v is None else Decimal(v) for v in texts], kind.arrow)
        if pt.is_time(kind.arrow) or pt.is_interval(kind.arrow) or pt.is_timestamp(kind.arrow):
            name = {"TIME": "Time64(Microsecond)", "INTERVAL": "Interval(MonthDayNano)"}.get(
                kind.name
            )
            return _by_datafusion(array, name or _DATAFUSIONS[str(kind.arrow)])
    if pt.is_timestamp(array.type) and pt.is_timestamp(kind.arrow):
        return array.cast(pa.timestamp(kind.arrow.unit, array.type.tz)).cast(kind.arrow)
    try:
        return array.cast(kind.arrow)
    except pa.ArrowInvalid:
        return None


_DATAFUSIONS: Final = {
    "timestamp[s]": "Timestamp(Second, None)", "timestamp[ms]": "Timestamp(Millisecond, None)",
    "timestamp[us]": "Timestamp(Microsecond, None)", "timestamp[ns]": "Timestamp(Nanosecond, None)",
    "timestamp[us, tz=UTC]": 'Timestamp(Microsecond, Some("UTC"))',
}  # fmt: skip


def _by_datafusion(texts: pa.Array, kind: str) -> pa.Array:
    context = SessionContext()
    context.from_arrow(pa.table({"v": texts}), name="t")
    return (
        context.sql(f"SELECT arrow_cast(v, '{kind}') AS v FROM t")
        .to_arrow_table()["v"]
        .combine_chunks()
    )
