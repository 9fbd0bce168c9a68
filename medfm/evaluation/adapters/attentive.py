"""Attentive probes: learned queries over the patch tokens of a record, then a linear layer.

Form ``single``: one query in the token space, softmax over the tokens, their weighted mean. Form
``multi``: M queries, no key projection; the tokens are projected to a width that is cut into M
slices, and each query pools its own slice. The second is the efficient probing of Psomas et al.
(arXiv 2506.10178), the first the cross-attention probe of CAE and V-JEPA without its key and value
matrices, which a few shots cannot fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import ConfigError
from medfm.evaluation.adapters.training import cross_entropy, orders, train_stacked
from medfm.evaluation.protocol_adapters import AttentiveProbe

_BLOCK = 64


@dataclass(frozen=True)
class AttentiveProbes:
    """P trained probes.

    Attributes:
        mean, spread: float32 (P, d), standardise the tokens.
        query: float32 (P, M, d).
        value: float32 (P, d, width), or ``None`` for the form 'single'.
        weight: float32 (P, K, width or d).
        bias: float32 (P, K).
    """

    mean: Tensor
    spread: Tensor
    query: Tensor
    value: Tensor | None
    weight: Tensor
    bias: Tensor

    def attention(self, tokens: Tensor) -> Tensor:
        """(P, m, M, T), sums to 1 over the tokens of (P, m, T, d) or (m, T, d)."""
        z = self._standard(tokens)
        scores = torch.einsum("pmtd,pqd->pmqt", z, self.query) / z.shape[-1] ** 0.5
        return scores.softmax(dim=-1)

    def logits(self, tokens: Tensor) -> Tensor:
        """(P, m, K) of tokens (P, m, T, d) or (m, T, d)."""
        z = self._standard(tokens)
        scores = torch.einsum("pmtd,pqd->pmqt", z, self.query) / z.shape[-1] ** 0.5
        pooled = torch.einsum("pmqt,pmtd->pmqd", scores.softmax(dim=-1), z)
        if self.value is None:
            features = pooled[:, :, 0]
        else:
            # Pooling and projecting are both linear: pooling first saves the projection of every token.
            parts, width = self.query.shape[1], self.value.shape[-1]
            slices = self.value.reshape(len(self.value), -1, parts, width // parts)
            features = torch.einsum("pmqd,pdqw->pmqw", pooled, slices).flatten(2)
        return torch.einsum("pmw,pkw->pmk", features, self.weight) + self.bias[:, None]

    def _standard(self, tokens: Tensor) -> Tensor:
        return (tokens - self.mean[:, None, None]) / self.spread[:, None, None]


def fit_attentive(
    tokens: np.ndarray,
    rows: np.ndarray,
    y: np.ndarray,
    classes: int,
    method: AttentiveProbe,
    sources: Sequence[np.random.Generator],
    device: torch.device,
) -> AttentiveProbes:
    """Train P probes on their shots.

    Args:
        tokens: float32 (n, T, d), may be memory-mapped; only the rows of a step are read.
        rows: int64 (P, m) positions of the shots.
        y: int64 (n,) classes.
        classes: K.
        method: Form and training.
        sources: P generators, of first weights and orders.
        device: Where to train.

    Raises:
        ConfigError: The number of queries does not divide the width.
    """
    width = tokens.shape[-1]
    mean, spread = _statistics(tokens, rows)
    queries, value, out = 1, None, width
    if method.form == "multi":
        queries, out = method.queries, method.width
        if out % queries:
            raise ConfigError(
                f"{queries} queries do not divide the width {out}.",
                where="method.queries",
                expected="a width that is a multiple of the queries",
            )
        value = _normal(sources, (width, out), width**-0.5, device)
    # Queries near zero: training starts from the mean of the tokens.
    query = _normal(sources, (queries, width), 0.02, device)
    weight = torch.zeros(len(rows), classes, out, device=device)
    bias = torch.zeros(len(rows), classes, device=device)
    found = AttentiveProbes(
        torch.from_numpy(mean).to(device), torch.from_numpy(spread).to(device), query, value, weight, bias
    )
    labels = torch.from_numpy(y[rows]).to(device)
    visits = orders(rows.shape[1], method.training.epochs, sources, method.training.reshuffle)

    def loss(places: Tensor) -> Tensor:
        wanted = np.take_along_axis(rows, places.cpu().numpy(), axis=1)
        batch = torch.from_numpy(np.ascontiguousarray(tokens[wanted.ravel()])).to(device)
        logits = found.logits(batch.reshape(*wanted.shape, *tokens.shape[1:]))
        return cross_entropy(logits, labels.gather(1, places))

    leaves = [query, weight, bias] + ([] if value is None else [value])
    train_stacked(leaves, loss, visits, method.training)
    return found


def score_attentive(probes: AttentiveProbes, tokens: np.ndarray, rows: np.ndarray, problem: int) -> np.ndarray:
    """float64 (m, K) probabilities of one problem for the records `rows`, read in blocks."""
    one = AttentiveProbes(
        *(
            None if part is None else part[problem : problem + 1]
            for part in (probes.mean, probes.spread, probes.query, probes.value, probes.weight, probes.bias)
        )  # type: ignore[arg-type]
    )
    found = []
    for start in range(0, len(rows), _BLOCK):
        block = torch.from_numpy(np.ascontiguousarray(tokens[rows[start : start + _BLOCK]])).to(probes.bias.device)
        with torch.inference_mode():
            found.append(one.logits(block[None])[0].double().softmax(dim=-1).cpu().numpy())
    return np.concatenate(found)


def _statistics(tokens: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (P, d) mean and standard deviation over the tokens of each problem's shots."""
    used = np.unique(rows)
    first = np.empty((len(used), tokens.shape[-1]))
    second = np.empty_like(first)
    for i, row in enumerate(used.tolist()):
        one = np.asarray(tokens[row], dtype=np.float64)
        first[i], second[i] = one.mean(axis=0), np.square(one).mean(axis=0)
    at = np.searchsorted(used, rows)
    mean = first[at].mean(axis=1)
    spread = np.sqrt(np.maximum(second[at].mean(axis=1) - np.square(mean), 0))
    spread[spread <= 1e-6 * np.maximum(np.abs(mean), 1e-12)] = 1.0
    return mean.astype(np.float32), spread.astype(np.float32)


def _normal(
    sources: Sequence[np.random.Generator], shape: tuple[int, ...], size: float, device: torch.device
) -> Tensor:
    values = np.stack([size * source.standard_normal(shape) for source in sources])
    return torch.from_numpy(values.astype(np.float32)).to(device)
