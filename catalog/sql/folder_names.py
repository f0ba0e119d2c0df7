"""What the folder of a name is called: pure.

Rules:
    - A name that every file system keeps apart from every other is its folder's, as it is: letters
      without case or small, digits, and what else Windows takes.
    - Any other has a mark: a dot, which no name has, and its SHA-256. Before it stands what people
      may know it by: small letters. So the folders of two names differ where case does not count,
      or where the forms of Unicode do not.
    - A folder of before, which is called as its name is, is kept. Where a name that needs no mark
      would share it, that one gets a mark.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

SHOWN_BYTES_MAX: Final = 100
"""How much of a name stands before its mark."""

NAMES_KEPT: Final = 1024
"""Of how many names it is remembered: each look at a table asks."""

_MARK_DIGITS: Final = 32
_RESERVED: Final = re.compile(
    r"(con|prn|aux|nul|com[0-9]|lpt[0-9]|conin\$|conout\$|clock\$)", re.IGNORECASE
)
"""What Windows takes for a device, whatever follows after a dot."""

_REFUSED: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]')
"""What Windows takes for no part of a name."""

_IGNORED: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""What some file systems pass over: it may be left out of a name."""


def folded(name: str) -> str:
    """Return what a name is where case and the forms of Unicode do not count."""
    text = name
    for _ in range(2):  # folding may undo a form, and the form a folding
        text = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", _IGNORED.sub("", text))


@lru_cache(NAMES_KEPT)
def is_plain(name: str) -> bool:
    """Return whether a folder may be called ``name`` beside those of all other names."""
    return (
        folded(name) == name
        and all(folded(each.upper()) == each for each in name)
        and not _REFUSED.search(name)
        and not _RESERVED.fullmatch(name)
        and name == name.strip(" .")
    )


@lru_cache(NAMES_KEPT)
def marked(name: str) -> str:
    """Return what the folder of a name is called with its mark."""
    shown = _REFUSED.sub("_", folded(name)).strip(" .")
    if _RESERVED.fullmatch(shown):
        shown += "_"
    shown = shown.encode()[:SHOWN_BYTES_MAX].decode(errors="ignore").replace(".", "_")
    mark = hashlib.sha256(name.encode()).hexdigest()[:_MARK_DIGITS]
    return f"{unicodedata.normalize('NFKC', shown)}.{mark}"


def chosen(name: str, there: Collection[str], *, ending: str = "") -> str:
    """Return what the folder of ``name`` is called beside those that are ``there``."""
    plain, own = name + ending, marked(name) + ending
    exact = unicodedata.normalize("NFC", plain)
    is_there = any(unicodedata.normalize("NFC", each) == exact for each in there)
    if own in there or not (is_there or is_plain(name)):
        return own
    is_shared = not is_there and any(folded(each) == folded(plain) for each in there)
    return own if is_shared else plain
