"""jammi-ai as a peer: rows in SQL, a topic that is replayed, and records of searches."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

import affidavit
from bench.harness import Bound, Figure, per_second, take_turns
from bench.samples import search_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Plan

VERSION: Final = "0.54.0"
ENVIRONMENT: Final = Path(__file__).parent / "out" / f"jammi-{VERSION}"
WORKER: Final = Path(__file__).with_name("jammi_worker.py")
INSTALL_TIMEOUT_S: Final = 600.0
AT_ONCE: Final = 1_000
SMALL: Final = 300
SCHEMA: Final = pa.schema([("id", pa.int64()), ("name", pa.string()), ("price", pa.float64())])


def _python() -> Path | None:
    """Return the Python of an environment that has jammi-ai, made now if there is none."""
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "ready"
    if ready.exists():
        return python
    wanted = f"jammi-ai[embedded]=={VERSION}"
    try:
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted],
        ):
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
            )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        print(f"jammi: left out, {wanted} cannot be installed: {' '.join(said)}", file=sys.stderr)
        return None
    ready.touch()
    return python


@contextmanager
def _peer(python: Path, folder: Path) -> Iterator[Callable[[str, int], None]]:
    """Run jammi-ai in a process of its own, and yield what tells it what to do and waits."""
    folder.mkdir()
    key = {"JAMMI_AUDIT_MASTER_KEY": secrets.token_hex(32)}
    with subprocess.Popen(
        [str(python), "-I", str(WORKER), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **key},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told, says = process.stdin, process.stdout

        def wait() -> None:
            if says.readline() != "done\n":
                msg = "jammi-ai ended: what it said stands above"
                raise RuntimeError(msg)

        def tell(verb: str, count: int) -> None:
            told.write(f"{verb} {count}\n")
            told.flush()
            wait()

        wait()
        yield tell


def _values(first: int, count: int) -> str:
    return ", ".join(f"({at}, 'article number {at}', 1.5)" for at in range(first, first + count))


class _Own:
    """The same verbs, here."""

    def __init__(self, session: affidavit.Session) -> None:
        self._session, self._next = session, 0
        for name in ("t", "small"):
            session.create_table(name, schema=SCHEMA, primary_key="id")
        session.sql(f"INSERT INTO small VALUES {_values(0, SMALL)}")
        session.topics.register("topic", SCHEMA)

    def insert(self, count: int) -> None:
        for _ in range(count):
            self._session.sql(f"INSERT INTO t VALUES {_values(self._next, 1)}")
            self._next += 1

    def values(self, count: int) -> None:
        self._session.sql(f"INSERT INTO t VALUES {_values(self._next, count)}")
        self._next += count

    def update(self, count: int) -> None:
        for at in range(count):
            self._next += 1
            self._session.sql(f"UPDATE small SET price = {self._next}.5 WHERE id = {at % SMALL}")

    def publish(self, count: int) -> None:
        data = {"id": range(AT_ONCE), "name": ["article"] * AT_ONCE, "price": [1.5] * AT_ONCE}
        for _ in range(count):
            self._session.topics.publish("topic", pa.table(data, schema=SCHEMA))

    def replay(self, count: int) -> None:
        found = sum(each.data.num_rows for each in self._session.topics.replay("topic"))
        assert found == count

    def audit(self, count: int) -> None:
        for record in search_records(count, SMALL, k=10, first=self._next):
            self._session.audit.log([record])
        self._next += count


def jammi(plan: Plan) -> Iterator[Figure]:
    """Yield what is done a second, with and without a wait for the disk, beside jammi-ai."""
    python = _python()
    if python is None:
        return
    batches = plan.size(100, least=10)
    with (
        affidavit.connect(plan.folder / "normal", durability="normal") as normal,
        affidavit.connect(plan.folder / "full") as full,
        _peer(python, plan.folder / "jammi") as tell,
    ):
        own = {"normal": (_Own(normal), 1.0), "full": (_Own(full), 0.75)}
        for worker, _ in own.values():
            worker.publish(batches)
        tell("publish", batches)
        for verb, what, unit, count in (
            ("insert", "one-row INSERT in SQL", "/s", plan.size(500)),
            ("values", f"INSERT of VALUES, {AT_ONCE:,} rows", "rows/s", AT_ONCE),
            ("update", f"UPDATE by key of {SMALL} rows", "/s", plan.size(500)),
            ("replay", "replay of a topic", "rows/s", batches * AT_ONCE),
            ("audit", "one record of a search", "/s", plan.size(500)),
        ):
            *ours, theirs = take_turns(
                *(
                    lambda _, worker=worker, verb=verb, count=count: getattr(worker, verb)(count)
                    for worker, _ in own.values()
                ),
                lambda _, verb=verb, count=count: tell(verb, count),
                rounds=5, warmup=1,
            )  # fmt: skip
            for (durability, (_, limit)), times in zip(own.items(), ours, strict=True):
                yield Figure(
                    f"{what}, durability={durability!r}", unit, per_second(count, times),
                    per_second(count, theirs), f"jammi-ai {VERSION}, which has no fsync",
                    (Bound("ratio", "at least", limit),),
                )  # fmt: skip
