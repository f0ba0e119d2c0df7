"""The tour: each section shows one thing that a session does."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing, contextmanager
from itertools import cycle, zip_longest
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from affidavit import AffidavitError, VectorTable, connect
from affidavit.errors import ConstraintError
from demo.corpus import DIMENSION, DOCS_SCHEMA, collect, record_batches, source_files
from demo.embedding import Embedding
from demo.observers import KLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from affidavit import Session
    from demo.corpus import Corpus
    from demo.observers import ChangeLog, SearchLog
    from demo.show import Show

MODEL: Final = "stdlib-lsa"
QUESTIONS: Final = [
    "how do I run a function in another thread?",
    "wait until several tasks are done",
    "parse a date",
    "compress a file",
    "median of numbers",
    "remove a directory and everything in it",
]
REVIEWERS: Final = ("editor", "reviewer", "translator")
NOTES_PER_QUESTION: Final = 6
QUICK: Final = 10
"""A quick tour keeps one text in so many."""

FORGERIES: Final = {
    "Somebody else asked, and the entry's hash says so too:": """\
UPDATE ledger SET body = CAST(replace(body, '"actor":"demo"', '"actor":"nobody"') AS BLOB)
WHERE seq = 7;
UPDATE ledger SET leaf_hash = leaf(body, signature) WHERE seq = 7""",
    "This search never was:": "DELETE FROM ledger WHERE seq = 7",
    "Nor was the last one:": "DELETE FROM ledger WHERE seq = (SELECT max(seq) FROM ledger)",
    "And it did not return these rows:": "DELETE FROM search_results WHERE seq = 7",
    "A note was rated better than its author did:": "UPDATE {notes} SET c4 = 9 WHERE c0 = 3",
}
"""What a forger might want, and the SQLite statement that tries it on the store's tables."""


# --- filling the lake ----------------------------------------------------------------------------


def read_corpus(show: Show, *, quick: bool) -> Corpus:
    """Read the docstrings of the standard library that this Python came with."""
    show.section("Read the standard library's docstrings")
    sources = source_files()
    if not sources:
        raise SystemExit("this Python came without the sources of its standard library")
    with show.progress() as progress:
        tracked = progress.track(sources, description="modules parsed")
        corpus = collect(tracked, every=QUICK if quick else 1)
    show.say(f"{len(corpus.docs):,} texts of public modules, classes and functions")
    return corpus


def load_docs(session: Session, show: Show, corpus: Corpus) -> None:
    """Train an embedding on the texts, and stream texts and vectors into a vector table."""
    show.section("A vector table, its embedding model and two indexes")
    embedding = Embedding([doc.embedded for doc in corpus.docs])
    session.models.register(MODEL, embedding.encode, version=embedding.version, dim=DIMENSION)

    with show.progress() as progress:
        task = progress.add_task("texts embedded and stored", total=len(corpus.docs))

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in record_batches(corpus.docs, embedding.encode):
                yield batch
                progress.advance(task, batch.num_rows)

        stream = pa.RecordBatchReader.from_batches(DOCS_SCHEMA, batches())
        docs = session.create_vector_table("docs", stream, model=MODEL)

    docs.create_index("vector", "IVF_PQ")
    docs.create_index("text", "FTS")
    show.say(repr(docs))


def attach_modules(session: Session, show: Show, corpus: Corpus, path: Path) -> None:
    """Write facts of the modules to a Parquet file, and attach the file as a table."""
    show.section("A Parquet file, attached as a table")
    pq.write_table(corpus.modules, path)
    session.attach("modules", path)
    statement = """\
SELECT package, count(*) AS modules, sum(lines) AS lines, sum(docstrings) AS texts
FROM modules GROUP BY package ORDER BY texts DESC LIMIT 5"""
    show.sql(statement)
    show.rows(session.sql(statement))


def write_notes(session: Session, show: Show) -> None:
    """Create a mutable table with a note for each of the texts that the questions find."""
    show.section("A mutable companion table")
    answers = session.search_batch("docs", QUESTIONS, NOTES_PER_QUESTION, mode="hybrid")
    reviewers = cycle(REVIEWERS)
    notes = [
        {
            "doc_id": row["id"],
            "author": next(reviewers),
            "note": f"rank {rank} for “{question}”, {len(row['text'].split())} words",
            "stars": max(1, 6 - rank),
        }
        for question, answer in zip(QUESTIONS, answers, strict=True)
        for rank, row in enumerate(answer, 1)
    ]
    numbered = [{"id": number, **note} for number, note in enumerate(notes, 1)]
    table = session.create_table("notes", numbered, primary_key="id", indexes=["doc_id"])
    show.say(repr(table))
    show.rows(session.tables(), title="session.tables()")


# --- asking --------------------------------------------------------------------------------------


def ask(session: Session, show: Show) -> None:
    """Ask every question by vector, by text and by both; the model encodes the questions."""
    show.section("Search by vector, by text, and by both")
    found = {
        mode: session.search_batch("docs", QUESTIONS, 3, mode=mode, select=["id"])
        for mode in ("vector", "text", "hybrid")
    }
    for at, question in enumerate(QUESTIONS):
        columns = [[row["id"] for row in answers[at]] for answers in found.values()]
        ranked = zip_longest(*columns)
        show.rows((dict(zip(found, ids, strict=True)) for ids in ranked), title=question)


def ask_narrowly(session: Session, show: Show) -> None:
    """Filter before the search, and take only some columns."""
    show.section("Search where kind = 'class'")
    answer = session.search(
        "docs", QUESTIONS[0], k=4, where="kind = 'class'", select=["id", "kind", "text"]
    )
    show.rows(
        {**row, "text": row["text"].partition("\n")[0]}  # the first line says it
        for row in answer
    )


def join(session: Session, show: Show) -> None:
    """Join a search, the mutable table and the file in one statement."""
    show.section("One statement over a search, a mutable table and a file")
    statement = """\
SELECT hit.id, hit._distance AS distance, note.stars, note.author, m.lines
FROM vector_search('docs', $question, 20) AS hit
JOIN notes AS note ON note.doc_id = hit.id
JOIN modules AS m ON m.module = hit.module
ORDER BY distance LIMIT 6"""
    show.sql(statement)
    show.rows(session.sql(statement, question=QUESTIONS[0]))


# --- changing ------------------------------------------------------------------------------------


def change(session: Session, show: Show) -> int:
    """Update, delete, and insert or update; return the ledger's newest entry before all that."""
    show.section("UPDATE, DELETE, INSERT ... ON CONFLICT ... RETURNING")
    before = session.ledger.size - 1
    update = """\
UPDATE notes SET stars = 5
WHERE doc_id IN (SELECT id FROM hybrid_search('docs', $ask, $ask, 3))
RETURNING id, doc_id, stars"""
    show.sql(update)
    show.rows(session.sql(update, ask=QUESTIONS[0]))

    delete = "DELETE FROM notes WHERE stars = 1"
    show.sql(delete)
    show.say(f"  {session.sql(delete).rows_affected} rows affected")

    upsert = """\
INSERT INTO notes (id, doc_id, author, note, stars)
VALUES (1, 'bz2', 'editor', 'read twice', 4), (99, 'gzip', 'editor', 'new', 3)
ON CONFLICT (id) DO UPDATE SET stars = excluded.stars, note = excluded.note
RETURNING id, doc_id, note, stars"""
    show.sql(upsert)
    show.rows(session.sql(upsert))
    return before


def look_back(session: Session, show: Show, moment: int) -> None:
    """Show what was done to the notes after ``moment``: as events, as changes, and undone."""
    show.section("What happened to the notes, and what they were before")
    journal = """\
SELECT seq, actor, action, entity_type, entity_id, field,
       substr(old_value, 1, 20) AS old, substr(new_value, 1, 20) AS new
FROM journal ORDER BY seq DESC LIMIT 6"""
    show.sql(journal)
    show.rows(session.sql(journal))

    changes = """\
SELECT _commit_seq AS seq, _change_type, id, doc_id, note, stars
FROM changes('notes', $first, NULL) WHERE id IN (1, 99) ORDER BY seq, _change_type DESC"""
    show.sql(changes)
    show.rows(session.sql(changes, first=moment + 1))

    was = """\
SELECT was.id, was.author, was.stars AS stars_then, now.stars AS stars_now
FROM as_of('notes', $moment) AS was LEFT JOIN notes AS now ON now.id = was.id
WHERE was.stars IS DISTINCT FROM now.stars ORDER BY was.id LIMIT 6"""
    show.sql(was)
    show.rows(session.sql(was, moment=moment))


def roll_back(session: Session, show: Show) -> None:
    """Let the second of two changes fail: the first is undone with it."""
    show.section("A transaction is all or nothing")
    notes = session.table("notes")
    before = notes.count()
    try:
        with session.transaction():
            notes.delete("author = 'editor'")
            show.say(f"inside: {before} notes became {notes.count()}, and then")
            session.sql("INSERT INTO notes (id, stars) VALUES (200, 1), (200, 2)")
    except ConstraintError as error:
        show.say(f"  {type(error).__name__}: {error}")
    show.say(f"after: {notes.count()} notes")


def be_told(session: Session, show: Show) -> None:
    """Let a trigger publish the notes that rise to five stars, to whoever has subscribed."""
    show.section("A trigger, its topic, and a subscriber")
    trigger = """\
CREATE TRIGGER praised AFTER UPDATE ON notes
WHEN (new.stars = 5 AND old.stars < 5) PUBLISH 'notes.praised'"""
    show.sql(trigger)
    session.sql(trigger)
    praise = "UPDATE notes SET stars = 5 WHERE author = 'reviewer'"
    with session.topics.subscribe("notes.praised") as subscription:
        show.sql(praise)
        changed = session.sql(praise).rows_affected
        delivery = subscription.next(timeout=10)
    assert delivery is not None
    show.say(f"  {changed} rows affected, {delivery.data.num_rows} of them new to five stars")
    rows = delivery.data.to_pylist()[:4]
    show.rows(
        (
            {
                "event_id": row["event_id"],
                "actor": row["actor"],
                "doc_id": row["new"]["doc_id"],
                "then": row["old"]["stars"],
                "now": row["new"]["stars"],
            }
            for row in rows
        ),
        title=f"event {delivery.offset} of {delivery.topic!r}",
    )


def keep_tenants_apart(session: Session, show: Show) -> None:
    """Act for another tenant: it sees none of these tables, and its own do not clash."""
    show.section("Another tenant sees nothing of this")
    ours = session.table("notes")
    with session.scope(tenant="other-team", actor="guest") as guest:
        show.say(f"tenant {guest.tenant!r} sees {guest.tables().num_rows} tables")
        with expected_error(show):
            guest.search("docs", QUESTIONS[0])
        theirs = guest.create_table("notes", [{"id": 1, "note": "a note of our own"}])
        show.say(f"a table of the same name: theirs has {len(theirs)} row, ours {len(ours)}")
        guest.drop_table("notes")


def read_the_past(session: Session, show: Show) -> None:
    """Delete the best answer's whole module; the version before still has it."""
    show.section("A past version of the vector table")
    docs = session.table("docs")
    assert isinstance(docs, VectorTable)
    before = docs.version
    (best,) = session.search("docs", QUESTIONS[0], k=1)
    delete = "DELETE FROM docs WHERE module = $module"
    show.sql(delete)
    gone = session.sql(delete, module=best["module"]).rows_affected
    show.say(f"  {gone} texts of {best['module']}: version {before} became {docs.version}")
    now = session.search("docs", QUESTIONS[0], k=3, select=["id"])
    then = session.search("docs", QUESTIONS[0], k=3, select=["id"], version=before)
    show.rows(now, title=f"version {docs.version}, now")
    show.rows(then, title=f"search(version={before})")


# --- what goes wrong, and who saw it -------------------------------------------------------------


@contextmanager
def expected_error(show: Show) -> Iterator[None]:
    """Print the error that the block raises."""
    try:
        yield
    except AffidavitError as error:
        show.say(f"  {type(error).__name__}: {error}")


def fail_helpfully(session: Session, show: Show) -> None:
    """Make mistakes: each error says what was expected and what came."""
    show.section("Mistakes, and what the errors say")
    mistakes: dict[str, Callable[[], object]] = {
        "search('dcos', ...)": lambda: session.search("dcos", QUESTIONS[0]),
        "search(..., k=0)": lambda: session.search("docs", QUESTIONS[0], k=0),
        "search('docs', [1.0, 2.0])": lambda: session.search("docs", [1.0, 2.0]),
        "where=\"modul = 'os'\"": lambda: session.search("docs", "files", where="modul = 'os'"),
        "SELECT titel FROM docs": lambda: session.sql("SELECT titel FROM docs"),
        "two statements in one": lambda: session.sql("DELETE FROM notes; DELETE FROM docs"),
    }
    for mistake, make in mistakes.items():
        show.say(mistake)
        with expected_error(show):
            make()

    limit = KLimit(1_000)
    session.hooks.add(limit)
    show.say("search(..., k=5_000) while a hook of ours forbids it")
    with expected_error(show):
        session.search("docs", QUESTIONS[0], k=5_000)
    session.hooks.remove(limit)


def show_searches(searches: SearchLog, show: Show) -> None:
    """Print what the hook saw of the searches, in SQL or not."""
    show.section("What a hook saw of every search")
    rows = list(searches.rows())
    show.rows(rows[-8:], title=f"the last 8 of {len(rows)} searches")


def show_changes(changes: ChangeLog, show: Show) -> None:
    """Print what the listener was told of the changes."""
    show.section("What a change listener was told of every mutation")
    show.rows(changes.rows())
    show.say(
        "A listener is told inside the transaction, so the one that was rolled back is here too; "
        "what it writes through the writer it is given would have been rolled back with it."
    )


# --- what is on record, and whether it is still what was signed ----------------------------------


def show_records(session: Session, show: Show) -> None:
    """Print this tour's own records, and who was given the best answer of them all."""
    show.section("What the ledger has on record of this tour")
    statement = """\
SELECT seq, actor, mode, k_returned AS rows, table_version AS version, index_name AS index,
       top_k_result_ids[1] AS best, substr(query_sha256, 1, 8) AS query
FROM audit.searches ORDER BY seq DESC LIMIT 8"""
    show.sql(statement)
    show.rows(session.sql(statement))

    best = session.audit.recent(1)[0].top_k_result_ids[0]
    who = """\
SELECT row_id, actor, count(*) AS times, min(rank) AS best_rank
FROM audit.results WHERE row_id = $row GROUP BY row_id, actor"""
    show.sql(who)
    show.rows(session.sql(who, row=best))


def replay(session: Session, show: Show) -> None:
    """Ask the last question again, of the version that it was asked of."""
    show.section("The last search again, on the version that it read")
    record = session.audit.recent(1)[0]
    verdict = session.audit.replay(str(record.query_id), QUESTIONS[0])
    show.say(f"search {record.seq}, version {record.table_version}\n  {verdict}")


def verify(session: Session, show: Show) -> None:
    """Check every entry of the ledger, and print the key that a stranger would check it with."""
    show.section("The ledger, verified")
    show.say(f"{session.ledger.verify()}\nkey: {session.ledger.public_key}")


def tamper(lake: Path, folder: Path, show: Show) -> None:
    """Change copies of the lake behind the engine's back; what is wrong first is named.

    A copy has the lake's key file too. It is not used: whoever forges here has only SQLite.
    """
    show.section("Copies of the lake, tampered with through sqlite3")
    for number, (wish, forgery) in enumerate(FORGERIES.items()):
        copy = folder / str(number)
        shutil.copytree(lake, copy)
        with closing(sqlite3.connect(copy / "catalog.db")) as store:
            store.create_function("leaf", 2, leaf)
            ((notes,),) = store.execute("SELECT table_id FROM tables WHERE name = 'notes'")
            tried = forgery.format(notes=f"data_{notes}")
            store.executescript(tried)
        show.say(wish)
        show.sql(tried)
        with connect(copy, read_only=True) as session:
            show.say(f"  {session.ledger.verify()}\n")


def leaf(body: bytes, signature: bytes) -> bytes:
    """Return the hash that an entry must have: anybody makes it, and nobody the signature."""
    return hashlib.sha256(b"\0" + body + signature).digest()
