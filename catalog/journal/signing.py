"""What is signed of a journal event, and what is left of it when its values are destroyed.

Rules:
    - An entry's leaf commits to the values by salted hashes: with the salt and the values destroyed
      the proof still holds, and nobody can find the values by trying.
    - So it does to the context of the scope, by a salt of its own that is made of the event's:
      who is told the context, as in a bundle, cannot try values.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import EVENTS_SCHEMA, KIND, Events, completed
from affidavit.catalog.ledger.commitments import CONTEXT, VERSION
from affidavit.catalog.ledger.verifier import commitment, leaf_hash
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.values.canonical import canonical, canonical_texts, from_us
from affidavit.catalog.values.text import NULL
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.journal.events import Batch

SALT_BYTES: Final = 16
VALUE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest new value that an event takes, as JSON. A row is one that is inserted."""


def value_digest(salt: bytes, side: bytes, value: str | None) -> str | None:
    """Return what a leaf says of a value: ``None``, or the hash of salt, side and value."""
    if value is None:
        return None
    return hashlib.sha256(salt + side + value.encode()).hexdigest()


OLD, NEW = b"\x00", b"\x01"


def context_salt(salt: bytes) -> bytes:
    """Return the salt of an event's context, which tells nothing of the event's own."""
    return hashlib.sha256(salt + b"\x02").digest()[:SALT_BYTES]


def context_digest(salt: bytes, context: str | None) -> str | None:
    """Return the hash in what a leaf says of a context, in hexadecimal; ``None`` of none."""
    if context is None:
        return None
    return commitment(context_salt(salt), CONTEXT, context.encode()).removeprefix("c:")


def event_id(at_us: int, seq: int) -> str:
    """Return an event's name."""
    return f"evt-{at_us // 1000}-{seq}"


def body_template(
    *,
    entity_type: str,
    table_id: str | None,
    tenant: str | None,
    actor: str,
    source: str,
    workspace: str,
    reason: str,
    tx_id: str,
    at_us: int,
    has_context: bool = False,
) -> str:
    """Return the canonical body of events that happened together.

    It has places for: action, the context's digest if there is one, entity_id, seq, field,
    new_digest, old_digest and seq again, each but the second in canonical JSON.
    """
    constants = {
        "actor": actor, "entity_type": entity_type, "reason": reason, "source": source,
        "table_id": table_id, "tenant": tenant, "timestamp": from_us(at_us), "tx_id": tx_id,
        "workspace_id": workspace,
    }  # fmt: skip
    c = {name: _constant(name, value) for name, value in constants.items()}
    context = f'"{CONTEXT}":"c:%s",' if has_context else ""
    version = f'"v":{VERSION},' if has_context else ""
    return (
        f'{{"action":%s,"actor":{c["actor"]},{context}'
        f'"entity_id":%s,"entity_type":{c["entity_type"]},'
        f'"event_id":"evt-{at_us // 1000}-%d","field":%s,"kind":"{KIND}","new_digest":%s,'
        f'"old_digest":%s,"reason":{c["reason"]},"seq":%d,"source":{c["source"]},'
        f'"table_id":{c["table_id"]},"tenant":{c["tenant"]},"timestamp":{c["timestamp"]},'
        f'"tx_id":{c["tx_id"]},{version}"workspace_id":{c["workspace_id"]}}}'
    )


@lru_cache(maxsize=1024)
def _constant(name: str, value: str | None) -> str:
    """Return what stands in a template for a text, most of which come again."""
    return canonical(value, name).decode().replace("%", "%%")


@dataclass(frozen=True, slots=True)
class Hashed:
    """Events that happened together, hashed as far as they are without a number.

    Attributes:
        batch: The events.
        salts: The salt of each.
        template: The body of each, as :func:`body_template` gives it.
        words: What stands in its places, in their order but for the numbers and the contexts.
        contexts: The digests of the contexts; none if there is no context.
    """

    batch: Batch
    salts: Sequence[bytes]
    template: str
    words: tuple[Sequence[str], ...]
    contexts: Sequence[str] = ()

    def numbered(self, first: int) -> tuple[list[Sequence[Any]], list[bytes]]:
        """Return the events from ``first`` on, as columns to keep, and their leaves."""
        batch, who, count = self.batch, self.batch.identity, len(self.salts)
        seqs = range(first, first + count)
        actions, ids, fields, news, olds = self.words
        begun = (actions, self.contexts) if self.contexts else (actions,)
        bodies = zip(*begun, ids, seqs, fields, news, olds, seqs, strict=True)
        template = self.template
        leaves = [leaf_hash((template % body).encode()) for body in bodies]
        told = (who.actor, who.source, who.workspace, batch.tx_id, who.reason, batch.table_id)
        columns: list[Sequence[Any]] = [
            seqs, [batch.at_us] * count, [batch.entity_type] * count,
            *Events.of(batch.events).columns, *([each] * count for each in told), self.salts,
            [None] * count, [None] * count,
        ]  # fmt: skip
        if self.contexts:
            columns += [[who.context] * count, [None] * count]
        return columns, leaves


def hashed(batch: Batch) -> Hashed:
    """Return ``batch`` with what does not depend on its numbers done.

    Raises:
        InvalidQueryError: A value is too large, or an id cannot be written as JSON.
    """
    ids, fields, actions, olds, news = Events.of(batch.events).columns
    _check_sizes(batch.entity_type, ids, news)
    if batch.table_id is None:  # a table's row that grew larger can be deleted nevertheless
        _check_sizes(batch.entity_type, ids, olds)
    who = batch.identity
    template = body_template(
        entity_type=batch.entity_type, table_id=batch.table_id,
        tenant=None if who.tenant == SHARED else who.tenant, actor=who.actor, source=who.source,
        workspace=who.workspace, reason=who.reason, tx_id=batch.tx_id, at_us=batch.at_us,
        has_context=bool(who.context),
    )  # fmt: skip
    drawn = os.urandom(SALT_BYTES * len(ids))
    salts = [drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES)]
    words = (
        words_of(actions, "action"), canonical_texts(ids, "entity_id"), words_of(fields, "field"),
        digests_of(salts, NEW, news), digests_of(salts, OLD, olds),
    )  # fmt: skip
    contexts = [context_digest(salt, who.context) or "" for salt in salts] if who.context else ()
    return Hashed(batch, salts, template, words, contexts)


def _check_sizes(entity_type: str, ids: Sequence[str], values: Sequence[str | None]) -> None:
    for entity_id, value in zip(ids, values, strict=True):
        if value is not None and len(value) > VALUE_BYTES_MAX:
            msg = (
                f"{entity_type} {entity_id!r}: a value of {len(value):,} characters is more "
                f"than the journal takes, {VALUE_BYTES_MAX:,}"
            )
            raise InvalidQueryError(msg)


def words_of(words: Sequence[str], what: str) -> list[str]:
    """Return texts, most of them the same, in canonical JSON."""
    known = {word: canonical(word, what).decode() for word in set(words)}
    return [known[word] for word in words]


def digests_of(salts: Sequence[bytes], side: bytes, values: Sequence[str | None]) -> list[str]:
    """Return :func:`value_digest` of each value in canonical JSON."""
    sha256 = hashlib.sha256
    return [
        NULL if value is None else f'"{sha256(salt + side + value.encode()).hexdigest()}"'
        for salt, value in zip(salts, values, strict=True)
    ]


def without_values(events: pa.Table, mask: pa.Array) -> pa.Table:
    """Return events with the values of those destroyed that ``mask`` names, and their salts.

    So are the contexts that they were written in. What their leaves say of the values stays, so
    that proofs hold. Each has a salt.
    """
    events = completed(events, EVENTS_SCHEMA.names)
    chosen = events.filter(mask)
    salts = chosen["salt"].to_pylist()
    digests = {
        "old_digest": [value_digest(s, OLD, v) for s, v in _pairs(salts, chosen["old_value"])],
        "new_digest": [value_digest(s, NEW, v) for s, v in _pairs(salts, chosen["new_value"])],
        "context_digest": [context_digest(s, v) for s, v in _pairs(salts, chosen[CONTEXT])],
    }
    for name in ("old_value", "new_value", CONTEXT, "salt", *digests):
        kept = events[name].combine_chunks()
        written = [
            None if d is None else bytes.fromhex(d)
            for d in digests.get(name, [None] * chosen.num_rows)
        ]
        column = pc.replace_with_mask(kept, mask, pa.array(written, kept.type))
        events = events.set_column(events.schema.get_field_index(name), name, column)
    return events.cast(EVENTS_SCHEMA)


def _pairs(salts: list[bytes], values: pa.ChunkedArray) -> Iterator[tuple[bytes, str | None]]:
    return zip(salts, values.to_pylist(), strict=True)
