"""Attention pooling over the cells of one patient: gated and class-wise.

Weights are initialised from a generator that is handed down (uniform within 1 / sqrt(fan in),
torch's own default for linear layers).
"""

from __future__ import annotations

import torch
from torch import nn


class GatedAttention(nn.Module):
    """ABMIL with gated attention: one weighted mean of the cells, one linear classifier.

    Source: Ilse, Tomczak and Welling, Attention-based Deep Multiple Instance Learning (2018),
    equation 9.
    """

    def __init__(self, dim: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.tanh_branch = nn.Linear(dim, hidden)
        self.gate_branch = nn.Linear(dim, hidden)
        self.attention = nn.Linear(hidden, 1)
        self.classifier = nn.Linear(dim, classes)

    def forward(self, bag: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (classes,) and attention (cells, 1), summing to 1, of a bag (cells, dim)."""
        gated = torch.tanh(self.tanh_branch(bag)) * torch.sigmoid(self.gate_branch(bag))
        weights = torch.softmax(self.attention(gated), dim=0)
        return self.classifier(weights.T @ bag)[0], weights


class ClasswiseAttention(nn.Module):
    """Each class attends to the cells by itself and has its own small classifier.

    Linear(D, hidden) - Tanh - Linear(hidden, K); for each class a softmax over the cells, the
    weighted mean, and Linear(D, h) - ReLU - Linear(h, 1). The K scalars are the logits.
    Source: DinoBloom's AML subtype experiment.
    """

    def __init__(self, dim: int, hidden: int, classifier_hidden: int, classes: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, classes))
        self.classifiers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, classifier_hidden), nn.ReLU(), nn.Linear(classifier_hidden, 1))
            for _ in range(classes)
        )

    def forward(self, bag: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (classes,) and attention (cells, classes), columns summing to 1, of a bag (cells, dim)."""
        weights = torch.softmax(self.attention(bag), dim=0)
        pooled = weights.T @ bag
        logits = [classify(row) for classify, row in zip(self.classifiers, pooled, strict=True)]
        return torch.cat(logits), weights


def build_pooling(
    pooling: str, dim: int, classes: int, *, hidden: int, classifier_hidden: int, generator: torch.Generator
) -> GatedAttention | ClasswiseAttention:
    """An initialised attention network; nothing is drawn from global random state.

    Args:
        pooling: ``"gated_attention"`` or ``"classwise_attention"``.
        dim: Width of one embedding.
        classes: Number of classes.
        hidden: Width of the attention layer.
        classifier_hidden: Width of the class-wise heads.
        generator: Source of the initial weights.
    """
    model: GatedAttention | ClasswiseAttention
    with torch.device("meta"):
        if pooling == "gated_attention":
            model = GatedAttention(dim, hidden, classes)
        else:
            model = ClasswiseAttention(dim, hidden, classifier_hidden, classes)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
    return model
