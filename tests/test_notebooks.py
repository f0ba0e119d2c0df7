"""Every notebook runs from top to bottom, and is committed without what it printed."""

import re
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TIMEOUT_S = 300
SHOWN = {
    "02_audit": [
        r"\(True, False\)",
        r"ANN_MISS: the same search finds the same rows",
        r"\bREPRODUCED\b",
        r"VERIFIED: 8 entries stand unchanged .* by the public key given",
        r"NOT VERIFIED: entry 6: its signature is wrong",
        r"somebody else asked +6",
        r"nor was the last one +\d+",
        r"CORRUPT .* the witness's checkpoint at size \d+ was signed",
        r"LedgerCorruptError: this lake is older than its witness",
    ],
    "03_journal": [
        r"ReadOnlyError: this session is at a moment of the past",
        r"gzip\.GzipFile\.rewind +short",
        r"1-1\d+\.parquet +False",
        r"5 events erased; VERIFIED .* 5 events erased by entry \d+",
        r"each leaf is what it was: True",
        r"CORRUPT .* its leaf is not the hash of its body",
    ],
    "04_triggers": [
        r"\[\{'sensor': 's\d', 'celsius': -\d",
        r"each once, but for 13: True",
        r"13 +3 +unlucky +5",
        r"rolled back, and told of: 0",
        r"\d+-low +counter +\w+ +\d+ +\d",
        r"'item': 'nails', 'pieces': 50, 'attempts': 2",
        r"told of [1-9]\d* of \d+ texts",
        r"import job 2 \{'trigger': 'compression', 'within': 0\.6\}",
        r"\bREPRODUCED\b",
        r"ReservedNameError: 'affidavit\.audit\.searches'",
        r"Trigger\('low': update on 'stock' where new\.pieces < 10",
        r"VERIFIED affidavit/\w{32}/default",
    ],
    "05_federation": [
        r"\[\{'name': 'crm'\}, \{'name': 'sales'\}\]",
        r"customer \d+ +\d+ +\d+\.\d+",
        r"sent to crm:\n.*FROM \"public\".\"customers\" WHERE \(\"city\" = 'Bern'\)",
        r"FROM \"main\".\"orders\" WHERE \(\"day\" >= DATE '2026-06-01'\)",
        r"products was searched, and is on record",
        r"offers: True",
        r"insert +\{\"columns\": \[\"customer\", \"worth\"\]",
        r"SqlError 'crm.public.customers': tables of sources can be read and inserted into, nothing else",
    ],
}
"""What a notebook must show, besides running."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that executes a notebook with this Python, and raises what a cell raises.

    The kernel is described in a folder of the test's own, so nothing need be installed, and it
    keeps its history and run-time files there too.
    """
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def execute(notebook, folder=FOLDER):
        resources = {"metadata": {"path": str(folder)}}
        client = NotebookClient(
            notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=resources,
            coalesce_streams=True,  # what a busy machine sends in two parts is one line
        )  # fmt: skip
        client.execute()

    return execute


def notebook_of(*cells):
    """Return a notebook of code cells."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


def shown(cell):
    """Return the texts that a cell shows."""
    return [output.data["text/plain"] for output in cell.outputs if "data" in output]


def everything_shown(notebook):
    """Return what all cells of a notebook print and show, as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs]
    return "\n".join(texts)


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_without_an_error(path, run):
    notebook = nbformat.read(path, as_version=4)
    run(notebook)
    text = everything_shown(notebook)
    for expected in SHOWN.get(path.stem, ()):
        assert re.search(expected, text), expected


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert set(notebook.metadata) == {"kernelspec"}
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.slow
def test_a_transaction_spans_cells(run, tmp_path):
    """Each cell may run in a context of its own, and the transaction must outlive the cell."""
    notebook = notebook_of(
        f"import affidavit\nsession = affidavit.connect({str(tmp_path / 'lake')!r})",
        "%load_ext affidavit",
        "%%sql\nCREATE TABLE notes (id INT PRIMARY KEY)",
        "%%sql\nBEGIN",
        "%%sql\nINSERT INTO notes VALUES (1), (2)",
        "session.table('notes').count()",
        "%%sql\nROLLBACK",
        "session.table('notes').count()",
        "session.close()",
    )
    run(notebook, tmp_path)
    assert [shown(notebook.cells[at]) for at in (5, 7)] == [["2"], ["0"]]


@pytest.mark.slow
def test_a_magic_takes_variables_and_keeps_results(run, tmp_path):
    notebook = notebook_of(
        f"import affidavit\nsession = affidavit.connect({str(tmp_path / 'lake')!r})",
        "%load_ext affidavit",
        "least = 3",
        "%%sql kept <<\nSELECT * FROM (VALUES (2), (3), (4)) AS t (n) WHERE n >= $least",
        "kept.to_arrow().to_pydict()",
        "session.close()",
    )
    run(notebook, tmp_path)
    assert shown(notebook.cells[3]) == []
    assert shown(notebook.cells[4]) == ["{'n': [3, 4]}"]
