"""Which names a table, column, schema or tenant may have.

Rules:
    - A table, schema or tenant name is 1 to 128 characters in Unicode normal form KC, with no
      quote, dot, slash, control character or outer white space, so that it is the same name in
      SQL, in a folder and in a log.
    - Its letters come from one script, so that no name looks like another.
    - ``journal`` and the system schemas are read by everybody and created by nobody.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from affidavit.errors import InvalidNameError, NoTenantError, ReservedNameError

NAME_LENGTH_MAX: Final = 128
CATALOG: Final = "lake"
NAME_BYTES_MAX: Final = 200
"""A folder's name has at most 255 bytes, and a dataset's ending needs some."""

MAIN_SCHEMA: Final = "main"
SHARED: Final = ""
"""How the store writes the shared scope, ``tenant=None``. No tenant can have this name."""

DEFAULT_TENANT: Final = "default"
"""Whose tables a session sees that was told nothing of tenants."""

SHARED_FOLDER: Final = "_shared"

JOURNAL: Final = "journal"
SYSTEM_SCHEMA: Final = "system"
TEMP_SCHEMA: Final = "temp"
"""The temporary tables of each session: the lake has no schema of that name."""

RESERVED_TABLES: Final = frozenset({JOURNAL})
RESERVED_SCHEMAS: Final = frozenset({"audit", "system", "topics", "information_schema", "_dml"})
RESERVED_COLUMNS: Final = frozenset({"_rowid", "_rowaddr", "*"})
SEARCH_COLUMNS: Final = frozenset({"_distance", "_score"})

_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f\"'`./\\]")
_SCRIPTS: Final = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC")


def _scripts(name: str) -> set[str]:
    found = {unicodedata.name(char, "").split(" ")[0] for char in name if char.isalpha()}
    return found & set(_SCRIPTS)


def check_name(kind: str, name: object) -> str:
    """Return ``name`` if it can name a ``kind``.

    Raises:
        InvalidNameError: It is not text, or breaks one of this module's rules.
    """
    if not isinstance(name, str):
        raise InvalidNameError(kind, name, f"expected text, got {type(name).__name__}")
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise InvalidNameError(
            kind, name[:NAME_LENGTH_MAX], f"expected 1 to {NAME_LENGTH_MAX} characters"
        )
    if len(name.encode(errors="replace")) > NAME_BYTES_MAX:
        reason = f"expected at most {NAME_BYTES_MAX} bytes in UTF-8"
        raise InvalidNameError(kind, name, reason)
    if _FORBIDDEN.search(name):
        reason = "quotes, dots, slashes and control characters are not allowed"
        raise InvalidNameError(kind, name, reason)
    if name != name.strip() or any(unicodedata.category(char) in {"Cf", "Cs"} for char in name):
        raise InvalidNameError(kind, name, "outer white space and invisible characters are refused")
    if unicodedata.normalize("NFKC", name) != name:
        normal = unicodedata.normalize("NFKC", name)
        raise InvalidNameError(kind, name, f"it looks like {normal!r} and is not the same text")
    if len(_scripts(name)) > 1:
        scripts = ", ".join(sorted(_scripts(name))).lower()
        raise InvalidNameError(kind, name, f"it mixes scripts that look alike: {scripts}")
    return name


def check_table_name(name: object, *, schema: str = MAIN_SCHEMA) -> str:
    """Return ``name`` if a user may create a table of that name in ``schema``."""
    checked = check_name("table", name)
    if schema.casefold() in RESERVED_SCHEMAS:
        raise ReservedNameError(f"{schema}.{checked}")
    if checked.casefold() in RESERVED_TABLES:
        raise ReservedNameError(checked)
    return checked


def check_schema_name(name: object) -> str:
    """Return ``name`` if a user may create a schema of that name."""
    checked = check_name("schema", name)
    if checked.casefold() in RESERVED_SCHEMAS | {TEMP_SCHEMA} or checked == MAIN_SCHEMA:
        raise ReservedNameError(checked, kind="schema")
    return checked


def check_column_name(name: object, *, search: bool = False) -> str:
    """Return ``name`` if a column may have it; ``search`` also keeps the search result columns."""
    if not isinstance(name, str) or not name or "\x00" in name:
        raise InvalidNameError("column", name, "expected non-empty text without NUL")
    if name in RESERVED_COLUMNS or (search and name in SEARCH_COLUMNS):
        raise ReservedNameError(name, kind="column")
    return name


def check_tenant(tenant: object) -> str:
    """Return how the store writes ``tenant``: its name, or :data:`SHARED` for ``None``.

    Raises:
        NoTenantError: The name is empty, or cannot be a folder of its own.
    """
    if tenant is None:
        return SHARED
    if tenant == "":
        msg = "tenant is empty: pass a name, or None for the shared scope"
        raise NoTenantError(msg)
    try:
        checked = check_name("tenant", tenant)
    except InvalidNameError as error:
        raise NoTenantError(str(error)) from error
    if checked.startswith("_"):
        msg = f"{checked!r} cannot name a tenant: a leading underscore is affidavit's own"
        raise NoTenantError(msg)
    return checked


def folder_of(tenant: str) -> str:
    """Return what the folders of a tenant are called, which the store writes as ``tenant``."""
    return SHARED_FOLDER if tenant == SHARED else tenant
