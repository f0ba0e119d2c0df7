"""A MariaDB with people in it, and a session that attached it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import affidavit

if TYPE_CHECKING:
    from tests.support.mariadb_server import MariaDbServer


PEOPLE = (
    "CREATE TABLE people (id bigint PRIMARY KEY, name varchar(40), born date)",
    "INSERT INTO people VALUES (1, 'Ada', '1815-12-10'), (2, 'Grace', '1906-12-09'), "
    "(3, NULL, NULL)",
    "CREATE TABLE empty (x int)",
    "CREATE VIEW named AS SELECT id, upper(name) AS shout FROM people WHERE name IS NOT NULL",
    "CREATE VIEW slow AS SELECT id, sleep(60) AS z FROM people",
)


@pytest.fixture
def url(mariadb_server: MariaDbServer) -> str:
    return mariadb_server.database("first", *PEOPLE)


@pytest.fixture
def my(session: affidavit.Session, url: str) -> affidavit.Session:
    session.attach("my", url)
    return session
