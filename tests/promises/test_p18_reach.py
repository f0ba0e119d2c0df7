"""P18: how far an erasure reaches: other tables, other tenants, the store's gaps; and what holds it."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.support.beside import beside

import affidavit
from affidavit import errors
from affidavit.catalog.erasure.erasure import Erasure
from affidavit.catalog.erasure.pending import pending_of
from affidavit.catalog.store.sqlite import gaps


def connect(lake: Path, **options: object) -> affidavit.Session:
    given = {"actor": "owner", "durability": "normal", "store_queries": True, "audit": "rows"}
    return affidavit.connect(lake, **{**given, **options})  # type: ignore[arg-type]  # as given


def bytes_of(lake: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(lake.glob("catalog.db*")))


# --- how far it reaches ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["BIGINT", "DATE", "DECIMAL(9,2)", "BOOLEAN", "TIMESTAMP"])
def test_p18_a_topic_of_another_table_with_such_a_key_of_another_type(
    tmp_path: Path, kind: str
) -> None:
    value = {
        "BIGINT": "7", "DATE": "DATE '2026-01-02'", "DECIMAL(9,2)": "7.25", "BOOLEAN": "true",
        "TIMESTAMP": "TIMESTAMP '2026-01-02 03:04:05'",
    }[kind]  # fmt: skip
    with connect(tmp_path / "lake") as session:
        session.sql("CREATE TABLE people (id VARCHAR PRIMARY KEY, name VARCHAR)")
        session.sql(f"CREATE TABLE orders (id {kind} PRIMARY KEY, note VARCHAR)")
        session.triggers.on("people", "insert", publish="told")
        session.triggers.on("orders", "insert", publish="sold")
        session.sql("INSERT INTO people VALUES ('K1', 'Ann Somebody')")
        session.sql(f"INSERT INTO orders VALUES ({value}, 'a bicycle')")
        erased = session.erase("people", "K1", reason="asked").erased
        assert (erased["rows"], erased["topic_rows"]) == (1, 1)
        [sold] = session.topics.replay("sold")
        assert [new["note"] for new in sold.data["new"].to_pylist()] == ["a bicycle"]
        assert session.ledger.verify(data=True)


def test_p18_every_row_of_an_indexed_vector_table(tmp_path: Path) -> None:
    drawn = np.random.default_rng(3).normal(size=(300, 8)).astype("f4")
    rows = [{"id": at, "vector": drawn[at].tolist()} for at in range(300)]
    with connect(tmp_path / "lake") as session:
        table = session.create_vector_table("docs", rows, key="id")
        table.create_index("vector", "IVF_FLAT", num_partitions=2)
        assert session.erase("docs", list(range(300)), reason="asked").erased["rows"] == 300
        assert session.ledger.verify(data=True)
    found = [path for path in (tmp_path / "lake" / "vectors").rglob("*") if path.is_file()]
    assert not [path for path in found if drawn[7].tobytes() in path.read_bytes()]


def test_p18_keys_go_from_records_of_that_table_alone(tmp_path: Path) -> None:
    with connect(tmp_path / "lake") as session:
        for name in ("people", "orders"):
            session.sql(f"CREATE TABLE {name} (id VARCHAR PRIMARY KEY, note VARCHAR)")
            session.sql(f"INSERT INTO {name} VALUES ('KEY-7', 'of {name} alone')")
            session.sql(f"SELECT * FROM {name} WHERE id = 'KEY-7'").to_arrow()
        session.erase("people", "KEY-7", reason="asked", keys=True)
        assert len(session.audit.received("KEY-7", table="orders")) == 1
        assert session.audit.received("KEY-7", table="people") == []


def test_p18_a_shared_row_goes_from_what_every_tenant_has_of_it(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with connect(lake, tenant=None) as shared:
        shared.sql("CREATE TABLE rules (id BIGINT PRIMARY KEY, name VARCHAR)")
        shared.sql("INSERT INTO rules VALUES (1, 'Ann Somebody'), (2, 'Bob Nobody')")
    with connect(lake, tenant="acme") as acme:
        acme.sql("SELECT * FROM rules WHERE name = 'Ann Somebody'").to_arrow()
        acme.sql("SELECT * FROM rules WHERE name = 'Bob Nobody'").to_arrow()
    with connect(lake, tenant=None) as shared:
        shared.erase("rules", 1, reason="asked")
        assert shared.ledger.verify(data=True)
    with connect(lake, tenant="acme") as acme:
        texts = acme.sql("SELECT text FROM audit.reads ORDER BY seq").to_pylist()
        assert [row["text"] is None for row in texts[:2]] == [True, False]
        kinds = acme.sql("SELECT kind FROM system.ledger").to_pylist()
        assert {"kind": "erasure"} in kinds  # it is told in their own ledger too
        assert acme.ledger.verify(data=True)
    assert b"Ann Somebody" not in bytes_of(lake)


@pytest.mark.parametrize("name", ["O''Hara", 'the "Duke"', "Jürgen Müßig", "back\\slash"])
def test_p18_names_that_are_written_otherwise_are_found(tmp_path: Path, name: str) -> None:
    """A statement doubles quotes, JSON escapes them: it is one name."""
    with connect(tmp_path / "lake") as session:
        session.sql("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR)")
        session.sql(f"INSERT INTO people VALUES (1, '{name}')")
        session.sql(f"SELECT count(*) FROM people WHERE name = '{name}'").to_arrow()
        session.sql(f"CREATE VIEW hers AS SELECT * FROM people WHERE name = '{name}'")
        left = {each.where for each in session.erase("people", 1, reason="asked").left}
        assert "table or view 'hers'" in left
        [read] = session.sql("SELECT text FROM audit.reads WHERE seq < 8 LIMIT 1").to_pylist()
        assert read["text"] is None


def test_p18_what_moved_within_a_page_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that move as a page is balanced leave bytes that SQLite does not overwrite."""
    drawn = random.Random(5)
    names = [f"{drawn.getrandbits(64):016x}Z{at:05d}" for at in range(2500)]
    rows = [{"id": at, "name": names[at], "n": at} for at in range(2500)]
    gone = [at for at in range(2500) if at % 2]

    def left(lake: Path) -> list[int]:
        with connect(lake, audit="off", store_queries=False) as session:
            table = session.create_table("p", rows[:1], primary_key="id", indexes=["name"])
            for at in range(1, 2500, 25):
                table.insert(rows[at : at + 25])
            for at in range(5):
                session.sql(f"UPDATE p SET n = n + 1 WHERE id % 5 = {at} AND id > {at * 500}")
            session.erase("p", gone, reason="asked")
        data = bytes_of(lake)
        return [at for at in gone if names[at].encode() in data]

    assert left(tmp_path / "small") == []
    monkeypatch.setattr(gaps, "REBUILT_BYTES_MAX", 0)  # as if it were too large to rebuild at once
    assert left(tmp_path / "large") == []


# --- what holds it --------------------------------------------------------------------------------


def test_p18_a_hold_that_is_placed_while_an_erasure_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(tmp_path / "lake") as session:
        session.sql("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR)")
        session.sql("INSERT INTO people VALUES (1, 'Ann Somebody')")
        begun = Erasure._begun

        def held_first(erasure: Erasure, *args: object, **more: object) -> object:
            session.hold("people", 1, case="court 4/26")
            return begun(erasure, *args, **more)  # type: ignore[arg-type]  # as they came

        monkeypatch.setattr(Erasure, "_begun", held_first)
        with pytest.raises(errors.HoldError, match="court 4/26"):
            session.erase("people", 1, reason="asked")
        assert session.sql("SELECT name FROM people").to_pylist() == [{"name": "Ann Somebody"}]


@pytest.mark.parametrize("key", [1, None])
def test_p18_a_held_table_is_not_dropped_and_keeps_its_versions(
    tmp_path: Path, key: int | None
) -> None:
    with connect(tmp_path / "lake") as session:
        session.sql("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR)")
        session.sql("INSERT INTO people VALUES (1, 'Ann Somebody')")
        docs = session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 0.0]}], key="id")
        for name in ("people", "docs"):
            session.hold(name, key, case="court 4/26")
            with pytest.raises(errors.HoldError, match="release the hold first"):
                session.sql(f"DROP TABLE {name}")
        with pytest.raises(errors.HoldError, match="release the hold first"):
            docs.optimize(cleanup_older_than=dt.timedelta(0))
        docs.optimize()
        for name in ("people", "docs"):
            session.release_hold(name, key, case="court 4/26")
            session.sql(f"DROP TABLE {name}")
        assert session.ledger.verify(data=True)


def test_p18_segments_with_a_held_event_stay(tmp_path: Path) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    with connect(tmp_path / "lake") as session:
        session.sql("CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR)")
        session.sql("INSERT INTO people VALUES (1, 'Ann Somebody')")
        session.hold("people", 1, case="court 4/26")
        session.journal.flush()
        assert session.journal.retain(before=later, reason="policy") == 0
        assert session.journal.history(1).to_pylist()
        session.release_hold("people", 1, case="court 4/26")
        session.journal.flush()
        assert session.journal.retain(before=later, reason="policy") > 0
        assert session.ledger.verify(data=True)


def test_p18_a_row_that_comes_again_meanwhile_keeps_its_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(tmp_path / "lake") as session:
        table = session.create_table("people", pa.table({"id": [1], "name": ["Ann Somebody"]}),
                                     primary_key="id")  # fmt: skip
        let_go = Erasure._let_go

        def again_first(erasure: Erasure, *args: object) -> object:
            table.insert([{"id": 1, "name": "Cam Newcomer"}])
            return let_go(erasure, *args)  # type: ignore[arg-type]  # as they came

        monkeypatch.setattr(Erasure, "_let_go", again_first)
        session.erase("people", 1, reason="asked")
        assert session.sql("SELECT name FROM people").to_pylist() == [{"name": "Cam Newcomer"}]
        values = [row["new_value"] for row in session.journal.history(1).to_pylist()]
        assert [each is not None and "Cam Newcomer" in each for each in values][-1]
        assert "Ann Somebody" not in str(values)
        assert session.ledger.verify(data=True)


def test_p18_what_is_being_erased_cannot_be_held_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(tmp_path / "lake") as session:
        session.create_table("people", [{"id": 1}, {"id": 2}], primary_key="id")
        begun, refused = Erasure._begun, []

        def hold_next(erasure: Erasure, *args: object, **more: object) -> object:
            pending = begun(erasure, *args, **more)  # type: ignore[arg-type]  # as they came
            for key in (1, None):
                with pytest.raises(errors.HoldError, match="being erased") as raised:
                    session.hold("people", key, case="court 4/26")
                refused.append(raised.value)
            session.hold("people", 2, case="court 4/26")
            return pending

        monkeypatch.setattr(Erasure, "_begun", hold_next)
        assert session.erase("people", 1, reason="asked").erased["rows"] == 1
        assert len(refused) == 2
        session.hold("people", None, case="court 5/26")


def test_p18_a_release_of_evidence_spares_the_texts_of_what_is_held(tmp_path: Path) -> None:
    with connect(tmp_path / "lake") as session:
        session.create_table("people", [{"id": 1}], primary_key="id")
        session.create_table("cars", [{"id": 1}], primary_key="id")
        session.hold("people", 1, case="court 4/26")
        for name in ("people", "cars"):
            session.sql(f"SELECT id AS held FROM {name}").to_arrow()
        session.audit.release(dt.datetime.now(dt.UTC), reason="policy")
        texts = session.sql(
            "SELECT text FROM audit.statements WHERE text LIKE '%held%'"
        ).to_pylist()
        assert [row["text"] for row in texts if "texts" not in row["text"]][:1] == [
            "SELECT id AS held FROM people"
        ]
        assert not any("FROM cars" in row["text"] for row in texts)


def test_p18_what_is_written_while_an_erasure_begins_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = tmp_path / "lake"
    with connect(lake) as session:
        session.create_table("people", [{"id": 1, "name": "Ann Somebody"}], primary_key="id")
        begun = Erasure._begun

        def renamed_first(erasure: Erasure, *args: object, **more: object) -> object:
            session.sql("UPDATE people SET name = 'Anna Otherwise' WHERE id = 1")
            session.sql("SELECT id FROM people WHERE name = 'Anna Otherwise'").to_arrow()
            return begun(erasure, *args, **more)  # type: ignore[arg-type]  # as they came

        monkeypatch.setattr(Erasure, "_begun", renamed_first)
        session.erase("people", 1, reason="asked")
        assert session.ledger.verify(data=True)
    assert b"Anna Otherwise" not in bytes_of(lake)


# --- what keeps it from its end -------------------------------------------------------------------


def test_p18_an_erasure_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    """The rows of a vector table are deleted after it was written down, and a key may be in use."""
    lake = tmp_path / "lake"
    with connect(lake) as session:
        session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 0.0]}], key="id")
        session.create_table("people", [{"id": 1}], primary_key="id")
        session.sql("CREATE TABLE notes (doc BIGINT REFERENCES docs ON DELETE RESTRICT)")
        session.sql("INSERT INTO notes VALUES (1)")
        with pytest.raises(errors.ConstraintError, match="notes"):
            session.erase("docs", 1, reason="asked")
        assert session.sql("SELECT id FROM docs").to_pylist() == [{"id": 1}]
        with session._catalog().read() as reader:
            assert pending_of(reader, "default") == []
        assert session.erase("people", 1, reason="asked").erased["rows"] == 1
        session.sql("DELETE FROM notes")
        assert session.erase("docs", 1, reason="asked").erased["rows"] == 1
        assert session.ledger.verify(data=True)


@pytest.mark.sqlite("its rows are written as they were read")
def test_p18_one_that_was_written_into_the_file_is_not_obeyed(tmp_path: Path) -> None:
    """Whoever can write the store cannot have the engine erase, and sign, what they like."""
    lake = tmp_path / "lake"
    with connect(lake) as session:
        session.create_table("people", [{"id": 1}, {"id": 2}], primary_key="id")
        kept: list[tuple[object, ...]] = []
        begun = Erasure._begun

        def read_next(erasure: Erasure, *args: object, **more: object) -> object:
            pending = begun(erasure, *args, **more)  # type: ignore[arg-type]  # as they came
            with beside(lake) as store:
                kept.extend(store.execute("SELECT * FROM erasures"))
            return pending

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Erasure, "_begun", read_next)
            session.erase("people", 1, reason="asked")
    [row] = kept
    forged = [each.replace('"ids": ["1"]', '"ids": ["2"]') if isinstance(each, str) else each
              for each in row]  # fmt: skip
    with beside(lake) as store:
        store.execute(f"INSERT INTO erasures VALUES ({', '.join('?' * len(row))})", forged)
    with connect(lake) as session:
        assert session.journal.history(2).to_pylist()
        with pytest.raises(errors.LedgerCorruptError, match="by somebody else"):
            session.erase("people", 2, reason="asked")
        assert session.sql("SELECT id FROM people").to_pylist() == [{"id": 2}]
        assert not session.ledger.verify(data=True)


def test_p18_a_record_that_was_changed_is_named_and_keeps_no_other(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with connect(lake) as session:
        session.create_table("people", [{"id": 1, "name": "Ann Somebody"}], primary_key="id")
        read = session.sql("SELECT * FROM people WHERE name = 'Ann Somebody'")
        read.to_arrow()
        session.sql("SELECT count(*) FROM people WHERE name = 'Ann Somebody'").to_arrow()
    with beside(lake) as store:
        store.execute("UPDATE ledger SET opened = x'7b' WHERE seq = ?", (read.receipt.seq,))
    with connect(lake) as session:
        report = session.erase("people", 1, reason="asked")
        assert [each.where for each in report.left] == [f"entry {read.receipt.seq} of the ledger"]
        assert report.erased["records"] == 1


def test_p18_what_an_erasure_names_is_one_of_its_commitments(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with connect(lake) as session:
        session.create_table("people", [{"id": 1, "name": "Ann Somebody"}], primary_key="id")
        seq = session.erase("people", 1, reason="asked").certificate.seq - 1
        assert session.ledger.verify(data=True)
    with beside(lake) as store:
        changed = store.execute("UPDATE ledger SET opened = NULL WHERE seq = ?", (seq,)).rowcount
        assert changed == 1
    with connect(lake) as session:
        found = session.ledger.verify()
        assert (found.ok, found.seq) == (False, seq)


def test_p18_an_empty_value_beside_one_of_many_is_no_trace(tmp_path: Path) -> None:
    with connect(tmp_path / "lake") as session:
        rows = [{"id": at, "town": None if at == 1 else "Springfield"} for at in range(3)]
        session.create_table("people", rows, primary_key="id")
        read = session.sql("SELECT count(*) FROM people WHERE town = 'Springfield'")
        read.to_arrow()
        assert session.erase("people", [1, 2], reason="asked").erased["rows"] == 2
        texts = session.sql("SELECT text FROM audit.reads").to_pylist()
        assert any("Springfield" in (row["text"] or "") for row in texts)


def test_p18_a_certificate_whose_file_was_not_written_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = tmp_path / "lake"
    with connect(lake) as session:
        session.create_table("people", [{"id": 1, "name": "Ann Somebody"}], primary_key="id")

        def die(*_: object) -> None:
            raise RuntimeError("the process ends")

        with monkeypatch.context() as patched:
            patched.setattr("affidavit.catalog.erasure.erasure.certificate_of", die)
            with pytest.raises(RuntimeError, match="the process ends"):
                session.erase("people", 1, reason="asked")
    assert not list((lake / "certificates").rglob("*.json"))
    with connect(lake) as session:
        assert len(list((lake / "certificates").rglob("*.json"))) == 1
        kinds = [row["kind"] for row in session.sql("SELECT kind FROM system.ledger").to_pylist()]
        assert kinds.count("erasure-certificate") == 1
        assert session.ledger.verify(data=True)
