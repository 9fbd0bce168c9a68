"""Bags of cells: planted signals, seeds, symmetry, early stopping."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from medfm.core.errors import EvaluationError
from medfm.evaluation.bags import collect_bags
from medfm.evaluation.mil import Bags, run_mil, train_pooling
from medfm.evaluation.mil_models import ClasswiseAttention, GatedAttention, build_pooling
from medfm.evaluation.protocol import MIL
from medfm.evaluation.schemes import Fold
from medfm.evaluation.target import Target

NONE = np.empty(0, dtype=np.int64)
QUICK = {"epochs": 12, "patience": 12, "lr": 0.01, "hidden": 16, "classifier_hidden": 8}


def bags_of(patients: int = 48, seed: int = 0, classes: int = 2):
    """One cell in four bears the sign of its patient's class; the others are noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(patients) % classes
    rows, values, start = [], [], 0
    for label in y:
        n = int(rng.integers(6, 14))
        cells = rng.standard_normal((n, 8))
        cells[: n // 4 + 1, label] += 5.0
        values.append(cells)
        rows.append(np.arange(start, start + n))
        start += n
    target = Target("y", "binary" if classes == 2 else "multiclass", tuple("abcde"[:classes]), y)
    return Bags(np.concatenate(values).astype(np.float32), tuple(rows)), target


def fold_of(patients: int = 48) -> Fold:
    order = np.arange(patients)
    return Fold(order[: patients // 2], order[3 * patients // 4 :], order[patients // 2 : 3 * patients // 4])


@pytest.mark.parametrize(
    ("pooling", "optimiser"),
    [("gated_attention", "adamw"), ("classwise_attention", "sgd"), ("mean", "adamw")],
)
def test_learns_a_planted_signal(pooling: str, optimiser: str) -> None:
    bags, target = bags_of()
    method = MIL(pooling=pooling, optimiser=optimiser, **QUICK)  # type: ignore[arg-type]
    found = run_mil(bags, target, [fold_of()], method)[0]
    test = fold_of().test
    accuracy = (found.outcome.scores.argmax(axis=1) == target.values[test]).mean()
    assert accuracy >= 0.9
    np.testing.assert_allclose(found.outcome.scores.sum(axis=1), 1)
    if pooling == "mean":
        assert found.attention == ()
        return
    # Most attention of the true class lies on the cells that bear the sign.
    shares = []
    for patient, weights in zip(test, found.attention, strict=True):
        cells = len(bags.rows[patient])
        assert weights.shape == (cells, 1 if pooling == "gated_attention" else 2)
        np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-5)
        column = 0 if pooling == "gated_attention" else target.values[patient]
        shares.append(weights[: cells // 4 + 1, column].sum() / ((cells // 4 + 1) / cells))
    assert np.mean(shares) > 1.3


def test_no_signal_is_not_learned() -> None:
    bags, target = bags_of(96)
    shuffled = Target("y", "binary", target.classes, np.random.default_rng(0).permutation(target.values))
    found = run_mil(bags, shuffled, [fold_of(96)], MIL(**QUICK))[0]
    accuracy = (found.outcome.scores.argmax(axis=1) == shuffled.values[fold_of(96).test]).mean()
    assert accuracy < 0.85


def test_equal_seeds_give_equal_scores_and_global_state_is_untouched() -> None:
    bags, target = bags_of(24)
    method = MIL(**{**QUICK, "epochs": 3})
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    a = run_mil(bags, target, [fold_of(24)], method, seed=5)[0].outcome.scores
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    b = run_mil(bags, target, [fold_of(24)], method, seed=5)[0].outcome.scores
    c = run_mil(bags, target, [fold_of(24)], method, seed=6)[0].outcome.scores
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_folds_draw_different_weights() -> None:
    bags, target = bags_of(24)
    base = fold_of(24)
    folds = [base, Fold(base.train, base.test, base.validation, repeat=1)]
    a, b = run_mil(bags, target, folds, MIL(**{**QUICK, "epochs": 1}))
    assert not np.array_equal(a.outcome.scores, b.outcome.scores)


@pytest.mark.parametrize("pooling", ["gated_attention", "classwise_attention"])
def test_the_order_of_the_cells_does_not_matter(pooling: str) -> None:
    draws = torch.Generator().manual_seed(0)
    model = build_pooling(pooling, 8, 3, hidden=16, classifier_hidden=4, generator=draws)
    bag = torch.randn(11, 8, generator=draws)
    order = torch.randperm(11, generator=draws)
    logits, weights = model(bag)
    moved, moved_weights = model(bag[order])
    torch.testing.assert_close(moved, logits)
    torch.testing.assert_close(moved_weights, weights[order])


def test_classwise_attention_written_out() -> None:
    model = build_pooling(
        "classwise_attention", 6, 3, hidden=5, classifier_hidden=4, generator=torch.Generator().manual_seed(0)
    )
    assert isinstance(model, ClasswiseAttention)
    names = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert names["attention.0.weight"] == (5, 6) and names["attention.2.weight"] == (3, 5)
    assert names["classifiers.2.0.weight"] == (4, 6) and names["classifiers.2.2.weight"] == (1, 4)
    bag = torch.randn(7, 6, generator=torch.Generator().manual_seed(1))
    scores = torch.tanh(bag @ model.attention[0].weight.T + model.attention[0].bias)
    scores = scores @ model.attention[2].weight.T + model.attention[2].bias
    for c in range(3):
        share = torch.exp(scores[:, c]) / torch.exp(scores[:, c]).sum()
        pooled = (share[:, None] * bag).sum(dim=0)
        first, last = model.classifiers[c][0], model.classifiers[c][2]
        logit = torch.relu(first.weight @ pooled + first.bias) @ last.weight[0] + last.bias[0]
        assert model(bag)[0][c].item() == pytest.approx(logit.item(), abs=1e-5)


def test_gated_attention_written_out() -> None:
    model = build_pooling(
        "gated_attention", 6, 3, hidden=5, classifier_hidden=4, generator=torch.Generator().manual_seed(0)
    )
    assert isinstance(model, GatedAttention)
    bag = torch.randn(7, 6, generator=torch.Generator().manual_seed(1))
    v = torch.tanh(model.tanh_branch(bag))
    u = 1 / (1 + torch.exp(-model.gate_branch(bag)))
    share = torch.softmax((v * u) @ model.attention.weight[0] + model.attention.bias, dim=0)
    expected = model.classifier((share[:, None] * bag).sum(dim=0))
    torch.testing.assert_close(model(bag)[0], expected)


def test_initial_weights_lie_within_the_bounds() -> None:
    model = build_pooling(
        "gated_attention", 100, 2, hidden=50, classifier_hidden=4, generator=torch.Generator().manual_seed(0)
    )
    assert model.tanh_branch.weight.abs().max() <= 0.1
    assert model.tanh_branch.weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)


class Recorder(torch.nn.Module):
    """One weight that every step moves; its validation loss is best after the second epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[float] = []

    def forward(self, bag: torch.Tensor):
        if not self.training:
            self.seen.append(self.level.item())
        return torch.cat([self.level * bag.mean(), torch.zeros(1)]), torch.ones(len(bag), 1)


def test_early_stopping_keeps_a_copy_of_the_best_weights() -> None:
    model = Recorder()
    train = [torch.ones(3, 1)] * 2
    # Training pushes the level up; validation wants it near 1 (bags of both classes).
    held = [torch.ones(2, 1)] * 3
    labels = torch.tensor([0, 0, 1])
    method = MIL(optimiser="sgd", lr=0.7, momentum=0.0, epochs=30, patience=4)
    epoch, loss = train_pooling(model, train, torch.tensor([0, 0]), held, labels, method, torch.Generator())  # type: ignore[arg-type]
    levels = model.seen[::3]
    losses = [float(torch.nn.functional.cross_entropy(torch.tensor([[v, 0.0]] * 3), labels)) for v in levels]
    assert epoch == int(np.argmin(losses)) + 1 < len(losses) == epoch + 4
    assert loss == pytest.approx(min(losses), rel=1e-5)
    assert model.level.item() == pytest.approx(levels[epoch - 1])


@pytest.mark.parametrize(("schedule", "steps"), [("cosine_per_bag", 6), ("cosine_per_epoch", 2)])
def test_the_schedule_steps_per_bag_or_epoch(schedule: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    original = torch.optim.lr_scheduler.CosineAnnealingLR

    class Counting(original):  # type: ignore[misc, valid-type]
        def step(self, *arguments):
            counted.append(self.T_max)
            return super().step(*arguments)

    monkeypatch.setattr(torch.optim.lr_scheduler, "CosineAnnealingLR", Counting)
    bag = [torch.ones(2, 1)] * 3
    method = MIL(optimiser="sgd", schedule=schedule, epochs=2)  # type: ignore[arg-type]
    labels = torch.tensor([0, 1, 0])
    train_pooling(Recorder(), bag, labels, bag, labels, method, torch.Generator())  # type: ignore[arg-type]
    # torch calls step once on construction.
    assert len(counted) == steps + 1 and set(counted) == {2}


def test_a_fifth_validates_where_nobody_is_named() -> None:
    bags, target = bags_of(40)
    fold = Fold(np.arange(30), np.arange(30, 40), NONE)
    notes = run_mil(bags, target, [fold], MIL(**{**QUICK, "epochs": 1}))[0].outcome.notes
    assert any("One fifth" in n for n in notes)
    with pytest.raises(EvaluationError, match="too few"):
        run_mil(bags, target, [Fold(np.arange(3), fold.test, NONE)], MIL(**QUICK))


def test_refusals() -> None:
    bags, target = bags_of(24)
    with pytest.raises(EvaluationError, match="is for classes"):
        run_mil(bags, Target("y", "regression", (), np.arange(24.0)), [fold_of(24)], MIL(**QUICK))
    same = np.flatnonzero(target.values == 0)
    with pytest.raises(EvaluationError, match="single class"):
        run_mil(bags, target, [Fold(same, fold_of(24).test, same[:2])], MIL(**QUICK))
    with pytest.raises(EvaluationError, match="not finite"):
        run_mil(bags, target, [fold_of(24)], MIL(optimiser="sgd", **{**QUICK, "lr": 1e38}))


def test_standardising_uses_the_training_cells() -> None:
    bags, target = bags_of(24)
    method = MIL(**{**QUICK, "epochs": 2}, standardise=True)
    plain = run_mil(bags, target, [fold_of(24)], method)[0].outcome.scores
    scaled = Bags(bags.values * 64.0, bags.rows)
    np.testing.assert_allclose(run_mil(scaled, target, [fold_of(24)], method)[0].outcome.scores, plain, atol=1e-5)


def test_bags_of_a_table() -> None:
    table = pd.DataFrame(
        {"patient_id": ["b", "a", "b", "a", "b"], "split": ["train", "test", "train", "test", "train"]}
    )
    target = Target("y", "binary", ("n", "p"), np.array([1, 0, 1, 0, 1]))
    values = np.arange(10.0).reshape(5, 2).astype(np.float32)
    bags, first, truth = collect_bags(values, table, target)
    assert [r.tolist() for r in bags.rows] == [[0, 2, 4], [1, 3]]
    assert first.tolist() == [0, 1] and truth.values.tolist() == [1, 0]
    np.testing.assert_allclose(bags.means(), [[4, 5], [4, 5]])
    assert len(bags) == 2


@pytest.mark.parametrize(
    ("labels", "splits", "patients", "said"),
    [
        ([0, 1, 1, 1], ["train"] * 4, "aabb", "1 patients have several labels"),
        ([0, 0, 1, 1], ["train", "test", "train", None], "aabb", "2 patients have several splits"),
        ([0, 0, 1, 1], ["train"] * 4, "abcd", "no bags to learn from"),
    ],
)
def test_bags_that_are_none(labels, splits, patients, said) -> None:
    table = pd.DataFrame({"patient_id": list(patients), "split": splits})
    with pytest.raises(EvaluationError, match=said):
        collect_bags(np.zeros((4, 2), np.float32), table, Target("y", "binary", ("n", "p"), np.array(labels)))
