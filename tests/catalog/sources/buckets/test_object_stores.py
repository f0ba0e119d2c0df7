"""Files and tables in object stores: a real S3 server, and what is told where none answers."""

from __future__ import annotations

import gc
import http.server
import json
import logging
import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from tests.support.marks import may_start_server
from tests.support.optional import library

import affidavit
from affidavit.engine.statement.shown import without_secrets
from affidavit.errors import AffidavitError, SourceError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCESS_KEY, SECRET_KEY = "AKIDOFTHETESTS", "the-secret-of-the-tests"
VARIABLES = ("AWS_", "GOOGLE_", "AZURE_", "AZURITE_")
BOUND_S = 20.0
ROWS = pa.table({"id": [1, 2, 3], "s": ["a", None, "c"]})


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the machine has: no credentials, and no cloud that gives some."""
    import os

    for name in list(os.environ):
        if name.startswith(VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)


class Server:
    """An S3 server of this machine, with a bucket of files."""

    def __init__(self) -> None:
        may_start_server()
        moto = library("moto.server", "'moto[s3,server]'")
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.files = fs.S3FileSystem(
            access_key=ACCESS_KEY, secret_key=SECRET_KEY, endpoint_override=f"{host}:{port}",
            scheme="http", region="eu-central-1", allow_bucket_creation=True,
        )  # fmt: skip
        self.files.create_dir("bucket")
        self.put("one.parquet", ROWS)
        self.put("folder/1.parquet", ROWS)
        self.put("folder/2.parquet", ROWS)
        for name, text in (("t.csv", "id,s\n1,a\n2,b\n"), ("t.json", '{"id": 1}\n{"id": 2}\n')):
            with self.files.open_output_stream(f"bucket/{name}") as out:
                out.write(text.encode())

    def put(self, name: str, data: pa.Table) -> None:
        with self.files.open_output_stream(f"bucket/{name}") as out:
            pq.write_table(data, out)

    @property
    def reach(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint, "region": "eu-central-1", "allow_http": True}

    @property
    def given(self) -> dict[str, Any]:
        keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
        return {**self.reach, **keys}

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def count(session: affidavit.Session, table: str) -> int:
    return int(session.sql(f"SELECT count(*) AS n FROM {table}").to_pylist()[0]["n"])


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("one.parquet", {}, 3),
        ("folder/", {"format": "parquet"}, 6),
        ("t.csv", {}, 2),
        ("t.csv", {"has_header": "false"}, 3),
        ("t.json", {}, 2),
    ],
)
def test_files_of_a_bucket_are_read(
    session: affidavit.Session, server: Server, name: str, options: dict[str, Any], rows: int
) -> None:
    session.attach("t", f"s3://bucket/{name}", **options, **server.given)
    assert count(session, "t") == rows
    session.detach("t")


def test_filters_and_joins_over_a_bucket(session: affidavit.Session, server: Server) -> None:
    session.attach("t", "s3://bucket/folder/", format="parquet", **server.given)
    session.create_table("names", [{"id": 1, "name": "one"}])
    found = session.sql("SELECT DISTINCT name, s FROM t JOIN names n ON n.id = t.id WHERE s = 'a'")
    assert found.to_pylist() == [{"name": "one", "s": "a"}]


def test_credentials_come_from_the_environment(
    lake: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    with affidavit.connect(lake) as session:
        session.sql(
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 's3://bucket/one.parquet' OPTIONS "
            f"('aws.endpoint' '{server.endpoint}', 'aws.region' 'x', 'aws.allow_http' 'true')"
        )
        assert count(session, "t") == 3
    with affidavit.connect(lake) as session:
        assert count(session, "t") == 3


def test_credentials_are_this_sessions_and_kept_nowhere(lake: Path, server: Server) -> None:
    with affidavit.connect(lake) as session:
        session.attach("t", "s3://bucket/one.parquet", **server.given)
        told = "".join(
            str(session.sql(f"SELECT * FROM {table}").to_pylist())
            for table in ("journal", "audit.statements", "system.tables", "system.ledger")
        )
        told += session.explain("SELECT * FROM t")
        assert ACCESS_KEY not in told
        assert SECRET_KEY not in told
        assert count(session, "t") == 3
    for file in lake.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert ACCESS_KEY.encode() not in content, file
            assert SECRET_KEY.encode() not in content, file
    with affidavit.connect(lake) as session:
        with pytest.raises(SourceError, match=r"'t'.*AWS_ACCESS_KEY_ID"):
            session.sql("SELECT * FROM t")
        session.sql("SELECT 1 AS one").to_pylist()


def test_a_secret_in_a_statement_is_refused(session: affidavit.Session, server: Server) -> None:
    with pytest.raises(SourceError, match=r"aws\.secret_access_key.*secret"):
        session.sql(
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 's3://bucket/one.parquet' "
            "OPTIONS ('aws.secret_access_key' 'x')"
        )
    for options in ({"endpoint": "http://key:secret@127.0.0.1"}, {"endpoint": "127.0.0.1:1"}):
        with pytest.raises(SourceError) as caught:
            session.attach("t", "s3://bucket/one.parquet", **{**server.given, **options})
        assert "key:secret" not in str(caught.value)
    with pytest.raises(SourceError, match="without credentials") as caught:
        session.attach("t", "s3://key:secret@bucket/one.parquet", **server.given)
    assert "key:secret" not in str(caught.value)


def test_a_query_is_copied_to_a_bucket(session: affidavit.Session, server: Server) -> None:
    session.attach("t", "s3://bucket/one.parquet", **server.given)
    session.sql("COPY (SELECT id + 10 AS id FROM t) TO 's3://bucket/out/x.parquet'")
    session.attach("x", "s3://bucket/out/x.parquet", **server.given)
    assert session.sql("SELECT sum(id) AS n FROM x").to_pylist() == [{"n": 36}]


def test_copying_without_credentials_is_told(session: affidavit.Session) -> None:
    with pytest.raises(SourceError, match="AWS_ACCESS_KEY_ID"):
        session.sql("COPY (SELECT 1 AS one) TO 's3://bucket/x.parquet'")


def test_what_is_not_there_is_named_and_leaves_nothing(
    session: affidavit.Session, server: Server
) -> None:
    for location in (
        "s3://bucket/none.parquet", "s3://bucket/none/", "s3://none/x.parquet",
        "s3://bucket/*.parquet", "s3:///x.parquet", "s3://bucket/t.csv",
    ):  # fmt: skip
        with pytest.raises(SourceError):
            session.attach("t", location, format="parquet", **server.given)
    with pytest.raises(AffidavitError):
        session.attach("t", "s3://bucket/one.parquet", color="red", **server.given)
    assert session.sql("SELECT * FROM system.tables").to_pylist() == []
    session.attach("t", "s3://bucket/one.parquet", **server.given)
    assert count(session, "t") == 3


def test_a_bucket_is_at_one_host(session: affidavit.Session, server: Server) -> None:
    """Else a statement that was planned could read from where another bucket of the name is."""
    elsewhere = {**server.given, "endpoint": server.endpoint.replace("127.0.0.1", "localhost")}
    session.attach("t", "s3://bucket/one.parquet", **server.given)
    for _ in range(2):
        with pytest.raises(SourceError, match=r"s3://bucket is reached at .*another session"):
            session.attach("u", "s3://bucket/one.parquet", **elsewhere)
        assert count(session, "t") == 3
    session.detach("t")
    with pytest.raises(SourceError, match="another session"):
        session.attach("u", "s3://bucket/one.parquet", **elsewhere)


def test_a_way_is_the_same_whoever_said_it(
    session: affidavit.Session, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", server.endpoint + "/"), ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    session.sql("COPY (SELECT 1 AS one) TO 's3://bucket/way.parquet'")
    session.attach("t", "s3://bucket/way.parquet", **server.reach)
    session.attach("u", "S3://bucket/way.parquet")
    assert (count(session, "t"), count(session, "u")) == (1, 1)


SECRETS = ("SEKRIT1", "SEK/RIT2")


@pytest.mark.parametrize("url", ["s3a", "gcs", "abfss", "r2", "ftp", "MongoDB"])
def test_another_url_is_refused_by_its_scheme(session: affidavit.Session, url: str) -> None:
    with pytest.raises(SourceError) as caught:
        session.attach("t", f"{url}://user:SEKRIT1@host/x.parquet", access_key_id="SEKRIT2")
    assert f"{url.lower()}:// is not read" in str(caught.value)
    assert "SEKRIT" not in str(caught.value)


def test_no_secret_is_kept_of_what_is_refused(lake: Path, server: Server, tmp_path: Path) -> None:
    """The log of statements had what attach made of wrong options, and what users typed."""
    url, told = "s3://bucket/one.parquet", []
    with affidavit.connect(lake, store_queries=True) as session:
        for secret in SECRETS:
            for location, options in (
                (f"s3://AKIA:{secret}@bucket/one.parquet", {}),
                (f"S3A://AKIA:{secret}@bucket/one.parquet", {"format": "parquet"}),
                (url, {"endpoint": f"http://user:{secret}@127.0.0.1:1"}),
                (url, {"endpoint": f"ftp://user:{secret}@127.0.0.1:1"}),
                (url, {"secret_key": secret}),
                (url, {"aws_secret_access_key": secret, **server.reach}),
                (url, {"format": "delta", "AWS_SECRET_ACCESS_KEY": secret}),
                (str(tmp_path / "x.csv"), {"password": secret}),
                (f"Postgresql://user:{secret}@127.0.0.1:1/x", {}),
            ):
                with pytest.raises(AffidavitError) as caught:
                    session.attach("t", location, **options)
                told.append(str(caught.value))
            create = "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION"
            for text in (
                f"{create} '{url}' OPTIONS ('aws.secret_access_key' '{secret}')",
                f"{create} '{url}' OPTIONS (AWS.Secret_Access_Key /* a */ E'{secret}', 'a.b' 'c')",
                f"{create} '{url}' OPTIONS ('sas_token' $${secret}$$)",
                f"{create} '{url}' OPTIONS ('password' '{secret}",
                f"{create} '/x.parquet' OPTIONS ('format.crypto.footer_key_as_hex' '{secret}')",
                f"{create} '{url}' OPTIONS ('aws.session_token' '{secret}' 'x')",
                f"{create} 's3://AKIA:{secret}@bucket/one.parquet'",
                f"COPY (SELECT 1 AS a) TO 's3://AKIA:{secret}@bucket/x.parquet'",
                f"COPY (SELECT 1 AS a) TO '{url}' OPTIONS ('aws.session_token' '{secret}')",
                f"EXPLAIN {create} '{url}' OPTIONS (token '{secret}')",
            ):
                with suppress(AffidavitError):
                    session.sql(text)
        kept = session.sql("SELECT text, error FROM audit.statements").to_pylist()
        assert "OPTIONS ('aws.secret_access_key' ***)" in str(kept)
    for secret in SECRETS:
        assert secret not in str(told)
        for file in lake.rglob("*"):
            assert file.is_dir() or secret.encode() not in file.read_bytes(), file


def test_the_log_keeps_what_is_no_secret() -> None:
    for text in (
        "SELECT token FROM t WHERE token = 'abc' AND key = 1",
        "COPY t TO 's3://bucket/a@b.csv' OPTIONS ('format.null_value' 'key') STORED AS CSV",
        "SELECT 'http://host:80/a@b', options, ('key', 'x') FROM t",
    ):
        assert without_secrets(text, text) == (text, text)


def test_contexts_of_lakes_that_were_detached_are_let_go(
    session: affidavit.Session, tmp_path: Path
) -> None:
    with affidavit.connect(tmp_path / "other") as other:
        other.sql("CREATE VIEW v AS SELECT 1 AS one")
    contexts = session._instance.planner(session.identity).contexts
    before = len(contexts)
    for _ in range(3):
        session.attach("other", f"lake:///{tmp_path / 'other'}")
        assert session.sql("SELECT * FROM other.main.v").to_pylist() == [{"one": 1}]
        assert len(contexts) > before
        session.detach("other")
    gc.collect()
    assert len(contexts) == before


def test_credentials_are_of_one_tenant(session: affidavit.Session, server: Server) -> None:
    session.attach("t", "s3://bucket/one.parquet", **server.given)
    with session.scope(tenant="other") as other, pytest.raises(AffidavitError):
        other.attach("t", "s3://bucket/one.parquet", **server.reach)


def test_a_delta_table_in_a_bucket(session: affidavit.Session, server: Server) -> None:
    deltalake = library("deltalake", "deltalake")
    options = {
        "aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "aws_region": "x",
        "aws_endpoint_url": server.endpoint, "aws_allow_http": "true",
        "aws_s3_allow_unsafe_rename": "true",
    }  # fmt: skip
    deltalake.write_deltalake("s3://bucket/delta", ROWS, storage_options=options)
    session.attach("t", "s3://bucket/delta", format="delta", **server.given)
    deltalake.write_deltalake("s3://bucket/delta", ROWS, mode="append", storage_options=options)
    found = session.sql("SELECT id FROM t WHERE id > 2").to_pylist()
    assert found == [{"id": 3}, {"id": 3}]


def test_an_iceberg_table_in_a_bucket(
    session: affidavit.Session, server: Server, tmp_path: Path
) -> None:
    memory = library("pyiceberg.catalog.memory", "'pyiceberg[sql-sqlite]'")
    catalog = memory.InMemoryCatalog(
        "tests", warehouse="s3://bucket/ice", **{
            "s3.endpoint": server.endpoint, "s3.access-key-id": ACCESS_KEY,
            "s3.secret-access-key": SECRET_KEY, "s3.region": "eu-central-1",
        },
    )  # fmt: skip
    catalog.create_namespace("main")
    table = catalog.create_table("main.t", ROWS.schema)
    table.append(ROWS)
    session.attach("t", "s3://bucket/ice/main/t", format="iceberg", **server.given)
    table.append(ROWS)
    assert session.sql("SELECT id FROM t WHERE id > 2").to_pylist() == [{"id": 3}, {"id": 3}]
    catalog.engine.dispose()


# --- hosts and credentials ------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("kind", ["parquet", "delta", "iceberg"])
def test_a_host_that_does_not_answer_is_named_soon(session: affidavit.Session, kind: str) -> None:
    port, begun = closed_port(), monotonic()
    with pytest.raises(SourceError, match=rf"127\.0\.0\.1:{port} does not answer"):
        session.attach(
            "t", "s3://bucket/x", format=kind, endpoint=f"http://127.0.0.1:{port}",
            allow_http=True, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY,
        )  # fmt: skip
    assert monotonic() - begun < BOUND_S


def test_a_server_that_went_away_is_named(lake: Path, server: Server) -> None:
    gone = Server()
    with affidavit.connect(lake) as session:
        session.attach("t", "s3://bucket/one.parquet", **gone.given)
        gone.stop()
        begun = monotonic()
        with pytest.raises(SourceError, match=r"'t'.*does not answer"):
            session.sql("SELECT * FROM t")
        assert monotonic() - begun < BOUND_S
        assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]


@pytest.mark.parametrize(
    ("url", "options", "named"),
    [
        ("s3://bucket/x.parquet", {}, "AWS_ACCESS_KEY_ID"),
        ("gs://bucket/x.parquet", {}, "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://box/x.parquet", {}, "AZURE_STORAGE_ACCOUNT_NAME"),
        ("az://box/x.parquet", {"account": "nobody"}, "AZURE_STORAGE_ACCOUNT_KEY|does not answer"),
    ],
)
def test_missing_credentials_are_named_soon(
    session: affidavit.Session,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    options: dict[str, Any],
    named: str,
) -> None:
    monkeypatch.setattr("affidavit.catalog.sources.buckets.probe.METADATA_HOST", "127.0.0.1")
    begun = monotonic()
    with pytest.raises(SourceError, match=named):
        session.attach("t", url, **options)
    assert monotonic() - begun < BOUND_S
    assert session.sql("SELECT * FROM system.tables").to_pylist() == []


class Asked:
    """An HTTP server that has nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        asked = self.paths = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

            do_HEAD = do_GET  # noqa: N815 - as http.server calls it

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.stop()


@pytest.mark.slow
def test_an_azure_url_reaches_its_container(
    session: affidavit.Session, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", asked.url)
    with pytest.raises(SourceError, match="box/some/x.parquet"):
        session.attach("t", "az://box/some/x.parquet", use_emulator=True)
    assert any("/box/some/x.parquet" in path for path in asked.paths)


@pytest.mark.slow
def test_a_google_url_reaches_its_bucket(
    session: affidavit.Session, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "gcs_base_url": asked.url, "disable_oauth": True, "client_email": "", "private_key": "",
        "private_key_id": "",
    }  # fmt: skip
    path = tmp_path / "account.json"
    path.write_text(json.dumps(told))
    monkeypatch.setattr("affidavit.catalog.sources.buckets.probe._answers", lambda *_: True)
    with pytest.raises(SourceError, match="box/some/x.parquet"):
        session.attach("t", "gs://box/some/x.parquet", service_account_path=str(path))
    assert any("/box/some" in path for path in asked.paths)


def test_options_of_a_store_are_for_stores(session: affidavit.Session, tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "x.parquet")
    with pytest.raises((SqlError, SourceError)):
        session.sql(
            f"CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{tmp_path / 'x.parquet'}' "
            "OPTIONS ('aws.region' 'x')"
        )
    session.attach("t", tmp_path / "x.parquet")
    assert count(session, "t") == 3


@pytest.mark.slow
def test_a_store_that_does_not_answer_keeps_no_writer_waiting(
    session: affidavit.Session,
) -> None:
    """The files were once looked at inside the transaction that remembers the table."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told: list[BaseException] = []

        def attach() -> None:
            try:
                session.attach(
                    "t", "s3://bucket/x", format="delta", allow_http=True, region="x",
                    endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}",
                    access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY,
                )  # fmt: skip
            except SourceError as error:
                told.append(error)

        library("deltalake", "deltalake")
        waiting = threading.Thread(target=attach)
        begun = monotonic()
        waiting.start()
        silent.accept()[0].close()  # is it there?
        held = silent.accept()[0]  # and then what is asked is never answered
        session.create_table("meanwhile", [{"x": 1}])
        assert waiting.is_alive()
        held.close()
        silent.close()
        waiting.join()
        assert told
        assert monotonic() - begun < BOUND_S
