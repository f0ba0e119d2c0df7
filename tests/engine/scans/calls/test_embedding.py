"""embed('model', text) in SQL."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

import affidavit
from affidavit.catalog.lake.queries import Queries, Query
from affidavit.catalog.model.identity import Identity
from affidavit.errors import (
    AffidavitError,
    ExecutionError,
    InvalidQueryError,
    ModelNotFoundError,
    SqlError,
    StatementTimeoutError,
    UnsupportedPredicateError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit import Session

ROWS = [{"id": 1, "s": "a"}, {"id": 2, "s": None}, {"id": 3, "s": "a"}, {"id": 4, "s": "bcd"}]


class Lengths:
    """A model: how long a text is; it keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[list[float]]:
        self.given.append(texts)
        return [[len(text), 1.0] for text in texts]


class Registered:
    """A function as those of LanceDB's registry are: queries are not encoded as rows are."""

    def ndims(self) -> int:
        return 2

    def compute_query_embeddings(self, query: str) -> list[list[float]]:
        return [[float(len(query)), 0.0]]

    def compute_source_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [[0.0, float(len(text))] for text in texts]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with affidavit.connect(tmp_path_factory.mktemp("embed") / "lake") as opened:
        opened.models.register("lengths", Lengths(), version=3)
        opened.models.register("registered", Registered())
        opened.create_table("t", ROWS, primary_key="id")
        rows = [
            {"id": 1, "s": "a", "vector": [1.0, 1.0]},
            {"id": 4, "s": "d", "vector": [9.0, 1.0]},
        ]
        opened.create_vector_table("docs", rows)
        yield opened


def _rows(session: Session, text: str, **named: object) -> list[dict[str, Any]]:
    return session.sql(text, **named).to_pylist()


def test_texts_become_vectors_of_the_models_dimension(session: Session) -> None:
    model = Lengths()
    session.models.register("seen", model, dim=2)
    found = session.sql("SELECT embed('seen', s) AS e FROM t ORDER BY id")
    assert found.schema.field("e").type == pa.list_(pa.float32(), 2)
    assert [row["e"] for row in found.to_pylist()] == [[1, 1], None, [1, 1], [3, 1]]
    assert model.given == [["a", "bcd"]]  # at once, and equal ones once


def test_a_model_or_text_may_be_a_parameter_and_names_stay(session: Session) -> None:
    [row] = _rows(session, "SELECT embed($m, $t) FROM t WHERE id = 1", m="lengths", t="word")
    assert list(row.values()) == [[4.0, 1.0]]
    [row] = _rows(session, "SELECT embed('lengths', 'abc'), embed('lengths', NULL) AS n")
    assert row == {"embed('lengths', 'abc')": [3.0, 1.0], "n": None}
    assert session.describe("SELECT embed('lengths', s) FROM t").columns.names == [
        "embed('lengths', s)"
    ]


def test_views_conditions_and_changes_call_it(session: Session) -> None:
    session.sql("CREATE VIEW embedded AS SELECT id, embed('lengths', s) AS e FROM t")
    near = "SELECT id FROM embedded WHERE array_distance(e, embed('lengths', 'xyz')) < 1"
    assert _rows(session, near) == [{"id": 4}]
    session.sql("INSERT INTO docs SELECT 7, s, embed('lengths', s) FROM t WHERE id = 4")
    session.sql("UPDATE docs SET vector = embed('lengths', s || '!') WHERE id = 7")
    assert _rows(session, "SELECT vector FROM docs WHERE id = 7") == [{"vector": [4.0, 1.0]}]
    session.sql("DELETE FROM docs WHERE id = 7")


def test_a_search_takes_it_for_its_query(session: Session) -> None:
    text = "SELECT id FROM vector_search('docs', embed('lengths', $q), 1)"
    assert _rows(session, text, q="123456789") == [{"id": 4}]
    told = "SELECT model_id, model_version FROM audit.searches ORDER BY seq DESC LIMIT 1"
    assert _rows(session, told) == [{"model_id": "lengths", "model_version": "3"}]
    assert session.describe(text).parameters == {"q": pa.string()}
    session.table("docs").create_index("s", "FTS")
    both = "SELECT id FROM hybrid_search('docs', embed('lengths', '123456789'), 'd', 1)"
    assert _rows(session, both) == [{"id": 4}]
    with pytest.raises(InvalidQueryError, match="text must be a literal"):
        session.sql("SELECT * FROM text_search('docs', embed('lengths', 'a'), 1)").to_arrow()


def test_a_registrys_function_encodes_rows_and_queries(session: Session) -> None:
    assert _rows(session, "SELECT embed('registered', 'ab') AS e") == [{"e": [0.0, 2.0]}]
    assert session.models.encode("registered", ["ab"]).tolist() == [[2.0, 0.0]]


def test_a_model_that_fails_is_named_and_its_error_kept(session: Session) -> None:
    why = ValueError("out of words")

    def fails(_: list[str]) -> list[list[float]]:
        raise why

    session.models.register("fails", fails, dim=2)
    with pytest.raises(
        ExecutionError, match="embedding model 'fails' failed: out of words"
    ) as told:
        session.sql("SELECT embed('fails', s) FROM t").to_arrow()
    assert told.value.__cause__ is why
    session.models.register("wide", lambda texts: np.zeros((len(texts), 3)), dim=2)
    with pytest.raises(ExecutionError, match=r"model 'wide' must return shape \(2, 2\)"):
        session.sql("SELECT embed('wide', s) FROM t").to_arrow()
    session.models.register("uneven", lambda texts: np.zeros((len(texts), 2 + (len(texts) < 3))))
    with pytest.raises(ExecutionError, match="model 'uneven' made vectors of dimension 3, and 2"):
        session.models.vectors("uneven", pa.array(map(str, range(1026))), 2)
    sizes = iter((2, 3))
    session.models.register("other", lambda texts: np.zeros((len(texts), next(sizes))))
    with pytest.raises(ExecutionError, match="model 'other' made vectors of dimension 3, and 2"):
        session.sql("SELECT embed('other', s) FROM t").to_arrow()


def test_a_slow_model_is_left_at_the_time_limit_and_named(session: Session) -> None:
    goes_on = threading.Event()

    def slow(texts: list[str]) -> np.ndarray:
        goes_on.wait(60)
        return np.zeros((len(texts), 2))

    session.models.register("slow", slow, dim=2)
    with pytest.raises(StatementTimeoutError):
        session.sql("SELECT embed('slow', s) FROM t", timeout=0.1).to_arrow()
    goes_on.set()
    query = Query(Queries(), Identity("default"), timeout_s=0.0)
    with (
        query.waiting("embedding model 'slow'"),
        pytest.raises(StatementTimeoutError, match="while it waited for embedding model 'slow'"),
    ):
        query.check()
    second = Query(Queries(), Identity("default"), timeout_s=0.0)
    with second.waiting("model 'b'"):
        with second.waiting("model 'a'"):
            pass
        with pytest.raises(StatementTimeoutError, match="while it waited for model 'b'"):
            second.check()


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("SELECT embed('no', s) FROM t", ModelNotFoundError, "no embedding model 'no'"),
        ("SELECT embed(s, s) FROM t", SqlError, r"write embed\('model', text\)"),
        (
            "CREATE TABLE c (a TEXT CHECK (embed('lengths', a) IS NULL))",
            UnsupportedPredicateError,
            "embed",
        ),
        ("CREATE TABLE c (a FLOAT[] DEFAULT embed('lengths', 'x'))", SqlError, "DEFAULT"),
    ],
)
def test_what_cannot_be_embedded_is_told(
    session: Session, text: str, error: type[AffidavitError], said: str
) -> None:
    with pytest.raises(error, match=said):
        session.sql(text).to_arrow()


def test_embed_may_be_a_name(session: Session) -> None:
    found = _rows(session, "WITH embed (a, embed) AS (SELECT 1, 2) SELECT embed FROM embed")
    assert found == [{"embed": 2}]
