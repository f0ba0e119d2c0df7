"""The fields of a search's record, a row each: checked, signed, read back, and shown in SQL.

Rules:
    - A field is one row here and one attribute of :class:`~affidavit.engine.search.record.
      SearchRecord`. The columns of ``audit.searches``, the members of the body that is signed, and
      what reads them are derived from the rows.
    - Ids are texts. Scores are JSON numbers; NaN, the infinities and -0.0, which canonical JSON
      has no numbers for, are the texts ``NaN``, ``Infinity``, ``-Infinity`` and ``-0``.
    - What may have to be let go one day, such as ids, texts and the query, is committed to in the
      body and stands beside it. A body of the first version has all of it in the clear.
    - A stored query vector is the base64 of its float32 values, little-endian.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from affidavit.catalog.values.canonical import canonical, datetime_of, from_float, to_float, to_us
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Form:
    """What becomes of one kind of value.

    Attributes:
        arrow: The type of its column.
        kept: The type whose values are kept as they are given, unchecked; ``object`` for none.
        check: Returns a caller's value, which is not ``None``, as it is kept; raises
            InvalidQueryError with the field's name.
        write: Returns a value, which is not ``None``, as canonical JSON; raises likewise.
        read: Returns the value that JSON says; ``None`` if it is that JSON.
        show: Returns what the column has of JSON; ``None`` if it is that JSON.
    """

    arrow: pa.DataType
    kept: type
    check: Callable[[Any, str], object]
    write: Callable[[Any, str], bytes] = canonical
    read: Callable[[Any], object] | None = None
    show: Callable[[Any], object] | None = None


@dataclass(frozen=True, slots=True)
class AuditField:
    """One field.

    Attributes:
        name: What it is called: in Python, in the body and in SQL.
        form: What becomes of its values.
        ledgers: Whether the ledger says it for itself, whatever a caller gives.
        on_entry: Whether the entry has it too, so that its column needs no body.
        in_body: Whether the body has it: all but the body's own signature.
        since: The version of the body from which on it is there.
        committed: Whether the body has a salted hash of it, so that it can be let go: see
            :mod:`~affidavit.catalog.ledger.commitments`.
    """

    name: str
    form: Form
    ledgers: bool = False
    on_entry: bool = False
    in_body: bool = True
    committed: bool = False
    since: int = 1


# --- as callers give them -------------------------------------------------------------------------


def _plain(kind: type) -> Callable[[object, str], object]:
    def check(value: object, name: str) -> object:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            msg = f"{name} must be {kind.__name__}, got {type(value).__name__}: {value!r}"
            raise InvalidQueryError(msg)
        return value

    return check


def _instance(kind: type) -> Callable[[object, str], object]:
    def check(value: object, name: str) -> object:
        if not isinstance(value, kind):
            msg = f"{name} must be a {kind.__name__.lower()}, got {type(value).__name__}"
            raise InvalidQueryError(msg)
        return value

    return check


def _as_given(value: object, _: str) -> object:
    return value


def _ids(given: Sequence[object], name: str) -> list[object]:
    if set(map(type, given)) <= {str}:
        return list(given)
    return [_id(each, name) for each in given]


def _id(value: object, name: str) -> str:
    if value is None or isinstance(value, bytes):
        msg = f"{name} must be texts or numbers, got {value!r}"
        raise InvalidQueryError(msg)
    return str(value)


def _numbers(given: Sequence[object], name: str) -> list[object]:
    if set(map(type, given)) <= {float}:
        return list(given)
    return [_number(each, name) for each in given]


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        msg = f"{name} must be numbers, got {type(value).__name__}: {value!r}"
        raise InvalidQueryError(msg)
    try:
        return float(value)
    except OverflowError as error:
        msg = f"{name} must be numbers that a float can hold: {error}"
        raise InvalidQueryError(msg) from error


def _vector(value: object, name: str) -> list[float]:
    try:
        given = np.asarray(value)
        with np.errstate(over="ignore"):  # too large for float32 is infinity, refused below
            vector = given.astype("<f4")
    except (TypeError, ValueError) as error:
        msg = f"{name} must be a list of numbers: {error}"
        raise InvalidQueryError(msg) from error
    if given.dtype.kind not in "fiu" or given.ndim != 1 or not np.isfinite(vector).all():
        msg = (
            f"{name} must be a list of finite float32 numbers, got {type(value).__name__} "
            f"of shape {given.shape} and type {given.dtype}"
        )
        raise InvalidQueryError(msg)
    values: list[float] = vector.tolist()
    return values


# --- as they are signed, read and shown -----------------------------------------------------------


def _written_time(moment: datetime, name: str) -> bytes:
    """Return what ``from_us`` says, without a way through microseconds."""
    try:
        plain = moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError as error:
        msg = f"{name} must be a time from year 1 to 9999 in UTC, got {moment!r}: {error}"
        raise InvalidQueryError(msg) from error
    return b'"%sZ"' % plain.isoformat(timespec="microseconds").encode()


def _written_ids(ids: Sequence[object], name: str) -> bytes:
    return canonical([str(each) for each in ids], name)


def _written_number(value: float, _: str) -> bytes:
    return canonical(from_float(value))


def _written_numbers(values: Sequence[float], _: str) -> bytes:
    """Return numbers as canonical JSON, all at once where each is a plain one."""
    if set(map(type, values)) == {float}:
        text = ",".join(map(repr, values)) + ","
        # no exponent, no nan or inf, and no zero, which may be negative
        if "e" not in text and "n" not in text and 0.0 not in values:
            return b"[%s]" % text.replace(".0,", ",")[:-1].encode()
    return canonical([from_float(each) for each in values])


def _written_vector(vector: Sequence[float], _: str) -> bytes:
    return canonical(base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode())


def _read_time(text: str) -> datetime:
    return datetime_of(to_us(text))


def _read_number(value: float | str | None) -> float | None:
    return None if value is None else to_float(value)


def _read_numbers(values: Sequence[float | str]) -> list[float]:
    return [to_float(each) for each in values]


def _read_vector(text: str | None) -> list[float] | None:
    if text is None:
        return None
    values: list[float] = np.frombuffer(base64.b64decode(text), dtype="<f4").tolist()
    return values


def _shown_time(text: object) -> int:
    return to_us(str(text))


def _shown_numbers(values: Sequence[float | str] | None) -> list[float]:
    return [to_float(each) for each in values or ()]


def _shown_json(value: object) -> str | None:
    return None if value is None else canonical(value).decode()


# --- the table ------------------------------------------------------------------------------------

TEXT: Final = Form(pa.string(), str, _plain(str))
INTEGER: Final = Form(pa.int64(), int, _plain(int))
BOOLEAN: Final = Form(pa.bool_(), bool, _plain(bool))
BYTES: Final = Form(pa.binary(), bytes, _as_given)
JSON: Final = Form(pa.string(), object, _as_given, show=_shown_json)
OBJECT: Final = Form(pa.string(), dict, _instance(Mapping), show=_shown_json)
TIME: Final = Form(
    pa.timestamp("us", "UTC"), datetime, _instance(datetime), _written_time, _read_time, _shown_time
)
NUMBER: Final = Form(pa.float64(), float, _number, _written_number, _read_number, _read_number)
IDS: Final = Form(pa.list_(pa.string()), object, _ids, _written_ids)
SCORES: Final = Form(
    pa.list_(pa.float64()), object, _numbers, _written_numbers, _read_numbers, _shown_numbers
)
VECTOR: Final = Form(
    pa.list_(pa.float32()), object, _vector, _written_vector, _read_vector, _read_vector
)

FIELDS: Final = (
    AuditField("seq", INTEGER, ledgers=True, on_entry=True),
    AuditField("query_id", TEXT),
    AuditField("tenant", TEXT, ledgers=True),
    AuditField("actor", TEXT),
    AuditField("source", TEXT),
    AuditField("workspace", TEXT),
    AuditField("model_id", TEXT),
    AuditField("model_version", TEXT),
    AuditField("table_name", TEXT),
    AuditField("table_version", INTEGER),
    AuditField("table_id", TEXT),
    AuditField("index_name", TEXT),
    AuditField("index_uuid", TEXT),
    AuditField("exact", BOOLEAN),
    AuditField("mode", TEXT),
    AuditField("k_requested", INTEGER),
    AuditField("k_returned", INTEGER),
    AuditField("filter", TEXT, committed=True),
    AuditField("params", OBJECT, committed=True),
    AuditField("query_sha256", TEXT, committed=True),
    AuditField("query_vector", VECTOR, committed=True),
    AuditField("query_text", TEXT, committed=True),
    AuditField("query_lineage", JSON, committed=True),
    AuditField("top_k_result_ids", IDS, committed=True),
    AuditField("retrieval_scores", SCORES, committed=True),
    AuditField("recall", NUMBER),
    AuditField("executed_at", TIME),
    AuditField("duration_us", INTEGER),
    AuditField("journal_seq", INTEGER),
    AuditField("logged", BOOLEAN),
    AuditField("context", OBJECT, committed=True, since=2),
    AuditField("key_id", TEXT, ledgers=True),
    AuditField("signature", BYTES, ledgers=True, on_entry=True, in_body=False),
)
"""Every field, in the order of the columns of ``audit.searches``."""
