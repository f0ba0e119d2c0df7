"""What a session has of its own where its statements are planned."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from affidavit.engine.scans.temporary.tables import Temporaries
from affidavit.engine.statement.honoured import GENERIC

if TYPE_CHECKING:
    from affidavit.engine.plan.tenant import Pair, TenantEngine
    from affidavit.engine.statement.statement import Statement


@dataclass(slots=True)
class PlanState:
    """Frames, prepared statements and settings: nobody else sees them.

    A session that set nothing is planned for by its tenant's contexts, which take time to make; one
    that did has a pair of its own, and keeps what they were made of.

    Attributes:
        frames: What was attached of memory, by schema and name.
        temporaries: The session's temporary tables.
        prepared: What PREPARE kept, by name, and the types of its parameters.
        settings: The session's own contexts, and whose they are; ``None`` while nothing is set.
        dialect: How statements are read.
        numbers: Which number each sequence gave the session last.
        setting: Held by who sets something.
    """

    frames: dict[tuple[str, str], Any] = field(default_factory=dict)
    temporaries: Temporaries = field(default_factory=Temporaries)
    prepared: dict[str, tuple[Statement, tuple[str, ...]]] = field(default_factory=dict)
    settings: tuple[TenantEngine, Pair] | None = None
    dialect: str = GENERIC
    numbers: dict[str, int] = field(default_factory=dict)
    setting: threading.Lock = field(default_factory=threading.Lock)

    def set_in(self, engine: TenantEngine, pair: Pair) -> None:
        """Plan with contexts of the session's own from now on."""
        self.settings = engine, pair

    def read_as(self, dialect: str) -> None:
        """Read statements in a dialect from now on."""
        self.dialect = dialect

    def clear(self) -> None:
        """Let go of all of it."""
        self.frames.clear()
        self.temporaries.clear()
        self.prepared.clear()
        self.numbers.clear()
        self.settings = None
