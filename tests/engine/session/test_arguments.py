"""Every argument of every public method: what is of a wrong kind is named by an error of the tree."""

from __future__ import annotations

import datetime as dt
import inspect
import math
from contextlib import AbstractContextManager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

import affidavit
from affidavit.errors import AffidavitError, InvalidQueryError

if TYPE_CHECKING:
    from pathlib import Path

V = [1.0, 0.0]
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
CALLS: dict[str, dict[str, Any]] = {
    "session.sql": {"text": "SELECT 1"},
    "session.explain": {"text": "SELECT 1"},
    "session.describe": {"text": "SELECT 1"},
    "session.search": {"table": "v", "query": V},
    "session.search_batch": {"table": "v", "queries": [V]},
    "session.at": {"moment": 1},
    "session.create_vector_table": {"name": "w", "data": [{"id": 1, "vector": V}]},
    "session.create_table": {"name": "n", "data": [{"id": 1}]},
    "session.table": {"name": "v"},
    "session.drop_table": {"name": "nothing", "if_exists": True},
    "session.attach": {"name": "f", "source": {"a": [1]}},
    "session.detach": {"name": "nothing"},
    "session.refresh": {"name": "nothing"},
    "session.scope": {},
    "session.begin": {},
    "session.transaction": {},
    "session.verify_data": {},
    "session.add_change_listener": {},
    "session.remove_change_listener": {},
    "vector.insert": {"data": []},
    "vector.upsert": {"data": []},
    "vector.update": {"set": {"t": "x"}, "where": "id = 99"},
    "vector.delete": {"where": "id = 99"},
    "vector.get": {"keys": [99]},
    "vector.tag": {"name": "tagged"},
    "vector.restore": {"version": 1},
    "vector.optimize": {},
    "vector.reembed": {"model": "m"},
    "vector.create_index": {"column": "t", "index_type": "FTS"},
    "mutable.insert": {"data": []},
    "mutable.upsert": {"data": []},
    "mutable.update": {"set": {"name": "x"}, "where": "id = 99"},
    "mutable.delete": {"where": "id = 99"},
    "mutable.get": {"keys": [99]},
    "mutable.scan_after": {"value": 1},
    "topics.get": {"name": "news"},
    "topics.register": {"name": "other", "schema": {"a": "int64"}},
    "topics.retain": {"name": "news"},
    "topics.drop": {"name": "nothing"},
    "topics.publish": {"name": "news", "data": {"a": 1}},
    "topics.subscribe": {"name": "news"},
    "topics.replay": {"name": "news"},
    "topics.seek": {"name": "news", "consumer": "c", "offset": 0},
    "topics.drop_consumer": {"name": "news", "consumer": "nobody"},
    "triggers.on": {"table": "m", "action": "insert", "publish": "rows", "name": "t1"},
    "triggers.near": {"name": "t2", "table": "v", "query": V, "within": 0.5, "publish": "near"},
    "triggers.drop": {"name": "nothing"},
    "journal.record": {"entity_type": "e", "entity_id": "i", "field": "f", "action": "update"},
    "journal.record_insert": {"entity_type": "e", "entity_id": "i"},
    "journal.record_update": {
        "entity_type": "e", "entity_id": "i", "field": "f", "old_value": 1, "new_value": 2
    },
    "journal.record_ingest": {"entity_type": "e", "count": 1},
    "journal.erase": {"entity_id": "nobody", "reason": "asked"},
    "journal.retain": {"reason": "asked"},
    "journal.history": {"entity_id": "i"},
    "journal.recent": {},
    "session.erase": {"table": "m", "key": 2, "reason": "asked"},
    "session.hold": {"table": "m", "key": 1, "case": "c"},
    "session.release_hold": {"table": "m", "key": 2, "case": "c"},
    "retention.set": {"what": "journal", "keep": "6y"},
    "retention.run": {},
    "ledger.prove": {"seq": 0},
    "ledger.verify": {},
    "ledger.verify_data": {},
    "ledger.export": {"path": ""},
    "audit.get": {"query_id": "x"},
    "audit.recent": {},
    "audit.get_read": {"read_id": "x"},
    "audit.received": {"row_id": 1},
    "audit.verify": {"record": None},
    "audit.check": {"receipt": None, "rows": [{"a": 1}]},
    "audit.replay": {"query_id": "x"},
    "audit.log": {"records": []},
    "audit.release": {"before": LONG_AGO, "reason": "asked"},
    "audit.add_listener": {},
}  # fmt: skip
LEFT_OUT = {"session.cancel", "ledger.rotate_key"}
"""Takes no argument; replaces the lake's own key."""

WRONG = [
    None, 5, -1, 10**30, 1.5, math.nan, True, "", "odd", "a\x00b", "a'b", b"x", [], [1], ["x"], {},
    {"x": 1}, {1: 2}, object(), len, int,
]  # fmt: skip

AT_ONCE = {
    "ledger.export": {"path"}, "audit.add_listener": {"listener"},
    "session.add_change_listener": {"listener"},
}  # fmt: skip
"""Not tried: a path where something would be written; and what a listener is not is a TypeError."""

MAKING = {"session.create_table", "session.create_vector_table", "triggers.on", "triggers.near"}
LEFT_OUT_AS_NONE = {
    ("session.search", "mode"),
    ("session.search", "exact"),
    ("audit.received", "row_id"),
    ("connect", "actor"),
    ("connect", "source"),
    ("connect", "workspace"),
}
"""An option that is ``None`` was left out."""


@pytest.fixture
def handles(session: affidavit.Session) -> dict[str, Any]:
    vector = session.create_vector_table("v", [{"id": 1, "t": "a", "vector": V}])
    rows = [{"id": 1, "name": "a"}]
    mutable = session.create_table("m", rows, primary_key="id", order_column="id")
    session.topics.register("news", {"a": "int64"})
    return {
        "session": session, "vector": vector, "mutable": mutable, "topics": session.topics,
        "triggers": session.triggers, "journal": session.journal, "ledger": session.ledger,
        "audit": session.audit, "retention": session.retention,
    }  # fmt: skip


def parameters(method: Any) -> list[str]:
    kinds = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    return [n for n, p in inspect.signature(method).parameters.items() if p.kind not in kinds]


MADE = count()


def fresh(name: str) -> dict[str, str]:
    """Return a name of its own for what a call makes."""
    return {"name": f"made_{next(MADE)}"} if name in MAKING else {}


KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}


def is_told(annotation: str, value: object) -> bool:
    """Return whether a method's signature allows for a value; whatever says more than a name does."""
    options = [each.strip() for each in annotation.split("|")]
    if not {*options} <= {*KINDS, "None"}:
        return True
    if value is None or isinstance(value, bool):
        return ("None" if value is None else "bool") in options
    return any(isinstance(value, kind) for each in options for kind in KINDS.get(each, ()))


def tried(method: Any, given: dict[str, Any]) -> None:
    """Call a method, and use what it gives as far as a caller would at once."""
    made = method(**given)
    if isinstance(made, affidavit.Result):
        made.to_arrow()
    elif isinstance(made, AbstractContextManager):
        if not isinstance(made, affidavit.Session):
            with made:
                return
        made.close()
    elif inspect.isgenerator(made):
        next(made, None)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_an_argument_of_a_wrong_kind_is_named(name: str, handles: dict[str, Any]) -> None:
    """Foreign exceptions came out of nearly every method, and some texts were taken for true."""
    handle, _, verb = name.partition(".")
    method = getattr(handles[handle], verb)
    faults = []
    for parameter in parameters(method):
        if parameter in AT_ONCE.get(name, ()):
            continue
        kind = str(inspect.signature(method).parameters[parameter].annotation)
        for value in WRONG:
            try:
                tried(method, {**CALLS[name], **fresh(name), parameter: value})
            except AffidavitError as error:
                told = (
                    parameter.removesuffix("_id") in str(error)
                    or repr(value) in str(error)
                    or is_told(kind, value)
                )
                if not told:
                    faults.append(f"{parameter}={value!r}: unnamed: {error}")
            except Exception as error:
                faults.append(f"{parameter}={value!r}: {type(error).__name__}: {error}")
            else:
                if name == "session.begin":
                    handles["session"].rollback()
                if not (value is None and (name, parameter) in LEFT_OUT_AS_NONE) and not is_told(
                    kind, value
                ):
                    faults.append(f"{parameter}={value!r}: taken: for {kind}")
    session = handles["session"]
    if session._own.transactions.current() is not None:
        session.rollback()
    assert not faults, "\n".join(faults)


def test_every_method_that_takes_arguments_is_tried(handles: dict[str, Any]) -> None:
    there = {
        f"{name}.{verb}"
        for name, handle in handles.items()
        for verb, method in inspect.getmembers(type(handle), inspect.isfunction)
        if not verb.startswith("_") and len(inspect.signature(method).parameters) > 1
    }
    assert there - LEFT_OUT == set(CALLS) - LEFT_OUT


@pytest.mark.parametrize(
    "parameter",
    [each for each in inspect.signature(affidavit.connect).parameters if each != "path"],
)
def test_an_option_of_connect_of_a_wrong_kind_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameter: str
) -> None:
    monkeypatch.chdir(tmp_path)  # some of these are names of folders
    kind = str(inspect.signature(affidavit.connect).parameters[parameter].annotation)
    faults = []
    for at, value in enumerate(WRONG):
        try:
            affidavit.connect(tmp_path / f"lake_{at}", **{parameter: value}).close()
        except AffidavitError as error:
            named = parameter in str(error) or is_told(kind, value)
            if not named and repr(value) not in str(error):
                faults.append(f"{value!r}: unnamed: {error}")
        except Exception as error:
            faults.append(f"{value!r}: {type(error).__name__}: {error}")
        else:
            is_left_out = value is None and ("connect", parameter) in LEFT_OUT_AS_NONE
            if not is_left_out and not is_told(kind, value):
                faults.append(f"{value!r}: taken: for {kind}")
    assert not faults, "\n".join(faults)


def test_a_parameter_has_one_value(session: affidavit.Session) -> None:
    with pytest.raises(InvalidQueryError, match=r"\$a has two values"):
        session.sql("SELECT $a", {"a": 1}, a=2)
