"""Calls of ours in a statement: equal texts are planned as equal texts."""

from __future__ import annotations

import functools
import gc

import pytest

import affidavit


def _caches() -> dict[str, int]:
    """Return how many entries each cache of the engine has that is kept by function."""
    found = [each for each in gc.get_objects() if isinstance(each, functools._lru_cache_wrapper)]
    return {
        f"{each.__module__}.{each.__qualname__}": each.cache_info().currsize
        for each in found
        if str(each.__module__).startswith("affidavit.")
    }


@pytest.fixture
def called(session: affidavit.Session) -> affidavit.Session:
    session.models.register("lengths", lambda texts: [[len(text), 1.0] for text in texts], dim=2)
    session.sql("CREATE SEQUENCE s")
    session.sql("CREATE TABLE t (i BIGINT, n BIGINT)")
    return session


def test_what_is_kept_of_a_text_is_found_again(called) -> None:
    """A call had a new name each time: 50 statements left 50 entries in every cache of texts."""
    texts = (
        "INSERT INTO t VALUES (nextval('s'), 1), (nextval('s') + 1, $n)",
        "SELECT nextval('s') * 1.5, embed('lengths', i::VARCHAR) FROM t WHERE i < $n LIMIT 1",
    )

    def ask() -> None:
        for text in texts:
            result = called.sql(text, n=2)
            if result.rows_affected is None:
                result.to_arrow()

    ask()
    ask()
    before, remembered = _caches(), called._planner()._pair.remembered
    kept = len(remembered)
    for _ in range(50):
        ask()
    assert _caches() == before
    assert len(remembered) == kept


def test_alike_in_name_is_not_alike(called) -> None:
    called.sql("CREATE SCHEMA o")
    called.sql("CREATE SEQUENCE o.s START 100")
    [row] = called.sql("SELECT nextval('s'), nextval('o.s'), currval('s')").to_pylist()
    assert row == {"nextval('s')": 1, "nextval('o.s')": 100, "currval('s')": 1}
    called.sql("CREATE VIEW v AS SELECT nextval('o.s') AS a")
    assert called.sql("SELECT a, nextval('s') AS b FROM v").to_pylist() == [{"a": 101, "b": 2}]


def test_what_only_is_described_or_prepared_has_no_values(called) -> None:
    described = called.describe("SELECT nextval('s'), $n + i FROM t")
    assert described.columns.names == ["nextval('s')", "$n + i"]
    called.sql("PREPARE p AS SELECT nextval('s') AS n, $1 + 1 AS m")
    assert called.sql("EXECUTE p(3)").to_pylist() == [{"n": 1, "m": 4}]
    called.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
    called.sql("PREPARE near AS SELECT id FROM vector_search('docs', embed('lengths', $1), 5)")
    assert called.sql("EXECUTE near('ab')").to_pylist() == [{"id": 1}]
