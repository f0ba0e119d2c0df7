"""What DataFusion raises, in this tree: the one place here that reads the texts of its messages.

Beside each text stand the versions in which it was seen. ``tests/engine/plan/test_errors.py``
provokes each of them, so that an upgrade which words one differently fails there.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.store.protocol import ROWID
from affidavit.engine.scans.calls.embedding import CALL
from affidavit.engine.scans.calls.raised import RAISED, unmarked
from affidavit.engine.statement.limits import TOO_DEEP
from affidavit.engine.statement.mended.scalars import SEVERAL
from affidavit.errors import (
    AffidavitError,
    ExecutionError,
    FunctionNotFoundError,
    NameNotFoundError,
    SourceError,
    SqlError,
    TableNotFoundError,
    UnsupportedPredicateError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from affidavit.engine.scans.snapshot import Snapshot

CONSTANT_FILTER: Final = re.compile("unsupported operand type|bit_wise_and")
"""datafusion-python 54.1.0 joins the filters that it hands to a table with Python's ``&`` and
``|``, which pyarrow 26.0.1 refuses where one of them is a constant, and if both are."""

NO_FIELD: Final = re.compile(r"No field named (?:[^ ]*\.)?\"?([^. \"]+)\"?\.")
"""DataFusion 54.1.0 found a column in no table of the query."""

FIELDS: Final = re.compile(r"""(?:^|[ .])("(?:[^"]|"")*"|[^ ".]+)(?=[,.]?(?: |$))""")
GUESS: Final = re.compile(r"Did you mean '(?:[^']*\.)?([^'.]+)'")
"""What DataFusion 54.1.0 puts behind that: all columns, in quotes where they need them, or one."""

HIDDEN: Final = re.compile(rf""",? ?(?:(?:"(?:[^"]|"")*"|[^ ".,]+)\.)*{ROWID}(?=[,.]|$)""")
"""The identity of rows in the list of fields, by which DML and searches tell them, and nobody else:
no table has a column of that name."""

NO_TABLE: Final = re.compile(r"table '([^']*)' not found")
"""DataFusion 54.1.0 found a table in no catalog; it has the whole name."""

NO_FUNCTION: Final = re.compile(r"Invalid function '([^']*)'\.(?:\s*Did you mean '([^']*)'\?)?")
"""DataFusion 54.1.0 found a function of no kind by a name."""

OURS: Final = "affidavit_"
"""How the functions begin that statements are written with, and that no statement names."""

PARSER: Final = re.compile(r'ParserError\("(.*)"\)$', re.DOTALL)
"""What DataFusion 54.1.0 puts around what its parser says."""

PREFIXES: Final = re.compile(
    r"^(DataFusion error: |Arrow error: |External error: |SQL error: |Error during planning: |"
    r"[^\n]*\ncaused by\n)+"
)
"""What the layers of DataFusion 54.1.0 put before a message, as the name of an optimizer's rule; a
caller knows no layers."""

EXHAUSTED: Final = re.compile(r"Resources exhausted: ?|Memory Exhausted ")
"""DataFusion 54.1.0 found no room in its pool for what a plan wants to hold."""

DISK: Final = re.compile(
    r"\(os error (?:2|5|13|27|28|30|122)\)|used disk space during the spilling process"
)
"""What the system says of a disk that is full, gone or refused, as Rust and DataFusion 54.1.0 pass
it on; where a plan spills it may be the folder that it spills to."""

FULL: Final = re.compile(r"\(os error (?:27|28|122)\)|used disk space during")
"""Those of them that have no path in DataFusion 54.1.0: a file may not grow."""

LENGTH_MAX: Final = 4000
"""A longer message has a text of the caller's in it."""

PANIC: Final = "PanicException"
"""What a panic in Rust becomes, no ``Exception``, in a class that no module of datafusion-python
54.1.0 or pylance 14.0.2 has; whichever library panicked, its name is the same."""

_CAST: Final = re.compile(
    r"(?:Cast error: )?(?:Cannot cast (?:string|value)|Can't cast value) (?P<value>.*) to "
    r"(?:value of |type )(?P<type>\w+(?:\([^()]*\))?)(?: type)?",
    re.DOTALL,
)
_TIMESTAMP: Final = re.compile(
    r"(?:Parser error: )?Error parsing timestamp from (?P<value>'.*'): (?P<why>.*)", re.DOTALL
)
_DECIMAL: Final = re.compile(
    r"(?:Invalid argument error: )?(?P<value>\S+) is too (?:large|small) to store in a "
    r"Decimal\d+ of precision \d+\. (?:Max|Min) is (?P<limit>\S+)"
)
_RANGE: Final = re.compile(
    r"(?:Cast error: )?value of (?P<value>\S+) is out of range (?P<type>\w+)"
)
_CORRELATED: Final = re.compile(
    r"Physical plan does not support logical expression "
    r"(?:OuterReferenceColumn|ScalarSubquery|InSubquery|Exists)"
)
_CAUGHT: Final = re.compile(r"No field named \"?__(?:correlated_sq_\d+|listed)\b")
"""DataFusion 54.1.0 lost a column of a query behind IN or EXISTS that names the row outside."""

_DEEP: Final = re.compile(r"RecursionLimitExceeded|recursion limit exceeded")
"""DataFusion 54.1.0 goes no deeper into a statement."""

_CONVERT: Final = re.compile(r"Cannot automatically convert (?P<given>.*) to (?P<type>.*)")
_TYPES: Final = (
    ("Int8", "int8", "TINYINT"), ("Int16", "int16", "SMALLINT"), ("Int32", "int32", "INT"),
    ("Int64", "int64", "BIGINT"), ("UInt8", "uint8", "TINYINT UNSIGNED"),
    ("UInt16", "uint16", "SMALLINT UNSIGNED"), ("UInt32", "uint32", "INT UNSIGNED"),
    ("UInt64", "uint64", "BIGINT UNSIGNED"), ("Float32", "float", "FLOAT"),
    ("Float64", "double", "DOUBLE"), ("Boolean", "bool", "BOOLEAN"), ("Date32", "date32", "DATE"),
    ("Utf8", "string", "VARCHAR"), ("Utf8View", "string_view", "VARCHAR"),
    ("Time64", "time64", "TIME"), ("Timestamp", "timestamp", "TIMESTAMP"),
    ("Decimal128", "decimal128", "DECIMAL"), ("Decimal256", "decimal256", "DECIMAL"),
)  # fmt: skip
"""What a type is called by arrow-rs, by Arrow's C++, and in SQL."""

_SQL: Final = {rust: sql for rust, _, sql in _TYPES}
_ARROW: Final = {arrow: sql for _, arrow, sql in _TYPES}

UNPLANNED: Final = (
    "a query within this one names columns of the row outside as cannot be planned: a scalar or "
    "LATERAL query that aggregates, or has a LIMIT, compares with them by = alone; write a join "
    "with GROUP BY, or number the rows with row_number() OVER (PARTITION BY ...)"
)

CAUGHT: Final = (
    "a query behind IN or EXISTS names the row outside, and has columns or tables of its own that "
    "are called as those before IN: give each table a name of its own, and write it before columns"
)

CANNOT: Final = " cannot be cast to "
"""What stands between a value and its type in a message of ours about a cast."""


@contextmanager
def engine_errors(snapshot: Snapshot | None, kind: type[AffidavitError]) -> Iterator[None]:
    """Turn what DataFusion raises into this tree.

    DataFusion passes a provider's error on as text; the snapshot kept the error itself.
    """
    try:
        yield
    except AffidavitError:
        raise
    except BaseException as error:
        if (raised := RAISED.take(str(error))) is not None:
            raise raised from raised.__cause__
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        failure = None if snapshot is None else snapshot.failure
        if isinstance(failure, AffidavitError | KeyboardInterrupt):
            raise failure from None
        plain = unmarked(_without_trace(str(error), failure))
        hide = str if snapshot is None else snapshot.hide
        told = hide(plain)
        text = told_plainly(_short(PARSER.sub(r"\1", PREFIXES.sub("", told).strip())))
        if told != plain or hide(str(error)) != str(error):  # then the error itself has a secret
            raise kind(text) from None
        known = None if snapshot is None else _known(told, text, snapshot, kind)
        if known is not None:
            raise known from error
        raise kind(text or type(error).__name__) from (failure or error)


def _without_trace(told: str, failure: BaseException | None) -> str:
    """Return a message, or what a provider raised where DataFusion prints that with its stack."""
    if failure is None or "Traceback (most recent call last)" not in told:
        return told
    return f"{type(failure).__name__}: {failure}"


def _short(text: str) -> str:
    """Return a message without its middle, where it repeats a long text of the statement's."""
    if len(text) <= LENGTH_MAX:
        return text
    return f"{text[: LENGTH_MAX // 2]} [...] {text[-LENGTH_MAX // 4 :]}"


def _known(
    told: str, text: str, snapshot: Snapshot, kind: type[AffidavitError]
) -> AffidavitError | None:
    """Return what a message says in the words of a statement's tables, if it is about them."""
    held = _of_memory(told, text, snapshot, kind)
    if held is not None:
        return held
    for name, other in snapshot.others.items():
        if f"{other.catalog.lake.path}/vectors/".lstrip("/") in told:
            return SourceError(f"source {name!r}: {text}")
    if NO_TABLE.search(text) is not None and snapshot.missing:
        known = [info.name for info in snapshot.catalog.tables(snapshot.reader)]
        return TableNotFoundError(snapshot.missing[-1], known=known)
    of_file = next(filter(None, (tell(text) for tell in snapshot.tellers)), None)
    if of_file is not None:
        return kind(snapshot.hide(of_file))
    function = NO_FUNCTION.fullmatch(text)
    if function is not None and function[1] == CALL:
        return SqlError(f"write {CALL}('model', text): a model in quotes, or as a $parameter")
    if function is not None:
        guess = function[2] or ""
        return FunctionNotFoundError(function[1], guess="" if OURS in guess else guess)
    field = NO_FIELD.search(text)
    if field is not None and kind is SqlError:
        return NameNotFoundError(text, name=field[1], known=_fields(text[field.end() :], snapshot))
    return None


def _of_memory(
    told: str, text: str, snapshot: Snapshot, kind: type[AffidavitError]
) -> AffidavitError | None:
    """Return what a message says of memory, or of the disk that has what is too much for it."""
    memory = snapshot.catalog.lake.memory
    on_disk = DISK.search(told) is not None
    if EXHAUSTED.search(told) is not None and not on_disk:
        return memory.exceeded(_short(EXHAUSTED.sub("", text)))
    if memory.folder is None or kind is not ExecutionError or not on_disk:
        return None
    msg = (
        f"the statement goes on in spill_to={str(memory.spill_to)!r} where memory ends, and a file "
        f"could not be written or read: make room there, or open the lake again if it is gone "
        f"({text})"
    )
    return ExecutionError(msg) if _is_spill(told, memory.folder) else None


def _is_spill(told: str, folder: Path) -> bool:
    """Whether a message about a disk may be about the folder that plans spill to."""
    if not folder.is_dir() or str(folder) in told:
        return True
    return FULL.search(told) is not None and "LocalFileSystem" not in told  # what COPY writes


def _fields(told: str, snapshot: Snapshot) -> Iterator[str]:
    """Yield the names of the columns that a message offers, and of those that it may leave out."""
    guess = GUESS.search(told)
    if guess is None:
        for name in FIELDS.findall(told):
            yield name.strip('"').replace('""', '"')
        return
    yield guess[1]
    for info in snapshot.known.values():
        if isinstance(info.definition, MutableDefinition):
            yield from info.definition.schema.names


def asks_for_whole_tables(error: BaseException, failure: BaseException | None) -> bool:
    """Return whether a plan failed since a filter could not be handed to a table.

    ``failure`` is what a provider raised, if one did.
    """
    refused = isinstance(failure, UnsupportedPredicateError)
    return refused or CONSTANT_FILTER.search(str(error)) is not None


# --- casts ------------------------------------------------------------------------------------


def told_plainly(text: str) -> str:
    """Return a message, if it is of a cast as ``<value> cannot be cast to <type>``."""
    cast = _CAST.fullmatch(text)
    if cast is not None and SEVERAL in cast["value"]:
        return f"{SEVERAL}: let it give one, by LIMIT 1 or an aggregate"
    if cast is not None:
        name, _, size = cast["type"].partition("(")
        return f"{cast['value']}{CANNOT}{_SQL.get(name, name)}{f'({size}' if size else ''}"
    moment = _TIMESTAMP.fullmatch(text)
    if moment is not None:
        return f"{moment['value']}{CANNOT}TIMESTAMP: {moment['why']}"
    outside = _RANGE.fullmatch(text)
    if outside is not None:
        name = _SQL.get(outside["type"], outside["type"])
        return f"{outside['value']}{CANNOT}{name}: it is out of range"
    if _CORRELATED.search(text) is not None:
        return UNPLANNED
    if _DEEP.match(text) is not None:
        return TOO_DEEP
    if _CAUGHT.search(text) is not None:
        return CAUGHT
    if NO_FIELD.search(text) is not None:
        return HIDDEN.sub("", text)
    number = _DECIMAL.fullmatch(text)
    if number is not None:
        return f"{number['value']}{CANNOT}DECIMAL: the limit is {number['limit']}"
    types = _CONVERT.fullmatch(text)
    if types is not None:
        given, wanted = map(_in_sql, types.groups())
        return f"values of type {given}{CANNOT}{wanted}"
    return text


def _in_sql(types: str) -> str:
    return re.sub(r"\w+", lambda each: _SQL.get(each[0], each[0]), types)


def type_told(text: str) -> str | None:
    """Return the type, without its size, that a plain message says nothing could be cast to."""
    _, mark, told = text.rpartition(CANNOT)
    return re.split(r"[(:]", told)[0] if mark else None


def type_name(kind: pa.DataType) -> str:
    """Return what such a message calls a type of Arrow's, without its size."""
    name = re.split(r"[(\[]", str(kind))[0]
    return _ARROW.get(name, name)
