"""The vector index that serves a search, and how much of it is looked at where nobody says.

Rules:
    - What a caller says of ``nprobes`` and ``refine_factor`` is done. What is left out follows the
      index, so that ten of ten rows are found of clustered vectors however many there are; the
      record keeps what was used, and a replay asks for the same again.
    - ``nprobes`` is :data:`NPROBES_MIN`, and grows with the square root of the partitions: 31 of
      the 244 that a million rows have.
    - ``refine_factor`` makes up for what codes lose. Those of a byte a dimension (SQ) order rows
      almost as their vectors do; those of a byte for 8 dimensions (PQ), or a bit each (RQ), the
      less the more rows lie close together.
    - What an index is like is found out once for a version, or once for an index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.lake.vectors.datasets import lance_errors
from affidavit.catalog.lake.vectors.text_indexes import TEXT_INDEX
from affidavit.catalog.tables.indexing import partitions_for
from affidavit.catalog.tables.vector_rows import vector_definition

if TYPE_CHECKING:
    from collections.abc import Mapping

    import lance
    from lance.lance.indices import IndexDescription

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.vectors.made import MetIndexes
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.search.options import SearchOptions

NPROBES_MIN: Final = 20
PROBES_BY_ROOT: Final = 2
"""Partitions that are looked at, by the square root of how many there are."""

REFINED_EXACT: Final = 1
REFINED_FINE: Final = 4
REFINED_FINE_FREE: Final = 8
"""Where vectors have any length, one code has to serve the longest."""

REFINED_COARSE: Final = 30
REFINED_COARSE_MAX: Final = 200
COARSE_ROWS: Final = 100_000
"""Past so many rows coarse codes are refined more, by the square root."""

REFINED_LEAST: Final = 2
FUSED_CANDIDATES_MIN: Final = 50

_FLAT: Final = frozenset({"IVF_FLAT", "IVF_HNSW_FLAT"})
_FINE: Final = frozenset({"IVF_SQ", "IVF_HNSW_SQ"})


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index of a column of vectors, at one version.

    Attributes:
        described: The index as hooks and records see it.
        partitions: How many parts it has.
        rows: How many rows it has.
    """

    described: Mapping[str, Any]
    partitions: int
    rows: int


def serving_index(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    column: str | None,
    options: SearchOptions,
) -> VectorIndex | None:
    """Return the vector index that serves a search, if one does."""
    is_served = options.metric in {None, vector_definition(info).metric} and not options.exact
    if column is None or options.mode == "text" or not is_served:
        return None
    met = catalog.lake.indexes
    with lance_errors(f"searching {info.name!r}"):
        key = (info.table_id, int(dataset.version), column)
        [found] = met.vectors.get(key, lambda: ([_found(dataset, column, met)], 1))
    assert found is None or isinstance(found, VectorIndex)
    return found


def _found(dataset: lance.LanceDataset, column: str, met: MetIndexes) -> VectorIndex | None:
    for index in dataset.describe_indices():
        if index.field_names == [column] and index.index_type != TEXT_INDEX:
            partitions = met.vectors.get(index.segments[0].uuid, partial(_parted, dataset, index))
            return VectorIndex(_described(index), partitions, int(index.num_rows_indexed))
    return None


def _described(index: IndexDescription) -> dict[str, Any]:
    """Return an index as hooks see it; of several segments the oldest stands for it."""
    segment = index.segments[0]
    return {
        "name": index.name, "type": index.index_type, "uuid": segment.uuid,
        "fields": index.field_names, "version": segment.dataset_version_at_last_update,
        "fragment_ids": segment.fragment_ids, "base_id": segment.base_id,
    }  # fmt: skip


def _parted(dataset: lance.LanceDataset, index: IndexDescription) -> tuple[int, int]:
    """Return how many partitions an index has, which is all that is to be kept."""
    try:
        model = dataset.get_ivf_model(index.name)
    except (OSError, ValueError, RuntimeError, NotImplementedError):
        model = None
    return (
        partitions_for(int(index.num_rows_indexed)) if model is None else len(model.centroids)
    ), 1


def nprobes_for(index: VectorIndex | None) -> int:
    """Return how many partitions are searched by default."""
    partitions = 1 if index is None else index.partitions
    return max(NPROBES_MIN, round(PROBES_BY_ROOT * math.sqrt(partitions)))


def fused_candidates(k: int) -> int:
    """Return how many rows a hybrid search asks each of its halves for."""
    return max(k, FUSED_CANDIDATES_MIN)


def refine_factor_for(index: VectorIndex | None, metric: str, k: int, candidates: int) -> int:
    """Return how many times ``candidates``, for ``k`` rows, are compared exactly by default.

    Where more candidates than rows are asked for, as many are compared as for the rows alone.
    """
    if index is None:
        return REFINED_COARSE
    kind = str(index.described["type"])
    if kind in _FLAT:
        return REFINED_EXACT
    if kind in _FINE:
        factor = REFINED_FINE if metric == "cosine" else REFINED_FINE_FREE
    else:
        closer = math.sqrt(max(1.0, index.rows / COARSE_ROWS))
        factor = min(REFINED_COARSE_MAX, round(REFINED_COARSE * closer))
    return max(REFINED_LEAST, math.ceil(factor * k / candidates))
