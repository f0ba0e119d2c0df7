"""The rows of one search, found without a plan.

Rules:
    - What is found here is what DataFusion would give: rows of one search that ends soon, whose
      vector or words are given. What a model, SQL or a hook is asked for, and whatever is wrong
      with it, is left to a plan.
    - It is the same table that a plan reads, goes through the same gate, and is on record as that
      is. Where reads of the table are on record too, it is planned.
    - Rows of one distance come as they were found, which is one of the orders that SQL allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from affidavit.catalog.tables.reading import is_recorded
from affidavit.engine.plan.errors import engine_errors
from affidavit.engine.search.nearest import DISTANCE
from affidavit.engine.statement.parameters import arrow_params
from affidavit.errors import AffidavitError, ExecutionError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from affidavit.engine.plan.short.sought import Sought
    from affidavit.engine.scans.functions import SearchDataset, TableFunctions
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.search.request import SearchRequest

COMPARED_MAX: Final = 100_000
"""How many rows a table may have of which each is looked at on the thread that asks."""


def found_rows(
    sought: Sought,
    params: Mapping[str, Any],
    snapshot: Snapshot,
    functions: TableFunctions,
    done: Callable[[], None],
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]] | None:
    """Return the columns and rows that a statement asks for; ``None`` if it is to be planned.

    ``done`` is called once nothing more is read of the store.
    """
    request = _request(sought, params, snapshot, functions)
    schema = None if request is None else _schema(sought, request.schema)
    if request is None or schema is None:
        return None
    dataset = functions.search_here(snapshot, request)
    if dataset is None:
        return None
    done()
    rows = _rows(sought, dataset, schema, snapshot)
    return schema, snapshot.catalog.release(snapshot.reading, rows)


def _schema(sought: Sought, there: pa.Schema) -> pa.Schema | None:
    """Return the columns that are asked for; ``None`` if one of them is not there."""
    if not {name for name, _ in sought.columns} <= {*there.names}:
        return None
    pairs = sought.columns or [(name, name) for name in there.names]
    return pa.schema([there.field(name).with_name(called) for name, called in pairs])


def _rows(
    sought: Sought, dataset: SearchDataset, schema: pa.Schema, snapshot: Snapshot
) -> Iterator[pa.RecordBatch]:
    """Yield the rows; the search runs when the first are asked for."""
    names = [name for name, _ in sought.columns] or dataset.schema.names
    score = dataset.schema.names[-1]
    asked = [*dict.fromkeys([*names, *([score] if sought.is_ordered else [])])]
    query = snapshot.query
    with engine_errors(snapshot, ExecutionError), query.active():
        query.check()
        batches = list(dataset.scanner(asked).to_batches())
        query.check()
    found = pa.Table.from_batches(batches, pa.schema([dataset.schema.field(n) for n in asked]))
    if sought.is_ordered:
        found = _best_first(found, score)
    found = found.slice(0, sought.limit).select(names)
    query.count(found.num_rows)
    yield from pa.Table.from_arrays(found.columns, schema=schema).to_batches()


def _best_first(found: pa.Table, score: str) -> pa.Table:
    """Return rows by their distance, or by their score from the highest on."""
    values = found[score].to_numpy()
    order = np.argsort(values if score == DISTANCE else -values, kind="stable")
    is_ordered = bool((order[1:] > order[:-1]).all())
    return found if is_ordered else found.take(order)


def _request(
    sought: Sought, params: Mapping[str, Any], snapshot: Snapshot, functions: TableFunctions
) -> SearchRequest | None:
    """Return the search, if it is one that may be made without a plan."""
    values = sought.values(params)
    if values is None or snapshot.query.deadline is not None:
        return None
    try:
        kept = {name: each for name, each in values.items() if not _is_vector(each)}
        plain = {name: each.as_py() for name, each in arrow_params(kept).items()}
        request = functions.request(snapshot, sought.function, {**values, **plain})
    except StoreError:  # which a plan might not meet
        raise
    except AffidavitError:  # told by the plan, which meets it too
        return None
    is_given = request.mode == "text" or request.vector is not None
    is_wanted = is_given and request.among is None and _ends_soon(request)
    return request if is_wanted and not is_recorded(snapshot.catalog, request.info) else None


def _ends_soon(request: SearchRequest) -> bool:
    """Return whether nobody has to leave a search: it goes by an index, or through few rows."""
    is_indexed = request.mode == "text" or (request.index is not None and not request.exact)
    if is_indexed and request.condition is None:
        return True
    return int(request.dataset.count_rows()) <= COMPARED_MAX


def _is_vector(value: object) -> bool:
    """Return whether a value is a vector whose numbers Arrow would not read otherwise.

    A masked array is none: a number that is masked is NULL to Arrow.
    """
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        return False
    return value.ndim == 1 and len(value) > 0 and value.dtype in (np.float32, np.float64)
