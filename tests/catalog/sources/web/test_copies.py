"""What is kept of files of the web: one copy a statement, asked for anew by each, and no secret."""

from __future__ import annotations

import gc
import os
import re
import stat
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import affidavit
from affidavit.catalog.sources.web import copies
from affidavit.errors import PathNotAllowedError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.web_files import WebFiles

CSV, OTHER = b"a,b\n1,x\n2,y\n", b"a,b\n7,z\n"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's place for temporary files, of this test's own."""
    made = tmp_path / "tmp"
    made.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made))
    return made


@pytest.fixture
def session(temporary: Path, tmp_path: Path) -> Iterator[affidavit.Session]:
    with affidavit.connect(tmp_path / "lake", durability="normal") as opened:
        yield opened
    gc.collect()
    assert list(temporary.iterdir()) == [], "what was downloaded goes with the session"


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_a_statement_asks_once_and_reads_again_what_changed(
    session, web: WebFiles, temporary: Path, header: str
) -> None:
    first = '"1"' if header == "ETag" else "Sun, 29 Nov 2020 10:00:00 GMT"
    second = '"2"' if header == "ETag" else formatdate(usegmt=True)
    url = web.put("/t.csv", CSV, headers={header: first})
    text = f"SELECT count(*) AS n FROM '{url}' AS p JOIN '{url}' AS q ON p.a = q.a"
    assert session.sql(text).to_pylist() == [{"n": 2}]
    assert web.asked == [("/t.csv", None)]
    assert session.sql(text).to_pylist() == [{"n": 2}]
    assert web.asked[1:] == [("/t.csv", first)]
    [kept] = files_below(temporary)
    assert stat.S_IMODE(kept.parent.parent.stat().st_mode) == 0o700
    web.put("/t.csv", OTHER, headers={header: second})
    assert session.sql(f"SELECT a FROM '{url}'").to_pylist() == [{"a": 7}]
    gc.collect()
    assert len(files_below(temporary)) == 1, "the old copy is in nobody's way"
    os.truncate(files_below(temporary)[0], 1)  # what somebody has touched is not read again
    assert session.sql(f"SELECT a FROM '{url}'").to_pylist() == [{"a": 7}]
    assert [asked for _, asked in web.asked[2:]] == [first, None]
    session.sql(f"SELECT a FROM '{url}'").to_arrow()
    sure = second if header == "ETag" else None  # a second has room for two versions of a file
    assert web.asked[-1] == ("/t.csv", sure)


def test_a_result_is_read_to_its_end_from_the_copy_that_it_began_with(
    session, web: WebFiles
) -> None:
    url = web.put("/t.csv", CSV)
    result = session.sql(f"SELECT a FROM '{url}'")
    web.put("/t.csv", OTHER)
    assert session.sql(f"SELECT a FROM '{url}'").to_pylist() == [{"a": 7}]
    gc.collect()
    assert result.num_rows == 2


def test_nothing_old_is_read_where_nobody_answers(session, web: WebFiles) -> None:
    url = web.put("/t.csv", CSV, headers={"ETag": '"1"'})
    session.attach("t", url)
    assert session.sql("SELECT * FROM t").num_rows == 2
    web.files.clear()
    with pytest.raises(SourceError, match=re.escape(f"'{url}': its server answers 404")):
        session.sql("SELECT * FROM t").to_arrow()


def test_a_file_is_bounded_whether_its_length_is_said_or_not(
    session, web: WebFiles, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setattr(copies, "FILE_BYTES_MAX", 10)
    for told in ({}, {"chunked": True}):
        url = web.put("/t.csv", CSV, **told)
        with pytest.raises(SourceError, match="larger than the 10 bytes.*read it by its path"):
            session.sql(f"SELECT * FROM '{url}'")
    assert files_below(temporary) == []


def test_what_is_kept_is_bounded_and_the_one_used_last_goes_last(
    session, web: WebFiles, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setattr(copies, "KEPT_BYTES_MAX", 2 * len(CSV))
    urls = [web.put(f"/{name}.csv", CSV, headers={"ETag": '"1"'}) for name in "abc"]
    for url in (urls[0], urls[1], urls[0], urls[2]):
        assert session.sql(f"SELECT a FROM '{url}'").num_rows == 2
    gc.collect()
    assert sorted(path.name for path in files_below(temporary)) == ["a.csv", "c.csv"]
    monkeypatch.setattr(copies, "KEPT_MAX", 1)
    session.sql(f"SELECT a FROM '{urls[1]}'").to_arrow()
    gc.collect()
    assert [path.name for path in files_below(temporary)] == ["b.csv"]


def test_a_file_lies_where_statements_spill(tmp_path: Path, web: WebFiles, temporary: Path) -> None:
    url = web.put("/%2e%2e%2f;x y'.csv".replace(" ", "%20"), CSV)
    with affidavit.connect(tmp_path / "lake", spill_to=tmp_path / "spill") as session:
        assert session.sql(f"""SELECT a FROM '{url.replace("'", "''")}'""").num_rows == 2
        assert len(files_below(tmp_path / "spill")) == 2, "the file, and the folder's lock"
    assert list((tmp_path / "spill").iterdir()) == []
    assert list(temporary.iterdir()) == []


# --- led on ---------------------------------------------------------------------------------------


def test_a_server_may_lead_on(session, web: WebFiles) -> None:
    url = web.put("/t.csv?sig=hush", CSV, headers={"ETag": '"1"'})
    for at, status in enumerate((301, 302, 303, 307, 308)):
        url = web.leads(f"/{at}", url.removeprefix(web.url("")) if at % 2 else url, status)
    for asked in (None, '"1"'):
        web.asked.clear()
        assert session.sql(f"SELECT a FROM '{url}'", timeout=60).num_rows == 2
        assert web.asked == [
            *((f"/{at}", None) for at in (4, 3, 2, 1, 0)),
            ("/t.csv?sig=hush", asked),
        ]
    with pytest.raises(SourceError, match="leads on more than 5 times"):
        session.sql(f"SELECT * FROM '{web.leads('/5', url)}'")
    loop = web.leads("/loop", "/loop")
    with pytest.raises(SourceError, match=re.escape(f"'{loop}': its server leads on more than 5")):
        session.sql(f"SELECT * FROM '{loop}'")
    web.files.pop("/t.csv?sig=hush")
    with pytest.raises(SourceError, match="answers 404") as raised:
        session.sql(f"SELECT * FROM '{url}'")
    assert "hush" not in str(raised.value)


def test_p20_limits_hold_wherever_a_server_leads(session, web: WebFiles) -> None:
    inside = web.put("/in/t.csv", CSV, headers={"ETag": '"1"'})
    web.put("/out.csv", OTHER)
    on = web.leads("/in/on", "/out.csv")
    elsewhere = web.leads("/in/away", web.url("/in/t.csv", "localhost"))
    with session.scope(allowed_urls=[web.url("/in")]) as limited:
        limited.attach("t", inside)
        limited.attach("u", web.leads("/in/there", "/in/t.csv"))
        assert limited.sql("SELECT t.a FROM t JOIN u ON t.a = u.a").num_rows == 2
        asked = len(web.asked)
        for url in (on, elsewhere, web.url("/out.csv"), web.url("/in/../out.csv")):
            with pytest.raises(PathNotAllowedError):
                limited.attach("x", url)
        assert [path for path, _ in web.asked[asked:]] == ["/in/on", "/in/away"]
        with pytest.raises(SourceError, match="reads no files by their paths"):
            limited.sql(f"SELECT * FROM '{inside}'")
    session.attach("everywhere", on)
    with session.scope(allowed_paths=[]) as limited:
        assert limited.sql("SELECT a FROM everywhere").to_pylist() == [{"a": 7}]
        web.leads("/in/there", "/out.csv")
        with pytest.raises(PathNotAllowedError):
            limited.sql("SELECT * FROM u").to_arrow()
        with pytest.raises(PathNotAllowedError):
            limited.attach("y", inside)


def test_p20_a_session_with_limits_uses_no_proxy_of_the_process(
    session, web: WebFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what is read from this machine: what a proxy is asked for, it would be told."""
    monkeypatch.setenv("http_proxy", web.url("/"))
    monkeypatch.setenv("https_proxy", web.url("/"))
    url = web.put("/t.csv", CSV)
    assert session.sql(f"SELECT a FROM '{url}'").num_rows == 2
    assert web.asked == [("/t.csv", None)]
    with pytest.raises(SourceError, match="cannot be reached: Tunnel connection failed: 501"):
        session.sql("SELECT * FROM 'https://nowhere.invalid/x.csv'")
    with (
        session.scope(allowed_urls=["https://nowhere.invalid"]) as limited,
        pytest.raises(SourceError, match="cannot be reached") as raised,
    ):
        limited.attach("t", "https://nowhere.invalid/x.csv")
    assert "Tunnel" not in str(raised.value)
