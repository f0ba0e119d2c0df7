"""Full-text indexes: how they part text unless they are told, and whether they are of all rows."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import lance
    from lance.lance.indices import IndexDescription

TEXT_INDEX: Final = "Inverted"
"""What Lance calls an index over words."""

OPTIONS: Final = (
    "base_tokenizer", "language", "max_token_length", "lower_case", "stem", "remove_stop_words",
    "custom_stop_words", "ascii_folding", "min_ngram_length", "max_ngram_length", "prefix_only",
)  # fmt: skip
"""How text is parted: what ``create_index(column, "FTS")`` takes, and an index says of itself."""

DEFAULTS: Final[Mapping[str, Any]] = {
    "with_position": True,
    "base_tokenizer": "icu/split",
    "stem": False,
    "remove_stop_words": False,
}
"""Every word is kept as it is written, but for case and accents, and parted as its language does,
Japanese and Chinese by dictionary: Lance's own default leaves common words out, and stems before it
folds, so that it finds a word without its accents for some words only."""

SAMPLED_ROWS: Final = 500
NGRAMS: Final[Mapping[str, Any]] = {
    "base_tokenizer": "ngram",
    "min_ngram_length": 2,
    "max_ngram_length": 2,
}
"""Korean hangs its particles on its words, which no dictionary parts: two letters at a time."""


def text_options(
    dataset: lance.LanceDataset, column: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return how an index of a column is to be built, from what its caller says of it."""
    options = dict(DEFAULTS)
    if "language" in given:
        options["stem"] = True
    if given.get("custom_stop_words") is not None:
        options["remove_stop_words"] = True
    if "base_tokenizer" not in given and _is_korean(dataset, column):
        options |= NGRAMS
    return {**options, **given}


def _is_korean(dataset: lance.LanceDataset, column: str) -> bool:
    """Return whether most letters of the first texts are Hangul."""
    texts = dataset.scanner(columns=[column], limit=SAMPLED_ROWS).to_table()[column].to_pylist()
    letters = [letter for text in texts if text for letter in text[:1000] if letter.isalpha()]
    hangul = sum(unicodedata.name(letter, "").startswith("HANGUL") for letter in letters)
    return hangul * 2 > len(letters)


def options_of_index(dataset: lance.LanceDataset, index: IndexDescription) -> dict[str, Any]:
    """Return how an index parts text: its statistics know its own stop words, too."""
    segments = dataset.stats.index_stats(index.name)["segments"]
    said = segments[0].get("params", index.details) if segments else index.details
    return {name: said[name] for name in OPTIONS if name in said}


def is_of_all_rows(dataset: lance.LanceDataset, index: IndexDescription) -> bool:
    """Return whether an index is of exactly the rows that are there, as far as that can be told.

    It is not if fragments came or went since, or rows of one were deleted.
    """
    fragments = dataset.get_fragments()
    indexed: set[int] = set()
    for segment in index.segments:
        indexed.update(segment.fragment_ids)
    if indexed != {each.fragment_id for each in fragments}:
        return False
    built = min((each.dataset_version_at_last_update for each in index.segments), default=0)
    deletions = (each.metadata.deletion_file for each in fragments)
    return all(each is None or each.read_version < built for each in deletions)


def rebuild_text_indexes(dataset: lance.LanceDataset) -> None:
    """Build each full-text index anew that is not of the rows that are there."""
    for index in dataset.describe_indices():
        if index.index_type == TEXT_INDEX and not is_of_all_rows(dataset, index):
            options = options_of_index(dataset, index)
            options["with_position"] = bool(index.details.get("with_position"))
            dataset.create_scalar_index(
                index.field_names[0], "INVERTED", name=index.name, replace=True, **options
            )
