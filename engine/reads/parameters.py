"""A statement's parameters in its record: each with its type, so that it can be run again."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.canonical import canonical
from affidavit.catalog.values.text import from_json, json_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

VALUES_MAX: Final = 1_000_000
"""Parameters whose text is longer stand in no record; they cannot be run again from it."""


def written(row: pa.RecordBatch | None) -> dict[str, list[str]] | None:
    """Return parameters as JSON: by name, the value's JSON as text and its Arrow type.

    The type is the base64 of an Arrow schema message of one field.
    """
    if row is None:
        return None
    told = {
        field.name: [json_texts(column)[0], _type_text(field)]
        for field, column in zip(row.schema, row.columns, strict=True)
    }
    return told if sum(len(text) for text, _ in told.values()) <= VALUES_MAX else None


def statement_digest(salt: bytes, text: str, parameters: Mapping[str, list[str]] | None) -> str:
    """Return what a record says of a statement whose literals it does not have, hexadecimal.

    It is the SHA-256 of the salt of the result's digest, and the canonical JSON of a list of the
    text and the parameters.
    """
    return hashlib.sha256(salt + canonical([text, dict(parameters or {})])).hexdigest()


def _type_text(field: pa.Field) -> str:
    if pt.is_nested(field.type) or field.metadata:  # whose equality leaves out what is inside
        return _schema_text(field)
    return _flat_type_text(field.type, is_nullable=field.nullable)


@lru_cache(maxsize=256)
def _flat_type_text(kind: pa.DataType, *, is_nullable: bool) -> str:
    return _schema_text(pa.field("", kind, is_nullable))


def _schema_text(field: pa.Field) -> str:
    return base64.b64encode(pa.schema([field.with_name("")]).serialize()).decode()


def shown(told: Mapping[str, list[str]] | None) -> dict[str, Any] | None:
    """Return what a record shows of parameters: each value as JSON has it."""
    return None if told is None else {name: json.loads(text) for name, (text, _) in told.items()}


def read(told: Mapping[str, list[str]] | None) -> dict[str, pa.Scalar]:
    """Return parameters as a statement takes them.

    Raises:
        ValueError: They are not what :func:`written` wrote.
    """
    found = {}
    for name, (text, encoded) in (told or {}).items():
        kind = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(encoded))).field(0).type
        found[name] = from_json([json.loads(text)], kind)[0]
    return found
