"""The columns of a result as a record has them: names and types, without the statement's literals.

A column that is computed is called as it is written, and a struct's field may be called as a text
is: ``named_struct('x', 1)``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.shown import without_literals
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Collection

_TEXT: Final = re.compile(r"(?:\w*'|\$\w*\$)(.*)(?:'|\$\w*\$)", re.DOTALL)
_HIDDEN: Final = "?"


def without_values(written: bytes, statement: str) -> object:
    """Return columns, whose names and logical types are given in JSON, without literals."""
    texts = _texts(statement) if b'"struct"' in written else ()
    return [
        [name if name.isidentifier() else without_literals(name), _type(kind, texts)]
        for name, kind in json.loads(written)
    ]


def _texts(statement: str) -> set[str]:
    """Return what a statement has as literals."""
    try:
        found = [_TEXT.fullmatch(token.text) for token in tokenize(statement)]
    except SqlError:
        return set()
    return {each[1].replace("''", "'") for each in found if each is not None}


def _type(kind: object, texts: Collection[str]) -> object:
    """Return a logical type with ``?`` for each field that is called as a text is."""
    if not texts or not isinstance(kind, list):
        return kind
    what, *inner = kind
    if what != "struct":
        return [what, *(_type(each, texts) for each in inner)]
    fields = inner[0]
    return [
        what, [[_HIDDEN if name in texts else name, _type(each, texts)] for name, each in fields],
    ]  # fmt: skip
