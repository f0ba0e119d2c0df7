"""What a search asks, checked and resolved before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql.condition import check_condition
from affidavit.catalog.sql.quoting import lance_name
from affidavit.catalog.sql.spelling import as_columns
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.engine.search.options import checked_count
from affidavit.errors import ColumnNotFoundError, InvalidQueryError, SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import lance
    import numpy.typing as npt

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.options import Lineage, SearchOptions
    from affidavit.engine.search.record import SearchRecord

SCORES: Final = ("_distance", "_score")
"""The columns that say how well a row fits, one of which always comes back."""

Query: TypeAlias = "str | Sequence[float] | npt.NDArray[Any] | pa.Array | pa.Scalar"
"""A vector in any form, or the text that a model makes one of."""


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
        transactions: Those of the session that asks: its record belongs in the one that is open.
    """

    identity: Identity
    info: TableInfo
    dataset: lance.LanceDataset
    mode: str
    vector: npt.NDArray[np.float32] | None
    text: str | None
    k: int
    where: str | None
    select: tuple[str, ...]
    column: str | None
    metric: str
    exact: bool
    nprobes: int
    refine_factor: int
    lineage: Lineage = None
    model: str | None = None
    model_version: str | None = None
    journal_seq: int | None = None
    transactions: Transactions | None = field(default=None, repr=False, compare=False)

    @property
    def version(self) -> int:
        """The version of the table that is searched."""
        return int(self.dataset.version)

    @property
    def condition(self) -> str | None:
        """The predicate in brackets: Lance reads one expression, and nothing of what follows it."""
        return None if self.where is None else f"({self.where})"

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
        query_id: What its record is called.
        record: What the ledger says of it; ``None`` before it is on record, and where audit is off.
    """

    request: SearchRequest
    rows: pa.Table
    index: Mapping[str, Any] | None
    exact: bool
    started_at_us: int
    duration_us: int
    query_id: str
    record: SearchRecord | None = None

    @property
    def ids(self) -> list[Any]:
        """The keys of the rows that came back."""
        return self.rows[vector_definition(self.request.info).key].to_pylist()

    @property
    def scores(self) -> list[float]:
        """The rows' distances or scores."""
        return self.rows[self.request.score_column].to_pylist()


@dataclass(frozen=True, slots=True)
class FailedSearch:
    """A search that was refused, or failed.

    Attributes:
        request: What was asked.
        error: What was raised.
    """

    request: SearchRequest
    error: BaseException


def build_request(
    identity: Identity,
    info: TableInfo,
    dataset: lance.LanceDataset,
    models: Models,
    query: Query | None,
    k: int | None,
    options: SearchOptions,
    *,
    journal_seq: int | None = None,
) -> SearchRequest:
    """Return a checked request; a query text that is to be a vector waits for :func:`with_vector`.

    ``dataset`` is the table at the version that ``options`` ask for.

    Raises:
        InvalidQueryError: k, the vector or an option cannot be used; it is named.
        ColumnNotFoundError: ``select`` or ``column`` names no column.
        ModelNotFoundError: The query is text and its model is not registered.
    """
    definition = vector_definition(info)
    count = checked_count(k, "k")
    column = options.column
    if column is None and options.mode != "text":
        column = definition.vector
    _check_column(dataset.schema, info.name, column, options.mode)
    text, vector = _text_and_vector(query, options)
    model = options.model or definition.model_at(int(dataset.version))
    request = SearchRequest(
        identity=identity,
        info=info,
        dataset=dataset,
        mode=options.mode,
        vector=None,
        text=text,
        k=count,
        where=_where(options.where, dataset.schema.names, info.name),
        select=_selected(dataset.schema, options.select, info.name),
        column=column,
        metric=options.metric or definition.metric,
        exact=options.exact,
        nprobes=options.nprobes,
        refine_factor=options.refine_factor,
        lineage=options.lineage,
        model=model,
        model_version=models.version(model),
        journal_seq=journal_seq,
    )
    if options.mode == "text":
        return request
    if vector is not None:
        return replace(request, vector=checked_vector(vector, request))
    if model is None:
        msg = (
            f"the query for vector table {info.name!r} is text and the table names no model, or "
            f"none for version {dataset.version}: pass a vector, or model="
        )
        raise InvalidQueryError(msg)
    models.get(model)
    return request


def _where(condition: str | None, columns: Sequence[str], table: str) -> str | None:
    """Return a condition with its names as the table writes them."""
    if condition is None:
        return None
    try:
        check_condition(condition)
        return as_columns(condition, columns, lance_name)
    except SqlError as error:
        msg = f"the filter of a search in {table!r}: {error}"
        raise InvalidQueryError(msg) from error


def with_vector(request: SearchRequest, models: Models) -> SearchRequest:
    """Return ``request`` with its text encoded, if that is still to be done."""
    if request.vector is not None or request.mode == "text":
        return request
    assert request.text is not None
    assert request.model is not None
    encoded = models.encode(request.model, [request.text])[0]
    try:
        return replace(request, vector=checked_vector(encoded, request))
    except InvalidQueryError as error:
        msg = f"embedding model {request.model!r} cannot encode {request.text!r}: {error}"
        raise InvalidQueryError(msg) from error


def _text_and_vector(
    query: Query | None, options: SearchOptions
) -> tuple[str | None, Query | None]:
    """Return the words that are looked for, and the vector, which of text is still to be made."""
    words = query if isinstance(query, str) else options.text
    if options.mode in {"text", "hybrid"} and (words is None or not words.strip()):
        msg = f"{options.mode} search needs a text to look for, got {words!r}"
        raise InvalidQueryError(msg)
    if query is None and words is None:
        msg = "a search needs a query: pass a vector, or a text that a model makes one of"
        raise InvalidQueryError(msg)
    return words, None if isinstance(query, str) else query


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
    names = [name for name in select if name not in SCORES]
    for name in names:
        if name not in schema.names:
            raise ColumnNotFoundError(name, table=table, known=schema.names)
    return tuple(dict.fromkeys(names))


def checked_vector(query: Query, request: SearchRequest) -> npt.NDArray[np.float32]:
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
