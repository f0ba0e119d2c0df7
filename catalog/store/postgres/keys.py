"""Names that PostgreSQL can tell apart: of locks, indexes and channels. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

NAME_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names off, and says nothing."""

_KEPT: Final = 30


def lock_key(schema: str, *names: str) -> int:
    """Return the number of an advisory lock, which is of 64 bits with a sign."""
    text = "\0".join((schema, *names)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True)


def short_name(name: str) -> str:
    """Return a name as it is called in the database: itself, or its beginning and its digest."""
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    kept = name.encode()[:_KEPT].decode(errors="ignore")
    return f"{kept}_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def channel_of(schema: str) -> str:
    """Return the channel on which commits of a schema are told."""
    return "affidavit_" + hashlib.sha256(schema.encode()).hexdigest()[:16]


def digest_of(value: str | bytes) -> bytes:
    """Return the SHA-256 of a text or of bytes, as ``sha256(column)`` gives it."""
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).digest()
