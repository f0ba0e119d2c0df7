"""Files that mean harm: cut off, lying about their sizes, deep, doubled, cyclic, pointing elsewhere.

Each maker writes one into a folder and returns the path to attach.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

Maker = Callable[[Path], Path]
TABLE: Final = pa.table({"a": list(range(1000)), "s": [f"row {at}" for at in range(1000)]})


def _parquet(**how: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(TABLE, out, **how)
    return out.getvalue()


def _arrow() -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_file(out, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return out.getvalue()


def _varint(number: int) -> bytes:
    coded = number << 1 ^ number >> 63
    out = bytearray()
    while coded > 0x7F:
        out.append(coded & 0x7F | 0x80)
        coded >>= 7
    return bytes([*out, coded])


def _avro(
    schema: object, blocks: bytes = b"", codec: str = "null", *, sync: bytes = b"s" * 16
) -> bytes:
    """Return an Avro file with blocks as they are given."""
    text = schema if isinstance(schema, str) else json.dumps(schema)
    told = {"avro.schema": text.encode(), "avro.codec": codec.encode()}
    header = b"Obj\x01" + _varint(len(told))
    for name, value in told.items():
        header += _varint(len(name)) + name.encode() + _varint(len(value)) + value
    return header + b"\x00" + sync + blocks


_RECORD: Final = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]}
_TEXTS: Final = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]}


def _file(name: str, content: Callable[[], bytes]) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content())
        return path

    return make


def _cut(whole: Callable[[], bytes], share: float) -> Callable[[], bytes]:
    return lambda: whole()[: int(len(whole()) * share)]


def _patched(whole: Callable[[], bytes], at: int, with_: bytes) -> Callable[[], bytes]:
    def content() -> bytes:
        data = bytearray(whole())
        start = at if at >= 0 else len(data) + at
        data[start : start + len(with_)] = with_
        return bytes(data)

    return content


def _flipped(whole: Callable[[], bytes], every: int) -> Callable[[], bytes]:
    """Turn one bit in so many bytes, in the latter half: where the metadata lies."""

    def content() -> bytes:
        data = bytearray(whole())
        for at in range(len(data) // 2, len(data) - 12, every):
            data[at] ^= 0x40
        return bytes(data)

    return content


def _rows_claimed(count: int) -> bytes:
    """Return Parquet whose metadata says that it has other numbers of rows."""
    data = _parquet(compression="none")
    size = struct.unpack("<I", data[-8:-4])[0]
    meta = bytearray(data[-8 - size : -8])
    old, new = _varint(1000), _varint(count)
    found = bytes(meta).replace(b"\x16" + old, b"\x16" + new)
    return data[: -8 - size] + found + struct.pack("<I", len(found)) + b"PAR1"


def _deep_json(depth: int) -> bytes:
    return b'{"a": ' + b"[" * depth + b"]" * depth + b"}\n"


def _deep_struct(depth: int) -> bytes:
    return b'{"a": ' * depth + b"1" + b"}" * depth + b"\n"


def _zeros_parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array([0] * 3_000_000, pa.int64())}), out, compression="zstd")
    return out.getvalue()


FILES: Final[dict[str, Maker]] = {
    "parquet cut in the middle": _file("cut.parquet", _cut(_parquet, 0.5)),
    "parquet cut in its footer": _file("foot.parquet", _cut(_parquet, 0.98)),
    "parquet of nothing": _file("none.parquet", lambda: b""),
    "parquet of the two marks": _file("marks.parquet", lambda: b"PAR1PAR1"),
    "parquet with a footer of 4 GB": _file("huge.parquet", _patched(_parquet, -8, b"\xff" * 4)),
    "parquet with a footer of 2 GB": _file(
        "huge2.parquet", _patched(_parquet, -8, b"\xff\xff\xff\x7f")
    ),
    "parquet with flipped metadata 7": _file("flip7.parquet", _flipped(_parquet, 7)),
    "parquet with flipped metadata 61": _file("flip61.parquet", _flipped(_parquet, 61)),
    "parquet with flipped metadata 501": _file("flip501.parquet", _flipped(_parquet, 501)),
    "parquet that claims 2**60 rows": _file("many.parquet", lambda: _rows_claimed(2**60)),
    "parquet that claims -1 rows": _file("minus.parquet", lambda: _rows_claimed(-1)),
    "parquet of many zeros": _file("zeros.parquet", _zeros_parquet),
    "arrow cut in the middle": _file("cut.arrow", _cut(_arrow, 0.5)),
    "arrow of nothing": _file("none.arrow", lambda: b""),
    "arrow with a footer of 2 GB": _file("huge.arrow", _patched(_arrow, -10, b"\xff\xff\xff\x7f")),
    "arrow with a footer of -1": _file("minus.arrow", _patched(_arrow, -10, b"\xff" * 4)),
    "arrow with flipped metadata 7": _file("flip7.arrow", _flipped(_arrow, 7)),
    "arrow with flipped metadata 61": _file("flip61.arrow", _flipped(_arrow, 61)),
    "arrow with flipped metadata 501": _file("flip501.arrow", _flipped(_arrow, 501)),
    "csv of nothing": _file("none.csv", lambda: b""),
    "csv of one open quote": _file("quote.csv", lambda: b'a,b\n1,"' + b"x" * 100_000),
    "csv with rows of other lengths": _file("ragged.csv", lambda: b"a,b\n1\n1,2,3\n"),
    "csv that is no utf-8": _file("latin.csv", lambda: b"a,b\n1,\xff\xfe\n2,\xc3\x28\n"),
    "csv with a NUL": _file("nul.csv", lambda: b"a,b\n1,\x00\n"),
    "csv of 3,000 columns": _file(
        "wide.csv", lambda: b",".join(b"c%d" % at for at in range(3_000)) + b"\n" + b"1," * 2_999
    ),
    "csv with a column that stands twice": _file("twice.csv", lambda: b"a,a\n1,2\n"),
    "json of nothing": _file("none.json", lambda: b""),
    "json that is cut": _file("cut.json", lambda: b'{"a": 1}\n{"a": '),
    "json with a member that stands twice": _file("twice.json", lambda: b'{"a": 1, "a": 2}\n'),
    "json that is no utf-8": _file("latin.json", lambda: b'{"a": "\xff\xfe"}\n'),
    "json with half a pair": _file("half.json", lambda: b'{"a": "\\ud800"}\n'),
    "json with a number of 10,000 digits": _file(
        "digits.json", lambda: b'{"a": ' + b"9" * 10_000 + b"}\n"
    ),
    "json of lists, 500 deep": _file("deep500.json", lambda: _deep_json(500)),
    "json of lists, 200,000 deep": _file("deep.json", lambda: _deep_json(200_000)),
    "json of objects, 100,000 deep": _file("objects.json", lambda: _deep_struct(100_000)),
    "json that changes its type": _file("types.json", lambda: b'{"a": 1}\n{"a": [1]}\n'),
    "avro of nothing": _file("none.avro", lambda: b""),
    "avro that is cut": _file("cut.avro", lambda: _avro(_RECORD)[:20]),
    "avro with a header of 2**60 members": _file(
        "header.avro", lambda: b"Obj\x01" + _varint(2**60) + b"\x00" * 40
    ),
    "avro with a member of 2**60 bytes": _file(
        "member.avro", lambda: b"Obj\x01" + _varint(1) + _varint(2**60) + b"x" * 40
    ),
    "avro with a block of 2**60 rows": _file(
        "rows.avro", lambda: _avro(_RECORD, _varint(2**60) + _varint(1) + b"\x02" + b"s" * 16)
    ),
    "avro with a block of 2**60 bytes": _file(
        "bytes.avro", lambda: _avro(_RECORD, _varint(1) + _varint(2**60) + b"\x02" + b"s" * 16)
    ),
    "avro with a text of 2**60 bytes": _file(
        "text.avro",
        lambda: _avro(_TEXTS, _varint(1) + _varint(9) + _varint(2**60) + b"s" * 16),
    ),
    "avro with a schema that names itself": _file(
        "cycle.avro",
        lambda: _avro({"type": "record", "name": "r", "fields": [{"name": "a", "type": "r"}]}),
    ),
    "avro with a schema 200 deep": _file("deep.avro", lambda: _avro(_deep_avro(200))),
    "avro with a schema 20,000 deep": _file("deeper.avro", lambda: _avro(_deep_text(20_000))),
    "parquet that is gzip": _file("gzip.parquet", lambda: gzip.compress(_parquet())),
}


def _deep_avro(depth: int) -> object:
    made: object = "long"
    for _ in range(depth):
        made = {"type": "array", "items": made}
    return {"type": "record", "name": "r", "fields": [{"name": "a", "type": made}]}


def _deep_text(depth: int) -> str:
    begins = '{"type": "array", "items": ' * depth
    return (
        '{"type": "record", "name": "r", "fields": [{"name": "a", "type": '
        + begins + '"long"' + "}" * depth + "}]}"
    )  # fmt: skip


# --- Delta ----------------------------------------------------------------------------------------

_SCHEMA: Final = json.dumps(
    {"type": "struct", "fields": [
        {"name": "a", "type": "long", "nullable": True, "metadata": {}},
        {"name": "s", "type": "string", "nullable": True, "metadata": {}},
    ]}
)  # fmt: skip


def _delta(*paths: str, more: bytes = b"", schema: str = _SCHEMA, size: int | None = None) -> Maker:
    """Return what makes a Delta table whose log names ``paths``."""

    def make(folder: Path) -> Path:
        table = folder / "delta"
        (table / "_delta_log").mkdir(parents=True)
        pq.write_table(TABLE, table / "own.parquet")
        pq.write_table(TABLE, folder / "outside.parquet")
        told = size or (table / "own.parquet").stat().st_size
        actions: list[object] = [
            {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
            {"metaData": {
                "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9", "format": {
                    "provider": "parquet", "options": {}},
                "schemaString": schema, "partitionColumns": [], "configuration": {},
                "createdTime": 0,
            }},
            *({"add": {
                "path": path.format(folder=folder), "partitionValues": {}, "size": told,
                "modificationTime": 0, "dataChange": True,
            }} for path in paths),
        ]  # fmt: skip
        lines = b"\n".join(json.dumps(each).encode() for each in actions)
        (table / "_delta_log" / f"{0:020}.json").write_bytes(lines + b"\n" + more)
        return table

    return make


def _delta_checkpoint(folder: Path) -> Path:
    """A log whose newest checkpoint is said to be of a version that there never was."""
    table = _delta("own.parquet")(folder)
    told = {"version": 2**40, "size": 2**50, "parts": 2**31}
    (table / "_delta_log" / "_last_checkpoint").write_text(json.dumps(told))
    return table


def _delta_gap(folder: Path) -> Path:
    table = _delta("own.parquet")(folder)
    first = table / "_delta_log" / f"{0:020}.json"
    (table / "_delta_log" / f"{2**62:020}.json").write_bytes(first.read_bytes())
    return table


DELTA: Final[dict[str, Maker]] = {
    "delta with a file outside": _delta("own.parquet", "../outside.parquet"),
    "delta with a file by its path": _delta("{folder}/outside.parquet"),
    "delta with a file by its URL": _delta("file://{folder}/outside.parquet"),
    "delta with /etc/passwd": _delta("../../../../../../../../etc/passwd"),
    "delta with a device": _delta("file:///dev/zero", size=2**40),
    "delta with a file that is not there": _delta("gone.parquet"),
    "delta with a log that is cut": _delta("own.parquet", more=b'{"add": {"path": "x'),
    "delta with a log 100,000 deep": _delta("own.parquet", more=b'{"a":' * 100_000),
    "delta with a size of 2**60": _delta("own.parquet", size=2**60),
    "delta with a schema of text": _delta("own.parquet", schema="nothing"),
    "delta with a schema 5,000 deep": _delta(
        "own.parquet",
        schema='{"type":"struct","fields":[{"name":"a","nullable":true,"metadata":{},"type":'
        + '{"type":"array","containsNull":true,"elementType":' * 5_000
        + '"long"' + "}" * 5_000 + "}]}",
    ),
    "delta with a checkpoint that never was": _delta_checkpoint,
    "delta with a gap of 2**62 versions": _delta_gap,
}  # fmt: skip


# --- Iceberg --------------------------------------------------------------------------------------


def _iceberg(snapshots: Callable[[Path], list[dict[str, Any]]], **more: Any) -> Maker:
    """Return what makes an Iceberg table's folder with a metadata file that is written by hand."""

    def make(folder: Path) -> Path:
        table = folder / "iceberg"
        (table / "metadata").mkdir(parents=True)
        listed = snapshots(table)
        told = {
            "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
            "location": str(table), "last-sequence-number": 1, "last-updated-ms": 0,
            "last-column-id": 1, "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": [
                {"id": 1, "name": "a", "required": False, "type": "long"}]}],
            "default-spec-id": 0, "partition-specs": [{"spec-id": 0, "fields": []}],
            "last-partition-id": 999, "default-sort-order-id": 0,
            "sort-orders": [{"order-id": 0, "fields": []}], "properties": {},
            "snapshots": listed, "snapshot-log": [], "metadata-log": [],
            "current-snapshot-id": listed[0]["snapshot-id"] if listed else None,
        } | more  # fmt: skip
        (table / "metadata" / "v1.metadata.json").write_text(json.dumps(told))
        return table

    return make


def _snapshot(manifests: str) -> Callable[[Path], list[dict[str, Any]]]:
    def listed(table: Path) -> list[dict[str, Any]]:
        (table / "metadata" / "none.avro").write_bytes(b"")
        (table / "metadata" / "rows.avro").write_bytes(
            _avro(_RECORD, _varint(2**60) + _varint(1) + b"\x02" + b"s" * 16)
        )
        return [
            {
                "snapshot-id": 7, "parent-snapshot-id": 7, "sequence-number": 1,
                "timestamp-ms": 0, "manifest-list": manifests.format(table=table),
                "summary": {"operation": "append"}, "schema-id": 0,
            }
        ]  # fmt: skip

    return listed


def _raw_metadata(content: bytes) -> Maker:
    def make(folder: Path) -> Path:
        table = folder / "iceberg"
        (table / "metadata").mkdir(parents=True)
        (table / "metadata" / "v1.metadata.json").write_bytes(content)
        return table

    return make


def _hint(text: bytes) -> Maker:
    def make(folder: Path) -> Path:
        table = _iceberg(_snapshot("{table}/metadata/none.avro"))(folder)
        (table / "metadata" / "version-hint.text").write_bytes(text)
        return table

    return make


ICEBERG: Final[dict[str, Maker]] = {
    "iceberg whose snapshot is its own parent": _iceberg(_snapshot("{table}/metadata/gone.avro")),
    "iceberg with an empty manifest list": _iceberg(_snapshot("{table}/metadata/none.avro")),
    "iceberg with a manifest list of 2**60 rows": _iceberg(_snapshot("{table}/metadata/rows.avro")),
    "iceberg with /etc/passwd": _iceberg(_snapshot("/etc/passwd")),
    "iceberg with a path upwards": _iceberg(
        _snapshot("file://{table}/../../../../../../etc/passwd")
    ),
    "iceberg with a device": _iceberg(_snapshot("file:///dev/zero")),
    "iceberg with no snapshot that it names": _iceberg(
        lambda _: [], **{"current-snapshot-id": 2**62}
    ),
    "iceberg with numbers out of range": _iceberg(
        lambda _: [], **{"last-column-id": 2**70, "format-version": 99}
    ),
    "iceberg of nothing": _raw_metadata(b""),
    "iceberg that is cut": _raw_metadata(b'{"format-version": 2, "table-uuid": "'),
    "iceberg 200,000 deep": _raw_metadata(b"[" * 200_000),
    "iceberg that is no utf-8": _raw_metadata(b'{"\xff": 1}'),
    "iceberg with a hint that leads away": _hint(b"../../../../etc/passwd"),
    "iceberg with a hint that is no utf-8": _hint(b"\xff\xfe"),
    "iceberg with a hint of 4,000 digits": _hint(b"9" * 4_000),
}


def _piped_delta(folder: Path) -> Path:
    table = _delta("own.parquet")(folder)
    (table / "own.parquet").unlink()
    os.mkfifo(table / "own.parquet")
    return table


def _piped_log(folder: Path) -> Path:
    table = _delta("own.parquet")(folder)
    log = table / "_delta_log" / f"{0:020}.json"
    log.unlink()
    os.mkfifo(log)
    return table


def _piped_iceberg(folder: Path) -> Path:
    table = _iceberg(_snapshot("{table}/metadata/pipe.avro"))(folder)
    os.mkfifo(table / "metadata" / "pipe.avro")
    return table


def _piped_metadata(folder: Path) -> Path:
    table = _iceberg(_snapshot("{table}/metadata/none.avro"))(folder)
    (table / "metadata" / "v1.metadata.json").unlink()
    os.mkfifo(table / "metadata" / "v1.metadata.json")
    return table


def _piped_hint(folder: Path) -> Path:
    table = _iceberg(_snapshot("{table}/metadata/none.avro"))(folder)
    os.mkfifo(table / "metadata" / "version-hint.text")
    return table


PIPED: Final[dict[str, Maker]] = {
    "delta with a pipe as a file": _piped_delta,
    "delta with a pipe as its log": _piped_log,
    "iceberg with a pipe as its manifests": _piped_iceberg,
    "iceberg with a pipe as its metadata": _piped_metadata,
    "iceberg with a pipe as its hint": _piped_hint,
}


# --- what is no file ------------------------------------------------------------------------------


def _fifo(ending: str) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / f"pipe.{ending}"
        os.mkfifo(path)
        return path

    return make


def _link(ending: str, target: str) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / f"link.{ending}"
        path.symlink_to(target.format(folder=folder))
        return path

    return make


ENDINGS: Final = ("parquet", "csv", "json", "arrow", "avro")
NO_FILES: Final[dict[str, Maker]] = {
    **{f"a pipe as {each}": _fifo(each) for each in ENDINGS},
    **{f"/dev/zero as {each}": _link(each, "/dev/zero") for each in ENDINGS},
    **{f"/dev/full as {each}": _link(each, "/dev/full") for each in ENDINGS},
    "a link to itself as csv": _link("csv", "{folder}/link.csv"),
}
