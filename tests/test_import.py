"""``import affidavit`` is quick, and each name is what the type checker is told."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import affidavit


def told_to_type_checkers() -> dict[str, tuple[str, str]]:
    tree = ast.parse(Path(str(affidavit.__file__)).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in imports
        for alias in node.names
        if str(node.module).startswith("affidavit.")
    }


def test_every_name_is_what_it_is_said_to_be() -> None:
    told = told_to_type_checkers()
    assert set(told) == set(affidavit.__all__) - {"__version__", "errors"}
    for name, (module, called) in told.items():
        assert getattr(affidavit, name) is getattr(import_module(module), called)
    assert set(affidavit.__all__) <= set(dir(affidavit))
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        affidavit.conect  # noqa: B018


def test_the_engine_is_imported_when_it_is_asked_for() -> None:
    asked = (
        "import sys, affidavit; print(sorted({'pyarrow', 'datafusion', 'lance', 'numpy'} & set(sys.modules)));"
        "affidavit.engine;"
        "from affidavit import *; print('lance' in sys.modules, connect.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["[]", "True connect"]
