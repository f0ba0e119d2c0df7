"""What a session has of its own where its statements are planned."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.store.interrupts import held
from affidavit.engine.scans.temporary.tables import Temporaries
from affidavit.engine.statement.honoured import GENERIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datafusion import SessionContext

    from affidavit.engine.plan.tenant import Pair, TenantEngine
    from affidavit.engine.scans.calls.functions import Function
    from affidavit.engine.statement.statement import Statement

PUSHDOWN: Final = "affidavit.pushdown"
FULL: Final = "full"
OFF: Final = "off"
PUSHDOWNS: Final = (FULL, "filters", OFF)
"""What databases are sent: whole sub-trees of plans, filters and first rows alone, or columns."""
_SHOW: Final = re.compile(r"\s*SHOW\s+affidavit\s*\.\s*pushdown\s*;?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GivenFile:
    """Files that one statement reads by a name of its own.

    Attributes:
        location: Where they are.
        format: Their format; empty if it is told by what they hold.
        options: The format's options.
        is_text: Whether the values of CSV are read as texts, whatever they look like.
    """

    location: str
    format: str = ""
    options: dict[str, str] = field(default_factory=dict)
    is_text: bool = False


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
        given: Files by the names that statements which run have for them.
        dialect: How statements are read.
        numbers: Which number each sequence gave the session last.
        functions: The Python functions that its contexts have, by name.
        setting: Held by who sets something.
        pushdown: What databases are asked to do: one of :data:`PUSHDOWNS`.
    """

    frames: dict[tuple[str, str], Any] = field(default_factory=dict)
    temporaries: Temporaries = field(default_factory=Temporaries)
    prepared: dict[str, tuple[Statement, tuple[str, ...]]] = field(default_factory=dict)
    settings: tuple[TenantEngine, Pair] | None = None
    given: dict[str, GivenFile] = field(default_factory=dict)
    dialect: str = GENERIC
    numbers: dict[str, int] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    setting: threading.Lock = field(default_factory=threading.Lock)
    pushdown: str = FULL

    @contextmanager
    def changing(self, engine: TenantEngine) -> Iterator[tuple[SessionContext, SessionContext]]:
        """Yield the session's own contexts, to be changed; after the block it plans with them."""
        with self.setting:
            own = self.settings
            pair = engine.pair() if own is None else own[1]
            with pair.changing, held():
                try:
                    yield pair.narrow, pair.context
                finally:
                    pair.remembered.forget()
            if own is None:
                self.settings = engine, pair

    @property
    def is_generic(self) -> bool:
        """Whether texts are read as they are written: another dialect may have escapes in them."""
        return self.dialect == GENERIC

    @property
    def is_plain(self) -> bool:
        """Whether texts mean here what they mean in every session."""
        return self.settings is None and self.is_generic

    def hides(self, schema: str, name: str) -> bool:
        """Return whether a table's name may mean something else in this session."""
        held = self.temporaries.find(schema, name)
        return not self.is_plain or (schema, name) in self.frames or held is not None

    def read_as(self, dialect: str) -> None:
        """Read statements in a dialect from now on."""
        self.dialect = dialect

    def cuts(self, context: SessionContext) -> SessionContext | None:
        """Return what cuts sub-trees out of plans for databases to answer, if they are to."""
        return context if self.pushdown == FULL else None

    def told(self, text: str) -> str:
        """Return a SHOW of what DataFusion does not know as a query; another text as it is."""
        if not _SHOW.fullmatch(text):
            return text
        return f"SELECT '{PUSHDOWN}' AS name, '{self.pushdown}' AS value"

    def push(self, pushdown: str) -> None:
        """Ask databases for this from now on."""
        self.pushdown = pushdown

    def clear(self) -> None:
        """Let go of all of it."""
        self.frames.clear()
        self.temporaries.clear()
        self.prepared.clear()
        self.numbers.clear()
        self.functions.clear()
        self.settings = None
        self.pushdown = FULL
