"""What was published to a topic."""

from __future__ import annotations

import affidavit


def sent(session: affidavit.Session, topic: str) -> list[dict]:
    """Return the rows of every event of a topic."""
    return [row for delivery in session.topics.replay(topic) for row in delivery.data.to_pylist()]


def images(session: affidavit.Session, topic: str) -> list[tuple]:
    return [(row["action"], row["old"], row["new"]) for row in sent(session, topic)]
