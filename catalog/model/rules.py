"""What a mutable table asks of its rows beside types and keys: written down in its definition.

Rules:
    - What is empty is not written down, so that a table without any is as it was before there were.
    - Expressions are SQL over the columns of one row, which are spelled as the table spells them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NO_ACTION: Final = "NO ACTION"
RESTRICT: Final = "RESTRICT"
CASCADE: Final = "CASCADE"
SET_NULL: Final = "SET NULL"
ACTIONS: Final = (NO_ACTION, RESTRICT, CASCADE, SET_NULL)
"""What becomes of the rows that refer to one that goes, or gets another key."""

OF_TABLE: Final = ""
"""Whose comment is the table's own: no column has this name."""


@dataclass(frozen=True, slots=True)
class Check:
    """A condition that is false for no row.

    Attributes:
        name: What an error calls it, and ALTER TABLE ... DROP CONSTRAINT.
        sql: The condition.
        columns: The columns that it reads.
    """

    name: str
    sql: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Generated:
    """What a column is computed of, in every row that is written.

    Attributes:
        sql: The expression.
        columns: The columns that it reads.
    """

    sql: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """Where numbers come from that are never given twice.

    Attributes:
        counter_id: Its own, and never another's.
        start: The first number.
        increment: By how much each differs from the one before; not 0.
        minimum: No number is smaller.
        maximum: No number is larger.
    """

    counter_id: str
    start: int
    increment: int
    minimum: int
    maximum: int

    def number(self, place: int) -> int:
        """Return the number at a place, from 0 on, whether or not it is within the bounds."""
        return self.start + self.increment * place

    @property
    def places(self) -> int:
        """How many numbers there are."""
        last = self.maximum if self.increment > 0 else self.minimum
        return (last - self.start) // self.increment + 1

    def place_after(self, number: int) -> int:
        """Return the first place whose number is beyond ``number``."""
        return max((number - self.start) // self.increment + 1, 0)


@dataclass(frozen=True, slots=True)
class Identity:
    """A column whose rows are numbered.

    Attributes:
        counter: Where the numbers come from.
        always: Whether nobody may give a row another.
    """

    counter: Counter
    always: bool = False


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns whose values are a key of another table, or the same.

    Attributes:
        name: What an error calls it.
        columns: The columns that refer.
        table_id: The table that they refer to.
        key: The columns of its key, in the same order.
        on_delete: What becomes of a row when the one that it refers to is deleted.
        on_update: And when that gets another key.
    """

    name: str
    columns: tuple[str, ...]
    table_id: str
    key: tuple[str, ...]
    on_delete: str = NO_ACTION
    on_update: str = NO_ACTION


@dataclass(frozen=True)  # without slots: what is derived is kept
class Rules:
    """All that a table asks of its rows beside types and keys.

    Attributes:
        checks: Conditions.
        foreign_keys: What refers to other tables.
        generated: What columns are computed of.
        identities: The columns whose rows are numbered.
        lengths: How many characters the texts of a column may have.
        kinds: The columns whose texts are of a kind: ``uuid``, ``json``, or the values of an enum.
        comments: What columns are for, and the table itself.
    """

    checks: tuple[Check, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    generated: Mapping[str, Generated] = field(default_factory=dict)
    identities: Mapping[str, Identity] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def are_of_rows(self) -> bool:
        """Whether a row has to be completed or checked by itself."""
        return bool(self.checks or self.generated or self.identities or self.lengths or self.kinds)

    def names_using(self, column: str) -> Iterator[str]:
        """Yield what an error calls each rule that names ``column``."""
        yield from (f"check {c.name!r}" for c in self.checks if column in c.columns)
        yield from (f"foreign key {k.name!r}" for k in self.foreign_keys if column in k.columns)
        for name, made in self.generated.items():
            if column in made.columns:
                yield f"generated column {name!r}"

    def without_column(self, column: str) -> Rules:
        """Return the same, after a column that no rule names is gone."""
        return Rules(
            self.checks, self.foreign_keys,
            *({k: v for k, v in each.items() if k != column} for each in self._by_column()),
        )  # fmt: skip

    def with_column_renamed(self, old: str, new: str) -> Rules:
        """Return the same, after a column that no rule names got another name."""
        return Rules(
            self.checks, self.foreign_keys,
            *(
                {new if k == old else k: v for k, v in each.items()}
                for each in self._by_column()
            ),
        )  # fmt: skip

    def _by_column(self) -> tuple[Mapping[str, Any], ...]:
        return self.generated, self.identities, self.lengths, self.kinds, self.comments

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`from_dict` reads: what is not empty."""
        said = asdict(self)
        return {each.name: said[each.name] for each in fields(self) if said[each.name]}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Rules:
        """Return the inverse of :meth:`to_dict`."""
        return cls(
            tuple(Check(c["name"], c["sql"], tuple(c["columns"])) for c in raw.get("checks", ())),
            tuple(_foreign_key(each) for each in raw.get("foreign_keys", ())),
            {
                name: Generated(each["sql"], tuple(each["columns"]))
                for name, each in raw.get("generated", {}).items()
            },
            {
                name: Identity(Counter(**each["counter"]), each["always"])
                for name, each in raw.get("identities", {}).items()
            },
            raw.get("lengths", {}),
            {
                name: kind if isinstance(kind, str) else tuple(kind)
                for name, kind in raw.get("kinds", {}).items()
            },
            raw.get("comments", {}),
        )


def _foreign_key(raw: Mapping[str, Any]) -> ForeignKey:
    return ForeignKey(
        raw["name"], tuple(raw["columns"]), raw["table_id"], tuple(raw["key"]),
        raw["on_delete"], raw["on_update"],
    )  # fmt: skip


NO_RULES: Final = Rules()
