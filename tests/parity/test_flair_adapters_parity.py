"""Few-shot adapters and splits against golden figures of FLAIR's transfer code; never skipped."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import torch
from fill import HERE, filled, filled_input, golden

from medfm.evaluation.adapters.clip_adapter import ClipAdapters, fit_clip_adapter
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.adapters.run import run_few_shot
from medfm.evaluation.adapters.texts import softmax, zero_shot_outcome
from medfm.evaluation.adapters.tip_adapter import fit_keys, tip_logits
from medfm.evaluation.linear_probe import run_linear_probe
from medfm.evaluation.protocol import LinearProbe, load_protocol
from medfm.evaluation.protocol_adapters import ClipAdapter, TipAdapter
from medfm.evaluation.schemes import Fold
from medfm.evaluation.shots import ShotFold, flair_split
from medfm.evaluation.target import Target

SCALE = math.exp(3)
CASES = {entry["case"]: entry for entry in json.loads((HERE / "flair-adapters" / "README.json").read_text())["inputs"]}


def unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


class Case:
    """The inputs of one golden case by its stated rule."""

    def __init__(self, case: str) -> None:
        about, base = CASES[case], f"flair-adapters/{case}"
        self.classes, n, m = about["classes"], about["n_train"], about["n_test"]
        proto = filled_input(f"{base}/proto", (self.classes, 64)).astype(np.float64)
        self.ytr, self.yte = np.arange(n) % self.classes, (3 * np.arange(m) + 1) % self.classes
        self.xtr = unit(proto[self.ytr] + 2 * filled_input(f"{base}/train", (n, 64)).astype(np.float64))
        self.xte = unit(proto[self.yte] + 2 * filled_input(f"{base}/test", (m, 64)).astype(np.float64))
        self.xtr, self.xte = self.xtr.astype(np.float32), self.xte.astype(np.float32)
        described = proto[:, None] + 1.5 * filled_input(f"{base}/desc", (self.classes, 3, 64)).astype(np.float64)
        self.text = unit(described).astype(np.float32).mean(axis=1)
        self.gold = {k.split("/", 1)[1]: v for k, v in golden("flair-adapters").items() if k.split("/")[0] == case}

    @property
    def target(self) -> Target:
        names = tuple(f"c{i}" for i in range(self.classes))
        kind = "binary" if self.classes == 2 else "multiclass"
        return Target("y", kind, names, np.concatenate([self.ytr, self.yte]))

    @property
    def shots(self) -> ShotFold:
        n = len(self.ytr)
        fold = Fold(np.arange(n), np.arange(n, n + len(self.yte)), np.empty(0, dtype=np.int64))
        return ShotFold(n // self.classes, fold)

    @property
    def inputs(self) -> AdapterInputs:
        return AdapterInputs(np.concatenate([self.xtr, self.xte]), self.text, SCALE)

    @property
    def onehot(self) -> np.ndarray:
        return np.eye(self.classes, dtype=np.float32)[self.ytr]


@pytest.fixture(params=["0", "1"])
def case(request):
    return Case(request.param)


def test_inputs_follow_the_rule(case):
    np.testing.assert_allclose(case.text, case.gold["text_prototypes"], atol=1e-7)
    np.testing.assert_allclose(case.xtr[:2, :8], case.gold["train_check"], atol=1e-7)
    np.testing.assert_allclose(case.xte[:2, :8], case.gold["test_check"], atol=1e-7)


def test_zero_shot(case):
    scores = zero_shot_outcome(case.inputs, case.target, case.shots).scores
    np.testing.assert_allclose(scores, case.gold["zeroshot_probs"], atol=2e-6)


@pytest.mark.parametrize(("name", "factor"), [("unit", 1.0), ("raw", 7.0)])
@pytest.mark.parametrize("solver", ["sklearn", "batched"])
def test_linear_probe(case, name, factor, solver):
    method = load_protocol("flair-lp@1", overrides=(f"method.solver={solver}",)).method
    assert isinstance(method, LinearProbe)
    values = factor * case.inputs.values
    fold = case.shots.fold
    (outcome,) = run_linear_probe(values, case.target, [fold], method, patients=np.arange(len(values)).astype(object))
    np.testing.assert_allclose(outcome.scores, case.gold[f"lp_{name}_probs"], atol=2e-3)


def visits(case: Case, epochs: int) -> np.ndarray:
    order = list(range(len(case.ytr)))
    random.Random(0).shuffle(order)
    assert order == case.gold["train_order"].tolist()
    return np.array([[order]] * epochs)


def test_clip_adapter_before_and_after_training(case):
    method = load_protocol("flair-clip-adapter@1").method
    assert isinstance(method, ClipAdapter)
    weights = filled("adapter.0.weight", (16, 64))[None], filled("adapter.2.weight", (64, 16))[None]
    X, test, text = (torch.from_numpy(v) for v in (case.xtr, case.xte, case.text))
    untrained = ClipAdapters(*map(torch.from_numpy, weights), torch.tensor([0.2]), text, SCALE)
    probabilities = softmax(untrained.logits(test)[0].numpy())
    np.testing.assert_allclose(probabilities, case.gold["clipadapter_untrained_probs"], atol=1e-6)
    labels = torch.from_numpy(case.ytr)[None]
    found = fit_clip_adapter(X[None], labels, text, SCALE, [0.2], method, weights, visits(case, 40))
    after = softmax(found.logits(test)[0].numpy())
    np.testing.assert_allclose(after, case.gold["clipadapter_probs"], atol=1e-4)
    assert case.classes == 2 or np.abs(after - probabilities).max() > 0.01  # training did something


def test_tip_adapter(case):
    arrays = (torch.from_numpy(v) for v in (case.xte, case.xtr, case.onehot, case.text))
    found = tip_logits(*arrays, scale=100.0, alpha=1.0, beta=5.0).numpy()
    np.testing.assert_allclose(found, case.gold["tip_logits"], atol=2e-5)


def test_tip_adapter_by_its_protocol(case):
    method = load_protocol("flair-tip-adapter@1").method
    (outcome,) = run_few_shot(case.inputs, case.target, [case.shots], method, patients=np.arange(99).astype(object))
    np.testing.assert_allclose(outcome.scores, case.gold["tip_probs"], atol=1e-5)


@pytest.mark.parametrize(("drift", "name"), [(True, "tipf_logits"), (False, "tipf_clean_logits")])
def test_tip_adapter_f_as_shipped_and_as_meant(case, drift, name):
    method = load_protocol("flair-tip-adapter-f@1", overrides=(f"method.queries_drift={str(drift).lower()}",)).method
    assert isinstance(method, TipAdapter)
    X, values, test, text = (torch.from_numpy(v) for v in (case.xtr, case.onehot, case.xte, case.text))
    keys = fit_keys(X[None], values[None], text, SCALE, method, visits(case, 40))
    found = tip_logits(test, keys[0], values, text, scale=100.0, alpha=1.0, beta=5.0).numpy()
    np.testing.assert_allclose(found, case.gold[name], atol=1e-4)


def test_drifting_queries_change_the_figures(case):
    difference = np.abs(case.gold["tipf_logits"] - case.gold["tipf_clean_logits"]).max()
    assert difference > 0.01


SPLITS = {
    "80_0_20": {"train": "80%", "val": "0%", "test": "20%"},
    "5shot": {"train": "5", "val": "0", "test": "20%"},
    "2shot_val2": {"train": "2", "val": "2", "test": "20%"},
    "20pct_balanced": {"train": "20%", "val": "0%", "test": "20%", "balance": True},
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", SPLITS)
def test_splits_row_by_row(name, seed):
    gold = golden("flair-adapters")
    parts = flair_split(gold["splits/labels"], seed, **SPLITS[name])
    for rows, part in zip(parts, ("train", "val", "test"), strict=True):
        np.testing.assert_array_equal(rows, gold[f"splits/{name}/seed{seed}/{part}"])


def test_splits_leave_the_global_generator_alone():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    flair_split(np.arange(20) % 2, 0, train="2", val="0", test="20%")
    assert random.random() == expected
