"""What statements may reach: files, other databases, buckets. One gate for all of them.

Rules:
    - A path is looked at with its links followed, when it is named and whenever it is read again;
      and as it reads without them, where it has ``..``: who opens it may take it either way.
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
from urllib.parse import urlsplit

from affidavit.catalog.lake.place import path_of
from affidavit.catalog.sources.address import Address, below, parse_address
from affidavit.catalog.sources.buckets.location import checked_location, is_local, is_remote
from affidavit.catalog.sources.own_files import Linked, holds_own, is_own, tree
from affidavit.catalog.sources.web.urls import address_of, checked_url, is_web
from affidavit.errors import PathNotAllowedError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

_OWN: Final = (
    "it is one of a lake's own files, which are every tenant's: ask for its tables by name, and "
    "attach another lake as lake:///folder"
)
_LINK: Final = "a link in it leads out of the allowed folders"
_UNKNOWN: Final = "it cannot be looked at"


@dataclass(frozen=True, slots=True)
class Reach:
    """What one session's statements may reach.

    Attributes:
        folders: Of a session with limits: where files may be read and written.
        addresses: Likewise, where databases and buckets may be.
        limited: Whether there are limits.
        own: What is the lake's: folders, files, and the URL of its segments.
        session: Which session has them: what it is given for a bucket, another's is not.
    """

    folders: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    limited: bool = False
    own: tuple[str, ...] = field(default=(), compare=False)
    session: str = field(default="", compare=False)

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
        real = tuple(str(_real(_local(each))) for each in _listed(folders, "allowed_paths"))
        addresses = tuple(map(parse_address, _listed(urls, "allowed_urls")))
        return cls(real, addresses, limited=True)

    def within(self, folders: Iterable[str | os.PathLike[str]], urls: Iterable[str]) -> Reach:
        """Return what is allowed both here and below ``folders`` and at ``urls``.

        Raises:
            PathNotAllowedError: One of them lies outside of what is allowed here.
        """
        asked = Reach.of(folders, urls)
        for folder in asked.folders if self.limited else ():
            self.folder(folder)
        for address in asked.addresses if self.limited else ():
            self.check(address)
        return replace(asked, own=self.own)

    def held_by(self, session: str, own: tuple[str, ...]) -> Reach:
        """Return what a session of a lake may reach."""
        return replace(self, session=session, own=own)

    @property
    def whose(self) -> str:
        """Whose credentials are used: those of this session alone, if it has limits."""
        return self.session if self.limited else ""

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
        return replace(self, folders=tuple(limits["folders"]), addresses=urls, limited=True)

    def of_made(self, kept: str | None, location: str) -> Reach:
        """Return what a table of files may reach that was made with limits, or without any.

        What was made without is read by everybody as it was meant, and by who has limits not
        through links out of it.
        """
        made = self.of_kept(kept)
        if made.limited or not self.limited or not is_local(location):
            return made
        return replace(self, folders=(*self.folders, str(_real(tree(location)[0], location))))

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
            SourceError: It is a URL of no store that is known, or has credentials.
        """
        location = checked_location(location)
        if is_remote(location):
            url = urlsplit(location)
            self.check(Address(url.scheme, url.netloc, None, url.path))
            return location
        path = _local(location)
        real = self.path(path, shown=location)
        is_plain = not self.limited and ".." not in path.split("/")
        shown = str(Path(path).expanduser().absolute() if is_plain else real)
        return shown + ("/" if path.endswith("/") else "")

    def files(self, location: str) -> str:
        """Return where files are that are read and not written: on the web too.

        Raises:
            PathNotAllowedError: They may not be reached.
            SourceError: It is no URL of a file that can be read.
        """
        if not is_web(location):
            return self.location(location)
        url = checked_url(location)
        self.check(address_of(url))
        return url

    def path(self, path: str, *, shown: str | None = None, is_opened: bool = False) -> Path:
        """Return what a path is with its links followed.

        Args:
            path: The path.
            shown: What a refusal calls it.
            is_opened: Whether a database may have it open, which would lose its locks if somebody
                else of this process opened and closed it: then it is told by where it is alone.

        Raises:
            PathNotAllowedError: It may not be reached.
        """
        name = path if shown is None else shown
        real = self.folder(path, name)
        others = [_real(os.path.normpath(path), name)] if ".." in path.split("/") else []
        for each in (real, *others):
            held = is_own(each, self._own_paths, is_store=not is_opened)
            if held or Linked(self._own_paths).has(each):
                raise PathNotAllowedError(name, reason=_OWN)
        if self.limited and not all(map(self._has, others)):
            raise PathNotAllowedError(name, allowed=self.folders)
        return real

    def folder(self, path: str, shown: str | None = None) -> Path:
        """Return what :meth:`path` does, of a lake's files too."""
        name = path if shown is None else shown
        try:
            real = _real(path, name)
        except PathNotAllowedError:
            if self.limited:  # as it is told of a path that can be looked at
                raise PathNotAllowedError(name, allowed=self.folders) from None
            raise
        if self.limited and not self._has(real):
            raise PathNotAllowedError(name, allowed=self.folders)
        return real

    def check_files(self, location: str) -> None:
        """Look at every file that a path, a folder or a pattern leads to, through links too.

        Raises:
            PathNotAllowedError: One may not be reached.
        """
        if not is_local(location):
            self.files(location)
            return
        root, files = tree(location)
        for path in (root, os.path.normpath(root)):
            self.folder(path, location)
        if not Path(root).is_dir():
            self.path(root, shown=location)
            return
        if holds_own(Path(root).resolve(), location, self._own_paths):
            raise PathNotAllowedError(location, reason=_OWN)
        linked = Linked(self._own_paths)
        for file in files(strict=self.limited):
            if file is None:
                raise PathNotAllowedError(location, reason=_UNKNOWN)
            if self.limited and not self._has(file.real):
                raise PathNotAllowedError(location, reason=_LINK)
            if (
                file.is_own
                or is_own(file.real, self._own_paths, is_store=file.may_be_store)
                or linked.has(file.real)
            ):
                raise PathNotAllowedError(location, reason=_OWN)

    def _has(self, real: Path) -> bool:
        return any(real.is_relative_to(each) for each in self.folders)

    @property
    def _own_paths(self) -> tuple[str, ...]:
        return tuple(each for each in self.own if "://" not in each)


ANYTHING: Final = Reach()


def _overlap(url: str, own: str) -> bool:
    """Return whether one of two URLs of buckets is below the other, or is the other."""
    return below(url, own) is not False or below(own, url) is not False


def _local(path: str) -> str:
    """Return the path of this machine that a ``file:`` URL names, or a path as it is.

    Raises:
        PathNotAllowedError: It is a URL that names no file of this machine.
    """
    if path[:5].lower() != "file:":
        return path
    try:
        url = urlsplit(path)
    except ValueError:
        raise PathNotAllowedError(path, reason=_UNKNOWN) from None
    found = path_of(url)
    if found is None:
        raise PathNotAllowedError(path, reason="a file's URL names a path, and nothing else")
    return found


def _listed(given: Iterable[str | os.PathLike[str]] | None, what: str) -> list[str]:
    """Return what was given as a list, or by itself.

    Raises:
        SourceError: It is neither.
    """
    several = [given] if isinstance(given, str | os.PathLike) else given or ()
    try:
        texts: list[str] | None = [os.fspath(each) for each in several]
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
