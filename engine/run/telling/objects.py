"""What a column of JSON is not given: lists and dicts, which would be texts that are no JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.values.python.rows import row_of
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from affidavit.engine.run.target import OpenTarget
    from affidavit.engine.statement.statement import Part

JSON: Final = "json"


def refuse_set_objects(opened: OpenTarget, sets: Mapping[str, str]) -> None:
    """Raise InvalidQueryError if a column of JSON is set to a parameter that is a list or dict."""
    if _json(opened):
        for column, expression in sets.items():
            tokens = tokenize(expression)
            if len(tokens) == 1 and tokens[0].kind == "placeholder":
                _refuse(opened, column, tokens[0].text[1:])


def refuse_new_objects(opened: OpenTarget, given: Sequence[str], source: Part) -> None:
    """Raise InvalidQueryError if VALUES give such a parameter to a column of JSON."""
    if _json(opened) and source.tokens and source.tokens[0].keyword == "VALUES":
        for place, name in _alone(source):
            if place < len(given):
                _refuse(opened, given[place], name)


def _alone(source: Part) -> Iterator[tuple[int, str]]:
    """Yield the parameters that stand alone in rows of VALUES, and each one's place in its row."""
    tokens, place = source.tokens, 0
    depth = tokens[0].depth + 1
    for at, token in enumerate(tokens):
        if token.depth < depth and token.text == "(":
            place = 0
        elif token.depth == depth and token.text == ",":
            place += 1
        elif token.depth == depth and token.kind == "placeholder":
            around = tokens[at - 1].text, tokens[at + 1].text
            if around[0] in {"(", ","} and around[1] in {")", ","}:
                yield place, token.text[1:]


def _json(opened: OpenTarget) -> set[str]:
    definition = opened.info.definition
    if not isinstance(definition, MutableDefinition):
        return set()
    return {column for column, kind in definition.rules.kinds.items() if kind == JSON}


def _refuse(opened: OpenTarget, column: str, name: str) -> None:
    value = opened.asked.params.get(name)
    is_object = isinstance(value, list | tuple | dict | set) or row_of(value) is not None
    if is_object and column in _json(opened):
        msg = (
            f"column {column!r} is of JSON, which is text, and ${name} is of type "
            f"{type(value).__name__}: pass json.dumps(...) of it"
        )
        raise InvalidQueryError(msg)
