"""The arrows between the wings, the packaging, and the face."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import affidavit
from affidavit.engine.audit.audit import Audit
from affidavit.engine.fronts.cli import app
from affidavit.engine.scans.audit import CHECKPOINTS_SCHEMA, RESULTS_SCHEMA, STATEMENTS_SCHEMA
from affidavit.engine.scans.entries import LEDGER_SCHEMA
from affidavit.engine.scans.journal import JOURNAL_SCHEMA, SEGMENTS_SCHEMA
from affidavit.engine.scans.system import SYSTEM_TABLES
from affidavit.engine.search.record import SEARCHES_SCHEMA
from affidavit.engine.session.journal import JournalHandle
from affidavit.engine.session.ledger import LedgerHandle
from affidavit.triggers.topics import Topics
from affidavit.triggers.triggers import Triggers

ROOT = Path(__file__).parents[1]
WINGS = ("engine", "triggers", "catalog")
ORDER = {
    "affidavit.engine": 3,
    "affidavit.triggers": 2,
    "affidavit.catalog": 1,
    "affidavit.errors": 0,
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules() -> list[Path]:
    found = [path for wing in WINGS for path in sorted((ROOT / wing).rglob("*.py"))]
    return [*found, ROOT / "src/affidavit/errors.py"]


def wing_of(name: str) -> int | None:
    return next((rank for prefix, rank in ORDER.items() if name.startswith(prefix)), None)


OPTIONAL = {
    "nats", "polars", "adbc_driver_manager", "adbc_driver_postgresql.dbapi", "adbc_driver_duckdb",
    "adbcbridge", "deltalake", "duckdb", "pyiceberg", "pyiceberg.catalog", "pyiceberg.io",
}  # fmt: skip
"""What functions import where it is asked for: extras."""


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_right_and_stand_at_the_top(path: Path) -> None:
    """Engine to triggers to catalog to errors; never left, never at the face, never in a function.

    The one exception is a library that is optional, imported where it is asked for.
    """
    parts = path.relative_to(ROOT).parts
    own = ORDER["affidavit.errors"] if parts[0] == "src" else ORDER[f"affidavit.{parts[0]}"]
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            names = {alias.name for n in inner if isinstance(n, ast.Import) for alias in n.names}
            names |= {n.module for n in inner if isinstance(n, ast.ImportFrom)}
            assert names <= OPTIONAL, f"{node.name} imports {names}"
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module != "affidavit", "an import at the face"
            rank = wing_of(node.module or "")
            assert rank is None or rank <= own, f"imports {node.module}"


def test_every_folder_of_code_is_packaged() -> None:
    """A folder that is not listed imports in development and is missing from the wheel."""
    folders = {
        "affidavit." + ".".join(path.parent.relative_to(ROOT).parts)
        for wing in WINGS
        for path in (ROOT / wing).rglob("*.py")
    }
    assert folders | {"affidavit"} == set(PYPROJECT["tool"]["setuptools"]["packages"])


def test_the_face_is_sorted_documented_and_whole() -> None:
    """Everything in ``__all__`` is there and says what it is."""
    assert affidavit.__all__ == sorted(set(affidavit.__all__))
    for name in affidavit.__all__:
        value = getattr(affidavit, name)
        assert name == "__version__" or value.__doc__, name
    assert affidavit.__version__ == PYPROJECT["project"]["version"]


def test_public_functions_are_documented_in_the_reference() -> None:
    """Every public method of the session and the tables has its line in docs/reference.md."""
    text = (ROOT / "docs/reference.md").read_text()
    for owner in (
        affidavit.Session,
        affidavit.MutableTable,
        affidavit.VectorTable,
        affidavit.Result,
    ):
        for name in vars(owner):
            if not name.startswith("_"):
                assert f"`{name}" in text or f".{name}" in text, f"{owner.__name__}.{name}"


def section(heading: str) -> str:
    """Return the part of docs/reference.md under ``heading``, up to the next one of its level."""
    text = (ROOT / "docs/reference.md").read_text()
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, heading
    level = heading.partition(" ")[0]
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


@pytest.mark.parametrize(
    ("owner", "heading"),
    [
        (Audit, "## `session.audit`"),
        (LedgerHandle, "## `session.ledger`"),
        (JournalHandle, "## `session.journal`"),
        (affidavit.SearchRecord, "### `SearchRecord`"),
        (affidavit.Verdict, "### `Verdict`"),
        (affidavit.Verification, "### `Verification`"),
        (Topics, "## `session.topics`"),
        (affidavit.Topic, "### `Topic`"),
        (affidavit.Subscription, "### `Subscription`"),
        (affidavit.Delivery, "### `Delivery`"),
        (affidavit.Broker, "### Brokers"),
        (Triggers, "## `session.triggers`"),
        (affidavit.Trigger, "### `Trigger`"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_audit_api_is_documented_where_it_belongs(owner: type, heading: str) -> None:
    """Every public method and field has a line in the section of its class."""
    text = section(heading)
    for name in vars(owner):
        if not name.startswith("_"):
            assert re.search(rf"`{name}[`(]", text), f"{owner.__name__}.{name}"


def test_arguments_errors_commands_and_system_tables_are_documented() -> None:
    """Whatever a user can pass, catch, type or select is named in docs/reference.md."""
    arguments = section("## `affidavit.connect`")
    for name in inspect.signature(affidavit.connect).parameters:
        assert re.search(rf"\b{name}=", arguments), f"connect({name}=)"
    errors = section("## Errors")
    for name, value in vars(affidavit.errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert f"`{name}`" in errors or f".{name}`" in errors, name
    commands = section("## The command line")
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"`affidavit {command.callback.__name__} " in commands, command
    kept = section("### What the engine keeps") + section("### `SearchRecord`")
    for schema, tables in SYSTEM_TABLES.items():
        assert all(f"`{schema}.{name}`" in kept for name in tables)
    for columns in (
        SEARCHES_SCHEMA, RESULTS_SCHEMA, CHECKPOINTS_SCHEMA, STATEMENTS_SCHEMA, LEDGER_SCHEMA,
        JOURNAL_SCHEMA, SEGMENTS_SCHEMA,
    ):  # fmt: skip
        assert all(f"`{name}`" in kept for name in columns.names)


def test_the_columns_that_sql_finds_are_documented(session: affidavit.Session) -> None:
    kept = section("### What the engine keeps") + section("### `SearchRecord`")
    for schema, tables in SYSTEM_TABLES.items():
        for table in tables:
            for name in session.sql(f"SELECT * FROM {schema}.{table}").schema.names:
                assert f"`{name}`" in kept, f"{schema}.{table}.{name}"


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
import pathlib, affidavit, affidavit.engine, affidavit.catalog.store.sqlite.store, affidavit.triggers
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


def test_the_wheel_and_the_sdist_hold_the_same_tree(built: dict[str, Path]) -> None:
    expected = {
        "affidavit/" + str(path.relative_to(ROOT))
        for w in WINGS
        for path in (ROOT / w).rglob("*.py")
    }
    expected |= {"affidavit/__init__.py", "affidavit/errors.py", "affidavit/py.typed"}
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = {n for n in wheel.namelist() if not n.split("/")[0].endswith(".dist-info")}
    assert names == expected
    with tarfile.open(built["sdist"]) as sdist:
        members = {"/".join(n.split("/")[1:]) for n in sdist.getnames()}
    assert {
        str(path.relative_to(ROOT)) for w in WINGS for path in (ROOT / w).rglob("*.py")
    } <= members


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
