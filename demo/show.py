"""What the tour prints: headings, statements and tables, by rich."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INDENT: Final = 2
PIPE_WIDTH: Final = 110
"""How wide the output is where it goes to a file or pipe, which have no width."""


class Show:
    """Prints to the terminal; texts from the corpus are never taken for markup."""

    def __init__(self) -> None:
        wide = None if sys.stdout.isatty() else PIPE_WIDTH
        self._console = Console(highlight=False, width=wide)

    def section(self, title: str) -> None:
        """Begin a section."""
        self._console.print()
        self._console.rule(Text(title, "bold"), align="left", style="dim")

    def say(self, text: str) -> None:
        """Print a paragraph."""
        self._console.print(Text(text))

    def sql(self, statement: str) -> None:
        """Print a statement as it will be run."""
        code = Syntax(statement, "sql", theme="ansi_dark", background_color="default")
        self._console.print(Padding(code, (0, 0, 0, INDENT)))

    def rows(self, rows: Iterable[Mapping[str, object]], *, title: str | None = None) -> None:
        """Print rows, such as a ``Result``, as a table."""
        listed = list(rows)
        table = Table(
            title=title and Text(title, "bold"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
        )
        for name, value in (listed[0] if listed else {"(no rows)": None}).items():
            if isinstance(value, int | float):
                table.add_column(name, justify="right", no_wrap=True)
            else:
                table.add_column(name, overflow="fold")
        for row in listed:
            table.add_row(*(Text(_cell(value)) for value in row.values()))
        self._console.print(Padding(table, (0, 0, 1, INDENT)))

    def progress(self) -> Progress:
        """Return a progress display, to be used as a context manager."""
        return Progress(
            TextColumn("  {task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
