"""P9: a tenant reads its own topics and the shared ones, and writes only its own."""

from __future__ import annotations

import pyarrow as pa
import pytest
from tests.support.topics import SCHEMA, ids, offsets, row

from affidavit import errors


@pytest.fixture
def tenants(session):
    """Tenants ``red`` and ``blue``, each with a topic of one name and one of its own, and a shared one."""
    for tenant in ("red", "blue", None):
        with session.scope(tenant=tenant) as scoped:
            for name in ("news",) if tenant is None else ("same", f"only-{tenant}"):
                scoped.topics.register(name, SCHEMA)
                for n in range({"red": 2, "blue": 5}.get(tenant, 3)):
                    scoped.topics.publish(name, {"id": n, "tag": f"{tenant}-secret"})
    return session


def test_p9_shared_topics_are_read_by_all_and_written_by_the_shared_scope(tenants) -> None:
    with tenants.scope(tenant="red") as red:
        assert ids(red, "news") == [0, 1, 2]
        assert red.sql("SELECT count(*) AS n FROM topics.news").to_pylist() == [{"n": 3}]
        assert red.topics.get("news").tenant == ""
        for call in (
            lambda: red.topics.publish("news", row(1)),
            lambda: red.topics.drop("news"),
        ):
            with pytest.raises(errors.ReadOnlyError, match="shared"):
                call()
        red.topics.register("news", pa.schema([("mine", pa.int8())]))  # hides the shared one
        assert red.topics.publish("news", {"mine": 1}) == 0
        assert offsets(red, "news") == [0]
    with tenants.scope(tenant="blue") as blue:
        assert ids(blue, "news") == [0, 1, 2]
        assert [d.tenant for d in blue.topics.replay("news")] == [None] * 3
    with tenants.scope(tenant="red") as red:
        red.topics.drop("news")
        assert ids(red, "news") == [0, 1, 2]
    with tenants.scope(tenant=None) as shared:
        assert shared.topics.publish("news", row(3)) == 3
        assert [topic.name for topic in shared.topics.list()] == ["news"]


def test_p9_topics_of_one_name_are_two(tenants) -> None:
    with tenants.scope(tenant="red") as red, tenants.scope(tenant="blue") as blue:
        assert (len(ids(red, "same")), len(ids(blue, "same"))) == (2, 5)
        assert red.topics.publish("same", row(1)) == 2
        red.topics.drop("same")
        assert blue.topics.publish("same", row(1)) == 5
        assert red.sql("SELECT name FROM system.topics ORDER BY name").to_pylist() == [
            {"name": "news"}, {"name": "only-red"},
        ]  # fmt: skip


def test_p9_another_tenants_topic_is_as_good_as_absent(tenants) -> None:
    """Each error is the one for a topic that nobody has, but for the name."""
    with tenants.scope(tenant="blue") as blue:
        blue.topics.subscribe("only-blue", consumer="worker").next(0)
    calls = [
        lambda red, name: red.topics.get(name),
        lambda red, name: red.topics.publish(name, row(1)),
        lambda red, name: red.topics.publish(name, {"wrong": 1}),
        lambda red, name: red.topics.drop(name),
        lambda red, name: red.topics.subscribe(name),
        lambda red, name: red.topics.subscribe(name, consumer="worker"),
        lambda red, name: red.topics.replay(name),
        lambda red, name: red.topics.seek(name, "worker", 0),
        lambda red, name: red.topics.drop_consumer(name, "worker"),
        lambda red, name: red.sql(f'SELECT * FROM topics."{name}"').to_arrow(),
        lambda red, name: red.sql(f'SELECT count(*) FROM topics."{name}"').to_arrow(),
        lambda red, name: red.sql(f'DESCRIBE topics."{name}"').to_arrow(),
        lambda red, name: red.sql(f'SELECT * FROM topics."blue.{name}"').to_arrow(),
    ]
    with tenants.scope(tenant="red") as red:
        for call in calls:
            said = []
            for name in ("only-blue", "only-none"):
                with pytest.raises(errors.AffidavitError) as refused:
                    call(red, name)
                said.append((type(refused.value), str(refused.value).replace(name, "?")))
            assert said[0] == said[1]
            assert "blue" not in said[0][1].replace("blue.?", "")
        for text in (
            "SELECT * FROM system.topics",
            "SELECT * FROM system.consumers",
            "SHOW TABLES",
            "SELECT * FROM information_schema.tables",
            "SELECT * FROM information_schema.columns",
            "SELECT * FROM journal",
        ):
            assert "blue" not in str(red.sql(text).to_pylist())
        assert "blue" not in repr(red.topics)
        assert red.topics.register("only-blue", SCHEMA)  # its name tells nothing either
        assert red.topics.publish("only-blue", row(1)) == 0
    with tenants.scope(tenant="blue") as blue:
        assert ids(blue, "only-blue") == [0, 1, 2, 3, 4]
        (worker,) = blue.sql("SELECT name, lag FROM system.consumers").to_pylist()
        assert worker == {"name": "worker", "lag": 5}


def test_p9_a_transaction_of_one_tenant_takes_no_event_of_another(tenants) -> None:
    with tenants.scope(tenant="blue") as blue, tenants.scope(tenant="red") as red:
        with pytest.raises(ZeroDivisionError), red.transaction() as ours:
            before = ids(red, "same")
            blue.topics.publish("same", row(1))
            assert ids(red, "same") == before
            ours.topics.publish("same", row(2))
            raise ZeroDivisionError
        assert (len(ids(blue, "same")), ids(red, "same")) == (6, before)
