"""Few-shot methods from shots to probabilities, computed a second time in another way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from adapter_data import planted, shot_fold, token_set
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from medfm.core.errors import EvaluationError
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.adapters.moments import moment_features
from medfm.evaluation.adapters.run import run_few_shot
from medfm.evaluation.adapters.training import orders
from medfm.evaluation.few_shot import evaluate_few_shot
from medfm.evaluation.protocol import LinearProbe, load_protocol
from medfm.evaluation.protocol_adapters import (
    AttentiveProbe,
    ClipAdapter,
    FewShot,
    MomentProbe,
    TipAdapter,
    Training,
    ZeroShotLinear,
)
from medfm.evaluation.schemes import Fold
from medfm.evaluation.shots import draw_shots
from medfm.evaluation.target import Target

PATIENTS = np.array([f"p{i}" for i in range(200)], dtype=object)
QUICK = Training(epochs=5, batch_size=4)


def unit(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def probabilities(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def tip_by_hand(inputs, truth, fold, alpha, beta, rows):
    """Zhang et al., equations 2 to 5, one query and one key at a time."""
    assert inputs.text is not None
    X, keys = unit(inputs.values[rows]), unit(inputs.values[fold.train])
    logits = np.zeros((len(rows), len(truth.classes)))
    for i, query in enumerate(X):
        for c in range(len(truth.classes)):
            logits[i, c] = inputs.scale * query @ inputs.text[c]
        for key, row in zip(keys, fold.train, strict=True):
            logits[i, truth.values[row]] += alpha * math.exp(-beta * (1 - query @ key))
    return logits


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 5.0), (2.0, 3.0), (8.0, 1.0)])
def test_tip_adapter_from_shots_to_probabilities(alpha, beta):
    inputs, truth, _ = planted(60)
    drawn = [shot_fold(range(k, 12 + k), range(40, 60), shots=4, repeat=k) for k in range(2)]
    method = TipAdapter(alpha=(alpha,), beta=(beta,), search="none")
    found = run_few_shot(inputs, truth, drawn, method, patients=PATIENTS)
    for outcome, one in zip(found, drawn, strict=True):
        by_hand = probabilities(tip_by_hand(inputs, truth, one.fold, alpha, beta, one.fold.test))
        np.testing.assert_allclose(outcome.scores, by_hand, atol=2e-6)


def test_tip_adapters_search_takes_the_weights_that_are_best_on_the_validation_records():
    inputs, truth, _ = planted(90, noise=1.5, text_noise=1.5, seed=3)
    one = shot_fold(range(15), range(60, 90), range(15, 45), shots=5)
    method = TipAdapter(alpha=(0.1, 3.0, 30.0), beta=(1.0, 8.0), search="validation")
    outcome = run_few_shot(inputs, truth, [one], method, patients=PATIENTS)[0]
    grid = list(itertools.product(method.alpha, method.beta))
    losses = [
        log_loss(
            truth.values[one.fold.validation],
            probabilities(tip_by_hand(inputs, truth, one.fold, a, b, one.fold.validation)),
        )
        for a, b in grid
    ]
    best = grid[int(np.argmin(losses))]
    assert (outcome.chosen["alpha"], outcome.chosen["beta"]) == best
    by_hand = probabilities(tip_by_hand(inputs, truth, one.fold, *best, one.fold.test))
    np.testing.assert_allclose(outcome.scores, by_hand, atol=2e-6)


class Bottleneck(torch.nn.Module):
    """CLIP-Adapter as its paper draws it, of PyTorch's own layers."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(dim, width, bias=False),
            torch.nn.ReLU(),
            torch.nn.Linear(width, dim, bias=False),
            torch.nn.ReLU(),
        )

    def forward(self, x: torch.Tensor, ratio: float) -> torch.Tensor:
        return torch.nn.functional.normalize(ratio * self.layers(x) + (1 - ratio) * x, dim=-1)


@pytest.mark.parametrize("schedule", ["none", "cosine"])
@pytest.mark.parametrize("ratio", [0.2, 0.7])
def test_clip_adapter_from_shots_to_probabilities(schedule, ratio):
    inputs, truth, _ = planted(60)
    one = shot_fold(range(12), range(40, 60), shots=4, repeat=1)
    training = Training(epochs=6, batch_size=5, lr=3e-3, schedule=schedule)
    method = ClipAdapter(ratio=(ratio,), training=training)
    outcome = run_few_shot(inputs, truth, [one], method, patients=PATIENTS, seed=7)[0]
    # The same random numbers, taken in the documented order: weights, then orders.
    source = np.random.default_rng([7, 4, 1, 0])
    dim, width = 16, 4
    model = Bottleneck(dim, width)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.from_numpy(source.uniform(-1, 1, (width, dim)) / np.sqrt(dim)))
        model.layers[2].weight.copy_(torch.from_numpy(source.uniform(-1, 1, (dim, width)) / np.sqrt(width)))
    visits = orders(12, 6, [source], True)[:, 0]
    X = torch.from_numpy(unit(inputs.values).astype(np.float32))
    y, text = torch.from_numpy(truth.values), torch.from_numpy(np.asarray(inputs.text, np.float32))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=training.weight_decay)
    steps = 6 * math.ceil(12 / 5)
    curve = (lambda s: 1.0) if schedule == "none" else (lambda s: 0.5 * (1 + math.cos(math.pi * s / steps)))
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, curve)
    for order in visits:
        for start in range(0, 12, 5):
            rows = torch.from_numpy(one.fold.train[order[start : start + 5]])
            optimiser.zero_grad()
            logits = inputs.scale * model(X[rows], ratio) @ text.T
            torch.nn.functional.cross_entropy(logits, y[rows]).backward()
            optimiser.step()
            falling.step()
    with torch.no_grad():
        wanted = (inputs.scale * model(X[one.fold.test], ratio) @ text.T).softmax(dim=-1).numpy()
    np.testing.assert_allclose(outcome.scores, wanted, atol=2e-4)


TEXT_METHODS = [
    TipAdapter(alpha=(1.0,), beta=(5.0,), search="none"),
    TipAdapter(alpha=(1.0,), beta=(5.0,), search="none", train_keys=True, training=QUICK),
    ClipAdapter(training=QUICK),
    ZeroShotLinear(grid=(1.0,), search="none"),
    ZeroShotLinear(grid=(1.0,), search="none", class_weight="balanced"),
]
TOKEN_METHODS = [
    AttentiveProbe(training=QUICK),
    AttentiveProbe(form="multi", queries=2, width=8, training=QUICK),
]


@pytest.mark.parametrize("method", TEXT_METHODS, ids=lambda m: f"{m.kind}-{getattr(m, 'train_keys', '')}")
def test_a_class_missing_among_the_shots_keeps_its_text(method):
    inputs, truth, _ = planted(90, noise=0.5, text_noise=0.2)
    train = [row for row in range(30) if truth.values[row] != 2]
    outcome = run_few_shot(inputs, truth, [shot_fold(train, range(60, 90), shots=10)], method, patients=PATIENTS)[0]
    assert outcome.scores.shape == (30, 3) and np.isfinite(outcome.scores).all()
    np.testing.assert_allclose(outcome.scores.sum(axis=1), 1, atol=1e-6)
    own = truth.values[60:90] == 2
    assert (outcome.scores[own].argmax(axis=1) == 2).mean() >= 0.5, "the text alone still finds it"


def test_the_cache_adds_nothing_to_a_class_without_shots():
    inputs, truth, _ = planted(60)
    train = [row for row in range(20) if truth.values[row] != 1]
    one = shot_fold(train, range(40, 60), shots=6)
    method = TipAdapter(alpha=(4.0,), beta=(2.0,), search="none")
    scores = run_few_shot(inputs, truth, [one], method, patients=PATIENTS)[0].scores
    texts = inputs.scale * unit(inputs.values[40:60]) @ inputs.text.T
    by_hand = tip_by_hand(inputs, truth, one.fold, 4.0, 2.0, one.fold.test)
    np.testing.assert_allclose(by_hand[:, 1], texts[:, 1])
    assert (by_hand[:, [0, 2]] > texts[:, [0, 2]]).all()
    np.testing.assert_allclose(scores, probabilities(by_hand), atol=2e-6)


@pytest.mark.parametrize("method", TOKEN_METHODS, ids=["single", "multi"])
def test_token_methods_shun_a_class_without_shots(method):
    tokens, y, _ = token_set(60, d=8, classes=3)
    truth = Target("label", "multiclass", ("a", "b", "c"), y)
    train = [row for row in range(30) if y[row] != 2]
    inputs = AdapterInputs(tokens.mean(axis=1), tokens=tokens)
    outcome = run_few_shot(inputs, truth, [shot_fold(train, range(40, 60), shots=10)], method, patients=PATIENTS)[0]
    assert outcome.scores.shape == (20, 3) and np.isfinite(outcome.scores).all()
    assert outcome.scores[:, 2].max() < 1 / 3


def test_a_class_without_training_records_is_named_before_anything_is_fitted():
    inputs, truth, table = planted(60)
    gone = table.assign(split=np.where(truth.values == 1, "test", table["split"]))
    with pytest.raises(EvaluationError, match="class 'b' has 0 training records"):
        evaluate_few_shot(inputs, gone, truth, load_protocol("tip-adapter@1", overrides=("few_shot.shots=[1]",)))


@pytest.mark.parametrize("method", TEXT_METHODS[:1] + TEXT_METHODS[3:4], ids=["tip", "held"])
def test_names_of_classes_do_not_matter(method):
    """Classes in another order, their texts with them: the same probabilities in that order."""
    inputs, truth, _ = planted(60)
    order = np.array([2, 0, 1])
    other = Target("label", "multiclass", tuple("cab"), np.argsort(order)[truth.values])
    one = shot_fold(range(12), range(40, 60), shots=4)
    plain = run_few_shot(inputs, truth, [one], method, patients=PATIENTS)[0].scores
    moved = AdapterInputs(inputs.values, inputs.text[order], inputs.scale)
    again = run_few_shot(moved, other, [one], method, patients=PATIENTS)[0].scores
    np.testing.assert_allclose(again, plain[:, order], atol=1e-5)


@pytest.mark.parametrize("method", TEXT_METHODS[:4], ids=["tip", "tip-f", "clip", "held"])
def test_the_length_of_embeddings_does_not_matter(method):
    inputs, truth, _ = planted(60)
    one = shot_fold(range(12), range(40, 60), shots=4)
    lengths = np.random.default_rng(1).uniform(0.1, 10, (60, 1)).astype(np.float32)
    plain = run_few_shot(inputs, truth, [one], method, patients=PATIENTS)[0].scores
    longer = AdapterInputs(inputs.values * lengths, inputs.text, inputs.scale)
    np.testing.assert_allclose(
        run_few_shot(longer, truth, [one], method, patients=PATIENTS)[0].scores, plain, atol=1e-4
    )


@pytest.mark.parametrize("method", TOKEN_METHODS, ids=["single", "multi"])
def test_the_order_of_tokens_does_not_matter(method):
    tokens, y, _ = token_set(40, d=8)
    truth = Target("label", "binary", ("a", "b"), y)
    one = shot_fold(range(16), range(20, 40), shots=8)
    turned = np.ascontiguousarray(tokens[:, np.random.default_rng(0).permutation(tokens.shape[1])])
    made = [
        run_few_shot(AdapterInputs(t.mean(axis=1), tokens=t), truth, [one], method, patients=PATIENTS)[0].scores
        for t in (tokens, turned)
    ]
    assert made[0].shape == (20, 2)
    np.testing.assert_allclose(made[0], made[1], atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 20), places=st.integers(2, 7), dim=st.integers(1, 9), data=st.data())
def test_moments_have_their_size_and_do_not_see_the_order_of_tokens(n, places, dim, data):
    width = data.draw(st.integers(1, dim))
    tokens = np.random.default_rng(n).normal(size=(n, places, dim)).astype(np.float32)
    found = moment_features(tokens, MomentProbe(width=width))
    assert found.shape == (n, dim + width * (width + 1) // 2) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, :dim], tokens.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(moment_features(tokens[:, ::-1], MomentProbe(width=width)), found, atol=1e-3)


def test_a_moment_probe_is_the_linear_probe_on_its_features():
    tokens, y, _ = token_set(60, d=6)
    truth = Target("label", "binary", ("a", "b"), y)
    plan = FewShot(shots=(8,), draws=2)
    fold = Fold(np.arange(40), np.arange(40, 60), np.empty(0, dtype=np.int64))
    drawn, _ = draw_shots([fold], plan, truth, PATIENTS[:60], validate=False)
    method = MomentProbe(width=4)
    found = run_few_shot(AdapterInputs(tokens.mean(axis=1), tokens=tokens), truth, drawn, method, patients=PATIENTS)
    features = AdapterInputs(moment_features(tokens, method))
    plain = run_few_shot(features, truth, drawn, LinearProbe(selection={"rule": "inner_cv"}), patients=PATIENTS)
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), each=st.integers(1, 4), k=st.integers(1, 6))
def test_shots_are_drawn_by_patient(seed, each, k):
    """No patient trains and chooses settings, and none gives a second record while others have given none."""
    n = 120
    y = np.arange(n) % 3
    patients = np.array([f"p{i // (3 * each)}" for i in range(n)], dtype=object)  # each patient has every class
    truth = Target("label", "multiclass", ("a", "b", "c"), y.astype(np.int64))
    fold = Fold(np.arange(90), np.arange(90, n), np.empty(0, dtype=np.int64))
    try:
        drawn, _ = draw_shots([fold], FewShot(shots=(k,), draws=3, seed=seed), truth, patients, validate=True)
    except EvaluationError as error:
        assert "No training patient is left" in str(error)
        return
    for one in drawn:
        train, held = set(patients[one.fold.train]), set(patients[one.fold.validation])
        assert not train & held and set(one.fold.test) == set(range(90, n))
        assert np.bincount(y[one.fold.train], minlength=3).tolist() == [k, k, k]
        for c in range(3):
            mine = patients[one.fold.train[y[one.fold.train] == c]]
            assert len(set(mine)) == min(k, len(set(patients[:90])))


@pytest.mark.parametrize("name", ["tip-adapter-f@1", "clip-adapter@1", "zero-shot-lp@1"])
def test_seeds(name):
    """The same seed gives the same figures, another one other shots, and global generators stay as they were."""
    inputs, truth, table = planted(90, noise=1.5)
    quick = () if name == "zero-shot-lp@1" else ("method.training.epochs=3",)

    def scores(seed):
        plan = load_protocol(
            name, overrides=("few_shot.shots=[2]", "few_shot.draws=2", f"few_shot.seed={seed}", *quick)
        )
        return evaluate_few_shot(inputs, table, truth, plan)[0].predictions.of_variant("main").scores()

    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = scores(0), scores(0), scores(1)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_what_else_is_asked_does_not_change_a_number_of_shots():
    inputs, truth, table = planted(90, noise=1.5)
    made = []
    for shots in ("[4]", "[1, 2, 4]"):
        plan = load_protocol("tip-adapter@1", overrides=(f"few_shot.shots={shots}", "few_shot.draws=3"))
        made.append(evaluate_few_shot(inputs, table, truth, plan)[0].predictions.of_variant("main").scores())
    np.testing.assert_allclose(made[0], made[1], atol=1e-6)
