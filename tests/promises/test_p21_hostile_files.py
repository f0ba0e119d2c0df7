"""P5, P12, P20, P21: files that mean harm end in an error of the tree or a right answer, and in time.

Each group is read by a process of its own, with a limit on its memory and one on its time: whatever
ends it, or keeps it, names the file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import hostile
from tests.support.lakes import vectors
from tests.support.optional import library

import affidavit
from affidavit import errors

LIMIT_S = 60
EACH_S = 20
COMMAND = Path(sys.executable).with_name("affidavit")
ROOT = Path(__file__).parents[2]

READ = """
import json, resource, sys, time
from pathlib import Path
import affidavit
from tests.support import hostile
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
folder, group = Path(sys.argv[1]), getattr(hostile, sys.argv[2])
with affidavit.connect(folder / "lake", durability="normal") as session:
    session.sql("CREATE TABLE alive (id BIGINT)")
    for at, (name, make) in enumerate(group.items()):
        print(json.dumps(["begins", name]), flush=True)
        place = folder / str(at)
        place.mkdir()
        path, began = make(place), time.monotonic()
        try:
            session.attach(f"x{at}", str(path))
            told = ["rows", session.sql(f"SELECT * FROM x{at}").to_arrow().num_rows]
        except affidavit.AffidavitError as error:
            told = ["refused", str(error)]
        except BaseException as error:
            told = ["fell over", f"{type(error).__name__}: {error}"]
        session.sql("INSERT INTO alive VALUES ($n)", n=at)
        print(json.dumps(["ends", name, *told, time.monotonic() - began]), flush=True)
    assert session.sql("SELECT count(*) AS n FROM alive").to_pylist() == [{"n": len(group)}]
    assert session.ledger.verify()
print(json.dumps(["done"]))
"""


def read(folder: Path, group: str) -> dict[str, list[Any]]:
    """Read each file of a group; that the process lives is asserted."""
    command = [sys.executable, "-W", "ignore", "-c", READ, str(folder), group]
    how = {
        **os.environ,
        "RUST_BACKTRACE": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=how
        )
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode().splitlines()
        raise AssertionError(f"it did not end: {said[-1:]}") from None
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.returncode, said[-1:], done.stderr[-2000:])
    assert said[-1] == ["done"]
    return {each[1]: each[2:] for each in said if each[0] == "ends"}


ROWS = {
    "parquet of nothing": 0, "parquet that claims 2**60 rows": 1000,
    "parquet of many zeros": 3_000_000, "arrow of nothing": 0, "csv of nothing": 0,
    "csv with a NUL": 1, "csv of 3,000 columns": 1, "json of nothing": 0,
    "json with a member that stands twice": 1, "avro of nothing": 0,
    "delta with a file outside": 2000, "delta with a file by its path": 1000,
    "delta with a file by its URL": 1000, "iceberg with no snapshot that it names": 0,
}  # fmt: skip
"""What is read all the same, and how many rows it has. Every other file is refused."""


NEEDS = {
    "FILES": (), "NO_FILES": (), "DELTA": ("deltalake",), "ICEBERG": ("pyiceberg",),
    "PIPED": ("deltalake", "pyiceberg"),
}  # fmt: skip


@pytest.mark.parametrize("group", NEEDS)
def test_p21_a_hostile_file_is_refused_or_read_right_and_the_process_lives(
    tmp_path: Path, group: str
) -> None:
    for name in NEEDS[group]:
        library(name, name)
    found = read(tmp_path, group)
    assert set(found) == set(getattr(hostile, group))
    for name, (outcome, what, took_s) in found.items():
        assert (outcome, what) == (("rows", ROWS[name]) if name in ROWS else ("refused", what)), (
            name,
            outcome,
            what,
        )
        assert took_s < EACH_S, name
        assert "root:" not in str(what), "what it says is not what another file holds"


def test_p20_a_session_with_limits_reads_no_table_that_names_files_itself(
    lake: Path, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    made = hostile.DELTA["delta with a file outside"](tmp_path / "own")
    with affidavit.connect(lake, allowed_paths=[tmp_path / "own"]) as session:
        with pytest.raises(errors.AffidavitError, match="names files itself"):
            session.attach("x", str(made))
        outside = tmp_path / "outside.csv"
        outside.write_text("a\n1\n")
        (tmp_path / "own" / "link.csv").symlink_to(outside)
        with pytest.raises(errors.PathNotAllowedError):
            session.attach("y", str(tmp_path / "own" / "link.csv"))


def test_p21_what_becomes_a_pipe_after_it_was_attached_is_refused(lake: Path, tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    with affidavit.connect(lake, durability="normal") as session:
        session.attach("x", str(path))
        assert session.sql("SELECT a FROM x").to_pylist() == [{"a": 1}]
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(errors.SourceError, match="a pipe or a device"):
            session.sql("SELECT a FROM x").to_arrow()
        with pytest.raises(errors.SourceError, match="a pipe or a device"):
            session.sql(f"CREATE EXTERNAL TABLE z STORED AS CSV LOCATION '{path}'")
        assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]


# --- bundles --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundled")
    with affidavit.connect(folder / "lake", durability="normal") as session:
        session.create_vector_table("docs", vectors(10))
        session.search("docs", [1.0] * 8, k=2)
        session.ledger.export(folder / "bundle")
    return folder / "bundle"


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(target: str) -> Any:
    def make(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return make


def _doubled(path: Path) -> None:
    text = path.read_text()
    at = text.index("{") + 1
    first = text[at:].partition(",")[0].rstrip("}\n")
    path.write_text(f"{text[:at]}{first}, {text[at:]}")


SPOILT = {
    "a pipe": _pipe, "/dev/full": _link("/dev/full"), "/dev/zero": _link("/dev/zero"),
    "a link to itself": lambda path: _link(str(path))(path), "a link to a folder": _link("/etc"),
    "nothing": lambda path: path.write_bytes(b""),
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
    "200,000 brackets": lambda path: path.write_bytes(b"[" * 200_000),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a number of 100,000 digits": lambda path: path.write_bytes(b"9" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_p5_a_bundle_with_a_file_that_means_harm_is_not_verified(
    bundle: Path, tmp_path: Path, what: str
) -> None:
    """Neither by the command, nor by the script that the bundle brings."""
    names = sorted(each.name for each in bundle.iterdir() if each.suffix in {".json", ".jsonl"})
    assert {"manifest.json", "entries.jsonl"} <= set(names)
    for name in names:
        copy = Path(shutil.copytree(bundle, tmp_path / name))
        SPOILT[what](copy / name)
        commands = [[sys.executable, copy / "verify.py", copy]]
        if name == "manifest.json":  # the command takes seconds to begin
            commands.append([COMMAND, "verify", "--bundle", copy])
        for command in commands:
            done = subprocess.run(
                list(map(str, command)), capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 1, (name, done.stdout, done.stderr)
            assert "NOT VERIFIED" in done.stdout, (name, done.stdout, done.stderr)
            assert "Traceback" not in done.stderr


def test_p5_a_member_that_stands_twice_in_a_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "entries.jsonl"):
        copy = Path(shutil.copytree(bundle, tmp_path / name))
        _doubled(copy / name)
        done = subprocess.run(
            [sys.executable, str(copy / "verify.py"), str(copy)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, "NOT VERIFIED" in done.stdout) == (1, True), (name, done.stdout)
