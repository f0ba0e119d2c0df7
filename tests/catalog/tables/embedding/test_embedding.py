"""Vector tables whose model makes the vectors of rows that come without."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import affidavit
from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.tables import vector_rows
from affidavit.catalog.tables.embedding.anew import reembed
from affidavit.catalog.values import vectors
from affidavit.errors import (
    ColumnNotFoundError,
    ConflictError,
    ConstraintError,
    ExecutionError,
    InvalidQueryError,
    ModelNotFoundError,
    SchemaMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from affidavit import Session, VectorTable

SCHEMA = {"id": pa.int64(), "body": pa.string()}


def lengths(texts: list[str]) -> list[list[float]]:
    """A model: how long a text is."""
    return [[len(text), 1.0] for text in texts]


def backwards(texts: list[str]) -> list[list[float]]:
    """Another of the same dimension."""
    return [[1.0, len(text)] for text in texts]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with affidavit.connect(tmp_path / "lake", durability="normal") as opened:
        opened.models.register("m", lengths)
        opened.models.register("b", backwards, dim=2)
        yield opened


@pytest.fixture
def table(session: Session) -> VectorTable:
    rows = [{"id": 1, "body": "a"}, {"id": 2, "body": "bc", "vector": [9.0, 9.0]}]
    return session.create_vector_table("docs", rows, model="m", source="body")


def _vectors(table: VectorTable) -> dict[int, list[float] | None]:
    return {row["id"]: row["vector"] for row in table.to_arrow().to_pylist()}


def _during(
    session: Session, does: Callable[[], object]
) -> Callable[[list[str]], list[list[float]]]:
    """Return a model that lets another thread do something while it works, the first time."""
    left = [does]

    def model(texts: list[str]) -> list[list[float]]:
        if left:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(left.pop()).result(timeout=60)
        return lengths(texts)

    session.models.register("m", model, dim=2)
    return model


def test_rows_get_their_vectors_when_a_table_is_made_and_written(table: VectorTable) -> None:
    assert _vectors(table) == {1: [1, 1], 2: [9, 9]}
    assert table.insert([{"id": 3, "body": "abc"}, {"id": 4, "vector": [5.0, 5.0]}]) == 2
    assert table.upsert([{"id": 4, "body": "abcd"}, {"id": 1, "body": "x", "vector": [2, 2]}]) == 2
    assert table.update({"body": "longer"}, "id = 2") == 1
    assert _vectors(table) == {1: [2, 2], 2: [6, 1], 3: [3, 1], 4: [4, 1]}


def test_what_an_upsert_leaves_out_stays(session: Session) -> None:
    rows = [{"id": 1, "body": "a", "title": "A"}, {"id": 2, "body": "bc", "title": "B"}]
    table = session.create_vector_table("more", rows, model="m", source="body")
    table.upsert([{"id": 1, "body": "abc"}, {"id": 2, "title": "C"}, {"id": 3, "body": "d"}])
    assert _vectors(table) == {1: [3, 1], 2: [2, 1], 3: [1, 1]}
    found = session.sql("SELECT body, title FROM more ORDER BY id").to_pylist()
    assert [tuple(row.values()) for row in found] == [("abc", "A"), ("bc", "C"), ("d", None)]


def test_sql_gets_them_too(session: Session) -> None:
    session.sql(
        "CREATE VECTOR TABLE docs (id BIGINT PRIMARY KEY, body VARCHAR, vector FLOAT[2] NOT NULL) "
        "WITH (model = 'm', source = 'body')"
    )
    table = session.table("docs")
    assert isinstance(table, affidavit.VectorTable)
    session.sql("INSERT INTO docs (id, body) VALUES (1, 'a'), (2, 'bc')")
    session.sql("INSERT INTO docs VALUES (3, 'abc', [7, 7])")
    session.sql("UPDATE docs SET body = body WHERE id = 3")
    assert _vectors(table) == {1: [1, 1], 2: [2, 1], 3: [7, 7]}
    session.sql("UPDATE docs SET body = 'abcdef' WHERE id = 3")
    session.sql("UPDATE docs SET body = 'x', vector = [8, 8] WHERE id = 2")
    session.sql(
        "MERGE INTO docs USING (SELECT 1 AS id, 'abcd' AS b UNION ALL SELECT 4, 'ab') u "
        "ON docs.id = u.id WHEN MATCHED THEN UPDATE SET body = u.b "
        "WHEN NOT MATCHED THEN INSERT (id, body) VALUES (u.id, u.b)"
    )
    [told] = session.sql(
        "INSERT INTO docs (id, body) VALUES (4, 'abcde') ON CONFLICT (id) "
        "DO UPDATE SET body = excluded.body RETURNING vector"
    ).to_pylist()
    assert told == {"vector": [5, 1]}
    assert _vectors(table) == {1: [4, 1], 2: [8, 8], 3: [6, 1], 4: [5, 1]}


def test_a_text_that_goes_takes_its_vector_along(session: Session, table: VectorTable) -> None:
    session.sql("UPDATE docs SET body = NULL WHERE id = 1")
    assert _vectors(table)[1] is None
    with pytest.raises(ConstraintError, match=r"row 0 .*no text in 'body' either"):
        table.insert([{"id": 9}])
    assert table.count() == 2


def test_what_makes_the_vectors_is_told(session: Session, table: VectorTable) -> None:
    assert (table.model, table.source) == ("m", "body")
    assert repr(table).endswith("cosine, by 'm' of 'body')")
    [row] = session.sql("SELECT model, source FROM system.tables WHERE name = 'docs'").to_pylist()
    assert row == {"model": "m", "source": "body"}
    [made] = session.sql("SHOW CREATE TABLE docs").to_pylist()
    assert "model = 'm', source = 'body'" in made["definition"]
    session.sql("ALTER TABLE docs RENAME COLUMN body TO words")
    assert table.source == "words"
    table.insert([{"id": 5, "words": "five!"}])
    assert _vectors(table)[5] == [5, 1]
    with pytest.raises(ConstraintError, match="needs column 'words'"):
        session.sql("ALTER TABLE docs DROP COLUMN words")


def test_a_definition_without_a_source_is_as_it_was() -> None:
    old = {
        "table_id": "t",
        "key": "id",
        "vector": "v",
        "metric": "l2",
        "dimension": 2,
        "model": "m",
    }
    read = VectorDefinition.from_json(json.dumps(old))
    assert read.source is None
    assert read.to_json() == json.dumps(old)
    more = VectorDefinition.from_json(json.dumps({**old, "source": "body"}))
    assert VectorDefinition.from_json(more.to_json()) == more


def test_who_lacks_the_model_writes_vectors_alone(tmp_path: Path) -> None:
    with affidavit.connect(tmp_path / "lake") as first:
        first.models.register("m", lengths)
        first.create_vector_table("docs", schema=SCHEMA, model="m", source="body")
    with affidavit.connect(tmp_path / "lake") as second:
        table = second.table("docs")
        assert table.insert([{"id": 1, "body": "a", "vector": [1.0, 2.0]}]) == 1
        with pytest.raises(ModelNotFoundError, match="'m' is registered.*models.register"):
            table.insert([{"id": 2, "body": "b"}])
        with pytest.raises(ModelNotFoundError):
            second.sql("UPDATE docs SET body = 'c'")
        assert second.sql("UPDATE docs SET body = 'c', vector = [1, 1]").rows_affected == 1


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"source": "body"}, InvalidQueryError, "needs model="),
        ({"source": "no", "model": "m"}, ColumnNotFoundError, "'no'"),
        ({"source": "id", "model": "m"}, SchemaMismatchError, "column of text"),
        ({"source": "body", "model": "none"}, ModelNotFoundError, "'none'"),
    ],
)
def test_a_source_that_cannot_be_is_refused(
    session: Session, given: dict[str, str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        session.create_vector_table("x", schema=SCHEMA, **given)  # type: ignore[arg-type]  # texts


def test_a_model_of_another_width_is_refused_with_what_to_do(session: Session) -> None:
    wide = pa.schema([*pa.schema(SCHEMA), pa.field("vector", pa.list_(pa.float32(), 3))])
    with pytest.raises(InvalidQueryError, match=r"dimension 2, .* has 3: create .*FLOAT\[2\]"):
        session.create_vector_table("x", schema=wide, model="b", source="body")


def test_a_model_that_fails_writes_nothing(session: Session, table: VectorTable) -> None:
    why = RuntimeError("no power")

    def fails(_: list[str]) -> Any:
        raise why

    session.models.register("m", fails)
    for write in (
        lambda: table.insert([{"id": 3, "body": "x"}]),
        lambda: table.update({"body": "x"}, "true"),
        lambda: table.reembed("m"),
    ):
        with pytest.raises(ExecutionError, match="embedding model 'm' failed: no power") as told:
            write()
        assert told.value.__cause__ is why
    session.models.register("m", lambda texts: [[0.0, 0.0]] * len(texts))
    with pytest.raises(ConstraintError, match="embedding model 'm' made .* is the zero vector"):
        table.insert([{"id": 3, "body": "x"}])
    assert (table.count(), table.version) == (2, 1)


def test_a_model_of_a_name_that_another_has_by_now_says_nothing_of_it(session: Session) -> None:
    """The dimension that an old model was asked for was kept under its name."""

    def old(texts: list[str]) -> list[list[float]]:
        session.models.register("again", lambda texts: [[1.0, 0.0, 0.0]] * len(texts))
        return lengths(texts)

    session.models.register("again", old)
    assert [session.models.width("again"), session.models.width("again")] == [2, 3]


def test_rows_are_checked_once_and_texts_told_as_they_are_done(
    session: Session, table: VectorTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []
    real = vectors.faults_of

    def counted(array: pa.Array, metric: str) -> Any:
        checked.append(len(array))
        return real(array, metric)

    monkeypatch.setattr(vectors, "faults_of", counted)
    table.insert([{"id": n, "body": str(n)} for n in range(3, 6)])
    assert checked == [3, 3]  # as they came, and as the model made them
    table.insert([{"id": n, "body": str(n), "vector": [1.0, 2.0]} for n in range(6, 1106)])
    steps: list[int] = []
    session.models.register("m", lengths, dim=2)
    info = table._info()
    assert (
        reembed(table._catalog, info, None, None, lambda step: steps.append(step.completed)) == 1105
    )
    assert steps == [0, 0, 1024, 0]


def test_others_write_while_a_model_works(session: Session, table: VectorTable) -> None:
    other = session.scope(actor="other")
    theirs = other.table("docs")
    _during(session, lambda: theirs.insert([{"id": 8, "body": "b", "vector": [1.0, 0.0]}]))
    assert table.insert([{"id": 3, "body": "abc"}]) == 1
    _during(session, lambda: theirs.delete("id = 8"))
    session.sql("INSERT INTO docs (id, body) VALUES (4, 'abcd')")
    other.sql("CREATE TABLE notes (n INT)")
    _during(session, lambda: other.sql("INSERT INTO notes VALUES (1)"))
    session.sql("UPDATE docs SET body = 'ab' WHERE id = 4")
    assert _vectors(table) == {1: [1, 1], 2: [9, 9], 3: [3, 1], 4: [2, 1]}
    assert other.sql("SELECT * FROM notes").num_rows == 1
    other.close()


def test_a_table_is_embedded_anew_in_one_version(session: Session, table: VectorTable) -> None:
    assert table.reembed("b", progress=False) == 2
    assert _vectors(table) == {1: [1, 1], 2: [1, 2]}
    assert (table.model, table.version) == ("b", 2)
    told = session.sql(
        "SELECT action, new_value FROM journal WHERE entity_type = 'docs' ORDER BY seq DESC LIMIT 2"
    ).to_pylist()
    assert [row["action"] for row in told] == ["update", "alter"]
    assert {json.loads(row["new_value"])["version_after"] for row in told} == {2}
    assert session.search("docs", "xx", 1).to_pylist()[0]["id"] == 2
    assert session.verify_data().ok


def test_versions_from_before_are_of_no_model_of_the_tables(
    session: Session, table: VectorTable
) -> None:
    table.reembed("b")
    with pytest.raises(InvalidQueryError, match="or none for version 1: pass a vector, or model="):
        session.search("docs", "x", 1, version=1)
    found = session.search("docs", "x", 1, version=1, model="m")
    assert (found.audit.model_id, found.to_pylist()[0]["id"]) == ("m", 1)
    assert session.search("docs", [1.0, 1.0], 1, version=1).audit.model_id is None
    assert session.search("docs", [1.0, 1.0], 1).audit.model_id == "b"
    with pytest.raises(
        InvalidQueryError, match="version 1 of 'docs' are of another model than 'b'"
    ):
        table.restore(1)
    session.sql("DELETE FROM docs")
    session.sql("INSERT INTO docs (id, body) SELECT id, body FROM as_of('docs', 'v1')")
    assert _vectors(table) == {1: [1, 1], 2: [1, 2]}


def test_what_is_cut_off_between_both_commits_is_made_or_not(
    table: VectorTable, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        msg = "cut off"
        raise OSError(msg)

    with monkeypatch.context() as patched:  # what comes after Lance's commit, before the store's
        patched.setattr(vector_rows, "list_files", cut_off)
        with pytest.raises(OSError, match="cut off"):
            table.reembed("b")
    assert (_vectors(table), table.model) == ({1: [1, 1], 2: [1, 2]}, "b")
    assert session.verify_data().ok


def test_what_others_wrote_meanwhile_is_embedded_too(session: Session, table: VectorTable) -> None:
    other = session.scope(actor="other")
    _during(session, lambda: other.sql("INSERT INTO docs VALUES (3, 'abc', [4, 4])"))
    assert table.reembed() == 3
    assert _vectors(table) == {1: [1, 1], 2: [2, 1], 3: [3, 1]}
    assert table.version == 3
    other.close()


def test_rows_made_for_a_model_that_went_are_refused(session: Session, table: VectorTable) -> None:
    other = session.scope(actor="other")
    _during(session, lambda: other.table("docs").reembed("b"))
    with pytest.raises(ConflictError, match="got model 'b' while rows .* embedded by 'm'"):
        table.insert([{"id": 3, "body": "abc"}])
    other.close()


def test_a_table_without_a_source_gets_one_anew(session: Session) -> None:
    rows = [{"id": 1, "body": "abc", "vector": [1.0, 0.0]}, {"id": 2, "vector": [1.0, 0.0]}]
    table = session.create_vector_table("plain", rows)
    with pytest.raises(InvalidQueryError, match="has no model: say it"):
        table.reembed()
    with pytest.raises(InvalidQueryError, match="has no source: say it"):
        table.reembed("m")
    with pytest.raises(ConstraintError, match="with id = 2 has a vector, and no text in 'body'"):
        table.reembed("m", source="body")
    table.delete("id = 2")
    assert table.reembed("m", source="body") == 1
    assert (_vectors(table), table.source) == ({1: [3, 1]}, "body")
    empty = session.create_vector_table("empty", schema=SCHEMA, model="m", source="body")
    assert empty.reembed("b") == 0
    assert empty.model == "b"
    session.models.register("wide", lambda texts: [[1.0, 2.0, 3.0]] * len(texts))
    with pytest.raises(InvalidQueryError, match="INSERT the rows into it without their vectors"):
        table.reembed("wide")
