"""What statements may reach: files, other databases, buckets. One gate for all of them.

Rules:
    - A path is looked at with its links followed, when it is named and whenever it is read again.
    - Nobody's statements reach the files of a lake, this one or another: they are every tenant's.
      ``lake:///folder`` is the door to another lake.
    - A session with limits reaches what lies below its folders, and its URLs, and nothing else; nor
      is anything of the process used for it, such as its environment. What it attaches keeps the
      limits, whoever reads it later.
    - What cannot be looked at is refused, and a refusal says nothing of what is there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit

from affidavit.catalog.lake.folders import CATALOG_FILE, OWN_FOLDERS
from affidavit.catalog.sources.address import Address, parse_address
from affidavit.catalog.sources.buckets.location import is_remote
from affidavit.catalog.store.sqlite.schema import is_store
from affidavit.errors import PathNotAllowedError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OWN: Final = (
    "it is one of a lake's own files, which are every tenant's: ask for its tables by name, and "
    "attach another lake as lake:///folder"
)
_LINK: Final = "a link in it leads out of the allowed folders"
_UNKNOWN: Final = "it cannot be looked at"
_PATTERN: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Reach:
    """What one session's statements may reach.

    Attributes:
        folders: Of a session with limits: where files may be read and written.
        addresses: Likewise, where databases and buckets may be.
        limited: Whether there are limits.
        own: The lake's own folders, and the URLs of its segments.
    """

    folders: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    limited: bool = False
    own: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls, folders: Iterable[str | os.PathLike[str]] | None, urls: Iterable[str] | None
    ) -> Self:
        """Return what may be reached; without limits if none are given.

        Raises:
            PathNotAllowedError: A folder cannot be looked at.
            SourceError: A URL does not say a scheme and a host.
        """
        if folders is None and urls is None:
            return cls()
        real = tuple(str(_real(each)) for each in _listed(folders, "allowed_paths"))
        return cls(real, tuple(map(parse_address, _listed(urls, "allowed_urls"))), limited=True)

    def within(self, folders: Iterable[str | os.PathLike[str]], urls: Iterable[str]) -> Reach:
        """Return what is allowed both here and below ``folders`` and at ``urls``.

        Raises:
            PathNotAllowedError: One of them lies outside of what is allowed here.
        """
        asked = Reach.of(folders, urls)
        for folder in asked.folders if self.limited else ():
            self.path(folder)
        for address in asked.addresses if self.limited else ():
            self.check(address)
        return replace(asked, own=self.own)

    # --- what is kept with what was attached ---------------------------------------------------

    def kept(self) -> str | None:
        """Return the limits as text, to be kept with what is attached; ``None`` without any."""
        if not self.limited:
            return None
        urls = [address.url for address in self.addresses]
        return json.dumps({"folders": self.folders, "urls": urls})

    def of_kept(self, kept: str | None) -> Reach:
        """Return the limits that something was attached with."""
        if kept is None:
            return Reach(own=self.own)
        limits = json.loads(kept)
        urls = tuple(map(parse_address, limits["urls"]))
        return Reach(tuple(limits["folders"]), urls, limited=True, own=self.own)

    def of_made(self, kept: str | None, location: str) -> Reach:
        """Return what a table of files may reach that was made with limits, or without any.

        What was made without is read by everybody as it was meant, and by who has limits not
        through links out of it.
        """
        made = self.of_kept(kept)
        if made.limited or not self.limited or is_remote(location):
            return made
        return replace(self, folders=(*self.folders, str(_real(_root(location), location))))

    # --- addresses -----------------------------------------------------------------------------

    def check(self, address: Address) -> None:
        """Raise PathNotAllowedError unless ``address`` may be connected to."""
        if any(_overlap(address.url, each) for each in self.own if "://" in each):
            raise PathNotAllowedError(address.url, reason=_OWN)
        if self.limited and not any(each.covers(address) for each in self.addresses):
            allowed = [each.url for each in self.addresses]
            raise PathNotAllowedError(address.url, allowed=allowed, kind="URLs")

    # --- files ---------------------------------------------------------------------------------

    def location(self, location: str) -> str:
        """Return a path, absolute and with a last slash if it has one, or a URL as it is.

        Raises:
            PathNotAllowedError: It may not be reached.
        """
        try:
            url = urlsplit(location)
        except ValueError:
            raise PathNotAllowedError(location, reason=_UNKNOWN) from None
        path, scheme = location, url.scheme.lower()
        if scheme == "file" and url.netloc not in {"", "localhost"}:
            raise PathNotAllowedError(location, reason="a file's URL names no host")
        if scheme == "file":  # always from the root, however many slashes
            path = "/" + unquote(url.path).lstrip("/")
        elif "://" in location:
            self.check(Address(scheme, url.netloc, None, url.path))
            return location
        real = self.path(path, shown=location)
        shown = str(real) if self.limited else str(Path(path).expanduser().absolute())
        return shown + ("/" if path.endswith("/") else "")

    def path(self, path: str, *, shown: str | None = None) -> Path:
        """Return what a path is with its links followed.

        Raises:
            PathNotAllowedError: It may not be reached.
        """
        name = path if shown is None else shown
        real = self.folder(path, name)
        if self._is_own(real):
            raise PathNotAllowedError(name, reason=_OWN)
        return real

    def folder(self, path: str, shown: str) -> Path:
        """Return what :meth:`path` does, of a lake's files too."""
        real = _real(path, shown)
        if self.limited and not self._has(real):
            raise PathNotAllowedError(shown, allowed=self.folders)
        return real

    def _has(self, real: Path) -> bool:
        return any(real.is_relative_to(each) for each in self.folders)

    def check_files(self, location: str) -> None:
        """Look at every file that a path, a folder or a pattern leads to, through links too.

        Raises:
            PathNotAllowedError: One may not be reached.
        """
        if is_remote(location):
            self.location(location)
            return
        root = _root(location)
        real = self.path(root, shown=location)
        if any(Path(each).is_relative_to(real) for each in self.own if "://" not in each):
            raise PathNotAllowedError(location, reason=_OWN)
        if not real.is_dir():
            return
        for link in _links(real, location, seen={str(real)}, strict=self.limited):
            if Path(link).name == CATALOG_FILE:
                self.path(link, shown=location)
                continue
            target = _real(link, location)
            if self.limited and not self._has(target):
                raise PathNotAllowedError(location, reason=_LINK)
            if self._is_own(target):
                raise PathNotAllowedError(location, reason=_OWN)

    def _is_own(self, real: Path) -> bool:
        """Return whether a path, links followed, is a lake's own file or folder."""
        folders = (each for each in self.own if "://" not in each)
        lakes = filter(_is_lake, (real, *real.parents))
        return (
            any(map(real.is_relative_to, folders))
            or any(_is_of(real, lake) for lake in lakes)
            or (real.is_file() and is_store(real))
        )


def _overlap(url: str, own: str) -> bool:
    """Return whether one of two URLs of buckets is below the other, or is the other."""
    one, other = f"{url.rstrip('/')}/", f"{own}/"
    return one.startswith(other) or other.startswith(one)


ANYTHING: Final = Reach()


def _is_of(path: Path, lake: Path) -> bool:
    """Return whether a path in a lake's folder is the lake's: others may keep files there too."""
    name = path.relative_to(lake).parts[:1]
    return not name or name[0].startswith((CATALOG_FILE, ".")) or name[0] in OWN_FOLDERS


def _is_lake(folder: Path) -> bool:
    store = folder / CATALOG_FILE
    try:
        return store.is_file() and is_store(store)
    except OSError:
        return False  # nobody can read below it


def _listed(given: Iterable[str | os.PathLike[str]] | None, what: str) -> list[str]:
    """Return what was given as a list, or by itself.

    Raises:
        SourceError: It is neither.
    """
    several = [given] if isinstance(given, str | os.PathLike) else given or ()
    try:
        texts = [os.fspath(each) for each in several]
    except TypeError:
        texts = None
    if texts is None or not all(isinstance(each, str) for each in texts):
        msg = f"expected {what}= as a list of texts, got {type(given).__name__}"
        raise SourceError(msg)
    return texts


def _real(path: str, shown: str | None = None) -> Path:
    """Return a path with its links followed."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):
        raise PathNotAllowedError(shown or path, reason=_UNKNOWN) from None


def _root(location: str) -> str:
    """Return the folder that a pattern is looked for in, or the path as it is."""
    parts = location.split("/")
    found = (at for at, part in enumerate(parts) if _PATTERN & set(part))
    at = next(found, None)
    return location if at is None else "/".join(parts[:at]) or "/"


def _links(folder: Path, shown: str, *, seen: set[str], strict: bool) -> Iterator[str]:
    """Yield each link in a folder, and the stores of lakes, however deep and behind links too."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        if strict:
            raise PathNotAllowedError(shown, reason=_UNKNOWN) from None
        return  # whoever reads it is told
    for entry in entries:
        if entry.is_symlink() or entry.name == CATALOG_FILE:
            yield entry.path
        if entry.is_dir():
            real = str(_real(entry.path, shown))
            if real not in seen:
                seen.add(real)
                yield from _links(Path(real), shown, seen=seen, strict=strict)
