"""Arguments of table functions by name: ``vector_search('docs', query => [1, 0], k => 5)``.

DataFusion 54.1 plans calls of table functions with arguments by place alone. So the names go into
one more argument, a text, which the function reads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import edited, remembered, tokenize
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.engine.statement.reading.functions import TABLE_FUNCTIONS
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Edit, Token

NAMES: Final = "\x01named "
"""What the text with the names begins with: no argument of a caller's does."""


_MAY_HAVE: Final = re.compile("=>|:=")


@remembered
def by_place(text: str) -> str:
    """Return a statement whose calls of table functions have their arguments by place.

    Raises:
        SqlError: A name stands twice, or an argument without one behind one with.
    """
    if _MAY_HAVE.search(text) is None:
        return text
    return edited(text, _edits(tokenize(text)))


def _edits(tokens: Sequence[Token]) -> Iterator[Edit]:
    """Yield the edits that bring named arguments into a call by place."""
    for at, token in enumerate(tokens[:-1]):
        if token.name in TABLE_FUNCTIONS and tokens[at + 1].text == "(":
            yield from _call(tokens, at)


def _call(tokens: Sequence[Token], at: int) -> Iterator[Edit]:
    depth, names, edits = tokens[at + 1].depth, [], []
    begins, end = True, at + 2
    for index in range(at + 2, len(tokens)):
        token, end = tokens[index], index
        if token.depth == depth and token.text == ")":
            break
        if begins:
            name, width = _name(tokens, index)
            names.append(name)
            if width:
                edits.append((token.start, tokens[index + width].start, ""))
        begins = token.depth == depth + 1 and token.text == "," and token.kind == "symbol"
    if not edits:
        return
    _check(names, str(tokens[at].name))
    yield from edits
    yield tokens[end].start, tokens[end].start, f", {quoted_text(NAMES + ','.join(names))}"


def _name(tokens: Sequence[Token], at: int) -> tuple[str, int]:
    """Return the name of the argument that begins there, if it has one, and how long that is."""
    name, rest = tokens[at].name, [each.text for each in tokens[at + 1 : at + 4]]
    if name is None or len(rest) < 2:  # noqa: PLR2004 - a sign and a value
        return "", 0
    if rest[0] == "=>":
        return name, 2
    return (name, 3) if rest[:2] == [":", "="] and len(rest) > 2 else ("", 0)  # noqa: PLR2004 - as above


def _check(names: Sequence[str], function: str) -> None:
    named = [name for name in names if name]
    if "" in names[names.index(named[0]) :]:
        msg = f"{function}: an argument without a name stands behind one with: give it its name"
        raise SqlError(msg)
    for name in named:
        if named.count(name) > 1:
            raise SqlError(f"{function}: argument {name!r} stands twice")
