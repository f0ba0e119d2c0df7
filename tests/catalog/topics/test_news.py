"""News: who is told of a new event, and when."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from affidavit.catalog.topics.news import News
from affidavit.catalog.topics.topic import Topic

TOPIC = Topic("default", "id", "t", pa.schema([("a", pa.int64())]))


def test_each_listener_is_told_until_it_is_silenced() -> None:
    news, first, second = News(), [], []
    news.published(TOPIC)
    news.listen(first.append)
    news.listen(second.append)
    news.published(TOPIC)
    news.silence(first.append)
    news.silence(first.append)  # it may be gone already
    news.published(TOPIC)
    assert (first, second) == ([TOPIC], [TOPIC, TOPIC])


def test_a_listener_may_silence_itself_and_others_while_it_is_told() -> None:
    news, told = News(), []

    def once(topic: Topic) -> None:
        told.append(topic)
        news.silence(once)
        news.listen(told.append)

    news.listen(once)
    news.published(TOPIC)
    assert told == [TOPIC]
    news.published(TOPIC)
    assert told == [TOPIC, TOPIC]


def test_listeners_that_come_and_go_in_many_threads_are_all_counted() -> None:
    news, told = News(), []
    start = threading.Barrier(8)

    def come_and_go() -> None:
        start.wait()
        for _ in range(200):
            mine: list[Topic] = []
            news.listen(mine.append)
            news.silence(mine.append)
        news.listen(lambda topic: told.append(topic))

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    news.published(TOPIC)
    assert len(told) == 8


def test_the_news_comes_after_the_commit_and_of_no_rollback(session) -> None:
    session.topics.register("t", TOPIC.schema)
    told: list[int] = []

    def counted(topic: Topic) -> None:
        told.append(
            session.sql(f'SELECT count(*) AS n FROM topics."{topic.name}"').to_pylist()[0]["n"]
        )

    news = session._instance.lake.news
    news.listen(counted)
    with session.transaction():
        session.topics.publish("t", {"a": 1})
        assert told == []
    assert told == [1]
    with pytest.raises(KeyError), session.transaction():
        session.topics.publish("t", {"a": 2})
        raise KeyError
    assert told == [1]
    news.silence(counted)
