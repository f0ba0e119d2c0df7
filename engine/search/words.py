"""Searches by words: BM25 over one column or several, with phrases.

Rules:
    - A text is words, and phrases in double quotes. A row is found that has any of them; of a
      phrase it has the words beside each other, in that order.
    - A row's score in a column is the sum over the words that it has; of several columns the best
      one counts.
    - A text that can match nothing is refused, and the reason is said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance.query import BooleanQuery, MatchQuery, Occur, PhraseQuery

from affidavit.catalog.sql.quoting import lance_name, quoted_text
from affidavit.engine.search.among import LISTED_MAX, ROW_ID, listed
from affidavit.engine.search.text_index import (
    FRESH_ID,
    FRESH_TEXT,
    fresh,
    indexed_columns,
    text_indexes,
)
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lance
    from lance.query import FullTextQuery

    from affidavit.engine.search.request import SearchRequest
    from affidavit.engine.search.text_index import TextIndex

SCORE: Final = "_score"
_PART: Final = re.compile(r'"(?P<phrase>[^"]*)"|(?P<words>(?:[^"]|"(?![^"]*"))+)')
_WITHOUT_SPACES: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)
"""Letters of scripts that put no spaces between words, or hang particles on them."""


def parts_of(text: str) -> list[tuple[str, bool]]:
    """Return the words and phrases of a text, each with whether it is a phrase."""
    found = ((each["phrase"], True) if each["words"] is None else (each["words"], False)
             for each in _PART.finditer(text))  # fmt: skip
    return [(part, is_phrase) for part, is_phrase in found if part.strip()]


def best_by_words(request: SearchRequest, k: int) -> pa.Table:
    """Return the ids and scores of the best ``k`` rows by BM25.

    Raises:
        InvalidQueryError: A column has no full-text index, or the text can match nothing.
    """
    assert request.text is not None
    indexes = _indexes(request)
    parts = parts_of(request.text)
    asked = {index.column: _query_parts(index, parts) for index in indexes}
    if not any(asked.values()):
        raise InvalidQueryError(_nothing_to_find(request, indexes[0]))
    ranked = [
        _ranked(request, index, asked[index.column], k) for index in indexes if asked[index.column]
    ]
    best = ranked[0] if len(ranked) == 1 else _best_of(ranked, k)
    if not best.num_rows:
        _refuse_unparted(request, indexes)
    return best


def _indexes(request: SearchRequest) -> list[TextIndex]:
    found = text_indexes(request)
    columns = indexed_columns(found, request.columns)
    missing = [column for column in columns if column not in found]
    if missing or not columns:
        what = f"column {missing[0]!r} of" if missing else "any column of"
        msg = (
            f"no full-text index on {what} vector table {request.info.name!r}: call "
            "table.create_index(column, 'FTS')"
        )
        raise InvalidQueryError(msg)
    return [found[column] for column in columns]


def _query_parts(index: TextIndex, parts: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Return the parts that have words for an index; a phrase of one word is a word."""
    counted = [(part, is_phrase, len(index.tokens(part))) for part, is_phrase in parts]
    return [(part, is_phrase and count > 1) for part, is_phrase, count in counted if count]


def _ranked(
    request: SearchRequest, index: TextIndex, parts: Sequence[tuple[str, bool]], k: int
) -> pa.Table:
    """Return the ids and scores of the best rows in one column."""
    lacks_positions = not index.has_positions and any(is_phrase for _, is_phrase in parts)
    if index.is_exact and not lacks_positions:
        return _in_table(request, index, parts, k)
    made = fresh(request, index)
    if made is not None:
        return _in_memory(request, made, parts, k)
    if lacks_positions:
        msg = (
            f"the full-text index on {index.column!r} of vector table {request.info.name!r} has no "
            "positions, and finds no words in double quotes: leave the quotes out, or call "
            f"table.create_index({index.column!r}, 'FTS', with_position=True)"
        )
        raise InvalidQueryError(msg)
    return _in_table(request, index, parts, k)


def _query(column: str, parts: Sequence[tuple[str, bool]]) -> FullTextQuery:
    each = [
        PhraseQuery(part, column) if is_phrase else MatchQuery(part, column)
        for part, is_phrase in parts
    ]
    return each[0] if len(each) == 1 else BooleanQuery([(Occur.SHOULD, one) for one in each])


def _in_table(
    request: SearchRequest, index: TextIndex, parts: Sequence[tuple[str, bool]], k: int
) -> pa.Table:
    query = _query(index.column, parts)

    def scan(count: int, **options: Any) -> pa.Table:  # noqa: ANN401 - Lance's
        return request.dataset.scanner(
            columns=[SCORE], with_row_id=True, full_text_query=query, limit=count, **options
        ).to_table()

    among = request.among
    condition = request.condition if among is None else among.condition()
    if among is None or condition is not None:
        return scan(k, filter=condition, prefilter=True)
    return among.best(k, int(request.dataset.count_rows()), scan)


def _in_memory(
    request: SearchRequest, made: lance.LanceDataset, parts: Sequence[tuple[str, bool]], k: int
) -> pa.Table:
    """Return what an index finds that was made of the rows that are there."""
    rows = _allowed(request)
    query = _query(FRESH_TEXT, parts)
    is_listed = rows is not None and len(rows) <= LISTED_MAX
    condition = listed(rows, FRESH_ID) if rows is not None and is_listed else None
    count = k if rows is None or is_listed else made.count_rows()
    found = made.scanner(
        columns=[FRESH_ID, SCORE], full_text_query=query, limit=count, filter=condition,
        prefilter=True,
    ).to_table().rename_columns([ROW_ID, SCORE])  # fmt: skip
    if rows is not None and not is_listed:
        found = found.filter(pc.is_in(found[ROW_ID], pa.array(rows)))
    return found.slice(0, k)


def _allowed(request: SearchRequest) -> np.ndarray[Any, np.dtype[np.uint64]] | None:
    """Return the ids of the rows that the condition leaves; ``None`` without one."""
    if request.among is not None:
        return request.among.rows()
    if request.condition is None:
        return None
    found = request.dataset.scanner(
        columns=[], with_row_id=True, filter=request.condition
    ).to_table()
    return np.sort(np.asarray(found[ROW_ID], dtype=np.uint64))


def _best_of(ranked: Sequence[pa.Table], k: int) -> pa.Table:
    """Return the best ``k`` rows of several rankings, each by its best score."""
    together = pa.concat_tables([each.select([ROW_ID, SCORE]) for each in ranked])
    best = together.group_by(ROW_ID).aggregate([(SCORE, "max")])
    best = best.select([ROW_ID, f"{SCORE}_max"]).rename_columns([ROW_ID, SCORE])
    return best.sort_by([(SCORE, "descending"), (ROW_ID, "ascending")]).slice(0, k)


# --- why nothing is found -------------------------------------------------------------------------


def _nothing_to_find(request: SearchRequest, index: TextIndex) -> str:
    """Return why a text has no words for an index."""
    text, options = request.text or "", index.options
    said = f"the text {text[:60]!r} matches nothing in {index.column!r} of {request.info.name!r}: "
    again = f"call table.create_index({index.column!r}, 'FTS', "
    if index.tokens(text, remove_stop_words=False):
        words = options.get("custom_stop_words") or f"of {options.get('language', 'English')}"
        return f"{said}its index leaves stop words out ({words}); {again}remove_stop_words=False)"
    if options.get("base_tokenizer") == "ngram" and text.strip():
        least = options.get("min_ngram_length")
        return (
            f"{said}its index is of {least} letters beside each other, and the text has fewer; "
            f"{again}base_tokenizer='ngram', min_ngram_length=1)"
        )
    if index.tokens(text, remove_stop_words=False, max_token_length=None):
        most = options.get("max_token_length")
        return f"{said}it is a word of more than {most} letters; {again}max_token_length=None)"
    return f"{said}there is no letter and no digit in it"


def _refuse_unparted(request: SearchRequest, indexes: Sequence[TextIndex]) -> None:
    """Refuse a text that stands in a row, within what its index takes for one word.

    Raises:
        InvalidQueryError: It does.
    """
    words = [word for word in (request.text or "").replace('"', " ").split()
             if _WITHOUT_SPACES.search(word)]  # fmt: skip
    for index in indexes:
        if not words or index.options.get("base_tokenizer") == "ngram":
            continue
        name = lance_name(index.column)
        has = " OR ".join(f"contains({name}, {quoted_text(word)})" for word in words)
        found = request.dataset.scanner(columns=[], with_row_id=True, filter=has).to_table()
        rows = _allowed(request)
        ids = np.asarray(found[ROW_ID], dtype=np.uint64)
        ids = ids if rows is None else np.intersect1d(ids, rows)
        if len(ids):
            first = request.dataset.scanner(columns=[index.column], filter=listed(ids[:1]))
            text = first.to_table()[index.column][0].as_py()
            word = next(each for each in words if each in text)
            msg = (
                f"{word!r} stands in {index.column!r} of {request.info.name!r}, and its "
                f"full-text index ({index.options.get('base_tokenizer')}) has it within longer "
                f"words alone: call table.create_index({index.column!r}, 'FTS', "
                "base_tokenizer='ngram', min_ngram_length=2, max_ngram_length=2)"
            )
            raise InvalidQueryError(msg)
