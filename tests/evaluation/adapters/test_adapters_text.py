"""CLIP-Adapter, TIP-Adapter and the zero-shot-started probe against loops, limits and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from adapter_data import planted, shot_fold
from sklearn.linear_model import LogisticRegression

from medfm.core.errors import EvaluationError
from medfm.evaluation.adapters.clip_adapter import clip_adapter_orders, first_weights, fit_clip_adapter
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.adapters.run import needs_validation, run_few_shot, same_size, tuned_on_test
from medfm.evaluation.adapters.texts import choose, softmax
from medfm.evaluation.adapters.tip_adapter import fit_keys, tip_logits
from medfm.evaluation.adapters.training import cross_entropy, orders, train_stacked, unit
from medfm.evaluation.adapters.zero_shot_linear import fit_zero_shot_linear
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.protocol_adapters import ClipAdapter, TipAdapter, Training, ZeroShotLinear

PATIENTS = np.array([f"p{i}" for i in range(500)], dtype=object)


def unit_np(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def run(inputs, truth, drawn, method, **settings):
    return run_few_shot(inputs, truth, drawn, method, patients=PATIENTS, **settings)


def test_tip_logits_equal_a_naive_loop():
    inputs, truth, _ = planted(30)
    X = unit_np(inputs.values)
    train, test = np.arange(9), np.arange(9, 30)
    method = TipAdapter(alpha=(2.0,), beta=(3.0,), search="none", scale=50.0)
    (found,) = run(inputs, truth, [shot_fold(train, test, shots=3)], method)
    for row, i in enumerate(test):
        logits = [50.0 * float(X[i] @ inputs.text[c]) for c in range(3)]
        for j in train:
            logits[truth.values[j]] += 2.0 * math.exp(-3.0 * (1 - float(X[i] @ X[j])))
        np.testing.assert_allclose(found.scores[row], softmax(np.array(logits)), atol=1e-5)
    assert found.chosen == {"alpha": 2.0, "beta": 3.0, "scale": 50.0}


def test_a_cache_of_no_weight_is_zero_shot():
    inputs, truth, _ = planted()
    method = TipAdapter(alpha=(1e-12,), beta=(5.0,), search="none")
    (found,) = run(inputs, truth, [shot_fold(np.arange(9), np.arange(9, 60))], method)
    expected = softmax(20.0 * unit_np(inputs.values[9:60]) @ inputs.text.T)
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)


def test_clip_adapter_of_ratio_zero_is_zero_shot():
    inputs, truth, _ = planted()
    method = ClipAdapter(ratio=(0.0,), search="none", training=Training(epochs=2))
    (found,) = run(inputs, truth, [shot_fold(np.arange(9), np.arange(9, 60))], method)
    expected = softmax(20.0 * unit_np(inputs.values[9:60]) @ inputs.text.T)
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "tipf"])
def test_trained_together_equals_trained_alone(kind):
    """Draws share one optimiser; nothing of one may reach another."""
    inputs, truth, _ = planted()
    training = Training(epochs=5, batch_size=4)
    method = (
        ClipAdapter(ratio=(0.5,), search="none", training=training)
        if kind == "clip"
        else TipAdapter(search="none", train_keys=True, training=training)
    )
    drawn = [shot_fold(np.arange(9) + 9 * i, np.arange(60, 120), repeat=i, shots=3) for i in range(4)]
    together = run(inputs, truth, drawn, method)
    for one, expected in zip(drawn, together, strict=True):
        (alone,) = run(inputs, truth, [one], method)
        np.testing.assert_allclose(alone.scores, expected.scores, atol=1e-5)


def test_stacked_adamw_equals_torchs_own_with_its_own_schedule():
    rng = np.random.default_rng(0)
    X, y = torch.from_numpy(rng.normal(size=(2, 7, 5))), torch.from_numpy(rng.integers(0, 3, (2, 7)))
    settings = Training(lr=0.05, weight_decay=0.1, epochs=4, batch_size=3, schedule="cosine")
    visits = orders(7, 4, [np.random.default_rng(i) for i in range(2)], reshuffle=True)
    weight = torch.zeros(2, 3, 5, dtype=torch.float64)

    def loss(places):
        rows = torch.arange(2)[:, None]
        return cross_entropy(X[rows, places] @ weight.transpose(1, 2), y[rows, places])

    train_stacked([weight], loss, visits, settings)
    for p in range(2):
        own = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.AdamW([own], lr=0.05, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 12)
        for epoch in range(4):
            for start in (0, 3, 6):
                rows = visits[epoch, p, start : start + 3]
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(X[p, rows] @ own.T, y[p, rows]).backward()
                optimiser.step()
                schedule.step()
        np.testing.assert_allclose(weight[p].numpy(), own.detach().numpy(), atol=1e-9)


def test_orders_visit_every_row_once_per_epoch():
    for reshuffle in (True, False):
        found = orders(6, 3, [np.random.default_rng(i) for i in range(2)], reshuffle)
        assert found.shape == (3, 2, 6)
        assert (np.sort(found, axis=-1) == np.arange(6)).all()
        assert (found[0] == found[1]).all() == (not reshuffle)


def test_trained_keys_fit_the_shots_better():
    inputs, truth, _ = planted(noise=2.0)
    X = torch.from_numpy(unit_np(inputs.values[:12]).astype(np.float32))[None]
    y = torch.from_numpy(truth.values[:12])
    values = torch.nn.functional.one_hot(y, 3).float()[None]
    text = torch.from_numpy(inputs.text.astype(np.float32))
    method = TipAdapter(train_keys=True, training=Training(epochs=30, batch_size=12, weight_decay=0.0))
    visits = orders(12, 30, [np.random.default_rng(0)], True)
    seen = []
    keys = fit_keys(X, values, text, 20.0, method, visits, after_epoch=lambda epoch, k: seen.append(epoch))
    losses = [
        float(cross_entropy(tip_logits(X, k, values, text, scale=20.0, alpha=1.0, beta=5.0), y[None]).sum())
        for k in (X, keys)
    ]
    assert losses[1] < losses[0] and seen == list(range(1, 31))


def test_clip_adapter_training_lowers_the_loss_and_keeps_its_start():
    inputs, truth, _ = planted(noise=2.0)
    X = unit(torch.from_numpy(inputs.values[:12]))[None]
    y = torch.from_numpy(truth.values[:12])[None]
    text = torch.from_numpy(inputs.text.astype(np.float32))
    method = ClipAdapter(training=Training(epochs=20))
    sources = [np.random.default_rng(0)]
    weights = first_weights(16, 4, sources)
    before = [w.copy() for w in weights]
    found = fit_clip_adapter(X, y, text, 20.0, [0.6], method, weights, clip_adapter_orders(12, method, sources))
    untrained = type(found)(*map(torch.from_numpy, before), found.ratio, text, 20.0)
    assert float(cross_entropy(found.logits(X), y)) < float(cross_entropy(untrained.logits(X), y))
    assert all(np.array_equal(a, b) for a, b in zip(weights, before, strict=True))
    assert weights[0].shape == (1, 4, 16) and np.abs(weights[0]).max() <= 0.25


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("balanced", [False, True])
def test_without_texts_the_held_probe_is_scikit_learns(C, balanced):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(20, 30)), np.array([0] * 10 + [1] * 6 + [2] * 4)
    weights = (20 / (3 * np.bincount(y)))[y] if balanced else None
    found = fit_zero_shot_linear(X, y, np.zeros((3, 30)), np.array([C]), weights)[0]
    other = LogisticRegression(C=C, fit_intercept=False, max_iter=20000, tol=1e-10)
    other.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(found, other.coef_, atol=2e-4 * max(1, np.abs(other.coef_).max()))


def test_small_c_stays_zero_shot_and_large_c_forgets_the_texts():
    inputs, truth, _ = planted()
    X, y = unit_np(inputs.values[:30]), truth.values[:30]
    start = 20 * inputs.text
    low, high = fit_zero_shot_linear(X, y, start, np.array([1e-9, 1e3]))
    np.testing.assert_allclose(low, start, atol=1e-5)
    assert (np.argmax(X @ high.T, axis=1) == y).mean() >= (np.argmax(X @ start.T, axis=1) == y).mean()
    # What the shots say nothing of stays as the texts left it.
    away = np.linalg.svd(X[:5])[2][-1]
    few = fit_zero_shot_linear(X[:5], y[:5], start, np.array([1.0]))[0]
    np.testing.assert_allclose(few @ away, start @ away, atol=1e-6)


def test_strengths_must_be_positive():
    with pytest.raises(EvaluationError, match="C must be positive"):
        fit_zero_shot_linear(np.eye(3), np.arange(3), np.zeros((3, 3)), np.array([0.0]))


def test_the_order_of_the_grid_does_not_matter():
    inputs, truth, _ = planted()
    X, y = unit_np(inputs.values[:12]), truth.values[:12]
    up = fit_zero_shot_linear(X, y, inputs.text, np.array([0.1, 1.0, 10.0]))
    down = fit_zero_shot_linear(X, y, inputs.text, np.array([10.0, 1.0, 0.1]))
    np.testing.assert_allclose(up, down[::-1], atol=1e-4)


def test_settings_come_from_validation_records_only():
    """The validation labels say the opposite of the test labels: the choice must follow the former."""
    inputs, truth, _ = planted(noise=0.3)
    validation, test = np.arange(30, 60), np.arange(60, 120)
    swapped = truth.values.copy()
    swapped[validation] = (swapped[validation] + 1) % 3
    turned = type(truth)(truth.name, truth.task, truth.classes, swapped)
    grid = (1e-6, 1e3)
    picks = {}
    for rule in ("validation", "test"):
        method = ZeroShotLinear(grid=grid, search=rule, selection_metric="log_loss")
        wrong = AdapterInputs(inputs.values, inputs.text[[1, 2, 0]], 5.0)  # texts that fit the swapped labels
        (found,) = run(wrong, turned, [shot_fold(np.arange(30), test, validation)], method)
        picks[rule] = found.chosen["C"]
        assert "selection_log_loss" in found.chosen
    assert picks["validation"] != picks["test"]


def test_choose_takes_the_first_without_a_search_and_wants_records_for_one():
    _, truth, _ = planted()
    one = shot_fold([0], [1])
    assert choose(5, lambda c, rows: np.zeros((len(rows), 3)), one, truth, "none", "log_loss") == (0, None)
    with pytest.raises(EvaluationError, match="validation records"):
        choose(5, lambda c, rows: np.zeros((len(rows), 3)), one, truth, "validation", "log_loss")


def test_best_test_epoch_is_at_least_the_last_on_the_test_records():
    inputs, truth, _ = planted(noise=2.5)
    one = shot_fold(np.arange(12), np.arange(60, 120), np.arange(30, 60), shots=4)
    accuracy = {}
    for epoch in ("last", "best_test"):
        method = TipAdapter(
            alpha=(5.0,), search="none", train_keys=True, epoch=epoch, selection_metric="accuracy",
            training=Training(epochs=30, lr=0.02, batch_size=4),
        )  # fmt: skip
        (found,) = run(inputs, truth, [one], method)
        accuracy[epoch] = (found.scores.argmax(1) == truth.values[one.fold.test]).mean()
        assert tuned_on_test(method) == (epoch == "best_test")
    assert accuracy["best_test"] >= accuracy["last"]


@pytest.mark.parametrize(
    ("name", "validates", "on_test"),
    [
        ("flair-lp@1", False, False),
        ("clip-adapter@1", True, False),
        ("tip-adapter@1", True, False),
        ("tip-adapter-f@1", True, False),
        ("zero-shot-lp@1", True, False),
        ("flair-clip-adapter@1", False, False),
        ("flair-tip-adapter@1", False, False),
        ("flair-tip-adapter-f@1", False, False),
        ("tip-adapter-f-published@1", True, True),
        ("attentive-probe@1", False, False),
        ("moment-probe@1", False, False),
    ],
)
def test_what_each_protocol_chooses_on(name, validates, on_test):
    method = load_protocol(name).method
    assert needs_validation(method) is validates and tuned_on_test(method) is on_test


@pytest.mark.parametrize("kind", [TipAdapter, ClipAdapter, ZeroShotLinear])
def test_methods_on_texts_say_that_texts_are_missing(kind):
    inputs, truth, _ = planted()
    with pytest.raises(EvaluationError, match="needs a text vector per class"):
        run(AdapterInputs(inputs.values), truth, [shot_fold(np.arange(9), np.arange(9, 20))], kind(search="none"))
    with pytest.raises(EvaluationError, match="do not fit 3 classes"):
        wrong = AdapterInputs(inputs.values, inputs.text[:, :5])
        run(wrong, truth, [shot_fold(np.arange(9), np.arange(9, 20))], kind(search="none"))


def test_multiplier_is_given_or_the_networks_or_100():
    inputs, _, _ = planted()
    assert inputs.multiplier(7.0) == 7.0 and inputs.multiplier(None) == 20.0
    assert AdapterInputs(inputs.values).multiplier(None) == 100.0


def test_same_size_keeps_levels_apart():
    drawn = [shot_fold(np.arange(k * 2), [30], shots=k, repeat=r) for r in range(2) for k in (1, 4)]
    assert same_size(drawn) == [[0, 2], [1, 3]]
