"""One rule for names: without quotes, a name is matched without case where none is written so.

DataFusion turns ``Name`` into ``name``. Where there is no such table or column, and one that
differs in case alone, that is meant; two of those are ambiguous. In quotes a name is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import ColumnNotFoundError, NameNotFoundError, SqlError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.statement import Statement

Answer = TypeVar("Answer")


def with_names(statement: Statement, run: Callable[[Statement], Answer]) -> Answer:
    """Run a statement; where it names what is not there, run it with what is meant.

    What names something that is not there has done nothing yet.

    Raises:
        SqlError: A name could be several.
    """
    while True:
        try:
            return run(statement)
        except (TableNotFoundError, ColumnNotFoundError, NameNotFoundError) as error:
            meant = _respelled(statement, str(error.name).rpartition(".")[2], error.known)
            if meant is None:
                raise
            statement = meant


def _respelled(statement: Statement, name: str, known: Iterable[str]) -> Statement | None:
    """Return the statement with what ``name`` means, in quotes; ``None`` if it means nothing."""
    names = {each.rpartition(".")[2] for each in known}
    alike = sorted(each for each in names if each.casefold() == name.casefold() and each != name)
    text = statement.text
    for at, token in reversed(list(enumerate(statement.tokens))):
        if token.kind == "word" and token.name == name and _is_name(statement.tokens, at):
            if len(alike) > 1:
                told = " or ".join(map(quoted, alike))
                raise SqlError(f"{token.text} is ambiguous: write {told}, in quotes")
            for each in alike:
                text = f"{text[: token.start]}{quoted(each)}{text[token.end :]}"
    return None if text is statement.text else parse_statement(text)


def _is_name(tokens: Sequence[Token], at: int) -> bool:
    """Whether a word is no function, type or part of a literal."""
    after = tokens[at + 1] if at + 1 < len(tokens) else None
    before = tokens[at - 1] if at else None
    if after is not None and (after.text == "(" or after.kind == "string"):
        return before is not None and before.keyword in {"INTO", "TABLE"}
    if before is None or before.text == "::":
        return False
    return not (before.keyword == "AS" and after is not None and after.text == ")")
