"""Early-learning regularisation: networks fit right labels first, so what they said early is remembered.

Liu et al., Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020,
arXiv 2007.00151, equations 6 and 7: ``loss + weight * mean(log(1 - <p, t>))`` with the moving
average ``t = momentum * t + (1 - momentum) * p`` of every record's predicted probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-4  # probabilities are kept this far from 0 and 1, so the logarithm stays finite


class EarlyLearningMemory:
    """The moving averages of all training records.

    Args:
        records: Number of training records.
        classes: Number of classes.
        momentum: Share of the former average that stays, in [0, 1).
    """

    def __init__(self, records: int, classes: int, momentum: float) -> None:
        self.targets = torch.zeros(records, classes)
        self.momentum = momentum

    def term(self, probabilities: Tensor, rows: Tensor) -> Tensor:
        """Move the averages of `rows` and give the regularising term, a scalar at most 0.

        Args:
            probabilities: float (n, classes), with gradient.
            rows: int64 (n,) positions among the training records; each at most once counts alone.
        """
        p = probabilities.clamp(_LEAST, 1 - _LEAST)
        seen = p.detach() / p.detach().sum(dim=1, keepdim=True)
        places = rows.to(self.targets.device)
        fresh = self.momentum * self.targets[places] + (1 - self.momentum) * seen.to(self.targets.device)
        self.targets[places] = fresh
        agreement = (p * fresh.to(p.device)).sum(dim=1).clamp(max=1 - _LEAST)
        return torch.log1p(-agreement).mean()
