"""An embeddable SQL federation engine for data that must be answered for.

>>> import affidavit
>>> session = affidavit.connect("./lake")  # doctest: +SKIP
"""

from affidavit import errors
from affidavit.catalog.change import Change, ChangeListener
from affidavit.catalog.expression import Expression as expr  # noqa: N813 - a word for statements
from affidavit.catalog.mutable import MutableTable
from affidavit.catalog.record import SearchRecord
from affidavit.catalog.topics import Topic
from affidavit.catalog.vector import VectorTable
from affidavit.catalog.verification import Verification
from affidavit.engine.hooks import SearchHook
from affidavit.engine.keys import EnvKeyStore, FileKeyStore, KeyStore
from affidavit.engine.magic import load_ipython_extension
from affidavit.engine.recorder import RecordListener
from affidavit.engine.replay import Outcome, Verdict
from affidavit.engine.request import CompletedSearch, SearchRequest
from affidavit.engine.result import Result, SearchResult
from affidavit.engine.session import Session, connect
from affidavit.errors import AffidavitError
from affidavit.triggers.brokers.protocol import Broker, Channel
from affidavit.triggers.delivery import Delivery
from affidavit.triggers.subscription import Subscription
from affidavit.triggers.trigger import Trigger

__version__ = "0.1.0"

__all__ = [
    "AffidavitError",
    "Broker",
    "Change",
    "ChangeListener",
    "Channel",
    "CompletedSearch",
    "Delivery",
    "EnvKeyStore",
    "FileKeyStore",
    "KeyStore",
    "MutableTable",
    "Outcome",
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
    "connect",
    "errors",
    "expr",
    "load_ipython_extension",
]
