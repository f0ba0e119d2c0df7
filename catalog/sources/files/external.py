"""``CREATE EXTERNAL TABLE``: how it is written, what it says, and which of its options are ours."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import SqlDefinition
from affidavit.catalog.model.making import named_as
from affidavit.catalog.sources.buckets.location import is_local
from affidavit.catalog.sources.buckets.options import refuse_secrets
from affidavit.catalog.sources.buckets.services import PREFIXES
from affidavit.catalog.sources.files.formats import FORMATS, format_named
from affidavit.catalog.sources.files.guessed import guessed, refuse_database
from affidavit.catalog.sources.files.library import Opening
from affidavit.catalog.sources.web.urls import is_web
from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.errors import SourceError, SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.model.definition import Definition
    from affidavit.catalog.model.moment import Moment
    from affidavit.catalog.sources.buckets.bucket import Bucket
    from affidavit.catalog.sources.files.library import LibraryDataset
    from affidavit.catalog.sources.web.copies import Copy
    from affidavit.catalog.sql.lexer import Token

NAMES_FILES: Final = (
    "its metadata names files itself: let a session without allowed_paths attach it, and read it "
    "then with this one"
)
"""Why a session whose paths are limited attaches no Delta or Iceberg table, and no lake."""

ON_BAD_VALUE: Final = "on_bad_value"
"""The option that says what becomes of a value which its column's type does not hold."""

_STAND_IN: Final = "external_"
"""What DataFusion is told that a table is called, which registers it by no name."""

_PLAIN: Final = ("CREATE", "EXTERNAL", "TABLE")


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """What a ``CREATE EXTERNAL TABLE`` says.

    Attributes:
        kind: What follows STORED AS, in capitals.
        location: Where the files are.
        options: The options that are not DataFusion's: how a store is reached, and of a table
            format its own.
        sql: The text without those options.
        given: DataFusion's own options.
        clause: These as they were written, behind OPTIONS.
        head: What is written before STORED AS.
        declares: Whether it says its columns.
        parted: Whether it says its partitions.
    """

    kind: str
    location: str
    options: Mapping[str, str]
    sql: str
    given: Mapping[str, str] = field(default_factory=dict)
    clause: str = ""
    head: str = ""
    declares: bool = False
    parted: bool = False

    @property
    def is_lake(self) -> bool:
        """Whether a library reads it, and not DataFusion."""
        return _is_lake(self.kind)

    @property
    def is_plain(self) -> bool:
        """Whether its text is DataFusion's as it stands: it is of local files."""
        return not self.is_lake and is_local(self.location)

    @property
    def bad_is_null(self) -> bool:
        """Whether a value that cannot be read is NULL, and no error.

        Raises:
            SourceError: Its format does not know the choice.
        """
        return bad_is_null(self.options.get(ON_BAD_VALUE, "error"), self.kind)

    def moved(self, location: str) -> ExternalTable:
        """Return the same table, of what was downloaded to this path."""
        sql = _placed(self.head, self.kind, location, self.clause)
        return replace(self, location=location, sql=sql)

    def of(self, location: str, columns: Sequence[str] = (), folders: Sequence[str] = ()) -> str:
        """Return the text of a table of other files that are read likewise.

        Args:
            location: Where they are.
            columns: What their columns are called, of which each is then a text.
            folders: What their folders say: partitions.
        """
        listed = ", ".join(f"{quoted(name)} VARCHAR" for name in (*columns, *folders))
        told = f" ({listed})" if columns else ""
        named = ", ".join(name if name.isidentifier() else quoted(name) for name in folders)
        parted = f"PARTITIONED BY ({named}) " if folders else ""  # it takes quotes for the name's
        place = f"STORED AS {self.kind} {parted}LOCATION {quoted_text(location)}{self.clause}"
        return f"CREATE EXTERNAL TABLE {_STAND_IN}{told} {place}"

    def at(self, moment: Moment | None, name: str) -> ExternalTable:
        """Return the table at the version that a moment says, if it says one of ``name``."""
        version = None if moment is None else moment.of_source(name)
        if version is None or not self.is_lake:
            return self
        [option] = FORMATS[self.kind].options
        return replace(self, options={**self.options, option: str(version)})

    def open(
        self,
        bucket: Bucket | None,
        fail: Callable[[BaseException], None],
        errors: Callable[[], AbstractContextManager[None]],
        check: Callable[[str], object],
    ) -> LibraryDataset:
        """Return what a library reads it through, as it is now or at the version of its options.

        Args:
            bucket: How its bucket is reached; ``None`` if it is in none.
            fail: Told what a scan raises.
            errors: Tells what the library raises as a SourceError.
            check: Raises where a file may not be read that the table's metadata names.

        Raises:
            SourceError: The library is not installed, or there is no such version.
        """
        read = FORMATS[self.kind].open
        assert read is not None, "a library reads it"
        return read(Opening(self.location, self.options, bucket, fail, errors, check))


def bad_is_null(choice: str, kind: str) -> bool:
    """Return whether values that cannot be read are to be NULL.

    Raises:
        SourceError: The choice is neither of the two, or is none of files of a kind.
    """
    if choice not in {"error", "null"}:
        raise SourceError(f"{ON_BAD_VALUE} is 'error' or 'null', not {choice!r}")
    if choice == "null" and kind != "CSV":
        raise SourceError(f"{ON_BAD_VALUE}='null' is for CSV files and databases, not for {kind}")
    return choice == "null"


def _is_lake(kind: str) -> bool:
    return kind in FORMATS and FORMATS[kind].open is not None


def is_only_read(definition: Definition) -> bool:
    """Return whether a definition is of a table that a library reads, or of a file of the web."""
    if not isinstance(definition, SqlDefinition):
        return False
    table = parse_external(definition.sql)
    return table.is_lake or is_web(table.location)


# --- written -------------------------------------------------------------------------------------


def external_sql(
    name: str,
    location: str,
    options: Mapping[str, object],
    way: Mapping[str, str],
    copy: Copy | None = None,
) -> str:
    """Return the statement that makes a table of files.

    Args:
        name: The table's name.
        location: Where the files are.
        options: ``format``, unless it can be told by their names, and those of that format.
        way: How their store is reached, as options of the statement.
        copy: What was downloaded of a file of the web.

    Raises:
        SourceError: The format cannot be told, or takes no such option; or it is a database.
    """
    given = dict(options)
    if copy is not None and "format" not in given:
        refuse_database(copy)
    detected, needed = guessed(location, copy)
    asked = given.pop("format", None)
    kind = detected
    if asked is not None:
        kind, needed = _asked(asked, detected, needed)
    if not kind:
        media_type = "" if copy is None else copy.media_type
        said = f", which its server says is {media_type}" if media_type else ""
        msg = (
            f"cannot tell the format of {location!r}{said}: pass format=, one of {sorted(FORMATS)}"
        )
        raise SourceError(msg)
    if not _is_lake(kind):
        given = {**needed, **given}
        ours = {ON_BAD_VALUE: given.pop(ON_BAD_VALUE)} if ON_BAD_VALUE in given else {}
        theirs = {f"format.{option}": value for option, value in given.items()}
        return _create(name, location, kind, {**way, **ours, **theirs})
    unknown = sorted(given.keys() - FORMATS[kind].options)
    if unknown:
        msg = f"{kind} takes the options {list(FORMATS[kind].options)}, not {unknown}"
        raise SourceError(msg)
    return _create(name, location, kind, {**way, **given})


def _asked(asked: object, detected: str, needed: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the format that was asked for, and the options that it needs."""
    found = format_named(asked) if isinstance(asked, str) else None
    if found is None:
        raise unknown_format(asked)
    return found[0], {**(needed if found[0] == detected else {}), **found[1]}


def unknown_format(name: object) -> SourceError:
    """Return the error of who names a format that is none."""
    return SourceError(f"there is no format {name!r}: it is one of {', '.join(sorted(FORMATS))}")


def _create(name: str, location: str, kind: str, options: Mapping[str, object]) -> str:
    text = ", ".join(f"{quoted_text(k)} {quoted_text(str(v))}" for k, v in options.items())
    clause = f" OPTIONS ({text})" if text else ""
    place = f"LOCATION {quoted_text(location)}{clause}"
    return f"CREATE EXTERNAL TABLE {quoted(name)} STORED AS {kind} {place}"


# --- read ----------------------------------------------------------------------------------------


def parse_external(sql: str) -> ExternalTable:
    """Return what the text of an external table says.

    Raises:
        SqlError: It has no LOCATION or STORED AS, or a clause twice, or a table format has a clause
            of files.
        SourceError: An option is unknown, or a secret.
    """
    tokens = list(tokenize(sql))
    if not any(token.keyword == "EXTERNAL" for token in tokens[:4]):
        return ExternalTable("", "", {}, sql)
    tokens = list(tokenize(named_as(sql, _STAND_IN)))
    kind = location = ""
    options: list[tuple[str, list[Token]]] = []
    rest: list[Token] = []
    given: set[str] = set()
    at = 0
    while at < len(tokens):
        word = tokens[at].keyword if tokens[at].depth == 0 else ""
        if word in given:
            raise SqlError(f"an external table has one {word} clause")
        if word in {"STORED", "LOCATION", "OPTIONS"}:
            given.add(word)
        if word == "STORED" and [token.keyword for token in tokens[at + 1 : at + 2]] != ["AS"]:
            raise SqlError("expected STORED AS a format")
        if word == "STORED" and at + 2 < len(tokens):
            kind = tokens[at + 2].text.upper()
            at += 3
        elif word == "LOCATION" and at + 1 < len(tokens):
            location = plain_location(tokens[at + 1])
            at += 2
        elif word == "OPTIONS" and at + 1 < len(tokens):
            closing = (i for i in range(at + 2, len(tokens)) if tokens[i].text == ")")
            end = next(closing, len(tokens))
            options = _options(tokens[at + 2 : end])
            at = end + 1
        else:
            rest.append(tokens[at])
            at += 1
    if not kind or not location:
        raise SqlError("an external table needs STORED AS a format and LOCATION 'path'")
    refuse_secrets(key for key, _ in options)
    ours = {key: _value(tokens) for key, tokens in options if _is_ours(kind, key)}
    theirs = [tokens for key, tokens in options if not _is_ours(kind, key)]
    if _is_lake(kind):
        _check_lake(kind, rest, theirs)
    text = " ".join(token.text for token in rest)
    shown = ", ".join(" ".join(token.text for token in each) for each in theirs)
    clause = f" OPTIONS ({shown})" if theirs else ""
    return ExternalTable(
        kind, location, ours, _placed(text, kind, location, clause),
        {key: _value(tokens) for key, tokens in options if not _is_ours(kind, key)}, clause, text,
        declares=len(rest) > len(_PLAIN) + 1 and rest[len(_PLAIN) + 1].text == "(",
        parted=any(token.keyword == "PARTITIONED" for token in rest),
    )  # fmt: skip


def _placed(head: str, kind: str, location: str, clause: str) -> str:
    return f"{head} STORED AS {kind} LOCATION {quoted_text(location)}{clause}"


def plain_location(token: Token | None) -> str:
    """Return the path or URL that a token is.

    Raises:
        SqlError: It is no plain text in quotes, or one with escapes.
    """
    if token is None or token.text[0] not in "'\"":
        found = "the end" if token is None else repr(token.text)
        raise SqlError(f"expected LOCATION and a plain text in quotes, 'path', found {found}")
    return token.text[1:-1].replace(token.text[0] * 2, token.text[0])


def _options(tokens: Sequence[Token]) -> list[tuple[str, list[Token]]]:
    """Return each option's name, in lower case, and its tokens, of which the last is its value."""
    found: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == "," and token.kind == "symbol":
            found.append([])
        else:
            found[-1].append(token)
    for one in filter(None, found):
        if any(dot.text != "." for dot in one[1:-1:2]) or len(one) % 2:
            raise SqlError("expected OPTIONS ('name' 'value', ...)")
    return [("".join(_text(each) for each in one[:-1]).lower(), one) for one in found if one]


def _text(token: Token) -> str:
    return token.text[1:-1] if token.kind in {"string", "quoted"} else token.text


def _value(tokens: Sequence[Token]) -> str:
    return _text(tokens[-1]).replace("''", "'")


def _is_ours(kind: str, key: str) -> bool:
    if key == ON_BAD_VALUE and not _is_lake(kind):
        return True
    return key.partition(".")[0] in PREFIXES or (kind in FORMATS and key in FORMATS[kind].options)


def _check_lake(kind: str, rest: Sequence[Token], theirs: Sequence[Sequence[Token]]) -> None:
    words = tuple(token.keyword for token in rest[:3])
    if words != _PLAIN or len(rest) != len(_PLAIN) + 1:
        raise SqlError(f"a table STORED AS {kind} says its own columns, and takes only OPTIONS")
    if theirs:
        given = [_text(tokens[0]) for tokens in theirs]
        msg = f"{kind} takes the options {list(FORMATS[kind].options)}, not {given}"
        raise SourceError(msg)
