"""The one place where texts become token ids for training."""

from __future__ import annotations

from typing import Protocol

import torch


class Tokenizer(Protocol):
    """What cuts texts: word pieces or byte pairs."""

    def encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, int64 (n, tokens)."""


def tokenise(tokenizer: Tokenizer, texts: list[str], cut: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask int64 (n, tokens), at most `cut` tokens; the last one stays the closing token."""
    ids, mask = tokenizer.encode(texts)
    if ids.shape[1] <= cut:
        return ids, mask
    lengths = mask.sum(dim=1)
    long = lengths > cut
    closing = ids[torch.arange(len(ids)), lengths - 1]
    ids, mask = ids[:, :cut].clone(), mask[:, :cut].clone()
    ids[long, cut - 1] = closing[long]
    return ids, mask
