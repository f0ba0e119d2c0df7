"""Records of searches and reads: what they say of a row that is erased is let go.

Rules:
    - A record stays what was signed: members that it commits to lose their salt and value, and the
      entry of the erasure says which.
    - A record that gave the row loses what was asked too where that has a word of its values.
    - What a result hashed to is let go where the record gave the row: whoever has that salt could
      try values until the digest is that.
    - The row's key stays where it was given, unless keys are to go too. Then the record's whole
      list of keys goes, for a salt stands for all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.erasure.needles import said_in
from affidavit.catalog.ledger.commitments import opened_members, without
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER, RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.erasure.chosen import Chosen
    from affidavit.catalog.erasure.needles import Needles
    from affidavit.catalog.store.protocol import Reader, Writer

OF_ROWS: Final = frozenset({"result_sha256", "rows_set_sha256"})
"""The members of a record that are made of the values of rows."""

OF_QUERY: Final = frozenset({"query_vector", "query_text", "query_sha256", "params"})
"""The members of a record that are made of one query: they go together."""

OF_QUESTION: Final = OF_QUERY | {"text", "parameters", "filter", "filters"}
"""The members of a record that say what was asked."""

OF_KEYS: Final = frozenset({"ids", "top_k_result_ids", "retrieval_scores", "keys"})
"""The members of a record that have the keys of rows."""

IDS_AT_ONCE: Final = 500
RECORDS_AT_ONCE: Final = 512


@dataclass(slots=True)
class Records:
    """What is let go of records.

    Attributes:
        members: The number of each record, and the members that are gone.
        opened: What is left beside the body of each.
        beyond: Records whose signed bodies have such values themselves.
        texts: The statements that are gone, which the log has too.
    """

    members: list[tuple[int, list[str]]] = field(default_factory=list)
    opened: dict[int, bytes | None] = field(default_factory=dict)
    beyond: list[int] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    def told(self) -> list[list[object]]:
        """Return what the entry says of them."""
        return [[seq, members] for seq, members in self.members]


def let_go_of_records(
    writer: Writer, tenant: str, chosen: Chosen, needles: Needles, *, keys_too: bool
) -> Records:
    """Destroy what records say of rows, in the transaction that says so."""
    gave = _that_gave(writer, tenant, chosen.ids)
    found = Records()
    for seq, body, opened in _records(writer, tenant):
        members = opened_members(opened)
        if not members:
            if needles and needles.in_json(_parsed(body)):
                found.beyond.append(seq)
            continue
        is_given = seq in gave and _has_row_of(chosen, body, members)
        gone = _gone(members, needles, is_given=is_given, keys_too=keys_too)
        if keys_too:
            gone |= _with_keys(members, chosen)
        if gone:
            found.members.append((seq, sorted(gone)))
            if "text" in gone:
                found.texts.add(str(members["text"][1]))
            found.opened[seq] = without(opened, frozenset(gone))
    for seq, left in found.opened.items():
        writer.update_where(LEDGER, {"opened": left}, own(tenant, Compare("=", "seq", seq)))
    _forget_keys(writer, tenant, found)
    return found


def _records(reader: Reader, tenant: str) -> Iterator[tuple[int, bytes, bytes | None]]:
    """Yield the number, body and what stands beside it of every entry that may have values."""
    kinds = In("kind", ("search", "read", "read-closed", "erasure"))
    pages = reader.rows(
        LEDGER, ("seq", "body", "opened"), own(tenant, kinds), batch_rows=RECORDS_AT_ONCE
    )
    yield from chain.from_iterable(pages)


def _gone(
    members: dict[str, tuple[bytes, Any]], needles: Needles, *, is_given: bool, keys_too: bool
) -> set[str]:
    """Return the members that have one of the values, or hash the rows that had them."""
    gone = set()
    for name, (_, value) in members.items():
        if name in OF_KEYS and not keys_too:
            continue
        said = said_in(value) if name == "text" and isinstance(value, str) else value
        is_about = is_given and name in OF_QUESTION and needles.share_words(said)
        if is_about or needles.in_json(said):
            gone.add(name)
    if gone & OF_QUERY:
        gone |= OF_QUERY
    if is_given:
        gone |= OF_ROWS
    return gone & members.keys()


def _with_keys(members: dict[str, tuple[bytes, Any]], chosen: Chosen) -> set[str]:
    """Return the members that have a key of the rows."""
    listed: set[str] = {
        name
        for name in ("ids", "top_k_result_ids", "keys")
        if name in members and not chosen.ids.isdisjoint(_texts(members[name][1]))
    }
    if "top_k_result_ids" in listed and "retrieval_scores" in members:
        listed.add("retrieval_scores")
    return listed


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        yield from _texts(value.get("ids"))
    elif isinstance(value, str):
        yield value


def _forget_keys(writer: Writer, tenant: str, found: Records) -> None:
    """Take the rows of records whose keys are gone out of the index of rows, as verifying wants."""
    seqs = [seq for seq, members in found.members if {"ids", "top_k_result_ids"} & {*members}]
    for at in range(0, len(seqs), IDS_AT_ONCE):
        page = In("seq", tuple(seqs[at : at + IDS_AT_ONCE]))
        writer.delete_where(RESULTS, own(tenant, page))


def _that_gave(reader: Reader, tenant: str, ids: frozenset[str]) -> set[int]:
    """Return the records that gave a row of one of these keys, of whatever table."""
    listed, found = sorted(ids), set()
    for at in range(0, len(listed), IDS_AT_ONCE):
        page = In("row_id", tuple(listed[at : at + IDS_AT_ONCE]))
        found |= {int(seq or 0) for (seq,) in reader.select(RESULTS, ("seq",), own(tenant, page))}
    return found


def _has_row_of(chosen: Chosen, body: bytes, members: dict[str, tuple[bytes, Any]]) -> bool:
    """Return whether what a record gave by one of these keys was a row of the table."""
    fields = _parsed(body)
    if fields.get("kind") == "search":
        return bool(fields.get("table_id") == chosen.table_id)
    _, lists = members.get("ids", (b"", None))
    return any(
        each.get("table_id") == chosen.table_id and not chosen.ids.isdisjoint(each.get("ids", ()))
        for each in lists or ()
    )


def _parsed(body: bytes) -> dict[str, Any]:
    """Return what a body says; nothing where it is none, which verifying tells."""
    try:
        found = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
