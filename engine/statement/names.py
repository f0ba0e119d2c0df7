"""One rule for names: without quotes, a name is matched without case where none is written so.

DataFusion turns ``Name`` into ``name``. Where there is no such table or column, and one that
differs in case alone, that is meant; two of those are ambiguous. In quotes a name is exact.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.sql.spelling import KEYWORDS, is_name
from affidavit.engine.statement.reading.naming import rewritten
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import ColumnNotFoundError, NameNotFoundError, SqlError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.statement import Statement

Answer = TypeVar("Answer")


def with_names(
    statement: Statement,
    run: Callable[[Statement], Answer],
    columns_of: Callable[[Statement], Collection[str] | None],
) -> Answer:
    """Run a statement; where it names what is not there, run it with what is meant.

    What names something that is not there has done nothing yet.

    Args:
        statement: The statement.
        run: Runs one.
        columns_of: Returns the columns of every table that a statement names; ``None`` if not all
            can be told.

    Raises:
        SqlError: A name could be several.
    """
    while True:
        try:
            return run(statement)
        except (TableNotFoundError, ColumnNotFoundError, NameNotFoundError) as error:
            name = str(error.name).rpartition(".")[2]
            if not isinstance(error, TableNotFoundError):
                there = columns_of(statement)
                if there is None or name in there:  # of another table, where it is meant so
                    raise
            meant = _respelled(statement, name, error.known)
            if meant is None:
                raise
            statement = meant


def _respelled(statement: Statement, name: str, known: Iterable[str]) -> Statement | None:
    """Return the statement with what ``name`` means, in quotes; ``None`` if it means nothing."""
    names = {each.rpartition(".")[2] for each in known}
    alike = sorted(each for each in names if each.casefold() == name.casefold() and each != name)
    tokens = statement.tokens
    named = [at for at, token in enumerate(tokens) if token.kind == "word" and token.name == name]
    if not alike or name.upper() in KEYWORDS or any(_is_alias(tokens, at) for at in named):
        return None
    meant = [tokens[at] for at in named if is_name(tokens, at)]
    if meant and len(alike) > 1:
        told = " or ".join(map(quoted, alike))
        raise SqlError(f"{meant[0].text} is ambiguous: write {told}, in quotes")
    edits = ((token.start, token.end, quoted(alike[0])) for token in meant)
    return parse_statement(rewritten(statement.text, tokens, edits)) if meant else None


def _is_alias(tokens: Sequence[Token], at: int) -> bool:
    """Whether a name is given there: what it stands for elsewhere cannot be told."""
    before = tokens[at - 1].keyword if at else ""
    after = tokens[at + 1].text if at + 1 < len(tokens) else ""
    is_type = after in {")", "(", "["}
    return (before == "AS" and not is_type) or after == ":"


def by_name(found: Sequence[str], columns: Collection[str]) -> tuple[str, ...]:
    """Return the columns that those of a query mean: of the same name, or of one but for case.

    Where several may be meant, and where none is, the name stays as it is.
    """
    left = [each for each in columns if each not in found]
    others = Counter(each.casefold() for each in found if each not in columns)
    alike: dict[str, list[str]] = {}
    for each in left:
        alike.setdefault(each.casefold(), []).append(each)
    meant = {key: named[0] for key, named in alike.items() if len(named) == others[key] == 1}
    return tuple(each if each in columns else meant.get(each.casefold(), each) for each in found)
