"""The gate: what a statement searched is on record before a batch of its rows is handed over.

Rules:
    - It runs on the caller's thread, and holds no lock while hooks are asked. Engine threads queue
      what they searched and never wait for the store, so whoever holds the store's write lock while
      a plan runs waits for none that waits for the lock.
    - All that is queued when a batch arrives is one commit, and one call of each hook's ``after``.
    - What ran is on record though the statement fails, its result is closed, or nobody reads it to
      the end. A search that ends after its statement, and those of a result that was dropped, which
      may happen in any thread and under any lock, are recorded by the housekeeper.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from affidavit.engine.search.request import CompletedSearch, FailedSearch, SearchRequest
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from affidavit.catalog.model.release import Reading
    from affidavit.engine.search.searcher import Searcher

_log: Final = logging.getLogger("affidavit")


class Gate:
    """What every plan's batches pass; see :class:`~affidavit.catalog.model.release.Release`.

    Args:
        searcher: Puts searches on record.
        wake: Called when a search is left for :meth:`settle_late`.
    """

    def __init__(self, searcher: Searcher, wake: Callable[[], None]) -> None:
        self._searcher = searcher
        self._wake = wake
        self._late: deque[object] = deque()

    def release(
        self, reading: Reading, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``batches``, each once the searches that it may have rows of are on record.

        Raises:
            AffidavitError: They cannot be put on record, or a hook refused: there are no rows.
        """
        self._open([each for each in reading.expected if isinstance(each, SearchRequest)])
        reading.open(self._leave)
        try:
            for batch in batches:
                self._settle(reading)
                yield batch
            self._settle(reading)
        except GeneratorExit:
            _close(batches)
            if reading.given_up:
                self._settle(reading)
            raise
        except BaseException as error:
            _close(batches)
            self._settle_failed(reading, error)
            raise
        finally:
            reading.close()

    def _open(self, requests: Sequence[SearchRequest]) -> None:
        """Refuse a plan whose searches could not be put on record, before it runs."""
        try:
            for identity in {each.identity for each in requests}:
                self._searcher.open(identity)
        except BaseException as error:
            self._searcher.settle([FailedSearch(each, error) for each in requests])
            raise

    def _settle(self, reading: Reading) -> None:
        """Put on record what is queued; hooks are told, and may refuse."""
        taken = reading.take()
        if taken:
            self._searcher.settle(
                [each for each in taken if isinstance(each, CompletedSearch | FailedSearch)]
            )

    def _settle_failed(self, reading: Reading, error: BaseException) -> None:
        """Put on record what ran for a statement that failed; its own error is the one to raise."""
        try:
            self._settle(reading)
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
            if not isinstance(done, CompletedSearch):
                continue
            try:
                self._searcher.keep(done)
            except StoreError:
                self._late.appendleft(done)
                return True
            except Exception:  # noqa: BLE001 - refused for good, as a caller would be told
                _log.exception("a search that nobody waited for could not be put on record")
        return False


def _close(batches: Iterator[pa.RecordBatch]) -> None:
    """Stop the plan, if it can be: what it has begun to search it may still end."""
    close = getattr(batches, "close", None)
    if close is not None:
        close()
