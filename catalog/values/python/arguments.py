"""Arguments of public methods, checked for their kind before anything is done with them.

Each check returns the value, or raises InvalidQueryError, which names the argument.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from affidavit.errors import InvalidQueryError

NUMBER_MAX = 2**63 - 1


def checked_text(value: object, name: str) -> str:
    """Return ``value``, which is text."""
    if not isinstance(value, str):
        raise InvalidQueryError(
            f"{name} must be text, got {type(value).__name__} {reprlib.repr(value)}"
        )
    return value


def checked_text_or_none(value: object, name: str) -> str | None:
    """Return ``value``, which is text or ``None``."""
    return None if value is None else checked_text(value, name)


def checked_reason(value: object, name: str = "reason") -> str:
    """Return ``value`` if it is text that says something: what is answered for has a reason.

    Raises:
        InvalidQueryError: It is no text, or says nothing.
    """
    text = checked_text(value, name)
    if not text.strip():
        msg = f"{name} must say why: it stands in the ledger, got {value!r}"
        raise InvalidQueryError(msg)
    return text


def checked_switch(value: object, name: str) -> bool:
    """Return ``value``, which is true or false; a text is neither."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidQueryError(_expected(name, "true or false", value))
    return bool(value)


def checked_choice(value: object, name: str) -> bool | None:
    """Return ``value``, which is true, false or ``None``."""
    return None if value is None else checked_switch(value, name)


def checked_number(value: object, name: str, *, least: int = 0) -> int:
    """Return ``value``, which is a whole number of at least ``least``."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not least <= value <= NUMBER_MAX:  # type: ignore[operator]  # it is a number then
        raise InvalidQueryError(_expected(name, f"a whole number of at least {least}", value))
    return int(value)  # type: ignore[call-overload]  # as above


def checked_seconds(value: object, name: str) -> float | None:
    """Return ``value``, which is a number of seconds, at least 0, or ``None``."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and value >= 0):  # type: ignore[operator]  # it is one then
        raise InvalidQueryError(_expected(name, "a number of seconds", value))
    return value  # type: ignore[return-value]  # as above


def checked_version(value: object, name: str) -> int | str:
    """Return ``value``, which is a version's number or a tag."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer | str):
        raise InvalidQueryError(_expected(name, "a version's number or a tag", value))
    return value if isinstance(value, str) else int(value)


def checked_items(value: Any, name: str) -> list[Any]:  # noqa: ANN401 - whatever is listed
    """Return what ``value`` lists, which is no text."""
    if isinstance(value, str | bytes | type) or not isinstance(value, Iterable):
        raise InvalidQueryError(_expected(name, "a list", value))
    return list(value)


def checked_by_name(value: object, name: str) -> Mapping[str, object]:
    """Return ``value``, which is a dict whose keys are text."""
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
        raise InvalidQueryError(_expected(name, "a dict by name", value))
    return value


def _expected(name: str, what: str, value: object) -> str:
    return f"{name} must be {what}, got {reprlib.repr(value)}"
