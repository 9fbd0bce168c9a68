"""The findings against arithmetic done here, on systems whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import medfm.workflows.latent_evidence as module
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.synthetic_brains import SHAPE, Anatomy, Brain, Scanner, draw_brain
from medfm.core.errors import EvaluationError
from medfm.workflows.latent_evidence import Finding, _auroc, _linear, _spread, evidence, interval, triples

BRAIN, SCANNER = Brain(1.0, 1.0, 1.0, (0,)), Scanner(1.0, 0.0, 0.02)
BACK = (0, 1, 3, 4, 2)


def table(subjects: int, months=(0, 6, 12, 18, 24)) -> pd.DataFrame:
    rows = []
    for number in range(subjects):
        split = ("train", "test")[number % 2]
        for month in months:
            label = ("CN", "AD")[number // 2 % 2]
            rows.append((f"{number:02d}-{month:02d}", f"{number}", split, month, 60 + number + month / 12, label))
    found = pd.DataFrame(rows, columns=["record_id", "patient_id", "split", "session", "age", "label"])
    return found.assign(path="x.nii.gz", site="s")


def ml(row) -> float:
    return 10 + 1.2 * (float(row.age) - 60) + (10 if row.label == "AD" else 0)


class Known:
    """A system whose code is the ventricles' size and whose decoder draws a brain with it."""

    def __init__(self, cohort: Cohort) -> None:
        self.device = torch.device("cpu")
        self.card = SimpleNamespace(path="card.md")
        self.encoder = self
        self.sizes: dict[int, float] = {}

    def preprocess(self, record) -> torch.Tensor:
        return torch.from_numpy(record).permute(2, 0, 1)[None]

    def __call__(self, batch) -> torch.Tensor:
        sizes = [module.ventricle_ml(v[0].permute(1, 2, 0).numpy()) for v in batch]
        return torch.tensor([[s, np.sin(40 * s)] for s in sizes], dtype=torch.float32)

    def volume(self, batch):
        return batch.permute(BACK)

    def encode(self, batch, steps=None):
        return module.Codes(self(batch), torch.zeros(len(batch), 1, 1, 1, 1))

    def compressed(self, batch):
        return self.volume(batch)

    def decode(self, codes, steps=None):
        return torch.stack(
            [
                torch.from_numpy(
                    draw_brain(BRAIN, Anatomy(max(float(c[0]) - 3.5, 1), 6.0), SCANNER, np.random.default_rng(0))
                )
                for c in codes.semantic
            ]
        )[:, None]

    def manipulate(self, codes, head, strengths):
        return [module.Codes(head.move(codes.semantic, s), codes.stochastic) for s in strengths]

    def interpolate(self, first, second, shares):
        return [module.Codes((1 - s) * first.semantic + s * second.semantic, first.stochastic) for s in shares]


class Drawn(Cohort):
    """A cohort whose scans are drawn when they are read."""

    def read(self, index):
        row = self.table.iloc[index]
        return draw_brain(BRAIN, Anatomy(ml(row), 6.0), SCANNER, np.random.default_rng(0))


def test_a_system_that_knows_the_brain_gets_all_signs_right(monkeypatch, tmp_path):
    cohort = Drawn(table(12, (0, 12, 24)), "brain_mri", tmp_path)
    system = Known(cohort)

    def untrained(*_, **__):
        return lambda batch: torch.randn(len(batch), 2, generator=torch.Generator().manual_seed(len(batch)))

    monkeypatch.setattr(module, "load_encoder", untrained)
    found = {one.what: one for one in evidence(system, cohort, scans=6, resamples=100)}
    for what in (
        "MSE, mean image minus reconstruction (above 0: better)",
        "age MAE, untrained minus trained (above 0: better)",
        "smallest mean step of the ventricles between strengths in ml (above 0: monotonic)",
    ):
        assert found[what].value > 0, what
        assert found[what].low <= found[what].value <= found[what].high
    sizes = [found[f"ventricles in ml at strength {s:+g} towards older"].value for s in module.STRENGTHS]
    assert sizes == sorted(sizes)
    assert found["MSE of the compression alone"].value == 0
    assert all(one.subjects <= 6 for one in found.values())


def test_an_interval_of_one_value_per_subject_is_the_classical_one():
    random = np.random.default_rng(0)
    values = random.normal(2.0, 1.0, 200)
    found = interval("x", lambda w: float((w * values).sum() / w.sum()), np.arange(200), 0, 2000)
    error = values.std(ddof=1) / np.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.03
    )


def test_scans_of_a_subject_come_and_go_together():
    values = np.repeat(np.array([0.0, 1.0, 5.0, 9.0]), 25)
    alone = interval("x", lambda w: float((w * values).sum() / w.sum()), np.arange(100), 0, 500)
    together = interval("x", lambda w: float((w * values).sum() / w.sum()), np.repeat(np.arange(4), 25), 0, 500)
    assert together.subjects == 4 and together.high - together.low > 3 * (alone.high - alone.low)
    assert "4 subjects" in str(together) and isinstance(together, Finding)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_auroc_is_that_of_repeated_records(seed):
    random = np.random.default_rng(seed)
    scores, positive = random.integers(0, 6, 40).astype(float), random.random(40) < 0.4
    weights = random.integers(0, 4, 40)
    repeated = np.repeat(np.arange(40), weights)
    expected = roc_auc_score(positive[repeated], scores[repeated])
    assert _auroc(scores, positive)(weights.astype(float)) == pytest.approx(expected)
    assert np.isnan(_auroc(scores, positive)(np.where(positive, 1.0, 0.0)))


def test_linear_models_recover_a_linear_target():
    random = np.random.default_rng(0)
    codes = random.normal(3.0, 2.0, (80, 5))
    codes[:, 4] = 1.0  # a dead number of the code does no harm
    target = codes @ np.array([1.0, -2.0, 0.5, 0.0, 0.0]) + 7
    weight, bias, mean, std = _linear(codes, target, np.repeat(np.arange(16), 5))
    np.testing.assert_allclose((codes - mean) / std @ weight + bias, target, atol=1e-2)


def test_the_penalty_is_for_subjects_not_seen():
    """Codes that tell subjects apart and say nothing else earn no weight, however well scans of one subject agree."""
    random = np.random.default_rng(3)
    subjects = np.repeat(np.arange(30), 5)
    codes = random.normal(size=(30, 40))[subjects] + 0.01 * random.normal(size=(150, 40))
    target = random.normal(size=30)[subjects]
    weight, *_ = _linear(codes, target, subjects)
    by_scan, *_ = _linear(codes, target, np.arange(150))
    assert np.linalg.norm(weight) < 0.1 * np.linalg.norm(by_scan)


def test_every_subject_has_its_turn():
    patients = np.array(["a"] * 5 + ["b"] * 5 + ["c"] * 5)
    assert sorted(patients[_spread(patients, 3)]) == ["a", "b", "c"]
    assert sorted(patients[_spread(patients, 5)]) == ["a", "a", "b", "b", "c"]
    assert len(_spread(patients, 99)) == 15


def test_triples_take_the_visit_nearest_to_the_middle(tmp_path):
    frame = pd.concat([table(2), table(1, (0, 6, 24)).assign(patient_id="z"), table(1, (0, 12)).assign(patient_id="y")])
    frame = frame.sample(frac=1, random_state=0).reset_index(drop=True)
    cohort = Cohort(frame, "brain_mri", tmp_path)
    found = triples(cohort)
    months = [[frame["session"][row] for row in one[:3]] for one in found]
    assert months == [[0, 12, 24], [0, 12, 24], [0, 6, 24]] and [one[3] for one in found] == [0.5, 0.5, 0.25]
    assert all(len({frame["patient_id"][row] for row in one[:3]}) == 1 for one in found)


def test_splits_and_visits_are_needed(tmp_path):
    cohort = Drawn(table(2).assign(split="train"), "brain_mri", tmp_path)
    with pytest.raises(EvaluationError, match="splits train and test"):
        evidence(Known(cohort), cohort)
    assert SHAPE == (32, 40, 32)
