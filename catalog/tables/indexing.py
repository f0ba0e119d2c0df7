"""Indexes of vector tables: which kinds there are, their parameters, and building with progress."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow.types as pt
from tqdm.auto import tqdm

from affidavit.catalog.lake.vectors.text_indexes import text_options
from affidavit.catalog.values.types import is_text
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import lance
    import numpy.typing as npt
    import pyarrow as pa

    Matrix: TypeAlias = npt.NDArray[np.float32]

IVF: Final = "IVF"
"""The kind of index of vectors that suits them."""

PQ_ROWS_MIN: Final = 256
"""Product quantization trains 256 centroids, so it needs as many rows."""

PARTITION_ROWS: Final = 4096

CODES_BYTES_MAX: Final = 4 * 1024**3
"""What codes of a byte a dimension may take; more would not stay in Lance's cache, of 6 GiB."""

SAMPLED_ROWS: Final = 4096
CODE_STEPS: Final = 256
STEPS_MIN: Final = 8
"""How many of the 256 steps of such a code the values of a dimension have to spread over: a few
vectors that are far longer than all others leave the others too few."""

PROGRESS_DELAY_S: Final = 2.0


def partitions_for(rows: int) -> int:
    """Return how many IVF partitions suit ``rows``: about 4,096 rows each, as Lance advises."""
    return max(1, round(rows / PARTITION_ROWS))


def sub_vectors_for(dimension: int) -> int:
    """Return a number of PQ sub-vectors that divides ``dimension``: of 4 to 16 values if it can."""
    for width in (8, 16, 4, 2):
        if dimension % width == 0:
            return dimension // width
    return dimension


class Progress:
    """Shows a long build's stages on standard error, if somebody is looking at it."""

    def __init__(self, label: str, *, show: bool | None = None) -> None:
        hidden = not (sys.stderr.isatty() if show is None else show)
        self._make: Callable[..., Any] = lambda **details: tqdm(
            desc=label, delay=PROGRESS_DELAY_S, disable=hidden, leave=False, **details
        )
        self._bar: Any = None
        self._label = label

    def __call__(self, event: Any) -> None:  # noqa: ANN401 - Lance's IndexProgress
        """Show one of Lance's progress events."""
        if event.event == "start":
            self.close()
            self._bar = self._make(total=event.total, unit=event.unit or "steps")
            self._bar.set_description(f"{self._label}: {event.stage.replace('_', ' ')}")
        elif self._bar is not None and event.event == "progress":
            self._bar.update(event.completed - self._bar.n)
        elif self._bar is not None:
            self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a build, whatever the kind of index.

    Attributes:
        column: The column.
        metric: How vectors are compared, as the table says.
        name: The index's name; Lance's own by default.
        replace: Whether to replace an index of that name.
        progress: What is given Lance's progress events.
        options: What the caller says besides, by the names that Lance has for it.
    """

    column: str
    metric: str
    name: str | None
    replace: bool
    progress: Callable[[Any], None]
    options: Mapping[str, Any] = field(default_factory=dict)

    def common(self) -> dict[str, Any]:
        """Return what every kind of build is told."""
        return {"name": self.name, "replace": self.replace, "progress_callback": self.progress}


@dataclass(frozen=True, slots=True)
class IndexKind:
    """A kind of index of vector tables.

    Attributes:
        suits: Whether a column of that type can have one.
        needs: What column it needs, in words.
        build: Builds one, of a kind of that name; parameters that are left open follow the data.
    """

    suits: Callable[[pa.DataType], bool]
    needs: str
    build: Callable[[lance.LanceDataset, str, Wanted], None]


def _build_text(dataset: lance.LanceDataset, _: str, wanted: Wanted) -> None:
    options = text_options(dataset, wanted.column, wanted.options)
    dataset.create_scalar_index(wanted.column, "INVERTED", **wanted.common(), **options)


def _build_scalar(dataset: lance.LanceDataset, kind: str, wanted: Wanted) -> None:
    dataset.create_scalar_index(wanted.column, kind, **wanted.common(), **wanted.options)


def _suited(dataset: lance.LanceDataset, wanted: Wanted) -> str:
    """Return the kind of index that suits a column of vectors.

    ``IVF_SQ``, a byte a dimension, orders rows almost as their vectors do and is built in seconds.
    ``IVF_PQ``, a byte for several, is for what is too large for that, or has values of very
    different size; or where its own options are given. Few rows are compared as they are.
    """
    rows = int(dataset.count_rows())
    if wanted.options.get("num_sub_vectors") is not None:
        return "IVF_PQ"
    if rows < PQ_ROWS_MIN:
        return "IVF_FLAT"
    if rows * dataset.schema.field(wanted.column).type.list_size > CODES_BYTES_MAX:
        return "IVF_PQ"
    vectors = _sampled(dataset, wanted.column, rows)
    return "IVF_SQ" if _has_steps(vectors, wanted.metric) else "IVF_PQ"


def _sampled(dataset: lance.LanceDataset, column: str, rows: int) -> Matrix:
    """Return some of the vectors, from all over the table."""
    at = np.linspace(0, rows - 1, min(rows, SAMPLED_ROWS)).astype(np.int64)
    found = dataset.take(at.tolist(), columns=[column])[column].combine_chunks().drop_null()
    return np.asarray(found.flatten(), dtype=np.float32).reshape(len(found), -1)


def _has_steps(vectors: Matrix, metric: str) -> bool:
    """Return whether the values of a dimension spread over enough of the range of all."""
    if not vectors.size:
        return True
    if metric == "cosine":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    spread = float(np.median(vectors.std(axis=0)))
    return spread * CODE_STEPS >= STEPS_MIN * float(np.ptp(vectors))


def _build_vector(dataset: lance.LanceDataset, kind: str, wanted: Wanted) -> None:
    """Build flat where there are so few rows that product quantization cannot be trained."""
    if kind == IVF:
        kind = _suited(dataset, wanted)
    options = dict(wanted.options)
    rows = dataset.count_rows()
    dimension = dataset.schema.field(wanted.column).type.list_size
    if kind.endswith("PQ") and rows < PQ_ROWS_MIN:
        kind = "IVF_FLAT" if kind == "IVF_PQ" else "IVF_HNSW_SQ"
        options.pop("num_sub_vectors", None)
    if options.get("num_partitions") is None:
        options["num_partitions"] = partitions_for(rows)
    if kind.endswith("PQ") and options.get("num_sub_vectors") is None:
        options["num_sub_vectors"] = sub_vectors_for(dimension)
    given = {option: value for option, value in options.items() if value is not None}
    dataset.create_index(wanted.column, kind, metric=wanted.metric, **wanted.common(), **given)


def _is_any(_: pa.DataType) -> bool:
    return True


_VECTOR: Final = IndexKind(pt.is_fixed_size_list, "a vector column", _build_vector)
_TEXT: Final = IndexKind(is_text, "a text column", _build_text)
_SCALAR: Final = IndexKind(_is_any, "a column", _build_scalar)

INDEX_KINDS: Final[Mapping[str, IndexKind]] = {
    IVF: _VECTOR,
    "IVF_PQ": _VECTOR,
    "IVF_FLAT": _VECTOR,
    "IVF_SQ": _VECTOR,
    "IVF_HNSW_SQ": _VECTOR,
    "IVF_HNSW_PQ": _VECTOR,
    "IVF_RQ": _VECTOR,
    "BTREE": _SCALAR,
    "BITMAP": _SCALAR,
    "LABEL_LIST": _SCALAR,
    "NGRAM": _SCALAR,
    "ZONEMAP": _SCALAR,
    "FTS": _TEXT,
    "INVERTED": _TEXT,
}
"""Which kinds of index there are, by the name that ``create_index`` takes: a row each."""


def checked_kind(index_type: object) -> str:
    """Return ``index_type`` in upper case.

    Raises:
        InvalidQueryError: There is no such kind of index.
    """
    kind = index_type.upper() if isinstance(index_type, str) else ""
    if kind not in INDEX_KINDS:
        msg = f"no index type {index_type!r}; there are {sorted(INDEX_KINDS)}"
        raise InvalidQueryError(msg)
    return kind


def check_suits(kind: str, column: str, found: pa.DataType, *, table: str) -> None:
    """Raise InvalidQueryError unless a column of type ``found`` can have an index of that kind."""
    if not INDEX_KINDS[kind].suits(found):
        needs = INDEX_KINDS[kind].needs
        msg = f"{kind} needs {needs}, and {column!r} of table {table!r} is {found}"
        raise InvalidQueryError(msg)
