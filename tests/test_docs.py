"""What the docs say is so: the README's examples run, and the ledger's test vector is right."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typer.testing import CliRunner

from affidavit.catalog.ledger.keys import EnvKeyStore, KeyRing
from affidavit.catalog.ledger.ledger import Ledger
from affidavit.catalog.ledger.verifier import Checkpoint, origin_of, sign_note
from affidavit.catalog.values.canonical import to_us
from affidavit.engine.fronts.cli import app

ROOT = Path(__file__).parents[1]


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the Python of a page, all blocks as one program, in ``folder``."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) >= 4
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
def test_the_page_on_topics_runs_as_it_stands(tmp_path: Path) -> None:
    done = run_page(ROOT / "docs/topics.md", tmp_path)
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


def vector() -> dict[str, str]:
    """Return the test vector of docs/ledger.md."""
    page = (ROOT / "docs/ledger.md").read_text()
    found: dict[str, str] = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
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
    entry = ledger._entry(draft, 0, signer)
    assert (origin, entry.body.decode()) == (told["origin"], told["body"])
    assert (entry.signature, entry.leaf_hash.hex()) == (
        base64.b64decode(told["signature"]), told["leaf"],
    )  # fmt: skip
    checkpoint = Checkpoint(origin, 1, entry.leaf)
    assert sign_note(checkpoint.text, signer.public_key, signer.sign) == told["note"]
