"""A bundle proves itself to a stranger who holds a public key, and has no affidavit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import affidavit


def check(bundle: Path, key: str) -> str:
    """Return what the bundle's own program says; it needs Python and cryptography, nothing else."""
    command = [sys.executable, "-I", str(bundle / "verify.py"), str(bundle), "--public-key", key]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


with TemporaryDirectory() as folder:
    bundle = Path(folder, "bundle")
    with affidavit.connect(f"{folder}/lake", actor="reader-12") as session:
        session.create_vector_table("files", [{"id": 1, "vector": [1.0, 0.0]}])
        session.search("files", [1.0, 0.1], k=1, lineage={"case": "2026-114"})
        key = session.ledger.public_key
        session.ledger.export(bundle)

    said = check(bundle, key)
    print(said)
    assert said.startswith("VERIFIED"), said

    # whoever changes a word of it is found out
    entries = next(path for path in bundle.iterdir() if b"reader-12" in path.read_bytes())
    entries.write_bytes(entries.read_bytes().replace(b"reader-12", b"reader-13"))
    said = check(bundle, key)
    print(said)
    assert said.startswith("NOT VERIFIED"), said
