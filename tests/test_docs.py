"""What the docs say is so: the README's examples run, and the ledger's test vector is right."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typer.testing import CliRunner

import affidavit
from affidavit.catalog.ledger.commitments import Commitments, ids_root
from affidavit.catalog.ledger.head import sign_note
from affidavit.catalog.ledger.keys import EnvKeyStore, KeyRing
from affidavit.catalog.ledger.ledger import Ledger
from affidavit.catalog.ledger.ledgers import origin_of
from affidavit.catalog.ledger.statements import extended
from affidavit.catalog.ledger.verifier import Checkpoint, Log
from affidavit.catalog.values.canonical import canonical, datetime_of, to_us
from affidavit.catalog.values.digest import rows_set_digest
from affidavit.engine.fronts.cli import app
from affidavit.engine.reads import record as reads
from affidavit.engine.search import record as searches

ROOT = Path(__file__).parents[1]


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the Python of a page, all blocks as one program, in ``folder``."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) >= 3
    program = folder / "page.py"
    program.write_text("\n".join(blocks))
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(program)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    done = run_page(ROOT / "README.md", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "maria delete reviews 1" in done.stdout
    assert "VERIFIED affidavit/" in done.stdout
    check = [sys.executable, "-I", "bundle/verify.py", "bundle"]
    bundle = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert bundle.returncode == 0, bundle.stdout
    assert CliRunner().invoke(app, ["verify", str(tmp_path / "lake")]).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", ["topics", "search"])
def test_the_pages_run_as_they_stand(page: str, tmp_path: Path) -> None:
    done = run_page(ROOT / f"docs/{page}.md", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page are linked as."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_every_link_in_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if "://" not in link:
                target, _, anchor = link.partition("#")
                found = page.parent / target if target else page
                assert found.exists(), f"{page.name}: {link}"
                assert not anchor or anchor in anchors(found), f"{page.name}: {link}"


def blocks() -> list[Any]:
    """Return the JSON of docs/ledger.md."""
    page = (ROOT / "docs/ledger.md").read_text()
    return [json.loads(each) for each in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]


def vector() -> dict[str, str]:
    """Return the test vector of docs/ledger.md."""
    found: dict[str, str] = blocks()[0]
    return found


def second_vector() -> dict[str, Any]:
    """Return the one of the second version: a search, a read, and the head after them."""
    found: dict[str, Any] = blocks()[1]
    return found


def test_the_ledgers_test_vector_follows_from_the_page_alone() -> None:
    """Derived as docs/ledger.md says it, with none of our own functions."""
    told = vector()
    kdf = HKDF(SHA256(), 32, told["origin"].encode(), b"affidavit ed25519 0")
    key = Ed25519PrivateKey.from_private_bytes(kdf.derive(bytes.fromhex(told["master_key"])))
    public = key.public_key().public_bytes_raw()
    named = hashlib.sha256(told["origin"].encode() + b"\n\x01" + public).digest()[:4]
    encoded = base64.b64encode(b"\x01" + public).decode()
    assert told["public_key"] == f"{told['origin']}+{named.hex()}+{encoded}"
    assert told["key_id"] == hashlib.sha256(public).hexdigest()[:16]
    body = told["body"].encode()
    signature = base64.b64decode(told["signature"])
    assert signature == key.sign(body)
    assert told["leaf"] == hashlib.sha256(b"\0" + body + signature).hexdigest()
    text, line = told["note"].split("\n\n")
    assert text.split("\n") == [
        told["origin"], "1", base64.b64encode(bytes.fromhex(told["leaf"])).decode(),
    ]  # fmt: skip
    signed = base64.b64encode(named + key.sign(f"{text}\n".encode())).decode()
    assert line == f"— {told['origin']} {signed}\n"


def test_the_ledgers_test_vector_is_what_the_engine_writes(monkeypatch) -> None:
    told = vector()
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", told["master_key"])
    origin = origin_of(told["lake_id"], told["tenant"])
    ledger = Ledger(told["tenant"], origin, KeyRing(EnvKeyStore()))
    signer = ledger.signer(0)
    body = json.loads(told["body"])
    draft = ledger._key_draft(signer.public_key, 0, to_us(body["created_at"]))
    entry = ledger._entry(draft, 0, signer, 0)
    assert (origin, entry.body.decode()) == (told["origin"], told["body"])
    assert (entry.signature, entry.leaf_hash.hex()) == (
        base64.b64decode(told["signature"]), told["leaf"],
    )  # fmt: skip
    checkpoint = Checkpoint(origin, 1, entry.leaf)
    assert sign_note(checkpoint.text, signer.public_key, signer.sign) == told["note"]


# --- the second version ---------------------------------------------------------------------------


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def test_the_vector_of_commitments_follows_from_the_page_alone() -> None:
    """Derived as docs/ledger.md says it, with none of our own functions."""
    first, told = vector(), second_vector()
    kdf = HKDF(SHA256(), 32, first["origin"].encode(), b"affidavit ed25519 0")
    key = Ed25519PrivateKey.from_private_bytes(kdf.derive(bytes.fromhex(first["master_key"])))
    for entry in told["entries"]:
        body = json.loads(entry["body"])
        assert body["v"] == 2
        committed = {
            name
            for name, value in body.items()
            if isinstance(value, str) and value.startswith("c:")
        }
        assert committed == entry["opened"].keys()
        for name, (salt, value) in entry["opened"].items():
            hashed = sha256(bytes.fromhex(salt), b"\2", name.encode(), b"\0", value.encode())
            assert body[name] == f"c:{hashed.hex()}"
        signature = base64.b64decode(entry["signature"])
        assert signature == key.sign(entry["body"].encode())
        assert entry["leaf"] == sha256(b"\0", entry["body"].encode(), signature).hex()
    leaves = [bytes.fromhex(each["leaf"]) for each in (first, *told["entries"])]
    root = sha256(b"\1", sha256(b"\1", leaves[0], leaves[1]), leaves[2])
    log = sha256(bytes(32), told["log"][0].encode())
    text, line = told["note"].split("\n\n")
    assert text.split("\n") == [
        first["origin"], "3", base64.b64encode(root).decode(),
        f"log 0 1 {base64.b64encode(log).decode()}",
    ]  # fmt: skip
    signed = base64.b64decode(line.split(" ")[2])
    assert signed[4:] == key.sign(f"{text}\n".encode())
    ids = told["ids"]
    hashes = sorted(sha256(bytes.fromhex(ids["salt"]), each.encode()) for each in ids["ids"])
    one, two, three = (sha256(b"\0", each) for each in hashes)
    assert ids["root"] == sha256(b"\1", sha256(b"\1", one, two), three).hex()


def test_what_the_vector_of_a_read_commits_to_is_what_its_rows_hash_to() -> None:
    opened = second_vector()["entries"][1]["opened"]
    rows = pa.table({"id": pa.array([1, 2]), "x": ["a", None]})
    salt, value = opened["result_sha256"]
    assert json.loads(value) == affidavit.digest(rows, bytes.fromhex(salt))
    assert json.loads(opened["rows_set_sha256"][1]) == rows_set_digest(rows)
    statement = [json.loads(opened[name][1]) for name in ("text", "parameters")]
    written = json.dumps(statement, separators=(",", ":")).encode()
    assert json.loads(opened["statement_sha256"][1]) == sha256(bytes.fromhex(salt), written).hex()


def test_the_vector_of_commitments_is_what_the_engine_writes(monkeypatch) -> None:
    first, told = vector(), second_vector()
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", first["master_key"])
    ledger = Ledger(first["tenant"], first["origin"], KeyRing(EnvKeyStore()))
    signer = ledger.signer(0)

    def opened(at: int) -> dict[str, Any]:
        pairs = told["entries"][at]["opened"]
        salts = {name: bytes.fromhex(salt) for name, (salt, _) in pairs.items()}

        def salted(values: dict[str, bytes | None], _: object = None) -> Commitments:
            return Commitments(values, salts)

        for module in (searches, reads):
            monkeypatch.setattr(module, "Commitments", salted)
        return {name: json.loads(value) for name, (_, value) in pairs.items()}

    values = opened(0)
    values["query_vector"] = [*struct.unpack("<2f", base64.b64decode(values["query_vector"]))]
    body = json.loads(told["entries"][0]["body"])
    for name in ("seq", "kind", "tenant", "key_id", "v"):
        del body[name]
    at = datetime_of(to_us(body["executed_at"]))
    search = searches.SearchRecord(**{**body, **values, "executed_at": at})
    drafts = [searches.draft_record(search)]

    values = opened(1)
    body = json.loads(told["entries"][1]["body"])
    at_us, read_id = to_us(body["created_at"]), body["read_id"]
    for name in ("seq", "kind", "tenant", "key_id", "v", "entry_id", "read_id", "created_at"):
        del body[name]
    empty = {"lineage": None, "context": None}
    stated = {name: value for name, value in body.items() if name not in {*values, *empty}}
    read = reads.Said(read_id, False, at_us, stated, {**values, **empty}, b"")
    drafts.append(read.draft())

    for seq, (draft, wanted) in enumerate(zip(drafts, told["entries"], strict=True), 1):
        logged_at = to_us(
            json.loads(wanted["body"]).get("logged_at", "1970-01-01T00:00:00.000000Z")
        )
        entry = ledger._entry(draft, seq, signer, logged_at)
        assert entry.body.decode() == wanted["body"]
        assert entry.leaf_hash.hex() == wanted["leaf"]
        assert json.loads(entry.opened or b"{}") == {
            name: [salt, json.loads(value)] for name, (salt, value) in wanted["opened"].items()
        }
    row = json.loads(told["log"][0])
    log = extended(Log(), canonical(row))
    assert canonical(row).decode() == told["log"][0]
    assert log.text in told["note"]
    ids = told["ids"]
    assert ids_root(bytes.fromhex(ids["salt"]), ids["ids"]) == ids["root"]
