"""The table of kinds of source: a URL's scheme says which."""

from __future__ import annotations

import pytest

import affidavit
from affidavit.catalog.sources.databases.database import Database
from affidavit.catalog.sources.kinds import (
    KINDS,
    At,
    is_source_url,
    kind_of,
    open_source,
    parse_url,
)
from affidavit.catalog.sources.lake import AttachedLake
from affidavit.catalog.sources.reach import ANYTHING
from affidavit.errors import SourceError

SCHEMES = [scheme for kind in KINDS for scheme in kind.schemes]


def test_a_scheme_is_of_one_kind() -> None:
    assert len(SCHEMES) == len(set(SCHEMES))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_source_is_opened_by_its_scheme_and_not_asked_yet(scheme: str) -> None:
    kind = kind_of(scheme)
    assert scheme in kind.schemes
    assert is_source_url(f"{scheme.upper()}://x")
    user = "nobody:hidden@" if kind.at is At.SERVER else ""
    url = parse_url(f"{scheme}://{user}nowhere.invalid/none")
    assert bool(url.path) == (kind.at is not At.SERVER)
    opened = open_source("s", url, None, tenant="tenant", reach=ANYTHING)
    assert isinstance(opened, AttachedLake if kind.at is At.FOLDER else Database)
    assert opened.name == "s"
    opened.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_else_is_given_beside_a_url_is_named(session: affidavit.Session, scheme: str) -> None:
    takes = ", ".join(f"{each}=" for each in kind_of(scheme).options) or "no options"
    with pytest.raises(SourceError, match=rf"takes {takes}, not \['color'\]"):
        session.attach("s", f"{scheme}://nowhere.invalid/none", color="red")


@pytest.mark.parametrize("source", ["a/path", "s3://bucket/x", "C:\\x", "", None, 3])
def test_what_is_no_source_url_is_told(source: object) -> None:
    assert not is_source_url(source)


def test_a_kind_of_a_newer_affidavit_is_an_error_only_once_it_is_asked() -> None:
    """A session opens with all that its tenant has attached."""
    opened = open_source("s", parse_url("novel://host/x"), None, tenant="tenant", reach=ANYTHING)
    assert isinstance(opened, Database)
    with pytest.raises(SourceError, match="novel://host/x"):
        opened.tables()
