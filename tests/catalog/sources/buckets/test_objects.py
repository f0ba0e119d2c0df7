"""P16: the record of a read names the objects of a bucket by their ETags, and replay compares them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.catalog.sources.buckets.test_object_stores import (
    ACCESS_KEY,
    ROWS,
    SECRET_KEY,
    Server,
    environment,
    server,
)

import affidavit
from affidavit.catalog.sources.buckets import objects
from affidavit.catalog.sources.buckets.bucket import Bucket
from affidavit.catalog.sources.buckets.services import SERVICES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["environment", "server"]
OTHER = pa.table({"id": [1, 2, 4], "s": ["a", None, "d"]})


@pytest.fixture
def reading(lake: Path) -> affidavit.Session:
    with affidavit.connect(lake, audit="reads", store_queries=True) as session:
        yield session


def last_read(session: affidavit.Session) -> affidavit.ReadRecord:
    query = "SELECT read_id FROM audit.reads WHERE text LIKE '%FROM t%' ORDER BY seq DESC LIMIT 1"
    (row,) = session.sql(query).to_pylist()
    found = session.audit.get_read(row["read_id"])
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "files"), [("few/1.parquet", 1), ("few/", 2)])
def test_p16_the_objects_that_were_read_are_told(
    reading: affidavit.Session, server: Server, name: str, files: int
) -> None:
    server.put("few/1.parquet", ROWS)
    server.put("few/2.parquet", ROWS)
    reading.attach("t", f"s3://bucket/{name}", format="parquet", **server.given)
    reading.sql("SELECT * FROM t ORDER BY id").to_arrow()
    source = last_read(reading).tables[0]["source"]
    heads = [
        server.files.open_input_file(f"bucket/few/{at + 1}.parquet").metadata()
        for at in range(files)
    ]
    etags = [each["ETag"].decode().strip('"') for each in heads]
    size = int(heads[0]["Content-Length"])
    lines = "".join(f"{size} {etag}\n" for etag in etags)
    assert source == {
        "files": files, "bytes": files * size, "etags": hashlib.sha256(lines.encode()).hexdigest(),
        "each": [[size, etag, None] for etag in etags],
    }  # fmt: skip
    assert reading.ledger.verify(progress=False)


def test_p16_a_read_of_objects_is_reproduced_until_one_is_another(
    reading: affidavit.Session, server: Server
) -> None:
    server.put("again.parquet", ROWS)
    reading.attach("t", "s3://bucket/again.parquet", **server.given)
    reading.sql("SELECT * FROM t ORDER BY id").to_arrow()
    read = last_read(reading)
    assert reading.audit.replay(read.read_id).outcome == "REPRODUCED"
    server.put("again.parquet", ROWS)  # the same content
    assert reading.audit.replay(read.read_id).outcome == "REPRODUCED"
    server.put("again.parquet", OTHER)
    gone = reading.audit.replay(read.read_id)
    assert gone.outcome == "EVIDENCE_GONE"
    assert "its files are others now: 1 of" in gone.reason
    assert "ETags" in gone.reason
    server.files.delete_file("bucket/again.parquet")
    gone = reading.audit.replay(read.read_id)
    assert gone.outcome == "EVIDENCE_GONE"
    assert "cannot be read any more" in gone.reason


def test_p16_who_replays_without_the_credentials_is_told_that_nobody_can_look(
    lake: Path, server: Server
) -> None:
    server.put("kept.parquet", ROWS)
    with affidavit.connect(lake, audit="reads", store_queries=True) as session:
        session.attach("t", "s3://bucket/kept.parquet", **server.given)
        session.sql("SELECT * FROM t ORDER BY id").to_arrow()
        read = last_read(session)
    with affidavit.connect(lake) as session:
        gone = session.audit.replay(read.read_id)
    assert gone.outcome == "EVIDENCE_GONE"
    assert "cannot be read any more" in gone.reason


def test_versions_are_told_where_a_bucket_keeps_them(server: Server) -> None:
    import boto3

    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    client = boto3.client("s3", endpoint_url=server.endpoint, region_name="eu-central-1", **keys)
    client.create_bucket(
        Bucket="versioned", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    kept = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration=kept)
    put = [client.put_object(Bucket="versioned", Key="a/x", Body=b"same") for _ in range(2)]
    given = {name: str(value).lower() for name, value in server.reach.items()}
    keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
    bucket = Bucket(SERVICES["s3"], "versioned", {**given, **keys})
    (found,) = objects.objects_of(bucket, "s3://versioned/a/") or []
    assert found == objects.StoredObject(
        "versioned/a/x", 4, put[1]["ETag"].strip('"'), put[1]["VersionId"]
    )
    assert put[0]["VersionId"] != put[1]["VersionId"]


def test_of_more_objects_than_are_asked_for_nothing_is_said(
    reading: affidavit.Session, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "OBJECTS_MAX", 1)
    reading.attach("t", "s3://bucket/folder/", format="parquet", **server.given)
    reading.sql("SELECT * FROM t ORDER BY id").to_arrow()
    assert last_read(reading).tables[0]["source"] is None
