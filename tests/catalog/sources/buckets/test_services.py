"""The table of object stores, and what is asked of a bucket before it is read."""

from __future__ import annotations

import pytest

from affidavit.catalog.sources.buckets import probe
from affidavit.catalog.sources.buckets.bucket import Bucket
from affidavit.catalog.sources.buckets.object_stores import ObjectStores
from affidavit.catalog.sources.buckets.services import PREFIXES, SERVICES
from affidavit.catalog.sources.files.delta import OPTION_NAMES
from affidavit.catalog.sources.reach import ANYTHING
from affidavit.engine.plan import contexts
from affidavit.errors import SourceError


def test_options_of_two_stores_are_told_apart() -> None:
    assert len(PREFIXES) == len(SERVICES)


def test_every_store_has_a_row_wherever_it_needs_one() -> None:
    assert contexts._STORES.keys() == SERVICES.keys()
    for service in SERVICES.values():
        assert {*service.options, *service.secrets} <= OPTION_NAMES.keys()


@pytest.mark.parametrize("scheme", SERVICES)
def test_a_bucket_is_somewhere(scheme: str) -> None:
    bucket = Bucket(SERVICES[scheme], "bucket", {"account": "x"})
    host, port = SERVICES[scheme].address(bucket)
    assert host
    assert port == 443
    assert bucket.url == f"{scheme}://bucket"


def test_what_is_reached_is_registered_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[str] = []
    stores = ObjectStores(lambda bucket: registered.append(bucket.url))
    way = {"aws.endpoint": "http://127.0.0.1:1", "aws.allow_http": "true"}
    secrets = {"access_key_id": "x", "secret_access_key": "x"}
    with stores.given("s3://bucket/x", ANYTHING, secrets):
        with (
            pytest.raises(SourceError, match="does not answer"),
            stores.reach("s3://bucket/x", ANYTHING, way),
        ):
            pass
        assert registered == []
        monkeypatch.setattr(probe, "_answers", lambda *_: True)
        with (
            stores.reach("s3://bucket/x", ANYTHING, way),
            stores.reach("/a/path", ANYTHING) as path,
        ):
            assert registered == ["s3://bucket"]
            assert path is None
