"""What whoever was given rows may keep: it says later whether a frame is what the engine gave."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow.ipc import read_schema

from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of one read.

    Attributes:
        read_id: Its record.
        seq: The record's number in the ledger; ``None`` while it waits for one, as it does beside
            somebody's open transaction.
        salt: What was hashed before the rows, in hexadecimal.
        result_sha256: The digest of the rows after the salt: what ``affidavit.digest(rows,
            bytes.fromhex(salt))`` returns.
        schema: The columns and types that the rows had: what a frame that keeps other types is
            read in. One that was made without it is held to frames as they are.
        chunks: Of more than one chunk of rows, the beginning of a digest of each: where rows are
            others it says which. Nothing is trusted to it.
    """

    read_id: str
    seq: int | None
    salt: str
    result_sha256: str
    schema: pa.Schema | None = field(default=None, repr=False, compare=False)
    chunks: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON takes, to be kept; :meth:`from_dict` gives the receipt again.

        The schema is the base64 of an Arrow IPC schema message.
        """
        told = {name: getattr(self, name) for name in ("read_id", "seq", "salt", "result_sha256")}
        if self.schema is not None:
            told["schema"] = base64.b64encode(self.schema.serialize().to_pybytes()).decode()
        if self.chunks:
            told["chunks"] = list(self.chunks)
        return told

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Receipt:
        """Return the receipt that :meth:`to_dict` gave.

        Raises:
            InvalidQueryError: It gave something else.
        """
        try:
            text = told.get("schema")
            schema = None if text is None else read_schema(pa.py_buffer(base64.b64decode(text)))
            return cls(
                told["read_id"], told["seq"], told["salt"], told["result_sha256"], schema,
                tuple(map(str, told.get("chunks", ()))),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            msg = f"this is not what to_dict() of a receipt gave: {error!r}"
            raise InvalidQueryError(msg) from error
