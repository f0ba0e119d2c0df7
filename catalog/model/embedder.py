"""What makes vectors of texts, as the catalog asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa


class Embedder(Protocol):
    """The models that callers registered; any number of threads may ask at once."""

    def dimension(self, name: str) -> int | None:
        """Return a model's dimension; ``None`` if it is not registered or does not say."""

    def width(self, name: str) -> int:
        """Return a registered model's dimension, by asking it if it does not say."""

    def vectors(
        self,
        name: str,
        texts: pa.Array,
        dimension: int,
        check: Callable[[int], object] = ...,
    ) -> pa.FixedSizeListArray:
        """Return one float32 vector a text, NULL for NULL.

        ``check`` is called in between, with how many different texts are done; it may raise.
        """
