"""Libraries that are installed only where they are wanted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from affidavit.errors import MissingLibraryError

if TYPE_CHECKING:
    from types import ModuleType


def require(library: str, *, what: str, extra: str | None = None) -> ModuleType:
    """Return a library, which affidavit has an extra of that name for, or of ``extra``.

    Raises:
        MissingLibraryError: It is not installed.
    """
    try:
        return import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        msg = f"{what} needs {library}: pip install 'affidavit[{extra or library}]'"
        raise MissingLibraryError(msg) from error
