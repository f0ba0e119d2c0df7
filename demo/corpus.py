"""The corpus: the docstrings of the running Python's standard library, read from its sources."""

from __future__ import annotations

import ast
import sys
import sysconfig
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

DIMENSION: Final = 128
WORDS_MIN: Final = 4
"""A docstring of fewer words answers no question."""

BATCH_ROWS: Final = 512

DOCS_SCHEMA: Final = pa.schema(
    {
        "id": pa.string(),
        "text": pa.string(),
        "module": pa.string(),
        "kind": pa.string(),
        "vector": pa.list_(pa.float32(), DIMENSION),
    }
)

_SKIPPED: Final = frozenset(
    {
        # tests
        "idle_test", "test", "tests",
        # what others installed
        "_bundled", "dist-packages", "site-packages",
        # applications that live beside the library
        "idlelib", "lib2to3", "pydoc_data", "turtledemo",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """A source file and the module that it is."""

    module: str
    path: Path


@dataclass(frozen=True, slots=True)
class Doc:
    """One docstring. ``id`` is the dotted name; ``kind`` is module, class or function."""

    id: str
    text: str
    module: str
    kind: str

    @property
    def embedded(self) -> str:
        """The text that is embedded: the words of the name say much about what it does."""
        return f"{self.id.replace('.', ' ').replace('_', ' ')}: {self.text}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Every docstring, and facts of every module: what ``docs`` and ``modules`` hold."""

    docs: list[Doc]
    modules: pa.Table


def source_files(root: Path | None = None) -> list[Source]:
    """Return the public modules under ``root``, by default those of the standard library."""
    root = root or Path(sysconfig.get_path("stdlib"))
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = _public_name(".".join(parts).removesuffix(".__init__"))
        if not _SKIPPED.intersection(parts) and not _is_private(module):
            found.append(Source(module, path))
    return found


def _public_name(module: str) -> str:
    """Return the name that users import: ``decimal`` for ``_pydecimal``, its Python source."""
    plain = module.removeprefix("_py")
    return plain if plain in sys.stdlib_module_names else module


def _is_private(name: str) -> bool:
    return any(part.startswith("_") for part in name.split("."))


def collect(sources: Iterable[Source], *, every: int = 1) -> Corpus:
    """Read ``sources`` and keep every ``every``-th docstring, each name once."""
    docs: dict[str, Doc] = {}
    lines: dict[str, int] = {}
    for source in sources:
        code = source.path.read_bytes()
        lines[source.module] = lines.get(source.module, 0) + code.count(b"\n")
        for doc in docstrings(ast.parse(code), source.module):
            docs.setdefault(doc.id, doc)
    kept = list(docs.values())[::every]
    return Corpus(kept, _module_facts(kept, lines))


def _module_facts(docs: Sequence[Doc], lines: dict[str, int]) -> pa.Table:
    counts = dict.fromkeys(lines, 0)
    for doc in docs:
        counts[doc.module] += 1
    return pa.table(
        {
            "module": list(lines),
            "package": [module.partition(".")[0] for module in lines],
            "lines": list(lines.values()),
            "docstrings": list(counts.values()),
        }
    )


def docstrings(tree: ast.Module, module: str) -> Iterator[Doc]:
    """Yield the docstrings of a module and of what is public in it, as they stand in the source."""
    return _docs(tree, module, module, "module")


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _docs(
    node: ast.Module | ast.ClassDef | _Function, name: str, module: str, kind: str
) -> Iterator[Doc]:
    text = ast.get_docstring(node) or ""
    if len(text.split()) >= WORDS_MIN:
        yield Doc(name, text, module, kind)
    if isinstance(node, _Function):
        return
    for child in _definitions(node.body):
        if not child.name.startswith("_"):
            child_kind = "class" if isinstance(child, ast.ClassDef) else "function"
            yield from _docs(child, f"{name}.{child.name}", module, child_kind)


def _definitions(body: Iterable[ast.AST]) -> Iterator[ast.ClassDef | _Function]:
    """Yield what a body defines, under its ``if``, ``try`` and ``with`` too."""
    for node in body:
        if isinstance(node, ast.ClassDef | _Function):
            yield node
        else:
            blocks = ("body", "handlers", "orelse", "finalbody")
            yield from _definitions(chain(*(getattr(node, block, ()) for block in blocks)))


def record_batches(
    docs: Sequence[Doc], encode: Callable[[list[str]], NDArray[np.float32]]
) -> Iterator[pa.RecordBatch]:
    """Yield ``docs`` with their vectors, :data:`BATCH_ROWS` at a time."""
    for start in range(0, len(docs), BATCH_ROWS):
        some = docs[start : start + BATCH_ROWS]
        vectors = encode([doc.embedded for doc in some]).ravel()
        columns = [
            pa.array([doc.id for doc in some]),
            pa.array([doc.text for doc in some]),
            pa.array([doc.module for doc in some]),
            pa.array([doc.kind for doc in some]),
            pa.FixedSizeListArray.from_arrays(vectors, DIMENSION),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=DOCS_SCHEMA)
