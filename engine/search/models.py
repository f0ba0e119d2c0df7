"""Embedding models: how a query that is text becomes a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from affidavit.errors import ExecutionError, InvalidQueryError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

Encode: TypeAlias = "Callable[[list[str]], npt.ArrayLike]"
"""Makes one vector a text: an array of shape ``(n, dim)``, or what numpy makes one of."""


class EmbeddingFunction(Protocol):
    """A function of LanceDB's embedding registry, as far as it is asked here."""

    def ndims(self) -> int:
        """Return the dimension."""

    def compute_query_embeddings(self, query: str) -> Sequence[npt.ArrayLike | None]:
        """Return the vector of one text, in a list."""


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model."""

    name: str
    encode: Encode
    version: str | None
    dim: int | None


class Models:
    """The embedding models of a session."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def __repr__(self) -> str:
        return f"Models({sorted(self._models)})"

    def register(
        self,
        name: str,
        encode: Encode | EmbeddingFunction,
        *,
        version: str | float | None = None,
        dim: int | None = None,
    ) -> None:
        """Give a model a name that tables and searches can use.

        Args:
            name: The name.
            encode: A function from ``list[str]`` to an ``(n, dim)`` float32 array, or a function of
                LanceDB's embedding registry.
            version: What to write down as the model's version.
            dim: The dimension, checked at each use; a registry function's own by default.

        Raises:
            InvalidQueryError: ``encode`` cannot be called.
        """
        function, size = _function_of(encode)
        if function is None or not isinstance(name, str) or not name:
            msg = (
                "a model needs a name and a function from list[str] to an (n, dim) array, or one "
                f"of lancedb.embeddings' registry; got {name!r} and {type(encode).__name__}"
            )
            raise InvalidQueryError(msg)
        text = None if version is None else str(version)
        self._models[name] = Model(name, function, text, dim if dim is not None else size)

    def get(self, name: str) -> Model:
        """Return the model of that name.

        Raises:
            ModelNotFoundError: There is none.
        """
        if name not in self._models:
            raise ModelNotFoundError(name, known=self._models)
        return self._models[name]

    def dimension(self, name: str) -> int | None:
        """Return a model's dimension; ``None`` if it is not registered or does not say."""
        model = self._models.get(name)
        return None if model is None else model.dim

    def version(self, name: str | None) -> str | None:
        """Return a model's version; ``None`` if it is not registered or has none."""
        model = self._models.get(name) if name is not None else None
        return None if model is None else model.version

    def encode(self, name: str, texts: list[str]) -> npt.NDArray[np.float32]:
        """Return one float32 row a text.

        Raises:
            ExecutionError: The model raised, or returned another shape.
        """
        model = self.get(name)
        try:
            vectors = np.asarray(model.encode(texts), dtype=np.float32)
        except Exception as error:
            msg = f"embedding model {name!r} failed: {error}"
            raise ExecutionError(msg) from error
        wanted = (len(texts), model.dim or (vectors.shape[-1] if vectors.ndim else 0))
        if vectors.shape != wanted:
            msg = f"embedding model {name!r} must return shape {wanted}, got {vectors.shape}"
            raise ExecutionError(msg)
        return vectors


def _function_of(encode: Encode | EmbeddingFunction) -> tuple[Encode | None, int | None]:
    query = getattr(encode, "compute_query_embeddings", None)
    if callable(query):  # LanceDB's EmbeddingFunction: one text at a time, a list of vectors each

        def each(texts: list[str]) -> npt.ArrayLike:
            return [query(text)[0] for text in texts]

        return each, int(encode.ndims())  # type: ignore[union-attr]  # it has one
    return (encode, None) if callable(encode) else (None, None)
