"""Which local paths SQL may touch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from affidavit.catalog.values.python.arguments import checked_items
from affidavit.errors import InvalidQueryError, PathNotAllowedError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable


class AllowedPaths:
    """Folders that statements may read from and write to; ``None`` allows every path and URL."""

    def __init__(self, folders: Iterable[str | os.PathLike[str]] | None) -> None:
        self._folders = (
            None if folders is None else list(map(_folder, checked_items(folders, "allowed_paths")))
        )

    @property
    def limited(self) -> bool:
        """Whether some path is refused."""
        return self._folders is not None

    def within(self, folders: Iterable[str | os.PathLike[str]]) -> AllowedPaths:
        """Return what is allowed both here and below ``folders``.

        Raises:
            PathNotAllowedError: One of ``folders`` lies outside what is allowed here.
        """
        given = checked_items(folders, "allowed_paths")
        for folder in given if self.limited else ():
            self.checked(str(folder))
        return AllowedPaths(given)

    def checked(self, location: str) -> str:
        """Return ``location`` as an absolute path, or as the URL it is.

        Raises:
            PathNotAllowedError: It lies outside the allowed folders, links followed.
        """
        url = urlsplit(location)
        if url.scheme == "file":
            location = unquote(url.path)
        elif "://" in location:
            if self._folders is not None:
                raise PathNotAllowedError(location, allowed=map(str, self._folders))
            return location
        path = Path(location).expanduser().absolute()
        if self._folders is not None:
            real = path.resolve()
            if not any(real.is_relative_to(folder) for folder in self._folders):
                raise PathNotAllowedError(location, allowed=map(str, self._folders))
            path = real
        # a folder is told from a file by its last slash
        return str(path) + ("/" if location.endswith("/") else "")


def _folder(given: str | os.PathLike[str]) -> Path:
    """Return one of the allowed folders, absolute."""
    try:
        return Path(given).expanduser().resolve()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        msg = f"allowed_paths must be folders, got {given!r}: {error}"
        raise InvalidQueryError(msg) from error
