"""A definition changes as it was asked, or not at all."""

from __future__ import annotations

import pytest

from affidavit import connect, errors
from affidavit.catalog.tables.altering import rules


@pytest.mark.parametrize(
    "change",
    [
        "DROP COLUMN b, DROP COLUMN c",
        "DROP b CASCADE",
        "RENAME TO u RENAME COLUMN b TO d",
        "RENAME b TO d, c TO e",
        "ADD COLUMN d BIGINT NULL FIRST",
    ],
)
def test_an_alter_with_something_after_it_changes_nothing(session, change) -> None:
    """The first change was made, and then what followed was refused."""
    session.create_table("t", [{"a": 1, "b": 2, "c": 3}])
    with pytest.raises(errors.SqlError):
        session.sql(f"ALTER TABLE t {change}")
    assert session.sql("SELECT * FROM t").to_pylist() == [{"a": 1, "b": 2, "c": 3}]


def test_an_alter_of_a_table_that_is_not_there_can_be_let_pass(session) -> None:
    assert session.sql("ALTER TABLE IF EXISTS nope DROP COLUMN b").rows_affected == 0
    with pytest.raises(errors.TableNotFoundError):
        session.sql("ALTER TABLE nope DROP COLUMN b")


@pytest.mark.parametrize("default", ["[1.0, 2.0]", "'a'", "1e300"])
def test_a_default_that_the_column_cannot_have_is_refused(session, default) -> None:
    session.create_table("kept", [{"id": 1}], primary_key="id")
    with pytest.raises(errors.SchemaMismatchError, match="column 'c' is a int16, and its default"):
        session.sql(f"ALTER TABLE kept ADD COLUMN c SMALLINT DEFAULT {default} NOT NULL")
    assert session.sql("SELECT * FROM kept").to_pylist() == [{"id": 1}]


def test_a_column_that_a_trigger_publishes_gets_no_other_type(session) -> None:
    """It got one, and no row could be published from then on."""
    session.sql("CREATE TABLE t (a INT, b INT)")
    session.triggers.on("t", "insert", where="new.a > 5", publish="news")
    with pytest.raises(errors.InvalidTriggerError, match="publishes column 'a' of table 't'"):
        session.sql("ALTER TABLE t ALTER COLUMN a TYPE VARCHAR")
    session.sql("INSERT INTO t VALUES (9, 1)")
    assert session.sql('SELECT count(*) AS n FROM topics."news"').to_pylist() == [{"n": 1}]


def test_what_no_row_has_to_meet_reads_no_row(session, monkeypatch) -> None:
    """COMMENT, SET DEFAULT and DROP NOT NULL read the whole table, and asked its rules of it."""
    session.sql("CREATE TABLE t (a INT NOT NULL, g INT GENERATED ALWAYS AS (a + 1))")
    session.sql("INSERT INTO t VALUES (1)")

    def refused(*_: object) -> None:
        pytest.fail("every row was read")

    monkeypatch.setattr(rules, "every_row", refused)
    for change in (
        "COMMENT ON TABLE t IS 'of a'",
        "COMMENT ON COLUMN t.a IS 'one'",
        "ALTER TABLE t ALTER COLUMN a SET DEFAULT 4",
        "ALTER TABLE t ALTER COLUMN a DROP NOT NULL",
        "ALTER TABLE t ALTER COLUMN a DROP DEFAULT",
    ):
        session.sql(change)
    with pytest.raises(pytest.fail.Exception):
        session.sql("ALTER TABLE t ALTER COLUMN a SET NOT NULL")
    monkeypatch.undo()
    session.sql("INSERT INTO t VALUES (NULL)")
    assert session.ledger.verify(data=True)


def test_p17_a_column_of_another_type_that_is_not_the_last_belongs_there(session, lake) -> None:
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, a BIGINT, b BIGINT)")
    session.sql("INSERT INTO t VALUES (1, 2, 3)")
    session.sql("ALTER TABLE t ALTER COLUMN a TYPE VARCHAR")
    assert session.sql("SELECT * FROM t").to_pylist() == [{"id": 1, "a": "2", "b": 3}]
    assert session.ledger.verify(data=True).ok
    with connect(lake, tenant="another") as other:
        assert other.ledger.verify(data=True).ok
