"""Where the modules are that the documentation named by other paths: importing one says so."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

MOVED: Final[Mapping[str, str]] = {
    "catalog.catalog": "catalog.lake.catalog",
    "catalog.change": "catalog.model.change",
    "catalog.consumers": "catalog.topics.consumer",
    "catalog.lexer": "catalog.sql.lexer",
    "catalog.names": "catalog.sql.names",
    "catalog.predicate": "catalog.sql.predicate",
    "catalog.providers": "engine.scans.resolve",
    "catalog.record": "engine.search.record",
    "catalog.rows": "catalog.tables.rows",
    "catalog.topic_log": "catalog.topics.log",
    "catalog.types": "catalog.values.types",
    "catalog.vector": "catalog.tables.vector",
    "catalog.verification": "catalog.ledger.verification.verify",
    "catalog.verifier": "catalog.ledger.verifier",
    "engine.attachments": "engine.run.attachments",
    "engine.audit_topic": "engine.audit.topic",
    "engine.cli": "engine.fronts.cli",
    "engine.ddl": "engine.run.create",
    "engine.dml": "engine.run.insert",
    "engine.hooks": "engine.search.hooks",
    "engine.keys": "catalog.ledger.keys",
    "engine.merge": "engine.statement.merge",
    "engine.pending": "engine.audit.pending",
    "engine.planner": "engine.plan.planner",
    "engine.recorder": "engine.audit.recorder",
    "engine.request": "engine.search.request",
    "engine.sources": "engine.scans.sources",
    "triggers.callbacks": "triggers.subscriptions.callbacks",
    "triggers.comparisons": "triggers.predicates.comparisons",
    "triggers.consumer": "triggers.subscriptions.consumer",
    "triggers.consumer_settings": "triggers.subscriptions.settings",
    "triggers.delivery": "triggers.subscriptions.delivery",
    "triggers.exchange": "triggers.subscriptions.exchange",
    "triggers.images": "triggers.predicates.images",
    "triggers.outbox": "triggers.rules.outbox",
    "triggers.predicate": "triggers.predicates.predicate",
    "triggers.subscription": "triggers.subscriptions.subscription",
    "triggers.trigger": "triggers.rules.trigger",
}
"""Each path of old and where it leads, both below ``affidavit``."""


class MovedFinder(MetaPathFinder):
    """Asked last, when nobody found a module: it finds none either, and knows where some went."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - Python's interface
        target: ModuleType | None = None,  # noqa: ARG002 - as above
    ) -> ModuleSpec | None:
        """Return ``None``.

        Raises:
            ModuleNotFoundError: The module was moved; the message says where to.
        """
        package, _, old = fullname.partition(".")
        if package != "affidavit" or old not in MOVED:
            return None
        msg = f"{fullname} is now affidavit.{MOVED[old]}; what is public is in affidavit itself"
        raise ModuleNotFoundError(msg, name=fullname)


def install() -> None:
    """Have Python ask, after everybody else and once."""
    if not any(isinstance(each, MovedFinder) for each in sys.meta_path):
        sys.meta_path.append(MovedFinder())
