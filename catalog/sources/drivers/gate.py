"""Who may have a file open: within this process its readers together, or one writer alone.

DuckDB's file locks keep other processes apart, but do not see one process open a file twice.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_S: Final = 10.0
"""How long a file is waited for that this process reads or writes."""


class _Gate:
    """Lets readers of a file in together, or one writer alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._is_written = False

    def enter(self, *, writing: bool) -> None:
        def is_free() -> bool:
            return not self._is_written and not (writing and self._readers)

        with self._changed:
            if not self._changed.wait_for(is_free, WAIT_S):
                does = "reads it: read or close its results" if self._readers else "writes it"
                raise SourceError(f"this process {does} first")
            self._is_written = writing
            self._readers += not writing

    def leave(self, *, writing: bool) -> None:
        with self._changed:
            self._readers -= not writing
            self._is_written = self._is_written and not writing
            self._changed.notify_all()


_gates: defaultdict[Path, _Gate] = defaultdict(_Gate)
_gates_lock = threading.Lock()


class GatedConnection:
    """A connection that holds its file's gate until it is closed.

    Args:
        path: The file.
        connect: Opens it.
        writing: Whether it is opened to be written.

    Attributes:
        library: The connection as its library has it.

    Raises:
        SourceError: The process reads or writes the file for longer than :data:`WAIT_S`.
    """

    def __init__(self, path: str, connect: Callable[[], Any], *, writing: bool) -> None:
        with _gates_lock:
            self._gate = _gates[Path(path).resolve()]
        self._writing = writing
        self._gate.enter(writing=writing)
        try:
            self.library = connect()
        except BaseException:
            self._gate.leave(writing=writing)
            raise
        self._is_open = True

    def cursor(self) -> Any:  # noqa: ANN401 - ADBC's
        """Return a cursor of the library's."""
        return self.library.cursor()

    def close(self) -> None:
        """Close it, and let others have the file."""
        if self._is_open:
            self._is_open = False
            try:
                self.library.close()
            finally:
                self._gate.leave(writing=self._writing)

    def __del__(self) -> None:
        if getattr(self, "_is_open", False):
            self.close()
