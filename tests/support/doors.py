"""The doors that values come in and go out by: each hands back what it was given.

A door takes a session, a folder that is its own, a kind of values, and rows of it: ``id`` and ``v``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import TypeAlias

    import affidavit
    from tests.support.matrix import Kind

    Door: TypeAlias = Callable[[affidavit.Session, Path, Kind, pa.Table], pa.Table]


def _table(session: affidavit.Session, kind: Kind) -> None:
    session.sql("DROP TABLE IF EXISTS t")
    session.sql(f"CREATE TABLE t (id BIGINT PRIMARY KEY, v {kind.name})")


def _read(session: affidavit.Session, table: str = "t") -> pa.Table:
    return session.sql(f"SELECT id, v FROM {table} ORDER BY id").to_arrow()


def literal(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
    _table(session, kind)
    told = kind.literals
    values = ", ".join(f"({at}, {told[at]})" for at in rows["id"].to_pylist())
    session.sql(f"INSERT INTO t VALUES {values}")
    return _read(session)


def parameter(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
    _table(session, kind)
    for at, value in zip(rows["id"], rows["v"], strict=True):
        session.sql("INSERT INTO t VALUES ($at, $value)", {"at": at.as_py(), "value": value})
    return _read(session)


def handle(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
    session.sql("DROP TABLE IF EXISTS t")
    return session.create_table("t", rows, primary_key="id").to_arrow().sort_by("id")


def vector_table(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
    session.sql("DROP TABLE IF EXISTS t")
    vectors = pa.array([[1.0, 0.0]] * len(rows), pa.list_(pa.float32(), 2))
    session.create_vector_table("t", rows.append_column("vector", vectors), key="id")
    return _read(session)


def changes(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
    handle(session, folder, kind, rows)
    return _read(session, "changes('t', 0, NULL)")


def as_of(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
    handle(session, folder, kind, rows)
    then = session.ledger.size - 1
    session.sql("DELETE FROM t")
    return _read(session, f"as_of('t', {then})")


def topic(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
    name = f"of_{session.topics.list().__len__()}"
    session.topics.register(name, rows.schema)
    session.topics.publish(name, rows)
    return _read(session, f"topics.{name}")


def _file(ending: str, options: str = "") -> Door:
    def file(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
        handle(session, folder, kind, rows)
        path = folder / f"rows{ending}"
        session.sql(f"COPY (SELECT id, v FROM t ORDER BY id) TO '{path}'{options}")
        return _read(session, f"'{path}'")

    return file


def polars(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
    handle(session, folder, kind, rows)
    return session.sql("SELECT id, v FROM t ORDER BY id").to_polars().to_arrow()


LAKE: Final[Mapping[str, Door]] = {
    "literal": literal, "parameter": parameter, "Arrow": handle, "vector table": vector_table,
    "`changes`": changes, "`as_of`": as_of, "topic": topic, "polars": polars,
    "Parquet": _file(".parquet"), "IPC": _file(".arrow"), "CSV": _file(".csv"), "JSON": _file(".json"),
}  # fmt: skip


def source(name: str, schema: str, run: Callable[[str], object]) -> Door:
    """Return a door through a database that is attached as ``source``; ``run`` runs its own SQL."""

    def through(session: affidavit.Session, folder: Path, kind: Kind, rows: pa.Table) -> pa.Table:
        handle(session, folder, kind, rows)
        run("DROP TABLE IF EXISTS there")
        run(f"CREATE TABLE there (id bigint PRIMARY KEY, v {kind.there[name]})")
        session.refresh("source")
        session.sql(f"INSERT INTO source.{schema}.there SELECT id, v FROM t")
        return _read(session, f"source.{schema}.there")

    return through
