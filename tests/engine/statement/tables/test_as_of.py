"""Tables as they were, in the words of SQL, wherever a statement reads one."""

from __future__ import annotations

import pytest

import affidavit
from affidavit import errors


@pytest.fixture
def docs(session: affidavit.Session) -> affidavit.VectorTable:
    session.sql("CREATE TABLE people (name VARCHAR PRIMARY KEY, active BOOLEAN)")
    session.sql("INSERT INTO people VALUES ('ann', true), ('bob', false)")
    return session.create_vector_table(
        "docs", [{"id": n, "vector": [1.0, n / 9]} for n in range(6)]
    )


def test_tables_as_they_were_are_written_as_sql_has_it(session, docs) -> None:
    docs.delete("id < 4")
    session.sql("DELETE FROM people")
    for written, count in (
        ("docs VERSION AS OF 1", 6), ("lake.main.docs FOR VERSION AS OF 2 d WHERE d.id > 0", 2),
        ("docs VERSION AS OF $v AS d JOIN docs USING (id)", 2), ("as_of('docs', version => 1)", 6),
        ("people FOR SYSTEM_TIME AS OF $t", 0), ("people FOR SYSTEM_VERSION AS OF 2 WHERE people.active", 1),
    ):  # fmt: skip
        known = {"v": 1, "t": "2999-01-01"}
        params = {name: value for name, value in known.items() if f"${name}" in written}
        found = session.sql(f"SELECT count(*) AS n FROM {written}", params).to_pylist()
        assert found == [{"n": count}], written
    session.sql("CREATE VIEW old AS SELECT id FROM docs VERSION AS OF 1")
    assert session.sql("SELECT * FROM old").num_rows == 6


def test_what_was_is_put_back_by_every_statement(session, docs) -> None:
    docs.delete("id < 2")
    session.sql("CREATE TABLE kept AS SELECT id FROM docs VERSION AS OF 1 WHERE id > 3")
    session.sql("INSERT INTO kept SELECT id FROM docs VERSION AS OF 1 WHERE id = 0")
    session.sql(
        "UPDATE kept SET id = kept.id + 10 FROM docs VERSION AS OF 1 AS d WHERE d.id = kept.id"
    )
    session.sql(
        "MERGE INTO kept USING docs VERSION AS OF 1 AS d ON kept.id = d.id + 14 WHEN MATCHED THEN DELETE"
    )
    session.sql("DELETE FROM kept USING docs VERSION AS OF 1 AS d WHERE d.id = kept.id - 15")
    assert session.sql("SELECT id FROM kept").to_pylist() == [{"id": 10}]
    where = "id IN (SELECT id FROM docs FOR VERSION AS OF 1 WHERE id < 4)"
    found = session.search("docs", [1.0, 0.0], where=where).to_pylist()
    assert {row["id"] for row in found} == {2, 3}
    assert session.sql("SELECT 1 AS version, 2 AS timestamp").to_pylist() == [
        {"version": 1, "timestamp": 2}
    ]


@pytest.mark.parametrize(
    ("read", "told"),
    [
        ("docs VERSION AS OF now()", "VERSION AS OF takes .* found 'now'"),
        ("docs FOR SYSTEM_TIME AS OF", "the end of the statement"),
        ("docs VERSION AS OF 99", "no version 99"),
        ("docs FOR SYSTEM_TIME AS OF 'long ago'", "a moment is"),
        ("nope VERSION AS OF 1", "no table 'nope'"),
    ],
)
def test_p12_a_moment_that_cannot_be_read_is_named(session, docs, read: str, told: str) -> None:
    with pytest.raises(errors.AffidavitError, match=told):
        session.sql(f"SELECT * FROM {read}").to_arrow()
