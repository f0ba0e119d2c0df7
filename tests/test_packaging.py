"""The wheel and the sdist: all of the code, nothing else, and it runs where only it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.tree import PYPROJECT, ROOT, WINGS, modules, name_of


def test_every_folder_of_code_is_packaged() -> None:
    """A folder that is not listed imports in development and is missing from the wheel."""
    folders = {
        "affidavit." + ".".join(path.parent.relative_to(ROOT).parts) for path in modules(*WINGS)
    }
    assert folders | {"affidavit"} == set(PYPROJECT["tool"]["setuptools"]["packages"])


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of a developer's machine stands in a tracked file."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if (
            path.is_file()
            and not path.is_symlink()
            and path.suffix in {".py", ".md", ".toml", ".ipynb", ""}
        ):
            text = path.read_text(errors="replace")
            assert "/work" + "/main" not in text, name


IMPORT = """
import pathlib, affidavit, affidavit.engine, affidavit.catalog.store.sqlite, affidavit.triggers
assert "site-packages" in affidavit.engine.__file__, affidavit.engine.__file__
assert (pathlib.Path(affidavit.__file__).parent / "py.typed").exists()
with affidavit.connect("lake") as session:
    session.create_table("t", [{"a": 1}])
    assert session.sql("SELECT a + 1 AS b FROM t").to_pylist() == [{"b": 2}]
print(sorted(p.name for p in pathlib.Path(affidavit.__file__).parent.rglob("*.py")))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel and an sdist, built from a copy of the tree without its build leftovers."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"wheel": next(out.glob("*.whl")), "sdist": next(out.glob("*.tar.gz"))}


@pytest.mark.slow
def test_the_wheel_and_the_sdist_hold_the_same_tree(built: dict[str, Path]) -> None:
    code = {name_of(path) for path in modules(*WINGS)}
    expected = {f"affidavit/{name}" for name in code}
    expected |= {
        f"affidavit/{name}"
        for name in ("__init__.py", "error.py", "errors.py", "moved.py", "py.typed", "screen.py")
    }
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = {n for n in wheel.namelist() if not n.split("/")[0].endswith(".dist-info")}
    assert names == expected
    with tarfile.open(built["sdist"]) as sdist:
        members = {"/".join(n.split("/")[1:]) for n in sdist.getnames()}
    assert code <= members


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_clean_environment_imports_and_runs_what_was_built(
    built: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        built[kind],
    ]
    done = subprocess.run(install, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    ran = subprocess.run(
        [python, "-I", "-W", "error::ResourceWarning", "-c", IMPORT],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
