"""DEFAULT: a value that is the same whichever session inserts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import tokenize
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.engine.run.scope import Scope

_MODELS: Final = "embed"
"""Its models are those of whoever opened the lake."""


def refuse_own_calls(scope: Scope, defaults: Mapping[str, str]) -> None:
    """Raise SqlError if a default calls what other sessions may not have."""
    own = {*scope.planner.functions, _MODELS}
    for column, sql in defaults.items():
        for token, after in pairwise(tokenize(sql)):
            if token.name in own and after.text == "(":
                msg = (
                    f"the DEFAULT of column {column!r} calls {token.name!r}, which other sessions "
                    "need not have: give the value in INSERT"
                )
                raise SqlError(msg)
