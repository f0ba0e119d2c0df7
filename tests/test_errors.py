"""Every error of the tree goes to another process, and comes out as it was."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import TYPE_CHECKING

import pytest

from affidavit import errors
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Iterator

GIVEN = {"str": "x", "str | None": "x", "object": "x", "int": 3, "int | None": 3, "float": 1.5,
         "bool": True, "bool | None": True}  # fmt: skip
LISTED = {"Iterable[str]": ["a", "b"]}


def tree(kind: type[AffidavitError] = AffidavitError) -> Iterator[type[AffidavitError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from tree(each)


def made(kind: type[AffidavitError]) -> AffidavitError:
    """Return an error made as its own constructor wants it, of every argument that it takes."""
    if not inspect.isfunction(kind.__init__):
        return kind("something is not as it should be")
    positional, named = [], {}
    for parameter in list(inspect.signature(kind.__init__).parameters.values())[1:]:
        value = (GIVEN | LISTED)[parameter.annotation]
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= {"ids": value, "scores": value}
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        else:
            positional.append(value)
    return kind(*positional, **named)


def told(error: AffidavitError) -> tuple[object, ...]:
    return type(error), str(error), error.args, vars(error)


@pytest.mark.parametrize("kind", sorted(set(tree()), key=lambda kind: kind.__name__))
def test_an_error_survives_pickling_and_copying(kind: type[AffidavitError]) -> None:
    error = made(kind)
    error.add_note("while loading")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert told(pickle.loads(pickle.dumps(error, protocol))) == told(error)
    assert told(copy.copy(error)) == told(error)
    assert told(copy.deepcopy(error)) == told(error)


def test_the_attributes_are_those_of_the_class() -> None:
    """A look at one, so that the test above cannot pass on errors that have none."""
    error = pickle.loads(pickle.dumps(errors.StoreBusyError("the store", timeout_s=2.5)))
    assert error.timeout_s == 2.5
    assert "2.5 s" in str(error)
    assert vars(pickle.loads(pickle.dumps(errors.LengthMismatchError(ids=1, scores=2)))) == {
        "lengths": {"ids": 1, "scores": 2}
    }
