"""A search, and the signed record that it leaves before its rows are released."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import affidavit

GUIDELINES = [
    {"id": 1, "title": "Fever in infants", "ward": "north", "vector": [0.9, 0.1, 0.0]},
    {"id": 2, "title": "Dosage of paracetamol", "ward": "north", "vector": [0.8, 0.3, 0.1]},
    {"id": 3, "title": "Parking at the clinic", "ward": "south", "vector": [0.0, 0.1, 0.9]},
]

with TemporaryDirectory() as folder, affidavit.connect(f"{folder}/lake", actor="ward-7") as session:
    session.create_vector_table("guidelines", GUIDELINES)

    found = session.search("guidelines", [1.0, 0.2, 0.0], k=2, where="ward = 'north'")
    for row in found.to_pylist():
        print(f"{row['_distance']:.3f}  {row['title']}")

    record = found.audit
    print(f"{record.actor} asked {record.table_name} at version {record.table_version}:")
    print(
        f"  {record.k_returned} of {record.k_requested} rows came back: {record.top_k_result_ids}"
    )
    assert session.audit.verify(record)

    # SQL's searches are on record too, however they are written, and the record is a table
    session.sql(
        "SELECT title FROM vector_search('guidelines', $q, 1)", q=[0.0, 0.1, 0.9]
    ).to_arrow()
    print(session.sql("SELECT seq, actor, mode, k_returned FROM audit.searches ORDER BY seq"))

    # the same search on the same version gives the same rows
    verdict = session.audit.replay(found.query_id, [1.0, 0.2, 0.0])
    print(f"replayed: {verdict.outcome}")
    assert verdict.outcome == "REPRODUCED"
