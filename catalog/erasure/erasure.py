"""An erasure, from what is written down of it to its certificate.

    1  begin        what is to be erased is written down, and the rows leave a mutable table: one
                    transaction. The rows of a vector table are deleted after it.
    2  let go       events, records, the log of statements and topics lose the values, and an entry
                    of the ledger says of which: one transaction
    3  rewrite      a vector table's files, old versions
    4  scrub        the store's log and free pages, files that were replaced
    5  certify      an entry says what was done and what is left, then a file beside it does

Rules:
    - Each step may be done again. An erasure that is interrupted is finished by the next, or when
      the lake is next opened.
    - A tenant's erasures are one after the other, in whichever process.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.erasure.certificate import certificate_of, certify
from affidavit.catalog.erasure.chosen import needles_of, rows_now
from affidavit.catalog.erasure.definitions import definitions_with
from affidavit.catalog.erasure.pending import Pending, begin, end, keep, new_name, pending_of
from affidavit.catalog.erasure.records import Records, erased_before
from affidavit.catalog.erasure.report import Counts, ErasureReport, published
from affidavit.catalog.erasure.statements import is_theirs, let_go_of_texts
from affidavit.catalog.erasure.topics import let_go_of_events
from affidavit.catalog.erasure.vectors import delete_rows_of, rewrite
from affidavit.catalog.journal.erasing import LettingGo, Replaced, Wanted
from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.ledger.commitments import CONTEXT, VERSION, Commitments
from affidavit.catalog.ledger.entry import ERASURE, Draft
from affidavit.catalog.model import clock
from affidavit.catalog.model.definition import KINDS, MutableDefinition
from affidavit.catalog.model.holds import refuse_held
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.store.tables import ERASURES, LEDGER
from affidavit.catalog.store.transactions import Transactions
from affidavit.catalog.tables.copies.files import forget_copy, remove_replaced
from affidavit.catalog.tables.row_writing import delete_rows
from affidavit.catalog.values.canonical import canonical, from_us
from affidavit.errors import AffidavitError, RecordNotFoundError, StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.erasure.chosen import Chosen
    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer

SHOWN_MAX: Final = 3
_log: Final = logging.getLogger("affidavit")


class Erasure:
    """Erases rows of one tenant, wherever its lake has them.

    Args:
        catalog: The tenant's, for who asks.
        settle: Writes what waits to be written: the log of statements, records of searches.
    """

    def __init__(self, catalog: Catalog, settle: Callable[[], object] = lambda: None) -> None:
        self._catalog = catalog
        self._store = catalog.lake.store
        self._settle = settle

    def erase(
        self,
        info: TableInfo | None,
        chosen: Chosen,
        reason: str,
        *,
        keys_too: bool = False,
        stay: bool = False,
        table: str = "",
    ) -> ErasureReport:
        """Erase rows, and finish what an earlier erasure was kept from.

        Args:
            info: Their table; ``None`` if it was dropped, or there is none.
            chosen: The rows.
            reason: Why.
            keys_too: Whether their keys go too, from whatever names them.
            stay: Whether the rows stay in their table, and what is told of them goes.
            table: What the table is called, where ``info`` does not say.

        Raises:
            HoldError: One of them is held.
            StoreError: A reader, or a full disk, kept it from its end.
        """
        self._catalog.refuse_past()
        if info is not None:
            self._catalog.refuse_shared(info)
        with self._alone():
            finished = self._finish_earlier(chosen)
            with self._catalog.read() as reader:
                refuse_held(reader, chosen.table_id, chosen.ids)
                needles, is_known = needles_of(
                    self._catalog, reader, info, chosen, keys_too=keys_too
                )
                if not is_known and not _has_versions(info):
                    self._refuse_unknown(reader, info, chosen)
            pending = Pending(
                new_name(), self._catalog.identity, reason, chosen,
                table if info is None else info.name, keys_too, needles,
            )  # fmt: skip
            pending = self._begun(info, pending, stay=stay)
            try:
                pending = self._deleted(pending)
            except StoreError:  # what has begun is finished later
                raise
            except Exception:  # it is refused: nothing has begun
                with self._catalog.write() as writer:
                    end(writer, pending)
                raise
            report = self._finish(pending)
            if not is_known and not report.erased:  # nor was it anywhere else
                with self._catalog.read() as reader:
                    self._refuse_unknown(reader, info, chosen)
        return report if report.erased else _again(report, finished)

    def _refuse_unknown(self, reader: Reader, info: TableInfo | None, chosen: Chosen) -> None:
        """Raise RecordNotFoundError for rows of which nothing ever was, as far as is known."""
        if not erased_before(self._catalog, reader, chosen):
            named = ", ".join(sorted(chosen.ids)[:SHOWN_MAX])
            where = "there" if info is None else f"in table {info.name!r}"
            msg = f"no row {named} is {where}, or was: nothing was erased"
            raise RecordNotFoundError(msg)

    def _finish_earlier(self, chosen: Chosen | None = None) -> list[ErasureReport]:
        """Finish what was interrupted; what keeps others from their end keeps not these rows."""
        finished = []
        for each in self._unfinished():
            try:
                finished.append(self._finish(each))
            except AffidavitError as error:
                if chosen is not None and each.chosen.has_any(chosen):
                    raise
                _log.warning("an erasure is not finished yet: %s", error)
        return finished

    def finish(self) -> None:
        """Finish the erasures that were interrupted.

        Raises:
            StoreBusyError: Somebody else is at it.
        """
        with self._alone(timeout_s=0):
            self._finish_earlier()

    def _alone(self, timeout_s: float | None = None) -> AbstractContextManager[None]:
        return self._store.lock(f"erasing {self._catalog.tenant}", timeout_s=timeout_s)

    def _unfinished(self) -> list[Pending]:
        with self._store.read(self._catalog.tenant) as reader:
            return pending_of(reader, self._catalog.tenant)

    # --- step by step --------------------------------------------------------------------------

    def _begun(self, info: TableInfo | None, pending: Pending, *, stay: bool) -> Pending:
        catalog, chosen = self._catalog, pending.chosen
        with catalog.write() as writer:
            refuse_held(writer, chosen.table_id, chosen.ids)
            if info is not None and catalog.by_id(writer, info.table_id) != info:
                needles, _ = needles_of(catalog, writer, info, chosen, keys_too=pending.keys_too)
                pending = replace(pending, needles=needles)  # they were written since
            if not stay and info is not None and isinstance(info.definition, MutableDefinition):
                rowids, before = rows_now(writer, info, chosen)
                if len(rowids):
                    count = delete_rows(catalog, writer, info, rowids, before)
                    pending = pending.counted(rows=count)
            # also where the rows stay, or are gone: a copy may be of a version that had them
            now = None if info is None else catalog.by_id(writer, info.table_id)
            if now is not None:
                forget_copy(catalog.lake, writer, now)
            last = catalog.ledger.last_seq(writer)
            pending = replace(pending, until=-1 if last is None else last)
            begin(writer, pending)
        return pending

    def _deleted(self, pending: Pending) -> Pending:
        """Delete the rows of a vector table that it still has."""
        catalog = self._acting(pending)
        info = _vector_table(catalog, pending)
        if info is None:
            return pending
        count = delete_rows_of(catalog, info, pending.chosen.keys[0].combine_chunks())
        return pending.counted(rows=count) if count else pending

    def _finish(self, pending: Pending) -> ErasureReport:
        catalog = self._acting(pending)
        versions: list[int] = []
        if pending.certified is not None:
            return self._end(catalog, pending, versions)
        gone = pending.needles.written() if pending.seq is None else None
        if pending.seq is None:
            pending = self._deleted(pending)
            self._settle()
            pending = self._let_go(catalog, pending)
        else:
            for kept in (catalog.journal.kept, catalog.journal.records.kept):
                with kept.alone():
                    LettingGo(kept).remove_replaced()
        info = _vector_table(catalog, pending)
        if info is not None:
            versions, left = rewrite(catalog, info)
            pending = pending.counted(versions=len(versions))
            pending = replace(pending, left=(*pending.left, *left))
        if pending.chosen.table_id is not None:
            remove_replaced(catalog.lake, catalog.tenant, pending.chosen.table_id)
        self._scrub(gone)
        return self._end(catalog, pending, versions)

    def _acting(self, pending: Pending) -> Catalog:
        """Return the catalog of who asked for an erasure, which somebody else may finish."""
        if pending.identity == self._catalog.identity:
            return self._catalog
        return Catalog(self._catalog.lake, pending.identity, Transactions(self._store))

    def _let_go(self, catalog: Catalog, pending: Pending) -> Pending:
        """Destroy the values where the store and the segments have them."""
        chosen = pending.chosen
        wanted = Wanted(
            chosen.ids, chosen.table_id, chosen.entity_type, pending.keys_too, pending.until
        )
        if catalog.tenant == SHARED:
            for tenant in set(self._store.tenants(LEDGER)) - {SHARED}:
                pending = self._let_go_by(tenant, pending)
        named = definitions_with(catalog, pending.needles, chosen)
        pending = replace(pending, left=(*pending.left, *named))
        kept: list[Pending] = []
        records = Records(chosen, pending.needles, keys_too=pending.keys_too)
        sealed = catalog.journal.records.erasing
        with sealed.rewriting(records.change) as rewriting:

            def note(writer: Writer, replaced: Replaced) -> None:
                rewriting.apply(writer)
                records.let_go_of_newer(writer, catalog.tenant)
                kept.append(self._noted(catalog, writer, pending, replaced, records))

            catalog.journal.erasing.erase(wanted, note)
        return kept[0]

    def _let_go_by(self, tenant: str, pending: Pending) -> Pending:
        """Do the same with what another tenant has of shared rows, and say so in its ledger.

        It comes before what is done of their own, which the note of the erasure ends with.
        """
        identity = replace(pending.identity, tenant=tenant)
        catalog = Catalog(self._catalog.lake, identity, Transactions(self._store))
        records = Records(pending.chosen, pending.needles, keys_too=pending.keys_too)
        named = definitions_with(catalog, pending.needles, pending.chosen)
        with (
            catalog.journal.records.erasing.rewriting(records.change) as rewriting,
            catalog.write() as writer,
        ):
            rewriting.apply(writer)
            records.let_go_of_newer(writer, tenant)
            theirs = replace(pending, erasure_id=new_name(), erased=Counts(), left=(*named,))
            found = self._noted(catalog, writer, theirs, Replaced(), records, is_own=False)
        return replace(pending.counted(**found.erased), left=(*pending.left, *found.left))

    def _noted(
        self,
        catalog: Catalog,
        writer: Writer,
        pending: Pending,
        replaced: Replaced,
        records: Records,
        *,
        is_own: bool = True,
    ) -> Pending:
        """Do what is one transaction with the events' values, and say what it was."""
        chosen, tenant = pending.chosen, catalog.tenant
        names = frozenset({pending.table, *replaced.kinds} - {""})
        texts = let_go_of_texts(
            writer,
            catalog.ledger,
            lambda said: (
                said["text"] in records.texts or is_theirs(pending, names, replaced.times, said)
            ),
        )
        topics = let_go_of_events(writer, tenant, chosen, names, pending.needles)
        found = pending.counted(
            events=len(replaced.seqs), records=len(records.members), statements=texts.rows,
            topic_rows=sum(topics.rows.values()),
        )  # fmt: skip
        left = [
            *(published(name, offset) for name, offset in topics.beyond.items()),
            *records.beyond,
        ]
        found = replace(found, left=(*found.left, *left))
        if found.erased:
            told = {
                "ranges": replaced.ranges(), "records": records.told(), "log": texts.told(),
                "topics": topics.rows,
            }  # fmt: skip
            found = replace(found, seq=self._append(catalog, writer, found, told))
        if is_own:
            keep(writer, found.without_values())
        return found.without_values()

    def _append(
        self, catalog: Catalog, writer: Writer, pending: Pending, told: dict[str, Any]
    ) -> int:
        identity, now_us = pending.identity, clock.now_us()
        keys = None if pending.keys_too else canonical(sorted(pending.chosen.ids))
        values = {"keys": keys, CONTEXT: identity.context.encode() if identity.context else None}
        committed = Commitments(values)
        stated = {
            "v": VERSION, "entry_id": pending.erasure_id, "created_at": from_us(now_us),
            "actor": identity.actor, "source": identity.source, "workspace": identity.workspace,
            "reason": pending.reason, "table": pending.table,
            "table_id": pending.chosen.table_id, "keys_too": pending.keys_too,
            "erased": dict(pending.erased), **told,
        }  # fmt: skip
        members = {name: canonical(value, name) for name, value in stated.items()}
        entry = Draft(
            ERASURE, pending.erasure_id, now_us, {**members, **committed.members},
            opened=committed.opened,
        )  # fmt: skip
        return catalog.ledger.append(writer, [entry], now_us=now_us)[0].seq

    def _scrub(self, gone: Collection[str] | None) -> None:
        if not self._store.scrub(gone):
            msg = (
                "the store's log still has what was erased, since somebody reads the state of "
                "before: erase again when that has ended, or the next opening finishes it"
            )
            raise StoreError(msg)

    def _end(self, catalog: Catalog, pending: Pending, versions: Sequence[int]) -> ErasureReport:
        seq, certificate = pending.certified, None
        if seq is None and pending.erased:
            with catalog.write() as writer:
                seq = certify(catalog, writer, pending, versions)
                keep(writer, replace(pending, certified=seq))
        if seq is not None:
            certificate = certificate_of(catalog, seq)
        with catalog.write() as writer:
            end(writer, pending)
        return ErasureReport(pending.table, Counts(pending.erased), pending.left, certificate)


def _vector_table(catalog: Catalog, pending: Pending) -> TableInfo | None:
    """Return the vector table whose rows are erased, by their keys."""
    table_id = pending.chosen.table_id
    if table_id is None or not pending.chosen.keys.num_columns:
        return None
    with catalog.read() as reader:
        info = catalog.by_id(reader, table_id)
    return info if _has_versions(info) else None


def _has_versions(info: TableInfo | None) -> bool:
    return info is not None and KINDS[info.kind].has_versions


def _again(report: ErasureReport, finished: Sequence[ErasureReport]) -> ErasureReport:
    """Return the report on what was erased before, with what this call has finished of that."""
    if not finished:
        return report
    return replace(report, certificate=finished[-1].certificate, left=finished[-1].left)


def finish_all(lake: Lake, settle: Callable[[], object]) -> None:
    """Finish the erasures of every tenant that were interrupted; what cannot be is told."""
    for tenant in lake.store.tenants(ERASURES):
        catalog = Catalog(lake, Identity(tenant), Transactions(lake.store))
        try:
            with suppress(StoreBusyError):  # somebody is at it
                Erasure(catalog, settle).finish()
        except Exception as error:  # noqa: BLE001 - whatever it is, the lake is to be opened
            _log.warning("an erasure is not finished yet: %s", error)
