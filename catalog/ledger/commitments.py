"""What a signed body says of values that are to be let go one day: salted hashes of them.

Rules:
    - In the body such a member is the text ``c:`` and the hexadecimal SHA-256 of its salt, 0x02,
      its name, 0x00 and its value in canonical JSON (RFC 8785). A body that has some says
      ``"v": 2``.
    - Salts are 16 random bytes, one a member and entry: without its salt a value cannot be found
      by trying, however few it could have been.
    - Salts and values stand beside the body, in the ledger's column ``opened``: a JSON object of
      ``[salt, value]`` by member, the salt in hexadecimal. Erasing takes a pair away; the body,
      its leaf and its signature stay as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.ledger.merkle import Frontier
from affidavit.catalog.ledger.verifier import LedgerProblem, commitment, leaf_hash
from affidavit.catalog.values.canonical import canonical, parsed
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

VERSION: Final = 2
"""What the member ``v`` of a body with commitments says."""

SALT_BYTES: Final = 16

CONTEXT: Final = "context"
"""What a scope says of a request: a commitment in whatever entry the scope makes."""

COMMITTED: Final = frozenset(
    {
        CONTEXT, "filter", "filters", "ids", "keys", "lineage", "parameters", "params",
        "query_lineage", "query_sha256", "query_text", "query_vector", "result_schema",
        "result_sha256", "retrieval_scores", "rows_set_sha256", "sources", "statement_sha256",
        "text", "top_k_result_ids",
    }
)  # fmt: skip
"""The members that are commitments in a body of that version. Any other is in the clear, even one
that somebody made look like one, as an actor can be called anything."""


_SALT: Final = re.compile(rb'":\["([0-9a-f]{32})",')
"""What stands between the name of a member beside a body and its value: its salt."""


class Commitments:
    """The members of one body that are commitments, and what they are of.

    Args:
        values: Each member's value in canonical JSON; members that are ``None`` are not committed
            to, and stand in the body as ``null``.
        salts: Salts that were chosen before, by member; the others are random.
    """

    def __init__(
        self, values: Mapping[str, bytes | None], salts: Mapping[str, bytes] | None = None
    ) -> None:
        chosen = salts or {}
        given = [name for name, value in values.items() if value is not None]
        drawn = os.urandom(SALT_BYTES * len(given))
        members: dict[str, bytes] = dict.fromkeys(values, b"null")
        parts = []
        for at, name in enumerate(given):
            value = values[name]
            assert value is not None
            salt = chosen.get(name) or drawn[at * SALT_BYTES : (at + 1) * SALT_BYTES]
            members[name] = b'"%s"' % commitment(salt, name, value).encode()
            parts.append(b'"%s":["%s",%s]' % (name.encode(), salt.hex().encode(), value))
        self.members = members
        self.opened = b"{%s}" % b",".join(parts) if parts else None

    def __repr__(self) -> str:
        return f"Commitments({', '.join(self.members)})"


def opened_members(opened: object) -> dict[str, tuple[bytes, Any]]:
    """Return the salt and value of each member that can still be read.

    Raises:
        LedgerProblem: It is not what affidavit wrote.
    """
    if opened is None:
        return {}
    try:
        found = parsed(opened)  # type: ignore[arg-type]  # or it is found not to be one
        return {name: (bytes.fromhex(salt), value) for name, (salt, value) in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise LedgerProblem("what its commitments are of cannot be read") from None


def written_members(opened: object) -> dict[str, tuple[bytes, bytes]]:
    """Return the salt of each member that can still be read, and its value in canonical JSON.

    Raises:
        LedgerProblem: It is not what affidavit wrote; a number too large is none of JSON's.
    """
    try:
        return {
            name: (salt, canonical(value, name))
            for name, (salt, value) in opened_members(opened).items()
        }
    except InvalidQueryError:
        raise LedgerProblem("what its commitments are of cannot be read") from None


def without(opened: bytes | None, members: frozenset[str]) -> bytes | None:
    """Return ``opened`` with some members let go."""
    kept = {
        name: [salt.hex(), value]
        for name, (salt, value) in opened_members(opened).items()
        if name not in members
    }
    return canonical(kept) if kept else None


def check_opened(fields: Mapping[str, Any], opened: object) -> AbstractSet[str]:
    """Return the members that can still be read, if each is what a body commits to.

    Raises:
        LedgerProblem: One is not, or it is not what affidavit wrote.
    """
    quickly = _opened_as_written(fields, opened)
    if quickly is not None:
        return quickly
    members = written_members(opened)
    for name, (salt, value) in members.items():
        if fields.get(name) != commitment(salt, name, value):
            raise LedgerProblem(f"its {name} is not what was signed")
    return members.keys()


def _opened_as_written(fields: Mapping[str, Any], opened: object) -> AbstractSet[str] | None:
    """Return its members if it is, byte for byte, what a body commits to; else ``None``.

    It is cut where salts seem to stand, which may be within a value. That a piece is the value
    that was signed, and so JSON, its hash says: then it is cut where a reader of JSON cuts it.
    """
    if not isinstance(opened, bytes) or not opened.startswith(b'{"') or opened[-2:] != b"]}":
        return None
    begun, *parts = _SALT.split(opened)
    if not parts:
        return None
    name = begun[2:]
    names = set[str]()
    for salt, rest in zip(parts[::2], parts[1::2], strict=True):
        value, _, following = rest.rpartition(b'],"')
        if len(names) == len(parts) // 2 - 1:
            value, following = rest[:-2], b""
        found = hashlib.sha256(b"%b\x02%b\x00%b" % (bytes.fromhex(salt.decode()), name, value))
        told = name.decode(errors="replace")
        if fields.get(told) != f"c:{found.hexdigest()}" or told in names:
            return None
        names.add(told)
        name = following
    return names


def ids_root(salt: bytes, ids: list[str]) -> str:
    """Return the root of the RFC 9162 tree over the sorted salted hashes of ``ids``, hexadecimal.

    Two neighbours in it show that an id between them is not there.
    """
    hashed = sorted(hashlib.sha256(salt + each.encode()).digest() for each in ids)
    return Frontier().extended([leaf_hash(each) for each in hashed])[0].root.hex()
