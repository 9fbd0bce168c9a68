"""Losses of labels: two classes, several, grades, many labels with gaps, measurements.

Logits and targets by task:

============  =================  ======================================================
task          logits             targets
============  =================  ======================================================
binary        (n, 1)             float (n,), 0 or 1, NaN for unknown
multiclass    (n, classes)       int64 (n,)
ordinal       (n, classes - 1)   int64 (n,); logit k is that of "above grade k"
multilabel    (n, labels)        float (n, labels): 1, 0, NaN for unknown
regression    (n, 1)             float (n,), standardised, NaN for unknown
============  =================  ======================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Kind = Literal["binary", "multiclass", "ordinal", "multilabel", "regression"]


@dataclass(frozen=True)
class LabelLoss:
    """The mean loss over the known labels of a batch.

    Attributes:
        kind: See the module's text.
        weights: float (2,) of the classes, (classes,), or (2, labels) of absent and present labels; all 1 when
            ``None``. They multiply each loss; the mean is over known labels, not over weights, so that a batch
            of one class does not undo them.
        smoothing: Share of every label that is spread over all classes.
    """

    kind: Kind
    weights: Tensor | None = None
    smoothing: float = 0.0

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar; 0 with gradient 0 where nothing is known."""
        losses, known = self.parts(logits.float(), targets)
        return (losses * known).sum() / known.sum().clamp(min=1)

    def parts(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of every record (or label), and 1 where it is known, 0 where not."""
        weights = None if self.weights is None else self.weights.to(logits.device)
        if self.kind == "regression":
            known = ~torch.isnan(targets)
            return (logits[:, 0] - torch.where(known, targets, 0.0)) ** 2, known.to(logits.dtype)
        if self.kind == "multiclass":
            losses = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
            losses = losses if weights is None else losses * weights[targets]
        elif self.kind == "ordinal":
            above = (targets[:, None] > torch.arange(logits.shape[1], device=logits.device)).to(logits.dtype)
            losses = _bce(logits, above, self.smoothing).sum(dim=1)
            losses = losses if weights is None else losses * weights[targets]
        elif self.kind == "binary":
            known = ~torch.isnan(targets)
            present = torch.where(known, targets, 0.0)
            losses = _bce(logits[:, 0], present, self.smoothing)
            losses = losses if weights is None else losses * weights[present.long()]
            return losses, known.to(losses.dtype)
        else:
            known = ~torch.isnan(targets)
            present = torch.where(known, targets, torch.zeros_like(targets))
            losses = _bce(logits, present, self.smoothing)
            losses = losses if weights is None else losses * torch.where(present > 0, weights[1], weights[0])
            return losses, known.to(losses.dtype)
        return losses, torch.ones_like(losses)

    def probabilities(self, logits: Tensor) -> Tensor:
        """float (n, classes): of both classes, of the classes, of each label; the values for a regression."""
        return probabilities(self.kind, logits)


def probabilities(kind: Kind, logits: Tensor) -> Tensor:
    """What a network's logits say, (n, 2), (n, classes), (n, labels) or, for a regression, (n, 1) as given."""
    if kind == "binary":
        one = torch.sigmoid(logits[:, :1])
        return torch.cat([1 - one, one], dim=1)
    if kind == "multiclass":
        return logits.softmax(dim=1)
    if kind == "multilabel":
        return torch.sigmoid(logits)
    if kind == "regression":
        return logits
    above = torch.sigmoid(logits)
    edges = torch.cat([torch.ones_like(above[:, :1]), above, torch.zeros_like(above[:, :1])], dim=1)
    return (edges[:, :-1] - edges[:, 1:]).clamp(min=0)


def _bce(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    soft = targets * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, soft.to(logits.dtype), reduction="none")


def balancing_weights(kind: Kind, targets: Tensor, classes: int) -> Tensor:
    """Weights under which all classes count alike and the mean over the records given is 1.

    Classes without a record get 0; a label known only as present or only as absent keeps weight 1.

    Args:
        kind: Of the task; a regression has none.
        targets: As the module's text says.
        classes: Number of classes or labels.
    """
    if kind == "regression":
        return torch.ones(1)
    if kind == "multilabel":
        known = (~torch.isnan(targets)).sum(dim=0).float()
        present = (targets == 1).sum(dim=0).float()
        both = (present > 0) & (present < known)
        rows = [known / (2 * count.clamp(min=1)) for count in (known - present, present)]
        return torch.stack([torch.where(both, row, torch.ones_like(row)) for row in rows])
    targets = targets[~torch.isnan(targets)]
    counts = torch.bincount(targets.long(), minlength=classes).float()
    held = (counts > 0).sum()
    return torch.where(counts > 0, len(targets) / (held * counts.clamp(min=1)), torch.zeros_like(counts))


def drawing_weights(targets: Tensor) -> Tensor:
    """One over the size of each record's class: drawn with them, all classes are equally frequent.

    Args:
        targets: int64 or float (n,) class positions.
    """
    positions = targets.long()
    return 1.0 / torch.bincount(positions).float()[positions]
