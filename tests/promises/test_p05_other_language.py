"""P5: a verifier in another language, written from docs/ledger.md alone, finds what ours finds."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.forging import evil_key, flipped
from tests.support.lakes import vectors

import affidavit
from affidavit import errors
from affidavit.catalog.ledger.head import sign_note
from affidavit.catalog.ledger.keys import EnvKeyStore, KeyRing
from affidavit.catalog.ledger.verifier import (
    Checkpoint,
    PublicKey,
    check_bundle,
    commitment,
    leaf_hash,
    node_hash,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no node (Debian's package is nodejs)")

ROOT = Path(__file__).parents[2]
VERIFIER = ROOT / "tests/support/verify_bundle.mjs"
OLD_BUNDLE = ROOT / "tests/fixtures/bundle_v1"
CHECKED = ["manifest.json", "entries.jsonl", "keys.jsonl", "checkpoint.note", "proof.json"]
MANY = 70_000
"""More rows than are held, or have their digest in one chunk; and more ids than are listed."""

Files = dict[str, bytes]
Line = dict[str, Any]


def node(*arguments: str | Path) -> list[str]:
    """Return what the verifier says, a line each."""
    assert NODE is not None
    command = [NODE, str(VERIFIER), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    assert ran.returncode in {0, 1}
    return ran.stdout.splitlines()


def verdicts(bundles: Sequence[Path], key: str | None = None) -> list[tuple[bool, bool]]:
    """Return whether ours and the other one find each bundle whole."""
    said = node(*(() if key is None else ("--public-key", key)), *bundles)
    assert all(each.startswith(("VERIFIED: ", "NOT VERIFIED: ")) for each in said)
    other = [each.startswith("VERIFIED: ") for each in said]
    return list(zip([bool(check_bundle(each, key)) for each in bundles], other, strict=True))


def files_of(bundle: Path) -> Files:
    return {name: (bundle / name).read_bytes() for name in CHECKED}


def put(folder: Path, files: Files) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def lines(files: Files, name: str = "entries.jsonl") -> list[Line]:
    return [json.loads(each) for each in files[name].splitlines()]


def with_lines(files: Files, given: list[Line], name: str = "entries.jsonl") -> Files:
    return {**files, name: b"".join(json.dumps(each).encode() + b"\n" for each in given)}


def with_json(files: Files, name: str, value: object) -> Files:
    return {**files, name: json.dumps(value).encode()}


# --- what nobody touched --------------------------------------------------------------------------


@dataclass
class Made:
    """A lake of everything that a ledger has, and what was exported of it."""

    old_key: str
    new_key: str
    whole: Path
    part: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("bundles")
    options: dict[str, Any] = {"actor": "maria", "durability": "normal", "audit": "statements"}
    with affidavit.connect(folder / "lake", tenant="Zoë", **options) as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR)")
        session.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        session.sql("ALTER TABLE t SET (audit = 'rows')")
        session.create_vector_table("docs", vectors(MANY, 2))
        with session.scope(context={"purpose": "billing"}) as scope:
            scope.search("docs", [0.5, -1.0], k=2, where="bucket < 5", lineage={"by": "désirée"})
            scope.sql("SELECT * FROM t WHERE id < $n ORDER BY id", {"n": 9}).to_arrow()
        old_key = session.ledger.public_key
        new_key = session.ledger.rotate_key()
        session.table("docs").audit = "rows"
        assert session.sql("SELECT id, text FROM docs").to_arrow().num_rows == MANY
        with pytest.raises(errors.TableNotFoundError):
            session.sql("SELECT * FROM nothing")
        assert session.journal.erase("1", "asked") == 1
    with affidavit.connect(folder / "lake", tenant="Zoë", **options) as session:
        whole = session.ledger.export(folder / "whole")
        part = session.ledger.export(folder / "part", 2, session.ledger.size - 2)
    return Made(old_key, new_key, whole, part)


def bodies(bundle: Path) -> list[Line]:
    return [json.loads(each["body"]) for each in lines(files_of(bundle))]


def opened(bundle: Path, kind: str) -> Line:
    """Return what the last entry of a kind commits to, by member: the salt and the value."""
    found = [
        each["opened"]
        for each in lines(files_of(bundle))
        if json.loads(each["body"])["kind"] == kind and "opened" in each
    ][-1]
    return {name: (salt, json.loads(value)) for name, (salt, value) in found.items()}


def test_p5_bundles_of_everything_verify_in_another_language(made) -> None:
    kinds = {each["kind"] for each in bodies(made.whole)}
    assert kinds == {
        "key", "search", "read", "read-closed", "event", "erasure", "erasure-certificate",
    }  # fmt: skip
    statuses = {each["status"] for each in bodies(made.whole) if each["kind"] == "read"}
    assert statuses == {"ok", "open", "refused"}
    assert "\nlog 0 " in (made.whole / "checkpoint.note").read_text()
    for key in (None, made.old_key, made.new_key):
        assert verdicts([made.whole, made.part], key) == [(True, True)] * 2
    stranger = str(PublicKey("affidavit/x/y", evil_key().public_key().public_bytes_raw()))
    for key in (stranger, "x", "", made.new_key[:-1]):
        assert verdicts([made.whole], key) == [(False, False)]
    for bundle in (made.whole, made.part):
        size = len(lines(files_of(bundle)))
        assert node(bundle)[0].startswith(f"VERIFIED: {size} entries, ")


def test_p5_what_was_erased_is_gone_from_a_bundle_that_verifies(made) -> None:
    erasure = next(each for each in bodies(made.whole) if each["kind"] == "erasure")
    entries = lines(files_of(made.whole))
    assert erasure["records"]
    for seq, members in erasure["records"]:
        for member in members:
            assert json.loads(entries[seq]["body"])[member].startswith("c:")
            assert member not in entries[seq]["opened"]


def test_p5_a_bundle_of_the_first_format_verifies(tmp_path) -> None:
    key = (OLD_BUNDLE / "public_key.txt").read_text()
    assert json.loads((OLD_BUNDLE / "manifest.json").read_text())["format"] == "affidavit-bundle/1"
    assert verdicts([OLD_BUNDLE]) == verdicts([OLD_BUNDLE], key) == [(True, True)]
    assert {each["kind"] for each in bodies(OLD_BUNDLE)} == {"key", "search", "event"}
    assert not any("v" in each for each in bodies(OLD_BUNDLE))
    files = files_of(OLD_BUNDLE)
    told = lines(files)
    pair = {"query_text": ["00" * 16, '"x"']}
    forged = [with_lines(files, [{**each, "opened": pair} for each in told])]
    forged += [with_lines(files, told[:at] + told[at + 1 :]) for at in range(len(told))]
    assert_found(tmp_path, ((str(at), each) for at, each in enumerate(forged)))


def meaning(files: Files) -> list[object]:
    """Return what a bundle says, however it is written."""
    manifest = json.loads(files["manifest.json"])
    own = ("body", "signature", "opened", "seq", "proof")
    return [
        [manifest[name] for name in ("format", "origin", "from_seq", "to_seq")],
        [[each.get(name) for name in own[:3]] for each in lines(files)],
        [[each.get(name) for name in own] for each in lines(files, "keys.jsonl")],
        files["checkpoint.note"],
        json.loads(files["proof.json"]),
    ]


# --- what somebody changed ------------------------------------------------------------------------


def assert_found(
    folder: Path, forgeries: Iterator[tuple[str, Files]], key: str | None = None
) -> int:
    """Both verifiers must refuse each forgery; return how many there were."""
    names, bundles = [], []
    for at, (name, files) in enumerate(forgeries):
        names.append(name)
        bundles.append(put(folder / str(at), files))
    found = zip(names, verdicts(bundles, key), strict=True)
    assert [each for each in found if each[1] != (False, False)] == []
    return len(names)


def forged_files(files: Files) -> Iterator[tuple[str, Files]]:
    for name, content in files.items():
        yield f"no {name}", {each: files[each] for each in CHECKED if each != name}
        for new in (b"", b"\xff", b"null\n", b"[]\n", b"{}\n", b'"x"\n', b"[" * 100_000,
                    b"\xef\xbb\xbf" + content, content[:-1], content + content):  # fmt: skip
            yield f"{name}: {new[:9]!r} of {len(new)}", {**files, name: new}


def others(value: object) -> Iterator[object]:
    """Yield what is not ``value``, of its type and of another."""
    if isinstance(value, str):
        yield from (value + "x", 7)
        if value:
            yield from (value[1:], flipped(value, len(value) // 2))
    elif isinstance(value, bool):
        yield from (not value, int(value))
    elif isinstance(value, int):
        yield from (value + 1, -1, float(value) + 0.5, str(value))
    elif isinstance(value, list):
        yield from ([*value, "x"], value[1:] if value else ["x"], {}, None)
    elif value is None:
        yield from ("", "x", 0, {})
    yield [value]


def forged_members(files: Files) -> Iterator[tuple[str, Files]]:
    """Change and take away each member of each object of the files."""
    manifest = json.loads(files["manifest.json"])
    for member, value in manifest.items():
        rest = {name: each for name, each in manifest.items() if name != member}
        yield f"manifest: no {member}", with_json(files, "manifest.json", rest)
        for new in others(value):
            changed = with_json(files, "manifest.json", {**rest, member: new})
            yield f"manifest: {member} {new!r}", changed
    for file in ("entries.jsonl", "keys.jsonl"):
        told = lines(files, file)
        for at, line in enumerate(told):
            for member, value in line.items():
                if member == "opened":
                    continue
                rest = {name: each for name, each in line.items() if name != member}
                changed = [{**rest, member: new} for new in others(value)]
                for each in [rest, *changed] if value is not None else changed:
                    some = with_lines(files, [*told[:at], each, *told[at + 1 :]], file)
                    yield f"{file} {at}: {member} {each.get(member)!r}", some


def forged_bodies(files: Files) -> Iterator[tuple[str, Files]]:
    """Change and take away each member of the first body of each kind."""
    told = lines(files)
    kinds: set[str] = set()
    for at, line in enumerate(told):
        body = json.loads(line["body"])
        if body["kind"] in kinds:
            continue
        kinds.add(body["kind"])
        for member, value in body.items():
            rest = {name: each for name, each in body.items() if name != member}
            for changed in [rest, *({**rest, member: new} for new in others(value))]:
                text = json.dumps(changed, sort_keys=True, separators=(",", ":"),
                                  ensure_ascii=False)  # fmt: skip
                some = [*told[:at], {**line, "body": text}, *told[at + 1 :]]
                yield f"{at} {member} {changed.get(member, '-')!r}", with_lines(files, some)


def forged_pairs(files: Files) -> Iterator[tuple[str, Files]]:
    """Change what entries commit to, in every way that leaves bodies and signatures alone."""
    told = lines(files)
    for at, line in enumerate(told):
        pairs: Line = line.get("opened", {})
        names = list(pairs)
        changes: dict[str, object] = {
            "a member that is not there": {**pairs, "nothing": ["00" * 16, "1"]},
            "a member in the clear": {**pairs, "kind": ["00" * 16, '"search"']},
            "a list": [[name, pair] for name, pair in pairs.items()], "an empty list": [],
            "a text": "", "a number": 0, "false": False,
        }  # fmt: skip
        for name, (salt, value) in pairs.items():
            other = pairs[names[names.index(name) - 1]]
            for what, pair in {
                "another salt": [flipped(salt, 3, 0), value], "no salt": ["", value],
                "half a salt": [salt[:16], value], "a longer salt": [salt + "00", value],
                "upper case": [salt.upper(), value], "spaces": [salt[:2] + " " + salt[2:], value],
                "another value": [salt, value[:-1] + " " + value[-1:]], "no value": [salt, None],
                "a spaced value": [salt, f" {value}"], "JSON": [salt, json.loads(value)],
                "one": [salt], "three": [salt, value, value], "nothing": None,
                "the value alone": value, "turned round": [value, salt],
                "another's": other, "another's salt": [other[0], value],
            }.items():  # fmt: skip
                if pair != [salt, value]:
                    changes[f"{name}: {what}"] = {**pairs, name: pair}
            rest = {each: pair for each, pair in pairs.items() if each != name}
            changes[f"{name}: called otherwise"] = {**rest, f"{name}x": [salt, value]}
        for what, new in changes.items():
            some = [*told[:at], {**line, "opened": new}, *told[at + 1 :]]
            yield f"{at} {what}", with_lines(files, some)
    with_pairs = [at for at, line in enumerate(told) if "opened" in line]
    for at, other_at in zip(with_pairs, [*with_pairs[1:], with_pairs[0]], strict=True):
        some = [*told[:at], {**told[at], "opened": told[other_at]["opened"]}, *told[at + 1 :]]
        yield f"{at} has the pairs of {other_at}", with_lines(files, some)


def forged_twice(files: Files) -> Iterator[tuple[str, Files]]:
    """Say a member twice: readers differ in which one they take."""
    raw = files["entries.jsonl"].decode().splitlines()
    for at, line in enumerate(raw):
        for member, new in (("body", "{}"), ("signature", ""), ("opened", {})):
            before = f"{{{json.dumps(member)}: {json.dumps(new)}, {line[1:]}"
            after = (
                f"{line[:-1]}, {json.dumps(member)}: {json.dumps(json.loads(line).get(member))}}}"
            )
            for each in (before, after):
                if f'"{member}": ' in line:
                    some = "\n".join([*raw[:at], each, *raw[at + 1 :], ""])
                    yield (
                        f"{at} {member} {each is before}",
                        {**files, "entries.jsonl": some.encode()},
                    )
        pairs = json.loads(line).get("opened", {})
        for name, pair in pairs.items():
            told = json.dumps({name: ["00" * 16, '"another"']})[1:-1]
            for text in (told, json.dumps({name: pair})[1:-1]):
                each = line.replace('"opened": {', f'"opened": {{{text}, ')
                some = "\n".join([*raw[:at], each, *raw[at + 1 :], ""])
                yield f"{at} {name} {text == told}", {**files, "entries.jsonl": some.encode()}
    for name in ("manifest.json", "keys.jsonl"):
        content = files[name].replace(b"{", b'{"seq": 0, "seq": 0, ', 1)
        yield name, {**files, name: content}


def forged_order(files: Files) -> Iterator[tuple[str, Files]]:
    """Drop, repeat and swap whole lines and hashes, and fit the manifest to it."""
    manifest = json.loads(files["manifest.json"])

    def changes(given: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        for at in range(len(given)):
            yield f"without {at}", given[:at] + given[at + 1 :]
            yield f"{at} twice", [*given[: at + 1], *given[at:]]
            if at:
                yield f"{at} first", [*given[: at - 1], given[at], given[at - 1], *given[at + 1 :]]
                yield f"{at} in place of 0", [given[at], *given[1:]]
                yield f"up to {at}", given[:at]
                yield f"from {at}", given[at:]
        yield "turned round", given[::-1]

    for what, some in changes(lines(files)):
        forged = with_lines(files, some)
        yield f"entries: {what}", forged
        if len(some) != len(lines(files)):
            fits = {**manifest, "to_seq": manifest["from_seq"] + len(some) - 1}
            yield f"entries: {what}, fitting", with_json(forged, "manifest.json", fits)
            fits = {**manifest, "from_seq": manifest["to_seq"] - len(some) + 1}
            yield f"entries: {what}, fitting before", with_json(forged, "manifest.json", fits)
    for what, some in changes(lines(files, "keys.jsonl")):
        yield f"keys: {what}", with_lines(files, some, "keys.jsonl")
    for what, some in changes(json.loads(files["proof.json"])):
        yield f"proof: {what}", with_json(files, "proof.json", some)
    for at, line in enumerate(told := lines(files, "keys.jsonl")):
        for what, some in changes(line["proof"]):
            if some != line["proof"]:
                keys = [*told[:at], {**line, "proof": some}, *told[at + 1 :]]
                yield f"key {at}: {what}", with_lines(files, keys, "keys.jsonl")


def forged_note(files: Files) -> Iterator[tuple[str, Files]]:
    note = files["checkpoint.note"].decode()
    text, _, signature = note.partition("\n\n")
    told = text.split("\n")
    evil = PublicKey(told[0], evil_key().public_key().public_bytes_raw())
    for at, line in enumerate(told):
        yield (
            f"without line {at}",
            {**files, "checkpoint.note": note.replace(f"{line}\n", "", 1).encode()},
        )
        for what, new in (
            ("longer", f"{line}0"),
            ("spaced", f" {line}"),
            ("twice", f"{line}\n{line}"),
        ):
            changed = note.replace(line, new, 1)
            yield f"line {at} {what}", {**files, "checkpoint.note": changed.encode()}
    for what, changed in {
        "kept": f"{text}\nkept\n\n{signature}", "no signature": f"{text}\n\n",
        "one line": f"{text}\n{signature}", "a hyphen": note.replace("—", "-"),
        "another's": sign_note(f"{text}\n", evil, evil_key().sign),
        "two texts": f"{text}\n\n{note}", "carriage returns": note.replace("\n", "\r\n"),
        "another name": note.replace(f"— {told[0]}", "— affidavit/x/y"),
    }.items():  # fmt: skip
        yield what, {**files, "checkpoint.note": changed.encode()}


FORGERS: dict[str, Callable[[Files], Iterator[tuple[str, Files]]]] = {
    "files": forged_files, "members": forged_members, "bodies": forged_bodies,
    "pairs": forged_pairs, "twice": forged_twice, "order": forged_order, "note": forged_note,
}  # fmt: skip


@pytest.mark.parametrize("forger", FORGERS)
def test_p5_both_verifiers_refuse_each_forgery(made, tmp_path, forger) -> None:
    assert assert_found(tmp_path, FORGERS[forger](files_of(made.part))) > 20


def test_p5_both_verifiers_say_the_same_of_flipped_bits(made, tmp_path) -> None:
    """Where they let one pass, a bundle says what it did, or opens a commitment less."""
    files = files_of(made.part)
    chosen = random.Random(5)
    bundles, changed = [], []
    for name, content in files.items():
        for at in chosen.sample(range(len(content)), min(len(content), 60)):
            new = content[:at] + bytes([content[at] ^ 1 << chosen.randrange(8)]) + content[at + 1 :]
            changed.append({**files, name: new})
            bundles.append(put(tmp_path / str(len(bundles)), changed[-1]))
    found = verdicts(bundles, made.new_key)
    assert found.count((False, False)) > 200
    for each, (ours, other) in zip(changed, found, strict=True):
        assert ours == other
        if ours:
            told = lines(each)
            less = [was if "opened" in line else {**was, "opened": None}
                    for was, line in zip(lines(files), told, strict=True)]  # fmt: skip
            assert meaning(each) == meaning(with_lines(files, less))


def test_p5_what_is_left_out_of_what_is_opened_is_no_fault(made, tmp_path) -> None:
    files = files_of(made.part)
    told = lines(files)
    bundles = []
    for at, line in enumerate(told):
        for member in line.get("opened", ()):
            rest = {name: pair for name, pair in line["opened"].items() if name != member}
            for new in (rest, {}, None):
                some = [*told[:at], {**line, "opened": new}, *told[at + 1 :]]
                bundles.append(put(tmp_path / str(len(bundles)), with_lines(files, some)))
    assert set(verdicts(bundles)) == {(True, True)}


# --- ledgers that only their owner can make -------------------------------------------------------


def page_vector(at: int) -> Any:
    """Return one of the vectors of docs/ledger.md."""
    page = (ROOT / "docs/ledger.md").read_text()
    return json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[at])


class Owner:
    """Whoever has the master key of the page's test vector."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told = page_vector(0)
        monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", self.told["master_key"])
        self.signer = KeyRing(EnvKeyStore()).signer(self.told["origin"], 0)

    def second(self, *, signed: bool = True, opened: object = None, **members: object) -> Line:
        """Return an entry 1 as a line of a bundle."""
        own = {"seq": 1, "tenant": self.told["tenant"], "kind": "new"}
        key_id = {"key_id": self.told["key_id"]} if signed else {}
        body = json.dumps({**own, **key_id, **members}, ensure_ascii=False)
        signature = base64.b64encode(self.signer.sign(body.encode())).decode() if signed else None
        return {"body": body, "signature": signature, "opened": opened}

    def files(self, *more: Line, note: str | None = None) -> Files:
        """Return a bundle of the key and of one or two entries more."""
        first = {"body": self.told["body"], "signature": self.told["signature"]}
        leaves = [
            leaf_hash(each["body"].encode(), base64.b64decode(each["signature"] or ""))
            for each in (first, *more)
        ]
        root = node_hash(leaves[0], leaves[1])
        root = node_hash(root, leaves[2]) if len(leaves) > 2 else root
        proof = [base64.b64encode(each).decode() for each in leaves[1:]]
        head = Checkpoint(self.told["origin"], len(leaves), root)
        manifest = {
            "format": "affidavit-bundle/2", "origin": self.told["origin"], "from_seq": 0,
            "to_seq": len(more),
        }  # fmt: skip
        files: Files = {
            "checkpoint.note": (
                note or sign_note(head.text, self.signer.public_key, self.signer.sign)
            ).encode()
        }
        files = with_json(with_json(files, "proof.json", []), "manifest.json", manifest)
        files = with_lines(files, [first, *more])
        return with_lines(files, [{**first, "seq": 0, "proof": proof}], "keys.jsonl")


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    return Owner(monkeypatch)


def test_p5_the_vectors_of_the_page_are_a_bundle(owner, tmp_path) -> None:
    told = page_vector(1)
    shown = [{name: each for name, each in entry.items() if name != "leaf"}
             for entry in told["entries"]]  # fmt: skip
    files = owner.files(*shown, note=told["note"])
    assert verdicts([put(tmp_path / "b", files)], owner.told["public_key"]) == [(True, True)]
    assert bytes.fromhex(told["entries"][0]["leaf"]) == leaf_hash(
        told["entries"][0]["body"].encode(), base64.b64decode(told["entries"][0]["signature"])
    )


def test_p5_what_a_later_version_may_write_is_not_refused(owner, tmp_path) -> None:
    note = owner.files(entry := owner.second(later={"x": [1.5, None]}))["checkpoint.note"].decode()
    stranger = PublicKey("example.org/witness", evil_key().public_key().public_bytes_raw())
    signature = sign_note(note.partition("\n\n")[0] + "\n", stranger, evil_key().sign)
    witnessed = note + signature.partition("\n\n")[2]
    kept = sign_note(f"{note.partition(chr(10) * 2)[0]}\nkept\n", owner.signer.public_key,
                     owner.signer.sign)  # fmt: skip
    whole = {
        "a member": owner.files(entry),
        "a kept checkpoint": owner.files(entry, note=kept),
        "no signature": owner.files(owner.second(signed=False)),
        "no key": owner.files(owner.second(signed=False, key_id=None)),
        "a witness": owner.files(entry, note=witnessed),
    }
    bundles = [put(tmp_path / name, files) for name, files in whole.items()]
    assert dict(zip(whole, verdicts(bundles), strict=True)) == dict.fromkeys(whole, (True, True))
    signed = owner.second()
    forged = {
        "a signature and no key": {**owner.second(signed=False), "signature": signed["signature"]},
        "a key and no signature": {**signed, "signature": None},
        "another's": {**signed, "signature": owner.told["signature"]},
        "another key": owner.second(key_id="0" * 16), "another tenant": owner.second(tenant="x"),
        "the shared scope": owner.second(tenant=None), "another number": owner.second(seq=2),
        "a key that is none": owner.second(kind="key"),
        "a member that no line has": {**signed, "later": 1},
    }  # fmt: skip
    assert_found(tmp_path, ((name, owner.files(each)) for name, each in forged.items()))


def test_p5_a_commitment_has_one_salt_and_one_value(owner, tmp_path) -> None:
    """A salt of any length was taken, so that one hash was of two values."""
    salt = bytes(range(16))
    longer = salt + b'\x02text\x00"first '
    value = '"second"'
    hidden = b'"first \x02text\x00' + value.encode()
    committed = commitment(salt, "text", hidden)
    assert committed == commitment(longer, "text", value.encode())
    entry = owner.second(v=2, text=committed, opened={"text": [longer.hex(), value]})
    right = {"text": [salt.hex(), hidden.decode()]}
    bundles = [
        put(tmp_path / "long", owner.files(entry)),
        put(tmp_path / "right", owner.files({**entry, "opened": right})),
    ]
    assert verdicts(bundles) == [(False, False), (True, True)]


# --- digests --------------------------------------------------------------------------------------

RESULTS: dict[str, list[list[object]]] = {
    "nothing": [],
    "no rows": [[]],
    "integers": [[1, None, -2], ["9223372036854775807", 0, None]],
    "floats": [[1, "-0", "NaN"], [1.5, None, "NaN"], [0, "-0", "NaN"]],
    "text": [["", None, "Zoë", "a\0"], ["ff", "", None, "7879"]],
    "many bits": [[True, None, False, *[True] * 6]],
    "times": [[1, None], [1, None], [-1, None], [[1, 2, 3], None]],
    "exact": [["-1.25", None], ["616263", None], [None, None]],
    "nested": [[[1, None], None, []], [[1, "a"], None, [None, "b"]], [[["k", True]], None, []]],
}
"""The values of the page's vectors by column, as the verifier takes them."""


def digests(folder: Path, results: list[Line]) -> list[Line]:
    (folder / "results.json").write_text(json.dumps(results))
    return [json.loads(each) for each in node("--digest", folder / "results.json")]


def test_p5_the_digests_of_the_page_follow_from_the_values(tmp_path) -> None:
    told = page_vector(-1)
    assert [each["name"] for each in told] == list(RESULTS)
    given = [
        {
            "salt": each["salt"],
            "columns": [
                {"name": name, "type": kind, "values": values}
                for (name, kind), values in zip(
                    json.loads(each["schema"]), RESULTS[each["name"]], strict=True
                )
            ],
        }
        for each in told
    ]
    for each, found in zip(told, digests(tmp_path, given), strict=True):
        assert found == {name: each[name] for name in ("columns", "digest", "rows_set")}


def test_p5_what_a_read_commits_to_is_what_its_rows_hash_to(made, tmp_path) -> None:
    told = opened(made.whole, "read-closed")
    salt, wanted = told["result_sha256"]
    table = vectors(MANY, 2)
    columns = [
        {"name": name, "type": kind, "values": table[name].to_pylist()}
        for name, kind in (("id", "int64"), ("text", "string"))
    ]
    found = digests(tmp_path, [{"salt": salt, "columns": columns}])[0]
    assert (found["digest"], found["rows_set"]) == (wanted, told["rows_set_sha256"][1])
    ids = told["ids"][1][0]
    assert (ids["count"], "ids" in ids) == (MANY, False)
    given = {"salt": ids["salt"], "ids": [str(each) for each in range(MANY)]}
    (tmp_path / "ids.json").write_text(json.dumps(given))
    assert node("--ids-root", tmp_path / "ids.json") == [ids["root"]]
