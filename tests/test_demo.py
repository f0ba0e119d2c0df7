"""``python -m demo`` runs, prints what it promises, and leaves only what it was asked to leave."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import affidavit

REPOSITORY = Path(__file__).parents[1]
TIMEOUT_S = 300


def run_demo(*arguments, temporary):
    """Run the demo with ``temporary`` as the folder of temporary folders."""
    return subprocess.run(
        [sys.executable, "-m", "demo", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def demo(temporary):
    """Return one finished quick run, which the tests look at."""
    return run_demo("--quick", temporary=temporary)


@pytest.mark.slow
def test_it_succeeds_and_complains_of_nothing(demo):
    assert demo.returncode == 0, demo.stderr
    assert demo.stderr == ""


@pytest.mark.slow
def test_its_temporary_lake_is_removed(demo, temporary):
    assert list(temporary.glob("affidavit-demo-*")) == []


@pytest.mark.parametrize(
    "expected",
    [
        r"\d+ texts of public modules, classes and functions",
        r"VectorTable\('docs', \d+ rows, version 3, vector: 128 dimensions, cosine, by 'stdlib-lsa'\)",
        r"MutableTable\('notes', \d+ rows",
        r"modules +external",
        r"vector +text +hybrid",
        r"id +distance +stars +author +lines",
        r"\d+ rows affected",
        r"99 +gzip +new +3",
        r"\d+ +demo +insert +notes +99 +\*",
        r"update_postimage +1 .* read twice +4\b",
        r"1 +editor +5 +4\b",
        r"ConstraintError: table 'notes' needs a unique key; two rows have id = 200",
        r"event 0 of 'notes\.praised'",
        r"\d+-praised +demo +\S+ +\d +5\b",
        r"tenant 'other-team' sees 0 tables\s+TableNotFoundError: no table 'docs'",
        r"version 3 became 4",
        r"search\(version=3\)",
        r"HookError: hook KLimit refused",
        r"the last 8 of \d+ searches",
        r"docs +vector +insert +\d+ +1\b",
        r"docs +vector +delete +\d+ +4\b",
        r"seq +actor +mode +rows +version +index +best +query",
        r"row_id +actor +times +best_rank",
        r"search \d+, version 3\s+(REPRODUCED|ANN_MISS): ",
        r"VERIFIED affidavit/\w{32}/default: \d+ entries, \d+ signatures, \d+ checkpoints",
        r"key: affidavit/\w{32}/default\+\w{8}\+",
        r"\d+ texts, \d+ searches, \d+ changes, \d+\.\d s after the imports",
    ],
)
def test_it_prints(demo, expected):
    assert re.search(expected, demo.stdout), demo.stdout


def test_a_rollback_brings_every_note_back(demo):
    before, inside, after = re.search(
        r"inside: (\d+) notes became (\d+).*after: (\d+) notes", demo.stdout, re.DOTALL
    ).groups()
    assert before == after != inside


def test_the_past_version_has_the_answer_that_was_deleted(demo):
    gone = re.search(r"\d+ texts of (\S+): version 3 became 4", demo.stdout)[1]
    _, _, rest = demo.stdout.partition("version 4, now")
    now, _, then = rest.partition("Mistakes")[0].partition("search(version=3)")
    assert f"{gone}." not in now
    assert f"{gone}." in then


def test_every_tampering_is_found_and_the_entry_named(demo):
    """The copies of the lake in which an entry was changed, deleted, cut off and unlisted."""
    _, _, copies = demo.stdout.partition("tampered with through sqlite3")
    entries = int(re.search(r"VERIFIED .*: (\d+) entries", demo.stdout)[1])
    found = re.findall(r"CORRUPT \S+ entry (\d+): (.*?)\n", copies)
    assert [int(seq) for seq, _ in found] == [7, 7, entries - 1, 7]
    assert "VERIFIED" not in copies


@pytest.mark.slow
def test_it_refuses_a_folder_that_has_something_in_it(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    run = run_demo("--lake", str(tmp_path), temporary=tmp_path)
    assert run.returncode == 2
    assert "is not an empty folder: name a new one" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_lake_that_was_named_is_kept(tmp_path):
    lake = tmp_path / "lake"
    run = run_demo("--quick", "--lake", str(lake), temporary=tmp_path)
    assert run.returncode == 0, run.stderr
    with affidavit.connect(lake, read_only=True) as session:
        assert [row["name"] for row in session.tables()] == ["docs", "modules", "notes"]
        assert session.search("docs", "compress a file", 1, mode="text").k_returned == 1
