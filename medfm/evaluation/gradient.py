"""Many linear layers trained by Adam at once: several seeds, folds or draws as one batched problem.

Equal to ``torch.nn.Linear`` + ``torch.optim.Adam`` + ``MultiStepLR`` step by step (the tests hold
it against that loop), but each step is a dozen operations on contiguous tensors without autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medfm.core.errors import EvaluationError
from medfm.core.randomness import torch_generator
from medfm.evaluation.protocol_gradient import GradientProbe

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # torch's defaults for Adam
# Batches are gathered in blocks of about this many numbers, which stay in a CPU's cache.
_BLOCK = 2**20


@dataclass(frozen=True)
class Problem:
    """One training.

    Attributes:
        rows: int64 (n,) training rows of the shared matrix.
        source: Where initial weights and orders are drawn from.
        mean, scale: float (d,), taken off and divided by; ``None`` for raw features.
    """

    rows: np.ndarray
    source: np.random.Generator
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None


@dataclass(frozen=True)
class Path:
    """Weights of one problem after each epoch kept.

    Attributes:
        coef: float (epochs, outputs, d), on standardised features where the problem standardises.
        intercept: float (epochs, outputs).
    """

    coef: np.ndarray
    intercept: np.ndarray

    def logits(self, X: np.ndarray) -> np.ndarray:
        """float32 (epochs, n, outputs) for features X (n, d), standardised as in training."""
        epochs, outputs, width = self.coef.shape
        flat = np.asarray(X, dtype=self.coef.dtype) @ self.coef.reshape(epochs * outputs, width).T
        return flat.reshape(len(X), epochs, outputs).transpose(1, 0, 2) + self.intercept[:, None, :]


def learning_rates(method: GradientProbe, batches: int) -> np.ndarray:
    """float64 (epochs x batches,): the rate of each step under the schedule.

    ``MultiStepLR`` counts its own calls: one per epoch, or, as MERL's program does it, one per
    batch and one more per epoch.
    """
    rates, rate, count = [], method.lr, 0
    for _ in range(method.epochs):
        for _ in range(batches):
            rates.append(rate)
            if method.scheduler_step == "per_batch_and_epoch":
                count += 1
                rate *= method.gamma if count in method.milestones else 1.0
        count += 1
        rate *= method.gamma if count in method.milestones else 1.0
    return np.array(rates)


def train_linear(
    X: np.ndarray,
    Y: np.ndarray,
    problems: Sequence[Problem],
    method: GradientProbe,
    *,
    softmax: bool = False,
    every_epoch: bool = True,
    device: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Path]:
    """Train one linear layer per problem.

    The loss is the mean binary cross-entropy over the known entries of a batch, or the mean
    cross-entropy of a softmax. Problems with equally many batches advance together.

    Args:
        X: float (n, d) embeddings, shared by the problems.
        Y: float (n, outputs) of 1 and 0, NaN for unknown; one-hot for `softmax`.
        problems: Their training rows.
        method: Optimiser and schedule.
        softmax: One distribution over the outputs instead of one decision per output.
        every_epoch: Keep the weights of every epoch, not of the last alone.
        device: Torch device.
        dtype: Of the arithmetic.

    Raises:
        EvaluationError: A problem has no training row, or weights are no longer finite.
    """
    if any(len(problem.rows) == 0 for problem in problems):
        raise EvaluationError("A training set is empty.", fix="use a larger training fraction or fewer folds")
    place = torch.device(device or "cpu")
    ones = np.ones((len(X), 1), dtype=X.dtype)
    features = torch.from_numpy(np.hstack([X, ones])).to(place, dtype)
    known = ~np.isnan(Y)
    truth = torch.from_numpy(np.where(known, Y, 0.0)).to(place, dtype)
    mask = None if known.all() else torch.from_numpy(known).to(place, dtype)
    kinds: dict[int, list[int]] = {}
    for i, problem in enumerate(problems):
        kinds.setdefault(-(-len(problem.rows) // method.batch_size), []).append(i)
    found: dict[int, Path] = {}
    for batches, which in kinds.items():
        group = [problems[i] for i in which]
        with torch.inference_mode():
            paths = _train(features, truth, mask, group, batches, method, softmax, every_epoch)
        found.update(zip(which, paths, strict=True))
    return [found[i] for i in range(len(problems))]


def _train(
    features: torch.Tensor,
    truth: torch.Tensor,
    mask: torch.Tensor | None,
    problems: Sequence[Problem],
    batches: int,
    method: GradientProbe,
    softmax: bool,
    every_epoch: bool,
) -> list[Path]:
    """Problems of equally many batches per epoch: the same clock, so the same rates and corrections."""
    count, size, width, outputs = len(problems), method.batch_size, features.shape[1], truth.shape[1]
    theta = torch.stack([_initial(p.source, outputs, width) for p in problems]).to(features)
    moved = _stacked([p.mean for p in problems], 0.0, features)
    scaled = _stacked([p.scale for p in problems], 1.0, features)
    m, v, gradient, denominator = (torch.zeros_like(theta) for _ in range(4))
    rates = learning_rates(method, batches)
    block = max(1, _BLOCK // (count * size * width))
    kept = []
    step = 0
    for epoch in range(method.epochs):
        rows, present = _order(problems, batches, size)
        rows_t = torch.from_numpy(rows).to(features.device)
        present_t = torch.from_numpy(present).to(features)
        for first in range(0, batches, block):
            index = rows_t[first : first + block]
            here = present_t[first : first + block, :, :, None]
            x = features[index]
            if moved is not None and scaled is not None:
                x.sub_(moved).div_(scaled)
            y = truth[index]
            weights = _weights(here, y, mask, index, softmax)
            for b in range(len(index)):
                z = torch.bmm(x[b], theta.transpose(1, 2))
                z = torch.softmax(z, dim=-1) if softmax else z.sigmoid_()
                z.sub_(y[b]).mul_(weights[b])
                # Adam's weight decay is part of the gradient: decay x theta + z' x.
                torch.baddbmm(theta, z.transpose(1, 2), x[b], beta=method.weight_decay, out=gradient)
                step += 1
                correction = (1 - _BETA2**step) ** 0.5
                m.lerp_(gradient, 1 - _BETA1)
                v.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
                torch.sqrt(v, out=denominator).add_(_EPSILON * correction)
                rate = float(rates[step - 1]) * correction / (1 - _BETA1**step)
                theta.addcdiv_(m, denominator, value=-rate)
        if every_epoch or epoch == method.epochs - 1:
            kept.append(theta.cpu().numpy().copy())
    if not np.isfinite(kept[-1]).all():
        raise EvaluationError(
            "The weights of the probe are not finite.", fix="lower the learning rate (--set method.lr=1e-4)"
        )
    path = np.stack(kept)
    return [Path(path[:, p, :, :-1].copy(), path[:, p, :, -1].copy()) for p in range(count)]


def _initial(source: np.random.Generator, outputs: int, width: int) -> torch.Tensor:
    """Weights and bias as ``nn.Linear`` draws them: uniform within 1 / sqrt(inputs); (outputs, width)."""
    bound = (width - 1) ** -0.5
    return torch.empty(outputs, width).uniform_(-bound, bound, generator=torch_generator(source))


def _stacked(parts: Sequence[np.ndarray | None], neutral: float, like: torch.Tensor) -> torch.Tensor | None:
    """(problems, 1, d + 1), the last column neutral; ``None`` for raw features."""
    if all(part is None for part in parts):
        return None
    width = like.shape[1]
    rows = [
        np.full(width, neutral) if part is None else np.append(np.asarray(part, dtype=np.float64), neutral)
        for part in parts
    ]
    return torch.from_numpy(np.stack(rows)[:, None, :]).to(like)


def _order(problems: Sequence[Problem], batches: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One epoch: rows int64 and presence float64, both (batches, problems, size); the last batch is padded."""
    rows = np.zeros((len(problems), batches * size), dtype=np.int64)
    present = np.zeros((len(problems), batches * size))
    for p, problem in enumerate(problems):
        n = len(problem.rows)
        rows[p, :n] = problem.rows[problem.source.permutation(n)]
        rows[p, n:] = problem.rows[0]
        present[p, :n] = 1.0
    shape = (len(problems), batches, size)
    return rows.reshape(shape).transpose(1, 0, 2).copy(), present.reshape(shape).transpose(1, 0, 2).copy()


def _weights(
    here: torch.Tensor, y: torch.Tensor, mask: torch.Tensor | None, index: torch.Tensor, softmax: bool
) -> torch.Tensor:
    """What each entry of a batch weighs in its mean: (batches, problems, size, outputs or 1)."""
    if softmax:
        return here / here.sum(dim=2, keepdim=True)
    if mask is None:
        return here / (here.sum(dim=2, keepdim=True) * y.shape[-1])
    entries = mask[index] * here
    return entries / entries.sum(dim=(2, 3), keepdim=True).clamp_(min=1)
