"""One statement over a search, a mutable table, a Parquet file and another database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

import affidavit

PATENTS = [
    {"id": 1, "title": "Hinge for a folding bicycle", "vector": [0.9, 0.1, 0.1]},
    {"id": 2, "title": "Brake for a tricycle", "vector": [0.8, 0.4, 0.1]},
    {"id": 3, "title": "Method of glazing tiles", "vector": [0.1, 0.2, 0.9]},
]

with TemporaryDirectory() as folder, affidavit.connect(f"{folder}/lake") as session:
    session.create_vector_table("patents", PATENTS)
    session.sql(
        "CREATE TABLE reviews (patent_id BIGINT PRIMARY KEY, examiner VARCHAR, done BOOLEAN)"
    )
    session.sql("INSERT INTO reviews VALUES (1, 'Ito', true), (2, 'Okafor', false)")

    fees = Path(folder, "fees.parquet")
    pq.write_table(pa.table({"patent_id": [1, 2, 3], "fee": [120, 80, 95]}), fees)
    session.attach("fees", str(fees))

    with closing(sqlite3.connect(f"{folder}/offices.db")) as offices, offices:
        offices.execute("CREATE TABLE owners (patent_id INTEGER, owner TEXT)")
        offices.executemany(
            "INSERT INTO owners VALUES (?, ?)", [(1, "Mill & Co"), (2, "Lathe Ltd")]
        )
    session.attach("office", f"sqlite:///{folder}/offices.db")

    statement = """
        SELECT p.title, r.examiner, r.done, f.fee, o.owner
        FROM vector_search('patents', $like, 2) AS p
        JOIN reviews AS r ON r.patent_id = p.id
        JOIN fees AS f ON f.patent_id = p.id
        JOIN office.main.owners AS o ON o.patent_id = p.id
        ORDER BY p._distance
    """
    print(session.sql(statement, like=[0.9, 0.2, 0.1]))

    # what was sent to the other database stands in the plan
    plan = session.explain("SELECT owner FROM office.main.owners WHERE patent_id = 2")
    print(plan[plan.index("sent to office") :])
