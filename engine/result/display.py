"""Tables as text and as HTML, for consoles and notebooks."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.engine.search.record import SearchRecord

ROWS_SHOWN_MAX: Final = 20
CELL_LENGTH_MAX: Final = 60
LIST_ITEMS_SHOWN_MAX: Final = 4


def cell(value: object) -> str:
    """Return ``value`` as one short line."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and len(value) > LIST_ITEMS_SHOWN_MAX:
        shown = ", ".join(cell(each) for each in value[:LIST_ITEMS_SHOWN_MAX])
        return f"[{shown}, ... {len(value)}]"
    text = " ".join(str(value).split())
    return text if len(text) <= CELL_LENGTH_MAX else text[: CELL_LENGTH_MAX - 1] + "…"


def _cells(head: pa.Table) -> list[list[str]]:
    columns = []
    for column in head.columns:
        try:
            columns.append([cell(value) for value in column.to_pylist()])
        except (ValueError, OverflowError):  # an instant that Python's datetime cannot hold
            columns.append([cell(value) for value in column.cast(pa.string()).to_pylist()])
    return [list(row) for row in zip(*columns, strict=True)]


def as_text(head: pa.Table, *, more: bool) -> str:
    """Return up to :data:`ROWS_SHOWN_MAX` rows as an aligned table."""
    rows = _cells(head.slice(0, ROWS_SHOWN_MAX))
    names = head.schema.names
    widths = [
        max(len(name), *(len(row[at]) for row in rows)) if rows else len(name)
        for at, name in enumerate(names)
    ]
    lines = [_line(names, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in rows]
    lines.append(_footer(head, more=more))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(c.ljust(width) for c, width in zip(cells, widths, strict=True)).rstrip()


def _footer(head: pa.Table, *, more: bool) -> str:
    if more or head.num_rows > ROWS_SHOWN_MAX:
        return f"(the first {min(head.num_rows, ROWS_SHOWN_MAX)} rows)"
    return f"({head.num_rows} row{'' if head.num_rows == 1 else 's'})"


def as_html(head: pa.Table, *, more: bool) -> str:
    """Return up to :data:`ROWS_SHOWN_MAX` rows as an HTML table, every value escaped."""
    names = "".join(
        f'<th title="{html.escape(str(field.type))}">{html.escape(field.name)}</th>'
        for field in head.schema
    )
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(value)}</td>" for value in row) + "</tr>"
        for row in _cells(head.slice(0, ROWS_SHOWN_MAX))
    )
    footer = html.escape(_footer(head, more=more))
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
    return f"<br><small>{html.escape(' · '.join(parts))}</small>"
