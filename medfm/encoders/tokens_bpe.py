"""CLIP's byte pairs: the vocabulary comes with open_clip, so no file is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from medfm.core.errors import ConfigError
from medfm.encoders.card_schema import TextSpec

if TYPE_CHECKING:
    import torch


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer  # type: ignore[import-untyped]

    return SimpleTokenizer()


class ClipTokenizer:
    """Lower-cased byte pairs between a start and an end token, cut off at the card's limit, zeros behind.

    The interface is that of :class:`medfm.encoders.tokens.TextTokenizer`.

    Args:
        spec: The card's text block.
        encoder_id: For messages.
        vocabulary: Number of byte pairs that the tower knows.

    Raises:
        ConfigError: The tower knows fewer byte pairs than CLIP's vocabulary has.
    """

    def __init__(self, spec: TextSpec, encoder_id: str, vocabulary: int) -> None:
        self.spec = spec
        size = int(_tokenizer().vocab_size)
        if vocabulary < size:
            raise ConfigError(
                f"The text tower of '{encoder_id}' knows {vocabulary:,} byte pairs, CLIP's vocabulary has {size:,}.",
                expected="a card whose text tower has vocabulary 49408",
            )

    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask, int64 (n, tokens); a text that is too long keeps its end token."""
        import torch

        rows = [row[: self.spec.max_tokens - 1] + row[-1:] if self._long(row) else row for row in self._rows(texts)]
        length = max(len(row) for row in rows)
        ids = torch.zeros((len(rows), length), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return ids, mask

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text, start and end included, before anything is cut off."""
        return self._rows(texts)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text before anything is cut off, start and end counted."""
        return [len(row) for row in self._rows(texts)]

    @property
    def present(self) -> bool:
        """Always: the vocabulary comes with open_clip."""
        return True

    @property
    def wanted(self) -> str:
        """No file is needed."""
        return "the package open_clip_torch, which holds the vocabulary"

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        bpe = _tokenizer()
        special = {bpe.sot_token_id, bpe.eot_token_id} if skip_special_tokens else set()
        return str(bpe.decode([i for i in token_ids if i not in special])).strip()

    def _long(self, row: list[int]) -> bool:
        return len(row) > self.spec.max_tokens

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ConfigError("Texts were not given as a list.", expected='a list of texts, such as ["benign tissue"]')
        bpe = _tokenizer()
        return [[bpe.sot_token_id, *bpe.encode(text), bpe.eot_token_id] for text in texts]
