"""An encoder's network with a linear head on its embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Embed = Callable[[Any, Tensor], Tensor]


class LinearHead(nn.Module):
    """(n, d) -> (n, outputs): z-score with fixed numbers, dropout, a linear layer.

    Args:
        dim: d.
        outputs: Number of logits.
        dropout: Probability of dropping a feature while training.
        generator: Source of the first weights (Xavier's uniform rule).
        bias: First value of the biases.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        dim: int,
        outputs: int,
        *,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, outputs, device="meta").to_empty(device="cpu")
        bound = (6.0 / (dim + outputs)) ** 0.5
        with torch.no_grad():
            self.linear.weight.uniform_(-bound, bound, generator=generator)
            self.linear.bias.fill_(bias)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def standardise(self, embeddings: Tensor, least: float = 0.1) -> None:
        """Fix the z-score to the mean and deviation of float (n, d).

        No deviation is taken as less than `least` of the embedding's root mean square: a feature that hardly
        varies would otherwise be blown up so far that the encoder's first steps throw the logits about.
        """
        self.mean.copy_(embeddings.mean(dim=0))
        floor = max(least, 1e-6) * embeddings.square().mean().sqrt()
        spread = embeddings.std(dim=0, unbiased=False).clamp(min=float(floor))
        self.deviation.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.linear(self.dropout((embedding - self.mean) / self.deviation))
        return out

    def affine(self) -> tuple[Tensor, Tensor]:
        """Weight (outputs, d) and bias (outputs,) that give the same logits from the embedding itself."""
        weight, bias = self._weights()
        plain = weight / self.deviation
        return plain.detach().cpu(), (bias - plain @ self.mean).detach().cpu()

    def _weights(self) -> tuple[Tensor, Tensor]:
        return self.linear.weight, self.linear.bias


class OrdinalHead(LinearHead):
    """One direction and ``classes - 1`` falling thresholds: logit k is that of a grade above k.

    The logits cannot cross, so the probabilities of grades are never negative (the aim of CORAL,
    Cao et al., Pattern Recognition Letters 140 (2020), reached here by construction).
    """

    def __init__(
        self, dim: int, classes: int, *, dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(dim, 1, dropout=dropout, generator=generator, bias=(classes - 2) / 2)
        # Softplus of this is 1: thresholds start one apart, centred on 0.
        self.gaps = nn.Parameter(torch.full((classes - 2,), 0.541324854612918))

    def _falls(self) -> Tensor:
        return functional.pad(functional.softplus(self.gaps).cumsum(0), (1, 0))

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits (n, classes - 1), each row falling."""
        return super().forward(embedding) - self._falls()

    def _weights(self) -> tuple[Tensor, Tensor]:
        falls = self._falls()
        return self.linear.weight.expand(len(falls), -1), self.linear.bias - falls


class Classifier(nn.Module):
    """Network and head as one module. State keys: ``network.*``, ``head.*``.

    Args:
        network: The encoder's network.
        embed: (network, batch) -> (n, d), of its family.
        head: On the embedding.
    """

    def __init__(self, network: nn.Module, embed: Embed, head: LinearHead) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self._embed = embed

    def embeddings(self, x: Tensor) -> Tensor:
        """float32 (n, d)."""
        return self._embed(self.network, x).float()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of preprocessed records."""
        out: Tensor = self.head(self.embeddings(x))
        return out
