"""Which URLs of the web are read, and where they may lead."""

from __future__ import annotations

import pytest

from affidavit.catalog.sources.web.urls import asked_for, checked_url, is_web, led_on, name_of
from affidavit.errors import SourceError

HUSH = "Hush4711"


@pytest.mark.parametrize(
    "url",
    [
        "https://h/x.csv", "https://h:8443/a/x?year=2024&page=2", "https://[2001:db8::1]/x",
        "http://127.0.0.1:8000/x.csv", "http://localhost/x", "http://[::1]:8000/x",
    ],
)  # fmt: skip
def test_a_url_of_a_file_stays_what_it_is(url: str) -> None:
    assert is_web(url)
    assert checked_url(url) == url
    assert checked_url(f" {url.replace('http', 'HTTP')} ") == url


@pytest.mark.parametrize(
    "location", ["/x.csv", "s3://b/x", "https:/x", "x/https://h", "httpss://h"]
)
def test_what_is_none_is_told(location: str) -> None:
    assert not is_web(location)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://h/x.csv", "from this machine alone: write https://"),
        ("http://127.0.0.1.evil.example/x", "from this machine alone"),
        ("https://h/x/", "names a folder"), ("https://h", "names a folder"),
        ("https://h/*.csv", "patterns are for local files"), ("https://h/x#y", "part of a page"),
        ("https://", "cannot be read"), ("https:///x", "cannot be read"),
        ("https://h:port/x", "cannot be read"), ("https://[h/x", "cannot be read"),
        ("https://h/a b", "%20"), ("https://h/a\r\nb", "%20"),
        (f"https://u:{HUSH}@h/x", "without credentials"), (f"https://{HUSH}@h/x", "without credentials"),
        *((f"https://h/x?a=1&{name}={HUSH}", "is a secret by its name.*download the file")
          for name in ("sig", "X-Amz-Signature", "x-goog-date", "access_token", "api%5fkey", "Signature",
                       "password", "AUTH", "sas", "AWSAccessKeyId")),
        (f"https://h/x?a=1;token={HUSH}", "'token' is a secret"), (f"https://u:{HUSH}@[::1/x", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_by_name(url: str, why: str) -> None:
    with pytest.raises(SourceError, match=why) as raised:
        checked_url(url)
    assert HUSH not in str(raised.value)


@pytest.mark.parametrize(
    ("to", "where"),
    [
        ("y", "https://h/a/y"), ("/y?sig=1#part", "https://h/y?sig=1"), ("//g/y", "https://g/y"),
        ("https://g:1/é".encode().decode("latin-1"), "https://g:1/%C3%A9"), ("a b%20c", "https://h/a/a%20b%20c"),
    ],
)  # fmt: skip
def test_an_answer_may_lead_on(to: str, where: str) -> None:
    assert led_on("https://h/a/x", to) == where


@pytest.mark.parametrize(
    ("url", "to"),
    [
        ("https://h/x", "http://h/x"), ("https://h/x", "http://127.0.0.1/x"), ("http://localhost/x", "http://h/x"),
        ("https://h/x", "file:///etc/passwd"), ("https://h/x", "https://u:p@h/x"), ("https://h/x", "https://[h"),
        ("https://h/x", None), ("https://h/x", ""),
    ],
)  # fmt: skip
def test_an_answer_leads_on_only_where_files_may_be_read(url: str, to: str | None) -> None:
    with pytest.raises(SourceError, match="leads on"):
        led_on(url, to)


def test_a_url_is_asked_for_with_escapes() -> None:
    assert asked_for("https://h/é/%20x?q=ü&r=%C3") == "https://h/%C3%A9/%20x?q=%C3%BC&r=%C3"
    assert name_of("https://h/a/x.csv?y/z.json") == "x.csv"
