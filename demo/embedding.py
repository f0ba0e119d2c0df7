"""An embedding trained on the spot: latent semantic analysis, a few seconds of two cores."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

# scikit-learn ships no types
from sklearn.decomposition import TruncatedSVD  # type: ignore[import-untyped]
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

from demo.corpus import DIMENSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SEED: Final = 20


class Embedding:
    """Turns texts into unit vectors of 128 dimensions; near ones share words and topics.

    Attributes:
        version: Short for the texts that it was trained on: other texts, another version.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._words = TfidfVectorizer(stop_words="english", dtype=np.float32)
        self._topics = TruncatedSVD(DIMENSION, random_state=SEED)
        self._topics.fit(self._words.fit_transform(texts))
        self.version = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Return a unit vector for each text; zero for one that has no word of the training's."""
        vectors = self._topics.transform(self._words.transform(texts))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (vectors / np.where(lengths == 0, 1, lengths)).astype("float32")
        return unit
