"""The certificate of an erasure: an entry of the ledger, and a file in the lake."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.erasure.report import Certificate
from affidavit.catalog.ledger.entry import stamped
from affidavit.catalog.model import clock
from affidavit.catalog.store.disk import tenant_folder
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.erasure.pending import Pending
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Writer

CERTIFICATE: Final = "erasure-certificate"
"""The kind of the entry that says that an erasure has ended, what it did and what is left."""

_log: Final = logging.getLogger("affidavit")


def certified(
    catalog: Catalog, writer: Writer, pending: Pending, versions: Sequence[int]
) -> Callable[[], Certificate]:
    """Say in the ledger that an erasure has ended.

    Returns:
        What makes the certificate and its file, once that is committed.
    """
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
    stored = catalog.ledger.append(writer, [entry], now_us=now_us)[0]
    key = next(each for each in catalog.ledger.keys(writer) if each.key_id == stored.key_id)

    def made() -> Certificate:
        proof = ""
        with suppress(AffidavitError), catalog.lake.store.read(catalog.tenant) as reader:
            proof = catalog.ledger.prove(reader, stored.seq)
        found = Certificate(
            stored.seq, stored.entry_id, stored.body, stored.signature or b"", str(key), proof
        )
        folder = tenant_folder(catalog.lake.folders.certificates, catalog.tenant)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return replace(found, path=found.save(folder / f"{stored.entry_id}.json"))
        except OSError as error:
            _log.warning("the certificate of an erasure has no file: %s", error)
            return found

    return made
