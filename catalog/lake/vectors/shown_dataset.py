"""A vector table as Lance's own dataset, to be read and by nobody to be written.

Rules:
    - What is not known to read only is refused: a version of Lance may have more that writes.
    - Nothing can be committed through it, whatever is called: its commit lock is never had.
    - Where a table is another's, its folder is not told.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import lance

from affidavit.errors import ReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_READS: Final = frozenset({
    "base_paths", "checkout_version", "config", "count_rows", "data_storage_version",
    "describe_indices", "filter", "fragment_ids", "has_index", "has_stable_row_ids", "head",
    "index_statistics", "join", "join_asof", "lance_schema", "latest_version", "max_field_id",
    "metadata", "partition_expression", "sample", "scanner", "schema", "schema_metadata", "slice",
    "sort_by", "stats", "take", "to_batches", "to_pandas", "to_table", "uri", "validate",
    "version", "versions",
})  # fmt: skip

_INNER_READS: Final = frozenset({
    "base_paths", "checkout_version", "config", "count_rows", "data_storage_version",
    "describe_indices", "fragment_ids", "get_fragment", "get_fragments", "has_stable_row_ids",
    "index_statistics", "lance_schema", "latest_version", "max_field_id", "metadata", "scanner",
    "schema", "schema_metadata", "take", "take_rows", "take_scan", "uri", "validate", "version",
    "versions",
})  # fmt: skip


class ShownDataset(lance.LanceDataset):  # type: ignore[misc] # Lance has no types
    """A version of a dataset, which is only read.

    Args:
        dataset: What it shows.
        is_own: Whether whoever reads it may know where it is.
    """

    def __init__(self, dataset: lance.LanceDataset, *, is_own: bool) -> None:
        super().__init__(dataset.uri, version=dataset.version, commit_lock=_refuse)
        reads = _INNER_READS if is_own else _INNER_READS - {"uri"}
        self._ds: Any = _Reads(vars(self)["_ds"], reads)
        if not is_own:
            self._uri = ""

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - whatever Lance has
        if not name.startswith("_") and name not in _READS:
            raise _refused(name)
        return super().__getattribute__(name)

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(super().__copy__().__dict__)
        return made

    @property
    def uri(self) -> str:
        """Where it is.

        Raises:
            ReadOnlyError: It is another's.
        """
        if not self._uri:
            msg = "the folder of another's table is not told: read it through this dataset"
            raise ReadOnlyError(msg)
        return str(self._uri)


class _Reads:
    """What is under a dataset, as far as it reads: what is written by it is asked here too.

    Args:
        inner: Lance's own.
        reads: What may be asked of it.
    """

    __slots__ = ("_get", "_reads")

    def __init__(self, inner: Any, reads: frozenset[str]) -> None:  # noqa: ANN401 - Lance's
        self._get: Callable[[str], Any] = partial(getattr, inner)
        self._reads = reads

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever Lance has
        if name not in self._reads:
            raise _refused(name)
        if name == "checkout_version":
            return partial(_wrapped, self._get(name), self._reads)
        return self._get(name)

    def __copy__(self) -> _Reads:
        return self


def _wrapped(call: Callable[[object], Any], reads: frozenset[str], version: object) -> _Reads:
    return _Reads(call(version), reads)


def _refused(name: str) -> ReadOnlyError:
    return ReadOnlyError(
        f"to_lance().{name} is not to be had: the dataset is only read, since a change of its own "
        "would stand in no journal: change it through the table, session.table(name)"
    )


@contextmanager
def _refuse(version: int) -> Iterator[None]:
    """Be the lock that a commit needs, and that nobody gets."""
    del version
    raise _refused("commit")
    yield
