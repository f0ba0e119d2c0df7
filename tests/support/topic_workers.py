"""What the crash tests kill: each line on stdin is a job, forked off; importing takes longer.

Run as a script by :class:`tests.promises.test_p08_topic_crash.Forker`. Nothing of Lance or DataFusion runs in
the process that forks.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import affidavit
from affidavit.catalog.lake import staged
from affidavit.catalog.tables import intents
from affidavit.triggers.rules import outbox
from tests.support.stores import store_class, writer_class

QUERY = [1.0, 2.0, 3.0, 4.0]
ACK_WAIT_S = 1.0
PAUSE_S = 0.002


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def publish(lake: str, broker: str, run: int) -> None:
    """Publish for ever; whatever publish returned for is said."""
    with affidavit.connect(lake, broker=broker, durability="normal") as session:
        say("open")
        topics, n = session.topics, 0
        while True:
            if n % 5 == 1:
                with session.transaction():
                    first = topics.publish("t", {"run": run, "n": n, "whole": 2})
                    second = topics.publish("t", {"run": run, "n": n + 1, "whole": 2})
                say(first, n)
                say(second, n + 1)
                n += 2
            elif n % 5 == 4:
                try:
                    with session.transaction():
                        topics.publish("t", {"run": run, "n": -1, "whole": -1})
                        raise KeyError
                except KeyError:
                    pass
                n += 1
            else:
                say(topics.publish("t", {"run": run, "n": n, "whole": 1}), n)
                n += 1
            time.sleep(PAUSE_S)


def consume(lake: str, broker: str) -> None:
    """Take events for ever, and settle them in every way; what is settled for good is said."""
    with (
        affidavit.connect(lake, broker=broker, durability="normal") as session,
        session.topics.subscribe(
            "t", consumer="c", ack_wait=ACK_WAIT_S, max_deliveries=1_000_000
        ) as deliveries,
    ):
        say("open")
        for delivery in deliveries:
            say("got", delivery.offset, delivery.attempts)
            if (delivery.offset + delivery.attempts) % 7 == 0:
                delivery.nak(0.01)
            elif (delivery.offset + delivery.attempts) % 41 == 0:
                continue  # its time runs out
            elif delivery.offset % 3:
                delivery.ack()
                say("acked", delivery.offset)
            else:
                with session.transaction():
                    session.topics.publish("done", {"offset": delivery.offset})
                    delivery.ack()
                say("acked", delivery.offset)


# --- killed at a step -----------------------------------------------------------------------------


class Steps:
    """Kills this process at the step numbered ``at``, from 0 on."""

    def __init__(self, at: int, label: str) -> None:
        self.hits = 0
        self.at = at
        self.label = label
        for name in ("insert", "update", "update_where", "increment", "delete", "delete_where"):
            self.around(writer_class(), name)
        self.around(staged.Staged, "commit")
        self.around(intents.Intent, "finish")
        self.around(outbox, "append_event")
        self.around(outbox.TriggerOutbox, "send")
        kind = store_class()
        original = kind._transaction

        def transaction(store: object, *given: object) -> object:
            yield from original(store, *given)
            self.hit("after the store's commit")

        kind._transaction = transaction

    def around(self, owner: object, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: object, **kwargs: object) -> object:
            self.hit(f"before {name}")
            result = original(*args, **kwargs)
            self.hit(f"after {name}")
            return result

        setattr(owner, name, wrapped)

    def hit(self, name: str) -> None:
        if self.hits == self.at or name == self.label:
            say("killed at", self.hits, name)
            os.kill(os.getpid(), signal.SIGKILL)
        self.hits += 1


def block(start: int, n: int) -> list[dict[str, object]]:
    """Rows of which some are near to the query."""
    return [
        {"id": start + i, "n": n, "vector": QUERY if i % 2 else [-each for each in QUERY]}
        for i in range(4)
    ]


def change(
    lake: str, operation: str, start: int, at: int = -1, label: str = "", *, journal: bool
) -> None:
    """Do one operation, and die at a step of it; ``start`` is a key that is free."""
    steps = Steps(at, label) if operation == "reopen" else None
    with affidavit.connect(lake, durability="normal", journal=journal) as session:
        rows, docs = session.table("rows"), session.table("docs")
        if operation != "reopen":
            for table in (rows, docs):  # what an operation is to find
                table.insert(block(start, 0) if table is docs else plain(start, 0))
            steps = Steps(at, label)
        if operation == "insert rows":
            rows.insert(plain(start + 4, 1))
        elif operation == "change rows":
            session.sql(f"UPDATE rows SET n = n + 1 WHERE id >= {start}")
        elif operation == "transaction":
            with session.transaction():
                session.sql(f"DELETE FROM rows WHERE id = {start}")
                session.topics.publish("own", {"n": start})
                rows.upsert(plain(start + 2, 7))
        elif operation == "insert docs":
            docs.insert(block(start + 4, 1))
        elif operation == "upsert docs":
            docs.upsert(block(start + 2, 1))
        elif operation == "change docs":
            session.sql(f"UPDATE docs SET n = n + 1 WHERE id >= {start}")
        elif operation == "delete docs":
            docs.delete(f"id = {start + 1}")
        assert steps is not None
        say("survived", steps.hits)
        steps.at, steps.label = -1, ""


def plain(start: int, n: int) -> list[dict[str, object]]:
    return [{"id": start + i, "n": n} for i in range(4)]


JOBS = {job.__name__: job for job in (publish, consume, change)}


def main() -> None:
    for line in sys.stdin:
        told = json.loads(line)
        if "wait" in told:
            say(os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1]))
            continue
        pid = os.fork()
        if pid:
            say(pid)
            continue
        for descriptor, name in ((1, told["said"]), (2, f"{told['said']}.log")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            JOBS[told["job"]](*told["args"], **told["options"])
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)


if __name__ == "__main__":
    main()
