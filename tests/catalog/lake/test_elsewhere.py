"""A lake whose store lies in PostgreSQL: how it is opened, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import affidavit
from affidavit import errors
from affidavit.catalog.lake.elsewhere.said import ELSEWHERE_FILE, STORE_VARIABLE

KEY = "5a" * 32


@pytest.fixture
def url(pg_server, lake, monkeypatch) -> str:
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", KEY)
    return pg_server.schema(lake)


pytestmark = pytest.mark.server


def test_a_lake_is_shared_by_whoever_has_its_folder_and_its_url(lake, url, monkeypatch) -> None:
    with affidavit.connect(lake, store=url) as first, affidavit.connect(lake, store=url) as second:
        first.create_table("t", [{"id": 1, "v": "a\x00ß"}], primary_key="id")
        assert second.sql("SELECT * FROM t").to_pylist() == [{"id": 1, "v": "a\x00ß"}]
        second.sql("UPDATE t SET v = 'b' WHERE id = 1")
        assert first.sql("SELECT v FROM t").to_pylist() == [{"v": "b"}]
        assert first.ledger.verify()
        assert "password" not in repr(first.sql("SELECT 1"))
    assert not (lake / "catalog.db").exists()
    assert "postgresql" not in (lake / ELSEWHERE_FILE).read_text()
    with pytest.raises(errors.LakeError, match="lies elsewhere: give store="):
        affidavit.connect(lake)
    monkeypatch.setenv(STORE_VARIABLE, url)
    with affidavit.connect(lake, read_only=True) as reader:
        assert reader.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 1}]


def test_a_folder_and_a_schema_are_of_one_lake(lake, url, tmp_path) -> None:
    affidavit.connect(lake, store=url).close()
    with pytest.raises(errors.LakeError, match="another lake's than this folder"):
        affidavit.connect(tmp_path / "other", store=url)
    assert not (tmp_path / "other" / ELSEWHERE_FILE).exists()
    affidavit.connect(tmp_path / "embedded").close()
    with pytest.raises(errors.LakeError, match="has its store in its folder"):
        affidavit.connect(tmp_path / "embedded", store=url)
    with pytest.raises(errors.LakeError, match="there is no lake"):
        affidavit.connect(tmp_path / "none", store=url, read_only=True)
    with pytest.raises(errors.LakeError, match="has no lake, and this folder's lake was made"):
        affidavit.connect(lake, store=f"{url}_not")
    (lake / ELSEWHERE_FILE).write_text("{")
    with pytest.raises(errors.LakeError, match="does not say which lake"):
        affidavit.connect(lake, store=url)


def test_a_master_key_among_the_lakes_files_is_refused(lake, url, monkeypatch) -> None:
    monkeypatch.delenv("AFFIDAVIT_MASTER_KEY")
    with pytest.raises(errors.MasterKeyError, match="set AFFIDAVIT_MASTER_KEY, or give key_store="):
        affidavit.connect(lake, store=url)
    assert not (lake / "keys").exists()


def test_a_copy_of_the_folder_is_the_same_lake_and_another_lakes_files_are_refused(
    lake, url, tmp_path
) -> None:
    with affidavit.connect(lake, store=url) as session:
        session.create_table("t", [{"id": 1}])
    with affidavit.connect(tmp_path / "mine") as session:
        with pytest.raises(errors.AffidavitError):
            session.sql(f"SELECT * FROM '{lake}/{ELSEWHERE_FILE}'")
    shutil.copytree(lake, tmp_path / "copy")
    with affidavit.connect(tmp_path / "copy", store=url) as session:
        assert session.sql("SELECT * FROM t").to_pylist() == [{"id": 1}]


GRANTS = Path(__file__).parents[3] / "docs" / "shared-lakes.md"


def test_the_roles_of_the_page_are_enough(pg_server, lake, monkeypatch) -> None:
    """What the page grants serves to make, write, change, erase and verify a lake, and no more."""
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", KEY)
    script = GRANTS.read_text(encoding="utf-8").partition("```sql\n")[2].partition("```")[0]
    base = pg_server.database("prod")
    roles = "DROP ROLE IF EXISTS lake_app", "DROP ROLE IF EXISTS lake_reader"
    pg_server.run(*roles, *filter(None, map(str.strip, script.split(";"))), database="prod")
    url = base.replace("postgres@", "lake_app@") + "&schema=claims"
    with affidavit.connect(lake, store=url) as session:
        session.create_table("t", [{"id": 1, "v": "a"}], primary_key="id")
        session.sql("ALTER TABLE t ADD COLUMN w INT")
        assert session.erase("t", 1, reason="asked")
        session.sql("DROP TABLE t")
    reader = url.replace("lake_app@", "lake_reader@")
    with affidavit.connect(lake, store=reader, read_only=True, audit="off") as session:
        assert session.ledger.verify(data=True)
    with pytest.raises(errors.LakeError, match="takes no writes"):
        affidavit.connect(lake, store=reader)
    with pytest.raises(errors.LakeError, match="may not make the schema"):
        affidavit.connect(f"{lake}2", store=url.replace("claims", "another"))
    pg_server.run("DROP DATABASE prod WITH (FORCE)", *roles)
