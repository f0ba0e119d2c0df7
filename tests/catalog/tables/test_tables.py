"""Tables by handle: created from whatever holds rows, changed, indexed, versioned."""

from __future__ import annotations

import datetime as dt

import lancedb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.lakes import vectors

from affidavit import errors, expr

ROWS = [{"id": 1, "name": "a", "x": 1.5}, {"id": 2, "name": None, "x": 2.5}]
FORMS = {
    "arrow": lambda: pa.Table.from_pylist(ROWS),
    "batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "reader": lambda: pa.Table.from_pylist(ROWS).to_reader(),
    "batches": lambda: iter(pa.Table.from_pylist(ROWS).to_batches()),
    "pandas": lambda: pd.DataFrame(ROWS),
    "polars": lambda: pl.DataFrame(ROWS),
    "lazy": lambda: pl.LazyFrame(ROWS),
    "dicts": lambda: ROWS,
    "generator": lambda: (row for row in ROWS),
    "columns": lambda: {"id": [1, 2], "name": ["a", None], "x": [1.5, 2.5]},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_mutable_table_is_created_from_whatever_holds_rows(session, form: str) -> None:
    table = session.create_table("t", FORMS[form](), primary_key="id")
    assert table.to_arrow().to_pylist() == ROWS
    assert table.primary_key == ("id",)
    assert table.count() == len(table) == 2
    more = session.create_table("u", schema=table.schema)
    assert more.insert(FORMS[form]()) == 2
    assert session.sql("SELECT * FROM u").to_pylist() == ROWS


@pytest.mark.parametrize("form", FORMS)
def test_a_vector_table_is_created_from_whatever_holds_rows(session, form: str) -> None:
    rows = [{"id": f"k{i}", "vector": [float(i), 1.0, 2.0], "n": i} for i in range(4)]
    globals()["ROWS"], kept = rows, ROWS
    try:
        data = (
            FORMS[form]()
            if form != "columns"
            else {
                "id": [r["id"] for r in rows],
                "vector": [r["vector"] for r in rows],
                "n": [0, 1, 2, 3],
            }
        )
        table = session.create_vector_table("v", data)
    finally:
        globals()["ROWS"] = kept
    assert table.to_arrow().to_pylist() == rows
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 3)


def test_tables_are_created_from_queries(session, docs) -> None:
    copied = session.create_vector_table("copy", session.sql("SELECT * FROM docs WHERE id < 50"))
    assert copied.count() == 50
    plain = session.create_table(
        "plain", session.sql("SELECT id, text FROM docs"), primary_key="id"
    )
    assert plain.count() == 300


def test_a_reader_is_streamed_into_a_vector_table(session) -> None:
    """Never more than one batch of the reader is alive."""
    alive = []

    def batches():
        for start in range(0, 50_000, 1000):
            assert len(alive) <= 1
            alive.append(1)
            yield vectors(1000, 8, start=start, seed=start).to_batches()[0]
            alive.pop()

    reader = pa.RecordBatchReader.from_batches(vectors(1).schema, batches())
    table = session.create_vector_table("big", reader)
    assert table.count() == 50_000
    more = pa.RecordBatchReader.from_batches(
        vectors(1).schema, iter(vectors(1000, 8, start=90_000).to_batches())
    )
    assert table.insert(more) == 1000


@pytest.mark.parametrize("kind", ["mutable", "vector"])
def test_handles_insert_upsert_update_and_delete(session, kind: str) -> None:
    schema = pa.schema(
        [("id", pa.int64()), ("name", pa.string()), ("vector", pa.list_(pa.float32(), 2))]
    )
    if kind == "mutable":
        table = session.create_table("t", schema=schema, primary_key="id")
    else:
        table = session.create_vector_table("t", schema=schema)
    assert table.insert([{"id": i, "name": f"n{i}", "vector": [i, 1.0]} for i in range(1, 5)]) == 4
    assert (
        table.upsert([{"id": 4, "name": "four", "vector": [4.0, 1]}, {"id": 5, "vector": [5, 1]}])
        == 2
    )
    assert table.update({"name": expr("upper(name)")}, where="id = 1") == 1
    assert table.update({"name": "it's $1"}, where="id = 2") == 1
    assert table.delete("id = 3") == 1
    found = {row["id"]: row["name"] for row in table.to_arrow().to_pylist()}
    assert found == {1: "N1", 2: "it's $1", 4: "four", 5: None}
    assert repr(table).startswith(("MutableTable('t', 4 rows", "VectorTable('t', 4 rows"))
    for where in ("", None, "   "):
        with pytest.raises(errors.InvalidQueryError, match="where"):
            table.delete(where)
    with pytest.raises(errors.SqlError):
        table.delete("nope = 3")
    assert table.count() == 4


def test_a_view_is_no_table_of_which_there_is_a_handle(session) -> None:
    """There is no table of that name, said the error, and named it among those that there are."""
    session.create_table("there", [{"a": 1}])
    session.sql("CREATE VIEW seen AS SELECT a FROM there")
    for ask in (session.table, session.drop_table):
        with pytest.raises(errors.TableNotFoundError, match="no table 'seen'.* sees 'there'$"):
            ask("seen")
    with pytest.raises(errors.TableNotFoundError, match="'there'.* sees 'seen'$"):
        session.sql("DROP VIEW there")


def test_a_handle_shows_its_name_once_its_table_or_session_is_gone(session) -> None:
    """Whoever showed it, as a debugger does, got an error of the lake's instead."""
    with session.scope() as mine:
        rows = mine.create_table("gone", [{"a": 1}])
        near = mine.create_vector_table("near", [{"id": 1, "vector": [1.0]}])
        session.drop_table("gone")
        assert repr(rows) == "MutableTable('gone')"
    assert repr(near) == "VectorTable('near')"


def test_vector_tables_keep_versions_and_tags(session, docs) -> None:
    first = docs.version
    docs.tag("start")
    docs.delete("id < 100")
    assert docs.version > first
    assert docs.versions()[0]["version"] == first
    assert docs.tags() == {"start": first}
    docs.restore("start")
    assert docs.count() == 300
    docs.optimize()
    assert docs.count() == 300


def test_optimize_with_cleanup_keeps_tagged_versions(session, docs) -> None:
    docs.tag("kept")
    for start in range(3):
        docs.delete(f"id = {start}")
    docs.optimize(cleanup_older_than=dt.timedelta(0))
    assert session.search("docs", [1.0] * 8, k=300, version="kept").num_rows == 300
    with pytest.raises(errors.InvalidQueryError, match="no version 2"):
        session.search("docs", [1.0] * 8, version=2)


@pytest.mark.parametrize("kind", ["IVF_PQ", "IVF_FLAT", "IVF_HNSW_SQ"])
def test_vector_indexes_are_built_with_parameters_from_the_data(session, kind: str) -> None:
    table = session.create_vector_table("v", vectors(600, 24))
    seen = []
    table.create_index("vector", kind, progress=seen.append)
    assert [index["type"] for index in table.indexes()] == [kind]
    assert seen
    found = session.search("v", table.to_arrow()["vector"][5].as_py(), k=3).to_pylist()
    assert found[0]["id"] == 5


def test_an_index_of_vectors_is_of_the_kind_that_suits_them(session) -> None:
    """One code of 256 steps does not tell values apart that a few of far larger ones dwarf."""
    few, plain, parts = vectors(200, 16), vectors(600, 16), {"num_sub_vectors": 4}
    flat = plain["vector"].combine_chunks().flatten().to_numpy().copy()
    flat[: 3 * 16] *= 1000
    uneven = plain.set_column(3, "vector", pa.FixedSizeListArray.from_arrays(pa.array(flat), 16))
    for data, metric, options, kind in (
        (few, "l2", {}, "IVF_FLAT"), (plain, "l2", {}, "IVF_SQ"), (plain, "l2", parts, "IVF_PQ"),
        (uneven, "l2", {}, "IVF_PQ"), (uneven, "cosine", {}, "IVF_SQ"),
    ):  # fmt: skip
        table = session.create_vector_table("suited", data, metric=metric)
        table.create_index("vector", **options)
        assert [index["type"] for index in table.indexes()] == [kind]
        session.drop_table("suited")


def test_scalar_and_text_indexes(session, docs) -> None:
    docs.create_index("bucket", "bitmap")
    docs.create_index("id", "BTREE", name="by_id")
    docs.create_index("text", "FTS")
    assert {index["name"] for index in docs.indexes()} >= {"by_id"}
    session.sql("DROP INDEX by_id")
    assert "by_id" not in {index["name"] for index in docs.indexes()}
    session.sql("CREATE INDEX again ON docs (id)")
    assert "again" in {index["name"] for index in docs.indexes()}


@pytest.mark.parametrize(
    ("column", "kind", "error", "words"),
    [
        ("nope", "IVF_PQ", errors.ColumnNotFoundError, "'nope'"),
        ("text", "IVF_PQ", errors.InvalidQueryError, "needs a vector column"),
        ("vector", "FTS", errors.InvalidQueryError, "needs a text column"),
        ("vector", "MAGIC", errors.InvalidQueryError, "'MAGIC'"),
        ("vector", None, errors.InvalidQueryError, "None"),
    ],
)
def test_p12_a_bad_index_says_what_is_wrong(session, docs, column, kind, error, words) -> None:
    with pytest.raises(error, match=words):
        docs.create_index(column, kind)
    assert docs.indexes() == []
    with pytest.raises(errors.InvalidQueryError):
        docs.create_index("vector", num_sub_vectors=7)


def test_scan_after_goes_along_the_order_column(session) -> None:
    rows = [{"at": dt.datetime(2024, 1, day), "n": day} for day in (5, 3, 9, 1)] + [
        {"at": None, "n": 0}
    ]
    table = session.create_table("events", rows, order_column="at")
    assert [r["n"] for r in table.scan_after(None).to_pylist()] == [1, 3, 5, 9]
    assert [r["n"] for r in table.scan_after(dt.datetime(2024, 1, 3)).to_pylist()] == [5, 9]
    with pytest.raises(errors.InvalidQueryError, match="cannot be compared"):
        table.scan_after("yesterday")
    with pytest.raises(errors.InvalidQueryError, match="without order_column"):
        session.create_table("u", [{"n": 1}]).scan_after(1)


def test_look_ups_use_the_stores_indexes(session) -> None:
    """A key look-up reads its row, not the table: the scan of a large table is pushed down."""
    rows = pa.table({"id": range(5000), "g": [i % 50 for i in range(5000)]})
    session.create_table("t", rows, primary_key="id", indexes=["g"])
    reads = []
    from affidavit.engine.scans import mutable

    original = mutable.read_rows

    def counting(*args, **kwargs):
        for batch in original(*args, **kwargs):
            reads.append(batch.num_rows)
            yield batch

    mutable.read_rows = counting
    try:
        assert session.sql("SELECT id FROM t WHERE id = 77").to_pylist() == [{"id": 77}]
        assert session.sql("SELECT count(*) AS n FROM t WHERE g IN (1, 2)").to_pylist() == [
            {"n": 200}
        ]
        assert sum(reads) == 201
        assert session.sql("SELECT sum(id) AS s FROM t").to_pylist() == [{"s": 12497500}]
        before = len(reads)
        assert session.sql("SELECT max(id) AS s FROM t").to_pylist() == [{"s": 4999}]
        assert len(reads) == before, "the second scan is answered from memory"
        session.sql("UPDATE t SET g = -1 WHERE id = 0")
        assert session.sql("SELECT min(g) AS s FROM t").to_pylist() == [{"s": -1}]
    finally:
        mutable.read_rows = original


def test_a_lakes_vector_tables_open_with_plain_lancedb(session, docs, lake) -> None:
    table = lancedb.connect(lake / "vectors" / "default").open_table("docs")
    assert table.count_rows() == 300


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (
            [{"id": 1, "vector": [1.0, 2.0]}, {"id": 1, "vector": [1.0, 2.0]}],
            errors.ConstraintError,
            "id = 1",
        ),
        (
            [{"id": 1, "vector": [1.0, 2.0]}, {"id": None, "vector": [1.0, 2.0]}],
            errors.ConstraintError,
            "'id'.*NULL",
        ),
        (
            [{"id": 1, "vector": [1.0, 2.0]}, {"id": 2, "vector": [1.0]}],
            errors.SchemaMismatchError,
            "dimension 2",
        ),
        ([{"id": 1, "vector": [float("nan"), 2.0]}], errors.ConstraintError, "NaN"),
        ([{"id": 1, "vector": [0.0, 0.0]}], errors.ConstraintError, "zero"),
        ([{"id": 1}], errors.ColumnNotFoundError, "'vector'"),
        ([{"key": 1, "vector": [1.0]}], errors.ColumnNotFoundError, "'id'"),
        ([{"id": 1, "vector": "text"}], errors.SchemaMismatchError, "'vector'"),
        ([{"id": 1.5, "vector": [1.0]}], errors.SchemaMismatchError, "integers or text"),
        ([{"id": 1, "vector": [1.0], "_rowid": 3}], errors.ReservedNameError, "_rowid"),
        ([{"id": 1, "vector": [1.0], "_distance": 3}], errors.ReservedNameError, "_distance"),
        ([{"id": 1, "vector": [1.0], "nothing": None}], errors.UnsupportedTypeError, "'nothing'"),
        ([], errors.AffidavitError, "id"),
        (42, errors.SchemaMismatchError, "int"),
        ("text", errors.SchemaMismatchError, "str"),
        ([1, 2], errors.SchemaMismatchError, "dicts"),
        (None, errors.SchemaMismatchError, "schema="),
    ],
)
def test_p12_a_bad_vector_table_leaves_nothing(session, lake, data, error, words) -> None:
    with pytest.raises(error, match=words):
        session.create_vector_table("v", data)
    assert session.tables().num_rows == 0
    folder = lake / "vectors" / "default"
    assert not folder.exists() or list(folder.iterdir()) == []
    assert list((lake / "vectors" / ".staging").glob("*")) == []


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([{"id": 5, "vector": [1.0] * 8}], errors.ConstraintError, "id = 5"),
        (
            [{"id": 900, "vector": [1.0] * 8}, {"id": 900, "vector": [1.0] * 8}],
            errors.ConstraintError,
            "id = 900",
        ),
        ([{"id": None, "vector": [1.0] * 8}], errors.ConstraintError, "'id'"),
        ([{"vector": [1.0] * 8}], errors.SchemaMismatchError, "'id'"),
        ([{"id": 900, "vector": [1.0] * 7}], errors.SchemaMismatchError, "dimension|fixed"),
        ([{"id": 900, "vector": [float("inf")] * 8}], errors.ConstraintError, "infinity"),
        ([{"id": 900, "vector": [0.0] * 8}], errors.ConstraintError, "zero"),
        ([{"id": 900, "vector": [1.0] * 8, "nope": 1}], errors.SchemaMismatchError, "'nope'"),
        ([{"id": "x", "vector": [1.0] * 8}], errors.SchemaMismatchError, "'id'"),
        ([{"id": 900, "vector": [1.0] * 8, "text": 5}], errors.SchemaMismatchError, "'text'"),
    ],
)
def test_p12_bad_rows_leave_a_vector_table_as_it_was(
    session, docs, lake, rows, error, words
) -> None:
    files = sorted(lake.rglob("*.lance"))
    with pytest.raises(error, match=words):
        docs.insert(rows)
    assert docs.count() == 300
    assert docs.version == 1
    assert sorted(lake.rglob("*.lance")) == files


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([{"id": 1}, {"id": 1}], errors.ConstraintError, "id = 1"),
        ([{"id": 7}], errors.ConstraintError, "id = 7 already"),
        ([{"id": None}], errors.ConstraintError, "'id'"),
        ([{"name": "x"}], errors.SchemaMismatchError, "'id'"),
        ([{"id": 8, "nope": 1}], errors.SchemaMismatchError, "'nope'"),
        ([{"id": "x"}], errors.SchemaMismatchError, "'id'"),
        ([{"id": 2**70}], errors.SchemaMismatchError, "'id'"),
        ([{"id": 1.5}], errors.SchemaMismatchError, "'id'"),
        (pd.DataFrame({"id": ["text"]}), errors.SchemaMismatchError, "'id'"),
        (object(), errors.SchemaMismatchError, "object"),
    ],
)
def test_p12_bad_rows_leave_a_mutable_table_as_it_was(session, rows, error, words) -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
    table = session.create_table("t", [{"id": 7, "name": "seven"}], schema=schema, primary_key="id")
    with pytest.raises(error, match=words):
        table.insert(rows)
    assert table.to_arrow().to_pylist() == [{"id": 7, "name": "seven"}]


def test_p12_create_table_refuses_what_it_cannot_keep(session) -> None:
    with pytest.raises(errors.ColumnNotFoundError, match="'nope'"):
        session.create_table("t", [{"a": 1}], primary_key="nope")
    with pytest.raises(errors.ColumnNotFoundError, match="'nope'"):
        session.create_table("t", [{"a": 1}], indexes=["nope"])
    with pytest.raises(errors.ColumnNotFoundError, match="'nope'"):
        session.create_table("t", [{"a": 1}], order_column="nope")
    with pytest.raises(errors.InvalidQueryError, match="schema="):
        session.create_table("t")
    with pytest.raises(errors.ConstraintError, match="a = 1"):
        session.create_table("t", [{"a": 1}, {"a": 1}], primary_key="a")
    session.create_table("t", [{"a": 1}])
    with pytest.raises(errors.TableExistsError, match="'t'"):
        session.create_table("t", [{"a": 1}])
    with pytest.raises(errors.TableExistsError, match="'t'"):
        session.create_vector_table("t", [{"id": 1, "vector": [1.0]}])
    with pytest.raises(errors.ConstraintError, match="no primary key"):
        session.table("t").upsert([{"a": 1}])
    assert session.tables().num_rows == 1


def test_p12_a_frame_that_is_no_table_is_refused(session) -> None:
    frame = pd.DataFrame({"a": [1, "x", object()]})
    with pytest.raises(errors.SchemaMismatchError, match="pandas"):
        session.create_table("t", frame)
    assert session.tables().num_rows == 0


def test_p12_a_vector_tables_key_has_a_name_that_rows_can_be_merged_by(session) -> None:
    """The table was made, and no row of it could be replaced."""
    rows = [{'a"b': 1, "id": 1, "vector": [1.0, 0.0]}]
    with pytest.raises(errors.SchemaMismatchError, match="double quotes"):
        session.create_vector_table("docs", rows, key='a"b')
    docs = session.create_vector_table("docs", rows)
    with pytest.raises(errors.InvalidNameError, match="double quotes"):
        session.sql('ALTER TABLE docs RENAME COLUMN id TO "i""d"')
    docs.upsert([{'a"b': 2, "id": 1, "vector": [0.0, 1.0]}])
    assert docs.to_arrow()['a"b'].to_pylist() == [2]


def test_p21_a_type_nested_too_deep_is_refused_by_name(session) -> None:
    nested = pa.int64()
    for _ in range(3000):
        nested = pa.list_(nested)
    with pytest.raises(
        errors.UnsupportedTypeError, match="column 'a' of table 'n' has type list<item: li"
    ) as told:
        session.create_table("n", schema=pa.schema([("a", nested)]))
    assert len(str(told.value)) < 500


def test_p21_a_table_of_too_many_columns_is_refused_by_its_name(session) -> None:
    with pytest.raises(
        errors.SchemaMismatchError, match="'wide' would have 2,000 columns, and 1,900 are allowed"
    ):
        session.create_table("wide", [{f"c{at}": at for at in range(2000)}])
    widest = session.create_table("widest", [{f"c{at}": at for at in range(1900)}])
    assert widest.to_arrow().num_columns == 1900


@pytest.mark.parametrize("columns", [("c0", "c1"), ("k", "c1"), ("affidavit_key_0", "k")])
def test_many_keys_of_several_columns_are_those_rows_alone(session, columns) -> None:
    """Names of the list caught the table's own: every row was deleted."""
    first, second = columns
    session.create_table(
        "p", [{first: at, second: at} for at in range(1000)], primary_key=list(columns)
    )
    table = session.table("p")
    chosen = [(at, at) for at in range(301)]
    assert table.get([(at, at + 1) for at in range(301)]).num_rows == 0
    assert table.get(chosen).num_rows == 301
    assert table.delete(keys=chosen) == 301
    assert table.count() == 699
