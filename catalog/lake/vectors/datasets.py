"""Lance datasets: opened at one version, looked up by key, and kept by tags."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import lance
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.lake.vectors.dataset_files import (
    SignedFiles,
    manifest_of,
    sha256_of,
    tag_path,
)
from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.sql.quoting import lance_in
from affidavit.errors import (
    ColumnNotFoundError,
    ConstraintError,
    ExecutionError,
    InvalidQueryError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from affidavit.catalog.lake.folders import Folders
    from affidavit.catalog.model.definition import TableInfo

TABLE_ID: Final = "affidavit.table_id"
"""The Lance transaction property that says which table a dataset was made for."""

KEYS_IN_FILTER_MAX: Final = 1000
"""More keys than this are looked for by scanning the key column."""

TAG_TRIES_MAX: Final = 5
"""How often a tag is made anew that somebody else deletes meanwhile."""


INTERRUPTED: Final = "External error: KeyboardInterrupt:"
"""What pylance 14.0.2 makes of Ctrl-C while it merges, where it looks for signals itself."""


@contextmanager
def lance_errors(what: str) -> Iterator[None]:
    """Turn what Lance raises into this tree, with Lance's own source positions left out."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        text = str(error).split(", /")[0].removeprefix("Invalid user input: ")
        if text.strip() == INTERRUPTED:
            raise KeyboardInterrupt from error
        msg = f"{what}: {text}"
        if "No field named" in text or "not in the dataset" in text:
            raise InvalidQueryError(msg) from error
        missing = "Not found: " in text  # a file that the version is made of
        if missing or (isinstance(error, OSError) and not isinstance(error, pa.ArrowException)):
            raise StoreError(msg) from error
        if isinstance(error, ValueError):
            raise InvalidQueryError(msg) from error
        raise ExecutionError(msg) from error


class Datasets:
    """Handles on the datasets of one lake, each pinned to a version and shared by readers.

    Args:
        folders: Where they lie.
        signed: Their files, as the store lists them.
        read_only: Whether nothing may be put back into its place.
    """

    def __init__(self, folders: Folders, signed: SignedFiles, *, read_only: bool) -> None:
        self._folders = folders
        self._signed = signed
        self._read_only = read_only
        self._known: set[tuple[str, int]] = set()
        self._latest: dict[str, lance.LanceDataset] = {}
        self._kept: set[tuple[str, str, int]] = set()
        self._lock = threading.Lock()
        self._keeping = threading.Lock()

    def path(self, info: TableInfo) -> Path:
        """Return where ``info`` lies."""
        return self._folders.vector_table(info.tenant, info.name)

    def latest(self, info: TableInfo) -> lance.LanceDataset:
        """Return ``info`` at its newest version; costs a directory listing when nothing changed."""
        with lance_errors(f"opening vector table {info.name!r}"):
            held = self._latest.get(info.table_id)
            if held is not None and self._is_home(info, held):
                newest = held.latest_version
                if newest == held.version:
                    return held
                held = held.checkout_version(newest)
            else:
                held = lance.dataset(str(self.home(info)))
        with self._lock:
            self._latest[info.table_id] = held
        return held

    def hold(self, info: TableInfo, newest: lance.LanceDataset) -> None:
        """Keep the version that a writer just made, which nobody has to open then."""
        with self._lock:
            self._latest[info.table_id] = newest

    def _is_home(self, info: TableInfo, held: lance.LanceDataset) -> bool:
        return bool(held.uri == str(self.path(info)))

    def visible(self, info: TableInfo, *, is_signed: bool = True) -> lance.LanceDataset:
        """Return ``info`` at the version that its snapshot of the store sees.

        A writer commits in Lance before it does in the store: what is newest may be ahead of what
        the journal has, and of the other tables that a statement reads. Whoever finds out what
        was changed looks at one that is not what was signed, too: without ``is_signed``.

        Raises:
            StoreError: That version is not there, or is not the one that was signed.
        """
        at = info.data_version
        held = self._latest.get(info.table_id)
        if at is not None and held is not None and held.version == at and self._is_home(info, held):
            return held
        if at is not None and is_signed:
            self._check_signed(info, at)  # before Lance reads it
        newest = self.latest(info)
        if at is None and is_signed and self._signed.is_listed(info):
            msg = f"the catalog does not name the version of vector table {info.name!r} any more"
            raise StoreError(msg)
        if at is None:
            return newest
        if newest.version == at:
            return newest
        try:
            return newest.checkout_version(at)
        except (OSError, ValueError, RuntimeError) as error:
            msg = (
                f"version {at} of vector table {info.name!r}, which the catalog names, is not "
                f"there; its newest is {newest.version}: an older folder was put back beside a "
                "newer catalog.db, so put back both of one time"
            )
            raise StoreError(msg) from error

    def _check_signed(self, info: TableInfo, version: int) -> None:
        """Raise StoreError if a version's manifest is not the one that was signed.

        The files that it names have names of their own, which no two versions of a table share.
        """
        if (info.table_id, version) in self._known:
            return
        path = manifest_of(version)
        signed, home = self._signed.sha256(info, path), self.path(info)
        if signed is not None and (home / path).is_file() and sha256_of(home / path) != signed:
            msg = (
                f"version {version} of vector table {info.name!r} is not the one that was signed: "
                "another dataset, or another program's version, stands in its place"
            )
            raise StoreError(msg)
        self._known.add((info.table_id, version))

    def home(self, info: TableInfo) -> Path:
        """Return where ``info`` lies, put back if a crash left it under another name."""
        home = self.path(info)
        if home.is_dir():
            return home
        for folder in home.parent.glob("*.lance"):
            if made_for(folder) == info.table_id:
                if self._read_only:
                    return folder
                folder.rename(home)
                return home
        msg = (
            f"the files of vector table {info.name!r} are not there: put its folder back, of the "
            "time of catalog.db"
        )
        raise StoreError(msg)

    def at(self, info: TableInfo, version: int | str | None) -> lance.LanceDataset:
        """Return ``info`` at a version number or tag, or as its snapshot sees it for ``None``."""
        return self._at(info, version)[1]

    def _at(
        self, info: TableInfo, version: int | str | None, *, is_signed: bool = True
    ) -> tuple[lance.LanceDataset, lance.LanceDataset]:
        """Return ``info`` as its snapshot sees it, and at another version."""
        newest = self.visible(info, is_signed=is_signed)
        if version is None or version == newest.version:
            return newest, newest
        try:
            found = newest.checkout_version(version)
        except (OSError, ValueError, RuntimeError, OverflowError, TypeError) as error:
            msg = f"table {info.name!r} has no version {version!r}; its newest is {newest.version}"
            raise InvalidQueryError(msg) from error
        if is_signed and isinstance(version, str):
            self._check_tag(info, version)
        asked = {int(found.version), *([version] if isinstance(version, int) else ())}
        if is_signed and self._signed.foreign_versions(info, asked):
            msg = (
                f"version {found.version} of table {info.name!r} was committed by another program, "
                "and no event says what it changed"
            )
            raise InvalidQueryError(msg)
        if is_signed:
            self._check_signed(info, int(found.version))
        return newest, found

    def _check_tag(self, info: TableInfo, name: str) -> None:
        """Raise StoreError if a tag is not the one that was signed."""
        path = tag_path(name)
        signed, file = self._signed.sha256(info, path), self.path(info) / path
        is_known = signed is not None or not self._signed.is_listed(info)
        if not is_known or (signed is not None and file.is_file() and sha256_of(file) != signed):
            msg = f"tag {name!r} of vector table {info.name!r} was made or moved by another program"
            raise StoreError(msg)

    def versions(self, info: TableInfo) -> list[dict[str, Any]]:
        """Return what Lance says of each version that the table's own writer made, oldest first."""
        found = self.visible(info).versions()
        foreign = self._signed.foreign_versions(info, [int(each["version"]) for each in found])
        return [each for each in found if each["version"] not in foreign]

    def as_of(
        self, info: TableInfo, version: int | str | None, *, is_signed: bool = True
    ) -> tuple[TableInfo, lance.LanceDataset]:
        """Return ``info`` and its dataset as they were: key and vector by the names they had."""
        newest, dataset = self._at(info, version, is_signed=is_signed)
        if dataset is newest:
            return info, newest
        assert isinstance(info.definition, VectorDefinition)
        now, then = _fields(newest), {at: name for name, at in _fields(dataset).items()}
        key, vector = (
            then.get(now.get(name, -1), name)
            for name in (info.definition.key, info.definition.vector)
        )
        return replace(info, definition=replace(info.definition, key=key, vector=vector)), dataset

    def keep(self, dataset: lance.LanceDataset, table_id: str, owner: str) -> None:
        """Tag the version of ``dataset`` for ``owner``, so that a clean-up spares it.

        A version that is gone already stays so.
        """
        version = int(dataset.version)
        newest = self._latest.get(table_id)
        # another process may have let go of any version but the newest
        may_be_gone = newest is None or newest.version != version
        if (table_id, owner, version) in self._kept and not may_be_gone:
            return
        tag = f"{kept_prefix(owner)}{version}"
        with self._keeping:  # of many threads that search a new version, one tags it
            if (table_id, owner, version) in self._kept and not may_be_gone:
                return
            _tag(dataset, tag)
            self._kept.add((table_id, owner, version))

    def kept(self, info: TableInfo, owner: str) -> dict[str, int]:
        """Return the tags that :meth:`keep` made for ``owner``, and their versions."""
        with lance_errors(f"reading the tags of {info.name!r}"):
            tags = self.latest(info).tags.list()
        prefix = kept_prefix(owner)
        return {name: int(t["version"]) for name, t in tags.items() if name.startswith(prefix)}

    def release(self, info: TableInfo, tags: Iterable[str]) -> None:
        """Remove tags that :meth:`keep` made."""
        self._kept.clear()
        with lance_errors(f"removing tags of {info.name!r}"):
            dataset = own_handle(self.latest(info))
            for tag in tags:
                dataset.tags.delete(tag)

    def forget(self, info: TableInfo) -> None:
        """Drop the handle on ``info``."""
        with self._lock:
            self._latest.pop(info.table_id, None)


def own_handle(dataset: lance.LanceDataset) -> lance.LanceDataset:
    """Return a handle of the caller's own: one that tags or restores can be read by no other."""
    return dataset.checkout_version(dataset.version)


def kept_prefix(owner: str) -> str:
    """Return how the tags begin that keep versions for ``owner``."""
    return f"affidavit-{hashlib.sha256(owner.encode()).hexdigest()[:12]}-"


def _fields(dataset: lance.LanceDataset) -> dict[str, int]:
    """Return each column's number, which it keeps when it is renamed."""
    return {field.name(): int(field.id()) for field in dataset.lance_schema.fields()}


def _tag(dataset: lance.LanceDataset, tag: str) -> None:
    """Tag the version of ``dataset`` if it is still there.

    Raises:
        StoreError: The tag cannot be made.
    """
    failures = (OSError, ValueError, RuntimeError)
    error: Exception | None = None
    for _ in range(TAG_TRIES_MAX):
        try:
            own_handle(dataset).tags.create(tag, dataset.version)
        except failures as caught:
            error = caught
        else:
            return
        with suppress(*failures):  # there is no such tag, or it was deleted just now
            if dataset.tags.get_version(tag) == dataset.version:
                return
        with suppress(*failures):
            if dataset.version not in {int(each["version"]) for each in dataset.versions()}:
                return
    msg = f"cannot tag version {dataset.version} of a vector table: {error}"
    raise StoreError(msg) from error


def made_for(folder: Path) -> str | None:
    """Return the identity of the table that a dataset was made for; ``None`` if not by us."""
    try:
        properties = lance.dataset(str(folder)).read_transaction(1).transaction_properties
    except (OSError, ValueError, RuntimeError):
        return None
    return properties.get(TABLE_ID)


def rows_with_keys(
    dataset: lance.LanceDataset, key: str, keys: pa.Array, columns: list[str] | None = None
) -> pa.Table:
    """Return the rows whose ``key`` is among ``keys``."""
    names = columns or dataset.schema.names
    if not len(keys):
        return pa.schema([dataset.schema.field(name) for name in names]).empty_table()
    if len(keys) <= KEYS_IN_FILTER_MAX:
        return dataset.scanner(columns=names, filter=lance_in(key, keys.to_pylist())).to_table()
    parts = []
    for batch in dataset.scanner(columns=[*{*names, key}]).to_batches():
        mask = pc.is_in(batch[key], keys)
        parts.append(batch.filter(mask).select(names))
    wanted = pa.schema([dataset.schema.field(name) for name in names])
    return pa.Table.from_batches(parts, wanted)


def check_unique(keys: pa.ChunkedArray, *, key: str, table: str) -> pa.Array:
    """Return ``keys`` as one array.

    Raises:
        ConstraintError: One of them is NULL or stands twice; it is named.
    """
    array = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    if array.null_count:
        msg = f"key column {key!r} of table {table!r} has NULL in row {array.is_null().index(True)}"
        raise ConstraintError(msg)
    if pc.count_distinct(array).as_py() != len(array):
        counts = array.value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        msg = f"two rows for table {table!r} have {key} = {twice.field('values')[0].as_py()!r}"
        raise ConstraintError(msg)
    return array


def check_columns(dataset: lance.LanceDataset, columns: list[str], *, table: str) -> None:
    """Raise ColumnNotFoundError if one of ``columns`` is not there."""
    for column in columns:
        if column not in dataset.schema.names:
            raise ColumnNotFoundError(column, table=table, known=dataset.schema.names)
