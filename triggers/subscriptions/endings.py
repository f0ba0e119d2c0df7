"""What ends when nobody holds it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import finalize

if TYPE_CHECKING:
    from collections.abc import Callable


def when_forgotten(owner: object, call: Callable[..., object], **given: Any) -> finalize[..., Any]:  # noqa: ANN401 - what it takes
    """Call once nobody holds ``owner`` any more; not as the process ends."""
    ending = finalize(owner, call, **given)
    ending.atexit = False
    return ending
