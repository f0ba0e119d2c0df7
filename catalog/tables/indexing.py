"""Indexes of vector tables: which kinds there are, their parameters, and building with progress."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from tqdm.auto import tqdm

from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable

    import lance

VECTOR_INDEXES: Final = frozenset(
    {"IVF_PQ", "IVF_FLAT", "IVF_SQ", "IVF_HNSW_SQ", "IVF_HNSW_PQ", "IVF_RQ"}
)
SCALAR_INDEXES: Final = frozenset({"BTREE", "BITMAP", "LABEL_LIST", "NGRAM", "ZONEMAP"})
TEXT_INDEXES: Final = frozenset({"FTS", "INVERTED"})
PQ_ROWS_MIN: Final = 256
"""Product quantization trains 256 centroids, so it needs as many rows."""

PARTITION_ROWS: Final = 4096
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


def checked_kind(index_type: object) -> str:
    """Return ``index_type`` in upper case.

    Raises:
        InvalidQueryError: There is no such kind of index.
    """
    kinds = VECTOR_INDEXES | SCALAR_INDEXES | TEXT_INDEXES
    kind = index_type.upper() if isinstance(index_type, str) else ""
    if kind not in kinds:
        msg = f"no index type {index_type!r}; there are {sorted(kinds)}"
        raise InvalidQueryError(msg)
    return kind


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


def build_index(
    dataset: lance.LanceDataset,
    column: str,
    kind: str,
    *,
    metric: str,
    name: str | None,
    replace: bool,
    progress: Callable[[Any], None],
    options: dict[str, Any],
) -> None:
    """Build an index on ``column``; parameters that ``options`` leaves open follow the data.

    A vector index of so few rows that product quantization cannot be trained is built flat.
    """
    if kind in TEXT_INDEXES:
        options = {"with_position": True, **options}
        dataset.create_scalar_index(
            column, "INVERTED", name=name, replace=replace, progress_callback=progress, **options
        )
        return
    if kind in SCALAR_INDEXES:
        dataset.create_scalar_index(
            column, kind, name=name, replace=replace, progress_callback=progress, **options
        )
        return
    rows = dataset.count_rows()
    dimension = dataset.schema.field(column).type.list_size
    if kind.endswith("PQ") and rows < PQ_ROWS_MIN:
        kind = "IVF_FLAT" if kind == "IVF_PQ" else "IVF_HNSW_SQ"
        options.pop("num_sub_vectors", None)
    if options.get("num_partitions") is None:
        options["num_partitions"] = partitions_for(rows)
    if kind.endswith("PQ") and options.get("num_sub_vectors") is None:
        options["num_sub_vectors"] = sub_vectors_for(dimension)
    dataset.create_index(
        column, kind, name=name, metric=metric, replace=replace, progress_callback=progress,
        **{option: value for option, value in options.items() if value is not None},
    )  # fmt: skip
