"""embed('model', text): a text as the vector that a model makes of it, in a statement.

Rules:
    - The model is looked up when the statement is planned, since the type is of its dimension, and
      is asked when the plan runs, by DataFusion's threads: a batch at once, equal texts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import ref

import pyarrow as pa

from affidavit.catalog.sql.lexer import edited, tokenize
from affidavit.engine.scans.calls.called import called
from affidavit.engine.scans.calls.placed import Uses, named_by
from affidavit.engine.scans.calls.raised import scalar_function
from affidavit.errors import InvalidQueryError, SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datafusion import ScalarUDF

    from affidavit.catalog.sql.lexer import Edit, Token
    from affidavit.engine.scans.calls.placed import Placing
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.search.models import Models

CALL: Final = "embed"

EMBED: Final = "affidavit_embed_"
"""How what makes vectors begins; their dimension follows, which is their type's."""

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
        return edited(text, self._edits(text, placing, add)) if CALL in text.lower() else text

    def _edits(self, text: str, placing: Placing, add: Add) -> Iterator[Edit]:
        tokens = tokenize(text)
        for at in range(len(tokens) - 3):
            token, bracket, given, comma = tokens[at : at + 4]
            if token.name == CALL and (bracket.text, comma.text) == ("(", ","):
                model = _model(given, placing.snapshot)
                if model is not None:
                    yield token.start, given.end, self._call(model, placing, add)

    def _call(self, model: str, placing: Placing, add: Add) -> str:
        dimension = self._models.width(model)
        name, kind = f"{EMBED}{dimension}", pa.list_(pa.float32(), dimension)
        make, texts = partial(self._vectors, dimension), [pa.string(), pa.string()]
        # volatile: it is not to be asked while a plan is made
        add(scalar_function(make, texts, kind, "volatile", name))
        use = _Use(model, ref(placing.snapshot))
        return f"{name}({placing.place(CALL, model, self._uses, use)}"

    def _vectors(self, dimension: int, keys: pa.Array, texts: pa.Array) -> pa.Array:
        if not len(keys):
            return pa.array([], pa.list_(pa.float32(), dimension))
        return self._made(self._uses.get(keys), texts, dimension)

    def _made(self, use: _Use | None, texts: pa.Array, dimension: int) -> pa.Array:
        snapshot = None if use is None else use.snapshot()
        if use is None or snapshot is None:
            raise SqlError(f"{EMBED}{dimension} is for plans alone: write {CALL}('model', text)")
        query, what = snapshot.query, f"embedding model {use.model!r}"
        make = partial(self._models.vectors, use.model, texts, dimension, lambda _: query.check())
        with query.waiting(what):
            return called(what, make)

    def asked(self, expression: Any, snapshot: Snapshot) -> tuple[str, Any] | None:  # noqa: ANN401 - DataFusion's
        """Return the model that an expression asks, and what for; ``None`` if it is no call."""
        if expression.variant_name() != "ScalarFunction":
            return None
        if not expression.rex_call_operator().startswith(EMBED):
            return None
        key, text = expression.rex_call_operands()
        if text.variant_name() == "Cast":  # a parameter, whose type is not known yet
            [text] = text.rex_call_operands()
        model = named_by(key, snapshot)
        return None if model is None else (model, text)


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
