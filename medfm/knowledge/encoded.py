"""What a text tower really sees of a prompt: its tokens, and what truncation cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from medfm.core.errors import ConfigError


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is needed."""

    def encode(self, text: str, *, truncation: bool = ..., max_length: int | None = ...) -> Sequence[int]:
        """Token ids, special tokens included."""
        ...

    def decode(self, token_ids: Any, *, skip_special_tokens: bool = ...) -> str:
        """The text of token ids."""
        ...


@dataclass(frozen=True)
class EncodedText:
    """One prompt as encoded.

    Attributes:
        text: The text given.
        encoded: The text as the tower sees it (lower-cased or cut by the tokenizer, for example).
        tokens: Number of tokens of the whole text, special tokens included.
        kept: Number of tokens that reach the tower.
    """

    text: str
    encoded: str
    tokens: int
    kept: int

    @property
    def truncated(self) -> bool:
        """Whether a part was cut off."""
        return self.kept < self.tokens


def encoded_texts(
    texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int, *, lower_case: bool = False
) -> list[EncodedText]:
    """How each of `texts` reaches a tower that takes `max_tokens` tokens.

    Args:
        texts: The prompts.
        tokenizer: Any with ``encode`` and ``decode`` as Hugging Face's have them.
        max_tokens: The longest input, special tokens included.
        lower_case: Whether texts are lower-cased first, as in zero-shot scoring.

    Raises:
        ConfigError: `max_tokens` is not positive.
    """
    if max_tokens < 1:
        raise ConfigError(f"A text tower cannot take {max_tokens} tokens.", expected="1 or more")
    found = []
    for text in texts:
        given = text.lower() if lower_case else text
        whole = list(tokenizer.encode(given, truncation=False, max_length=None))
        kept = list(tokenizer.encode(given, truncation=True, max_length=max_tokens))
        found.append(EncodedText(text, tokenizer.decode(kept, skip_special_tokens=True), len(whole), len(kept)))
    return found
