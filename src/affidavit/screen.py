"""What reaches a screen: text that no terminal obeys, how wide it is, and errors in notebooks.

Rules:
    - Whatever a terminal or a browser acts on instead of showing it is written as an escape, as
      Python's literals do: control characters, what turns the direction of text, what has no width
      and no use inside a word, halves of surrogates.
    - No URL is shown with its password, or what it is signed with.
    - A width is how many columns a terminal gives to a text: two for East Asian wide characters
      (Unicode Standard Annex #11), none for marks that combine with the one before.
"""

from __future__ import annotations

import re
import sys
import traceback
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

KNOWN_NAMES_MAX: Final = 20
"""How many known names an error message lists before it stops."""

_OBEYED: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_OBEYED_BUT_LINES: Final = re.compile(_OBEYED.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))

MASK: Final = "***"
"""What stands where a secret did."""

_USERINFO: Final = re.compile(
    r"""(?<=://)(?:[^/?#'"\n@]{0,256}@|[^/?#'"\n@]{0,256}:(?!\d+[/?#'"\s])[^'"\n@]{0,256}@)"""
    r"""|(?<![^\s'"(=,/])(?:[a-z][\w+.-]{0,32}:)?/{0,3}[^\s'"/@:]{1,64}:"""
    r"""(?!//|\d+[/?#'"\s])[^\s'"@]{0,256}@""",
    re.IGNORECASE,
)
"""What stands before a host, with a password; that may have a slash, and the URL no scheme."""

_ASSIGNED: Final = re.compile(
    r"""(?<![\w.%-])([\w.%-]{0,64}?(?:signature|sig|token(?!iz)|secret|passw|pwd|credential|sas"""
    r"""|(?:access|api|account|private|master)[\w-]{0,16}key)[\w.%-]{0,64}=)"""
    r"""(?=[^\s'"&;,()\[])[^&;'"\s)]+""",
    re.IGNORECASE,
)
"""What is assigned to a name of a secret, in a URL's query or a connection string."""

_OWN: Final = Path(__file__).parent


def escaped(text: object, *, lines: bool = False) -> str:
    """Return ``text`` with an escape for each character that a terminal acts on.

    Args:
        text: What is shown.
        lines: Whether line breaks and tabs stay, as in messages and plans.
    """
    pattern = _OBEYED_BUT_LINES if lines else _OBEYED
    return pattern.sub(lambda found: ascii(found[0])[1:-1], str(text))


def masked(text: str) -> str:
    """Return ``text`` without what may be a secret in a URL: a password, a signature, a token."""
    if "@" in text:
        text = _USERINFO.sub(f"{MASK}@", text)
    return _ASSIGNED.sub(rf"\1{MASK}", text) if "=" in text else text


def printable(text: object) -> str:
    """Return ``text`` with an escape for whatever looks like nothing, or like a plain space.

    For what a forger may have written, where two texts must not look alike.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(text))


def listed(names: Iterable[str]) -> str:
    """Return names in quotes and in order, as many as a message has room for."""
    ordered = sorted(names)
    shown = ", ".join(repr(name) for name in ordered[:KNOWN_NAMES_MAX])
    rest = len(ordered) - KNOWN_NAMES_MAX
    return (shown or "none") + (f" and {rest} more" if rest > 0 else "")


def width_of(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def cut(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` columns, with an ellipsis for what is left out."""
    if width_of(text) <= width:
        return text
    left, kept = width - 1, 0
    for character in text:
        left -= _width(character)
        if left < 0:
            break
        kept += 1
    return f"{text[:kept]}…"


def padded(text: str, width: int) -> str:
    """Return ``text`` with spaces up to ``width`` columns."""
    return text + " " * (width - width_of(text))


def told_in_a_notebook(error: BaseException) -> list[str]:
    """Return the lines that IPython shows of an error: the caller's own lines, and the message.

    The chain of what was called inside is what ``%xmode Verbose`` asks for.
    """
    shell = _shell()
    if shell is not None and shell.InteractiveTB.mode == "Verbose":
        tb = shell.InteractiveTB
        lines: list[str] = tb.structured_traceback(type(error), error, error.__traceback__)
        return lines
    lines = [line.rstrip("\n") for line in traceback.format_list(_callers(error))]
    return [*lines, f"{type(error).__name__}: {error}"]


def _callers(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the lines of an error between IPython and affidavit."""
    frames: list[traceback.FrameSummary] = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_OWN):
            break
        if "IPython" in path.parts:
            frames.clear()
        else:
            frames.append(frame)
    return frames


def _shell() -> Any:  # noqa: ANN401 - IPython's shell is untyped
    library = sys.modules.get("IPython")
    return None if library is None else library.get_ipython()
