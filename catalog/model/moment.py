"""Moments: what a caller means by a point in the past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from affidavit.catalog.values.canonical import us_of
from affidavit.errors import InvalidQueryError


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in a tenant's ledger: after an entry, or at a time, or a version of a table.

    ``sources`` are the versions that tables of other systems had then, by name.
    """

    seq: int | None = None
    at_us: int | None = None
    version: int | None = None
    sources: tuple[tuple[str, int], ...] = ()

    def of_source(self, name: str) -> int | None:
        """Return the version that a table of another system had then, if that is known."""
        return dict(self.sources).get(name)


def parse_moment(value: object) -> Moment:
    """Return the moment that a caller means.

    A number is an entry of the ledger; ``'v7'`` is a vector table's version; a datetime, or a text
    in ISO 8601, is a time, UTC if it does not say.

    Raises:
        InvalidQueryError: It is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Moment(seq=value)
    if isinstance(value, str) and value[:1] == "v" and value[1:].isdecimal():
        return Moment(version=int(value[1:]))
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if isinstance(moment, datetime):
        return Moment(at_us=us_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
    msg = (
        "a moment is an entry's number, a version such as 'v7', or a time such as "
        f"'2026-01-31T12:00:00'; got {value!r}"
    )
    raise InvalidQueryError(msg)
