"""What a search asks, checked and resolved before anything runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.catalog.values.vectors import METRICS
from affidavit.errors import ColumnNotFoundError, InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import lance

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.identity import Identity
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.record import SearchRecord

K_MAX: Final = 1_000_000
MODES: Final = ("vector", "text", "hybrid")
NPROBES_DEFAULT: Final = 20
REFINE_FACTOR_DEFAULT: Final = 30
OPTIONS: Final = frozenset(
    {
        "where", "select", "column", "metric", "exact", "nprobes", "refine_factor", "version",
        "lineage", "model",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search, resolved: what it reads and how.

    Attributes:
        identity: Who asks, for which tenant.
        info: The table.
        dataset: The table at the version that is searched.
        mode: ``vector``, ``text`` or ``hybrid``.
        vector: The query vector, float32; ``None`` for text search.
        text: The query text, where there is one.
        k: How many rows are asked for.
        where: An SQL predicate over the table's columns, applied before the search.
        select: The columns that come back, besides the score.
        column: The vector column, or for text search the text column; ``None`` searches every
            column that has a full-text index.
        metric: ``cosine``, ``l2`` or ``dot``.
        exact: Whether every vector is compared.
        nprobes: How many index partitions are searched.
        refine_factor: How many times ``k`` candidates are compared exactly.
        lineage: The caller's own words about where the query comes from.
        model: The embedding model's name.
        model_version: The embedding model's version.
        journal_seq: The last entry of the tenant's ledger as the search began.
    """

    identity: Identity
    info: TableInfo
    dataset: lance.LanceDataset
    mode: str
    vector: np.ndarray[Any, np.dtype[np.float32]] | None
    text: str | None
    k: int
    where: str | None
    select: tuple[str, ...]
    column: str | None
    metric: str
    exact: bool
    nprobes: int
    refine_factor: int
    lineage: object = None
    model: str | None = None
    model_version: str | None = None
    journal_seq: int | None = None

    @property
    def version(self) -> int:
        """The version of the table that is searched."""
        return int(self.dataset.version)

    @property
    def score_column(self) -> str:
        """The column that says how well a row fits: ``_distance`` or ``_score``."""
        return "_distance" if self.mode == "vector" else "_score"

    @property
    def schema(self) -> pa.Schema:
        """The columns that come back."""
        fields = [self.dataset.schema.field(name) for name in self.select]
        return pa.schema([*fields, pa.field(self.score_column, pa.float32())])


@dataclass(frozen=True, slots=True)
class CompletedSearch:
    """A search that ran, before its rows are released.

    Attributes:
        request: What was asked.
        rows: What came back, best first: the key, the selected columns and the score.
        index: The vector index that was used; ``None`` if every vector was compared.
        exact: Whether the rows are the true nearest.
        started_at_us: When it began, in microseconds since the epoch.
        duration_us: How long it took.
        record: What the ledger says of it; ``None`` before it is on record, and where audit is off.
    """

    request: SearchRequest
    rows: pa.Table
    index: Mapping[str, Any] | None
    exact: bool
    started_at_us: int
    duration_us: int
    record: SearchRecord | None = None

    @property
    def ids(self) -> list[Any]:
        """The keys of the rows that came back."""
        return self.rows[vector_definition(self.request.info).key].to_pylist()

    @property
    def scores(self) -> list[float]:
        """The rows' distances or scores."""
        return self.rows[self.request.score_column].to_pylist()


def build_request(
    identity: Identity,
    info: TableInfo,
    dataset: lance.LanceDataset,
    models: Models,
    query: object,
    k: object,
    *,
    mode: str = "vector",
    text: object = None,
    where: object = None,
    select: Sequence[str] | None = None,
    column: str | None = None,
    metric: str | None = None,
    exact: bool = False,
    nprobes: object = None,
    refine_factor: object = None,
    lineage: object = None,
    model: str | None = None,
    journal_seq: int | None = None,
    encode: bool = True,
) -> SearchRequest:
    """Return a checked request. ``encode=False`` leaves a query text for :func:`with_vector`.

    Raises:
        InvalidQueryError: k, the vector, the filter or an option cannot be used; it is named.
        ColumnNotFoundError: ``select`` or ``column`` names no column.
        ModelNotFoundError: The query is text and its model is not registered.
    """
    definition = vector_definition(info)
    if mode not in MODES:
        msg = f"no search mode {mode!r}; there are {list(MODES)}"
        raise InvalidQueryError(msg)
    count = _positive(k, "k", most=K_MAX)
    used_metric = metric or definition.metric
    if used_metric not in METRICS:
        msg = f"no metric {metric!r}; there are {list(METRICS)}"
        raise InvalidQueryError(msg)
    if where is not None and (not isinstance(where, str) or not where.strip()):
        msg = f"where must be an SQL predicate such as \"kind = 'note'\"; got {where!r}"
        raise InvalidQueryError(msg)
    if column is None and mode != "text":
        column = definition.vector
    _check_column(dataset.schema, info.name, column, mode)
    words, vector_query = _words_and_vector(mode, query, text)
    named = model or definition.model
    request = SearchRequest(
        identity=identity,
        info=info,
        dataset=dataset,
        mode=mode,
        vector=None,
        text=words,
        k=count,
        where=where,
        select=_selected(dataset.schema, select, info.name),
        column=column,
        metric=used_metric,
        exact=bool(exact),
        nprobes=NPROBES_DEFAULT if nprobes is None else _positive(nprobes, "nprobes"),
        refine_factor=(
            REFINE_FACTOR_DEFAULT
            if refine_factor is None
            else _positive(refine_factor, "refine_factor")
        ),
        lineage=lineage,
        model=named,
        model_version=models.version(named),
        journal_seq=journal_seq,
    )
    if mode == "text":
        return request
    if vector_query is None:
        if named is None:
            msg = (
                f"the query for vector table {info.name!r} is text and the table names no model: "
                "pass a vector, or model="
            )
            raise InvalidQueryError(msg)
        models.get(named)
        return with_vector(request, models) if encode else request
    return _with(request, vector=checked_vector(vector_query, request))


def with_vector(request: SearchRequest, models: Models) -> SearchRequest:
    """Return ``request`` with its text encoded, if that is still to be done."""
    if request.vector is not None or request.mode == "text":
        return request
    assert request.text is not None
    assert request.model is not None
    encoded = models.encode(request.model, [request.text])[0]
    try:
        return _with(request, vector=checked_vector(encoded, request))
    except InvalidQueryError as error:
        msg = f"embedding model {request.model!r} cannot encode {request.text!r}: {error}"
        raise InvalidQueryError(msg) from error


def _with(request: SearchRequest, **changes: object) -> SearchRequest:
    return replace(request, **changes)  # type: ignore[arg-type]  # the fields' own types


def _words_and_vector(mode: str, query: object, text: object) -> tuple[str | None, object]:
    words = query if isinstance(query, str) else text
    if words is not None and not isinstance(words, str):
        msg = f"text must be text, got {type(words).__name__}"
        raise InvalidQueryError(msg)
    if mode in {"text", "hybrid"} and (words is None or not words.strip()):
        msg = f"{mode} search needs a text to look for, got {words!r}"
        raise InvalidQueryError(msg)
    return words, None if isinstance(query, str) else query


def _positive(value: object, what: str, *, most: int = K_MAX) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        msg = f"{what} must be a whole number, got {value!r}"
        raise InvalidQueryError(msg)
    if not 1 <= value <= most:
        msg = f"{what} must be between 1 and {most:,}, got {value}"
        raise InvalidQueryError(msg)
    return int(value)


def _check_column(schema: pa.Schema, table: str, column: str | None, mode: str) -> None:
    if column is None:
        return
    if column not in schema.names:
        raise ColumnNotFoundError(column, table=table, known=schema.names)
    found = schema.field(column).type
    if mode != "text" and not pt.is_fixed_size_list(found):
        msg = f"column {column!r} of table {table!r} is {found}, which has no vectors"
        raise InvalidQueryError(msg)


def _selected(schema: pa.Schema, select: Sequence[str] | None, table: str) -> tuple[str, ...]:
    if select is None:
        return tuple(schema.names)
    if isinstance(select, str):
        msg = f"select must be a list of columns, got {select!r}"
        raise InvalidQueryError(msg)
    names = [name for name in select if name not in {"_distance", "_score"}]
    for name in names:
        if name not in schema.names:
            raise ColumnNotFoundError(name, table=table, known=schema.names)
    return tuple(dict.fromkeys(names))


def checked_vector(query: object, request: SearchRequest) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return ``query`` as a float32 vector that the request's column can be searched with.

    Raises:
        InvalidQueryError: It is no vector, has another dimension, has NaN or infinity, or is zero
            where the metric is cosine.
    """
    where = f"the query for vector table {request.info.name!r}"
    if isinstance(query, pa.Scalar):
        query = query.as_py()
    try:
        with np.errstate(over="ignore"):  # too large for float32 is infinity, refused below
            vector = np.asarray(query, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{where} must be a list of numbers, got {type(query).__name__}: {error}"
        raise InvalidQueryError(msg) from error
    size = request.dataset.schema.field(request.column).type.list_size
    if vector.ndim != 1 or len(vector) != size:
        msg = f"{where} must have dimension {size}, got shape {vector.shape}"
        raise InvalidQueryError(msg)
    finite = np.isfinite(vector)
    if not finite.all():
        msg = f"{where} has NaN or infinity (in float32) at position {int(np.argmin(finite))}"
        raise InvalidQueryError(msg)
    if request.metric == "cosine" and not vector.any():
        msg = f"{where} is the zero vector, which has no cosine distance"
        raise InvalidQueryError(msg)
    return vector


def parse_options(text: object) -> dict[str, Any]:
    """Return a table function's options.

    Raises:
        InvalidQueryError: They are no JSON object, or name an option that there is not.
    """
    try:
        options = json.loads(text) if isinstance(text, str) else None
    except ValueError as error:
        msg = f"options must be a JSON object, got {text!r}: {error}"
        raise InvalidQueryError(msg) from error
    if not isinstance(options, dict):
        msg = f"options must be a JSON object such as '{{\"exact\": true}}', got {text!r}"
        raise InvalidQueryError(msg)
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        msg = f"no search option {unknown[0]!r}; there are {sorted(OPTIONS)}"
        raise InvalidQueryError(msg)
    return options
