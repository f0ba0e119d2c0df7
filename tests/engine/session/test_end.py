"""P21: a program ends when it is at its end, and Ctrl-C is KeyboardInterrupt, wherever it comes."""

from __future__ import annotations

import os

import pytest
from tests.support.processes import run_python

ROUNDS = int(os.environ.get("AFFIDAVIT_CRASH_ROUNDS", "1"))
"""How often a program ends in the midst of statements of each kind; a long run sets more."""

OPEN = """
import sys, threading, time, affidavit, pyarrow as pa
session = affidavit.connect(sys.argv[1], durability="normal")
session.create_table("t", pa.table({"a": range(100_000)}))
"""
ENDS = {
    "batches left unread": "left = session.sql('SELECT a FROM t').batches(); next(left)",
    "rows left unread": "left = iter(session.sql('SELECT a FROM t')); next(left)",
    "a stream left unread": (
        "left = pa.RecordBatchReader.from_stream(session.sql('SELECT a FROM t'))\n"
        "left.read_next_batch()"
    ),
    "a session closed with rows left": (
        "left = session.sql('SELECT a FROM t').batches(); next(left); session.close()"
    ),
    "a thread that waits": (
        "endless = 'SELECT count(*) FROM generate_series(1, 400000000000) t(a) WHERE a % 7 = 3'\n"
        "def wait():\n"
        "    try:\n"
        "        session.sql(endless).to_arrow()\n"
        "    except affidavit.errors.ClosedError:\n"
        "        pass\n"
        "threading.Thread(target=wait, daemon=True).start(); time.sleep(0.5)"
    ),
    "a source left unread": (
        "import sqlite3\n"
        "with sqlite3.connect(sys.argv[1] + '.db') as file:\n"
        "    file.execute('CREATE TABLE s (a INTEGER)')\n"
        "    file.executemany('INSERT INTO s VALUES (?)', [(n,) for n in range(100_000)])\n"
        "file.close()\n"
        "session.attach('lite', 'sqlite:///' + sys.argv[1] + '.db')\n"
        "left = session.sql('SELECT a FROM lite.main.s').batches(); next(left)"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", ENDS)
def test_a_program_ends_whatever_it_left_open(tmp_path, what: str) -> None:
    assert run_python(OPEN + ENDS[what], tmp_path / "lake", anew=True) == ""


LEFT = """
import sys, threading, time, affidavit, pyarrow as pa
session = affidavit.connect(sys.argv[1], durability="normal")
session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 1.0]}])
begun, left = threading.Event(), []
def slow(given):
    begun.set()
    time.sleep(left.pop() if left else 0)
    return given
class Slow:
    def before(self, request):
        slow(request)
session.functions.register("slow", slow, [pa.int64()], pa.int64(), volatility="volatile")
session.models.register("slow", lambda texts: slow([[1.0, 1.0] for text in texts]), dim=2)
session.hooks.add(Slow())
def stopped(text):
    try:
        session.sql(text).to_pylist()
    except affidavit.AffidavitError:
        pass
left += [n * 0.04 for n in range(1, 13)]
for _ in range(4):
    for text in (
        "SELECT slow(value) FROM range(3)",
        "SELECT embed('slow', 'a ' || value) FROM range(3)",
        "SELECT a.id FROM vector_search('docs', [1.0, 1.0], 1) a JOIN docs b ON a.id = b.id",
    ):
        begun.clear()
        thread = threading.Thread(target=stopped, args=[text])
        thread.start()
        begun.wait()
        session.cancel()
        thread.join()
session.close()
"""


def test_p21_a_callers_own_code_may_be_at_work_when_the_program_ends(tmp_path) -> None:
    """One call or another came back in the midst of Python's end: the process was aborted."""
    assert run_python(LEFT, tmp_path / "lake") == ""


BUSY = """
import sys, threading, time, affidavit
threading.excepthook = lambda told: kinds.add(told.exc_type.__name__)
kinds = set()
session = affidavit.connect(sys.argv[1], durability="normal")
session.sql("CREATE TABLE t (a BIGINT)")
session.create_vector_table("docs", [{{"id": n, "vector": [float(n), 1.0]}} for n in range(50)])
begun = threading.Barrier(5)
def work():
    with session.scope() as own:
        begun.wait()
        while True:
            {what}
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
time.sleep(0.3)
assert not kinds, kinds
import atexit
atexit.register(lambda: session.sql("SELECT count(*) AS n FROM t").to_pylist())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        "own.sql('SELECT count(*) AS n FROM t').to_pylist()",
        "own.sql('SELECT count(*) AS n FROM t x JOIN t y ON x.a = y.a').to_pylist()",
        "own.sql('SELECT id FROM vector_search($d, [1.0, 1.0], 5)', d='docs').to_pylist()",
    ],
)
def test_p21_threads_in_the_midst_of_statements_do_not_abort_the_program(tmp_path, what) -> None:
    """Python ended them within DataFusion, which ended the process: most of the time."""
    for at in range(ROUNDS):
        run_python(BUSY.format(what=what), tmp_path / f"lake{at}", anew=True)


INTERRUPTED = """
import os, random, signal, sys, threading, time, affidavit
signal.signal(signal.SIGINT, signal.default_int_handler)
session = affidavit.connect(sys.argv[1], durability="normal", busy_timeout_s=2)
session.sql("CREATE TABLE t (id BIGINT, v BIGINT)")
session.sql("CREATE VIEW w AS SELECT id FROM t")
docs = session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
over = time.monotonic() + 12
def interrupts():
    while time.monotonic() < over:
        time.sleep(random.random() * 0.03 + 0.005)
        os.kill(os.getpid(), signal.SIGINT)
statements = [
    "SELECT count(*) FROM w, t, docs", "SELECT * FROM information_schema.tables",
    "SELECT count(*) FROM vector_search('docs', [1.0, 2.0], 1)", "EXPLAIN SELECT * FROM w",
    "SELECT count(*) FROM generate_series(1, 1000000) WHERE value % 7 = 1",
    "SELECT count(*) FROM system.queries", "SELECT count(*) FROM changes('t', 0, NULL)",
]
threading.Thread(target=interrupts, daemon=True).start()
came = 0
while time.monotonic() < over:
    try:
        for each in statements:
            session.sql(each).to_pylist()
        docs.upsert([{"id": 1, "vector": [2.0, 1.0]}])
    except KeyboardInterrupt:
        came += 1
    except affidavit.errors.StoreBusyError:
        pass
signal.signal(signal.SIGINT, signal.SIG_IGN)
time.sleep(0.1)
assert came > 20, came
assert session.sql("SELECT count(*) AS n FROM docs").to_pylist() == [{"n": 1}]
left = session.sql("SELECT text FROM system.queries").to_pylist()
assert len(left) == 1, left
assert not any(each.name == "affidavit-cancel" for each in threading.enumerate())
session.close()
"""


@pytest.mark.slow
def test_an_interrupt_is_never_another_error_and_leaves_nothing_running(tmp_path) -> None:
    """Wherever it comes: planning, asking, waiting; whatever DataFusion would make of it."""
    run_python(INTERRUPTED, tmp_path / "lake", anew=True)


SOON = """
import os, signal, sys, threading, time, affidavit
signal.signal(signal.SIGINT, signal.default_int_handler)
session = affidavit.connect(sys.argv[1], durability="normal")
threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    session.sql(
        "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b "
        "WHERE (a.value * b.value) % 7 = 1").to_pylist()
except KeyboardInterrupt:
    os._exit(0)
os._exit(1)
"""


@pytest.mark.slow
def test_an_interrupt_leaves_a_join(tmp_path) -> None:
    run_python(SOON, tmp_path / "lake", anew=True)
