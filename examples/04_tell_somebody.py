"""A trigger publishes what changed, and a consumer settles it together with its own work."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import affidavit

with TemporaryDirectory() as folder, affidavit.connect(f"{folder}/lake", actor="desk") as session:
    session.sql("CREATE TABLE stories (id BIGINT PRIMARY KEY, headline VARCHAR, checked BOOLEAN)")
    session.sql("CREATE TABLE to_check (story_id BIGINT PRIMARY KEY)")

    # published in the transaction of the change: exactly when it is committed
    session.triggers.on("stories", "insert", where="NOT new.checked", publish="unchecked")

    session.sql(
        "INSERT INTO stories VALUES (1, 'Bridge reopens', true), (2, 'Mayor resigns', false)"
    )
    with session.transaction():
        session.sql("INSERT INTO stories VALUES (3, 'Library to close', false)")

    # a named consumer goes on where it was, also after a crash; workers share its events
    with session.topics.subscribe("unchecked", consumer="fact-check", timeout=0.2) as deliveries:
        for delivery in deliveries:
            with (
                session.transaction()
            ):  # what is done about an event, and that it is done: one commit
                for story in delivery.data["new"].to_pylist():
                    session.table("to_check").insert([{"story_id": story["id"]}])
                delivery.ack()
            print(f"event {delivery.offset} is settled")

    print(session.sql("SELECT story_id FROM to_check ORDER BY story_id"))
    print(session.sql("SELECT _offset, action, new.headline AS headline FROM topics.unchecked"))
    assert session.sql("SELECT count(*) AS n FROM to_check").to_pylist() == [{"n": 2}]
