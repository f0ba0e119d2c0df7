"""P1: if the record of a search cannot be written, there is an error and no row."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import rfc8785
from tests.support.beside import tamper
from tests.support.faults import Faulty
from tests.support.lakes import events, vectors
from tests.support.processes import run_python
from tests.support.records import ASKS, Q8, Listener, Refusing, everything, pending, recorded

import affidavit
from affidavit import errors


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", ASKS)
def test_p1_whichever_call_of_the_store_fails_there_are_no_rows(faulty, name, lasting) -> None:
    """Each statement that a search needs fails in turn: an error, no rows, and all or no records."""
    Faulty.lasting = lasting
    had, changed, failures = faulty.ledger.size - events(faulty), events(faulty), 0
    for at in range(1, 200):
        Faulty.left = at
        try:
            rows = ASKS[name](faulty)
        except errors.AffidavitError:
            rows = 0
        unused, Faulty.left = Faulty.left, None
        size, had = faulty.ledger.size - events(faulty) - had, faulty.ledger.size - events(faulty)
        new, changed = events(faulty) - changed, events(faulty)
        assert size in {0, 3 if name == "batch" else 1}
        assert new in {0, 3 if name == "dml" else 0}
        assert size or not new, "a change without its search's record"
        assert rows in {0, 3}
        assert size or not rows, "rows without a record"
        if rows:
            break
        failures += 1
    assert unused > 0, "the last one ran without a failure"
    assert failures > 8
    assert faulty.ledger.verify()
    assert len(everything(faulty)) == had - 1


def test_p1_a_version_that_cannot_be_kept_for_replay_is_not_searched(session, docs) -> None:
    shared = session._instance
    keep = shared.lake.datasets.keep

    def refuse(*_: object) -> None:
        raise errors.StoreError("no tag")

    shared.lake.datasets.keep = refuse
    with recorded(session, 0), pytest.raises(errors.StoreError, match="no tag"):
        session.search("docs", Q8)
    shared.lake.datasets.keep = keep
    with recorded(session, 1):
        assert session.search("docs", Q8, k=1).num_rows == 1


@pytest.mark.parametrize("name", ASKS)
def test_p1_a_listener_that_raises_keeps_rows_and_records_back(session, docs, name) -> None:
    session.create_table("t", [{"id": i, "v": 0} for i in range(300)], primary_key="id")
    listener = Listener(refused_k=1 if name == "batch" else 3)
    session.audit.add_listener(listener)
    with recorded(session, 0), pytest.raises(Exception, match="refused"):
        ASKS[name](session)
    assert listener.seen
    listener.refused_k = None
    del listener.seen[:]
    with recorded(session, 3 if name == "batch" else 1) as new:
        assert ASKS[name](session) == 3
    assert listener.seen == new
    assert session.sql("SELECT sum(v) AS n FROM t").to_pylist()[0]["n"] == 3 * (name == "dml")


@pytest.mark.parametrize("name", ["search", "batch", "sql"])
def test_p1_a_corrupt_ledger_gives_no_rows(session, docs, lake, name) -> None:
    session.search("docs", Q8)
    tamper(lake, "UPDATE ledger_heads SET size = size + 1")
    with pytest.raises(errors.LedgerCorruptError, match="head"):
        ASKS[name](session)
    tamper(lake, "UPDATE ledger_heads SET size = size - 1")
    assert len(everything(session)) == 1
    assert ASKS[name](session) == 3
    assert session.ledger.verify()


class Kms:
    """A key-management service: derives without giving its key away, and may be out of reach."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.down = False

    def derive(self, salt: bytes, info: bytes) -> bytes:
        self.asked.append(salt)
        if self.down:
            msg = "no route to host"
            raise ConnectionError(msg)
        return hashlib.sha256(b"never shown" + salt + info).digest()


def test_p1_a_key_store_that_fails_gives_a_new_tenant_no_rows(lake) -> None:
    """A ledger whose key was fetched before goes on."""
    kms = Kms()
    with affidavit.connect(lake, key_store=kms, durability="normal") as session:
        session.create_vector_table("docs", vectors(10))
        with session.scope(tenant=None) as shared:
            shared.create_vector_table("common", vectors(10))
        session.search("docs", Q8)
        kms.down = True
        assert session.search("docs", Q8).num_rows == 10
        with session.scope(tenant="red") as red:
            for ask in (
                lambda: red.search("common", Q8),
                lambda: red.search_batch("common", [Q8] * 2),
                lambda: red.sql(f"SELECT * FROM vector_search('common', {Q8}, 3)").to_arrow(),
            ):
                with pytest.raises(errors.MasterKeyError, match="Kms gave no key"):
                    ask()
            kms.down = False
            assert red.ledger.size == 0
            assert red.search("common", Q8).num_rows == 10
            assert red.ledger.verify()
        assert session.ledger.verify()
        assert session.ledger.origin.encode() in kms.asked


def test_p1_a_lineage_that_is_too_large_writes_nothing(session, docs, monkeypatch) -> None:
    monkeypatch.setenv("AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES", "100")
    fits, too_long = {"a": "x" * 92}, {"a": "x" * 93}
    assert len(rfc8785.dumps(fits)) == 100
    size = session.ledger.size
    hook = Refusing("after", passes=10)
    session.hooks.add(hook)
    for ask in (
        lambda: session.search("docs", Q8, lineage=too_long),
        lambda: session.search_batch("docs", [Q8], lineage=too_long),
        lambda: session.sql(
            "SELECT * FROM vector_search('docs', $q, 3, $o)",
            q=Q8, o=json.dumps({"lineage": too_long}),
        ).to_arrow(),
    ):  # fmt: skip
        with pytest.raises(
            errors.LineageTooLargeError, match="101 bytes.*100 are allowed"
        ) as raised:
            ask()
        assert (raised.value.size, raised.value.limit) == (101, 100)
    assert session.ledger.size == size
    assert hook.passes == 10, "nothing ran"
    assert session.search("docs", Q8, lineage=fits).audit.query_lineage == fits
    monkeypatch.setenv("AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES", "many")
    with pytest.raises(errors.InvalidQueryError, match="AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES.*'many'"):
        session.search("docs", Q8)
    monkeypatch.delenv("AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES")
    assert session.search("docs", Q8, lineage="x" * 8190).num_rows == 10
    with pytest.raises(errors.LineageTooLargeError):
        session.search("docs", Q8, lineage="x" * 8191)


FULL_DISK = """
import os, resource, signal, sys, affidavit
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
session = affidavit.connect(sys.argv[1], durability="normal")
q = [1.0] * 8
session.search("docs", q)
limit = os.path.getsize(sys.argv[1] + "/catalog.db-wal") + 20_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for ask in (
    lambda: session.search("docs", q, k=3).num_rows,
    lambda: session.sql(f"SELECT * FROM vector_search('docs', {q}, 3)").num_rows,
    lambda: sum(each.num_rows for each in session.search_batch("docs", [q] * 3, k=1)),
):
    try:
        for got in range(50):
            assert ask() == 3
    except affidavit.errors.StoreError:
        print(got, flush=True)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.sqlite("its log fills the disk")
def test_p1_a_full_disk_gives_no_rows(lake) -> None:
    """A limit on file size stands in for the disk's end, in a process of its own."""
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
    one_by_one, by_sql, batches = map(int, run_python(FULL_DISK, lake).split())
    with affidavit.connect(lake, durability="normal") as session:
        asked = [each.k_requested for each in everything(session)[1:]]
        assert asked.count(3) == one_by_one + by_sql
        assert asked.count(1) == 3 * batches
        assert session.ledger.verify()


def test_p1_a_search_beside_anothers_transaction_is_on_record_whatever_becomes_of_that(
    session, docs
) -> None:
    session.create_table("t", [{"a": 1}])
    with session.scope(tenant="red") as red, session.scope(tenant="default") as ours:
        red.create_vector_table("docs", vectors(10))
        size = red.ledger.size
        with pytest.raises(ZeroDivisionError), ours.transaction():
            assert ours.sql("SELECT a FROM t").num_rows == 1
            assert red.search("docs", Q8, k=2).num_rows == 2
            raise ZeroDivisionError
        assert pending(session) == []
        assert red.ledger.size == size + 1


@pytest.mark.sqlite("its file is made read-only")
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes whatever it likes")
def test_p1_where_the_store_cannot_be_written_a_reader_gets_no_rows(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.search("docs", Q8)
    for file in lake.glob("catalog.db*"):
        file.chmod(0o444)
    with affidavit.connect(lake, read_only=True, durability="normal") as session:
        with pytest.raises(errors.AffidavitError):
            session.search("docs", Q8)
        assert session.ledger.size == 2
    (lake / "catalog.db").chmod(0o644)


def test_p1_a_reader_without_the_master_key_gets_no_rows(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.search("docs", Q8)
    (lake / "keys" / "master.key").rename(lake / "elsewhere.key")
    with affidavit.connect(lake, read_only=True, durability="normal") as session:
        for name in ("search", "batch", "sql"):
            with pytest.raises(errors.MasterKeyError, match="no master key"):
                ASKS[name](session)
        assert len(everything(session)) == 1
        assert session.ledger.verify()
