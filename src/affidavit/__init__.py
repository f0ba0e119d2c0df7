"""An embeddable SQL federation engine for data that must be answered for.

>>> import affidavit
>>> session = affidavit.connect("./lake")  # doctest: +SKIP
"""

from affidavit import errors, moved
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
from affidavit.errors import AffidavitError
from affidavit.triggers.brokers.protocol import Broker, Channel
from affidavit.triggers.rules.trigger import Trigger
from affidavit.triggers.subscriptions.delivery import Delivery
from affidavit.triggers.subscriptions.subscription import Subscription

__version__ = "0.1.0"

moved.install()

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
