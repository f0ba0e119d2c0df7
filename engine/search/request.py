"""What a search asks, checked and resolved before anything runs."""

from __future__ import annotations

import json
import reprlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.lake.vectors.made import MetIndexes
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.catalog.values.types import is_text
from affidavit.catalog.values.vectors import fault_of
from affidavit.engine.search.among import Among, read_condition
from affidavit.engine.search.options import checked_count
from affidavit.engine.search.vector_index import (
    fused_candidates,
    nprobes_for,
    refine_factor_for,
    serving_index,
)
from affidavit.errors import (
    ColumnNotFoundError,
    InvalidQueryError,
    SqlError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import lance
    import numpy.typing as npt

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.options import Lineage, SearchOptions
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.vector_index import VectorIndex

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
        columns_there: Its columns there. Lance makes its schema anew for each who asks, which takes
            a millisecond for 2,000 columns.
        mode: ``vector``, ``text`` or ``hybrid``.
        vector: The query vector, float32; ``None`` for text search.
        text: The query text, where there is one.
        k: How many rows are asked for.
        where: An SQL predicate over the table's columns, applied before the search.
        condition: The same as Lance reads it, where it answers it as SQL does.
        among: The rows that the predicate leaves, where Lance would not.
        select: The columns that come back, besides the score.
        column: The vector column; for text search the text column, if one is named.
        columns: The text columns; ``None`` for every column that has a full-text index.
        metric: ``cosine``, ``l2`` or ``dot``.
        exact: Whether every vector is compared.
        nprobes: How many index partitions are searched.
        refine_factor: How many times ``k`` candidates are compared exactly.
        lineage: The caller's own words about where the query comes from.
        model: The embedding model's name.
        model_version: The embedding model's version.
        journal_seq: The last entry of the tenant's ledger as the search began.
        transactions: Those of the session that asks: its record belongs in the one that is open.
        index: The index that serves it, unless it is exact.
        indexes: The indexes that the lake's searches have met.
    """

    identity: Identity
    info: TableInfo
    dataset: lance.LanceDataset
    columns_there: pa.Schema = field(repr=False)
    mode: str
    vector: npt.NDArray[np.float32] | None
    text: str | None
    k: int
    where: str | None
    condition: str | None
    among: Among | None = field(repr=False, compare=False)
    select: tuple[str, ...]
    column: str | None
    columns: tuple[str, ...] | None
    metric: str
    exact: bool
    nprobes: int
    refine_factor: int
    index: VectorIndex | None = None
    lineage: Lineage = None
    model: str | None = None
    model_version: str | None = None
    journal_seq: int | None = None
    transactions: Transactions | None = field(default=None, repr=False, compare=False)
    indexes: MetIndexes = field(default_factory=MetIndexes, repr=False, compare=False)

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
        fields = [self.columns_there.field(name) for name in self.select]
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
    catalog: Catalog,
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
    count, schema = checked_count(k, "k"), dataset.schema
    column, columns = _searched(schema, info.name, options, definition.vector)
    text, vector = _text_and_vector(
        query if options.mode == "text" else written_vector(query), options
    )
    index = serving_index(catalog, info, dataset, column, options)
    candidates = fused_candidates(count) if options.mode == "hybrid" else count
    model = options.model or definition.model_at(int(dataset.version))
    where, condition = _where(options.where, schema, info.name)
    request = SearchRequest(
        identity=catalog.identity,
        info=info,
        dataset=dataset,
        columns_there=schema,
        mode=options.mode,
        vector=None,
        text=text,
        k=count,
        where=where,
        condition=condition,
        among=Among() if where is not None and condition is None else None,
        select=_selected(schema, options.select, info.name),
        column=column,
        columns=columns,
        metric=options.metric or definition.metric,
        exact=options.exact,
        nprobes=options.nprobes or nprobes_for(index),
        refine_factor=options.refine_factor
        or refine_factor_for(index, definition.metric, count, candidates),
        index=index,
        lineage=options.lineage,
        model=model,
        model_version=models.version(model),
        journal_seq=journal_seq, transactions=catalog.transactions, indexes=catalog.lake.indexes,
    )  # fmt: skip
    return _aimed(request, vector, models)


def asked_anew(
    request: SearchRequest, query: Query | None, options: SearchOptions, models: Models
) -> SearchRequest:
    """Return ``request``, which was built of the same options, for another query.

    Raises:
        InvalidQueryError: The query cannot be used.
        ModelNotFoundError: The query is text and its model is not registered.
    """
    text, vector = _text_and_vector(
        query if options.mode == "text" else written_vector(query), options
    )
    return _aimed(replace(request, text=text, vector=None), vector, models)


def _aimed(request: SearchRequest, vector: Query | None, models: Models) -> SearchRequest:
    """Return a request for a vector, unless its text is still to be made one, or is sought."""
    if request.mode == "text":
        return request
    if vector is not None:
        return replace(request, vector=checked_vector(vector, request))
    _check_model(models, request.model, request.info.name, request.version)
    return request


def _check_model(models: Models, model: str | None, table: str, version: int) -> None:
    if model is None:
        msg = (
            f"the query for vector table {table!r} is text and the table names no model, or "
            f"none for version {version}: pass a vector, or model="
        )
        raise InvalidQueryError(msg)
    models.get(model)


def _where(text: str | None, schema: pa.Schema, table: str) -> tuple[str | None, str | None]:
    """Return a condition as SQL, and as Lance reads it if it answers it alike."""
    if text is None:
        return None, None
    with filter_errors(table, text):
        return read_condition(text, schema)


@contextmanager
def filter_errors(table: str, text: str | None) -> Iterator[None]:
    """Say of what is wrong with a condition that it is the filter of a search.

    Raises:
        InvalidQueryError: It does not parse or plan, or names what is not there.
    """
    try:
        yield
    except (SqlError, ColumnNotFoundError, TableNotFoundError) as error:
        msg = f"the filter of a search in {table!r}, {reprlib.repr(text)}: {error}"
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


def written_vector(query: Query | None) -> Query | None:
    """Return the vector that a text writes, ``'[1, 0]'``; any other query as it is."""
    if not isinstance(query, str) or not query.strip().startswith("["):
        return query
    try:
        found = json.loads(query)
    except (ValueError, RecursionError):
        return query
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in found)
    return found if found and numbers else query


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


def _searched(
    schema: pa.Schema, table: str, options: SearchOptions, vector: str
) -> tuple[str | None, tuple[str, ...] | None]:
    """Return the column that is searched by vector, and those by words, as the options name them.

    Raises:
        ColumnNotFoundError: There is no such column.
        InvalidQueryError: It is of no use to that search, or vectors are sought in two.
    """
    named, mode = options.column or (), options.mode
    for column in named:
        if column not in schema.names:
            raise ColumnNotFoundError(column, table=table, known=schema.names)
    vectors = [name for name in named if pt.is_fixed_size_list(schema.field(name).type)]
    texts = tuple(name for name in named if is_text(schema.field(name).type))
    others = [name for name in named if name not in vectors and name not in texts]
    wrong = [*others, *(vectors if mode == "text" else ()), *(texts if mode == "vector" else ())]
    if wrong:
        has_no = {"vector": "vectors", "text": "text"}.get(mode, "vectors and no text")
        kind = schema.field(wrong[0]).type
        msg = f"column {wrong[0]!r} of table {table!r} is {kind}, which has no {has_no}"
        raise InvalidQueryError(msg)
    if len(vectors) > 1:
        msg = f"a search compares vectors of one column, and column names {vectors}"
        raise InvalidQueryError(msg)
    if mode == "text":
        return (texts[0] if len(texts) == 1 else None), texts or None
    return (vectors[0] if vectors else vector), texts or None


def _selected(schema: pa.Schema, select: Sequence[str] | None, table: str) -> tuple[str, ...]:
    if select is None:
        return tuple(schema.names)
    names, known = [name for name in select if name not in SCORES], {*schema.names}
    for name in names:
        if not isinstance(name, str) or name not in known:
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
    size = request.columns_there.field(request.column).type.list_size
    if vector.ndim != 1 or len(vector) != size:
        msg = f"{where} must have dimension {size}, got shape {vector.shape}"
        raise InvalidQueryError(msg)
    fault = fault_of(vector, request.metric)
    if fault is not None:
        raise InvalidQueryError(f"{where} {fault}")
    return vector
