"""The reference names whatever a user can call, pass, catch, type or select."""

from __future__ import annotations

import inspect
import re

import pytest

import affidavit
from affidavit.engine.audit.audit import Audit
from affidavit.engine.fronts.cli import app
from affidavit.engine.scans.audit import CHECKPOINTS_SCHEMA, RESULTS_SCHEMA, STATEMENTS_SCHEMA
from affidavit.engine.scans.entries import LEDGER_SCHEMA
from affidavit.engine.scans.journal import JOURNAL_SCHEMA, SEGMENTS_SCHEMA
from affidavit.engine.scans.system import SYSTEM_TABLES
from affidavit.engine.search.record import SEARCHES_SCHEMA
from affidavit.engine.session.journal import JournalHandle
from affidavit.engine.session.ledger import LedgerHandle
from affidavit.triggers.topics import Topics
from affidavit.triggers.triggers import Triggers
from tests.support.tree import PYPROJECT, ROOT


def test_the_face_is_sorted_documented_and_whole() -> None:
    """Everything in ``__all__`` is there and says what it is."""
    assert affidavit.__all__ == sorted(set(affidavit.__all__))
    for name in affidavit.__all__:
        value = getattr(affidavit, name)
        assert name == "__version__" or value.__doc__, name
    assert affidavit.__version__ == PYPROJECT["project"]["version"]


def test_public_functions_are_documented_in_the_reference() -> None:
    """Every public method of the session and the tables has its line in docs/reference.md."""
    text = (ROOT / "docs/reference.md").read_text()
    for owner in (
        affidavit.Session,
        affidavit.MutableTable,
        affidavit.VectorTable,
        affidavit.Result,
    ):
        for name in vars(owner):
            if not name.startswith("_"):
                assert f"`{name}" in text or f".{name}" in text, f"{owner.__name__}.{name}"


def section(heading: str) -> str:
    """Return the part of docs/reference.md under ``heading``, up to the next one of its level."""
    text = (ROOT / "docs/reference.md").read_text()
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, heading
    level = heading.partition(" ")[0]
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


@pytest.mark.parametrize(
    ("owner", "heading"),
    [
        (Audit, "## `session.audit`"),
        (LedgerHandle, "## `session.ledger`"),
        (JournalHandle, "## `session.journal`"),
        (affidavit.SearchRecord, "### `SearchRecord`"),
        (affidavit.Verdict, "### `Verdict`"),
        (affidavit.Verification, "### `Verification`"),
        (Topics, "## `session.topics`"),
        (affidavit.Topic, "### `Topic`"),
        (affidavit.Subscription, "### `Subscription`"),
        (affidavit.Delivery, "### `Delivery`"),
        (affidavit.Broker, "### Brokers"),
        (Triggers, "## `session.triggers`"),
        (affidavit.Trigger, "### `Trigger`"),
        (affidavit.AsyncSession, "## `affidavit.aconnect`"),
        (affidavit.AsyncResult, "## `affidavit.aconnect`"),
        (affidavit.AsyncSearchResult, "## `affidavit.aconnect`"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_audit_api_is_documented_where_it_belongs(owner: type, heading: str) -> None:
    """Every public method and field has a line in the section of its class."""
    text = section(heading)
    for name in vars(owner):
        if not name.startswith("_"):
            assert re.search(rf"`{name}[`(]", text), f"{owner.__name__}.{name}"


def test_arguments_errors_commands_and_system_tables_are_documented() -> None:
    """Whatever a user can pass, catch, type or select is named in docs/reference.md."""
    arguments = section("## `affidavit.connect`")
    for name in inspect.signature(affidavit.connect).parameters:
        assert re.search(rf"\b{name}=", arguments), f"connect({name}=)"
    errors = section("## Errors")
    for name, value in vars(affidavit.errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert f"`{name}`" in errors or f".{name}`" in errors, name
    commands = section("## The command line")
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert f"`affidavit {name} " in commands, command
    kept = "".join(
        map(section, ("### What the engine keeps", "### `SearchRecord`", "### `ReadRecord`"))
    )
    for schema, tables in SYSTEM_TABLES.items():
        assert all(f"`{schema}.{name}`" in kept for name in tables)
    for columns in (
        SEARCHES_SCHEMA, RESULTS_SCHEMA, CHECKPOINTS_SCHEMA, STATEMENTS_SCHEMA, LEDGER_SCHEMA,
        JOURNAL_SCHEMA, SEGMENTS_SCHEMA,
    ):  # fmt: skip
        assert all(f"`{name}`" in kept for name in columns.names)


def test_the_columns_that_sql_finds_are_documented(session: affidavit.Session) -> None:
    kept = "".join(
        map(section, ("### What the engine keeps", "### `SearchRecord`", "### `ReadRecord`"))
    )
    for schema, tables in SYSTEM_TABLES.items():
        for table in tables:
            for name in session.sql(f"SELECT * FROM {schema}.{table}").schema.names:
                assert f"`{name}`" in kept, f"{schema}.{table}.{name}"
