"""RETURNING that names what a row was joined with: the tables of FROM and USING, and the source.

A statement's query gives those columns beside the row's own; here they become tables again, which
are joined with what was written by the place of the row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.sql.lexer import Cursor, Token, edited, tokenize
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.reading import key_of, names_of, wants_rows
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.statement.assignments import qualified
from affidavit.engine.statement.grammar import skip_alias, skip_expression
from affidavit.engine.statement.honoured import AGGREGATES
from affidavit.engine.statement.statement import DML_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.engine.run.target import OpenTarget

BESIDE: Final = "__beside_"
"""What the columns of other tables begin with: a name alone is the target's where it has one."""

PLACE: Final = "__place"


def returned_of(
    opened: OpenTarget,
    clause: str,
    rows: pa.Table,
    alias: str,
    identities: pa.ChunkedArray | None = None,
) -> pa.Table | None:
    """Return what a RETURNING says of the rows that were written, if there is one.

    ``identities`` are what a table without a key names them by, where they were there before.
    """
    if not clause:
        return None
    _tell(opened, rows, identities)
    opened.snapshot.virtual["returning"] = memory_table(rows)
    return opened.rows(f'SELECT {clause} FROM "{DML_SCHEMA}".returning AS {quoted(alias)}')


def _tell(opened: OpenTarget, rows: pa.Table, identities: pa.ChunkedArray | None) -> None:
    """Note that a RETURNING reads the rows that were written."""
    told = opened.snapshot.read_anew(opened.info)
    named = rows if identities is None or opened.key else pa.table({ROWID: identities})
    key = key_of(opened.info)
    if wants_rows(opened.catalog, opened.info) and {*key} <= {*named.schema.names}:
        told.want_rows(key, names_of(opened.info))
        told.give(named.select(list(key)))
        told.are_at(())


@dataclass(frozen=True, slots=True)
class Beside:
    """The columns of other tables that a RETURNING names.

    Attributes:
        tables: What each table is called, and its columns.
    """

    tables: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, clause: str, names: Sequence[str], prefix: str, tables: str, opened: OpenTarget
    ) -> Beside:
        """Return what a RETURNING names of other tables.

        Args:
            clause: What RETURNING lists.
            names: What the other tables are called.
            prefix: The statement's common tables.
            tables: What stands in FROM.
            opened: The target.
        """
        if not clause or not names:
            return cls()
        known = {name: opened.columns_of(f"{prefix} SELECT {quoted(name)}.* FROM {tables}")
                 for name in names}  # fmt: skip
        words = {token.name for token in tokenize(clause) if token.name is not None}
        others = {column for columns in known.values() for column in columns}
        if not words & ({*names} | (others - {*opened.columns})):
            return cls()
        return cls(known)

    def selected(self) -> str:
        """Return the columns, for the statement's query, with a comma before each."""
        return "".join(
            f', {quoted(name)}.{quoted(column)} AS "{BESIDE}{at}_{place}"'
            for at, (name, columns) in enumerate(self.tables.items())
            for place, column in enumerate(columns)
        )

    def returned(
        self, clause: str, alias: str, written: pa.Table, rows: pa.Table, opened: OpenTarget
    ) -> pa.Table | None:
        """Return what RETURNING says of the rows that were written, each beside one of ``rows``."""
        if not clause or not self.tables:
            return returned_of(opened, clause, written, alias, rows[ROWID])
        _tell(opened, written, rows[ROWID])
        places = pa.array(range(written.num_rows), pa.int64())
        virtual = opened.snapshot.virtual
        virtual["returning"] = memory_table(written.append_column(PLACE, places))
        joined = f'"{DML_SCHEMA}".returning AS {quoted(alias)}'
        own = {*written.schema.names}
        text = _starred(clause, {alias: opened.columns, **self.tables}, alias)
        for at, (name, columns) in enumerate(self.tables.items()):
            found = {
                f"{BESIDE}{column}": rows[f"{BESIDE}{at}_{place}"]
                for place, column in enumerate(columns)
            }
            virtual[f"returning_{at}"] = memory_table(pa.table({**found, PLACE: places}))
            joined += (
                f' JOIN "{DML_SCHEMA}".returning_{at} AS {quoted(name)} '
                f"ON {quoted(alias)}.{PLACE} = {quoted(name)}.{PLACE}"
            )
            renamed = {column: f"{BESIDE}{column}" for column in columns}
            text = qualified(text, name, renamed)
            text = _bare(text, {c: called for c, called in renamed.items() if c not in own})
        words = {str(token.name).lower() for token in tokenize(clause)}
        order = "" if words & AGGREGATES else f" ORDER BY {quoted(alias)}.{PLACE}"
        found_rows = opened.rows(f"SELECT {text} FROM {joined}{order}")
        return found_rows.rename_columns(
            [name.removeprefix(BESIDE) for name in found_rows.schema.names]
        )


def _starred(clause: str, tables: Mapping[str, Sequence[str]], alias: str) -> str:
    """Return a list with the columns that each star in it stands for."""
    tokens, edits = tokenize(clause), list[tuple[int, int, str]]()
    for at in range(len(tokens)):
        if tokens[at].text != "*" or tokens[at].depth:
            continue
        before = tokens[at - 1].text if at else ","
        start, name = at, alias
        if before == "." and at > 1 and tokens[at - 2].name in tables:
            start, name = at - 2, str(tokens[at - 2].name)
        elif before != ",":
            continue
        listed = ", ".join(f"{quoted(name)}.{quoted(column)}" for column in tables[name])
        edits.append((tokens[start].start, tokens[at].end, listed))
    return edited(clause, edits)


def _bare(clause: str, renamed: Mapping[str, str]) -> str:
    """Return a list in which columns that stand without a table are called otherwise."""
    tokens, edits = tokenize(clause), list[tuple[int, int, str]]()
    for at in _of_expressions(clause, tokens):
        token, before = tokens[at], tokens[at - 1].text.upper() if at else ""
        behind = tokens[at + 1].text if at + 1 < len(tokens) else ""
        name = token.name or ""
        if name in renamed and before not in {".", "AS"} and behind not in {".", "("}:
            edits.append((token.start, token.end, quoted(renamed[name])))
    return edited(clause, edits)


def _of_expressions(clause: str, tokens: Sequence[Token]) -> list[int]:
    """Return the places of a list's tokens that are no item's alias."""
    cursor, found = Cursor(clause, tokens), list[int]()
    while not cursor.done:
        start = cursor.at
        skip_expression(cursor)
        found += range(start, cursor.at)
        skip_alias(cursor)
        if not cursor.accept(","):
            break
    return found
