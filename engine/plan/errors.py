"""What DataFusion raises, in this tree: the one place here that reads the texts of its messages.

Beside each text stand the versions in which it was seen. ``tests/engine/plan/test_errors.py``
provokes each of them, so that an upgrade which words one differently fails there.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from affidavit.errors import (
    AffidavitError,
    SourceError,
    TableNotFoundError,
    UnsupportedPredicateError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.engine.scans.snapshot import Snapshot

CONSTANT_FILTER: Final = re.compile("unsupported operand type|bit_wise_and")
"""datafusion-python 54.1.0 joins the filters that it hands to a table with Python's ``&`` and
``|``, which pyarrow 26.0.1 refuses where one of them is a constant, and if both are."""

NO_FIELD: Final = re.compile(r"No field named (?:[^ ]*\.)?\"?([^. \"]+)\"?\.")
"""DataFusion 54.1.0 found a column in no table of the query."""

NO_TABLE: Final = re.compile(r"table '([^']*)' not found")
"""DataFusion 54.1.0 found a table in no catalog; it has the whole name."""

PREFIXES: Final = re.compile(
    r"^(DataFusion error: |Arrow error: |External error: |SQL error: |Error during planning: )+"
)
"""What the layers of DataFusion 54.1.0 put before a message; a caller knows no layers."""

PANIC: Final = "PanicException"
"""What a panic in Rust becomes, no ``Exception``, in a class that no module of datafusion-python
54.1.0 or pylance 14.0.2 has; whichever library panicked, its name is the same."""


@contextmanager
def engine_errors(snapshot: Snapshot | None, kind: type[AffidavitError]) -> Iterator[None]:
    """Turn what DataFusion raises into this tree.

    DataFusion passes a provider's error on as text; the snapshot kept the error itself.
    """
    try:
        yield
    except AffidavitError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        failure = None if snapshot is None else snapshot.failure
        if isinstance(failure, AffidavitError | KeyboardInterrupt):
            raise failure from None
        told = str(error) if snapshot is None else snapshot.hide(str(error))
        text = PREFIXES.sub("", told).strip()
        if told != str(error):  # then the error itself has a secret
            raise kind(text) from None
        known = None if snapshot is None else _known(told, text, snapshot, kind)
        if known is not None:
            raise known from error
        raise kind(text or type(error).__name__) from (failure or error)


def _known(
    told: str, text: str, snapshot: Snapshot, kind: type[AffidavitError]
) -> AffidavitError | None:
    """Return what a message says in the words of a statement's tables, if it is about them."""
    for name, other in snapshot.others.items():
        if f"{other.catalog.lake.path}/vectors/".lstrip("/") in told:
            return SourceError(f"source {name!r}: {text}")
    if NO_TABLE.search(text) is not None and snapshot.missing:
        known = [info.name for info in snapshot.catalog.tables(snapshot.reader)]
        return TableNotFoundError(snapshot.missing[-1], known=known)
    field = NO_FIELD.search(text)
    if field is not None and field[1] in snapshot.refused:
        there = snapshot.refused[field[1]]
        return kind(f"column {field[1]!r} cannot be read: its type is {there} there")
    return None


def asks_for_whole_tables(error: BaseException, failure: BaseException | None) -> bool:
    """Return whether a plan failed since a filter could not be handed to a table.

    ``failure`` is what a provider raised, if one did.
    """
    refused = isinstance(failure, UnsupportedPredicateError)
    return refused or CONSTANT_FILTER.search(str(error)) is not None
