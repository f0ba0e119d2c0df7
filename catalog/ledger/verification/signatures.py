"""Checking many signatures at once, on every core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Self

from affidavit.catalog.ledger.verification.signature_worker import (
    ANSWER,
    SIGNATURE_BYTES,
    Signed,
    first_wrong,
    packed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH_SIGNATURES: Final = 500
PROCESSES_FROM: Final = 4000
"""Fewer signatures than this are checked here: starting processes would take longer."""

WORKERS_MAX: Final = 8
PENDING_MAX: Final = 32
_WORKER: Final = Path(__file__).with_name("signature_worker.py")


class SignatureChecks:
    """Signatures under check; :meth:`finish` names the first that is wrong.

    Args:
        expected: About how many there will be.
    """

    def __init__(self, expected: int) -> None:
        self._batch: list[tuple[int, Signed]] = []
        self._pending: deque[tuple[list[int], Future[int]]] = deque()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None
        self._first: int | None = None
        self.checked = 0
        if expected >= PROCESSES_FROM:
            self._start(min(WORKERS_MAX, os.cpu_count() or 1))

    def _start(self, workers: int) -> None:
        command = [sys.executable, "-I", str(_WORKER)]
        try:
            for _ in range(workers):
                process = subprocess.Popen(  # noqa: S603 - our own file, no arguments
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                self._processes.append(process)
                self._idle.put(process)
        except OSError:  # no interpreter of that name: an embedded or frozen program
            self._processes.clear()
            return
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="affidavit-verify")

    def add(self, seq: int, key: bytes, signature: bytes, message: bytes) -> None:
        """Check one more signature, that of entry ``seq``; soon, and not necessarily now."""
        if len(signature) != SIGNATURE_BYTES:
            self._note(seq)
            return
        self._batch.append((seq, (key, signature, message)))
        if len(self._batch) >= BATCH_SIGNATURES:
            self._send()

    def _note(self, seq: int) -> None:
        self._first = seq if self._first is None else min(seq, self._first)

    def _send(self) -> None:
        seqs = [seq for seq, _ in self._batch]
        signed = [each for _, each in self._batch]
        self._batch = []
        self.checked += len(signed)
        check: Callable[[list[Signed]], int] = self._ask if self._processes else first_wrong
        if self._pool is None:
            future: Future[int] = Future()
            future.set_result(check(signed))
        else:
            future = self._pool.submit(check, signed)
        self._pending.append((seqs, future))
        while self._pending and (len(self._pending) > PENDING_MAX or self._pending[0][1].done()):
            self._take()

    def _take(self) -> None:
        seqs, future = self._pending.popleft()
        wrong = future.result()
        if wrong >= 0:
            self._note(seqs[wrong])

    def _ask(self, signed: list[Signed]) -> int:
        process = self._idle.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(packed(signed))
            process.stdin.flush()
            answer = process.stdout.read(ANSWER.size)
            if len(answer) == ANSWER.size:
                return int(ANSWER.unpack(answer)[0])
        except OSError:
            pass  # the process died: what it was to check is checked here
        finally:
            self._idle.put(process)
        return first_wrong(signed)

    @property
    def first_wrong(self) -> int | None:
        """The first entry known so far to have a wrong signature."""
        return self._first

    def finish(self) -> int | None:
        """Wait for every check, and return the first entry whose signature is wrong."""
        if self._batch:
            self._send()
        while self._pending:
            self._take()
        return self._first

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()
