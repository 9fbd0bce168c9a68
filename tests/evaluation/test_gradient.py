"""The batched trainer against a plain torch loop, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfm.core.errors import EvaluationError
from medfm.core.randomness import torch_generator
from medfm.evaluation.gradient import Path, Problem, learning_rates, train_linear
from medfm.evaluation.protocol_gradient import GradientProbe


def data(n: int = 75, d: int = 7, outputs: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, (X[:, :outputs] + rng.standard_normal((n, outputs)) > 0.5).astype(np.float64)


def naive(X, Y, rows, seed, method, *, softmax=False, mean=0.0, scale=1.0, dtype=torch.float64):
    """nn.Linear, torch.optim.Adam, MultiStepLR, one batch after the other, from the same draws."""
    source = np.random.default_rng(seed)
    width, outputs = X.shape[1], Y.shape[1]
    bound = width**-0.5
    theta = torch.empty(outputs, width + 1).uniform_(-bound, bound, generator=torch_generator(source))
    layer = torch.nn.Linear(width, outputs, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(theta[:, :-1])
        layer.bias.copy_(theta[:, -1])
    optimiser = torch.optim.Adam(layer.parameters(), lr=method.lr, weight_decay=method.weight_decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=list(method.milestones), gamma=method.gamma)
    x = torch.from_numpy((X - mean) / scale).to(dtype)
    y = torch.from_numpy(Y).to(dtype)
    kept = []
    for _ in range(method.epochs):
        order = rows[source.permutation(len(rows))]
        for first in range(0, len(order), method.batch_size):
            batch = order[first : first + method.batch_size]
            optimiser.zero_grad()
            logits = layer(x[batch])
            if softmax:
                loss = torch.nn.functional.cross_entropy(logits, y[batch].argmax(dim=1))
            else:
                known = ~torch.isnan(y[batch])
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], y[batch][known])
            loss.backward()
            optimiser.step()
            if method.scheduler_step == "per_batch_and_epoch":
                schedule.step()
        schedule.step()
        kept.append((layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()))
    return Path(np.stack([w for w, _ in kept]), np.stack([b for _, b in kept]))


def problem(rows, seed, **scaling) -> Problem:
    return Problem(rows, np.random.default_rng(seed), **scaling)


def same(found: Path, expected: Path, tolerance: float) -> None:
    assert found.coef.shape == expected.coef.shape
    np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.intercept, expected.intercept, rtol=0, atol=tolerance)


@pytest.mark.parametrize("step", ["per_epoch", "per_batch_and_epoch"])
@pytest.mark.parametrize("softmax", [False, True])
def test_equal_to_torch_adam_and_multisteplr(step, softmax):
    X, Y = data()
    if softmax:
        Y = np.eye(4)[Y.sum(axis=1).astype(int).clip(0, 3)]
    method = GradientProbe(epochs=30, milestones=(4, 20, 40), scheduler_step=step, weight_decay=1e-2)
    rows = np.arange(5, 75)  # 70 rows: four batches of 16 and one of 6
    (found,) = train_linear(X, Y, [problem(rows, 3)], method, softmax=softmax, dtype=torch.float64)
    same(found, naive(X, Y, rows, 3, method, softmax=softmax), 1e-6)


def test_single_precision_agrees_as_well():
    X, Y = data()
    method = GradientProbe(epochs=25, scheduler_step="per_batch_and_epoch")
    rows = np.arange(75)
    (found,) = train_linear(X.astype(np.float32), Y, [problem(rows, 1)], method)
    assert found.coef.dtype == np.float32
    same(found, naive(X, Y, rows, 1, method, dtype=torch.float32), 1e-5)


def test_unknown_labels_weigh_nothing():
    X, Y = data()
    holes = Y.copy()
    holes[np.random.default_rng(1).random(Y.shape) < 0.3] = np.nan
    method = GradientProbe(epochs=10)
    rows = np.arange(75)
    (found,) = train_linear(X, holes, [problem(rows, 2)], method, dtype=torch.float64)
    same(found, naive(X, holes, rows, 2, method), 1e-6)


def test_a_batch_without_any_known_label_moves_by_the_decay_alone():
    X, Y = data(n=8)
    Y = np.full_like(Y, np.nan)
    (found,) = train_linear(X, Y, [problem(np.arange(8), 0)], GradientProbe(epochs=3, weight_decay=0))
    assert np.ptp(found.coef, axis=0).max() == 0


def test_problems_trained_together_equal_those_trained_alone():
    X, Y = data(n=200, d=9, seed=4)
    method = GradientProbe(epochs=12, milestones=(3, 9))
    X[:, 2] *= 50
    draws = [np.arange(60), np.arange(40, 103), np.arange(64), np.arange(10, 26), np.arange(7)]
    means = [(X[rows].mean(axis=0), X[rows].std(axis=0) + 0.1) for rows in draws]
    make = [problem(rows, i, mean=m, scale=s) for i, (rows, (m, s)) in enumerate(zip(draws, means, strict=True))]
    together = train_linear(X, Y, make, method, dtype=torch.float64)
    for i, (rows, (m, s)) in enumerate(zip(draws, means, strict=True)):
        same(together[i], naive(X, Y, rows, i, method, mean=m, scale=s), 1e-6)


def test_raw_and_standardised_problems_can_stand_together():
    X, Y = data()
    method = GradientProbe(epochs=5)
    rows = np.arange(48)
    found = train_linear(X, Y, [problem(rows, 0), problem(rows, 0, mean=X.mean(0), scale=X.std(0))], method)
    same(found[0], naive(X, Y, rows, 0, method), 1e-5)
    same(found[1], naive(X, Y, rows, 0, method, mean=X.mean(0), scale=X.std(0)), 1e-5)


@pytest.mark.parametrize("batches", [1, 3, 39, 40, 41, 1068])
@pytest.mark.parametrize("step", ["per_epoch", "per_batch_and_epoch"])
def test_rates_are_those_of_torch(batches, step):
    method = GradientProbe(epochs=45 if batches < 100 else 3, scheduler_step=step, milestones=(40, 44))
    layer = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([layer], lr=method.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=[40, 44], gamma=0.1)
    expected = []
    for _ in range(method.epochs):
        for _ in range(batches):
            expected.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            if step == "per_batch_and_epoch":
                schedule.step()
        schedule.step()
    np.testing.assert_allclose(learning_rates(method, batches), expected, rtol=1e-12)


def test_as_published_the_rate_falls_after_forty_batches():
    method = GradientProbe(scheduler_step="per_batch_and_epoch")
    rates = learning_rates(method, 1068)
    assert (rates[:40] == 1e-3).all() and np.allclose(rates[40:], 1e-4)
    meant = learning_rates(GradientProbe(), 1068)
    assert (meant[: 40 * 1068] == 1e-3).all() and np.allclose(meant[40 * 1068 :], 1e-4)


def test_only_the_last_epoch_is_kept_where_nothing_else_is_reported():
    X, Y = data()
    method = GradientProbe(epochs=6)
    every = train_linear(X, Y, [problem(np.arange(75), 0)], method)[0]
    last = train_linear(X, Y, [problem(np.arange(75), 0)], method, every_epoch=False)[0]
    assert every.coef.shape == (6, 4, 7) and last.coef.shape == (1, 4, 7)
    np.testing.assert_array_equal(every.coef[-1:], last.coef)


def test_logits_of_every_epoch():
    X, Y = data()
    path = train_linear(X, Y, [problem(np.arange(75), 0)], GradientProbe(epochs=3))[0]
    for epoch in range(3):
        expected = X @ path.coef[epoch].T + path.intercept[epoch]
        np.testing.assert_allclose(path.logits(X)[epoch], expected, atol=1e-5)


def test_equal_seeds_give_equal_weights_and_others_do_not():
    X, Y = data()
    method = GradientProbe(epochs=2)
    a, b, c = (train_linear(X, Y, [problem(np.arange(75), s)], method)[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(a.coef, b.coef)
    assert not np.allclose(a.coef, c.coef)


def test_hostile_input():
    X, Y = data()
    with pytest.raises(EvaluationError, match="training set is empty"):
        train_linear(X, Y, [problem(np.array([], dtype=np.int64), 0)], GradientProbe())
    X[3, 3] = np.nan
    with pytest.raises(EvaluationError, match="not finite"):
        train_linear(X, Y, [problem(np.arange(75), 0)], GradientProbe(epochs=1))
