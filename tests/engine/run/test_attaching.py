"""ATTACH and DETACH, as statements."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import affidavit
from affidavit import errors


@pytest.fixture
def there(
    session: affidavit.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> affidavit.Session:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a;b\n1;x\n")
    with closing(sqlite3.connect("old.db")) as made:
        made.execute("CREATE TABLE t (a INT)")
        made.commit()
    return session


def test_files_and_databases_are_attached_by_sql(there) -> None:
    there.sql("ATTACH 't.csv' AS t (DELIMITER ';', has_header = true)")
    assert there.sql("SELECT * FROM t").to_pylist() == [{"a": 1, "b": "x"}]
    there.sql("ATTACH DATABASE 'old.db' AS old")
    assert there.sql("SELECT * FROM old.main.t").to_pylist() == []
    there.sql("ATTACH IF NOT EXISTS 'old.db' AS old")
    for text in ("DETACH t", "DETACH DATABASE old", "DETACH IF EXISTS old"):
        assert there.sql(text).to_pylist() == []
    with pytest.raises(errors.TableNotFoundError):
        there.sql("SELECT * FROM t")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ATTACH 'none.csv' AS n", "there is no file or folder"),
        ("ATTACH 't.csv'", "ATTACH needs a name"),
        ("ATTACH 't' AS 't.csv'", "the path or URL stands before AS"),
        ("ATTACH t AS t", "expected ATTACH 'path or URL' AS name"),
        ("ATTACH 'foo://x' AS y", "foo:// is not read"),
        ("ATTACH 't.csv' AS y more", "ATTACH"),
        ("DETACH nothing", "nothing"),
    ],
)
def test_what_cannot_be_attached_is_told(there, text: str, why: str) -> None:
    with pytest.raises(errors.AffidavitError, match=why):
        there.sql(text)


def test_a_secret_in_it_is_told_nowhere(there) -> None:
    text = "ATTACH 'postgresql://reader:hunter2@127.0.0.1:1/x' AS pg (password 'hunter3')"
    with pytest.raises(errors.AffidavitError) as raised:
        there.sql(text)
    told = str(raised.value) + str(
        there.sql("SELECT text, error FROM audit.statements").to_pylist()
    )
    assert "hunter" not in told
