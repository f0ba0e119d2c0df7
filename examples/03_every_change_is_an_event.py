"""Every change is an event: who changed what, what was there before, and what may be forgotten."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import affidavit

with TemporaryDirectory() as folder, affidavit.connect(f"{folder}/lake", actor="intake") as session:
    session.create_table(
        "accounts",
        [{"number": 1, "owner": "Ana", "limit": 500}, {"number": 2, "owner": "Ben", "limit": 900}],
        primary_key="number",
    )
    before = session.ledger.size - 1  # the newest entry: a moment

    with session.scope(actor="clerk-3", reason="yearly review") as clerk:
        clerk.sql('UPDATE accounts SET "limit" = "limit" + 100 WHERE owner = \'Ana\'')
        clerk.sql("DELETE FROM accounts WHERE number = 2")

    changes = (
        "SELECT actor, reason, action, entity_id, old_value, new_value FROM journal ORDER BY seq"
    )
    print(session.sql(changes))

    # the table as it was, in SQL or as a session on the whole lake of then
    was = session.sql("SELECT * FROM as_of('accounts', $moment) ORDER BY number", moment=before)
    assert [row["limit"] for row in was] == [500, 900]
    assert session.at(before).sql("SELECT count(*) AS n FROM accounts").to_pylist() == [{"n": 2}]

    # what must be forgotten is, and everything else is proved as before
    erased = session.journal.erase(2, reason="the customer asked")
    print(f"{erased} events of account 2 have lost their values")
    print(session.ledger.verify(progress=False))
    assert session.ledger.verify(progress=False)
