"""What the loop needs of a network that learns from pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Adds the rows of the other processes.
Collect = Callable[[Tensor], Tensor]


class PairModel(nn.Module, ABC):
    """A network as it is trained on pairs; ``network`` is what is saved.

    Attributes:
        network: Record tower, text tower and heads.
        frozen_text: Whether nothing of the text tower learns.
        cache_texts: Whether the vectors of a frozen tower may be computed once.
    """

    network: nn.Module
    frozen_text: bool
    cache_texts = True

    @abstractmethod
    def text_tower(self) -> nn.Module:
        """The tower that is frozen or not, without projection."""

    @abstractmethod
    def text_feature(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What the tower says of each text (n, width), before the projection."""

    @abstractmethod
    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text embeddings (n, projection) as the saved encoder computes them."""

    @torch.no_grad()
    def sentence_vectors(self, ids: Tensor, mask: Tensor, batch: int = 64) -> Tensor:
        """float32 (n, width): what the frozen tower says of each text, in evaluation mode."""
        tower = self.text_tower()
        was, device = tower.training, next(tower.parameters()).device
        tower.eval()
        parts = []
        for start in range(0, len(ids), batch):
            rows = mask[start : start + batch]
            longest = int(rows.sum(dim=1).max())
            part = self.text_feature(ids[start : start + batch, :longest].to(device), rows[:, :longest].to(device))
            parts.append(part.float().cpu())
        tower.train(was)
        return torch.cat(parts)
