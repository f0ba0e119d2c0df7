"""The certificate of an erasure: an entry of the ledger, and a file in the lake."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.erasure.report import Certificate
from affidavit.catalog.ledger.entry import stamped
from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.disk import tenant_folder
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.erasure.pending import Pending
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Writer

CERTIFICATE: Final = "erasure-certificate"
"""The kind of the entry that says that an erasure has ended, what it did and what is left."""

_log: Final = logging.getLogger("affidavit")


def certify(catalog: Catalog, writer: Writer, pending: Pending, versions: Sequence[int]) -> int:
    """Say in the ledger that an erasure has ended, and return the number of the entry."""
    identity, now_us = pending.identity, clock.now_us()
    entry = stamped(
        CERTIFICATE, f"{pending.erasure_id}-certificate", now_us, identity, reason=pending.reason,
        table=pending.table, table_id=pending.chosen.table_id, erasure=pending.seq,
        keys_too=pending.keys_too, erased=dict(pending.erased),
        left=[[each.where, each.why] for each in pending.left],
        versions=[
            {"table_id": pending.chosen.table_id, "table": pending.table, "versions": [*versions]}
        ],
    )  # fmt: skip
    return catalog.ledger.append(writer, [entry], now_us=now_us)[0].seq


def certificate_of(catalog: Catalog, seq: int) -> Certificate:
    """Return the certificate that an entry is, and write its file."""
    ledger, proof = catalog.ledger, ""
    with catalog.lake.store.read(catalog.tenant) as reader:
        [stored] = ledger.entries(reader, Compare("=", "seq", seq))
        key_id = stored.fields()["key_id"]
        key = next(each for each in ledger.keys(reader) if each.key_id == key_id)
        with suppress(AffidavitError):
            proof = ledger.prove(reader, seq)
    found = Certificate(seq, stored.entry_id, stored.body, stored.signature or b"", str(key), proof)
    folder = tenant_folder(catalog.lake.folders.certificates, catalog.tenant)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return replace(found, path=found.save(folder / f"{stored.entry_id}.json"))
    except OSError as error:
        _log.warning("the certificate of an erasure has no file: %s", error)
        return found
