"""Calls of ours in a statement, each with a parameter that tells a plan which one it is.

Rules:
    - A parameter is called by what its call says: equal texts stay equal, and what is known of a
      text is known of it the next time.
    - Its value is a key that nobody can guess, and that is forgotten with the snapshot.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import uuid4
from weakref import finalize

import pyarrow as pa

from affidavit.catalog.sql.quoting import quoted_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.engine.scans.snapshot import Snapshot

Use = TypeVar("Use")

_FIRST: Final = 10**17
"""No caller's parameter has such a number, and DataFusion 54.1 takes no other name in an INSERT."""

_PARAMETER: Final = re.compile(r"(?<!\d)\d{18}(?!\d)")
"""Such a number in an expression: as a parameter, or as the text that stands for it."""


class Uses(Generic[Use]):
    """What the plans that live have for their calls, by key."""

    def __init__(self) -> None:
        self._kept: dict[str, Use] = {}

    def add(self, snapshot: Snapshot, use: Use) -> str:
        """Keep what a call needs as long as a snapshot lives, and return its key."""
        key = uuid4().hex
        self._kept[key] = use
        finalize(snapshot, self._kept.pop, key, None)
        return key

    def get(self, keys: pa.Array) -> Use | None:
        """Return what is kept for a batch of rows of one call."""
        return self._kept.get(str(keys[0]))


@dataclass(frozen=True, slots=True)
class Placed:
    """A statement whose calls are as DataFusion reads them.

    Attributes:
        text: The statement.
        keys: The parameters that say which call is which.
    """

    text: str
    keys: Mapping[str, pa.Scalar]

    @property
    def alone(self) -> str:
        """The text for where there are no parameters."""
        text = self.text
        for name, key in self.keys.items():
            text = text.replace(f"${name}", quoted_text(key.as_py()))
        return text


@dataclass(frozen=True, slots=True)
class Placing:
    """A statement whose calls are being placed.

    Attributes:
        snapshot: The statement's.
        keys: The parameters that were placed.
    """

    snapshot: Snapshot
    keys: dict[str, pa.Scalar] = field(default_factory=dict)

    def place(self, function: str, named: str, uses: Uses[Use], use: Use) -> str:
        """Return what stands for a call in the text.

        A statement that is only described has no parameter with a value: a text stands there.

        Args:
            function: What is called.
            named: The model or the sequence that it names.
            uses: Keeps what the call needs.
            use: What that is.
        """
        name = _parameter(function, named)
        self.snapshot.placed[name] = named
        if self.snapshot.unbound is not None:
            return quoted_text(name)
        self.keys[name] = pa.scalar(uses.add(self.snapshot, use))
        return f"${name}"


def _parameter(function: str, named: str) -> str:
    """Return what a call's parameter is called: the same for every call that says the same."""
    said = hashlib.sha256(f"{function}\0{named}".encode()).digest()
    return str(_FIRST + int.from_bytes(said[:8]) % (9 * _FIRST))


def named_by(expression: Any, snapshot: Snapshot) -> str | None:  # noqa: ANN401 - DataFusion's
    """Return what the call names whose parameter an expression of a plan is."""
    found = _PARAMETER.search(str(expression))
    return None if found is None else snapshot.placed.get(found[0])
