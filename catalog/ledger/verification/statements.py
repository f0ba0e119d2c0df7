"""The log of statements, row by row, held against what was signed of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.ledger.statements import STATEMENT_COLUMNS, UNREAD, LoggedRow, extended
from affidavit.catalog.ledger.verifier import LedgerProblem, Log, shown
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.ledger.verification.gone import Gap, SaidGone
    from affidavit.catalog.store.protocol import Reader

ROWS_READ_AT_ONCE: Final = 5_000
_COLUMNS: Final = (*STATEMENT_COLUMNS, "digest", "salt", "committed")
_ID: Final = STATEMENT_COLUMNS.index("statement_id")


@dataclass(frozen=True, slots=True)
class SignedLog:
    """What a head or a checkpoint was signed for.

    Attributes:
        where: Which of them.
        log: How far it covers the log of statements.
    """

    where: str
    log: Log


class StatementRows:
    """The rows of one tenant's log.

    Args:
        reader: One snapshot of the store.
        tenant: Whose log it is.
        gone: What the ledger's entries say was let go.

    Attributes:
        covered: How many were checked.
        uncovered: How many stood there before the log was first covered.
    """

    def __init__(self, reader: Reader, tenant: str, gone: SaidGone) -> None:
        self.covered = 0
        self.uncovered = 0
        self._gone = gone
        self._reader = reader
        self._tenant = tenant

    def check(self, head: Log | None, signed: list[SignedLog]) -> None:
        """Check every row against its own digest, and that one against what was signed.

        Args:
            head: What the head covers.
            signed: What is signed, the head among them.

        Raises:
            LedgerProblem: The first row that is wrong.
        """
        if head is None and signed:
            raise LedgerProblem(f"{signed[0].where} covers the log of statements, and no head does")
        log = Log() if head is None else Log(first=head.first)
        for each in signed:
            if each.log.first != log.first:
                raise LedgerProblem(f"{each.where} covers the log from another row on")
        at, waiting = self._gone.uncovered, sorted(signed, key=lambda each: each.log.rows)
        good = 0
        for row in self._rows():
            at += 1
            if head is None or at <= log.first:
                self._check_uncovered(row, at, is_covered=head is not None)
                continue
            log = self._after_dropped(log)
            if head.rows == log.rows:
                raise LedgerProblem(
                    f"{_named(row, log.rows)} was added: the signed head does not cover it"
                )
            log = self._extended(log, row)
            while waiting and waiting[0].log.rows <= log.rows:
                good = _check_signed(waiting.pop(0), log, good)
            self.covered = log.rows
        log = self._after_dropped(log)
        self.covered = log.rows
        last = max((each.log.rows for each in signed), default=0) - 1
        if log.rows <= last:
            raise LedgerProblem(
                f"rows {log.rows} to {last} of the log of statements were signed, and are gone"
            )

    def _after_dropped(self, log: Log) -> Log:
        """Return the log after the rows that stand next and are gone, if an entry says so."""
        while (gap := self._gone.dropped.get(log.rows)) is not None:
            log = _over(gap, log)
        return log

    def _extended(self, log: Log, row: tuple[Any, ...]) -> Log:
        """Return the log with one more row.

        Raises:
            LedgerProblem: It is not what was logged there.
        """
        *said, digest, salt, committed = row
        if committed == UNREAD:
            gap = self._gone.unread.get(log.rows)
            if gap is None:
                raise LedgerProblem(f"{_named(row, log.rows)} has lost its text: no entry says so")
            found = _over(gap, log)
        else:
            if committed is not None and self._gone.texts.named(log.rows) < 0:
                raise LedgerProblem(f"{_named(row, log.rows)} has lost its text: no entry says so")
            try:
                found = extended(log, LoggedRow(said, salt, committed).bytes())
            except LedgerProblem as problem:
                raise LedgerProblem(f"{_named(row, log.rows)}: {problem.problem}") from None
        if type(digest) is not bytes or digest != found.digest:
            raise LedgerProblem(
                f"{_named(row, log.rows)} is not what was logged there: it was changed, added, or "
                "moved, or the one before it was taken away"
            )
        return found

    def _check_uncovered(self, row: tuple[Any, ...], at: int, *, is_covered: bool) -> None:
        if row[len(STATEMENT_COLUMNS)] is not None:
            why = (
                "one of the rows before the log was covered is gone"
                if is_covered
                else "no head covers it"
            )
            raise LedgerProblem(f"{_named(row, at - 1)} has a digest: {why}")
        self.uncovered += 1

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        pages = self._reader.rows(
            STATEMENTS, _COLUMNS, own(self._tenant), batch_rows=ROWS_READ_AT_ONCE
        )
        for page in pages:
            yield from page


def _over(gap: Gap, log: Log) -> Log:
    """Return the log after rows of which only the digests are known."""
    if gap.before != log.digest or gap.end <= log.rows:
        raise LedgerProblem(
            f"row {log.rows} of the log of statements was let go, and the rows before it are not "
            "those that stood there then"
        )
    return Log(log.first, gap.end, gap.after)


def _check_signed(signed: SignedLog, log: Log, good: int) -> int:
    """Return how many rows are those that were signed."""
    if signed.log.rows == log.rows and signed.log.digest != log.digest:
        raise LedgerProblem(
            f"one of the rows {good} to {log.rows - 1} of the log of statements is not what "
            f"{signed.where} was signed for"
        )
    return log.rows


def _named(row: tuple[Any, ...], at: int) -> str:
    return f"row {at} of the log of statements, {shown(row[_ID])},"
