"""Nothing waits for the disk in a test: what is left when the power goes, no test can see.

What a killed process has given to the system is kept, synced or not. Which durability is asked of SQLite
is tested with ``SYNCHRONOUS`` as it is.
"""

from __future__ import annotations

import os

from affidavit.catalog.store.sqlite import connections

SYNCHRONOUS = dict(connections.SYNCHRONOUS)


def wait_for_none() -> None:
    """Let this process' writes be on their way to the disk, and no more."""
    connections.SYNCHRONOUS.update(dict.fromkeys(SYNCHRONOUS, "OFF"))
    os.fsync = _leave


def _leave(file: object) -> None:
    """Leave a file to the system."""
