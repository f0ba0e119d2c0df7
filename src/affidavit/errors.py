"""Every error that affidavit raises, in one tree under :class:`AffidavitError`.

Classes are split by what the caller can do. The message says what was expected and what came, the
object carries the fields. What DataFusion, Lance, Arrow or a store's driver raised is the cause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.error import AffidavitError as AffidavitError  # noqa: PLC0414 - it is found here
from affidavit.screen import listed, masked

if TYPE_CHECKING:
    from collections.abc import Iterable

TYPE_LENGTH_MAX = 300
"""How much of a type's name an error message shows."""


# --- the lake and its store ------------------------------------------------------------------


class LakeError(AffidavitError):
    """The lake cannot be opened or used as it is: correct the path, or its permissions."""


class LakeVersionError(LakeError):
    """A newer affidavit wrote this lake: upgrade affidavit to open it."""

    def __init__(self, path: str, *, found: int, supported: int) -> None:
        super().__init__(
            f"the lake at {path!r} has format {found}, and this affidavit reads formats up to "
            f"{supported}: upgrade affidavit to open it"
        )
        self.found = found
        self.supported = supported


class StoreError(AffidavitError):
    """The store failed (disk full, I/O error, damaged file): mend the disk, then reopen."""


class StoreBusyError(StoreError):
    """Other writers held the store for the whole timeout: try again, or wait longer."""

    def __init__(self, what: str, *, timeout_s: float) -> None:
        super().__init__(
            f"{what} was held by another writer for {timeout_s:g} s: try again, or raise "
            "busy_timeout_s="
        )
        self.timeout_s = timeout_s


class OutcomeUnknownError(StoreError):
    """Nobody can tell whether a COMMIT that lost its connection was done: look before a retry."""


class BrokerError(AffidavitError):
    """The broker cannot be reached or used: start it, or correct its address."""


class ReadOnlyError(AffidavitError):
    """This session, or this table for this session, may only be read."""


class ClosedError(AffidavitError):
    """The session or result was closed or already consumed: open it again."""


class ForkedError(AffidavitError):
    """This process was forked from one that had opened a lake: start it by spawn instead."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} belongs to the process that this one was forked from, and a fork has none of "
            "its threads: start processes with multiprocessing.get_context('spawn'), or "
            "'forkserver', and call affidavit.connect there"
        )
        self.what = what


class TransactionError(AffidavitError):
    """BEGIN, COMMIT and ROLLBACK do not pair up, or a statement cannot join a transaction."""


class HoldError(AffidavitError):
    """What is to be erased or let go is under a hold, which names its case."""


class ConflictError(AffidavitError):
    """Others changed what was read before it was written: nothing was written; run it again."""

    def __init__(self, message: str, *, names: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.names = sorted(names)


# --- names -------------------------------------------------------------------------------------


class NoTenantError(AffidavitError):
    """The operation needs a valid tenant and the session has none."""


class InvalidNameError(AffidavitError):
    """A name that cannot name a table, column, schema or tenant: choose another."""

    def __init__(self, kind: str, name: object, reason: str) -> None:
        super().__init__(f"{name!r} cannot name a {kind}: {reason}")
        self.name = name


class ReservedNameError(InvalidNameError):
    """A name that affidavit keeps for itself: it may be read, never created or changed."""

    def __init__(self, name: str, *, kind: str = "table", reason: str | None = None) -> None:
        super().__init__(kind, name, reason or "affidavit keeps this name for itself")


class TableNotFoundError(AffidavitError):
    """No table has this name: correct the name, or create the table."""

    def __init__(self, name: str, *, known: Iterable[str] = ()) -> None:
        self.name, self.known = name, tuple(known)
        hint = "; a file's path or URL stands in single quotes" if "/" in str(name) else ""
        super().__init__(f"no table {name!r}; this session sees {listed(self.known)}{hint}")


class TableExistsError(AffidavitError):
    """The name is taken: choose another, or drop what has it."""

    def __init__(self, name: str, *, kind: str = "table") -> None:
        super().__init__(f"a {kind} {name!r} exists already: choose another name, or drop it first")
        self.name = name


class ColumnNotFoundError(AffidavitError):
    """The table has no such column: correct the name."""

    def __init__(self, column: str, *, table: str, known: Iterable[str]) -> None:
        known = tuple(known)
        super().__init__(f"table {table!r} has no column {column!r}; it has {listed(known)}")
        self.name = self.column = column
        self.table = table
        self.known = known


class ModelNotFoundError(AffidavitError):
    """No embedding model has this name in the session: register it."""

    def __init__(self, name: str, *, known: Iterable[str]) -> None:
        super().__init__(
            f"no embedding model {name!r} is registered; this session has {listed(known)}: "
            "call session.models.register(name, encode, version=..., dim=...)"
        )
        self.name = name


class PathNotAllowedError(AffidavitError):
    """The session may not reach this path or URL: widen its allow-list, or use another."""

    def __init__(
        self, path: str, *, allowed: Iterable[str] = (), kind: str = "folders", reason: str = ""
    ) -> None:
        why = reason or f"it lies outside the allowed {kind}: {listed(allowed)}"
        self.path = masked(path)
        super().__init__(f"path {self.path!r} may not be reached: {why}")


# --- audit and ledger --------------------------------------------------------------------------


class MasterKeyError(AffidavitError):
    """The master key is missing, malformed or another lake's: bring the right one."""


class SignatureMismatchError(AffidavitError):
    """A record is not what was signed: it was changed, or is another ledger's."""


class LedgerCorruptError(AffidavitError):
    """The ledger is not what its signed heads say: find out who changed it; restore a backup.

    Attributes:
        seq: The first entry that is wrong, if that can be said.
    """

    def __init__(self, problem: str, *, seq: int | None = None) -> None:
        super().__init__(problem if seq is None else f"entry {seq}: {problem}")
        self.problem = problem
        self.seq = seq


class ForeignVersionError(AffidavitError):
    """Another program changed a vector table: restore the version that was written here last."""

    def __init__(self, table: str, found: int, own: int) -> None:
        super().__init__(
            f"version {found} of vector table {table!r} was committed by another program: no event "
            f"says what it changed, and nobody is shown it. Look at it with "
            f"lance.dataset(...).checkout_version({found}); session.table({table!r}).restore({own})"
            " brings back the version that was written here last, and writing goes on from there"
        )
        self.table = table
        self.found = found
        self.own = own


class WitnessError(AffidavitError):
    """The second place for checkpoints cannot be read or written: mend it, then try again."""


class RecordNotFoundError(AffidavitError):
    """The ledger has no such record: correct its id or number."""


class LineageTooLargeError(AffidavitError):
    """A search's lineage is larger than allowed: shorten it, or raise the limit."""

    def __init__(self, size: int, *, limit: int) -> None:
        super().__init__(
            f"query_lineage has {size:,} bytes as JSON, and {limit:,} are allowed: shorten it, or "
            "raise AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES"
        )
        self.size = size
        self.limit = limit


class LengthMismatchError(AffidavitError):
    """Two lists that belong together have different lengths: correct the record."""

    def __init__(self, **lengths: int) -> None:
        shown = " and ".join(f"{name} has {size:,}" for name, size in lengths.items())
        super().__init__(f"{shown}: expected one score for each id")
        self.lengths = lengths


# --- topics, consumers and triggers ------------------------------------------------------------


class TopicNotFoundError(AffidavitError):
    """No topic has this name: correct the name, or register the topic."""

    def __init__(self, name: object, *, known: Iterable[str] = ()) -> None:
        super().__init__(f"no topic {name!r}; this session sees {listed(known)}")
        self.name = name


class SchemaConflictError(AffidavitError):
    """A topic of this name has another schema: take that, or another name."""


class InvalidEventError(AffidavitError):
    """An event that cannot be published: it has no rows, or too many bytes."""


class OffsetEvictedError(AffidavitError):
    """Events that were asked for were let go by the topic's retention: start at a later one.

    Attributes:
        first_offset: The first event that is kept.
    """

    def __init__(self, topic: str, offset: int, *, first_offset: int) -> None:
        super().__init__(
            f"event {offset:,} of topic {topic!r} was let go by its retention: the first that is "
            f"kept is {first_offset:,}"
        )
        self.first_offset = first_offset


class ConsumerConflictError(AffidavitError):
    """A consumer of this name has other settings: leave them out, or take another name."""


class LeaseLostError(AffidavitError):
    """A delivery was made to another worker meanwhile: roll back what was made of it."""

    def __init__(self, topic: str, offset: int) -> None:
        super().__init__(
            f"event {offset:,} of topic {topic!r} was not settled in time, and was delivered "
            "again: roll back, or raise ack_wait="
        )
        self.offset = offset


class ConsumerNotFoundError(AffidavitError):
    """No consumer of the topic has this name: correct it, or subscribe with it."""


class TriggerExistsError(AffidavitError):
    """A trigger of this name exists already: choose another name, or drop it first."""


class TriggerNotFoundError(AffidavitError):
    """No trigger has this name: correct the name."""

    def __init__(self, name: object, *, known: Iterable[str] = ()) -> None:
        super().__init__(f"no trigger {name!r}; this session has {listed(known)}")
        self.name = name


class InvalidTriggerError(AffidavitError):
    """A trigger that cannot be made: its table, actions or target do not fit."""


class MissingLibraryError(AffidavitError):
    """A library that is optional is wanted, and not installed: install it."""


# --- data --------------------------------------------------------------------------------------


class UnsupportedTypeError(AffidavitError):
    """A column type that cannot be kept without loss: cast it to another."""

    def __init__(self, column: str, arrow_type: object, *, table: str | None = None) -> None:
        where = f" of table {table!r}" if table else ""
        kind = str(arrow_type)
        kind = kind if len(kind) <= TYPE_LENGTH_MAX else f"{kind[:TYPE_LENGTH_MAX]}..."
        super().__init__(f"column {column!r}{where} has type {kind}, which is not supported")
        self.column = column


class SchemaMismatchError(AffidavitError):
    """The data does not fit the table's schema: correct the data's columns or types."""


class ConstraintError(AffidavitError):
    """A key is duplicate or missing, or a NOT NULL column got NULL: correct the rows."""


# --- questions ---------------------------------------------------------------------------------


class InvalidQueryError(AffidavitError):
    """A search that cannot be asked: bad k, dimension, vector, filter or option."""


class HookError(AffidavitError):
    """A hook refused or failed, so no rows were released."""


class SqlError(AffidavitError):
    """The SQL text does not parse or cannot be planned: correct the statement."""


class NameNotFoundError(SqlError):
    """A statement names a column that none of its tables has: correct the name."""

    def __init__(self, message: str, *, name: str = "", known: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.known = tuple(known)


class FunctionNotFoundError(SqlError):
    """A statement calls a function that is not there: correct the name, or register it."""

    def __init__(self, name: str, *, guess: str = "", where: str = "") -> None:
        like = f" (did you mean {guess!r}?)" if guess else ""
        super().__init__(
            f"{where}no function {name!r}{like}: SQL has none, and this session registered none. "
            f"Each session that calls a Python function registers it: "
            f"session.functions.register({name!r}, ...)"
        )
        self.name = name


class UnsupportedPredicateError(SqlError):
    """A predicate that cannot be evaluated where it was given."""


class ExecutionError(AffidavitError):
    """A statement that planned failed while it ran."""


class MemoryLimitError(ExecutionError):
    """A statement asks for more memory than it may: ask for less, or see ``memory_limit=``."""


class StatementTimeoutError(AffidavitError):
    """A statement took longer than its time limit, and was stopped: give it longer, or ask less."""

    def __init__(self, timeout_s: float, waits_for: str = "") -> None:
        why = f", while it waited for {waits_for}" if waits_for else ""
        super().__init__(
            f"the statement was stopped after its time limit of {timeout_s:g} s{why}: raise "
            "timeout=, or ask for less"
        )
        self.timeout_s = timeout_s


class StatementCancelledError(AffidavitError):
    """A statement was stopped, since somebody asked for that: run it again if you still want it."""


class SourceError(AffidavitError):
    """A file or external source cannot be read: correct its path, format or access."""
