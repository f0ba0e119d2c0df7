"""Erasures that have begun, as the store keeps them until they have ended.

Rules:
    - What is to be erased is written down before anything is: an erasure that is interrupted is
      finished by the next that comes, or when the lake is next opened.
    - What the signed head does not state is not obeyed: erasing is not for who can write a file.
    - The values that are looked for, and the rows' keys, are taken out of it in the transaction
      that needed them last.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa

from affidavit.catalog.erasure.chosen import Chosen
from affidavit.catalog.erasure.needles import Needles
from affidavit.catalog.erasure.report import Counts, Left
from affidavit.catalog.model import clock
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.covering.states import refuse_unstated
from affidavit.catalog.store.protocol import ROWID, columns_of, own
from affidavit.catalog.store.tables import ERASURES
from affidavit.catalog.values.text import from_json, json_texts

if TYPE_CHECKING:
    from affidavit.catalog.store.protocol import Reader, Writer


@dataclass(frozen=True, slots=True)
class Pending:
    """An erasure that has begun.

    Attributes:
        erasure_id: Its name.
        identity: Who asked for it.
        reason: Why.
        chosen: The rows; without their names and keys once those are needed no more.
        table: What their table is called.
        keys_too: Whether the rows' keys are to go as well.
        needles: Their values; none once they are needed no more.
        seq: The entry that says that values were destroyed; ``None`` before they were.
        certified: The entry that says that it has ended, whose file may not be there yet.
        until: The newest entry when the rows had gone: what is newer is of other rows.
        erased: How much was erased so far.
        left: What is beyond reach, as far as it is known.
    """

    erasure_id: str
    identity: Identity
    reason: str
    chosen: Chosen
    table: str
    keys_too: bool
    needles: Needles = field(default_factory=Needles)
    seq: int | None = None
    certified: int | None = None
    until: int = -1
    erased: Counts = field(default_factory=Counts)
    left: tuple[Left, ...] = ()

    def without_values(self) -> Pending:
        """Return it without what it has of the rows."""
        nothing = replace(
            self.chosen, ids=frozenset(), keys=self.chosen.keys.slice(0, 0), rowids=()
        )
        return replace(self, chosen=nothing, needles=Needles())

    def counted(self, **more: int) -> Pending:
        """Return it with more that was erased."""
        counts = Counts(self.erased)
        for name, count in more.items():
            if count:
                counts[name] = counts.get(name, 0) + count
        return replace(self, erased=counts)


def new_name() -> str:
    """Return a name for an erasure."""
    return f"erasure-{uuid4().hex}"


def begin(writer: Writer, pending: Pending) -> None:
    """Write an erasure down, before anything is erased."""
    row = (pending.erasure_id, _json(pending), clock.now_us())
    writer.insert(ERASURES, columns_of(ERASURES), [row])


def keep(writer: Writer, pending: Pending) -> None:
    """Write down how far an erasure is."""
    by_name = Compare("=", "erasure_id", pending.erasure_id)
    writer.update_where(ERASURES, {"told": _json(pending)}, by_name)


def end(writer: Writer, pending: Pending) -> None:
    """Forget an erasure that has ended."""
    writer.delete_where(ERASURES, Compare("=", "erasure_id", pending.erasure_id))


def pending_of(reader: Reader, tenant: str) -> list[Pending]:
    """Return a tenant's erasures that have not ended, oldest first.

    Raises:
        LedgerCorruptError: Somebody else wrote one: it is not obeyed.
    """
    rows = reader.select(ERASURES, ("told",), own(tenant), order_by=("created_at", ROWID))
    if rows:
        refuse_unstated(reader, tenant, ERASURES)
    return [_read(str(told)) for (told,) in rows]


def _json(pending: Pending) -> str:
    keys = pending.chosen.keys
    told: dict[str, Any] = {
        "erasure_id": pending.erasure_id, "identity": asdict(pending.identity),
        "reason": pending.reason, "table": pending.table,
        "keys_too": pending.keys_too, "needles": pending.needles.to_json(), "seq": pending.seq,
        "certified": pending.certified, "until": pending.until,
        "erased": dict(pending.erased), "left": [[each.where, each.why] for each in pending.left],
        "table_id": pending.chosen.table_id, "ids": sorted(pending.chosen.ids),
        "entity_type": pending.chosen.entity_type,
        "schema": keys.schema.serialize().to_pybytes().hex(),
        "keys": {name: json_texts(keys[name]) for name in keys.column_names},
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False)


def _read(text: str) -> Pending:
    told = json.loads(text)
    schema = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(told["schema"])))
    keys = pa.table(
        [from_json([*map(json.loads, told["keys"][each.name])], each.type) for each in schema],
        schema=schema,
    )
    chosen = Chosen(told["table_id"], frozenset(told["ids"]), keys, entity_type=told["entity_type"])
    return Pending(
        told["erasure_id"], Identity(**told["identity"]), told["reason"], chosen, told["table"],
        told["keys_too"], Needles.of_json(told["needles"]), told["seq"],
        told["certified"], told["until"], Counts(told["erased"]),
        tuple(Left(*each) for each in told["left"]),
    )  # fmt: skip
