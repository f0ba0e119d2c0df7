"""What the constraints of a table are called, and of which kind each is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.model.definition import MutableDefinition

PRIMARY_KEY: Final = "PRIMARY KEY"
UNIQUE: Final = "UNIQUE"
CHECK: Final = "CHECK"
FOREIGN_KEY: Final = "FOREIGN KEY"


def key_name(table: str) -> str:
    """Return what the primary key of a table is called."""
    return f"{table}_pkey"


def constraints_of(
    table: str, definition: MutableDefinition
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each constraint of a table: its name, its kind, and its columns."""
    if definition.primary_key:
        yield key_name(table), PRIMARY_KEY, definition.primary_key
    for index in definition.indexes:
        if index.unique:
            yield index.name, UNIQUE, index.columns
    for check in definition.rules.checks:
        yield check.name, CHECK, check.columns
    for key in definition.rules.foreign_keys:
        yield key.name, FOREIGN_KEY, key.columns


def constraint_names(table: str, definition: MutableDefinition) -> list[str]:
    """Return the name of each constraint of a table."""
    return [name for name, _, _ in constraints_of(table, definition)]


def new_name(table: str, definition: MutableDefinition, columns: Sequence[str], ending: str) -> str:
    """Return a name for a constraint that was given none, which no other has."""
    first = "_".join([table, *(columns if len(columns) <= 1 or ending != "check" else ()), ending])
    taken = {*constraint_names(table, definition), *(index.name for index in definition.indexes)}
    name, at = first, 0
    while name in taken:
        at += 1
        name = f"{first}{at}"
    return name
