"""Tables as text and as HTML, for consoles and notebooks.

Rules:
    - A row is a line, and nothing in it is obeyed by a terminal. NULL is no text: a text that reads
      so is in quotes.
    - Every digit of a number is shown; long texts, lists and tables are cut, and say so.
    - A table that is wider than the terminal loses the ends of its longest cells, and then columns
      of its middle, which are counted below. A plan is whole.
"""

from __future__ import annotations

import html
import shutil
import struct
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.values.types import any_within, lacks_values
from affidavit.screen import cut, escaped, padded, width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.engine.search.record import SearchRecord

ROWS_SHOWN_MAX: Final = 20
CELL_LENGTH_MAX: Final = 60
LIST_ITEMS_SHOWN_MAX: Final = 4

WIDTH_WITHOUT_TERMINAL: Final = 120

_CELL_WIDTH_MIN: Final = 12
_GAP: Final = "  "
_NULL: Final = "NULL"
_PLAN: Final = ["plan_type", "plan"]
_SINGLE: Final = "f"


# --- cells ----------------------------------------------------------------------------------------


def cell(value: object, kind: pa.DataType | None = None) -> str:
    """Return ``value``, of an Arrow type if one is given, as one short line."""
    if value is None:
        return _NULL
    if isinstance(value, float):
        return _number(value, kind)
    if isinstance(value, list) and not pa.types.is_map(kind or pa.null()):
        return _items(value, kind)
    text = escaped(value)
    if isinstance(value, str) and text.strip("'") == _NULL:
        text = f"'{text}'"
    return text if len(text) <= CELL_LENGTH_MAX else text[: CELL_LENGTH_MAX - 1] + "…"


def _number(value: float, kind: pa.DataType | None) -> str:
    """Return the fewest digits that are this number and no other, in its own precision."""
    if kind is not None and pa.types.is_float32(kind) and abs(value) != float("inf"):
        for digits in range(6, 10):
            text = f"{value:.{digits}g}"
            if struct.unpack(_SINGLE, struct.pack(_SINGLE, float(text)))[0] == value:
                return repr(float(text))
    return repr(value)


def _items(values: list[object], kind: pa.DataType | None) -> str:
    of = None if kind is None else getattr(kind, "value_type", None)
    if len(values) <= LIST_ITEMS_SHOWN_MAX:
        return f"[{', '.join(cell(each, of) for each in values)}]"
    shown = ", ".join(cell(each, of) for each in values[:LIST_ITEMS_SHOWN_MAX])
    return f"[{shown}, ... {len(values)}]"


def _columns(head: pa.Table) -> list[list[str]]:
    columns = []
    for column in head.columns:
        if any_within(column.type, lacks_values):
            columns.append([f"({column.type})"] * len(column))
            continue
        try:
            values = column.to_pylist()
        except (ValueError, OverflowError):  # an instant that Python's datetime cannot hold
            values = [_as_text(each) for each in column]
        columns.append([cell(value, column.type) for value in values])
    return columns


def _as_text(scalar: pa.Scalar) -> object:
    """Return a value that Python may not have as one that it has, or as Arrow writes it."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        pass
    try:
        return scalar.cast(pa.string()).as_py()
    except pa.ArrowException:  # one within a list, say
        return str(scalar)


# --- text -----------------------------------------------------------------------------------------


def as_text(head: pa.Table, *, more: bool) -> str:
    """Return up to :data:`ROWS_SHOWN_MAX` rows as an aligned table; ``more`` follow ``head``."""
    if _is_plan(head, more=more):
        return _plan(head)
    columns = _columns(head.slice(0, ROWS_SHOWN_MAX))
    names = [escaped(name) for name in head.schema.names]
    widths = [
        max(map(width_of, (name, *cells))) for name, cells in zip(names, columns, strict=True)
    ]
    widths, shown = _fitted(widths, _room())
    rows = [names, ["-" * width for width in widths], *zip(*columns, strict=True)]
    lines = [_line(row, widths, shown) for row in rows]
    return "\n".join([*lines, _footer(head, len(shown), more=more)])


def _is_plan(head: pa.Table, *, more: bool) -> bool:
    """Return whether rows look like what EXPLAIN gives: a few, whose texts are long."""
    return head.schema.names == _PLAN and head.num_rows <= ROWS_SHOWN_MAX and not more


def _plan(head: pa.Table) -> str:
    """Return a plan as it was told, each of its operators on a line."""
    told = zip(*(column.to_pylist() for column in head.columns), strict=True)
    return "\n".join(f"{escaped(kind)}\n{_indented(plan)}" for kind, plan in told)


def _indented(text: object) -> str:
    return "\n".join(f"  {line}" for line in escaped(text, lines=True).splitlines())


def _room() -> int:
    """Return how many columns there are to print in: ``COLUMNS``, or what the terminal has."""
    return shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, 0)).columns


def _fitted(widths: list[int], room: int) -> tuple[list[int], list[int]]:
    """Return how wide each column may be, and which are shown: those at both ends."""
    shown = list(range(len(widths)))
    if _total(widths, shown) <= room:
        return widths, shown
    least = [min(width, _CELL_WIDTH_MIN) for width in widths]
    while len(shown) > 1 and _total(least, shown) + len(_GAP) + 1 > room:
        shown.pop(len(shown) // 2)
    if len(shown) < len(widths):
        room -= len(_GAP) + 1  # for the dots
    given = list(least)
    spare = room - _total(given, shown)
    for at in sorted(shown, key=lambda at: widths[at]):
        wanting = sum(given[each] < widths[each] for each in shown)
        extra = min(widths[at] - given[at], max(spare, 0) // max(wanting, 1))
        given[at] += extra
        spare -= extra
    return given, shown


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + len(_GAP) * (len(shown) - 1)


def _line(cells: Sequence[str], widths: Sequence[int], shown: Sequence[int]) -> str:
    parts: list[str] = []
    for before, at in zip([-1, *shown], shown, strict=False):
        if at != before + 1:
            parts.append("…")
        parts.append(padded(cut(cells[at], widths[at]), widths[at]))
    if shown and shown[-1] != len(widths) - 1:
        parts.append("…")
    return _GAP.join(parts).rstrip()


def _footer(head: pa.Table, columns: int, *, more: bool) -> str:
    rows = head.num_rows
    if more:
        told = f"the first {min(rows, ROWS_SHOWN_MAX)} rows; there are more"
    elif rows > ROWS_SHOWN_MAX:
        told = f"the first {ROWS_SHOWN_MAX} of {rows:,} rows"
    else:
        told = f"{rows} row{'' if rows == 1 else 's'}"
    if columns < head.num_columns:
        told += f"; {columns} of {head.num_columns} columns"
    return f"({told})"


# --- HTML -----------------------------------------------------------------------------------------


def as_html(head: pa.Table, *, more: bool) -> str:
    """Return up to :data:`ROWS_SHOWN_MAX` rows as an HTML table, every value escaped."""
    if _is_plan(head, more=more):
        return f"<pre>{html.escape(_plan(head))}</pre>"
    names = "".join(
        f'<th title="{html.escape(escaped(field.type))}">{html.escape(escaped(field.name))}</th>'
        for field in head.schema
    )
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(value)}</td>" for value in row) + "</tr>"
        for row in zip(*_columns(head.slice(0, ROWS_SHOWN_MAX)), strict=True)
    )
    footer = html.escape(_footer(head, head.num_columns, more=more))
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
    return f"{table}<small>{footer}</small>"


def record_html(record: SearchRecord) -> str:
    """Return one line on a search's record, every value escaped."""
    if record.seq is None:
        parts = [f"record {record.query_id}", "has its number once the lake's writers are done"]
    else:
        parts = [f"record {record.seq}, {record.query_id}", f"signed with {record.key_id}"]
    parts.append(f"{record.table_name} version {record.table_version}")
    if record.recall is not None:
        parts.append(f"measured recall {record.recall:.0%}")
    return f"<br><small>{html.escape(escaped(' · '.join(parts)))}</small>"
