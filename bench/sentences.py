"""Real text: the sentences of the standard library's docstrings, and vectors of them."""

from __future__ import annotations

import ast
import re
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from bench.samples import SEED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.samples import Vectors

SENTENCE_WORDS_MIN: Final = 2
LEFT_OUT: Final = frozenset({"site-packages", "test", "tests", "idle_test"})
"""Folders of the library whose docstrings are not the library's own."""

LENGTH_MIN: Final = 1e-6
"""A vector shorter than this says nothing and has no direction to compare."""

_SENTENCE_ENDS: Final = re.compile(r"\n\s*\n|(?<=[.!?])\s+")


def sentences() -> list[str]:
    """Return every sentence of the standard library's docstrings, each once, in a fixed order."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, None] = {}
    for path in sorted(library.rglob("*.py")):
        if LEFT_OUT.isdisjoint(path.relative_to(library).parts):
            for text in _docstrings(path):
                found.update(dict.fromkeys(_split(text)))
    return list(found)


def _split(text: str) -> list[str]:
    parts = (part.split() for part in _SENTENCE_ENDS.split(text))
    return [" ".join(words) for words in parts if len(words) >= SENTENCE_WORDS_MIN]


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # a template for another Python, which says nothing in this one
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def embedded(texts: list[str], dimension: int) -> tuple[list[str], Vectors]:
    """Return the texts that have a word in common with others, and their TF-IDF + SVD vectors."""
    weights = TfidfVectorizer(min_df=2, sublinear_tf=True).fit_transform(texts)
    vectors = TruncatedSVD(dimension, random_state=SEED).fit_transform(weights)
    usable = np.flatnonzero(np.linalg.norm(vectors, axis=1) > LENGTH_MIN)
    return [texts[at] for at in usable], vectors[usable].astype(np.float32)
