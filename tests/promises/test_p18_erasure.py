"""P18: an erased value stands in no byte that the lake owns, and the report names what is beyond."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lance.file import LanceFileReader
from tests.support.beside import beside
from tests.support.processes import run_python

import affidavit
from affidavit import errors
from affidavit.catalog.ledger.verifier import check_bundle

ROWS = 100
COLUMNS = 4


def marker(row: int, column: int) -> str:
    return f"MARK{row:03d}x{column}"


def number(row: int) -> int:
    return 910_000_000 + row * 7919


def connect(lake: Path, **options: object) -> affidavit.Session:
    given = {"actor": "owner", "durability": "normal", "store_queries": True, "audit": "rows"}
    return affidavit.connect(lake, **{**given, **options})  # type: ignore[arg-type]  # as given


def people(count: int = ROWS) -> list[dict[str, object]]:
    return [
        {"id": f"KEY{row:03d}", "n": number(row), **{f"c{at}": marker(row, at) for at in range(3)}}
        for row in range(count)
    ]


def docs(count: int = ROWS, seed: int = 5) -> list[dict[str, object]]:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype("f4").tolist()
    return [
        {"id": f"DOC{row:03d}", "note": f"{marker(row, 3)} word{row % 5}", "tag": marker(row, 4),
         "vector": vectors[row]}
        for row in range(count)
    ]  # fmt: skip


def decoded(path: Path) -> str:
    """Return what a file says to who can read its format: columns are compressed in the bytes."""
    try:
        if path.suffix == ".lance":
            return str(LanceFileReader(str(path)).read_all().to_table().to_pylist())
        if path.suffix == ".parquet":
            return str(pq.read_table(path).to_pylist())
    except (OSError, ValueError, pa.ArrowException):
        return ""
    return ""


def found_in(lake: Path, needles: Iterable[str]) -> list[tuple[str, str]]:
    """Return every needle that a file of the lake has, in its bytes or once it is decoded."""
    wanted = list(needles)
    found = []
    for path in sorted(lake.rglob("*")):
        if not path.is_file() or "keys" in path.relative_to(lake).parts:
            continue
        data, text = path.read_bytes(), decoded(path)
        for each in wanted:
            forms = [each.encode(), each.encode("utf-16-le")]
            if each.isdigit():
                forms.append(int(each).to_bytes(8, "little"))
            if any(form in data for form in forms) or each in text:
                found.append((each, str(path.relative_to(lake))))
    return found


def fill(session: affidavit.Session) -> None:
    """Bring every row of two tables to all the places that keep something of it."""
    session.create_table("people", people(), primary_key="id")
    session.triggers.on("people", ["insert", "update", "delete"], publish="told")
    session.sql("UPDATE people SET c2 = concat(c2, 'b')")
    session.sql("CREATE VIEW shown AS SELECT c0, c1 FROM people")
    table = session.create_vector_table("docs", docs())
    session.triggers.near("near", "docs", [1.0] * 8, 2.0, "near")
    table.create_index("note", "FTS")
    table.create_index("tag", "BITMAP")
    table.create_index("vector", "IVF_FLAT", num_partitions=4)
    table.upsert(docs(20, seed=6))
    for row in range(0, ROWS, 10):
        name, n = marker(row, 0), number(row)
        session.sql(f"SELECT * FROM people WHERE c0 = '{name}'").to_arrow()
        session.sql("SELECT * FROM shown WHERE c1 = $c", c=marker(row, 1)).to_arrow()
        session.sql(f"SELECT * FROM people WHERE n = {n} /* {name} */").to_arrow()
        session.search("docs", [1.0] * 8, k=3, lineage={"who": name, "n": n})
        session.search("docs", text=marker(row, 3), mode="text", where=f"tag = '{marker(row, 4)}'")
        with pytest.raises(errors.AffidavitError):
            session.sql(f"INSERT INTO people VALUES ('KEY{row:03d}', {n}, '{name}', '', '')")
    for delivery in session.topics.subscribe("told", consumer="c", max_deliveries=1, timeout=0.2):
        delivery.term(f"cannot take {delivery.data.to_pylist()[0]['new']}")
    session.journal.flush()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("filled") / "lake"
    with connect(lake) as session:
        fill(session)
    return lake


@pytest.fixture
def lake(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "lake"))


def needles(rows: Iterable[int]) -> list[str]:
    found = []
    for row in rows:
        found += [marker(row, at) for at in range(5)] + [str(number(row))]
    return found


# --- complete, and only what was meant ------------------------------------------------------------


@pytest.mark.parametrize("keys", [False, True], ids=["values", "and keys"])
def test_p18_no_byte_of_the_lake_has_an_erased_value(lake: Path, keys: bool) -> None:
    gone = range(0, ROWS, 2)
    wanted = needles(gone)
    if keys:
        wanted += [f"KEY{row:03d}" for row in gone] + [f"DOC{row:03d}" for row in gone]
    with connect(lake) as session:
        before = session.sql("SELECT * FROM people WHERE n % 2 = 1 ORDER BY id").to_pylist()
        kept = dict(found_in(lake, needles(range(1, ROWS, 2))))
        told = session.erase(
            "people", [f"KEY{row:03d}" for row in gone], reason="they asked", keys=keys
        )
        assert told.erased["rows"] == len(gone)
        told = session.erase(
            "docs", where="CAST(substring(id, 4) AS INT) % 2 = 0", reason="they asked", keys=keys
        )
        assert told.erased["rows"] == len(gone)
        assert found_in(lake, wanted) == []
        assert session.ledger.verify(data=True)
        after = session.sql("SELECT * FROM people ORDER BY id").to_pylist()
        assert [row for row in after if row["n"] % 2 == 1] == before
        assert len(session.sql("SELECT * FROM docs").to_pylist()) == ROWS // 2
    assert found_in(lake, wanted) == []
    assert {name for name, _ in found_in(lake, kept)} == set(kept), "others keep their values"
    with connect(lake) as session:
        assert session.ledger.verify(data=True)
        assert len(session.search("docs", [1.0] * 8, k=5).to_pylist()) == 5
        assert session.search("docs", text=marker(1, 3), mode="text").to_pylist()


def test_p18_a_row_of_the_same_key_in_another_table_stays(tmp_path: Path) -> None:
    with connect(tmp_path / "lake") as session:
        session.sql("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR)")
        session.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY, note VARCHAR)")
        session.sql("INSERT INTO people VALUES (7, 'Ann Somebody')")
        session.sql("INSERT INTO orders VALUES (7, 'a bicycle')")
        moment = session.ledger.size - 1
        session.sql("DELETE FROM orders")
        session.erase("people", 7, reason="asked")
        found = session.sql("SELECT * FROM as_of('orders', $m)", m=moment).to_pylist()
        assert found == [{"id": 7, "note": "a bicycle"}]
        with pytest.raises(errors.RecordNotFoundError):
            session.erase("orders", 8, reason="asked")


def test_p18_what_many_rows_have_is_no_trace_of_one(tmp_path: Path) -> None:
    """A city that others have stays in what was asked; a name that only one has goes."""
    with connect(tmp_path / "lake") as session:
        session.sql("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR, city VARCHAR)")
        rows = "(1, 'Ann Somebody', 'Hamburg'), (2, 'Bob Nobody', 'Hamburg')"
        session.sql(f"INSERT INTO people VALUES {rows}")
        for asked in ("city = 'Hamburg'", "name = 'Ann Somebody'", "name = 'Bob Nobody'"):
            session.sql(f"SELECT count(*) FROM people WHERE {asked}").to_arrow()
        session.erase("people", 1, reason="asked")
        texts = [
            row["text"]
            for row in session.sql("SELECT text FROM audit.reads ORDER BY seq").to_pylist()
        ]
        assert [bool(text) for text in texts[:3]] == [True, False, True]


def test_p18_what_callers_published_and_defined_is_named(tmp_path: Path) -> None:
    with connect(tmp_path / "lake") as session:
        session.sql("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR)")
        session.sql("INSERT INTO people VALUES (1, 'Ann Somebody')")
        session.topics.register("own", {"text": pa.string()})
        session.topics.publish("own", [{"text": "nothing"}])
        session.topics.publish("own", [{"text": "for Ann Somebody, with love"}])
        session.sql("CREATE VIEW hers AS SELECT * FROM people WHERE name = 'Ann Somebody'")
        left = session.erase("people", 1, reason="asked").left
    assert {each.where for each in left} == {
        "topic 'own'", "table or view 'hers'", "event 4, of hers 'hers'",
    }  # fmt: skip
    assert "offset 1" in next(each.why for each in left if each.where == "topic 'own'")


# --- the certificate ------------------------------------------------------------------------------


def test_p18_the_certificate_is_an_entry_and_a_file(lake: Path, tmp_path: Path) -> None:
    with connect(lake) as session:
        told = session.erase("people", "KEY004", reason="asked for by letter")
        certificate = told.certificate
        assert certificate is not None
        written = json.loads(Path(certificate).read_text())
        assert written == certificate.to_dict()
        said = json.loads(certificate.body)
        assert (said["reason"], said["table"]) == ("asked for by letter", "people")
        assert said["erased"] == dict(told.erased)
        assert "KEY004" not in certificate.body.decode()
        entry = session.sql(
            "SELECT kind FROM system.ledger WHERE seq = $seq", seq=certificate.seq
        ).to_pylist()
        assert entry == [{"kind": "erasure-certificate"}]
        saved = certificate.save(tmp_path / "mine.json")
        assert json.loads(saved.read_text()) == written
        assert session.ledger.prove(certificate.seq).startswith("c2sp.org/tlog-proof")


@pytest.mark.parametrize("is_sealed", [False, True], ids=["in the store", "sealed"])
def test_p18_p5_a_bundle_with_erased_entries_verifies(tmp_path: Path, is_sealed: bool) -> None:
    """Of an entry without its key nothing but the leaf is left: a later one says so, or else."""
    with connect(tmp_path / "lake") as session:
        session.create_table("t", [{"id": f"KEY{n}", "v": f"value {n}"} for n in range(5)],
                             primary_key="id")  # fmt: skip
        session.erase("t", "KEY1", reason="asked", keys=True)
        session.erase("t", "KEY2", reason="asked")
        if is_sealed:
            session.journal.flush()
        with pytest.raises(errors.LedgerCorruptError, match="export up to that one"):
            session.ledger.export(tmp_path / "short", 0, 6)
        bundle = session.ledger.export(tmp_path / "bundle")
        assert session.ledger.verify(data=True)
    assert json.loads((bundle / "manifest.json").read_text())["format"] == "affidavit-bundle/3"
    assert "KEY1" not in (bundle / "entries.jsonl").read_text()
    assert check_bundle(bundle)
    script = Path(__file__).parents[1] / "support" / "verify_bundle.mjs"
    if shutil.which("node"):
        subprocess.run(["node", script, bundle], check=True, capture_output=True)
    lines = (bundle / "entries.jsonl").read_text().splitlines(keepends=True)
    alone = [at for at, line in enumerate(lines) if line.startswith('{"leaf"')]
    assert len(alone) == 2
    for at, line in ((alone[0], '{"leaf": "AAAA"}\n'), (4, lines[alone[0]])):
        forged = [*lines[:at], line, *lines[at + 1 :]]
        (bundle / "entries.jsonl").write_text("".join(forged))
        assert not check_bundle(bundle)


# --- again, held up, interrupted ------------------------------------------------------------------


def test_p18_a_second_erasure_is_harmless_and_reports_nothing(lake: Path) -> None:
    with connect(lake) as session:
        for table, key in (("people", "KEY002"), ("docs", "DOC002")):
            for keys in (False, True):
                first = session.erase(table, key, reason="asked", keys=keys)
                again = session.erase(table, key, reason="asked", keys=keys)
                assert first.erased > 0
                assert (again.erased, again.certificate) == (0, None), (table, keys)
        assert session.ledger.verify(data=True)


def test_p18_a_reader_holds_it_up_and_the_second_call_finishes_it(lake: Path) -> None:
    with connect(lake, busy_timeout_s=0.5) as session, connect(lake) as other:
        with other.transaction():
            other.sql("SELECT count(*) FROM people").to_arrow()
            with pytest.raises(errors.StoreError, match="somebody reads the state of before"):
                session.erase("people", "KEY006", reason="asked")
        again = session.erase("people", "KEY006", reason="asked")
        assert again.erased == 0
        assert again.certificate is not None
        assert found_in(lake, [*(marker(6, at) for at in range(3)), str(number(6))]) == []


INTERRUPTED = """
import sys
import affidavit
from affidavit.catalog.erasure import erasure, vectors
from affidavit.catalog.erasure.records import Records
from affidavit.catalog.journal.erasing import Erasing
from tests.support.killing import Killing
from tests.support.stores import store_class

path, step, table, key = sys.argv[1:]

steps = {
    "begin": (erasure, "begin", "after"),
    "begun": (erasure.Erasure, "_begun", "after"),
    "delete": (erasure, "delete_rows_of", "after"),
    "records": (Records, "let_go_of_newer", "after"),
    "noted": (erasure.Erasure, "_append", "after"),
    "let go": (erasure.Erasure, "_let_go", "after"),
    "replaced": (Erasing, "remove_replaced", "before"),
    "rewrite": (erasure, "rewrite", "before"),
    "compacted": (vectors, "compacted", "after"),
    "cleaned": (erasure, "rewrite", "after"),
    "scrub": (store_class(), "scrub", "before"),
    "scrubbed": (store_class(), "scrub", "after"),
    "certify": (erasure, "certify", "after"),
    "certificate": (erasure, "certificate_of", "before"),
    "end": (erasure, "end", "after"),
}
owner, name, when = steps[step]
Killing(f"{when} {step}").around(owner, name, step)
with affidavit.connect(path, durability="normal", store_queries=True, audit="rows") as session:
    session.erase(table, key, reason="asked")
"""

OF_ROWS = ["begin", "begun", "records", "noted", "let go", "replaced", "scrub", "scrubbed",
           "certify", "certificate", "end"]  # fmt: skip
OF_VECTORS = ["begin", "begun", "delete", "noted", "rewrite", "compacted", "cleaned", "scrubbed"]


@pytest.mark.crash
@pytest.mark.parametrize(
    ("table", "step"),
    [*(("people", step) for step in OF_ROWS), *(("docs", step) for step in OF_VECTORS)],
)
def test_p18_an_erasure_that_is_killed_is_finished_by_the_next_opening(
    lake: Path, table: str, step: str
) -> None:
    key = "KEY008" if table == "people" else "DOC008"
    wanted = [*(marker(8, at) for at in range(3)), str(number(8))]
    if table == "docs":
        wanted = [marker(8, 3), marker(8, 4)]
    run_python(INTERRUPTED, lake, step, table, key, status=-9)
    with connect(lake) as session:
        left = found_in(lake, wanted)
        if step == "begin":  # nothing was written down: nothing happened
            assert left
            session.erase(table, key, reason="asked")
            left = found_in(lake, wanted)
        assert left == []
        assert session.ledger.verify(data=True)
        done = session.sql(
            "SELECT count(*) AS n FROM system.ledger WHERE kind = 'erasure-certificate'"
        ).to_pylist()
        assert done == [{"n": 1}]
        assert session.erase(table, key, reason="asked").erased == 0
    with beside(lake) as store:
        assert store.execute("SELECT count(*) FROM erasures").fetchone() == (0,)


def test_p18_a_full_disk_loses_nothing_and_the_erasure_is_finished_later(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affidavit.catalog.journal.segments import places

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with connect(lake) as session:
        session.journal.flush()
        with monkeypatch.context() as broken:
            broken.setattr(places.LocalFolder, "put", full)
            with pytest.raises(errors.StoreError, match="No space left"):
                session.erase("people", "KEY010", reason="asked")
        assert session.ledger.verify(data=True)
        session.erase("people", "KEY010", reason="asked")
        assert found_in(lake, [marker(10, 0), marker(10, 1), marker(10, 2)]) == []


# --- what is taken away otherwise is found --------------------------------------------------------


def test_p18_texts_that_are_gone_without_an_entry_are_found(lake: Path) -> None:
    with connect(lake) as session:
        session.erase("people", "KEY020", reason="asked")
        assert session.ledger.verify()
    with beside(lake) as store:
        rowid, committed = store.execute(
            "SELECT _rowid, committed FROM statements WHERE committed LIKE 'c:%'"
        ).fetchone()
        assert committed
        store.execute("UPDATE statements SET text = 'SELECT 1' WHERE _rowid = ?", (rowid,))
    with connect(lake) as session:
        assert "the commitment of one that was let go" in str(session.ledger.verify())
    with beside(lake) as store:
        store.execute("UPDATE statements SET text = NULL WHERE _rowid = ?", (rowid,))
        store.execute(
            "UPDATE statements SET text = NULL, salt = NULL, committed = 'c:00' "
            "WHERE _rowid = (SELECT max(_rowid) FROM statements WHERE committed IS NULL)"
        )
    with connect(lake) as session:
        assert "has lost its text: no entry says so" in str(session.ledger.verify())


# --- holds ----------------------------------------------------------------------------------------


def test_p18_a_hold_refuses_an_erasure_and_is_listed(lake: Path) -> None:
    with connect(lake) as session:
        session.hold("people", "KEY030", case="court 4/26")
        session.hold("docs", case="court 5/26")
        held = session.sql('SELECT table_name, row_id, "case" FROM system.holds').to_pylist()
        assert held == [
            {"table_name": "people", "row_id": "KEY030", "case": "court 4/26"},
            {"table_name": "docs", "row_id": None, "case": "court 5/26"},
        ]
        for table, key in (("people", "KEY030"), ("docs", "DOC001")):
            with pytest.raises(errors.HoldError, match="court"):
                session.erase(table, key, reason="asked")
        with pytest.raises(errors.HoldError):
            session.erase("people", where="id LIKE 'KEY03%'", reason="asked")
        with pytest.raises(errors.HoldError):
            session.journal.erase("KEY030", "asked")
        assert len(session.sql("SELECT * FROM people").to_pylist()) == ROWS
        session.erase("people", "KEY031", reason="asked")
        with pytest.raises(errors.RecordNotFoundError):
            session.release_hold("people", "KEY030", case="another")
        session.release_hold("people", "KEY030", case="court 4/26")
        session.release_hold("docs", case="court 5/26")
        session.erase("people", "KEY030", reason="asked")
        assert session.ledger.verify(data=True)


def test_p18_a_hold_of_another_tenant_says_nothing_here(tmp_path: Path) -> None:
    with connect(tmp_path / "lake") as session, session.scope(tenant="red") as red:
        for each in (session, red):
            each.create_table("t", [{"id": 1, "v": "something"}], primary_key="id")
        red.hold("t", 1, case="theirs")
        assert session.sql("SELECT * FROM system.holds").to_pylist() == []
        session.erase("t", 1, reason="asked")
        with pytest.raises(errors.HoldError):
            red.erase("t", 1, reason="asked")


# --- bad input ------------------------------------------------------------------------------------


def test_p18_bad_input_is_refused_and_nothing_is_erased(lake: Path) -> None:
    with connect(lake) as session:
        size = session.ledger.size
        refused: list[tuple[type[Exception], dict[str, object]]] = [
            (errors.InvalidQueryError, {}),
            (errors.InvalidQueryError, {"key": "KEY001", "where": "true"}),
            (errors.InvalidQueryError, {"key": []}),
            (errors.InvalidQueryError, {"key": ("KEY001", 1)}),
            (errors.InvalidQueryError, {"key": {"n": 1}}),
            (errors.InvalidQueryError, {"key": [None]}),
            (errors.InvalidQueryError, {"where": " "}),
            (errors.SqlError, {"where": "no_such_column = 1"}),
            (errors.AffidavitError, {"where": "true; DROP TABLE people"}),
            (errors.InvalidQueryError, {"key": "KEY001", "reason": " "}),
            (errors.InvalidQueryError, {"key": "KEY001", "keys": "yes"}),
            (errors.RecordNotFoundError, {"key": "KEY999"}),
            (errors.RecordNotFoundError, {"where": "n < 0"}),
        ]
        for error, given in refused:
            with pytest.raises(error):
                session.erase("people", **{"reason": "asked", **given})  # type: ignore[arg-type]
        with pytest.raises(errors.TableNotFoundError):
            session.erase("nothing", 1, reason="asked")
        with pytest.raises(errors.InvalidQueryError, match="view"):
            session.erase("shown", 1, reason="asked")
        for call in (
            lambda: session.hold("people", "KEY001", case=""),
            lambda: session.journal.erase("KEY001", " "),
            lambda: session.journal.retain(reason=""),
            lambda: session.audit.release(affidavit_time(), reason=""),
        ):
            with pytest.raises(errors.InvalidQueryError, match="must say why"):
                call()
        with session.transaction() as inside, pytest.raises(errors.TransactionError):
            inside.erase("people", "KEY001", reason="asked")
        assert session.sql("SELECT count(*) AS n FROM people").to_pylist() == [{"n": ROWS}]
        kinds = session.sql("SELECT kind FROM system.ledger WHERE seq >= $n", n=size).to_pylist()
        assert {row["kind"] for row in kinds} <= {"read"}
    with connect(lake, read_only=True) as reader, pytest.raises(errors.ReadOnlyError):
        reader.erase("people", "KEY001", reason="asked")


def affidavit_time() -> object:
    import datetime as dt

    return dt.datetime.now(dt.UTC)


def test_p18_an_id_of_two_tables_is_refused_and_both_are_named(tmp_path: Path) -> None:
    with connect(tmp_path / "lake") as session:
        for name in ("people", "orders"):
            session.create_table(name, [{"id": 7, "v": f"of {name}"}], primary_key="id")
        session.journal.record("letter", "7", "text", "sent", None, "Dear Ann")
        with pytest.raises(errors.InvalidQueryError, match="'letter', 'orders', 'people'"):
            session.journal.erase("7", "asked")
        assert session.journal.erase("7", "asked", entity_type="letter") == 1
        left = session.sql("SELECT new_value FROM journal WHERE entity_id = '7'").to_pylist()
        assert sorted(row["new_value"] is None for row in left) == [False, False, True]
