"""What the sessions of one tenant share where statements are planned: contexts and sources."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from affidavit.catalog.sources.databases.database import Database
from affidavit.catalog.sources.kinds import open_source
from affidavit.catalog.sql.names import CATALOG
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.contexts import Contexts
from affidavit.engine.plan.lakes import LakeSource
from affidavit.engine.plan.mending.remembered import Remembered
from affidavit.engine.plan.settings import NO_LISTS_KEPT, NO_STATISTICS, ONE_PARTITION, config
from affidavit.engine.plan.sizes.bounds import register_bounded
from affidavit.engine.scans.calls.called import refuse_within_call
from affidavit.engine.scans.calls.callers import told_of_caller
from affidavit.engine.scans.calls.embedding import Embedding
from affidavit.engine.scans.calls.json import register_json
from affidavit.engine.scans.calls.numbering import Numbering
from affidavit.engine.scans.calls.placed import Placed, Placing
from affidavit.engine.scans.functions import TableFunctions
from affidavit.engine.scans.lake import LakeCatalog
from affidavit.engine.scans.sources import DatabaseSource, SourceCatalog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from datafusion import ScalarUDF, SessionContext

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.sources.url import SourceUrl
    from affidavit.engine.plan.lakes import Prepares
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.scans.sources import Source
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.searcher import Searcher


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contexts of the same settings: ``narrow`` plans for one partition.

    ``added`` are the functions that were registered later, by name, and ``remembered`` says how
    statements were written for them.

    ``changing`` is held by what changes them. DataFusion asks back under a lock of its own while it
    makes an external table: whoever waited to change the context then, and whoever held Python's
    lock to read it, would wait for each other.
    """

    context: SessionContext
    narrow: SessionContext
    changing: threading.Lock
    added: set[str] = field(default_factory=set)
    remembered: Remembered = field(default_factory=Remembered)

    def add(self, function: ScalarUDF) -> None:
        """Let statements call a function, unless one of that name can be called already."""
        if function.name in self.added:
            return
        with self.changing, held():
            for context in (self.narrow, self.context):
                context.register_udf(function)
            self.added.add(function.name)


class TenantEngine:
    """DataFusion, as one tenant of an opened lake uses it.

    Args:
        catalog: The tenant's.
        searcher: Runs searches; ``None`` where none may be asked.
        models: What encodes text.
        contexts: Those that reach object stores the same way; its own by default.
        prepares: Makes what plans the views of an attached lake.

    Attributes:
        attached: The databases and lakes that statements may name, by name.
        models: What encodes text.
        numbering: What its plans ask sequences for.
        embedding: What they ask models for.
        functions: The table functions that they call.
        shared: The contexts of every session that has set nothing.
    """

    def __init__(
        self,
        catalog: Catalog,
        searcher: Searcher | None,
        models: Models,
        contexts: Contexts | None = None,
        *,
        prepares: Callable[[TenantEngine], Prepares],
    ) -> None:
        self.provider = LakeCatalog(catalog)
        self.attached: dict[str, Source] = {}
        self.contexts = Contexts() if contexts is None else contexts
        self.stores = self.contexts.stores
        self.models = models
        self.numbering = Numbering(catalog.numbers)
        self.embedding = Embedding(models)
        self._tenant = catalog.tenant
        self._has_passwords = False
        self.functions = TableFunctions(
            self.provider, searcher, models, self.attached, self.embedding
        )
        self._make = partial(_lake_planner, models, self.contexts, prepares)
        self._attaching = threading.Lock()
        self._all: WeakSet[SessionContext] = WeakSet()
        self.shared = self.pair()

    def __del__(self) -> None:
        if hasattr(self, "attached"):  # whoever held it last lets its connections go with it
            self.close()

    @cached_property
    def unstated(self) -> Pair:
        """Contexts that conclude nothing from what files say of their columns."""
        return self.pair(NO_STATISTICS)

    def pair(self, settings: Mapping[str, str] | None = None) -> Pair:
        """Return new contexts, which name what is attached now and from now on."""
        given = settings or {}
        narrow = self._context({**given, **ONE_PARTITION})
        made = Pair(self._context(given), narrow, threading.Lock())
        with self._attaching:
            for name, source in self.attached.items():
                self._name(name, source, made.context, made.narrow)
            self._all.update((made.context, made.narrow))
        self.contexts.add(made.context, made.narrow)
        return made

    @property
    def is_kept(self) -> bool:
        """Whether it was given what the lake does not remember: passwords, or credentials."""
        return self._has_passwords or self.stores.has_secrets

    def _context(self, settings: Mapping[str, str]) -> SessionContext:
        context = self.contexts.runtime.context(config(settings))
        context.sql(NO_LISTS_KEPT)
        context.register_catalog_provider(CATALOG, self.provider)
        self.functions.register(context)
        register_bounded(context)
        self.numbering.register(context)
        register_json(context)
        return context

    def written(self, text: str, snapshot: Snapshot, numbers: dict[str, int], pair: Pair) -> Placed:
        """Return a statement with the calls that are ours as DataFusion reads them."""
        refuse_within_call()
        placing = Placing(snapshot)
        text = told_of_caller(text, snapshot.catalog.identity)
        text = self.embedding.written(text, placing, pair.add)
        return Placed(self.numbering.written(text, placing, numbers), placing.keys)

    # --- sources -------------------------------------------------------------------------------

    def open(
        self,
        name: str,
        url: SourceUrl,
        reach: Reach,
        password: str | Callable[[], str] | None = None,
    ) -> Source:
        """Return a database or lake, which is opened when it is first asked."""
        opened = open_source(name, url, password, tenant=self._tenant, reach=reach)
        self._has_passwords = self._has_passwords or password is not None
        if isinstance(opened, Database):
            return DatabaseSource(opened)
        return LakeSource(opened, url.plain, self._make)

    def attach(self, source: Source) -> None:
        """Let statements name the tables of a database or lake."""
        with self._attaching:
            self._name(source.name, source, *self._all)
            self.attached[source.name] = source

    def detach(self, name: str) -> Source | None:
        """Forget a database or lake, and return it."""
        with self._attaching:
            found = self.attached.pop(name, None)
            if found is not None:
                self._name(name, None, *self._all)
        return found

    def _name(self, name: str, source: Source | None, *contexts: SessionContext) -> None:
        for context in contexts:
            context.register_catalog_provider(name, SourceCatalog(source, self.provider))

    def close(self) -> None:
        """Close what is attached."""
        for source in list(self.attached.values()):
            source.close()


def _lake_planner(
    models: Models,
    contexts: Contexts,
    prepares: Callable[[TenantEngine], Prepares],
    catalog: Catalog,
) -> Prepares:
    """Return what plans the views and external tables of an attached lake."""
    return prepares(TenantEngine(catalog, None, models, contexts, prepares=prepares))
