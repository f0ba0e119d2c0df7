"""JSON, as SQL reads it: ``->``, ``->>`` and functions over texts.

Rules:
    - What is got of a JSON text is JSON as it was written but for white space: numbers keep their
      digits, and names their order.
    - What is not there is NULL, and so is what is got of NULL; JSON's own ``null`` is NULL as text
      and ``null`` as JSON.
    - A text that is no JSON is an error, not NULL: ``json_valid`` tells them apart.

The names are PostgreSQL's, SQLite's and DuckDB's, where those agree; paths are SQLite's
(https://sqlite.org/json1.html#path_arguments).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.engine.scans.calls.raised import scalar_function
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from datafusion import SessionContext

Key: TypeAlias = "str | int"

SHOWN_LENGTH_MAX: Final = 40

NESTED_MAX: Final = 256
"""How deep lists and objects may stand in each other: what is read is also to be written."""

_TOO_DEEP: Final = f": it is nested more than {NESTED_MAX} deep"
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_INDEX: Final = re.compile(r"-?\d{1,9}")
_STEP: Final = re.compile(r'\.(?:"((?:[^"\\]|\\.)*)"|([^.\[\]"]+))|\[(?:(\d{1,9})|#-(\d{1,9}))\]')
_MISSING: Final = object()
_quote: Final = json.encoder.encode_basestring


_SPACE: Final = " \t\n\r"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_scan: Final = json.JSONDecoder(
    parse_float=str.encode, parse_int=str.encode, parse_constant=_refuse
).scan_once  # type: ignore[attr-defined]  # typeshed has it of the decoder's module alone
"""Reads a value at a place; a number becomes bytes, the digits as they were written."""


def register_json(context: SessionContext) -> None:
    """Let a context's statements read JSON."""
    text = pa.string()
    for name, (run, arguments, returned) in _FUNCTIONS.items():
        context.register_udf(scalar_function(run, [text] * arguments, returned, "immutable", name))


# --- reading --------------------------------------------------------------------------------------


def _parsed(text: str) -> Any:  # noqa: ANN401 - whatever it says
    """Return what a text says.

    Raises:
        ExecutionError: It is no JSON, is nested too deep, or has half of a pair of surrogates,
            which no text of ours can hold.
    """
    told = text.strip(_SPACE)
    try:
        value, end = _scan(told, 0)
    except (ValueError, StopIteration):
        raise _no_json(text, "") from None
    except RecursionError:
        raise _no_json(text, _TOO_DEEP) from None
    if end < len(told):
        raise _no_json(text, "")
    if end > NESTED_MAX and told.count("[") + told.count("{") > NESTED_MAX and _is_deep(value):
        raise _no_json(text, _TOO_DEEP)
    if "\\" in told and _SURROGATE.search(told) is not None:
        try:
            _written(value).encode()
        except UnicodeEncodeError:
            raise _no_json(text, ": it has half of a pair of surrogates") from None
    return value


def _no_json(text: str, why: str) -> ExecutionError:
    shown = text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}..."
    return ExecutionError(f"not JSON: {shown!r}{why} (json_valid tells which texts are)")


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(NESTED_MAX):
        within = (_elements(each) for each in level if isinstance(each, list | dict))
        level = [each for elements in within for each in elements]
    return any(isinstance(each, list | dict) for each in level)


def _elements(value: list[object] | dict[str, object]) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value


def _written(value: object) -> str:
    """Return a value as JSON; a level of it takes one call and no more."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, list):
        return f"[{','.join([_written(each) for each in value])}]"
    if isinstance(value, dict):
        parts = [f"{_quote(name)}:{_written(each)}" for name, each in value.items()]
        return f"{{{','.join(parts)}}}"
    return json.dumps(value)


def _step(value: object, key: Key) -> object:
    """Return what a key or a number leads to."""
    if isinstance(value, dict):
        return value.get(str(key), _MISSING)
    if isinstance(value, list) and (isinstance(key, int) or _INDEX.fullmatch(key) is not None):
        at = int(key)
        return value[at] if -len(value) <= at < len(value) else _MISSING
    return _MISSING


@lru_cache(maxsize=1024)
def _path(written: str) -> tuple[Key, ...]:
    """Return the steps of a path: ``$.a[0]``, or one key.

    Raises:
        ExecutionError: It is no path of such steps.
    """
    if not written.startswith("$"):
        return (written,)
    steps: list[Key] = []
    at = 1
    while at < len(written):
        found = _STEP.match(written, at)
        step = None if found is None else _key(*found.groups())
        if found is None or step is None:
            told = 'write $.name, $."a name", $[0] or $[#-1], one behind the other'
            raise ExecutionError(f"{written!r} is no path into JSON: {told}")
        steps.append(step)
        at = found.end()
    return tuple(steps)


def _key(quoted: str | None, name: str | None, index: str | None, last: str | None) -> Key | None:
    """Return one step of a path; ``None`` if what stands in quotes is no text of JSON's."""
    if index is not None:
        return int(index)
    if last is not None:
        return -int(last)
    if quoted is None:
        return name
    try:
        return str(json.loads(f'"{quoted}"'))
    except ValueError:
        return None


def _found(text: str, keys: Iterable[Key]) -> object:
    value = _parsed(text)
    for key in keys:
        value = _step(value, key)
    return value


# --- what is returned -----------------------------------------------------------------------------


def _json(value: object) -> str | None:
    return None if value is _MISSING else _written(value)


def _text(value: object) -> str | None:
    if value is _MISSING or value is None:
        return None
    return value if isinstance(value, str) else _written(value)


def _keys(text: str) -> list[str]:
    value = _parsed(text)
    return list(value) if isinstance(value, dict) else []


def _length(text: str) -> int:
    value = _parsed(text)
    return len(value) if isinstance(value, list) else 0


def _is_valid(text: str) -> bool:
    try:
        _parsed(text)
    except ExecutionError:
        return False
    return True


def _kind(text: str) -> str:
    return _KINDS[type(_parsed(text))]


_KINDS: Final = {
    str: "string", list: "array", dict: "object", bool: "boolean", type(None): "null",
    bytes: "number",
}  # fmt: skip


def _of_each(returned: pa.DataType, told: Callable[[str], object], texts: pa.Array) -> pa.Array:
    """Return what is told of each text, each different one being read once."""
    encoded = texts.dictionary_encode()
    values = pa.array([told(each) for each in encoded.dictionary.to_pylist()], returned)
    return values.take(encoded.indices)


def _of_both(
    shown: Callable[[object], str | None],
    steps: Callable[[str], tuple[Key, ...]],
    texts: pa.Array,
    keys: pa.Array,
) -> pa.Array:
    """Return what each key leads to in each text."""
    different = pc.unique(keys)
    if len(different) == 1 and different[0].is_valid:
        path = steps(different[0].as_py())
        return _of_each(pa.string(), lambda text: shown(_found(text, path)), texts)
    pairs = zip(texts.to_pylist(), keys.to_pylist(), strict=True)
    return pa.array(
        [
            None if text is None or key is None else shown(_found(text, steps(key)))
            for text, key in pairs
        ],
        pa.string(),
    )


def _one(key: str) -> tuple[Key, ...]:
    return (key,)


_FUNCTIONS: Final[Mapping[str, tuple[Callable[..., pa.Array], int, pa.DataType]]] = {
    "json_get": (partial(_of_both, _json, _one), 2, pa.string()),
    "json_get_text": (partial(_of_both, _text, _one), 2, pa.string()),
    "json_extract": (partial(_of_both, _json, _path), 2, pa.string()),
    "json_extract_string": (partial(_of_both, _text, _path), 2, pa.string()),
    "json_keys": (partial(_of_each, pa.list_(pa.string()), _keys), 1, pa.list_(pa.string())),
    "json_array_length": (partial(_of_each, pa.int64(), _length), 1, pa.int64()),
    "json_valid": (partial(_of_each, pa.bool_(), _is_valid), 1, pa.bool_()),
    "json_typeof": (partial(_of_each, pa.string(), _kind), 1, pa.string()),
}
"""The functions: what runs, of how many texts, and what it returns."""
