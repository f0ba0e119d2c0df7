"""P20: a secret stands in no error, log, table or byte of the lake, however it is given."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import affidavit
from affidavit.errors import AffidavitError
from affidavit.screen import masked

if TYPE_CHECKING:
    from pathlib import Path

MARK = "Hush4711Hush"

QUOTES = ["'{}'", '"{}"', "'{}", "{}", "$${}$$", "E'{}'", "('{}')"]
URLS = [
    f"jdbc:postgresql://u:{MARK}@127.0.0.1:1/db", f"postgresql://u:{MARK}@127.0.0.1:1/db?connect_timeout=1",
    f"postgresql://u@127.0.0.1:1/db?password={MARK}&connect_timeout=1", f"mysql://u:{MARK}@127.0.0.1:1/x",
    f"https://127.0.0.1:1/x.parquet?X-Amz-Signature={MARK}", f"s3://u:{MARK}@b/x.csv", f"http://u:{MARK}@[::1/x",
    f"az://c/x?sig={MARK}&se=1", f"ftp://x:{MARK}@h/x", f"redis://:{MARK}@h", f"sqlite://u:{MARK}@h/x", f"nats://t:{MARK}@h",
    f"postgres://u:a/{MARK}@h/db", f"lake://x:{MARK}@y", f"snowflake://h/?token={MARK}", f"x://h/p?client_secret={MARK}",
]  # fmt: skip
NAMES = ["password", "aws.secret_access_key", "access_key", "sas_token", "x.password", "credential", "api_key"]  # fmt: skip


def statements() -> st.SearchStrategy[str]:
    quote, url, name = st.sampled_from(QUOTES), st.sampled_from(URLS), st.sampled_from(NAMES)
    texts = [
        st.tuples(quote, url).map(lambda t: f"COPY (SELECT 1 AS a) TO {t[0].format(t[1])}"),
        st.tuples(quote, url).map(
            lambda t: f"CREATE EXTERNAL TABLE z STORED AS CSV LOCATION {t[0].format(t[1])}"
        ),
        st.tuples(quote, name).map(lambda t: f"SET {t[1]} = {t[0].format(MARK)}"),
        st.tuples(quote, name).map(lambda t: f'set "{t[1]}" TO {t[0].format(MARK)}'),
        st.tuples(quote, quote, name).map(
            lambda t: (
                f"CREATE EXTERNAL TABLE z STORED AS CSV LOCATION 's3://b/x.csv' OPTIONS ({t[0].format(t[2])} {t[1].format(MARK)})"
            )
        ),
        st.tuples(quote, name).map(
            lambda t: f"COPY (SELECT 1 AS a) TO '/nowhere/x' OPTIONS ('{t[1]}' {t[0].format(MARK)})"
        ),
        st.tuples(quote, url).map(lambda t: f"SELECT * FROM {t[0].format(t[1])}"),
    ]
    return st.one_of(texts)


@pytest.mark.fuzz
@pytest.mark.parametrize("store_queries", [False, True])
def test_p20_a_secret_that_was_given_is_found_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_queries: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with affidavit.connect(tmp_path / "lake", store_queries=store_queries) as session:

            def refused(ask: Any) -> None:
                try:
                    ask()
                except AffidavitError as error:
                    said.write(f"{error!r} {error}\n")

            @settings(
                max_examples=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            )
            @given(statements())
            def through_sql(text: str) -> None:
                refused(lambda: session.sql(text).to_arrow())

            through_sql()
            for url in URLS:
                refused(lambda url=url: session.attach("s", url))
                refused(lambda url=url: session.attach("s", url, password=MARK))
                refused(lambda url=url: session.attach("s", url, format="csv", secret=MARK))
                refused(lambda url=url: affidavit.connect(tmp_path / "other", broker=url))
                refused(lambda url=url: affidavit.connect(tmp_path / "other", journal_url=url))
                refused(lambda url=url: affidavit.connect(tmp_path / "other", allowed_urls=[url]))
                refused(lambda url=url: session.scope(allowed_paths=[url]))
            for table in ("audit.statements", "audit.reads", "audit.activity", "system.queries", "system.sources", "journal"):  # fmt: skip
                said.write(str(session.sql(f"SELECT * FROM {table}").to_pylist()))
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    lines = [line for line in said.getvalue().splitlines() if MARK in line]
    assert not lines, (len(lines), lines[0][:500])
    held = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and MARK.encode() in path.read_bytes()
    ]
    assert not held


@pytest.mark.parametrize("url", URLS)
def test_p20_whatever_a_url_is_its_secret_is_masked(url: str) -> None:
    assert MARK not in masked(f"cannot read {url!r}: no")
    assert MARK not in str(AffidavitError(f"cannot read {url}"))


@pytest.mark.parametrize("quote", ["E'{}'", "$${}$$", "X'{}'", "N'{}'", '"{}"', "{}"])
def test_p20_a_target_is_a_plain_text(session: affidavit.Session, quote: str) -> None:
    """What DataFusion takes for another path than was looked at would be written unseen."""
    with pytest.raises(AffidavitError):
        session.sql(f"COPY (SELECT 1 AS a) TO {quote.format('s3://bucket/x.csv')}")


def test_p20_what_is_no_secret_stays() -> None:
    for text in ("s3://bucket/key/x.csv", "https://h:8080/p?X-Amz-Date=1 of t", "t@x and y"):
        assert masked(text) == text
