"""The gate: what a statement searched and read is on record before its rows are handed over.

Rules:
    - It runs on the caller's thread, and holds no lock while hooks are asked. Engine threads queue
      what they searched and never wait for the store, so whoever holds the store's write lock while
      a plan runs waits for none that waits for the lock.
    - What is read is on record where a table's policy, or the session's floor, wants it: as a whole
      before a small result, and around a large one.
    - All that is queued when a batch arrives is one commit, and one call of each hook's ``after``.
    - What ran is on record though the statement fails, its result is closed, or nobody reads it to
      the end. A search that ends after its statement, and those of a result that was dropped, which
      may happen in any thread and under any lock, are recorded by the housekeeper.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.policy import OFF, READS, at_least, stricter
from affidavit.engine.reads.record import ABANDONED, FAILED
from affidavit.engine.reads.recording import Recording
from affidavit.engine.search.request import CompletedSearch, FailedSearch, SearchRequest
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from affidavit.catalog.model.release import Reading
    from affidavit.engine.audit.recorder import Recorder
    from affidavit.engine.reads.recording import Beside
    from affidavit.engine.search.searcher import Searcher

_log: Final = logging.getLogger("affidavit")

HELD_ROWS_MAX: Final = 65_536
HELD_BYTES_MAX: Final = 8 * 1024 * 1024
"""A result of up to so much is held until its record is complete; of a larger one an open record
says beforehand that it leaves."""


class Gate:
    """What every plan's batches pass; see :class:`~affidavit.catalog.model.release.Release`.

    Args:
        searcher: Puts searches on record.
        recorder: Puts reads on record.
        wake: Called when a search is left for :meth:`settle_late`.
    """

    def __init__(self, searcher: Searcher, recorder: Recorder, wake: Callable[[], None]) -> None:
        self._searcher = searcher
        self._recorder = recorder
        self._wake = wake
        self._late: deque[object] = deque()

    @property
    def floor(self) -> str:
        """What is put on record of everything, whatever the tables' own policies are."""
        return self._recorder.settings.mode

    @property
    def keeps_queries(self) -> bool:
        """Whether records have conditions and parameters, and not only that there are some."""
        return self._recorder.settings.store_queries

    def level_of(self, reading: Reading) -> str:
        """Return what is to be on record of a statement whose planning found out what it reads."""
        if not reading.tables:
            return OFF
        taken = () if reading.transactions is None else reading.transactions.policies
        return stricter(self.floor, *taken, *(each.level for each in reading.tables.values()))

    def announce(self, reading: Reading) -> Announced | None:
        """Put on record that rows are about to leave, and return what is told of their end."""
        if not at_least(reading.facts.level, READS):
            return None
        recording = self._recording(reading, READS)
        self._recorder.record_beside(recording.opening())
        return Announced(recording, self._leave)

    def tell(self, reading: Reading, count: int) -> None:
        """Put on record that somebody is told how many rows there are, and nothing of them."""
        recording = self._recording(reading, reading.facts.level or READS)
        recording.note_left(count)
        self._recorder.record_beside(recording.closing())

    def _recording(self, reading: Reading, level: str) -> Recording:
        keeps, lake_id = self._recorder.settings.store_queries, self._recorder.lake_id
        return Recording(reading, level, keeps=keeps, lake_id=lake_id)

    def release(
        self, reading: Reading, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``batches``, each once the searches that it may have rows of are on record.

        Where what is read wants a record of its own, that is on record too: a small result's as a
        whole before its first row, of a larger one that it leaves before, and what left after.

        Raises:
            AffidavitError: They cannot be put on record, or a hook refused: there are no rows.
        """
        level = reading.facts.level
        recording = self._recording(reading, level) if at_least(level, READS) else None
        self._open([each for each in reading.expected if isinstance(each, SearchRequest)])
        if recording is not None:
            self._searcher.open(recording.asked.identity)
            self._recorder.keep_versions(recording.asked.identity, reading.tables.values())
        reading.open(self._leave)
        try:
            if recording is None:
                yield from self._searched(reading, batches)
            else:
                yield from self._recorded(recording, batches)
        except GeneratorExit:
            _close(batches)
            self._abandon(reading, recording)
            raise
        except BaseException as error:
            _close(batches)
            self._settle_failed(reading, recording, error)
            raise
        finally:
            reading.close()

    def _searched(
        self, reading: Reading, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self._settle(reading)
            yield batch
        self._settle(reading)

    def _recorded(
        self, recording: Recording, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a read that is on record: the last one once its end is."""
        reading, rows, size = recording.reading, 0, 0
        held: deque[pa.RecordBatch] = deque()
        if reading.facts.is_out:  # the rows leave by themselves
            self._settle(reading, recording.opening())
        for batch in batches:
            recording.add(batch)
            held.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if recording.is_open:
                self._settle(reading)
            elif rows > HELD_ROWS_MAX or size > HELD_BYTES_MAX:
                self._settle(reading, recording.opening())
            while recording.is_open and len(held) > 1:
                yield recording.leave(held.popleft())
        self._settle(reading, recording.closing())
        yield from held

    def _abandon(self, reading: Reading, recording: Recording | None) -> None:
        """Put on record that the caller wants no more rows; it may be the garbage collector."""
        left = recording if recording is not None and _is_half_read(recording) else None
        if reading.given_up:
            self._settle(reading, None if left is None else left.closing(ABANDONED))
        elif left is not None:
            self._leave(left)

    def _open(self, requests: Sequence[SearchRequest]) -> None:
        """Refuse a plan whose searches could not be put on record, before it runs."""
        try:
            for identity in {each.identity for each in requests}:
                self._searcher.open(identity)
        except BaseException as error:
            self._searcher.settle([FailedSearch(each, error) for each in requests])
            raise

    def _settle(self, reading: Reading, beside: Beside | None = None) -> None:
        """Put on record what is queued, and an entry of the read; hooks may refuse."""
        searches = [
            each for each in reading.take() if isinstance(each, CompletedSearch | FailedSearch)
        ]
        if searches:
            self._searcher.settle(searches, beside)
        elif beside is not None:
            self._recorder.record_beside(beside)

    def _settle_failed(
        self, reading: Reading, recording: Recording | None, error: BaseException
    ) -> None:
        """Put on record what ran for a statement that failed; its own error is the one to raise."""
        half = recording if recording is not None and _is_half_read(recording) else None
        try:
            self._settle(reading, None if half is None else half.closing(FAILED, error))
            if recording is not None and recording.is_complete:
                recording.asked.tell_once()
        except Exception as second:  # noqa: BLE001 - whatever it was, the statement failed before
            error.add_note(f"and what it searched was not put on record: {second}")

    # --- what ends after its statement -----------------------------------------------------------

    def _leave(self, done: object) -> None:
        """Leave a search to :meth:`settle_late`; takes no lock, since any thread may be here."""
        self._late.append(done)
        self._wake()

    def settle_late(self) -> bool:
        """Put on record what no caller waits for; return whether something is left to do.

        Nobody gets rows of it, so no hook is asked to let them pass.
        """
        while self._late:
            done = self._late.popleft()
            try:
                if isinstance(done, CompletedSearch):
                    self._searcher.keep(done)
                elif isinstance(done, Recording):
                    self._recorder.record_beside(done.closing_late())
            except StoreError:
                self._late.appendleft(done)
                return True
            except Exception:  # noqa: BLE001 - refused for good, as a caller would be told
                _log.exception("a search that nobody waited for could not be put on record")
        return False


class Announced:
    """An open record of a door that stays open; its end is put on record behind its caller.

    It is an :class:`~affidavit.catalog.model.release.Ending`.
    """

    def __init__(self, recording: Recording, leave: Callable[[object], None]) -> None:
        self._recording: Recording | None = recording
        self._leave = leave

    def left(self, count: int = 1) -> None:
        """Note that something was handed over."""
        if self._recording is not None:
            self._recording.note_left(count)

    def end(self, *, is_wanted: bool) -> None:
        """Note that it is over."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.note_end(is_wanted=is_wanted)
            self._leave(recording)


def _is_half_read(recording: Recording) -> bool:
    """Return whether an open record says that rows leave, and none what became of it."""
    return recording.is_open and not recording.is_complete


def _close(batches: Iterator[pa.RecordBatch]) -> None:
    """Stop the plan, if it can be: what it has begun to search it may still end."""
    close = getattr(batches, "close", None)
    if close is not None:
        close()
