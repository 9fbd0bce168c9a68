"""Attention networks against plain numpy, and what training and scoring must keep."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import medfm
from medfm.cohorts.synthesize import synthesize
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation import mil
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.mil import Bags, run_mil, train_pooling
from medfm.evaluation.mil_models import build_pooling
from medfm.evaluation.protocol import MIL, load_protocol
from medfm.evaluation.schemes import Fold
from medfm.evaluation.target import Target

QUICK = {"epochs": 6, "patience": 6, "lr": 0.01, "hidden": 8, "classifier_hidden": 5}
POOLINGS = ["gated_attention", "classwise_attention"]


def network(pooling: str, seed: int = 0, dim: int = 6, classes: int = 3):
    draws = torch.Generator().manual_seed(seed)
    return build_pooling(pooling, dim, classes, hidden=8, classifier_hidden=5, generator=draws)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=0))
    return e / e.sum(axis=0)


def forward(model, pooling: str, bag: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and attention by numpy in float64, from the state's arrays."""
    w = {k: v.double().numpy() for k, v in model.state_dict().items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    if pooling == "gated_attention":
        gate = 1 / (1 + np.exp(-linear("gate_branch", bag)))
        weights = softmax(linear("attention", np.tanh(linear("tanh_branch", bag)) * gate))
        return linear("classifier", weights[:, 0] @ bag), weights
    weights = softmax(linear("attention.2", np.tanh(linear("attention.0", bag))))
    logits = []
    for k in range(weights.shape[1]):
        pooled = weights[:, k] @ bag
        hidden = np.maximum(linear(f"classifiers.{k}.0", pooled), 0)
        logits.append(linear(f"classifiers.{k}.2", hidden)[0])
    return np.array(logits), weights


@pytest.mark.parametrize("cells", [1, 2, 17])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_networks_are_their_formulas(pooling, seed, cells):
    model = network(pooling, seed)
    bag = np.random.default_rng(seed).normal(size=(cells, 6))
    logits, weights = model(torch.from_numpy(bag).float())
    expected = forward(model, pooling, bag)
    np.testing.assert_allclose(logits.detach().numpy(), expected[0], atol=1e-5)
    np.testing.assert_allclose(weights.detach().numpy(), expected[1], atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_attention_to_one_cell_is_one_and_shares_sum_to_one(pooling):
    model = network(pooling)
    rng = np.random.default_rng(0)
    for cells in (1, 3, 50):
        bag = torch.from_numpy(100 * rng.normal(size=(cells, 6))).float()  # far out: no overflow either
        weights = model(bag)[1].detach()
        assert weights.shape == (cells, 1 if pooling == "gated_attention" else 3)
        torch.testing.assert_close(weights.sum(dim=0), torch.ones(weights.shape[1]))
        assert (weights >= 0).all()
        if cells == 1:
            assert (weights == 1).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_order_of_the_cells_moves_the_attention_and_nothing_else(pooling):
    model, rng = network(pooling), np.random.default_rng(1)
    bag, order = torch.from_numpy(rng.normal(size=(12, 6))).float(), torch.from_numpy(rng.permutation(12))
    logits, weights = model(bag)
    moved, moved_weights = model(bag[order])
    torch.testing.assert_close(moved, logits)
    torch.testing.assert_close(moved_weights, weights[order])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_doubled_bag_gives_the_same_logits(pooling):
    """Attention is a mean: every cell twice changes no weighted mean."""
    model, bag = network(pooling), torch.from_numpy(np.random.default_rng(2).normal(size=(7, 6))).float()
    torch.testing.assert_close(model(torch.cat([bag, bag]))[0], model(bag)[0])


def bags_of(patients: int = 30, seed: int = 0, least: int = 1):
    rng = np.random.default_rng(seed)
    y = np.arange(patients) % 3
    sizes = rng.integers(least, 6, patients)
    values = rng.normal(size=(sizes.sum(), 6)) + 2 * np.eye(3, 6)[np.repeat(y, sizes)]
    rows = tuple(np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1]))
    return Bags(values.astype(np.float32), rows), Target("y", "multiclass", ("a", "b", "c"), y)


def thirds(patients: int = 30) -> Fold:
    order = np.arange(patients)
    return Fold(order[:15], order[21:], order[15:21])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_patients_with_a_single_cell_are_scored(pooling):
    bags, target = bags_of()
    assert min(map(len, bags.rows)) == 1
    found = run_mil(bags, target, [thirds()], MIL(pooling=pooling, **QUICK))[0]
    assert np.isfinite(found.outcome.scores).all()
    np.testing.assert_allclose(found.outcome.scores.sum(axis=1), 1)
    for patient, weights in zip(thirds().test, found.attention, strict=True):
        assert len(weights) == len(bags.rows[patient])
        np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_labels_and_other_cells_of_test_patients_change_nothing(pooling):
    """A test patient's score depends on the training patients and its own cells."""
    bags, target = bags_of()
    method, fold = MIL(pooling=pooling, **QUICK), thirds()
    first = run_mil(bags, target, [fold], method)[0].outcome.scores
    values, labels = bags.values.copy(), target.values.copy()
    for patient in fold.test[1:]:
        values[bags.rows[patient]] = 7.0
        labels[patient] = (labels[patient] + 1) % 3
    changed = Target("y", "multiclass", target.classes, labels)
    second = run_mil(Bags(values, bags.rows), changed, [fold], method)[0].outcome.scores
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_same_seed_gives_the_same_run_and_another_seed_another(pooling):
    bags, target = bags_of()
    method = MIL(pooling=pooling, **QUICK)
    runs = [run_mil(bags, target, [thirds()], method, seed=s)[0].outcome.scores for s in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-4


def test_a_fold_does_not_depend_on_the_folds_before_it():
    bags, target = bags_of()
    order = np.arange(30)
    folds = [Fold(order[:12], order[20:], order[12:20], fold=0), Fold(order[8:20], order[20:], order[:8], fold=1)]
    method = MIL(pooling="classwise_attention", **QUICK)
    together = run_mil(bags, target, folds, method)
    alone = run_mil(bags, target, folds[1:], method)
    np.testing.assert_array_equal(together[1].outcome.scores, alone[0].outcome.scores)


def test_the_restored_weights_have_the_reported_validation_loss(monkeypatch):
    """Re-scoring with the kept network gives exactly the smallest loss seen, not the last."""
    bags, target = bags_of(seed=3)
    seen: list[float] = []
    kept = {}

    def watched(model, train, labels, held, held_labels, method, draws):
        entropy = torch.nn.functional.cross_entropy

        def loss() -> float:
            with torch.inference_mode():
                return float(
                    np.mean([entropy(model(b)[0][None], t[None]) for b, t in zip(held, held_labels, strict=True)])
                )

        original = model.eval

        def eval_and_note():
            seen.append(loss())
            return original()

        model.eval = eval_and_note
        found = train_pooling(model, train, labels, held, held_labels, method, draws)
        kept["loss"], kept["found"] = loss(), found
        return found

    monkeypatch.setattr(mil, "train_pooling", watched)
    method = MIL(pooling="gated_attention", optimiser="adamw", lr=0.2, epochs=25, patience=25, hidden=8)
    run_mil(bags, target, [thirds()], method)
    losses = seen[:25]
    epoch, loss = kept["found"]
    assert epoch == int(np.argmin(losses)) + 1
    assert loss == pytest.approx(min(losses), rel=1e-6)
    assert kept["loss"] == pytest.approx(loss, rel=1e-6)
    assert losses[-1] > min(losses)  # the case is one where the last epoch is not the best


def test_patience_stops_that_many_epochs_after_the_best():
    """A validation set with the opposite labels grows worse from the first epochs on."""
    bags, target = bags_of(seed=1)
    model = network("gated_attention")
    tensors = [torch.from_numpy(bags.values[rows]) for rows in bags.rows]
    labels = torch.from_numpy(target.values)
    opposite = (labels + 1) % 3
    epochs = []
    original = torch.optim.lr_scheduler.CosineAnnealingLR.step

    class Counted(torch.optim.lr_scheduler.CosineAnnealingLR):
        def step(self, *given):
            epochs.append(1)
            return original(self, *given)

    method = MIL(pooling="gated_attention", lr=0.02, epochs=60, patience=4, hidden=8)
    before = copy.deepcopy(model.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.lr_scheduler, "CosineAnnealingLR", Counted)
        best, loss = train_pooling(model, tensors, labels, tensors, opposite, method, torch.Generator().manual_seed(0))
    # The scheduler steps once when it is made.
    assert len(epochs) - 1 == best + 4 < 60
    assert np.isfinite(loss)
    assert any(not torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_the_aml_protocol_on_the_synthetic_cohort(tmp_path):
    """20 runs, every test patient in each; shortened training on made-up vectors with the class planted."""
    synthesize("blood_cell", tmp_path / "cells", records=180, size=32)
    cohort = medfm.load_cohort(tmp_path / "cells" / "labels.csv", modality="blood_cell")
    names = sorted(set(cohort.table["patient_class"]))
    y = np.array([names.index(c) for c in cohort.table["patient_class"]])
    X = np.random.default_rng(0).normal(size=(len(y), 16)) + 2 * np.eye(len(names), 16)[y]
    about = {"encoder": "none", "fingerprint": "f" * 64, "weights_kind": "random"}
    embeddings = Embeddings(X.astype(np.float32), tuple(cohort.table["record_id"]), about)
    protocol = load_protocol("dinobloom-aml-mil@1", overrides=("method.epochs=4",))
    found = evaluate(embeddings, cohort, "patient_class", protocol)
    tested = set(cohort.table.loc[cohort.table["split"] == "test", "patient_id"].astype(str))
    runs = found.predictions.table.groupby(["repeat", "fold"])["record_id"].apply(set)
    assert len(runs) == 20
    assert all(ids == tested for ids in runs)
    shares = found.attention.groupby("patient_id")[[f"attention:{c}" for c in found.predictions.classes]].sum()
    np.testing.assert_allclose(shares, 1, rtol=1e-4)
    assert all(1 <= c["epochs"] <= 4 for c in found.chosen)
