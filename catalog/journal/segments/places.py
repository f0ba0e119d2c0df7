"""Where sealed segments lie: a folder of this machine, or a prefix of an object store.

Rules:
    - A file has its name only when it is whole: a local one is written aside, synced and renamed,
      an object is put at once.
    - A place's URL has no credentials in it: they come from the environment, or from wherever else
      the store's own client looks for them.
    - Each lake has a folder of its own there, named after the lake, and removes nothing elsewhere.
"""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit
from urllib.request import url2pathname
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from affidavit.catalog.model import clock
from affidavit.catalog.sql.names import folder_of
from affidavit.catalog.store.disk import sync, tenant_folder
from affidavit.catalog.store.tables import PLACES
from affidavit.errors import LakeError, StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator

    from affidavit.catalog.store.protocol import Reader

CONNECT_TIMEOUT_S: Final = 3.0
REQUEST_TIMEOUT_S: Final = 15.0
ATTEMPTS_MAX: Final = 2
"""How often a request to an object store is made before it is given up."""

COPIED_AT_ONCE: Final = 8 * 1024 * 1024
RECORDS: Final = "records"
"""What the folders are called that have segments of records, and not of events."""

INDEX_SUFFIX: Final = ".entities"
OPTIONS: Final = ("endpoint_override", "region", "scheme")
"""What the query of an ``s3://`` URL may say."""


class SegmentFolder(Protocol):
    """Where the segments of one tenant lie.

    Its methods raise OSError as the place does; FileNotFoundError where there is no such file.
    """

    filesystem: fs.FileSystem
    is_remote: bool

    def __str__(self) -> str:
        """Return the folder as errors name it."""

    def path(self, name: str) -> str:
        """Return what ``filesystem`` calls the file ``name``."""

    def open(self, name: str) -> tuple[pa.NativeFile, Hashable]:
        """Open a file, and return with it what changes whenever the file does."""

    def aside(self) -> Path:
        """Return where a file can be written before it is put."""

    def put(self, aside: Path, name: str) -> None:
        """Give a file that was written aside its name, durably."""

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """Yield a local copy of a file, or the file itself."""

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def remove_others(self, named: Collection[str], *, age_s: float) -> None:
        """Remove the files older than ``age_s`` that are neither ``named`` nor indexes of those."""


class LocalFolder:
    """A folder of this machine."""

    is_remote = False

    def __init__(self, folder: Path) -> None:
        self.filesystem: fs.FileSystem = fs.LocalFileSystem()
        self.folder = folder

    def __str__(self) -> str:
        return repr(str(self.folder))

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def open(self, name: str) -> tuple[pa.NativeFile, Hashable]:
        path = self.folder / name
        found = path.stat()
        return pa.OSFile(str(path)), (found.st_mtime_ns, found.st_size, found.st_ino)

    def aside(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f".{uuid4().hex}"

    def put(self, aside: Path, name: str) -> None:
        sync(aside)
        aside.rename(self.folder / name)
        sync(self.folder)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        yield self.folder / name

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def remove_others(self, named: Collection[str], *, age_s: float) -> None:
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            plain = path.name.removesuffix(INDEX_SUFFIX)
            if plain not in named and _is_older(path.stat().st_mtime_ns, age_s):
                path.unlink(missing_ok=True)


class RemoteFolder:
    """A prefix of an object store.

    Args:
        filesystem: The store.
        prefix: Bucket and prefix.
        url: The prefix as errors name it.
        local: The folder that files are written aside in.
    """

    is_remote = True

    def __init__(self, filesystem: fs.FileSystem, prefix: str, url: str, local: Path) -> None:
        self.filesystem = filesystem
        self._prefix = prefix
        self._url = url
        self._local = LocalFolder(local)

    def __str__(self) -> str:
        return repr(self._url)

    def path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def open(self, name: str) -> tuple[pa.NativeFile, Hashable]:
        try:
            file = self.filesystem.open_input_file(self.path(name))
        except FileNotFoundError:
            self._check_bucket()
            raise
        return file, file.size()

    def _check_bucket(self) -> None:
        """Raise OSError if not even the bucket is there."""
        bucket = self._prefix.partition("/")[0]
        if self.filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
            raise OSError(errno.ENXIO, f"there is no bucket {bucket!r}")

    def aside(self) -> Path:
        return self._local.aside()

    def put(self, aside: Path, name: str) -> None:
        with (
            aside.open("rb") as source,
            self.filesystem.open_output_stream(self.path(name)) as target,
        ):
            shutil.copyfileobj(source, target, COPIED_AT_ONCE)
        aside.unlink()

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        copy = self.aside()
        try:
            source, _ = self.open(name)
            with source, copy.open("wb") as target:
                shutil.copyfileobj(source, target, COPIED_AT_ONCE)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(self.path(name)).type != fs.FileType.NotFound)

    def remove(self, name: str) -> None:
        if self.has(name):
            self.filesystem.delete_file(self.path(name))

    def remove_others(self, named: Collection[str], *, age_s: float) -> None:
        self._local.remove_others((), age_s=age_s)
        for found in self.filesystem.get_file_info(
            fs.FileSelector(self._prefix, allow_not_found=True)
        ):
            plain = found.base_name.removesuffix(INDEX_SUFFIX)
            if found.type != fs.FileType.File or plain in named:
                continue
            if _is_older(found.mtime_ns, age_s):
                self.filesystem.delete_file(found.path)


def _is_older(mtime_ns: int, age_s: float) -> bool:
    """Return whether a file is; all are older than nothing, whatever another clock says."""
    return not age_s or mtime_ns < 1000 * clock.now_us() - int(age_s * 1_000_000_000)


def is_unreachable(error: BaseException) -> bool:
    """Return whether a place failed, and not what lies in it.

    The system's errors have a number and those of an object store say so; what a file's bytes
    are not has neither.
    """
    return isinstance(error, OSError) and (error.errno is not None or "AWS Error" in str(error))


# --- the place of a lake --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lake's segments lie.

    Attributes:
        url: The URL, in one spelling.
        root: The local path, or bucket and prefix.
        options: How the object store is reached.
    """

    url: str
    root: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.url.startswith("file:")


def parse_place(url: object) -> Place:
    """Return the place that a URL names.

    Raises:
        LakeError: It names none, or has credentials in it.
    """
    if not isinstance(url, str):
        msg = f"journal_url must be a text such as 's3://bucket/prefix', got {type(url).__name__}"
        raise LakeError(msg)
    if "\0" in unquote(url):
        msg = f"journal_url cannot have the character NUL, got {url!r}"
        raise LakeError(msg)
    if "@" in unquote(url):  # not repeated: it may be a password
        msg = "journal_url has credentials, or an '@': leave them to the environment"
        raise LakeError(msg)
    parts = urlsplit(url)
    options = tuple(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    allowed = OPTIONS if parts.scheme == "s3" else ()
    unknown = [name for name, _ in options if name not in allowed]
    if unknown or parts.fragment:
        what = f"option {unknown[0]!r}" if unknown else "fragment"
        msg = f"journal_url cannot have the {what}; it may have {list(allowed)}"
        raise LakeError(msg)
    path = parts.path.rstrip("/")
    scheme = dict(options).get("scheme", "https")
    if scheme not in {"http", "https"}:
        msg = f"journal_url's scheme= must be 'http' or 'https', got {scheme!r}"
        raise LakeError(msg)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and path:
        return Place(f"file://{path}", url2pathname(path))
    if parts.scheme == "s3" and parts.netloc and ":" not in parts.netloc and "//" not in path:
        query = f"?{urlencode(options)}" if options else ""
        return Place(f"s3://{parts.netloc}{path}{query}", parts.netloc + unquote(path), options)
    msg = f"journal_url must be such as 's3://bucket/prefix' or 'file:///folder', got {url!r}"
    raise LakeError(msg)


class SegmentStore:
    """Where the segments of one lake lie, and the folders of its tenants there.

    Args:
        local: The lake's own folder for segments.
        lake_id: The lake, which has a folder of that name at the place.
        place: Where else they lie; ``None`` for the lake's own folder.
    """

    def __init__(self, local: Path, lake_id: str, place: Place | None) -> None:
        self.place = place
        self._local = local
        self._lake_id = lake_id
        self._filesystem: fs.FileSystem | None = None

    def of_records(self, local: Path) -> SegmentStore:
        """Return where segments of records lie, which are not of events.

        Args:
            local: The lake's own folder for those.
        """
        return SegmentStore(local, f"{self._lake_id}-{RECORDS}", self.place)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Where the lake has files beside its own folder: a folder, or a URL."""
        if self.place is None:
            return ()
        where = f"{self.place.root}/{self._lake_id}"
        plain = where if self.place.is_local else f"s3://{where}"
        return (plain, f"{plain}-{RECORDS}")

    def folder(self, tenant: str) -> SegmentFolder:
        """Return where a tenant's segments lie.

        An object store knows case, and keeps the name as it is.
        """
        place = self.place
        if place is not None and not place.is_local:
            return self._folder(folder_of(tenant))
        home = self._local if place is None else Path(place.root) / self._lake_id
        return LocalFolder(tenant_folder(home, tenant))

    def _folder(self, name: str) -> SegmentFolder:
        place = self.place
        if place is None:
            return LocalFolder(self._local / name)
        if place.is_local:
            return LocalFolder(Path(place.root) / self._lake_id / name)
        if self._filesystem is None:
            try:
                self._filesystem = fs.S3FileSystem(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    request_timeout=REQUEST_TIMEOUT_S,
                    retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS_MAX),
                    **dict(place.options),
                )
            except (OSError, pa.ArrowException) as error:
                msg = f"the object store {place.url!r} cannot be reached so: {error}"
                raise StoreError(msg) from error
        prefix = f"{place.root}/{self._lake_id}/{name}"
        return RemoteFolder(self._filesystem, prefix, place.url, self._local / name)

    def check(self) -> None:
        """Write a file and remove it.

        Raises:
            StoreError: The place cannot be reached or written.
        """
        folder, name = self._folder(".writable"), uuid4().hex
        try:
            aside = folder.aside()
            aside.touch()
            folder.put(aside, name)
            folder.remove(name)
        except (OSError, pa.ArrowException) as error:
            msg = f"the journal's segments cannot be kept at {folder}: {error}"
            raise StoreError(msg) from error


def place_of(reader: Reader) -> Place | None:
    """Return the place that the lake remembers."""
    rows = reader.select(PLACES, ("url",))
    return parse_place(rows[0][0]) if rows else None
