"""What a notebook shows: an error in a few lines, and the sessions that are open."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import pytest
from IPython.core.interactiveshell import InteractiveShell

import affidavit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def cell() -> Iterator[Callable[..., str]]:
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "affidavit")

    def run(text: str, **variables: object) -> str:
        shell.user_ns.update(variables)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            shell.run_cell(text)
        return printed.getvalue()

    yield run
    shell.run_line_magic("xmode", "Context")
    shell.reset(new_session=False)
    InteractiveShell.clear_instance()


def test_a_mistake_in_a_cell_is_told_in_two_lines(cell, session: affidavit.Session) -> None:
    session.sql("CREATE TABLE t (id INT PRIMARY KEY)")
    shown = cell("%%sql\nSELECT idd FROM t", session=session).splitlines()
    assert len(shown) <= 2
    assert "ColumnNotFoundError" in shown[-1] or "idd" in shown[-1]


def test_the_callers_own_lines_are_shown(cell, session: affidavit.Session) -> None:
    text = "def ask():\n    return session.sql('SELECT idd FROM nothing')\nask().to_pylist()"
    shown = cell(text, session=session)
    assert "in ask" in shown
    assert "session.py" not in shown
    assert "Traceback" not in shown


def test_the_chain_is_there_for_who_asks(cell, session: affidavit.Session) -> None:
    text = "session.sql('SELECT 1 + ').to_pylist()"
    assert "session.py" not in cell(text, session=session)
    assert "session.py" in cell(f"%xmode Verbose\n{text}", session=session)


def test_a_closed_session_is_not_counted(cell, tmp_path: Path) -> None:
    first = affidavit.connect(tmp_path / "x")
    scope = first.scope(actor="a")
    with affidavit.connect(tmp_path / "y") as second:
        scope.close()
        assert (scope.closed, first.closed) == (True, False)
        first.close()
        assert (first.closed, second.closed) == (True, False)
        asked = "found = %sql SELECT 41 + 1 AS n\nprint(found.to_pylist())"
        assert "42" in cell(asked, a=first, b=second)
