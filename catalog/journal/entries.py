"""Journal events as entries of the ledger: their bodies put together anew from what is kept."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.journal.events import EVENTS_SCHEMA, KIND
from affidavit.catalog.journal.signing import (
    NEW,
    OLD,
    body_template,
    context_digest,
    context_salt,
    digests_of,
    event_id,
    value_digest,
    words_of,
)
from affidavit.catalog.ledger.commitments import CONTEXT
from affidavit.catalog.ledger.entry import DROPPED, ERASED, StoredEntry
from affidavit.catalog.ledger.verifier import leaf_hash
from affidavit.catalog.values.canonical import canonical, canonical_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARED: Final = (
    "entity_type", "table_id", "actor", "source", "workspace_id", "reason", "tx_id",
)  # fmt: skip
"""The columns that say the same of events that happened together, with their time."""

_TOLD: Final = (*_SHARED[:4], "workspace", *_SHARED[5:], "at_us", "has_context")
"""What a body is told of them, with their time and whether they have a context."""

_ALWAYS: Final = ("seq", "action", "entity_id", "field", "salt", "timestamp")
_DIGESTS: Final = ("old_digest", "new_digest", "context_digest")
"""The columns that have a value in an event of which nothing is gone, and those that have none."""


def entries_of(events: pa.Table, tenant: str | None) -> Iterator[StoredEntry]:
    """Yield events as ledger entries; a value that is not what was signed changes the body."""
    columns = dict(zip(EVENTS_SCHEMA.names, (c.to_pylist() for c in events.columns), strict=True))
    times = events["timestamp"].cast(pa.int64()).to_pylist()
    together: tuple[Any, ...] | None = None
    template = ""
    for at, seq in enumerate(columns["seq"]):
        if columns["action"][at] is None:
            yield StoredEntry(
                seq, b"", None, KIND, "", times[at], columns["leaf_hash"][at], gone=DROPPED
            )
            continue
        told = tuple(columns[name][at] for name in _SHARED)
        context = _context(columns, at)
        key = (*told, times[at], context is None)
        if key != together:
            together = key
            template = body_template(
                entity_type=told[0], table_id=told[1], tenant=tenant, actor=told[2],
                source=told[3], workspace=told[4], reason=told[5], tx_id=told[6], at_us=times[at],
                has_context=context is not None,
            )  # fmt: skip
        digests = [
            _digest(columns["salt"][at], side, columns[name][at], columns[erased][at])
            for side, name, erased in (
                (NEW, "new_value", "new_digest"),
                (OLD, "old_value", "old_digest"),
            )
        ]
        body = template % (
            canonical(columns["action"][at]).decode(),
            *(() if context is None else (context,)),
            canonical(columns["entity_id"][at]).decode(),
            seq,
            canonical(columns["field"][at]).decode(),
            digests[0],
            digests[1],
            seq,
        )
        yield StoredEntry(
            seq, body.encode(), None, KIND, event_id(times[at], seq), times[at],
            columns["leaf_hash"][at], gone=ERASED if _is_erased(columns, at) else "",
            opened=_opened(columns["salt"][at], columns[CONTEXT][at]), is_rebuilt=True,
        )  # fmt: skip


def leaves_of(events: pa.Table, tenant: str | None) -> list[bytes] | None:
    """Return the leaves that events must have; ``None`` if something of one of them is gone.

    They are those of the bodies that :func:`entries_of` puts together, many at a time.
    """
    if any(events[name].null_count for name in _ALWAYS):
        return None
    if any(events[name].null_count < events.num_rows for name in _DIGESTS):
        return None
    shared = [events[name].to_pylist() for name in _SHARED]
    times = events["timestamp"].cast(pa.int64()).to_pylist()
    contexts = [each is not None for each in events[CONTEXT].to_pylist()]
    found: list[bytes] = []
    for told, run in groupby(zip(*shared, times, contexts, strict=True)):
        count = sum(1 for _ in run)
        named: dict[str, Any] = dict(zip(_TOLD, told, strict=True))
        together = events[len(found) : len(found) + count]
        template = body_template(tenant=tenant, **named)
        found += _leaves(together, template, has_context=named["has_context"])
    return found


def _leaves(events: pa.Table, template: str, *, has_context: bool) -> list[bytes]:
    """Return the leaves of events that happened together."""
    names = ("seq", "salt", "action", "entity_id", "field", "new_value", "old_value", CONTEXT)
    seqs, salts, actions, ids, fields, news, olds, contexts = (
        events[name].to_pylist() for name in names
    )
    words = [words_of(actions, "action"), canonical_texts(ids, "entity_id")]
    if has_context:
        words.insert(1, [str(context_digest(*each)) for each in zip(salts, contexts, strict=True)])
    bodies = zip(
        *words, seqs, words_of(fields, "field"), digests_of(salts, NEW, news),
        digests_of(salts, OLD, olds), seqs, strict=True,
    )  # fmt: skip
    return [leaf_hash((template % body).encode()) for body in bodies]


def _is_erased(columns: dict[str, list[Any]], at: int) -> bool:
    """Return whether something of an event is gone, which an erasure must then say."""
    gone = (columns[name][at] for name in ("old_digest", "new_digest", "context_digest"))
    return columns["salt"][at] is None or any(each is not None for each in gone)


def _context(columns: dict[str, list[Any]], at: int) -> str | None:
    """Return the digest of an event's context, in hexadecimal; ``None`` if it has none."""
    erased: bytes | None = columns["context_digest"][at]
    if erased is not None:
        return erased.hex()
    return context_digest(columns["salt"][at] or b"", columns[CONTEXT][at])


def _opened(salt: bytes | None, context: str | None) -> bytes | None:
    """Return what an event's commitment to its context is of, as the ledger keeps such."""
    if salt is None or context is None:
        return None
    return f'{{"{CONTEXT}":["{context_salt(salt).hex()}",{context}]}}'.encode()


def _digest(salt: bytes | None, side: bytes, value: str | None, erased: bytes | None) -> str:
    if erased is not None:
        return f'"{erased.hex()}"'
    found = value_digest(salt or b"", side, value)
    return "null" if found is None else f'"{found}"'
