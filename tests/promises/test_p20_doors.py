"""P20: a session with limits reaches what it was given, and nobody's SQL a lake's own files.

Each door is tried: by name, by link, by pattern, by URL, by what is exchanged later.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import struct
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import deltalake
import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

import affidavit
from affidavit.catalog.sources.address import parse_address
from affidavit.catalog.sources.drivers import libpq
from affidavit.catalog.sources.reach import Reach
from affidavit.engine.run.control import OPEN_SETTINGS
from affidavit.errors import (
    AffidavitError,
    PathNotAllowedError,
    ReadOnlyError,
    SourceError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "own.csv").write_text("word\nopen\n")
    (tmp_path / "outside.csv").write_text("word\nsecret\n")
    return folder


@pytest.fixture
def limited(lake: Path, inside: Path) -> Iterator[affidavit.Session]:
    with (
        affidavit.connect(lake, tenant="a") as session,
        session.scope(tenant="b", allowed_paths=[inside]) as scoped,
    ):
        yield scoped


class Listener:
    """A server that asks a PostgreSQL client for its password, and notes what it is told."""

    def __init__(self) -> None:
        self.connections = 0
        self.passwords: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with client:
                client.settimeout(5)
                try:
                    client.recv(struct.unpack("!I", client.recv(4))[0] - 4)
                    client.send(b"R" + struct.pack("!II", 8, 3))
                    if client.recv(1):
                        length = struct.unpack("!I", client.recv(4))[0]
                        self.passwords.append(client.recv(length - 4).rstrip(b"\0"))
                except (OSError, struct.error):
                    continue

    def url(self, options: str = "sslmode=disable&gssencmode=disable") -> str:
        return f"postgresql://reader@127.0.0.1:{self.port}/db?{options}"

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Listener]:
    with closing(Listener()) as listener:
        yield listener


def make(session: affidavit.Session, location: object, kind: str = "CSV") -> None:
    session.sql(f"CREATE EXTERNAL TABLE t STORED AS {kind} LOCATION '{location}'")


def words(session: affidavit.Session) -> list[str]:
    return [row["word"] for row in session.sql("SELECT word FROM t ORDER BY word")]


# --- files ----------------------------------------------------------------------------------------


def test_p20_files_are_reached_below_the_folders_alone(
    limited: affidavit.Session, inside: Path, tmp_path: Path
) -> None:
    make(limited, inside / "own.csv")
    assert words(limited) == ["open"]
    for way in (
        tmp_path / "outside.csv", f"{inside}/../outside.csv", f"file://{tmp_path}/outside.csv",
        f"FILE://{tmp_path}/outside.csv", "/etc/passwd", "~/x.csv", f"{tmp_path}/*.csv", "/", f"{inside}\x00/x.csv",
        f"file://{inside}/%2e%2e/outside.csv", f"{inside}/*/../../outside.csv",
    ):  # fmt: skip
        for form in ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{}'", "COPY t TO '{}'"):
            with pytest.raises(AffidavitError):
                limited.sql(form.format(way))
        with pytest.raises(AffidavitError):
            limited.attach("x", str(way), format="csv")
    assert (tmp_path / "outside.csv").read_text() == "word\nsecret\n"


@pytest.mark.parametrize("pattern", ["/", "/*.csv", "/sub/", "/**/*.csv"])
def test_p20_no_link_leads_out(
    limited: affidavit.Session, inside: Path, tmp_path: Path, pattern: str
) -> None:
    (inside / "sub").mkdir()
    (inside / "sub" / "own.csv").write_text("word\nopen\n")
    (inside / "sub" / "link.csv").symlink_to(tmp_path / "outside.csv")
    (inside / "link.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(PathNotAllowedError, match="link"):
        make(limited, f"{inside}{pattern}")


def test_p20_a_link_within_the_folders_is_followed(
    limited: affidavit.Session, inside: Path
) -> None:
    (inside / "sub").mkdir()
    (inside / "sub" / "link.csv").symlink_to(inside / "own.csv")
    make(limited, f"{inside}/sub/")
    assert words(limited) == ["open"]


@pytest.mark.parametrize("as_folder", [True, False])
def test_p20_what_becomes_a_link_later_is_refused(
    limited: affidavit.Session, inside: Path, tmp_path: Path, as_folder: bool
) -> None:
    make(limited, f"{inside}/" if as_folder else inside / "own.csv")
    assert words(limited) == ["open"]
    (inside / "own.csv").unlink()
    (inside / "own.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(PathNotAllowedError):
        words(limited)
    whole = limited._instance  # the same tenant without limits keeps those of whoever made it
    with affidavit.connect(whole.lake.path, tenant="b") as free, pytest.raises(PathNotAllowedError):
        words(free)


def test_p20_what_was_attached_without_limits_is_read_and_no_link_out_of_it(
    lake: Path, inside: Path, tmp_path: Path
) -> None:
    with affidavit.connect(lake, tenant="a") as free:
        make(free, f"{inside}/")
        with free.scope(tenant="a", allowed_paths=[]) as limited:
            assert words(limited) == ["open"]
            (inside / "link.csv").symlink_to(tmp_path / "outside.csv")
            assert words(free) == ["open", "secret"]
            with pytest.raises(PathNotAllowedError):
                words(limited)


def test_p20_a_refusal_tells_nothing_of_what_is_there(
    limited: affidavit.Session, tmp_path: Path
) -> None:
    told = set()
    for name in ("outside.csv", "missing.csv", "inside.csv"):
        for attach in (
            lambda path: make(limited, path),
            lambda path: limited.attach("x", path),
            lambda path: limited.attach("x", f"sqlite:///{path}"),
            lambda path: limited.sql(f"COPY (SELECT 1) TO '{path}'"),
            lambda path: limited.sql(
                f"CREATE EXTERNAL TABLE function STORED AS CSV LOCATION '{path}'"
            ),
        ):
            with pytest.raises(PathNotAllowedError) as refused:
                attach(str(tmp_path / name))
            told.add(str(refused.value).replace(name, "...").replace("//", "/"))
    assert len(told) == 2, "one of a path, one of a database's URL"


def test_p20_an_attached_file_that_is_exchanged_is_refused(
    limited: affidavit.Session, inside: Path, tmp_path: Path
) -> None:
    for path in (inside / "x.db", tmp_path / "other.db"):
        with closing(sqlite3.connect(path)) as file:
            file.execute("CREATE TABLE t (word TEXT)")
            file.execute("INSERT INTO t VALUES (?)", [path.parent.name])
            file.commit()
    limited.attach("lite", f"sqlite:///{inside / 'x.db'}")
    ask = "SELECT word FROM lite.main.t"
    assert limited.sql(ask).to_pylist() == [{"word": "inside"}]
    limited._instance.planner(limited.identity).attached["lite"].database.close()
    (inside / "x.db").unlink()
    (inside / "x.db").symlink_to(tmp_path / "other.db")
    with pytest.raises(AffidavitError, match="may not be reached"):
        limited.sql(ask).to_pylist()


# --- addresses ------------------------------------------------------------------------------------


def test_p20_nobody_is_called_who_is_not_on_the_list(
    limited: affidavit.Session, server: Listener
) -> None:
    for url in (
        server.url(), server.url(f"hostaddr=127.0.0.1&port={server.port}"), "postgresql:///db",
        f"postgresql:///db?host=127.0.0.1&port={server.port}", f"mysql://u@127.0.0.1:{server.port}/x",
        f"postgresql://allowed.example,127.0.0.1:{server.port}/db", f"lake://127.0.0.1:{server.port}",
    ):  # fmt: skip
        with pytest.raises(AffidavitError):
            limited.attach("crm", url)
    for place in (
        "s3://bucket/x.parquet",
        "gs://bucket/x",
        "az://c/x",
        f"http://127.0.0.1:{server.port}/x.csv",
    ):
        with pytest.raises(AffidavitError):
            make(limited, place, "PARQUET")
        with pytest.raises(AffidavitError):
            limited.attach("x", place, format="parquet", endpoint=f"http://127.0.0.1:{server.port}")
        with pytest.raises(AffidavitError):
            limited.sql(f"COPY (SELECT 1 AS a) TO '{place}'")
    assert server.connections == 0


@contextmanager
def _allowing(lake: Path, server: Listener, **limits: Any) -> Iterator[affidavit.Session]:
    urls = [f"postgresql://127.0.0.1:{server.port}"]
    with affidavit.connect(lake, allowed_urls=urls, **limits) as session:
        yield session


def test_p20_an_allowed_server_is_told_no_secret_of_the_process(
    lake: Path, server: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passfile = tmp_path / "passfile"
    passfile.write_text("*:*:*:*:of-the-passfile\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("AFFIDAVIT_PASSWORD_CRM", "of-the-process")
    monkeypatch.setenv("PGPASSWORD", "of-libpq")
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    with _allowing(lake, server) as session:
        with pytest.raises(SourceError):
            session.attach("crm", server.url())
        assert (server.connections > 0, server.passwords) == (True, [])
        with pytest.raises(SourceError):
            session.attach("crm", server.url(), password="of-its-own")
        assert set(server.passwords) == {b"of-its-own"}
        for option in ("passfile=/x", "service=x", "sslkeylogfile=/x"):
            with pytest.raises(PathNotAllowedError, match="nothing of the process"):
                session.attach("crm", server.url(option))
        with pytest.raises(PathNotAllowedError):
            session.attach("crm", server.url("sslrootcert=/etc/passwd"))
        monkeypatch.setenv("PGSERVICE", "somewhere")
        with pytest.raises(SourceError, match="PGSERVICE"):
            session.attach("crm", server.url())


def test_p20_a_password_is_its_tenants_and_its_hosts(
    lake: Path, server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFIDAVIT_PASSWORD_CRM", "of-the-default")
    monkeypatch.setenv("AFFIDAVIT_PASSWORD_CRM__north", "of-north")

    def tried(tenant: str) -> set[bytes]:
        server.passwords.clear()
        with affidavit.connect(lake, tenant=tenant) as session, pytest.raises(SourceError):
            session.attach("crm", server.url())
        return set(server.passwords)

    assert tried("default") == {b"of-the-default"}
    assert tried("north") == {b"of-north"}
    assert tried("south") == set()
    monkeypatch.setenv("AFFIDAVIT_PASSWORD_CRM_HOST", "db.example:5432")
    assert tried("default") == set()
    monkeypatch.setenv("AFFIDAVIT_PASSWORD_CRM_HOST", f"127.0.0.1:{server.port}")
    assert tried("default") == {b"of-the-default"}


def test_p20_what_a_session_with_limits_attached_keeps_them(
    lake: Path, server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach = Reach.of([], ["postgresql://h:1"])
    again = Reach().of_kept(reach.kept())
    assert (again.limited, again.addresses) == (True, reach.addresses)
    assert Reach().kept() is None
    assert not Reach().of_kept(None).limited


def test_p20_a_scope_is_given_no_more_than_its_session_has(lake: Path, inside: Path) -> None:
    urls = ["postgresql://h:5432", "s3://bucket/a"]
    with affidavit.connect(lake, allowed_paths=[inside], allowed_urls=urls) as session:
        for limits in (
            {"allowed_paths": [inside.parent]}, {"allowed_urls": ["postgresql://h:5433"]},
            {"allowed_urls": ["postgresql://g"]}, {"allowed_urls": ["s3://bucket"]},
        ):  # fmt: skip
            with pytest.raises(PathNotAllowedError):
                session.scope(**limits)
        with session.scope(allowed_urls=["postgres://h", "s3://bucket/a/b"]) as scoped:
            with pytest.raises(PathNotAllowedError):
                make(scoped, inside / "own.csv")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "host:5432",
        "//host",
        "postgresql://",
        "postgresql://u:p@h",
        "s3://b?x",
        "http://[",
        5,
    ],
)
def test_p20_an_allowed_url_says_scheme_and_host(lake: Path, url: Any) -> None:
    with pytest.raises(SourceError, match="allowed_urls"):
        affidavit.connect(lake, allowed_urls=[url])


@pytest.mark.parametrize(
    ("allowed", "asked", "is_covered"),
    [
        ("postgresql://h", "postgres://H:5432", True), ("postgresql://h:1", "postgresql://h", False),
        ("s3://b", "s3://b/x/y", True), ("s3://b/x", "s3://b/xy", False), ("s3://b/x", "s3://b/x/../y", False),
        ("mysql://h", "mariadb://h.:3306", True), ("https://h", "http://h", False), ("s3://b", "s3://bb", False),
    ],
)  # fmt: skip
def test_p20_what_an_allowed_url_covers(allowed: str, asked: str, is_covered: bool) -> None:
    assert parse_address(allowed).covers(parse_address(asked)) == is_covered


HOSTS = st.lists(st.sampled_from(["a.example", "b.example", "10.0.0.1"]), max_size=3)


@given(HOSTS, HOSTS, HOSTS, st.sampled_from(["", "1", "1,2,3"]), st.booleans())
def test_p20_every_host_and_port_of_a_url_is_seen(
    where: list[str], hosts: list[str], addresses: list[str], ports: str, in_capitals: bool
) -> None:
    """A URL is read as libpq reads it: what it may connect to is among what is checked."""
    given = {"host": ",".join(hosts), "hostaddr": ",".join(addresses), "port": ports}
    query = "&".join(
        f"{key.upper() if in_capitals else key}={value}" for key, value in given.items() if value
    )
    wanted = libpq.wanted(f"postgresql://u@{','.join(where)}/db?{query}")
    for named in (where, hosts, addresses):
        told = ports.split(",") if ports else ["5432"]
        several = told * len(named) if len(told) == 1 else told + ["5432"] * len(named)
        expected = {(host, int(port)) for host, port in zip(named, several, strict=False)}
        assert expected <= {(each.host, each.port) for each in wanted.addresses}
    assert wanted.addresses or wanted.refused


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "SET datafusion.runtime.temp_directory = '{0}'", "SET \"datafusion.runtime.temp_directory\" = '{0}'",
        "SET datafusion.\"runtime\".temp_directory TO '{0}'", "set DATAFUSION.RUNTIME.MEMORY_LIMIT = '1G'",
        "SET datafusion.catalog.location = '{0}'", "SET datafusion.sql_parser.recursion_limit = 1000000",
        "SET datafusion.execution.parquet.pushdown_filters = true", "RESET datafusion.runtime.memory_limit",
        "SET datafusion.catalog.information_schema = false", "SET x.password = 'y'",
    ],
)  # fmt: skip
def test_p20_a_session_with_limits_changes_no_setting_but_a_few(
    limited: affidavit.Session, tmp_path: Path, text: str
) -> None:
    with pytest.raises(AffidavitError):
        limited.sql(text.format(tmp_path / "made"))
    assert limited.sql("SELECT 1 AS n").to_pylist() == [{"n": 1}]
    assert not (tmp_path / "made").exists()


def test_p20_the_few_can_be_changed(limited: affidavit.Session) -> None:
    for setting in OPEN_SETTINGS - {"timezone"}:
        shown = limited.sql(f"SHOW {setting}").to_pylist()
        value = shown[0]["value"]
        limited.sql(f"SET {setting} = '{value}'" if value else f"RESET {setting}")


# --- the lake's own files -------------------------------------------------------------------------


@pytest.fixture
def full(lake: Path) -> Path:
    """A lake that has sealed segments, vectors and a store with rows."""
    with affidavit.connect(lake, tenant="a") as session:
        session.create_table("people", [{"id": 1, "name": "secret"}], primary_key="id")
        session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
        session.journal.flush()
    assert list((lake / "journal" / "a").glob("*.parquet"))
    return lake


def _own(lake: Path, tmp_path: Path) -> list[str]:
    """Return the ways that lead to a lake's files."""
    segment = next((lake / "journal" / "a").glob("*.parquet"))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "file.parquet").symlink_to(segment)
    (tmp_path / "folder").symlink_to(lake / "journal" / "a")
    (tmp_path / "store.csv").symlink_to(lake / "catalog.db")
    return [
        str(segment), f"{segment.parent}/", f"{lake}/", f"{lake}/journal/*/*.parquet", f"{lake.parent}/",
        f"{tmp_path}/links/", str(tmp_path / "links" / "file.parquet"), f"{tmp_path}/folder/", f"file://{segment}",
        f"file:{segment}", f"FILE:{segment}", f"file:/{segment}",
        f"{lake}/../{lake.name}/journal/a/", str(lake / "catalog.db"), str(tmp_path / "store.csv"),
        f"{lake}/vectors/a/docs.lance/", str(lake / "keys"),
    ]  # fmt: skip


def test_p20_a_lakes_own_files_are_nobodys_source(full: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    ways = _own(full, tmp_path)
    for other in (full, tmp_path / "elsewhere" / "lake"):  # this lake's, and another's
        with affidavit.connect(other, tenant="b") as session:
            for way in ways:
                for kind in ("PARQUET", "CSV"):
                    with pytest.raises(PathNotAllowedError):
                        make(session, way, kind)
                with pytest.raises(PathNotAllowedError):
                    session.attach("x", way, format="parquet")
            for scheme in ("sqlite", "duckdb"):
                for file in (full / "catalog.db", tmp_path / "store.csv"):
                    with pytest.raises(PathNotAllowedError):
                        session.attach("x", f"{scheme}:///{file}")


def test_p20_what_others_keep_in_a_lakes_folder_is_theirs(full: Path) -> None:
    with affidavit.connect(full, tenant="b") as session:
        session.sql(f"COPY (SELECT 'mine' AS word) TO '{full}/mine.parquet'")
        make(session, f"{full}/mine.parquet", "PARQUET")
        assert words(session) == ["mine"]


def test_p20_a_lakes_own_files_are_nobodys_target(full: Path, tmp_path: Path) -> None:
    with affidavit.connect(full, tenant="b") as session:
        for way in _own(full, tmp_path):
            if "*" not in way and way != f"{full.parent}/" and not way.endswith("/links/"):
                with pytest.raises(PathNotAllowedError):
                    session.sql(f"COPY (SELECT 1 AS x) TO '{way}' STORED AS PARQUET")
    with affidavit.connect(full, tenant="a") as session:
        assert session.ledger.verify(data=True)


def test_p20_an_attached_file_that_becomes_the_store_is_refused(full: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as file:
        file.execute("CREATE TABLE t (a INTEGER)")
    with affidavit.connect(full, tenant="b") as session:
        session.attach("lite", f"sqlite:///{tmp_path / 'x.db'}")
        session._instance.planner(session.identity).attached["lite"].database.close()
        (tmp_path / "x.db").unlink()
        (tmp_path / "x.db").symlink_to(full / "catalog.db")
        for ask in ("SELECT * FROM lite.main.t", "INSERT INTO lite.main.t VALUES (1)"):
            with pytest.raises(AffidavitError, match="own files"):
                session.sql(ask).to_arrow()


def test_p20_an_external_table_that_comes_to_hold_the_lake_is_refused(
    full: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    pq.write_table(pa.table({"a": [1]}), data / "x.parquet")
    with affidavit.connect(full, tenant="b") as session:
        make(session, f"{data}/", "PARQUET")
        assert session.sql("SELECT a FROM t").num_rows == 1
        (data / "y").symlink_to(full / "journal" / "a")
        with pytest.raises(PathNotAllowedError):
            session.sql("SELECT * FROM t").to_arrow()
        (data / "y").unlink()
        shutil.copytree(full, data / "copy")
        with pytest.raises(PathNotAllowedError):
            session.sql("SELECT * FROM t").to_arrow()


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}", "FILE:{}", "../{}"])
def test_p20_what_a_tables_own_metadata_names_is_looked_at(
    full: Path, tmp_path: Path, form: str
) -> None:
    """A Delta log that anybody may have written says that a file of the lake is a part of it."""
    segment = next((full / "journal" / "a").glob("*.parquet"))
    table = tmp_path / "data" / "delta"
    deltalake.write_deltalake(str(table), pq.read_table(segment))
    (log,) = (table / "_delta_log").glob("*.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            outside = os.path.relpath(segment, table) if form.startswith("..") else str(segment)
            line["add"]["path"] = form.removeprefix("../").format(outside)
            line["add"]["size"] = segment.stat().st_size
    log.write_text("\n".join(json.dumps(line) for line in lines))
    with (
        affidavit.connect(full, tenant="b") as session,
        pytest.raises(AffidavitError, match="own files"),
    ):
        session.attach("d", str(table), format="delta")


def test_p20_what_an_iceberg_table_names_is_looked_at(full: Path, tmp_path: Path) -> None:
    segment = next((full / "journal" / "a").glob("*.parquet"))
    catalog = SqlCatalog(
        "c", uri=f"sqlite:///{tmp_path}/i.db", warehouse=f"file://{tmp_path}/warehouse"
    )
    catalog.create_namespace("n")
    made = catalog.create_table("n.t", schema=pq.read_schema(segment))
    made.add_files([str(segment)], check_duplicate_files=False)
    with affidavit.connect(full, tenant="b") as session:
        session.attach("i", made.metadata_location, format="iceberg")
        with pytest.raises(AffidavitError, match="own files"):
            session.sql("SELECT actor FROM i").to_arrow()


def test_p20_a_hard_link_to_a_lakes_own_file_is_one_of_them(full: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("word\nopen\n")
    (data / "zz.csv").hardlink_to(next((full / "keys").iterdir()))
    (data / "loop.csv").symlink_to("loop.csv")
    with affidavit.connect(full, tenant="b") as session:
        for way in (f"{data}/zz.csv", f"{data}/", f"{data}/*.csv"):
            with pytest.raises(PathNotAllowedError):
                make(session, way)
        with pytest.raises(AffidavitError):  # DataFusion's own: it follows the link to itself
            make(session, f"{data}/a*.csv")
        (data / "loop.csv").unlink()
        make(session, f"{data}/a*.csv")
        assert words(session) == ["open"]


@pytest.mark.parametrize(
    "way", ["{0}/link/../lake/x.csv", "{0}/xy://../lake/keys/x.csv", "{0}/p/", "{0}/lake/keys/../keys/x.csv"]
)  # fmt: skip
def test_p20_no_other_reading_of_a_path_leads_into_a_lake(
    full: Path, tmp_path: Path, way: str
) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "q=1").symlink_to(full / "keys")
    before = sorted(path for path in full.rglob("*") if "keys" in path.parts)
    with affidavit.connect(full, tenant="b") as session, contextlib.suppress(AffidavitError):
        location = way.format(tmp_path)
        session.sql(f"COPY (SELECT 1 AS a, '1' AS q) TO '{location}' STORED AS CSV PARTITIONED BY (q)")  # fmt: skip
    assert sorted(path for path in full.rglob("*") if "keys" in path.parts) == before
    assert not (full / "x.csv").exists()


@pytest.mark.parametrize("option", ["port={0}", "host=127.0.0.1&port={0}", "hostaddr=127.0.0.1&port={0}"])  # fmt: skip
def test_p20_the_port_of_an_option_is_the_one_that_counts(
    lake: Path, server: Listener, option: str
) -> None:
    with closing(Listener()) as other, affidavit.connect(
        lake, allowed_urls=[f"postgresql://127.0.0.1:{server.port}"]
    ) as session:  # fmt: skip
        for url in (
            server.url(option.format(other.port)),
            f"postgresql://u@127.0.0.2,x@127.0.0.1:{server.port}/db",
        ):
            with pytest.raises(AffidavitError):
                session.attach("q", url, password="hush")
        assert (server.connections, other.connections) == (0, 0)


def test_p20_a_session_with_limits_exports_and_reads_no_witness_outside(
    limited: affidavit.Session, inside: Path, tmp_path: Path
) -> None:
    with pytest.raises(PathNotAllowedError):
        limited.ledger.export(tmp_path / "bundle")
    with pytest.raises(PathNotAllowedError):
        limited.ledger.verify(witness="/etc/passwd")
    limited.sql("CREATE TABLE t (a INT)")
    assert limited.ledger.export(inside / "bundle").is_dir()


def test_p20_what_databases_write_beside_a_file_is_looked_at(
    limited: affidavit.Session, inside: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(inside / "x.db")) as file:
        file.execute("CREATE TABLE t (a INTEGER)")
    for end in ("-journal", ".wal"):
        (inside / f"x.db{end}").symlink_to(tmp_path / "outside.csv")
        with pytest.raises(PathNotAllowedError):
            limited.attach("x", f"sqlite:///{inside / 'x.db'}")
        (inside / f"x.db{end}").unlink()
    limited.attach("x", f"sqlite:///{inside / 'x.db'}")


def test_p20_a_result_that_was_not_read_yet_is_looked_at_again(
    limited: affidavit.Session, inside: Path, tmp_path: Path
) -> None:
    make(limited, f"{inside}/")
    result = limited.sql("SELECT * FROM t")
    (inside / "link.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(PathNotAllowedError):
        result.to_arrow()


def test_p20_a_session_with_limits_writes_to_no_database_outside(
    lake: Path, inside: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "far.db")) as file:
        file.execute("CREATE TABLE t (a INTEGER)")
    with affidavit.connect(lake, tenant="b") as free:
        free.attach("far", f"sqlite:///{tmp_path / 'far.db'}")
        with free.scope(tenant="b", allowed_paths=[inside]) as limited:
            assert limited.sql("SELECT count(*) AS n FROM far.main.t").to_pylist() == [{"n": 0}]
            with pytest.raises(PathNotAllowedError):
                limited.sql("INSERT INTO far.main.t VALUES (1)")
        free.sql("INSERT INTO far.main.t VALUES (1)")


@pytest.mark.parametrize("path", ["/in/../out", "/in/%2e%2e/out", "/in/%252e%252e/out", "/in\\..\\out", "/inner"])  # fmt: skip
def test_p20_nothing_leads_out_of_a_buckets_prefix(path: str) -> None:
    allowed = Reach.of(None, ["s3://bucket/in"])
    with pytest.raises(PathNotAllowedError):
        allowed.location(f"s3://bucket{path}/x.csv")
    assert allowed.location("s3://bucket/in/x.csv")


def test_p20_a_key_file_and_a_witness_elsewhere_are_the_lakes_own(tmp_path: Path) -> None:
    keys, witness = tmp_path / "kk", tmp_path / "witness.txt"
    store = affidavit.FileKeyStore(keys)
    with affidavit.connect(tmp_path / "lake", key_store=store, witness=witness) as session:
        session.ledger.checkpoint()
        for way in (f"{keys}/master.key", f"{keys}/", str(witness)):
            with pytest.raises(PathNotAllowedError):
                make(session, way)


# --- handles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", [None, "default"])
def test_p20_what_to_lance_gives_is_only_read(lake: Path, tenant: str | None) -> None:
    with affidavit.connect(lake, tenant=tenant) as writer:
        writer.create_vector_table("law", [{"id": n, "vector": [1.0, float(n)]} for n in range(3)])
    with affidavit.connect(lake, read_only=True) as session:
        dataset = session.table("law").to_lance()
        assert isinstance(dataset, lance.LanceDataset)
        assert (
            dataset.to_table(filter="id < 2").num_rows
            == dataset.checkout_version(1).head(2).num_rows
            == 2
        )
        writes = [each for each in dir(lance.LanceDataset) if each.startswith((
            "add", "alter", "clean", "commit", "create", "delete", "drop", "insert", "merge", "optimize", "replace",
            "restore", "tags", "update", "truncate", "get_frag", "branches", "migrate",
        ))]  # fmt: skip
        assert len(writes) > 30
        for shown in (dataset, dataset.checkout_version(1)):
            for name in writes:
                with pytest.raises(ReadOnlyError):
                    getattr(shown, name)
        rows = pa.table(
            {"id": [9], "vector": pa.array([[1.0, 2.0]], dataset.schema.field("vector").type)}
        )
        for past in (
            lambda: dataset._ds.delete("id < 2"),
            lambda: lance.write_dataset(rows, dataset, mode="append"),
        ):
            with pytest.raises(Exception):  # noqa: B017 - whatever Lance makes of a lock not had
                past()
        assert session.table("law").count() == 3
        if tenant is None:
            with pytest.raises(ReadOnlyError, match="folder"):
                _ = dataset.uri
