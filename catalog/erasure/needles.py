"""The values of erased rows, looked for in what others wrote: queries, lineage, parameters, errors.

Rules:
    - A value is found where it stands by itself: between characters that no word has, in whatever
      case. Numbers are compared as numbers, vectors as 32-bit floats.
    - What is so short that it stands everywhere is not looked for: it says nothing of anybody.
    - In SQL the literals, quoted names and comments are looked at; names and keywords are not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TEXT_LENGTH_MIN: Final = 3
DIGITS_MIN: Final = 5
PLACES_MIN: Final = 7
"""How long a text must be to be looked for, and how many digits a number must have: such that
count, or in all."""

WORD_LENGTH_MIN: Final = 4
"""How long a word of a text must be for a query to be about it."""

VECTOR_LENGTH_MIN: Final = 2
_WORD: Final = re.compile(r"\w+")
_NUMBER: Final = re.compile(r"(?<![\w.])\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])")
_TIME: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<minute>\d\d:\d\d)(?::(?P<second>\d\d)"
    r"(?:\.(?P<fraction>\d+))?)?(?:Z|[+-]\d\d:?\d\d)?"
)
_FRACTIONS: Final = (3, 6, 9)
"""How many digits of a second's fraction are usual."""
_HEX_DIGITS: Final = 64


@dataclass(slots=True)
class Needles:
    """Values that are looked for.

    Attributes:
        texts: Texts, without regard to case.
        numbers: Numbers, without their signs.
        vectors: Vectors, as little-endian 32-bit floats.
    """

    texts: set[str] = field(default_factory=set)
    numbers: set[Decimal] = field(default_factory=set)
    vectors: set[bytes] = field(default_factory=set)
    _by_word: dict[str, list[tuple[int, str]]] | None = None
    _words: frozenset[str] = frozenset()
    _hashes: frozenset[str] = frozenset()
    _base64: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.texts or self.numbers or self.vectors)

    # --- what is looked for --------------------------------------------------------------------

    def add(self, value: object) -> None:
        """Look for a value as JSON has it, and for what is in it."""
        self._by_word = None
        if isinstance(value, str):
            self.texts.update(each for each in _written(value) if len(each) >= TEXT_LENGTH_MIN)
            number = number_of(value)
            if number is not None:
                self.numbers.add(number)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = number_of(str(value))
            if number is not None:
                self.numbers.add(number)
        elif isinstance(value, list) and (vector := vector_of(value)) is not None:
            self.vectors.add(vector)
        elif isinstance(value, list):
            for each in value:
                self.add(each)
        elif isinstance(value, dict):
            for each in value.values():
                self.add(each)

    def written(self) -> set[str]:
        """Return the ways in which texts and numbers may stand in a file, by itself or in JSON."""
        found = {format(each, "f") for each in self.numbers}
        for text in self.texts:
            found |= {text, quoted_text(text)[1:-1]}
            found |= {json.dumps(text, ensure_ascii=each)[1:-1] for each in (True, False)}
        return found

    def to_json(self) -> dict[str, list[str]]:
        """Return them as they are kept while an erasure runs."""
        return {
            "texts": sorted(self.texts),
            "numbers": sorted(map(str, self.numbers)),
            "vectors": [base64.b64encode(each).decode() for each in sorted(self.vectors)],
        }

    @classmethod
    def of_json(cls, told: dict[str, list[str]]) -> Needles:
        """Return what :meth:`to_json` gave."""
        return cls(
            set(told["texts"]), set(map(Decimal, told["numbers"])),
            set(map(base64.b64decode, told["vectors"])),
        )  # fmt: skip

    # --- where they are ------------------------------------------------------------------------

    def in_text(self, text: str) -> bool:
        """Return whether one of them stands in a text."""
        index = self._index()
        told = text.casefold()
        for found in _WORD.finditer(told):
            for offset, needle in index.get(found[0], ()):
                if _stands_alone(told, found.start() - offset, needle):
                    return True
        return bool(self.numbers) and any(
            number_of(each[0]) in self.numbers for each in _NUMBER.finditer(text)
        )

    def in_sql(self, text: str) -> bool:
        """Return whether one of them stands in a statement's literals, quoted names or comments."""
        return self.in_text(" ".join(said_in(text)))

    def in_json(self, value: object) -> bool:
        """Return whether one of them stands in a value as JSON has it, or its SHA-256 does."""
        self._index()
        return any(map(self._is_in, _leaves(value)))

    def share_words(self, value: object) -> bool:
        """Return whether a value as JSON has it has a word of one of the texts.

        It is what a query is likely to be about that found the row.
        """
        self._index()
        return any(
            not self._words.isdisjoint(_WORD.findall(leaf.casefold()))
            for leaf in _leaves(value)
            if isinstance(leaf, str)
        )

    def _is_in(self, leaf: object) -> bool:
        if isinstance(leaf, bytes):
            return leaf in self.vectors
        if not isinstance(leaf, str):
            return number_of(str(leaf)) in self.numbers
        if leaf in self._base64 or (len(leaf) == _HEX_DIGITS and leaf in self._hashes):
            return True
        return self.in_text(leaf) or ("''" in leaf and self.in_text(leaf.replace("''", "'")))

    def _index(self) -> dict[str, list[tuple[int, str]]]:
        """Return the texts by their first word, and where in them that begins."""
        if self._by_word is None:
            index: dict[str, list[tuple[int, str]]] = {}
            for needle in map(str.casefold, self.texts):
                first = _WORD.search(needle)
                if first is not None:
                    index.setdefault(first[0], []).append((first.start(), needle))
            self._by_word = index
            words = (word for each in self.texts for word in _WORD.findall(each.casefold()))
            self._words = frozenset(each for each in words if len(each) >= WORD_LENGTH_MIN)
            encoded = [*(each.encode() for each in self.texts), *self.vectors]
            self._hashes = frozenset(hashlib.sha256(each).hexdigest() for each in encoded)
            self._base64 = frozenset(base64.b64encode(each).decode() for each in self.vectors)
        return self._by_word


def _written(text: str) -> Iterator[str]:
    """Yield the ways in which a text is written: a time also as people do, and as SQL has it."""
    plain = text.strip()
    yield plain
    found = _TIME.fullmatch(plain)
    if found is None:
        return
    minute, second, fraction = found["minute"], found["second"] or "00", found["fraction"] or ""
    times = [f"{minute}:{second}"]
    digits = fraction.rstrip("0")
    if digits:
        lengths = {len(digits), *(each for each in _FRACTIONS if each > len(digits))}
        times = [f"{minute}:{second}.{digits.ljust(each, '0')}" for each in sorted(lengths)]
    elif second == "00":
        times.append(minute)
    for time in times:
        yield f"{found['day']}T{time}"
        yield f"{found['day']} {time}"


def said_in(text: str) -> list[str]:
    """Return a statement's literals, quoted names and comments; all of one that is none."""
    try:
        tokens = tokenize(text)
    except AffidavitError:
        return [text]
    parts, end = [], 0
    for token in tokens:
        parts.append(text[end : token.start])
        end = token.start + len(token.text)
        if token.kind in {"string", "quoted", "number"}:
            parts.append(token.text.replace("''", "'"))
    return [*parts, text[end:]]


def _stands_alone(text: str, start: int, needle: str) -> bool:
    """Return whether ``needle`` is at ``start``, and is no part of longer words."""
    if start < 0 or not text.startswith(needle, start):
        return False
    end = start + len(needle)
    before = start == 0 or not _joins(text[start - 1], needle[0])
    return before and (end == len(text) or not _joins(needle[-1], text[end]))


def _joins(left: str, right: str) -> bool:
    return bool(_WORD.match(left) and _WORD.match(right))


def number_of(text: str) -> Decimal | None:
    """Return the number that a text is, without its sign, if it has digits enough."""
    with suppress(ArithmeticError, ValueError):
        found = Decimal(text.replace("_", "")).copy_abs()
        if found.is_finite():
            found = found.normalize()
            enough = len(found.as_tuple().digits) >= DIGITS_MIN
            return found if enough or found.adjusted() >= PLACES_MIN - 1 else None
    return None


def vector_of(values: list[Any]) -> bytes | None:
    """Return a list of numbers as the 32-bit floats that a vector column has of it."""
    if len(values) < VECTOR_LENGTH_MIN or not all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in values
    ):
        return None
    with suppress(OverflowError), np.errstate(over="ignore"):
        return np.asarray(values, dtype="<f4").tobytes()
    return None


def _leaves(value: object) -> Iterator[object]:
    """Yield the texts and numbers in a value; of a list of numbers the vector that it may be."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _leaves(each)
    elif isinstance(value, list):
        vector = vector_of(value)
        if vector is not None:
            yield vector
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value


def values_of(texts: Iterable[str | None]) -> Iterator[object]:
    """Yield the values that JSON texts hold, as the journal keeps them."""
    for text in texts:
        if text is not None:
            with suppress(ValueError):
                yield json.loads(text)
