"""The options of a search: one table for keyword arguments, JSON and replays."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields

import pytest

import affidavit
from affidavit import errors
from affidavit.engine.search.options import PARAMETERS, SearchOptions, options_of, parse_options

Q8 = [1.0] * 8
NAMES = {each.name for each in fields(SearchOptions)}
IN_SQL = {*NAMES - {"mode", "text"}, "params"}


def test_the_keywords_of_search_are_the_options() -> None:
    keywords = {
        name: each.default
        for name, each in inspect.signature(affidavit.Session.search).parameters.items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY and name != "params"
    }
    assert keywords.keys() == NAMES
    assert options_of(keywords) == SearchOptions()


def test_the_json_of_a_table_function_has_what_its_name_and_arguments_do_not_say() -> None:
    assert parse_options(json.dumps(dict.fromkeys(IN_SQL))).keys() == IN_SQL
    for name in ("mode", "text", "k", "nprobe"):
        with pytest.raises(errors.InvalidQueryError, match=f"no search option '{name}'") as caught:
            parse_options(json.dumps({name: 1}))
        assert str(sorted(IN_SQL)) in str(caught.value)


def test_an_option_that_is_none_was_left_out() -> None:
    assert options_of(dict.fromkeys(NAMES)) == SearchOptions()


def test_a_record_says_the_options_that_a_replay_asks_again(session, docs) -> None:
    asked = {"column": "vector", "metric": "l2", "exact": True, "nprobes": 3, "refine_factor": 4}
    assert asked.keys() == PARAMETERS
    said = dict(session.search("docs", Q8, k=1, select=["id"], **asked).audit.params)
    assert said.pop("select") == ["id"]
    assert said == asked


BAD_OPTIONS = [
    ({"where": 5}, errors.InvalidQueryError, "where must be an SQL predicate"),
    ({"where": " "}, errors.InvalidQueryError, "where must be an SQL predicate"),
    ({"select": 5}, errors.InvalidQueryError, "select must be a list of columns, got 5"),
    ({"select": "id"}, errors.InvalidQueryError, "select must be a list of columns, got 'id'"),
    ({"select": [["id"]]}, errors.ColumnNotFoundError, r"no column \['id'\]"),
    ({"column": 5}, errors.InvalidQueryError, "column must be a column, or a list .*5"),
    ({"metric": ["l2"]}, errors.InvalidQueryError, r"no metric \['l2'\]"),
    ({"exact": "false"}, errors.InvalidQueryError, "exact must be true or false, got 'false'"),
    ({"exact": 0}, errors.InvalidQueryError, "exact must be true or false, got 0"),
    ({"version": True}, errors.InvalidQueryError, "version must be a version's number or a tag"),
    ({"version": 1.5}, errors.InvalidQueryError, "version must be a version's number or a tag"),
    ({"nprobes": "many"}, errors.InvalidQueryError, "nprobes must be a whole number"),
    ({"refine_factor": 0}, errors.InvalidQueryError, "refine_factor must be between 1 and"),
    ({"version": [1]}, errors.InvalidQueryError, r"\[1\]"),
    ({"model": 5}, errors.InvalidQueryError, "model must be text, got int"),
    ({"model": ["m"]}, errors.InvalidQueryError, "model must be text, got list"),
    ({"nprobe": 3}, errors.InvalidQueryError, r"no search option 'nprobe'; there are \['column'"),
]


@pytest.mark.parametrize(("option", "kind", "words"), BAD_OPTIONS)
def test_p12_a_bad_option_is_named_by_every_door(session, docs, option, kind, words: str) -> None:
    """In SQL some of them were shown as a traceback, and a model that is no text was recorded.

    Such a record could be written and never be read: every SELECT of ``model_id`` from
    ``audit.searches`` failed from then on.
    """
    with pytest.raises(kind, match=words):
        session.search_batch("docs", [Q8], **option)
    call = "SELECT id FROM vector_search('docs', $q, 1, $o)"
    with pytest.raises(kind, match=words):
        session.sql(call, q=Q8, o=json.dumps(option)).to_arrow()
    assert session.sql("SELECT model_id FROM audit.searches").num_rows == 0


def test_the_columns_of_a_batch_may_be_given_once(session, docs) -> None:
    """A generator was used up by the first query, and the others got no columns."""
    results = session.search_batch("docs", [Q8] * 2, k=1, select=(name for name in ("id", "text")))
    assert [each.schema.names for each in results] == [["id", "text", "_distance"]] * 2
