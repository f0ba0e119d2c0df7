"""An embeddable SQL federation engine for data that must be answered for.

>>> import affidavit
>>> session = affidavit.connect("./lake")  # doctest: +SKIP

What a name stands for is imported when it is first asked for (PEP 562): the engine under it takes
most of a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from affidavit import errors, moved
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from affidavit.catalog.erasure.report import ErasureReport
    from affidavit.catalog.ledger.keys import EnvKeyStore, FileKeyStore, KeyStore
    from affidavit.catalog.ledger.verification.findings import Verification
    from affidavit.catalog.model.change import Change, ChangeListener
    from affidavit.catalog.sql.expression import Expression as expr  # noqa: N813 - a word for statements
    from affidavit.catalog.tables.mutable import MutableTable
    from affidavit.catalog.tables.vector import VectorTable
    from affidavit.catalog.topics.topic import Topic
    from affidavit.catalog.values.digest import digest
    from affidavit.engine.audit.appender import RecordListener
    from affidavit.engine.audit.replay import Outcome, Verdict
    from affidavit.engine.fronts.aio.connect import aconnect
    from affidavit.engine.fronts.aio.result import AsyncResult, AsyncSearchResult
    from affidavit.engine.fronts.aio.session import AsyncSession
    from affidavit.engine.fronts.aio.tables import AsyncMutableTable, AsyncVectorTable
    from affidavit.engine.fronts.magic import load_ipython_extension
    from affidavit.engine.reads.checked import Checked
    from affidavit.engine.reads.receipt import Receipt
    from affidavit.engine.reads.record import ReadRecord
    from affidavit.engine.result.result import Result, SearchResult
    from affidavit.engine.run.telling.describe import Description
    from affidavit.engine.search.hooks import SearchHook
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import CompletedSearch, SearchRequest
    from affidavit.engine.session.connect import connect
    from affidavit.engine.session.session import Session
    from affidavit.triggers.brokers.protocol import Broker, Channel
    from affidavit.triggers.rules.trigger import Trigger
    from affidavit.triggers.subscriptions.delivery import Delivery
    from affidavit.triggers.subscriptions.subscription import Subscription

__version__ = "0.1.0"

moved.install()

_WHERE: Final = {
    "ErasureReport": "catalog.erasure.report",
    "EnvKeyStore": "catalog.ledger.keys",
    "FileKeyStore": "catalog.ledger.keys",
    "KeyStore": "catalog.ledger.keys",
    "Verification": "catalog.ledger.verification.findings",
    "Change": "catalog.model.change",
    "ChangeListener": "catalog.model.change",
    "expr": "catalog.sql.expression:Expression",
    "MutableTable": "catalog.tables.mutable",
    "VectorTable": "catalog.tables.vector",
    "Topic": "catalog.topics.topic",
    "digest": "catalog.values.digest",
    "RecordListener": "engine.audit.appender",
    "Outcome": "engine.audit.replay",
    "Verdict": "engine.audit.replay",
    "aconnect": "engine.fronts.aio.connect",
    "AsyncResult": "engine.fronts.aio.result",
    "AsyncSearchResult": "engine.fronts.aio.result",
    "AsyncSession": "engine.fronts.aio.session",
    "AsyncMutableTable": "engine.fronts.aio.tables",
    "AsyncVectorTable": "engine.fronts.aio.tables",
    "load_ipython_extension": "engine.fronts.magic",
    "Checked": "engine.reads.checked",
    "Receipt": "engine.reads.receipt",
    "ReadRecord": "engine.reads.record",
    "Result": "engine.result.result",
    "SearchResult": "engine.result.result",
    "Description": "engine.run.telling.describe",
    "SearchHook": "engine.search.hooks",
    "SearchRecord": "engine.search.record",
    "CompletedSearch": "engine.search.request",
    "SearchRequest": "engine.search.request",
    "connect": "engine.session.connect",
    "Session": "engine.session.session",
    "Broker": "triggers.brokers.protocol",
    "Channel": "triggers.brokers.protocol",
    "Trigger": "triggers.rules.trigger",
    "Delivery": "triggers.subscriptions.delivery",
    "Subscription": "triggers.subscriptions.subscription",
}
"""The module of each name, and what it is called there if that is something else."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it stands for
    where = _WHERE.get(name)
    if name in {"catalog", "engine", "triggers"}:
        return import_module(f"{__name__}.{name}")
    if where is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module, _, called = where.partition(":")
    found = getattr(import_module(f"{__name__}.{module}"), called or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "AffidavitError",
    "AsyncMutableTable",
    "AsyncResult",
    "AsyncSearchResult",
    "AsyncSession",
    "AsyncVectorTable",
    "Broker",
    "Change",
    "ChangeListener",
    "Channel",
    "Checked",
    "CompletedSearch",
    "Delivery",
    "Description",
    "EnvKeyStore",
    "ErasureReport",
    "FileKeyStore",
    "KeyStore",
    "MutableTable",
    "Outcome",
    "ReadRecord",
    "Receipt",
    "RecordListener",
    "Result",
    "SearchHook",
    "SearchRecord",
    "SearchRequest",
    "SearchResult",
    "Session",
    "Subscription",
    "Topic",
    "Trigger",
    "VectorTable",
    "Verdict",
    "Verification",
    "__version__",
    "aconnect",
    "connect",
    "digest",
    "errors",
    "expr",
    "load_ipython_extension",
]
