"""What checking data finds: what differs, where, what was signed and what is there."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

SHOWN_MAX: Final = 200
"""Values are shown up to so many characters."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not what was signed.

    Attributes:
        what: What differs, in words: ``table 'accounts'``.
        problem: How it does, in words.
        table: The table, by its name, if it is of one.
        key: The row, as the journal names it, if one can be told.
        column: The column, if one can be told.
        signed: The value that was signed, if one can be told.
        found: The value that is there. Neither is told of a table whose reads are to be on record:
            this is none.
        file: The file, by its path in the dataset, if it is one.
    """

    what: str
    problem: str
    table: str | None = None
    key: str | None = None
    column: str | None = None
    signed: object = None
    found: object = None
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


def of_value(table: str, key: str, column: str, signed: object, found: object) -> Difference:
    """Return that a column of a row has another value than was signed."""
    problem = f"row {key!r}, column {column!r}: {_shown(signed)} was signed, not {_shown(found)}"
    return Difference(
        f"table {table!r}", problem, table=table, key=key, column=column, signed=signed, found=found
    )


def without_values(difference: Difference) -> Difference:
    """Return that a value differs, and neither which was signed nor which is there."""
    if difference.key is None or difference.column is None:
        return difference
    problem = f"row {difference.key!r}, column {difference.column!r}: another value was signed"
    return replace(difference, problem=problem, signed=None, found=None)


def of_row(table: str, key: str, problem: str) -> Difference:
    """Return that a row is not there, or should not be."""
    return Difference(f"table {table!r}", f"row {key!r} {problem}", table=table, key=key)


def of_file(table: str, path: str, problem: str) -> Difference:
    """Return that a file of a vector table is not the one that was signed."""
    return Difference(f"vector table {table!r}", f"{path} {problem}", table=table, file=path)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


@dataclass(frozen=True, slots=True)
class DataFindings:
    """What checking data found.

    Attributes:
        differences: What differs: of each table, topic or file list the first.
        rows: How many rows of tables, topics and definitions were read.
        files: How many files of vector tables were looked at.
        trusted: What was not read, since nothing had changed since an entry that is trusted.
        uncovered: What no head states: vector tables that were last written before files were
            listed.
        is_covered: Whether a signed head states the tenant's data at all.
        has_read_files: Whether files were read, and not only looked for.
    """

    differences: tuple[Difference, ...] = ()
    rows: int = 0
    files: int = 0
    trusted: tuple[str, ...] = ()
    uncovered: tuple[str, ...] = ()
    is_covered: bool = True
    has_read_files: bool = True

    def __str__(self) -> str:
        if not self.is_covered:
            return "data that is not covered"
        how = "" if self.has_read_files else " looked for, not read"
        files = f", {self.files:,} files{how}" if self.files else ""
        trusted = f"; trusted, not read: {', '.join(self.trusted)}" if self.trusted else ""
        more = f"; not covered: {', '.join(self.uncovered)}" if self.uncovered else ""
        return f"{self.rows:,} rows{files}{trusted}{more}"

    def joined(self, more: DataFindings) -> DataFindings:
        """Return what both found."""
        return DataFindings(
            self.differences + more.differences, self.rows + more.rows, self.files + more.files,
            self.trusted + more.trusted, self.uncovered + more.uncovered,
            self.is_covered or more.is_covered, self.has_read_files and more.has_read_files,
        )  # fmt: skip
