"""The whitened basis: unit columns, the same penalty, the same logits, the right rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfm.evaluation.logistic_basis import whiten

CPU = torch.device("cpu")


@pytest.mark.parametrize(("n", "d"), [(80, 6), (20, 50)])
def test_columns_are_white_and_the_last_is_one(n: int, d: int) -> None:
    X = np.random.default_rng(0).standard_normal((n, d)) * np.linspace(1, 30, d) + 5
    basis = whiten(X, CPU)
    rank = min(n - 1, d)
    assert basis.exact.shape == (n, rank + 1) and basis.back.shape == (d, rank)
    gram = (basis.exact.T @ basis.exact / n).numpy()
    np.testing.assert_allclose(gram, np.eye(rank + 1), atol=1e-6)
    assert (basis.exact[:, -1] == 1).all() and basis.penalty[-1] == 0


@pytest.mark.parametrize(("n", "d"), [(80, 6), (20, 50)])
def test_penalty_and_logits_are_those_of_the_original_weights(n: int, d: int) -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    basis = whiten(X, CPU)
    w = torch.from_numpy(rng.standard_normal(basis.exact.shape[1]))
    raw = basis.back @ w[:-1]
    assert (basis.penalty * w.square()).sum().item() == pytest.approx(raw.square().sum().item(), rel=1e-8)
    logits = (torch.from_numpy(X) - basis.mean) @ raw + w[-1]
    torch.testing.assert_close(basis.exact @ w, logits, rtol=1e-8, atol=1e-8)


def test_directions_without_variance_are_dropped() -> None:
    X = np.random.default_rng(2).standard_normal((50, 4))
    more = np.hstack([X, X[:, :2], np.full((50, 1), 7.0)])
    assert whiten(more, CPU).back.shape == (7, 4)
    assert whiten(np.ones((5, 3)), CPU).back.shape == (3, 0)


def test_weak_directions_of_wildly_scaled_features_are_kept() -> None:
    X = np.random.default_rng(3).standard_normal((60, 3)) * np.array([1e8, 1.0, 1e-2])
    assert whiten(X, CPU).back.shape == (3, 3)


def test_only_large_problems_use_single_precision() -> None:
    small = whiten(np.random.default_rng(4).standard_normal((30, 3)), CPU)
    assert small.fast is small.exact
    large = whiten(np.random.default_rng(4).standard_normal((40_000, 30)).astype(np.float32), CPU)
    assert large.fast.dtype == torch.float32 and large.exact.dtype == torch.float64
