"""P5: a stranger checks a bundle with a public key alone, and finds whatever was changed in it."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.forging import attack, body_with, connect, encoded, evil_key, flipped, log

import affidavit
from affidavit.catalog.ledger.verifier import Verdict, check_bundle
from affidavit.errors import InvalidQueryError, LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHECKED = ["manifest.json", "entries.jsonl", "keys.jsonl", "checkpoint.note", "proof.json"]
FOR_READERS = ["README.txt", "public_key.txt", "verify.py"]


@dataclass
class Made:
    """A lake with a rotated key, and what was exported of it."""

    lake: Path
    old_key: str
    new_key: str
    before: Path
    whole: Path
    part: Path
    other: Path
    other_key: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("bundles")
    with connect(folder / "lake") as session:
        log(session, 2)
        old_key = session.ledger.public_key
        before = session.ledger.export(folder / "before")
        new_key = session.ledger.rotate_key()
        log(session, 3, first=2)
        whole = session.ledger.export(folder / "whole")
        part = session.ledger.export(folder / "part", 2, 4)
    with connect(folder / "other lake") as session:
        log(session, 6)
        other = session.ledger.export(folder / "other", 2, 4)
        other_key = session.ledger.public_key
    return Made(folder / "lake", old_key, new_key, before, whole, part, other, other_key)


@pytest.fixture
def bundle(made: Made, tmp_path: Path) -> Path:
    return shutil.copytree(made.part, tmp_path / "bundle")


def lines(bundle: Path, name: str = "entries.jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in (bundle / name).read_text().splitlines()]


def put_lines(bundle: Path, given: list[dict[str, object]], name: str = "entries.jsonl") -> None:
    (bundle / name).write_text("".join(json.dumps(line) + "\n" for line in given))


def put_manifest(bundle: Path, **changed: object) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text()) | changed
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def problem(bundle: Path, public_key: str | None = None) -> str:
    """Return what is wrong with a bundle."""
    verdict = check_bundle(bundle, public_key)
    assert not verdict
    assert str(verdict).startswith("NOT VERIFIED: ")
    assert str(verdict).isprintable()
    return str(verdict)


def test_p5_what_nobody_touched_verifies_with_each_of_the_ledgers_keys(made) -> None:
    for bundle, entries, size in ((made.whole, 7, 7), (made.part, 3, 7)):
        for key in (None, made.old_key, made.new_key):
            verdict = check_bundle(bundle, key)
            assert verdict, verdict
            assert (verdict.entries, verdict.checkpoint.size) == (entries, size)
            assert str(verdict.key) == made.new_key
            assert verdict.pinned == (key is not None)
    assert check_bundle(made.before, made.old_key)
    assert sorted(path.name for path in made.part.iterdir()) == sorted(CHECKED + FOR_READERS)


def test_p5_another_public_key_is_refused(made) -> None:
    assert "another ledger's" in problem(made.before, made.new_key)  # which is not in it yet
    assert "another ledger's" in problem(made.whole, made.other_key)
    for wrong in ("", "x", made.new_key[:-1], made.new_key.replace("+", " "), "\ud800+00+AA",
                  f"a b+{made.new_key.split('+', 1)[1]}", "é" * 9000):  # fmt: skip
        problem(made.whole, wrong)


@pytest.mark.slow
def test_p5_verify_py_needs_nothing_of_affidavit(made, tmp_path) -> None:
    """The bundle is moved away from where any part of affidavit could be found."""
    bundle = shutil.copytree(made.part, tmp_path / "far away")
    source = (bundle / "verify.py").read_text()
    imported = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)
    }  # fmt: skip
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}
    blocked = (
        "import runpy, sys\n"
        "for name in ('affidavit', 'lance', 'pyarrow', 'sqlite3', 'socket', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )

    def run(*arguments: str, start: tuple[str, ...] = ("verify.py",)) -> tuple[int, str]:
        command = [sys.executable, "-I", *start, *arguments]
        ran = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
        assert ran.stderr == "" or ran.returncode == 2
        return ran.returncode, ran.stdout

    code, out = run(".", "--public-key", made.old_key)
    assert (code, "VERIFIED: 3 entries" in out, "Compare" in out) == (0, True, False)
    code, out = run(".", start=("-c", blocked, "verify.py"))
    assert (code, made.new_key in out, "Compare this key" in out) == (0, True, True)
    assert run(".", "--public-key", made.other_key)[0] == 1
    assert run("nowhere")[0] == 1
    assert run()[0] == 2
    (bundle / "proof.json").write_text("[]")
    code, out = run(".")
    assert (code, out.startswith("NOT VERIFIED: ")) == (1, True)


# --- one byte -------------------------------------------------------------------------------------


def meaning(bundle: Path, whole: Path) -> list[object]:
    """Return what a bundle says, however it is written.

    Where a line opens nothing it is as in ``whole``: nobody can tell that a value was left out.
    """
    found: list[object] = [json.loads((bundle / each).read_text()) for each in CHECKED[::4]]
    told = [
        [each["body"], each["signature"], each.get("opened", was.get("opened"))]
        for each, was in zip(lines(bundle), lines(whole), strict=True)
    ]
    return [*found, told, lines(bundle, "keys.jsonl"), (bundle / "checkpoint.note").read_bytes()]


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.slow
def test_p5_each_flipped_byte_of_a_bundle_is_found(made, bundle, name) -> None:
    """A line that was no object, a number that was none and a lone surrogate ended the program.

    Which entry a key stands in was taken for 0 where it was not said.
    """
    was = (bundle / name).read_bytes()
    wanted = meaning(bundle, made.part)
    for at in range(len(was)):
        (bundle / name).write_bytes(flipped(was, at))
        verdict = check_bundle(bundle, made.new_key)
        if verdict:  # white space, or what opens commitments is called otherwise
            assert meaning(bundle, made.part) == wanted
        else:
            assert str(verdict).isprintable()
    (bundle / name).write_bytes(was)
    assert check_bundle(bundle, made.new_key)


@given(st.data())
@settings(max_examples=50)
def test_p5_any_change_of_some_bytes_of_a_bundle_is_found(made, bundle, data) -> None:
    name = data.draw(st.sampled_from(CHECKED))
    was = (made.part / name).read_bytes()
    first = data.draw(st.integers(0, len(was) - 1))
    end = data.draw(st.integers(first, min(first + 4, len(was))))
    new = data.draw(st.binary(max_size=4))
    (bundle / name).write_bytes(was[:first] + new + was[end:])
    try:
        if check_bundle(bundle, made.new_key):
            assert meaning(bundle, made.part) == meaning(made.part, made.part)
    finally:
        (bundle / name).write_bytes(was)


@pytest.mark.parametrize("name", FOR_READERS)
def test_p5_what_is_only_read_by_people_decides_nothing(made, bundle, name) -> None:
    (bundle / name).unlink()
    assert check_bundle(bundle, made.new_key)


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff", b"null\n", b"[]\n", b"{}\n", b"[[]]\n", b'"x"\n', b"7\n", b"[" * 100_000,
     b'{"seq":"x"}\n', b'{"seq":[]}\n', b'{"seq":1e999}\n', b'{"seq":NaN}\n', b'{"seq":true}\n',
     b'{"body":"\\ud800","seq":0}\n', b'{"body":7,"seq":0}\n', b'{"body":"[]","seq":0,"signature":7}\n',
     b'{"body":"{}","seq":0,"signature":"\xc3\xa9"}\n', b"9" * 9000],
    ids=str,
)  # fmt: skip
def test_p5_a_file_of_a_bundle_with_anything_else_in_it_is_refused(bundle, name, content) -> None:
    (bundle / name).unlink()
    if content is not None:
        (bundle / name).write_bytes(content)
    problem(bundle)
    (bundle / name).unlink(missing_ok=True)
    (bundle / name).mkdir()
    problem(bundle)


# --- whole entries --------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[list[dict[str, object]]], list[dict[str, object]]]] = {
    "the first dropped": lambda all_: all_[1:],
    "the middle dropped": lambda all_: [all_[0], all_[2]],
    "the last dropped": lambda all_: all_[:-1],
    "all dropped": lambda all_: [],
    "two swapped": lambda all_: [all_[1], all_[0], all_[2]],
    "one twice": lambda all_: [all_[0], all_[0], all_[1], all_[2]],
    "one in place of another": lambda all_: [all_[0], all_[0], all_[2]],
    "one without signature": lambda all_: [all_[0], all_[1], {**all_[2], "signature": None}],
}


@pytest.mark.parametrize("fitting", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_p5_entries_dropped_swapped_or_added_are_found(made, bundle, change, fitting) -> None:
    changed = CHANGES[change](lines(bundle))
    put_lines(bundle, changed)
    if fitting:
        put_manifest(bundle, to_seq=2 + len(changed) - 1)
    problem(bundle, made.new_key)
    if fitting and change == "the first dropped":
        put_manifest(bundle, from_seq=3, to_seq=4)
        problem(bundle, made.new_key)


def test_p5_entries_of_another_bundle_are_found(made, bundle) -> None:
    for place, others in enumerate(lines(made.other)):
        changed = lines(bundle)
        changed[place] = others
        put_lines(bundle, changed)
        problem(bundle, made.new_key)
    put_lines(bundle, [*lines(made.part), lines(made.whole)[5]])
    put_manifest(bundle, to_seq=5)
    assert "not those that the checkpoint was signed for" in problem(bundle) or "proof" in problem(
        bundle
    )


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("source", ["before", "whole", "other"])
def test_p5_a_file_of_another_bundle_is_found(made, bundle, source, name) -> None:
    shutil.copy(getattr(made, source) / name, bundle / name)
    same = (made.part / name).read_bytes() == (bundle / name).read_bytes()
    assert same == (source == "whole" and name in {"checkpoint.note", "keys.jsonl"})
    if not same:
        problem(bundle)
        problem(bundle, made.new_key)


@pytest.mark.parametrize(
    "changed",
    [{"origin": "affidavit/x/y"}, {"origin": None}, {"origin": "\ud800"}, {"format": "other/1"},
     {"from_seq": 3, "to_seq": 5}, {"from_seq": -1}, {"from_seq": True}, {"from_seq": 2.0},
     {"from_seq": "2"}, {"from_seq": 10**30}, {"to_seq": 10**30}, {"to_seq": None}],
    ids=str,
)  # fmt: skip
def test_p5_another_manifest_is_found(made, bundle, changed) -> None:
    put_manifest(bundle, **changed)
    problem(bundle)
    problem(bundle, made.new_key)


def test_p5_a_proof_with_more_or_fewer_hashes_or_what_is_no_hash_is_found(bundle) -> None:
    proof = json.loads((bundle / "proof.json").read_text())
    assert proof
    for wrong in (proof[1:], proof[:-1], [*proof, proof[0]], proof[::-1] if len(proof) > 1 else [],
                  [*proof[:-1], encoded(b"short")], [*proof[:-1], encoded(bytes(64))],
                  [*proof[:-1], None], [*proof[:-1], [proof[-1]]]):  # fmt: skip
        (bundle / "proof.json").write_text(json.dumps(wrong))
        problem(bundle)


# --- keys -----------------------------------------------------------------------------------------


def test_p5_keys_dropped_swapped_or_repeated_are_found(made, bundle) -> None:
    keys = lines(bundle, "keys.jsonl")
    assert len(keys) == 2
    for wrong in (keys[1:], keys[:1], keys[::-1], [*keys, keys[1]], [keys[0], keys[0]], []):
        put_lines(bundle, wrong, "keys.jsonl")
        problem(bundle)
        problem(bundle, made.new_key)


def test_p5_a_key_of_the_forgers_own_makes_nothing_right(made, bundle) -> None:
    """Without --public-key a bundle shows that it is whole, and not whose it is."""
    with attack(shutil.copytree(made.lake, bundle.with_name("lake"))) as store:
        store.run("DELETE FROM ledger WHERE seq >= 3")
        store.run("DELETE FROM search_results WHERE seq >= 3")
        store.rewrite(evil_key())
    shutil.rmtree(bundle.with_name("lake") / "keys")
    with connect(bundle.with_name("lake"), read_only=True) as session:
        forged = session.ledger.export(bundle.with_name("forged"))
    assert check_bundle(forged)
    assert "another ledger's" in problem(forged, made.old_key)
    for name in ("keys.jsonl", "checkpoint.note"):
        mixed = shutil.copytree(forged, bundle.with_name(f"mixed {name}"))
        shutil.copy(made.part / name, mixed / name)
        problem(mixed)
        problem(mixed, made.old_key)


def test_p5_a_search_is_no_key_although_it_names_one(made, bundle) -> None:
    keys, entries = lines(bundle, "keys.jsonl"), lines(bundle)
    put_lines(bundle, [keys[0], {**entries[0], "seq": 2, "proof": []}], "keys.jsonl")
    assert "no entry that names a key" in problem(bundle)


def test_p5_a_changed_record_is_found_although_the_proof_was_computed_anew(made, bundle) -> None:
    entries = lines(bundle)
    body = str(entries[2]["body"]).encode()
    entries[2]["body"] = body_with(body, actor="nobody").decode()
    put_lines(bundle, entries)
    assert "entry 4: its signature is wrong" in problem(bundle)
    entries[2] = {"body": body_with(body, key_id=...).decode(), "signature": None}
    put_lines(bundle, entries)
    assert "not those that the checkpoint was signed for" in problem(bundle)


def test_p12_a_verdict_cannot_hide_itself(made, bundle) -> None:
    """A name in a bundle could move the cursor over the key that was to be compared."""
    keys = lines(bundle, "keys.jsonl")
    body = json.loads(str(keys[0]["body"]))
    body["public_key"] = "\x1b[8m" + body["public_key"]
    keys[0]["body"] = json.dumps(body)
    put_lines(bundle, keys, "keys.jsonl")
    assert "public key" in problem(bundle)
    assert isinstance(check_bundle(bundle), Verdict)


# --- exporting what was tampered with -------------------------------------------------------------


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE ledger SET body = x'ff' WHERE seq = 4", "UPDATE ledger SET body = NULL WHERE seq = 4",
        "UPDATE ledger SET body = 'text' WHERE seq = 4", "UPDATE ledger SET body = 7 WHERE seq = 4",
        "UPDATE ledger SET signature = 'text' WHERE seq = 4", "DELETE FROM ledger WHERE seq = 4",
        "UPDATE ledger SET signature = NULL WHERE seq = 4", "DELETE FROM ledger WHERE seq = 3",
        "UPDATE ledger SET seq = 4.5 WHERE seq = 4", "UPDATE ledger SET body = '{}' WHERE seq = 0",
        "UPDATE ledger SET leaf_hash = zeroblob(32) WHERE seq = 6", "DELETE FROM ledger WHERE seq = 0",
        "UPDATE ledger SET leaf_hash = NULL WHERE seq = 6", "UPDATE ledger_heads SET peaks = x'00'",
        "UPDATE ledger SET body = x'7b7d' WHERE kind = 'key'", "UPDATE ledger SET kind = 'key'",
        "UPDATE ledger SET signature = 7 WHERE kind = 'key'",
    ],
)  # fmt: skip
def test_p5_nothing_is_exported_of_a_ledger_that_was_tampered_with(made, tmp_path, harm) -> None:
    """Some damage ended the program; of other damage a bundle was made that did not verify."""
    lake = shutil.copytree(made.lake, tmp_path / "lake")
    with attack(lake) as store:
        assert check_bundle(store.export(tmp_path / "right", 2, 4))
        store.run(harm)
        with pytest.raises(LedgerCorruptError):
            store.export(tmp_path / "bundle", 2, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "right"]


def test_p5_a_bundle_has_no_member_that_none_has_and_one_key(made, tmp_path) -> None:
    def changed(name: str, change: Callable[[str], str]) -> Verdict:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made.whole, folder)
        (folder / name).write_text(change((folder / name).read_text()))
        return check_bundle(folder)

    assert changed("README.txt", str.upper)
    more = '{"later": 1, '
    for name in ("entries.jsonl", "keys.jsonl", "manifest.json"):
        assert "later" in str(changed(name, lambda text: more + text.lstrip()[1:]))
    assert "public_key.txt" in str(changed("public_key.txt", lambda _: f"{made.other_key}\n"))
    assert "public_key.txt" in str(changed("public_key.txt", str.strip))
    shutil.copytree(made.whole, tmp_path / "without")
    (tmp_path / "without" / "public_key.txt").unlink()
    assert check_bundle(tmp_path / "without"), "it is for people"


@pytest.mark.parametrize("name", [*CHECKED, "public_key.txt"])
def test_p5_what_is_no_file_is_refused_and_not_waited_for(made, tmp_path, name) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(made.whole, folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"{name} is no file" in str(check_bundle(folder))
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    assert f"{name} is no file" in str(check_bundle(folder))
    (folder / name).unlink()
    (folder / name).mkdir()
    assert f"{name} is no file" in str(check_bundle(folder))


def test_p5_a_bundle_can_leave_out_what_bodies_commit_to(tmp_path) -> None:
    with affidavit.connect(tmp_path / "lake", audit="rows", durability="normal") as session:
        session.create_table("t", [{"id": "Maria"}], primary_key="id")
        session.sql("SELECT id FROM t").to_arrow()
        whole = session.ledger.export(tmp_path / "whole")
        bare = session.ledger.export(tmp_path / "bare", values=False)
        for wrong in ({"from_seq": "a"}, {"to_seq": 1.5}, {"path": None}):
            with pytest.raises(InvalidQueryError):
                session.ledger.export(**{"path": tmp_path / "x", **wrong})
    assert check_bundle(whole)
    assert check_bundle(bare)
    told = [(each / "entries.jsonl").read_text() for each in (whole, bare)]
    assert ["SELECT id" in each for each in told] == [True, False]
