"""Which column of a statement's target a value could not be cast for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from affidavit.engine.plan.errors import type_name, type_told
from affidavit.engine.statement.statement import Kind
from affidavit.errors import ExecutionError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from affidavit.engine.statement.statement import Statement


@contextmanager
def casts_by_column(schema: pa.Schema, statement: Statement) -> Iterator[None]:
    """Name the column, in what the block raises of a value that cannot be cast to its type.

    Args:
        schema: The target's columns.
        statement: The statement. The columns that it names are meant, or all if none has the type
            and it is an INSERT, which need not name them.
    """
    try:
        yield
    except (ExecutionError, SqlError) as error:
        wanted = type_told(str(error))
        columns = [each.name for each in schema if type_name(each.type) == wanted]
        named = [each for each in columns if each in statement.names]
        if not named and statement.kind is Kind.INSERT:
            named = columns
        if not named:
            raise
        said = " or ".join(map(repr, named))
        raise type(error)(f"column {said}: {error}") from error
