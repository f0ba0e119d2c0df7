"""embed('model', text): a text as the vector that a model makes of it, in a statement.

Rules:
    - The model is looked up when the statement is planned, since the type is of its dimension, and
      is asked when the plan runs, by DataFusion's threads: a batch at once, equal texts once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import ref

import pyarrow as pa

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.engine.scans.calls.call import NAMED, Call, told_in
from affidavit.engine.scans.calls.called import called
from affidavit.engine.scans.calls.placed import Uses
from affidavit.engine.scans.calls.raised import scalar_function
from affidavit.errors import InvalidQueryError, SqlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from datafusion import DataFrame, ScalarUDF

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.scans.calls.placed import Placing
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.search.models import Models

CALL: Final = "embed"

EMBED: Final = "affidavit_embed_"
"""How what makes vectors begins; their dimension follows, which is their type's."""

_NAMED: Final = re.compile(rf"{EMBED}\d+\({NAMED}")
"""Such a call in the name of a column."""

Add: TypeAlias = "Callable[[ScalarUDF], object]"
"""Lets the contexts that a statement is planned with call a function."""


@dataclass(frozen=True, slots=True)
class _Use:
    """A call in a plan.

    Attributes:
        model: The model's name.
        snapshot: The statement's, which may be stopped meanwhile.
    """

    model: str
    snapshot: ref[Snapshot]


class Embedding:
    """What the plans of a tenant ask models for.

    Args:
        models: What makes vectors.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._uses = Uses[_Use]()

    def written(self, text: str, placing: Placing, add: Add) -> str:
        """Return a statement with each call as DataFusion reads it.

        Raises:
            ModelNotFoundError: There is no such model.
            ExecutionError: It cannot say its dimension.
        """
        if CALL not in text.lower():
            return text
        tokens = tokenize(text)
        for at in range(len(tokens) - 4, -1, -1):
            token, bracket, given, comma = tokens[at : at + 4]
            if token.name == CALL and (bracket.text, comma.text) == ("(", ","):
                model = _model(given, placing.snapshot)
                if model is not None:
                    told = self._call(model, placing, add)
                    text = f"{text[: token.start]}{told}{text[given.end :]}"
        return text

    def _call(self, model: str, placing: Placing, add: Add) -> str:
        dimension = self._models.width(model)
        name, kind = f"{EMBED}{dimension}", pa.list_(pa.float32(), dimension)
        make, texts = partial(self._vectors, dimension), [pa.string(), pa.string()]
        # volatile: it is not to be asked while a plan is made
        add(scalar_function(make, texts, kind, "volatile", name))
        call = Call(f"{CALL}({quoted_text(model)}", model)
        use = _Use(model, ref(placing.snapshot))
        return f"{name}({placing.place(call, self._uses, use)}"

    def _vectors(self, dimension: int, keys: pa.Array, texts: pa.Array) -> pa.Array:
        if not len(keys):
            return pa.array([], pa.list_(pa.float32(), dimension))
        return self._made(self._uses.get(keys), texts, dimension)

    def _made(self, use: _Use | None, texts: pa.Array, dimension: int) -> pa.Array:
        snapshot = None if use is None else use.snapshot()
        if use is None or snapshot is None:
            raise SqlError(f"{EMBED}{dimension} is for plans alone: write {CALL}('model', text)")
        query, what = snapshot.query, f"embedding model {use.model!r}"
        with query.waiting(what), called(what):
            return self._models.vectors(use.model, texts, dimension, query.check)

    def named(self, frame: DataFrame, snapshot: Snapshot) -> DataFrame:
        """Return a query whose columns are called as the calls are written."""
        for name in frame.schema().names:
            if EMBED in name:
                frame = frame.with_column_renamed(
                    quoted(name), told_in(name, _NAMED, snapshot.calls)
                )
        return frame

    def asked(self, expression: Any, snapshot: Snapshot) -> tuple[str, Any] | None:  # noqa: ANN401 - DataFusion's
        """Return the model that an expression asks, and what for; ``None`` if it is no call."""
        if expression.variant_name() != "ScalarFunction":
            return None
        if not expression.rex_call_operator().startswith(EMBED):
            return None
        key, text = expression.rex_call_operands()
        if text.variant_name() == "Cast":  # a parameter, whose type is not known yet
            [text] = text.rex_call_operands()
        found = re.search(NAMED, str(key))
        call = None if found is None else snapshot.calls.get(found[1])
        return None if call is None else (call.asks, text)


def _model(token: Token, snapshot: Snapshot) -> str | None:
    """Return the model that is named in quotes or by a parameter; ``None`` if none is."""
    if token.kind == "string" and token.text[0] == "'":
        return token.text[1:-1].replace("''", "'")
    if token.kind != "placeholder":
        return None
    name = token.text[1:]
    if name not in snapshot.parameters:
        msg = f"{CALL}: no value was given for {token.text}, the model: its vectors have a type"
        raise InvalidQueryError(msg)
    return str(snapshot.parameters[name].as_py())
