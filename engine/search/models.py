"""Embedding models: how a text becomes a vector, one that is looked for or one of a table's rows.

Rules:
    - A model is a caller's own code: it is called with no lock held, by whichever thread needs it.
    - What it gives is checked before it is used; what it raises is the cause of an error of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from affidavit.errors import ExecutionError, InvalidQueryError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

Encode: TypeAlias = "Callable[[list[str]], npt.ArrayLike]"
"""Makes one vector a text: an array of shape ``(n, dim)``, or what numpy makes one of."""

TEXTS_MAX: Final = 1024
"""How many texts of rows a model is given at once."""


class EmbeddingFunction(Protocol):
    """A function of LanceDB's embedding registry, as far as it is asked here."""

    def ndims(self) -> int:
        """Return the dimension."""

    def compute_query_embeddings(self, query: str) -> Sequence[npt.ArrayLike | None]:
        """Return the vector of one text that is looked for, in a list."""

    def compute_source_embeddings(self, texts: list[str]) -> Sequence[npt.ArrayLike | None]:
        """Return the vectors of texts that are found."""


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model.

    Attributes:
        name: What it is called.
        encode: Makes vectors of queries.
        encode_rows: Makes vectors of the texts of rows.
        version: What is written down as its version.
        dim: The dimension, if it says one.
    """

    name: str
    encode: Encode
    encode_rows: Encode
    version: str | None
    dim: int | None


class Models:
    """The embedding models of a session."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self._found: dict[str, tuple[Model, int]] = {}
        self._last: tuple[Model, list[str], int, npt.NDArray[np.float32]] | None = None

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
        """Give a model a name that tables, searches and ``embed('name', text)`` can use.

        Args:
            name: The name.
            encode: A function from ``list[str]`` to an ``(n, dim)`` float32 array, or a function of
                LanceDB's embedding registry.
            version: What to write down as the model's version.
            dim: The dimension, checked at each use; a registry function's own by default.

        Raises:
            InvalidQueryError: ``encode`` cannot be called.
        """
        queries, rows, size = _functions_of(encode)
        if queries is None or rows is None or not isinstance(name, str) or not name:
            msg = (
                "a model needs a name and a function from list[str] to an (n, dim) array, or one "
                f"of lancedb.embeddings' registry; got {name!r} and {type(encode).__name__}"
            )
            raise InvalidQueryError(msg)
        text = None if version is None else str(version)
        self._models[name] = Model(name, queries, rows, text, dim if dim is not None else size)

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

    def width(self, name: str) -> int:
        """Return a model's dimension; one that does not say is given a text, once.

        Raises:
            ModelNotFoundError: There is no such model.
            ExecutionError: It raised, or returned another shape.
        """
        model = self.get(name)
        if model.dim is not None:
            return model.dim
        found = self._found.get(name)
        if found is None or found[0] is not model:  # which another may be called by now
            found = model, _encoded(model, model.encode_rows, [name]).shape[1]
            self._found[name] = found
        return found[1]

    def encode(self, name: str, texts: list[str]) -> npt.NDArray[np.float32]:
        """Return one float32 row a text that is looked for.

        Raises:
            ExecutionError: The model raised, or returned another shape.
        """
        model = self.get(name)
        return _encoded(model, model.encode, texts)

    def vectors(
        self,
        name: str,
        texts: pa.Array,
        dimension: int,
        check: Callable[[int], object] = lambda _: None,
    ) -> pa.FixedSizeListArray:
        """Return one vector a text of a row, NULL for NULL; equal texts are asked for once.

        Args:
            name: The model.
            texts: The texts.
            dimension: That of the vectors.
            check: Called before each batch that the model is given, with how many different texts
                are done; it may raise.

        Raises:
            ModelNotFoundError: There is no such model.
            ExecutionError: The model raised, or returned another shape.
        """
        model = self.get(name)
        distinct = texts.cast(pa.large_string()).dictionary_encode()
        matrix = self._rows(model, distinct.dictionary.to_pylist(), dimension, check)
        kind = pa.list_(pa.float32(), dimension)
        made = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), type=kind)
        return made.take(distinct.indices)

    def _rows(
        self, model: Model, texts: list[str], dimension: int, check: Callable[[int], object]
    ) -> npt.NDArray[np.float32]:
        last = self._last
        if last is not None and last[0] is model and last[1:3] == (texts, dimension):
            return last[3]
        made = [np.empty((0, dimension), np.float32)]
        for at in range(0, len(texts), TEXTS_MAX):
            check(at)
            part = _encoded(model, model.encode_rows, texts[at : at + TEXTS_MAX])
            if part.shape[1] != dimension:
                msg = (
                    f"embedding model {model.name!r} made vectors of dimension {part.shape[1]}, "
                    f"and {dimension} are wanted"
                )
                raise ExecutionError(msg)
            made.append(part)
        matrix = np.concatenate(made)
        if len(texts) == 1:  # a constant, in each batch of a plan
            self._last = model, texts, dimension, matrix
        return matrix


def _encoded(model: Model, encode: Encode, texts: list[str]) -> npt.NDArray[np.float32]:
    try:
        vectors = np.asarray(encode(texts), dtype=np.float32)
    except Exception as error:
        msg = f"embedding model {model.name!r} failed: {error}"
        raise ExecutionError(msg) from error
    wanted = (len(texts), model.dim or (vectors.shape[-1] if vectors.ndim else 0))
    if vectors.shape != wanted:
        msg = f"embedding model {model.name!r} must return shape {wanted}, got {vectors.shape}"
        raise ExecutionError(msg)
    return vectors


def _functions_of(
    encode: Encode | EmbeddingFunction,
) -> tuple[Encode | None, Encode | None, int | None]:
    query = getattr(encode, "compute_query_embeddings", None)
    if callable(query):  # LanceDB's EmbeddingFunction: one query at a time, a list of vectors each

        def each(texts: list[str]) -> npt.ArrayLike:
            return [query(text)[0] for text in texts]

        source = getattr(encode, "compute_source_embeddings", each)
        return each, source, int(encode.ndims())  # type: ignore[union-attr]  # it has one
    return (encode, encode, None) if callable(encode) else (None, None, None)
