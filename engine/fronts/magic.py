"""``%load_ext affidavit``: SQL cells in notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affidavit.engine.session.session import Session
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.engine.result.result import Result


def load_ipython_extension(ipython: Any) -> None:  # noqa: ANN401 - IPython's shell is untyped
    """Give ``ipython`` the ``%sql`` and ``%%sql`` magics.

    ``%%sql`` runs the cell in the notebook's one session, or in the one that the first line names.
    ``$name`` takes the notebook's variable ``name``. The last statement's result is shown, and
    ``%%sql result <<`` keeps it in a variable instead.
    """

    def sql(line: str, cell: str | None = None) -> Result | None:
        names = line.split()
        target = names[-2] if len(names) > 1 and names[-1] == "<<" else None
        text = line if cell is None else cell
        picked = names[0] if cell is not None and names and names[0] != target else None
        session = _session(ipython.user_ns, picked)
        result = session.sql(text, _variables(text, ipython.user_ns))
        if target is None:
            return result
        ipython.user_ns[target] = result
        return None

    # IPython would paste the values of $name and {name} into a line's text before we see it
    setattr(sql, "_ipython_magic_no_var_expand", True)  # noqa: B010 - its name for it
    ipython.register_magic_function(sql, magic_kind="line_cell", magic_name="sql")


def _session(variables: dict[str, Any], named: str | None) -> Session:
    if named is not None:
        found = variables.get(named)
        if isinstance(found, Session):
            return found
        msg = f"{named!r} is no session in this notebook"
        raise SqlError(msg)
    sessions = {
        id(value): value
        for name, value in variables.items()
        if isinstance(value, Session)
        and not (value.closed or value.is_scoped or name.startswith("_"))
    }
    if len(sessions) != 1:
        msg = (
            f"the notebook has {len(sessions)} open sessions: open one with "
            "affidavit.connect(), or name it as in %%sql session"
        )
        raise SqlError(msg)
    return next(iter(sessions.values()))


def _variables(text: str, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the notebook's variables that ``text`` names as ``$name``."""
    try:
        wanted = parse_statement(text).placeholders
    except SqlError:  # the session says why, and logs it
        return {}
    missing = sorted(set(wanted) - variables.keys())
    if missing:
        msg = f"the notebook has no variable {missing[0]!r} for ${missing[0]}"
        raise SqlError(msg)
    return {name: variables[name] for name in wanted}
