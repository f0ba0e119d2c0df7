"""``source_query('source', 'SELECT ...')``: a query in a source's own SQL, read as a table.

Rules:
    - It is a query and one alone, over a connection that only reads and is not used again.
    - Nobody asks one whose session has limits: what it reaches is decided over there.
    - The read is on record with its text, or with the SHA-256 of that where texts are not kept.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sources.databases.dataset import SourceDataset
from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.scans.sources import DatabaseSource
from affidavit.engine.statement.reading.functions import SOURCE_QUERY
from affidavit.errors import InvalidQueryError, SourceError, SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datafusion.catalog import Table

    from affidavit.catalog.model.release import TableRead
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.scans.sources import Source

_BEGINS: Final = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})


def passed_query(
    attached: Mapping[str, Source], snapshot: Snapshot, given: Mapping[str, Any]
) -> Table:
    """Return what DataFusion reads a source's query through.

    Raises:
        InvalidQueryError: The source is none, or is no database.
        SourceError: The session has limits, or the source refuses the query.
        SqlError: It is no query, or more than one.
    """
    name, text = given["source"], given["query"]
    if not isinstance(name, str) or not isinstance(text, str):
        msg = f"{SOURCE_QUERY} takes a source's name and a query, both in quotes"
        raise InvalidQueryError(msg)
    source = attached.get(name)
    if not isinstance(source, DatabaseSource):
        databases = sorted(n for n, each in attached.items() if isinstance(each, DatabaseSource))
        raise InvalidQueryError(f"{SOURCE_QUERY}: {name!r} is none of the databases {databases}")
    if snapshot.is_limited:
        msg = (
            f"{SOURCE_QUERY} is off in a session with limits: let one without make a table or a "
            f"view over there, and read {name}.schema.table"
        )
        raise SourceError(msg)
    text = only_query(text)
    table = source.database.query(text)
    dataset = SourceDataset(
        source.database, table, lambda: snapshot.running, snapshot.fail, snapshot.sent,
        snapshot.moment(source.database),
        told=_told(snapshot, name, text).moment_teller,
    )  # fmt: skip
    return snapshot.scan(("", f"{SOURCE_QUERY} {name} {text}"), dataset)


def only_query(text: str) -> str:
    """Return a text without the semicolon at its end.

    Raises:
        SqlError: It is no query, or there is more than one.
    """
    tokens = list(tokenize(text))
    if tokens and tokens[-1].text == ";":
        text = text[: tokens.pop().start]
    if not tokens or tokens[0].keyword not in _BEGINS:
        raise SqlError(f"{SOURCE_QUERY} takes a SELECT: INSERT INTO writes to a source")
    depth = 0
    for token in tokens:
        if token.kind == "symbol":
            depth += (token.text == "(") - (token.text == ")")
        if depth < 0 or (token.kind == "symbol" and token.text == ";"):
            raise SqlError(f"{SOURCE_QUERY} takes one query, and there is something behind it")
    return text


def _told(snapshot: Snapshot, source: str, text: str) -> TableRead:
    """Return what is put on record of a query, each by a name of its own."""
    names = snapshot.passed
    known = names.setdefault((source, text), f"{source}.{SOURCE_QUERY}#{len(names) + 1}")
    keeps = snapshot.catalog.keeps_queries
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return snapshot.note_name(
        known, look=lambda: {"sql": text} if keeps else {"sql_sha256": sha256}
    )
