"""A small word-piece vocabulary from the training reports, for text towers that start from nothing."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORD = re.compile(r"\w+|[^\w\s]", re.ASCII)


def build_vocabulary(texts: Iterable[str], size: int, least: int = 2) -> list[str]:
    """Word pieces in order: special ones, characters (alone and as continuation), frequent words.

    A word that is not among them is spelt out by its characters, so nothing is unknown but letters
    beyond ASCII that the reports do not have. Equal texts give equal vocabularies, in any order.

    Args:
        texts: Training reports; cut into words as BERT does, in lower case.
        size: Largest number of pieces.
        least: A word must occur so often.

    Raises:
        ValueError: `size` has no room for the characters.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text.lower()))
    letters = sorted({*string.ascii_lowercase, *string.digits, *string.punctuation, *"".join(counts)})
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    if len(pieces) > size:
        raise ValueError(f"the characters alone are {len(pieces)} pieces, the vocabulary has room for {size}")
    known = set(pieces)
    words = sorted((word for word in counts if counts[word] >= least and word not in known), key=_rank(counts))
    return pieces + words[: size - len(pieces)]


def _rank(counts: Counter[str]) -> Callable[[str], tuple[int, str]]:
    def key(word: str) -> tuple[int, str]:
        return -counts[word], word

    return key
