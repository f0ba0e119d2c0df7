"""Any definition is made or refused by an error of ours: texts grown from the grammar, and hurt."""

from __future__ import annotations

import os
import random

from tests.engine.statement.test_fuzz import grown, hurt

import affidavit

COUNT = int(os.environ.get("AFFIDAVIT_FUZZ", "400"))
ANEW = (
    "DROP TABLE IF EXISTS made CASCADE",
    "DROP TABLE IF EXISTS d CASCADE",
    "DROP TABLE IF EXISTS t CASCADE",
    "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR, at DATE)",
    "INSERT INTO t VALUES (1, 'a', NULL), (2, 'xx', NULL)",
    "CREATE SEQUENCE IF NOT EXISTS q",
)


def test_any_definition_is_made_or_refused(session) -> None:
    """ALTER TABLE ... ADD UNIQUE of a column that is not there was a KeyError."""
    made = 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        for text in ANEW if seed % 8 == 0 else ():
            session.sql(text)
        text = grown(rng, rng.choice(["create", "alter"]))
        text = hurt(rng, text) if seed % 3 == 0 else text
        try:
            session.sql(text, timeout=10)
            made += 1
        except affidavit.AffidavitError as error:
            assert str(error).strip(), (seed, text)
            assert "Traceback" not in str(error), (seed, text)
        except BaseException as error:
            error.add_note(f"seed {seed}: {text[:2000]!r}")
            raise
    assert made > COUNT // 20, "the grammar grows nothing that can be made"
    assert session.ledger.verify(data=True)
