"""P12: bad names, bad SQL texts and bad lakes each get an error that names them."""

from __future__ import annotations

import os
import sqlite3
import stat

import pytest

import affidavit
from affidavit import errors
from affidavit.catalog.store.sqlite.migrations import FORMAT

BAD_NAMES = [
    "", " ", "a b ", "a.b", "a/b", "a\\b", "..", "a'b", 'a"b', "a`b", "a\x00b", "a\nb", "x" * 129,
    "ｄocs", "ﬁle", "dоcs", "a\u200bb", 3, None,
]  # fmt: skip
RESERVED = ["journal", "Journal", "JOURNAL"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_p12_a_bad_table_name_is_refused_everywhere(session, docs, lake, name) -> None:
    before = session.tables().to_arrow()
    calls = [
        lambda: session.create_table(name, [{"a": 1}]),
        lambda: session.create_vector_table(name, [{"id": 1, "vector": [1.0]}]),
        lambda: session.attach(name, docs.to_arrow()),
    ]
    if isinstance(name, str) and name and "\x00" not in name:
        quoted = '"' + name.replace('"', '""') + '"'
        calls += [
            lambda: session.sql(f"CREATE TABLE {quoted} (a INT)"),
            lambda: session.sql(f"CREATE VIEW {quoted} AS SELECT 1"),
            lambda: session.sql(f"ALTER TABLE docs RENAME TO {quoted}"),
        ]
    for call in calls:
        with pytest.raises((errors.InvalidNameError, errors.SqlError)):
            call()
    assert session.tables().to_arrow() == before
    assert [p.name for p in (lake / "vectors" / "default").iterdir()] == ["docs.lance"]


@pytest.mark.parametrize(
    "name", ["notes", "My Notes", "straße", "笔记", "données_2024", "a-b", "0start"]
)
def test_names_in_any_one_script_are_fine(session, name) -> None:
    session.create_table(name, [{"a": 1}])
    assert session.sql(f'SELECT a FROM "{name}"').to_pylist() == [{"a": 1}]
    session.drop_table(name)
    session.create_vector_table(name, [{"id": 1, "vector": [1.0, 2.0]}])
    assert session.search(name, [1.0, 2.0]).num_rows == 1


@pytest.mark.parametrize("name", RESERVED)
def test_p12_reserved_names_are_never_created(session, name) -> None:
    for call in (
        lambda: session.create_table(name, [{"a": 1}]),
        lambda: session.create_vector_table(name, [{"id": 1, "vector": [1.0]}]),
        lambda: session.sql(f'CREATE TABLE "{name}" (a INT)'),
        lambda: session.sql(f'CREATE OR REPLACE VIEW "{name}" AS SELECT 1'),
        lambda: session.sql(
            f"CREATE EXTERNAL TABLE \"{name}\" STORED AS CSV LOCATION '/tmp/x.csv'"
        ),
    ):
        with pytest.raises(errors.ReservedNameError, match="(?i)journal"):
            call()


@pytest.mark.parametrize("schema", ["audit", "system", "topics", "information_schema", "_dml"])
@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE {s}.t (a INT)",
        "CREATE VIEW {s}.t AS SELECT 1",
        "CREATE SCHEMA {s}",
        "INSERT INTO {s}.tables VALUES (1)",
        "UPDATE {s}.tables SET name = 'x'",
        "DELETE FROM {s}.tables",
        "TRUNCATE {s}.tables",
        "DROP TABLE {s}.tables",
        "ALTER TABLE {s}.tables ADD COLUMN a INT",
        "CREATE INDEX i ON {s}.tables (name)",
    ],
)
def test_p12_reserved_schemas_are_read_only(session, schema, text) -> None:
    with pytest.raises(errors.ReservedNameError, match=schema):
        session.sql(text.format(s=schema))


@pytest.mark.parametrize("column", ["", "a\x00b", "_rowid", "_rowaddr"])
def test_p12_bad_column_names(session, column) -> None:
    with pytest.raises(errors.InvalidNameError):
        session.create_table("t", [{column: 1}])


def test_column_names_may_be_anything_that_sql_can_quote(session) -> None:
    session.sql(
        'CREATE TABLE t AS SELECT 1 AS "a b", 2 AS "x.y", 3 AS "q""q", count(*) FROM range(3)'
    )
    row = {"a b": 1, "x.y": 2, 'q"q': 3, "count(*)": 3}
    assert session.sql("SELECT * FROM t").to_pylist() == [row]
    session.sql('UPDATE t SET "a b" = 7, "q""q" = 8 WHERE "x.y" = 2')
    assert session.sql('SELECT "a b", "q""q" FROM t').to_pylist() == [{"a b": 7, 'q"q': 8}]


BAD_SQL = [
    ("", "empty"),
    ("   \n -- nothing\n /* at all */ ", "empty"),
    (";", "empty"),
    ("SELECT 1; SELECT 2", "several statements"),
    ("SELECT 1; DROP TABLE docs", "several statements"),
    ("SELECT 'unfinished", "does not end"),
    ("SELECT /* unfinished", "does not end"),
    ('SELECT "unfinished', "does not end"),
    ("SELECT $$unfinished", "does not end"),
    ("SELECT \x00", "NUL"),
    ("SELEC 1", "SELEC"),
    ("SELECT nope FROM docs", "nope"),
    ("SELECT * FROM docs WHERE", "expression"),
    ("SELECT ((1)", "Expected"),
    ("UPDATE docs SET", "column"),
    ("UPDATE docs SET text", "="),
    ("UPDATE docs", "SET"),
    ("DELETE docs", "FROM"),
    ("INSERT INTO docs", "VALUES"),
    ("INSERT OVERWRITE docs VALUES (1)", "OVERWRITE"),
    ("MERGE INTO docs USING docs d ON true", "WHEN"),
    ("CREATE", "CREATE"),
    ("CREATE TABLE", "table"),
    ("CREATE TABLE t (a NOSUCHTYPE)", "(?i)nosuchtype"),
    ("CREATE DATABASE d", "CREATE"),
    ("DROP", "DROP"),
    ("DROP TABLE", "table"),
    ("ALTER TABLE docs", "ALTER"),
    ("ALTER TABLE docs ADD COLUMN x", "type|Expected"),
    ("COPY docs", "TO"),
    ("COPY docs TO 3", "path"),
    ("SELECT $1", r"\$1"),
    ("EXPLAIN", "EXPLAIN"),
    ("EXECUTE nope", "nope"),
    ("x" * 1_000_001, "1,000,001 characters"),
    (None, "NoneType"),
    (b"SELECT 1", "bytes"),
    ("SAVEPOINT a", "SAVEPOINT"),
    ("GRANT ALL ON docs TO x", "GRANT"),
]


@pytest.mark.parametrize(("text", "words"), BAD_SQL, ids=[str(t)[:30] for t, _ in BAD_SQL])
def test_p12_bad_sql_says_what_is_wrong(session, docs, text, words) -> None:
    with pytest.raises(errors.AffidavitError, match=words):
        session.sql(text).to_arrow()
    assert docs.count() == 300


def test_p12_a_bad_parameter_is_named(session) -> None:
    with pytest.raises(errors.InvalidQueryError, match=r"\$x"):
        session.sql("SELECT $x", x=object())
    with pytest.raises(errors.InvalidQueryError, match="dict or a list"):
        session.sql("SELECT $x", "x")
    assert session.sql("SELECT $x AS x, $1 AS y", {"1": 2**64 - 1}, x=None).to_pylist() == [
        {"x": None, "y": 2**64 - 1}
    ]


# --- lakes ---------------------------------------------------------------------------------------


def test_p12_a_lake_path_that_is_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.LakeError, match="is a file"):
        affidavit.connect(tmp_path / "file")
    with pytest.raises(errors.LakeError, match="cannot create"):
        affidavit.connect(tmp_path / "file" / "below")
    for path in ("", "a\x00b"):
        with pytest.raises(errors.LakeError, match="folder"):
            affidavit.connect(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_p12_a_lake_path_that_cannot_be_written_is_refused(tmp_path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(errors.LakeError, match="cannot create"):
            affidavit.connect(tmp_path / "lake")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_p12_proc_is_no_place_for_a_lake() -> None:
    with pytest.raises(errors.LakeError, match="cannot create"):
        affidavit.connect("/proc/lake")


@pytest.mark.sqlite("its format is a number in its file")
def test_p12_a_lake_from_a_newer_version_is_refused(lake) -> None:
    affidavit.connect(lake).close()
    store = sqlite3.connect(lake / "catalog.db")
    store.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(errors.LakeVersionError, match="format 99") as error:
        affidavit.connect(lake)
    assert (error.value.found, error.value.supported) == (99, FORMAT)


@pytest.mark.sqlite("its file is somebody else's")
def test_p12_somebody_elses_database_is_left_alone(lake) -> None:
    lake.mkdir()
    other = sqlite3.connect(lake / "catalog.db")
    other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = (lake / "catalog.db").read_bytes()
    with pytest.raises(errors.LakeError, match="did not write"):
        affidavit.connect(lake)
    assert (lake / "catalog.db").read_bytes() == before


@pytest.mark.sqlite("its file is damaged")
@pytest.mark.parametrize("junk", [b"not a database at all" * 300, os.urandom(8192)])
def test_p12_a_damaged_catalog_is_an_error_of_ours(lake, junk) -> None:
    lake.mkdir()
    (lake / "catalog.db").write_bytes(junk)
    with pytest.raises(errors.LakeError, match="not a database"):
        affidavit.connect(lake)


def test_a_read_only_session_reads_and_never_writes(lake) -> None:
    with pytest.raises(errors.LakeError, match="no lake"):
        affidavit.connect(lake, read_only=True)
    assert not lake.exists()
    with affidavit.connect(lake) as session:
        session.create_table("t", [{"a": 1}])
        session.create_vector_table("v", [{"id": 1, "vector": [1.0, 2.0]}])
    with affidavit.connect(lake, read_only=True) as reader:
        assert reader.sql("SELECT a FROM t").to_pylist() == [{"a": 1}]
        assert reader.search("v", [1.0, 2.0]).num_rows == 1
        writes = [
            lambda: reader.sql("INSERT INTO t VALUES (2)"),
            lambda: reader.sql("CREATE TABLE u (a INT)"),
            lambda: reader.sql("DROP TABLE t"),
            lambda: reader.sql("BEGIN"),
            lambda: reader.table("t").insert([{"a": 2}]),
            lambda: reader.table("v").insert([{"id": 2, "vector": [1.0, 2.0]}]),
            lambda: reader.table("v").delete("true"),
            lambda: reader.create_table("u", [{"a": 1}]),
            lambda: reader.create_vector_table("w", [{"id": 1, "vector": [1.0]}]),
            lambda: reader.drop_table("v"),
        ]
        for write in writes:
            with pytest.raises(errors.ReadOnlyError):
                write()


def test_a_closed_session_says_so(lake) -> None:
    session = affidavit.connect(lake)
    session.create_table("t", [{"a": 1}])
    session.close()
    session.close()
    for call in (
        lambda: session.sql("SELECT 1"),
        lambda: session.table("t"),
        lambda: session.sql("BEGIN"),
    ):
        with pytest.raises(errors.ClosedError, match="closed"):
            call()


def test_an_unclosed_session_warns(lake) -> None:
    import gc

    with pytest.warns(ResourceWarning, match="unclosed session"):
        affidavit.connect(lake)
        gc.collect()


@pytest.mark.parametrize("option", ["store", "broker"])
def test_options_of_later_versions_are_refused_by_name(lake, option) -> None:
    with pytest.raises(errors.LakeError, match=option):
        affidavit.connect(lake, **{option: "x"})


@pytest.mark.parametrize("given", [-1, float("nan"), "5", None, True])
def test_p12_a_busy_timeout_is_a_number_of_seconds(lake, given) -> None:
    """A session that nobody could close was opened with -1."""
    with pytest.raises(errors.LakeError, match="busy_timeout_s must be a number of seconds"):
        affidavit.connect(lake, busy_timeout_s=given)
    assert not lake.exists()


def test_p12_the_budget_of_copies_is_a_number(lake) -> None:
    with pytest.raises(errors.LakeError, match="cache_bytes must be a whole number, got '1 GB'"):
        affidavit.connect(lake, cache_bytes="1 GB")


def test_p12_what_is_no_listener_is_refused_before_anything_happens(session) -> None:
    """Each mutation failed since it has no on_change, and each search since it has no on_records."""
    for add, name in (
        (session.add_change_listener, "on_change"),
        (session.audit.add_listener, "on_records"),
    ):
        with pytest.raises(TypeError, match=f"expected an object with {name}; got int"):
            add(5)


def test_no_error_class_is_outside_the_tree() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert all(issubclass(c, affidavit.AffidavitError) for c in classes)
    assert all(c.__name__.endswith("Error") for c in classes)
    assert all(c.__doc__ for c in classes)
