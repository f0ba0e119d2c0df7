"""MariaDB: what is sent, and what is asked again here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import affidavit

if TYPE_CHECKING:
    from tests.support.mariadb_server import MariaDbServer


def ids(session: affidavit.Session, text: str) -> list[int]:
    return sorted(each["id"] for each in session.sql(text).to_pylist())


@pytest.mark.parametrize(
    ("condition", "sent"),
    [
        ("id = 1", "(`id` = 1)"),
        ("name = 'Ada'", "(`name` = 'Ada')"),
        ("name > 'B'", "(CAST(CONVERT(`name` USING utf8mb4) AS BINARY) > 'B')"),
        ("born < DATE '1900-01-01'", "(`born` < DATE '1900-01-01')"),
        ("name IS NULL", "(`name` IS NULL)"),
    ],
)
def test_what_is_sent_is_shown(my: affidavit.Session, condition: str, sent: str) -> None:
    assert sent in my.explain(f"SELECT id FROM my.first.people WHERE {condition}")


@pytest.mark.parametrize(
    "condition",
    ["name LIKE 'A%'", "name <> 'Ada'", "name NOT IN ('Ada', 'x')", "upper(name) = 'ADA'"],
)
def test_what_is_not_sent_is_filtered_here(my: affidavit.Session, condition: str) -> None:
    assert (
        "WHERE"
        not in my.explain(f"SELECT id FROM my.first.people WHERE {condition}").rpartition(
            "sent to"
        )[2]
    )
    assert ids(my, f"SELECT id FROM my.first.people WHERE {condition}") in ([1], [2])


WORDS = ["a", "A", "a ", "A ", "á", "b", "B", "", " ", "ss", "ß", "Z", "é", "e\u0301"]
CONDITIONS = {
    "s = 'a'": lambda s: s == "a",
    "s = 'A '": lambda s: s == "A ",
    "s = ''": lambda s: s == "",
    "s IN ('a', 'SS')": lambda s: s == "a",
    "s NOT IN ('a', 'ss')": lambda s: s not in {"a", "ss"},
    "NOT (s = 'a')": lambda s: s != "a",
    "s <> 'b'": lambda s: s != "b",
    "s < 'a'": lambda s: s < "a",
    "s <= 'b'": lambda s: s <= "b",
    "s > 'B'": lambda s: s > "B",
    "s BETWEEN 'A' AND 'a'": lambda s: "A" <= s <= "a",
    "s LIKE 'a%'": lambda s: s.startswith("a"),
    "s ILIKE 'a'": lambda s: s in {"a", "A"},
    "s = 'é' OR s = 'ß'": lambda s: s in {"é", "ß"},
}


@pytest.mark.parametrize(
    "collation",
    ["utf8mb4_general_ci", "utf8mb4_unicode_520_ci", "utf8mb4_nopad_bin", "utf16_general_ci"],
)
def test_text_is_compared_as_it_is_whatever_the_collation(
    session: affidavit.Session, mariadb_server: MariaDbServer, collation: str
) -> None:
    """Without regard to case, and to blanks at the end, MariaDB's own = would select more."""
    rows = ", ".join(f"('{each}')" for each in WORDS)
    url = mariadb_server.database(
        "words",
        f"CREATE TABLE t (s varchar(9) CHARACTER SET {collation.partition('_')[0]} COLLATE {collation}, KEY (s))",
        f"INSERT INTO t VALUES {rows}",
    )
    session.attach("my", url)
    for condition, holds in CONDITIONS.items():
        found = session.sql(f"SELECT s FROM my.words.t WHERE {condition}").to_arrow()["s"]
        assert sorted(found.to_pylist()) == sorted(filter(holds, WORDS)), condition


@pytest.mark.parametrize("characters", ["latin1", "utf8mb3", "ucs2", "utf16", "utf8mb4"])
def test_a_literal_has_characters_that_a_column_cannot_have(
    session: affidavit.Session, mariadb_server: MariaDbServer, characters: str
) -> None:
    url = mariadb_server.database(
        "characters",
        f"CREATE TABLE t (s varchar(9) CHARACTER SET {characters})",
        "INSERT INTO t VALUES ('é'), ('e'), (NULL)",
    )
    session.attach("ch", url)
    text = "SELECT count(*) AS n FROM ch.characters.t WHERE s {}"
    for condition, count in (("= '😀'", 0), ("IN ('é', '😀', 'x')", 1), ("= 'é'", 1), ("= 'e'", 1)):
        assert session.sql(text.format(condition)).to_pylist() == [{"n": count}]
    assert "`s` = 'e'" in session.explain(text.format("= 'e'"))  # by an index


def test_text_is_ordered_by_all_of_it(
    session: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    """MariaDB orders by the first kilobyte of a value."""
    rows = ", ".join(
        f"(CONCAT(REPEAT('x', 1100), '{each}'), CONCAT(REPEAT('\U0001d11e', 254), '{each}'))"
        for each in "acb"
    )
    url = mariadb_server.database(
        "longer", "CREATE TABLE t (s text, w varchar(255))", f"INSERT INTO t VALUES {rows}"
    )
    session.attach("my", url)
    for name in "sw":
        text = f"SELECT right({name}, 1) AS c FROM my.longer.t ORDER BY {name} DESC LIMIT 1"
        assert session.sql(text).to_pylist() == [{"c": "c"}]
        assert ("LIMIT 1" in str(session.explain(text)).partition("sent to my")[2]) == (name == "w")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("y = 70", []), ("y > 70", [1901, 1970, 2005]), ("NOT (y = 70)", [0, 1901, 1970, 2005]),
        ("y < 5", [0]), ("y > 0", [1901, 1970, 2005]), ("y = 1970", [1970]), ("y <> 5", [0, 1901, 1970, 2005]),
    ],
)  # fmt: skip
def test_a_year_of_two_digits_is_not_one_of_four(
    session: affidavit.Session, mariadb_server: MariaDbServer, condition: str, expected: list[int]
) -> None:
    """MariaDB compares a year with 70 as with 1970, so `y > 70` would lose 1901."""
    url = mariadb_server.database(
        "years", "CREATE TABLE t (y year)", "INSERT INTO t VALUES (0000), (1901), (1970), (2005)"
    )
    session.attach("my", url)
    found = session.sql(f"SELECT y FROM my.years.t WHERE {condition} ORDER BY y").to_arrow()["y"]
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sql_select_limit", "2"), ("sql_mode", "'ANSI_QUOTES'"), ("sql_mode", "'PAD_CHAR_TO_FULL_LENGTH'"),
        ("character_set_server", "latin1"), ("sql_auto_is_null", "1"), ("tx_isolation", "'SERIALIZABLE'"),
    ],
)  # fmt: skip
def test_what_a_server_sets_for_its_sessions_changes_no_answer(
    session: affidavit.Session, mariadb_server: MariaDbServer, name: str, value: str
) -> None:
    url = mariadb_server.database(
        "settings",
        "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, c char(5))",
        "INSERT INTO t (c) VALUES ('a'), ('é'), ('c')",
    )
    ((before,),) = mariadb_server.run(f"SELECT CAST(@@GLOBAL.{name} AS CHAR)")
    mariadb_server.run(f"SET GLOBAL {name} = {value}")
    try:
        session.attach("my", url)
        found = session.sql("SELECT * FROM my.settings.t WHERE id > 0 AND c <> '\"'").to_pylist()
    finally:
        mariadb_server.run(f"SET GLOBAL {name} = {before if before.isdigit() else repr(before)}")
    assert sorted(each["c"] for each in found) == ["a", "c", "é"]
