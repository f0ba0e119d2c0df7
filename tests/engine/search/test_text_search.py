"""Searches by words: what is found, in which order, and what is said where nothing can be.

``AFFIDAVIT_FUZZ`` says how many random searches are compared with a plain BM25.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import affidavit
from affidavit import errors
from affidavit.catalog.lake.vectors.made import Made
from affidavit.engine.search import among, text_index

COUNT = int(os.environ.get("AFFIDAVIT_FUZZ", "60"))
WORDS = ["alpha", "beta", "gamma", "delta", "eps", "the", "who", "is", "cars"]


def bm25(
    texts: dict[int, str | None], query: str, k1: float = 1.2, b: float = 0.75
) -> dict[int, float]:
    """Return each row's score: Robertson and Zaragoza, 2009, over the rows that are there."""
    words = {at: text.lower().split() for at, text in texts.items() if text}
    mean = sum(map(len, words.values())) / max(len(words), 1)
    have = Counter(word for each in words.values() for word in set(each))
    scores: dict[int, float] = {}
    for at, each in words.items():
        for word in query.lower().split():
            count = each.count(word)
            if count:
                weight = math.log(1 + (len(words) - have[word] + 0.5) / (have[word] + 0.5))
                part = count * (k1 + 1) / (count + k1 * (1 - b + b * len(each) / mean))
                scores[at] = scores.get(at, 0.0) + weight * part
    return scores


def text_of(random_: random.Random) -> str | None:
    if random_.random() < 0.1:
        return random_.choice([None, ""])
    return " ".join(random_.choices(WORDS, k=random_.randint(1, 9)))


def row(random_: random.Random, at: int) -> dict[str, Any]:
    return {"id": at, "vector": [1.0, at / 9], "text": text_of(random_)}


def test_scores_are_bm25_of_the_rows_that_are_there(session, monkeypatch) -> None:
    """Deleted rows were counted, and those that came since were not, until optimize()."""
    random_ = random.Random(4)
    table = session.create_vector_table("docs", [row(random_, at) for at in range(50)])
    table.create_index("text", "FTS")
    changes = [
        lambda: None,
        lambda: table.delete(f"id % {random_.randint(3, 9)} = 1"),
        lambda: table.upsert([row(random_, random_.randrange(99)) for _ in range(1)]),
        lambda: table.upsert([row(random_, at) for at in range(200, 200 + random_.randint(1, 9))]),
        table.optimize,
        lambda: session.sql("UPDATE docs SET text = 'beta gamma' WHERE id = 12"),
    ]
    for turn in range(COUNT):
        if turn % 3 == 0:
            random_.choice(changes)()
        there = {each["id"]: each["text"] for each in table.to_arrow().to_pylist()}
        query = " ".join(random_.choices(WORDS, k=random_.randint(1, 3)))
        least = random_.choice([None, 5, 30])
        where = None if least is None else random_.choice(["id > {}", "abs(id) > {}"]).format(least)
        monkeypatch.setattr(among, "LISTED_MAX", random_.choice([0, 10_000]))
        found = session.search("docs", query, mode="text", k=99, where=where).to_pylist()
        got = {each["id"]: each["_score"] for each in found}
        want = {
            at: score for at, score in bm25(there, query).items() if least is None or at > least
        }
        assert got.keys() == want.keys(), (turn, query, where)
        assert got == pytest.approx(want, rel=1e-4), (turn, query, where)
        assert [each["_score"] for each in found] == sorted(got.values(), reverse=True)
    assert len(session.search("docs", "alpha", mode="text", k=3)) == 3


def test_a_large_table_is_searched_by_the_index_that_it_has(session, monkeypatch) -> None:
    table = session.create_vector_table(
        "docs", [{"id": at, "vector": [1.0, 1.0], "text": f"w{at} all"} for at in range(20)]
    )
    table.create_index("text", "FTS", with_position=False)
    table.delete("id < 5")
    table.insert([{"id": 99, "vector": [1.0, 1.0], "text": "w99 all"}])
    monkeypatch.setattr(text_index, "FRESH_ROWS_MAX", 10)
    assert session.search("docs", "all", mode="text", k=99).num_rows == 16
    with pytest.raises(errors.InvalidQueryError, match="with_position=True"):
        session.search("docs", '"w99 all"', mode="text")


def test_an_index_in_memory_is_made_once_for_a_version(lake, monkeypatch) -> None:
    """An old version's was made for each search, since each opened it anew."""
    made: list[int] = []
    real = text_index._made

    def counted(dataset: Any, index: Any, size_max: int) -> Any:
        made.append(int(dataset.version))
        return real(dataset, index, size_max)

    monkeypatch.setattr(text_index, "_made", counted)
    with affidavit.connect(lake, memory_limit="16 MiB") as session:
        data = [{"id": at, "vector": [1.0, 1.0], "text": f"w{at} all"} for at in range(20)]
        table = session.create_vector_table("docs", data)
        table.create_index("text", "FTS", with_position=False)
        table.delete("id < 5")
        old = table.version
        table.delete("id < 7")
        new = table.version
        with ThreadPoolExecutor(4) as pool:
            asked = [old, new, old, new, old, new]
            ask = lambda at: len(session.search("docs", "all", 99, mode="text", version=at))  # noqa: E731
            assert list(pool.map(ask, asked)) == [15, 13] * 3
        assert sorted(made) == [old, new]
        table.update({"text": "all " * 60_000}, "id < 15")
        assert len(session.search("docs", "all", 99, mode="text")) == 13
        with pytest.raises(errors.InvalidQueryError, match="with_position=True"):
            session.search("docs", '"w19 all"', mode="text")
        assert len(made) == 3
        texts = session.search("docs", "all", 1, mode="text").request.indexes
        assert texts is session.search("docs", [1.0, 1.0], 1).request.indexes
        assert texts.fresh.size_max == 4 * 2**20


def test_what_was_not_asked_the_longest_goes_first() -> None:
    kept: Made[str] = Made(3)
    asked: list[str] = []

    def made(key: str) -> str:
        def make() -> tuple[str, int]:
            asked.append(key)
            return key.upper(), len(key)

        return kept.get(key, make)

    assert [made(key) for key in ("a", "bb", "a", "c", "a", "bb", "dddd", "dddd")] == [
        "A", "BB", "A", "C", "A", "BB", "DDDD", "DDDD",
    ]  # fmt: skip
    assert asked == ["a", "bb", "c", "bb", "dddd"]
    with pytest.raises(ZeroDivisionError):
        kept.get("x", lambda: ("", 1 // 0))
    assert made("x") == "X"


# --- phrases and columns --------------------------------------------------------------------------


@pytest.fixture
def cars(session: affidavit.Session) -> affidavit.VectorTable:
    table = session.create_vector_table(
        "cars",
        [
            {"id": 1, "vector": [1.0, 0.0], "name": "Red car", "note": "fast and old", "more": "x"},
            {"id": 2, "vector": [0.0, 1.0], "name": "Car red", "note": "a red car", "more": "fast"},
            {"id": 3, "vector": [1.0, 1.0], "name": "Blue", "note": "slow", "more": "red car"},
        ],
    )
    for column in ("name", "note"):
        table.create_index(column, "FTS", with_position=column == "name")
    return table


def ids(result: affidavit.Result) -> list[int]:
    return [each["id"] for each in result.to_pylist()]


@pytest.mark.parametrize(
    ("text", "column", "found"),
    [
        ('"red car"', None, {1, 2}), ('"red car"', "name", {1}), ('"red car"', ["note"], {2}),
        ("red car", "name", {1, 2}), ('"car red" slow', None, {2, 3}), ('"old" blue', None, {1, 3}),
        ('fast "and old"', ["name", "note"], {1}), ('red "', "name", {1, 2}), ('""red', "name", {1, 2}),
        ('"red slow"', None, set()), ("ÖLD", None, {1}),
    ],
)  # fmt: skip
def test_words_in_quotes_stand_beside_each_other(session, cars, text, column, found) -> None:
    """Quotes were refused over several columns, in hybrid searches, and without positions."""
    got = session.search("cars", text, mode="text", column=column)
    assert set(ids(got)) == found
    both = session.search("cars", [1.0, 0.0], mode="hybrid", text=text, column=column, k=3)
    assert set(ids(both)) == {1, 2, 3}
    assert session.audit.replay(both.query_id, [1.0, 0.0], text=text).outcome == "REPRODUCED"
    assert session.audit.replay(got.query_id, text).outcome == "REPRODUCED"
    options = {"c": column} if column is not None else {}
    named = ", column => $c" if column is not None else ""
    by_sql = session.sql(f"SELECT id FROM text_search('cars', $t, 9{named})", t=text, **options)
    assert set(ids(by_sql)) == found


def test_the_best_column_of_a_row_counts(session, cars) -> None:
    alone = [
        {each["id"]: each["_score"] for each in session.search("cars", "red car fast", mode="text", column=column)}
        for column in ("name", "note")
    ]  # fmt: skip
    both = session.search("cars", "red car fast", mode="text").to_pylist()
    for each in both:
        assert each["_score"] == max(one.get(each["id"], 0.0) for one in alone)


@pytest.mark.parametrize(
    ("column", "mode", "told"),
    [
        ("more", "text", "no full-text index on column 'more'"),
        (["name", "nope"], "text", "'nope'"),
        ("vector", "text", "has no text"),
        ("name", "vector", "has no vectors"),
        (["vector", "vector2"], "hybrid", "vectors of one column"),
        ([], "text", "list of columns"),
        ([1], "text", "list of columns"),
        ("id", "hybrid", "no vectors and no text"),
    ],
)
def test_p12_a_column_that_cannot_be_searched_is_named(session, cars, column, mode, told) -> None:
    session.sql("ALTER TABLE cars ADD COLUMN vector2 FLOAT[2] DEFAULT [1.0, 0.5]")
    query = "red" if mode == "text" else [1.0, 0.0]
    with pytest.raises(errors.AffidavitError, match=told):
        session.search("cars", query, mode=mode, text="red", column=column)


# --- what words are -------------------------------------------------------------------------------


def titled(session: affidavit.Session, *titles: str, **options: Any) -> affidavit.VectorTable:
    rows = [{"id": at, "vector": [1.0, 0.0], "title": each} for at, each in enumerate(titles)]
    table = session.create_vector_table("books", rows)
    table.create_index("title", "FTS", **options)
    return table


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("The Who", "the who"), ("To be or not to be", "be"), ("résumé", "resume"), ("Resume", "RÉSUMÉ"),
        ("naïve café", "naive"), ("東京は日本の首都です", "東京"), ("東京は日本の首都です", "日本"),
        ("北京大学", "大学"), ("ภาษาไทย", "ไทย"), ("서울은 한국의 수도입니다", "서울"), ("Ärger", "arger"),
        ("It", "it"), ("x-ray 3000", "3000"), ("C", "c"),
    ],
)  # fmt: skip
def test_what_stands_in_a_title_is_found(session, title: str, query: str) -> None:
    titled(session, title, "another")
    assert ids(session.search("books", query, mode="text")) == [0]


@pytest.mark.parametrize(
    ("options", "title", "query", "told"),
    [
        ({"remove_stop_words": True}, "The Who", "the", "stop words out .of English.*remove_stop_words=False"),
        ({"custom_stop_words": ["who"]}, "The Who", "who", r"stop words out .*who"),
        ({"base_tokenizer": "ngram"}, "The Who", "th", "3 letters beside each other"),
        ({"max_token_length": 5}, "elephants", "elephants", "more than 5 letters"),
        ({}, "The Who", "?!", "no letter and no digit"),
        ({"base_tokenizer": "simple"}, "東京は日本の首都です", "東京", "stands in 'title'.*base_tokenizer='ngram'"),
        ({"base_tokenizer": "icu"}, "한국어를 배운다", "한국어", "stands in 'title'.*ngram"),
        ({"base_tokenizer": "simple"}, "東京は日本の首都です", "大阪 日本", "'日本' stands in 'title'"),
    ],
)  # fmt: skip
def test_what_can_match_nothing_is_refused_with_the_reason(
    session, options, title, query, told
) -> None:
    titled(session, title, "another", **options)
    with pytest.raises(errors.InvalidQueryError, match=told):
        session.search("books", query, mode="text")
    with pytest.raises(errors.InvalidQueryError, match=told):
        session.search("books", [1.0, 0.0], mode="hybrid", text=query)


def test_a_word_that_stands_nowhere_finds_nothing(session) -> None:
    table = titled(session, "東京は日本の首都です", base_tokenizer="simple")
    assert session.search("books", "大阪", mode="text").num_rows == 0
    assert session.search("books", "東京", mode="text", where="id > 7").num_rows == 0
    table.delete("true")
    assert session.search("books", "tokyo", mode="text").num_rows == 0
    assert session.search("books", "東京", mode="text").num_rows == 0


def test_how_text_is_parted_may_be_named(session) -> None:
    titled(session, "The running cars", "car", language="English", remove_stop_words=True)
    assert set(ids(session.search("books", "the car", mode="text"))) == {0, 1}
    session.sql("CREATE VECTOR TABLE t (id INT PRIMARY KEY, v FLOAT[2], title VARCHAR)")
    session.sql("INSERT INTO t VALUES (1, [1.0, 0.0], 'Tokyotower')")
    session.sql("CREATE INDEX t_words ON t USING FTS (title) WITH (base_tokenizer = 'ngram')")
    assert session.sql("SELECT id FROM text_search('t', 'tower', 9)").to_pylist() == [{"id": 1}]
