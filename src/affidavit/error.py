"""The root of every error that affidavit raises: how each is told, pickled and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.screen import escaped, masked, told_in_a_notebook

if TYPE_CHECKING:
    from collections.abc import Callable


class AffidavitError(Exception):
    """The root of every error that affidavit raises.

    Its text has no URL's password, and nothing that a terminal would act on. A notebook shows it in
    a few lines, and the whole chain after ``%xmode Verbose``.

    Each can be pickled and copied, with its message and attributes; its constructor is not asked.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(masked(each) if isinstance(each, str) else each for each in args))

    def hide(self, masked: Callable[[str], str]) -> None:
        """Take out of the message what is secret, and let go of the error that it was told by."""
        self.args = tuple(masked(each) if isinstance(each, str) else each for each in self.args)
        self.__cause__ = self.__context__ = None

    def __str__(self) -> str:
        return escaped(super().__str__(), lines=True)

    def _render_traceback_(self) -> list[str]:
        return told_in_a_notebook(self)

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (type(self), self.args, dict(self.__dict__))


def _remade(
    kind: type[AffidavitError], args: tuple[object, ...], attributes: dict[str, object]
) -> AffidavitError:
    """Return an error as it was when it was pickled."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error
