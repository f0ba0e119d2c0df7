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
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.erasure.needles import said_in
from affidavit.catalog.erasure.report import of_format_1, unreadable
from affidavit.catalog.ledger.commitments import opened_members, without
from affidavit.catalog.ledger.entry import ERASURE, StoredEntry, given, rows_given
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER, RESULTS

if TYPE_CHECKING:
    from affidavit.catalog.erasure.chosen import Chosen
    from affidavit.catalog.erasure.needles import Needles
    from affidavit.catalog.erasure.report import Left
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Reader, Writer

OF_ROWS: Final = frozenset({"result_sha256", "rows_set_sha256"})
"""The members of a record that are made of the values of rows."""

OF_QUERY: Final = frozenset({"query_vector", "query_text", "query_sha256", "params"})
"""The members of a record that are made of one query: they go together."""

OF_QUESTION: Final = OF_QUERY | {"text", "parameters", "filter", "filters"}
"""The members of a record that say what was asked."""

OF_KEYS: Final = frozenset({"ids", "top_k_result_ids", "retrieval_scores", "keys"})
"""The members of a record that have the keys of rows."""

HAVE_VALUES: Final = ("search", "read", "read-closed", "erasure")
"""The kinds of entries that may have values of rows."""


class Records:
    """What is let go of records, found as they are read one by one.

    Args:
        chosen: The rows.
        needles: Their values.
        keys_too: Whether their keys go too.

    Attributes:
        members: The number of each record, and the members that are gone.
        beyond: Records that keep such values, or may: those whose signed bodies have them.
        texts: The statements that are gone, which the log has too.
        read: The number of the newest record that was read.
    """

    def __init__(self, chosen: Chosen, needles: Needles, *, keys_too: bool) -> None:
        self.members: list[tuple[int, list[str]]] = []
        self.beyond: list[Left] = []
        self.texts: set[str] = set()
        self.read = -1
        self._chosen = chosen
        self._needles = needles
        self._keys_too = keys_too

    def told(self) -> list[list[object]]:
        """Return what the entry says of them."""
        return [[seq, members] for seq, members in sorted(self.members)]

    def change(self, entry: StoredEntry) -> bytes | None:
        """Return what is left beside the body of a record."""
        self.read = max(self.read, entry.seq)
        if entry.kind not in HAVE_VALUES:
            return entry.opened
        try:
            members = opened_members(entry.opened)
        except LedgerProblem:
            self.beyond.append(unreadable(entry.seq))
            return entry.opened
        if not members:
            if self._needles and self._needles.in_json(_parsed(entry.body)):
                self.beyond.append(of_format_1(entry.seq))
            return entry.opened
        is_given = self._names_one(entry, members)
        gone = _gone(members, self._needles, is_given=is_given)
        if self._keys_too and is_given:
            gone |= OF_KEYS & members.keys()
        if not gone:
            return entry.opened
        self.members.append((entry.seq, sorted(gone)))
        if "text" in gone:
            self.texts.add(str(members["text"][1]))
        return without(entry.opened, frozenset(gone))

    def _names_one(self, entry: StoredEntry, members: dict[str, tuple[bytes, Any]]) -> bool:
        """Return whether a record gave one of the rows, or may have, or an erasure names one."""
        chosen, fields = self._chosen, _parsed(entry.body)
        if entry.kind == ERASURE:
            _, keys = members.get("keys", (b"", ()))
            return fields.get("table_id") == chosen.table_id and not chosen.ids.isdisjoint(keys)
        return any(each.may_have(chosen.table_id, chosen.ids) for each in given(entry, fields))

    def let_go_of_newer(self, writer: Writer, tenant: str) -> None:
        """Do the same with records that came since, in the transaction that says so."""
        newer = own(tenant, Compare(">", "seq", self.read), In("kind", HAVE_VALUES))
        columns = ("seq", "body", "signature", "kind", "opened")
        for seq, body, signature, kind, opened in writer.select(LEDGER, columns, newer):
            entry = StoredEntry(seq, body, signature, kind, opened=opened)  # type: ignore[arg-type]  # as the store has it
            left = self.change(entry)
            if left != opened:
                by_number = own(tenant, Compare("=", "seq", seq))
                writer.update_where(LEDGER, {"opened": left}, by_number)
                if not rows_given(replace(entry, opened=left), _parsed(entry.body)):
                    writer.delete_where(RESULTS, by_number)


def _gone(members: dict[str, tuple[bytes, Any]], needles: Needles, *, is_given: bool) -> set[str]:
    """Return the members that have one of the values, or hash the rows that had them."""
    gone = set()
    for name, (_, value) in members.items():
        if name in OF_KEYS:  # of other rows, whatever they are called
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


def _parsed(body: bytes) -> dict[str, Any]:
    """Return what a body says; nothing where it is none, which verifying tells."""
    try:
        found = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def erased_before(catalog: Catalog, reader: Reader, chosen: Chosen) -> bool:
    """Return whether rows were erased, or may have been with their keys."""
    for entry in catalog.ledger.entries(reader, Compare("=", "kind", ERASURE)):
        fields = entry.fields()
        if fields.get("table_id") != chosen.table_id:
            continue
        _, keys = opened_members(entry.opened).get("keys", (b"", ()))
        if fields.get("keys_too") or chosen.ids <= {*keys}:
            return True
    return False
