"""P1, P12, P16: a lake that cannot be written is read and verified; what wants a record gets one.

The programs run without root's right to write whatever it likes, in a folder of another user's.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.lakes import vectors
from tests.support.processes import run_python
from tests.support.records import Q8

import affidavit
from affidavit import errors
from affidavit.catalog.store.sqlite.media import ClosedMedia, closed_media

Done = subprocess.CompletedProcess[str]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="rights as POSIX has them")

NOBODY = 65534
COMMAND = Path(sys.executable).with_name("affidavit")

HEEDING = """
import ctypes, os, sys
for capability in (1, 2):  # to write, and to read, whatever one likes
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program that may write only what its rights say, root or not."""

HEEDFUL = """
import ctypes
libc, head, held = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(head, held) == 0
for at in (0, 1):
    held[at] &= ~0b110  # to write, and to read, whatever one likes
assert libc.capset(head, held) == 0
"""
"""How a script begins that gives those rights up."""

MOUNTED = """
import ctypes, os, sys
libc, folder = ctypes.CDLL(None, use_errno=True), sys.argv[1].encode()
new_mounts, recursive, private, bind, again, read_only = 0x20000, 16384, 1 << 18, 4096, 32, 1
for call in (
    lambda: libc.unshare(new_mounts),
    lambda: libc.mount(b"none", b"/", None, recursive | private, None),
    lambda: libc.mount(folder, folder, None, bind, None),
    lambda: libc.mount(b"none", folder, None, bind | again | read_only, None),
):
    if call():
        sys.exit(77)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs a program in mounts of its own, in which a folder can only be read."""


def heeding(command: list[object], under: str = HEEDING, *first: object) -> Done:
    """Run a program as ``under`` does."""
    whole = [sys.executable, "-c", under, *first, *command]
    return subprocess.run(
        list(map(str, whole)), capture_output=True, text=True, timeout=120, check=False
    )


def run(text: str, *arguments: object) -> Any:
    """Run a script that prints one line of JSON, and return that."""
    return json.loads(run_python(HEEDFUL + text, *arguments))


def closed(lake: Path) -> Path:
    """Let nobody write a lake; where this is root it becomes another user's."""
    for path in [lake, *lake.rglob("*")]:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(0o555 if path.is_dir() else 0o444)
    return lake


@pytest.fixture
def made(tmp_path: Path):
    """A lake that runs, and copies of it: as it is closed, with its log, and with its index too."""
    lake = tmp_path / "made"
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR)")
        session.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        session.sql("CREATE TABLE kept (id BIGINT PRIMARY KEY)")
        session.sql("INSERT INTO kept VALUES (7)")
        session.sql("ALTER TABLE kept SET (audit = 'rows')")
        session.create_vector_table("docs", vectors(20))
        shutil.copytree(lake, tmp_path / "indexed")
        shutil.copytree(lake, tmp_path / "logged")
    (tmp_path / "logged" / "catalog.db-shm").unlink()
    shutil.copytree(lake, tmp_path / "plain")
    yield tmp_path
    for path in [each for each in tmp_path.rglob("*") if each.is_dir()]:
        path.chmod(0o755)


READ = """
import json, logging, sys
from pathlib import Path
import affidavit
logging.basicConfig(level="ERROR")
lake = Path(sys.argv[1])
def all_there():
    return {str(each): each.stat().st_mtime_ns for each in [lake, *lake.rglob("*")]}
before, told = all_there(), {}
with affidavit.connect(lake, read_only=True) as session:
    told["rows"] = [list(each.values()) for each in session.sql("SELECT * FROM t ORDER BY id").to_pylist()]
    told["docs"] = session.table("docs").to_arrow().num_rows
    told["past"] = session.at(session.ledger.size - 1).sql("SELECT count(*) AS n FROM t").to_pylist()[0]["n"]
    told["verified"] = bool(session.ledger.verify(data=True))
    told["refused"] = {}
    for name, ask in {
        "search": lambda: session.search("docs", [1.0] * 8),
        "batch": lambda: session.search_batch("docs", [[1.0] * 8] * 2),
        "sql": lambda: session.sql("SELECT * FROM vector_search('docs', $q, 3)", q=[1.0] * 8).to_arrow(),
        "policy": lambda: session.sql("SELECT * FROM kept").to_arrow(),
        "handle": lambda: session.table("kept").to_arrow(),
        "insert": lambda: session.sql("INSERT INTO t VALUES (3, 'c')"),
        "checkpoint": lambda: session.ledger.checkpoint(),
    }.items():
        try:
            told["refused"][name] = ask()
        except affidavit.errors.ReadOnlyError as error:
            told["refused"][name] = str(error)
with affidavit.connect(lake, read_only=True, audit="off") as session:
    try:
        session.search("docs", [1.0] * 8)
    except affidavit.errors.ReadOnlyError as error:
        told["refused"]["off"] = str(error)
with affidavit.connect(lake, read_only=True, audit="reads") as session:
    try:
        session.sql("SELECT * FROM t").to_arrow()
    except affidavit.errors.ReadOnlyError as error:
        told["refused"]["floor"] = str(error)
told["untouched"] = all_there() == before
print(json.dumps(told))
"""


@pytest.mark.parametrize("kind", ["plain", "logged", "indexed"])
def test_p16_a_lake_that_cannot_be_written_is_read_and_gives_nothing_without_its_record(
    made: Path, kind: str
) -> None:
    told = run(READ, closed(made / kind))
    assert told["rows"] == [[1, "a"], [2, "b"]]
    assert (told["docs"], told["past"], told["verified"]) == (20, 2, True)
    assert told["untouched"], "something was made or changed in the folder"
    refused = told["refused"]
    for name in ("search", "batch", "sql", "policy", "handle", "off", "floor"):
        assert "records='/a/folder'" in refused[name], name
    assert "read-only" in refused["insert"]
    assert "where nothing can be written" in refused["checkpoint"]


@pytest.mark.parametrize("kind", ["plain", "logged", "indexed"])
def test_p12_the_command_line_verifies_what_cannot_be_written(made: Path, kind: str) -> None:
    lake = closed(made / kind)
    before = sorted(lake.rglob("*"))
    done = heeding([COMMAND, "verify", lake, "--data"])
    assert (done.returncode, "VERIFIED" in done.stdout) == (0, True), done.stdout + done.stderr
    assert sorted(lake.rglob("*")) == before
    done = heeding([COMMAND, "export", lake, made / f"bundle-{kind}"])
    assert done.returncode == 0, done.stderr
    done = heeding([COMMAND, "verify", "--bundle", made / f"bundle-{kind}"])
    assert (done.returncode, "VERIFIED" in done.stdout) == (0, True), done.stdout + done.stderr


def test_p12_what_was_changed_is_found_where_nothing_can_be_written(made: Path) -> None:
    with sqlite3.connect(made / "plain" / "catalog.db") as db:
        tables = "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' AND type = 'table'"
        columns = [
            (table, column[1])
            for (table,) in db.execute(tables).fetchall()
            for column in db.execute(f'PRAGMA table_info("{table}")').fetchall()
        ]
        changed = [
            db.execute(f'UPDATE "{table}" SET "{column}" = \'z\' WHERE "{column}" = \'b\'').rowcount
            for table, column in columns
        ]
        assert sum(changed) == 1
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    for beside in ("-wal", "-shm"):
        (made / "plain" / f"catalog.db{beside}").unlink(missing_ok=True)
    done = heeding([COMMAND, "verify", closed(made / "plain")])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "CORRUPT" in done.stdout


RECORDS = """
import json, sys
from pathlib import Path
import affidavit
lake, told = Path(sys.argv[1]), {}
before = sorted(map(str, lake.rglob("*")))
with affidavit.connect(
    lake, read_only=True, records=sys.argv[2], actor="eve", durability="normal"
) as session:
    found = session.search("docs", [1.0] * 8, k=3)
    told["search"] = [found.num_rows, found.audit.seq, found.audit.params["lake_id"]]
    told["sql"] = session.sql("SELECT id FROM vector_search('docs', $q, 2)", q=[1.0] * 8).num_rows
    told["policy"] = session.sql("SELECT * FROM kept").to_pylist()
    told["free"] = session.sql("SELECT * FROM t").num_rows
    try:
        session.sql("SELECT * FROM nothing").to_arrow()
    except affidavit.AffidavitError as error:
        told["refused"] = type(error).__name__, getattr(error, "__notes__", [])
    told["lake_id"] = session._instance.lake.lake_id
    told["own"] = session.ledger.size
with affidavit.connect(
    lake, read_only=True, records=sys.argv[2], audit="off", durability="normal"
) as session:
    told["off"] = session.search("docs", [1.0] * 8, k=3).num_rows
told["untouched"] = sorted(map(str, lake.rglob("*"))) == before
print(json.dumps(told))
"""


def test_p16_records_of_a_lake_that_cannot_be_written_are_signed_in_another(made: Path) -> None:
    records = made / "records"
    told = run(RECORDS, closed(made / "plain"), records)
    assert told["untouched"]
    lake_id = told["lake_id"]
    assert told["search"][0] == 3
    assert told["search"][2] == lake_id
    assert (told["sql"], told["policy"], told["free"], told["off"]) == (2, [{"id": 7}], 2, 3)
    assert told["refused"] == ["TableNotFoundError", []]
    with affidavit.connect(records, durability="normal", actor="auditor") as session:
        searches = session.audit.recent()
        assert [each.params["lake_id"] for each in searches] == [lake_id] * 2
        assert {each.actor for each in searches} == {"eve"}
        reads = session.sql("SELECT * FROM audit.reads ORDER BY seq").to_pylist()
        assert [each["status"] for each in reads] == ["ok", "refused"]
        [table] = reads[0]["tables"]
        assert (table["name"], table["lake_id"], table["rows"]) == ("main.kept", lake_id, 1)
        bodies = [json.loads(each.body) for each in _entries(session)]
        kinds = ("search", "read", "audit-off")
        assert {each["kind"] for each in bodies} >= set(kinds)
        own = [each for each in bodies if each["kind"] in {"read", "audit-off"}]
        assert {each["lake_id"] for each in own} == {lake_id}
        outcome = session.audit.replay(reads[0]["read_id"])
        assert lake_id in outcome.reason
        assert session.audit.received("7")[0].actor == "eve"
        assert session.ledger.verify(data=True)
        session.ledger.export(made / "bundle")
    done = heeding([COMMAND, "verify", "--bundle", made / "bundle"])
    assert done.returncode == 0, done.stdout + done.stderr


def _entries(session: affidavit.Session) -> list[Any]:
    catalog = session._catalog()
    with catalog.read() as reader:
        return list(catalog.ledger.entries(reader))


def test_p1_records_that_cannot_be_kept_in_the_other_lake_leave_no_rows(lake, tmp_path) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
    with affidavit.connect(
        lake, read_only=True, records=tmp_path / "records", durability="normal"
    ) as session:
        assert session.search("docs", Q8, k=2).num_rows == 2
        size = session.ledger.size
        (tmp_path / "records" / "keys" / "master.key").rename(tmp_path / "away")
        with session.scope(tenant="red") as red, pytest.raises(errors.AffidavitError):
            red.search("docs", Q8)
        assert session.ledger.size == size, "nothing is written in the lake that is read"


def test_p12_records_are_for_what_is_only_read_and_in_no_copy_of_it(lake, tmp_path) -> None:
    affidavit.connect(lake, durability="normal").close()
    with pytest.raises(errors.LakeError, match="opened with read_only=True"):
        affidavit.connect(lake, records=tmp_path / "records")
    assert not (tmp_path / "records").exists()
    for other in (lake, shutil.copytree(lake, tmp_path / "copy")):
        with pytest.raises(errors.LakeError, match="or a copy of it"):
            affidavit.connect(lake, read_only=True, records=other)
    with affidavit.connect(lake, durability="normal") as session:
        assert session.ledger.verify()


def test_p16_a_lake_that_could_be_written_is_not_where_its_records_are_kept_elsewhere(
    lake, tmp_path
) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        size = session.ledger.size
        with affidavit.connect(
            lake, read_only=True, records=tmp_path / "records", durability="normal"
        ) as reader:
            assert reader.search("docs", Q8, k=2).num_rows == 2
            session.table("docs").insert(vectors(1, start=100))
            assert reader.table("docs").to_arrow().num_rows == 21, "others' commits are seen"
        assert session.ledger.size == size + 1, "the insert's event"
        assert not list((lake / "vectors" / "default" / "docs.lance").glob("_refs/tags/*"))


# --- its owner writes meanwhile -------------------------------------------------------------------


def test_p12_a_file_that_its_owner_writes_is_opened_anew(lake, tmp_path, monkeypatch) -> None:
    """What this process may not write its owner may: no reader goes on with what was there before.

    Every folder can be written by root, so that this one says that it cannot.
    """
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE t (id BIGINT)")
        session.sql("INSERT INTO t VALUES (1)")
    assert isinstance(closed_media(lake / "catalog.db"), ClosedMedia)
    with affidavit.connect(lake, read_only=True) as reader:
        assert reader.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 1}]
        with affidavit.connect(lake, durability="normal") as owner:
            owner.sql("INSERT INTO t VALUES (2)")
            assert reader.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 2}]
            owner.sql("INSERT INTO t VALUES (3)")
            assert reader.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 3}]
        assert reader.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 3}]
    affidavit.connect(lake, durability="normal").close()
    with affidavit.connect(lake, read_only=True) as reader:
        store = reader._instance.lake.store
        with pytest.raises(errors.StoreError, match="written while it was read"):
            with store.read("default"):
                with affidavit.connect(lake, durability="normal") as owner:
                    owner.sql("INSERT INTO t VALUES (4)")
        assert reader.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 4}]


# --- the private copy -----------------------------------------------------------------------------

COPIES = """
import glob, json, os, stat, sys, tempfile
import affidavit
session = affidavit.connect(sys.argv[1], read_only=True)
copies = lambda: glob.glob(os.path.join(tempfile.gettempdir(), "affidavit-*"))
[folder] = copies()
told = {"mode": stat.S_IMODE(os.stat(folder).st_mode)}
child = os.fork()
if not child:
    os._exit(0) if sys.argv[2] == "hard" else sys.exit(0)
os.waitpid(child, 0)
told["after a fork"] = os.path.isdir(folder)
told["rows"] = session.sql("SELECT count(*) AS n FROM t").to_pylist()[0]["n"]
if sys.argv[2] == "closed":
    session.close()
    told["closed"] = copies()
print(json.dumps(told), flush=True)
"""


@pytest.mark.parametrize("how", ["closed", "left open"])
def test_p12_the_private_copy_is_the_owners_alone_and_goes(
    made: Path, monkeypatch, how: str
) -> None:
    aside = made / "aside"
    aside.mkdir()
    monkeypatch.setenv("TMPDIR", str(aside))
    told = run(COPIES, closed(made / "logged"), how)
    assert told["mode"] == 0o700
    assert told["after a fork"], "a fork that ends takes nothing of its parent's"
    assert told["rows"] == 2
    assert told.get("closed", []) == []
    assert list(aside.iterdir()) == []


def test_p12_a_copy_is_told_of_with_its_size_and_one_that_cannot_be_made_is_an_error(
    made: Path, monkeypatch
) -> None:
    lake = closed(made / "logged")
    text = "import sys, affidavit; affidavit.connect(sys.argv[1], read_only=True).close()"
    done = heeding([sys.executable, "-W", "ignore", "-c", text, lake])
    assert done.returncode == 0, done.stderr
    assert "is read from a copy of both" in done.stderr
    assert " MB" in done.stderr
    text = f"""
import os, sys, tempfile, affidavit
tempfile.tempdir = {str(made / "nowhere")!r}
try:
    affidavit.connect(sys.argv[1], read_only=True)
except affidavit.errors.LakeError as error:
    print(error)
"""
    done = heeding([sys.executable, "-W", "ignore", "-c", text, lake])
    assert "it takes a copy of" in done.stdout, done.stderr


# --- a real read-only mount -----------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("kind", ["plain", "logged", "indexed"])
def test_p16_a_read_only_mount_is_read(made: Path, kind: str) -> None:
    lake = made / kind
    done = heeding([sys.executable, "-W", "ignore", "-c", READ, lake], MOUNTED, lake)
    if done.returncode == 77:
        pytest.skip("no mounts of its own here")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == [[1, "a"], [2, "b"]]
    assert told["verified"]
    assert told["untouched"]
    assert "records='/a/folder'" in told["refused"]["search"]


# --- a lake that is attached ----------------------------------------------------------------------

ATTACHED = """
import json, sys
import affidavit
with affidavit.connect(sys.argv[2], durability="normal") as session:
    session.attach("other", f"lake://{sys.argv[1]}")
    told = {"rows": session.sql("SELECT id FROM other.main.kept").to_pylist()}
    told["reads"] = session.sql("SELECT tables FROM audit.reads").to_pylist()
    try:
        session.attach("store", f"{sys.argv[1]}/catalog.db")
    except affidavit.AffidavitError as error:
        told["store"] = str(error)
    try:
        session.attach("store2", f"sqlite://{sys.argv[1]}/catalog.db")
    except affidavit.AffidavitError as error:
        told["store2"] = str(error)
print(json.dumps(told))
"""


@pytest.mark.parametrize("kind", ["plain", "logged"])
def test_p16_an_attached_lake_that_cannot_be_written_is_on_record_with_its_reader(
    made: Path, kind: str
) -> None:
    told = run(ATTACHED, closed(made / kind), made / "mine")
    assert told["rows"] == [{"id": 7}]
    [[table]] = [each["tables"] for each in told["reads"]]
    assert table["lake_id"]
    assert "every tenant's" in told["store2"]
