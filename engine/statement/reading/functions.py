"""Functions that are the engine's own, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SEARCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "vector_search": ("table", "query", "k"),
    "text_search": ("table", "text", "k"),
    "hybrid_search": ("table", "query", "text", "k"),
}
"""Table functions that search, and what they take."""

PAST: Final[Mapping[str, tuple[str, ...]]] = {
    "as_of": ("table", "moment"),
    "changes": ("table", "from_seq", "to_seq"),
    "history": ("table",),
}
"""Table functions that read the journal."""

SOURCE_QUERY: Final = "source_query"
"""The table function that reads a query of a source's own."""

TABLE_FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    **SEARCHES, **PAST, SOURCE_QUERY: ("source", "query"),
}  # fmt: skip
"""All of ours that stand where a table does."""

OF_CALLER: Final = frozenset(
    {"current_tenant", "current_actor", "current_source", "current_workspace", "current_database",
     "current_schema", "version"}
)  # fmt: skip
"""What a statement may ask of its caller, with brackets behind."""

OF_CALLER_WORDS: Final[Mapping[str, str]] = {
    "CURRENT_USER": "current_actor", "SESSION_USER": "current_actor",
    "CURRENT_CATALOG": "current_database", "CURRENT_SCHEMA": "current_schema",
}  # fmt: skip
"""What it may ask as SQL writes it, by words alone; and what that is with brackets."""

MERGE_ACTION: Final = "merge_action"
"""What says in a MERGE's RETURNING whether a row was inserted, updated or deleted."""

SCALAR_FUNCTIONS: Final = OF_CALLER | {"embed", "nextval", "currval", MERGE_ACTION}
"""All of ours that stand in expressions and are written otherwise for DataFusion."""
