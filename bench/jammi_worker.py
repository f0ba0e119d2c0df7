"""jammi-ai's own engine, told what to do line by line; it runs in an environment of its own.

    python jammi_worker.py FOLDER

A line is a verb and a number, and is answered by ``done`` once that is done. The program that
tells it measures. It imports nothing of this package, which that environment does not have.
"""

from __future__ import annotations

import sys
import uuid

import jammi
import pyarrow as pa
from jammi_native import PerQueryAudit

AT_ONCE = 1_000
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("price", pa.float64())])


def rows(first: int, count: int) -> str:
    """Return rows of the table as the VALUES of an INSERT."""
    return ", ".join(f"({at}, 'article number {at}', 1.5)" for at in range(first, first + count))


class Worker:
    """The verbs."""

    def __init__(self, folder: str) -> None:
        self.engine = jammi.connect(f"file://{folder}")
        self.engine.set_tenant(str(uuid.UUID(int=1)))
        for name in ("t", "small"):
            self.engine.create_mutable_table(name, schema=SCHEMA, primary_key=["id"])
        self.engine.register_topic("topic", schema=SCHEMA)
        self.engine.sql(f"INSERT INTO mutable.public.small VALUES {rows(0, 300)}")
        self.next = 0

    def insert(self, count: int) -> None:
        """Insert rows, a statement each."""
        for _ in range(count):
            self.engine.sql(f"INSERT INTO mutable.public.t VALUES {rows(self.next, 1)}")
            self.next += 1

    def values(self, count: int) -> None:
        """Insert so many rows in one statement."""
        self.engine.sql(f"INSERT INTO mutable.public.t VALUES {rows(self.next, count)}")
        self.next += count

    def update(self, count: int) -> None:
        """Change rows of the small table, a statement each."""
        for at in range(count):
            self.next += 1
            text = f"UPDATE mutable.public.small SET price = {self.next}.5 WHERE id = {at % 300}"
            self.engine.sql(text)

    def publish(self, count: int) -> None:
        """Publish so many batches of a thousand rows."""
        data = {"id": range(AT_ONCE), "name": ["article"] * AT_ONCE, "price": [1.5] * AT_ONCE}
        for _ in range(count):
            self.engine.publish_topic("topic", batch=pa.table(data, schema=SCHEMA))

    def replay(self, count: int) -> None:
        """Read the topic from its begin; so many rows it has."""
        found = self.engine.subscribe_collect("topic", from_offset=0).num_rows
        if found != count:
            message = f"{found} rows were replayed, not {count}"
            raise RuntimeError(message)

    def audit(self, count: int) -> None:
        """Log records, a call each."""
        for at in range(count):
            record = PerQueryAudit(
                query_id=str(uuid.uuid4()), model_id="model", model_version="1",
                query_lineage="{}", top_k_result_ids=[str(at + each) for each in range(10)],
                retrieval_scores=[each / 10 for each in range(10)],
            )  # fmt: skip
            self.engine.audit.log([record])


def main(folder: str) -> None:
    """Do what each line of standard input says."""
    worker = Worker(folder)
    verbs = {
        "insert": worker.insert, "values": worker.values, "update": worker.update,
        "publish": worker.publish, "replay": worker.replay, "audit": worker.audit,
    }  # fmt: skip
    print("done", flush=True)
    for line in sys.stdin:
        verb, count = line.split()
        verbs[verb](int(count))
        print("done", flush=True)
    worker.engine.close()


if __name__ == "__main__":
    main(sys.argv[1])
