"""A process that checks signatures, so that many are checked on every core.

It runs by itself, on ``cryptography`` alone: ``multiprocessing`` would import the caller's main
module again, and all of affidavit with it. It reads batches from standard input, each a count and
then key, signature, length and message of each one, and answers with the index of the first
signature that is wrong, or -1.
"""

from __future__ import annotations

import struct
import sys
from functools import cache
from typing import BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

COUNT = struct.Struct("<I")
ANSWER = struct.Struct("<i")
KEY_BYTES, SIGNATURE_BYTES = 32, 64

Signed = tuple[bytes, bytes, bytes]
"""Key, signature and message."""

_key = cache(Ed25519PublicKey.from_public_bytes)


def is_valid(key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether ``signature`` is that of ``message`` by ``key``."""
    try:
        _key(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def first_wrong(batch: list[Signed]) -> int:
    """Return the index of the first signature that is wrong, or -1."""
    return next((at for at, each in enumerate(batch) if not is_valid(*each)), -1)


def packed(batch: list[Signed]) -> bytes:
    """Return ``batch`` as :func:`read_batch` reads it; every signature has 64 bytes."""
    parts = [COUNT.pack(len(batch))]
    for key, signature, message in batch:
        parts += [key, signature, COUNT.pack(len(message)), message]
    return b"".join(parts)


def read_batch(source: BinaryIO) -> list[Signed] | None:
    """Return the next batch; ``None`` at the end."""
    head = source.read(COUNT.size)
    if not head:
        return None
    batch = []
    for _ in range(COUNT.unpack(head)[0]):
        key, signature = source.read(KEY_BYTES), source.read(SIGNATURE_BYTES)
        size = COUNT.unpack(source.read(COUNT.size))[0]
        batch.append((key, signature, source.read(size)))
    return batch


def main() -> None:
    """Answer batches until there are no more."""
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    while (batch := read_batch(source)) is not None:
        answers.write(ANSWER.pack(first_wrong(batch)))
        answers.flush()


if __name__ == "__main__":
    main()
