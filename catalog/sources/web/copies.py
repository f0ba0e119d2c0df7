"""Files of the web that statements read: copies on this machine, asked for once a statement.

Rules:
    - A statement reads one copy of a URL, however often it names it. The next one asks the server
      whether that is still what it has, and reads nothing old where nobody answers.
    - A copy is whole, or it is not there. It never changes: what is new is another copy.
    - It goes when it is in the way and no statement reads it, and when the lake is closed.
    - Nobody is told where a copy is, but of the URL that it is of.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize

from affidavit.catalog.lake.memory import remove_own
from affidavit.catalog.sources.web.urls import address_of, led_on, name_of
from affidavit.catalog.sources.web.wire import Line, Wire, chunks, length_of
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message
    from http.client import HTTPResponse
    from pathlib import Path

    from affidavit.catalog.lake.memory import Memory, Scratch
    from affidavit.catalog.lake.queries import Query
    from affidavit.catalog.sources.reach import Reach

FILE_BYTES_MAX: Final = 4 * 1024**3
"""A larger file is downloaded by who reads it, and not by a statement."""

KEPT_BYTES_MAX: Final = FILE_BYTES_MAX
KEPT_MAX: Final = 1000
"""How much is kept between statements, and how many copies; the one used last goes last."""

REDIRECTS_MAX: Final = 5

_NAME_MAX: Final = 100
_OK: Final = 200
_UNCHANGED: Final = 304
_ELSEWHERE: Final = frozenset({301, 302, 303, 307, 308})
_SENT_AS: Final = frozenset({"", "identity", "gzip", "x-gzip"})
"""How a file may be sent: as it is, or as a file that is seen to be compressed."""

_SURE_AFTER: Final = timedelta(seconds=2)
"""A file that has no ETag may be written twice in the second that its time names."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Copy:
    """A file of the web, as it was when it was asked for.

    Attributes:
        url: What it is of.
        path: Where it is on this machine, for as long as somebody holds this.
        size: How many bytes it has.
        media_type: What its server says that it is, such as ``text/csv``; empty if nothing.
        at: The URL that it came from, in the end.
        validators: What tells whether it is so still, as headers of a request.
        scratch: What it lies in.
    """

    url: str
    path: Path
    size: int
    media_type: str
    at: str = field(repr=False)  # it may be signed
    validators: Mapping[str, str] = field(repr=False)
    scratch: Scratch = field(repr=False)


class Copies:
    """The copies that one tenant's statements read.

    Args:
        memory: The lake's, which says where they may lie.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._wire = Wire()
        self._lock = threading.Lock()
        self._scratch: Scratch | None = None
        self._kept: OrderedDict[str, Copy] = OrderedDict()
        self._known: WeakValueDictionary[str, Copy] = WeakValueDictionary()
        self._read: WeakKeyDictionary[Query, dict[tuple[str, Reach], Copy]] = WeakKeyDictionary()

    def of(self, url: str, reach: Reach, query: Query) -> Copy:
        """Return the copy of a URL that a statement reads; the server is asked once for each.

        Args:
            url: The URL, which was looked at.
            reach: What may be reached, wherever the server leads on to.
            query: The statement: it may be ended meanwhile.

        Raises:
            SourceError: The server has no such file, or none that is whole and of a size to read.
            PathNotAllowedError: It leads on to what may not be reached.
        """
        read = self._read.setdefault(query, {})
        if (url, reach) not in read:
            read[url, reach] = self._keep(self._asked(url, reach, query))
        return read[url, reach]

    def hide(self, text: str) -> str:
        """Return a text with the URLs of copies in the place of their paths."""
        if self._scratch is None:
            return text
        folder = str(self._scratch.path).lstrip("/")
        lies = "|".join(map(re.escape, dict.fromkeys((folder, quote(folder)))))
        return re.sub(
            rf"(?:file://)?/?(?:{lies})/(\w+)/[\w.-]+",
            lambda found: known.url if (known := self._known.get(found[1])) else found[0],
            text,
        )

    # --- what is kept ----------------------------------------------------------------------------

    def _held(self, url: str) -> Copy | None:
        """Return the copy of a URL that is kept, if nobody has touched it."""
        with self._lock:
            found = self._kept.get(url)
        try:
            is_there = found is not None and found.path.stat().st_size == found.size
        except OSError:
            is_there = False
        return found if is_there else None

    def _keep(self, copy: Copy) -> Copy:
        """Keep a copy, and let go of those that are in the way."""
        with self._lock:
            self._kept[copy.url] = copy
            self._kept.move_to_end(copy.url)
            size = sum(each.size for each in self._kept.values())
            let_go = []
            while len(self._kept) > KEPT_MAX or (size > KEPT_BYTES_MAX and len(self._kept) > 1):
                let_go.append(self._kept.popitem(last=False)[1])
                size -= let_go[-1].size
        del let_go  # outside of the lock: their files are removed
        return copy

    def _folder(self) -> Scratch:
        with self._lock:
            if self._scratch is None or not self._scratch.path.is_dir():
                self._scratch = self._memory.scratch()
            return self._scratch

    # --- asked for -------------------------------------------------------------------------------

    def _asked(self, url: str, reach: Reach, query: Query) -> Copy:
        line = Line()
        left_s = None if query.deadline is None else query.deadline - monotonic()
        try:
            with query.running(line.cut, lambda: False), line.cut_after(left_s):
                return self._followed(url, reach, query, line)
        except SourceError as error:
            query.check()  # then it was ended, and that is why
            raise SourceError(f"{url!r}: {error}") from error.__cause__

    def _followed(self, url: str, reach: Reach, query: Query, line: Line) -> Copy:
        """Return the copy of a URL, wherever its server leads on to."""
        at, held = url, self._held(url)
        for _ in range(REDIRECTS_MAX + 1):
            reach.check(address_of(at))
            asked = held.validators if held is not None and held.at == at else {}
            with closing(self._wire.ask(at, asked, line, is_alone=reach.limited)) as answer:
                query.check()
                if answer.status in _ELSEWHERE:
                    at = led_on(at, answer.headers.get("Location"))
                    continue
                if asked and answer.status == _UNCHANGED and held is not None:
                    return held
                if answer.status != _OK:
                    msg = f"its server answers {answer.status} {answer.reason}".rstrip()
                    raise SourceError(msg)
                return self._written(url, at, answer, query, line)
        raise SourceError(f"its server leads on more than {REDIRECTS_MAX} times")

    def _written(self, url: str, at: str, answer: HTTPResponse, query: Query, line: Line) -> Copy:
        """Return a new copy, of what a server sends."""
        headers, length = answer.headers, length_of(answer)
        if headers.get("Content-Encoding", "").lower() not in _SENT_AS:
            raise SourceError(f"its server sends it as {headers['Content-Encoding']!r}, unasked")
        _check_size(length or 0)
        scratch, token = self._folder(), uuid4().hex
        folder = scratch.path / token
        path = folder / _file_name(url)
        try:
            folder.mkdir(mode=0o700)
            size = 0
            with path.open("wb") as file:
                for chunk in chunks(answer, length, line):
                    query.check()
                    size += len(chunk)
                    _check_size(size)
                    file.write(chunk)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            raise SourceError(f"it cannot be kept in {str(scratch.path)!r}: {error}") from error
        media_type = headers.get_content_type() if "Content-Type" in headers else ""
        copy = self._known[token] = Copy(
            url, path, size, media_type, at, _validators(headers), scratch
        )
        finalize(copy, remove_own, folder, os.getpid())
        return copy


def _validators(headers: Message) -> dict[str, str]:
    """Return how a server is asked whether a file is still as it answered; nothing if it cannot."""
    etag, changed = headers.get("ETag"), headers.get("Last-Modified")
    if etag:
        return {"If-None-Match": etag}
    try:
        age = parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(changed or "")
    except (TypeError, ValueError):  # one is not said, or is no time
        return {}
    return {"If-Modified-Since": changed} if changed and age >= _SURE_AFTER else {}


def _check_size(size: int) -> None:
    if size > FILE_BYTES_MAX:
        msg = (
            f"it is larger than the {FILE_BYTES_MAX:,} bytes that a statement downloads: download "
            "it, and read it by its path"
        )
        raise SourceError(msg)


def _file_name(url: str) -> str:
    """Return a name that ends as the file's: some readers go by that."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", name_of(url))[-_NAME_MAX:]
    return plain.lstrip(".-") or "file"
