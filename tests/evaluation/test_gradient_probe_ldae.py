"""LDAE's linear probe: Matthews correlation chooses the epoch, on a share of patients, or of scans as published."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.gradient import Path
from medfm.evaluation.gradient_probe import correlations, epoch_qualities, run_gradient_probe
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.protocol_gradient import GradientProbe
from medfm.evaluation.schemes import Fold
from medfm.evaluation.target import Target

NONE = np.empty(0, dtype=np.int64)
N = 240


def scans(seed: int = 0) -> tuple[np.ndarray, Target, np.ndarray]:
    """Three scans of each of 80 subjects, AD or CN."""
    rng = np.random.default_rng(seed)
    healthy = np.repeat(rng.integers(0, 2, N // 3), 3)
    X = (0.7 * healthy[:, None] + rng.normal(size=(N, 5))).astype(np.float32)
    patients = np.repeat([f"s{i}" for i in range(N // 3)], 3).astype(object)
    return X, Target("diagnosis", "binary", ("AD", "CN"), healthy), patients


def used_by(**settings: object) -> tuple[Fold, tuple[str, ...], dict[str, object]]:
    X, target, patients = scans()
    fold = Fold(np.arange(180), np.arange(180, N), NONE)
    method = GradientProbe(epochs=4, seeds=1, **settings)  # type: ignore[arg-type]
    ((used, _, outcome),) = run_gradient_probe(X, target, [fold], method, patients=patients)
    return used, outcome.notes, outcome.chosen


def test_correlations_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    logits, truth = rng.normal(size=(20, 50)), rng.integers(0, 2, 50).astype(float)
    logits[0] = 1.0  # one answer for all
    expected = [matthews_corrcoef(truth, row > 0) for row in logits]
    np.testing.assert_allclose(correlations(logits, truth), expected, atol=1e-12)
    unknown = np.where(np.arange(50) % 5 == 0, np.nan, truth)
    kept = ~np.isnan(unknown)
    np.testing.assert_allclose(correlations(logits, unknown), correlations(logits[:, kept], truth[kept]))
    assert np.isnan(correlations(logits, np.ones(50))).all()


def test_the_epoch_of_the_best_correlation_is_taken() -> None:
    X, target, patients = scans()
    fold = Fold(np.arange(120), np.arange(180, N), np.arange(120, 180))
    method = GradientProbe(epochs=12, seeds=1, lr=0.05, selection_metric="mcc", standardise=False)
    ((_, _, best),) = run_gradient_probe(X, target, [fold], method, patients=patients)
    by_length = []
    for epochs in range(1, 13):
        last = method.model_copy(update={"epochs": epochs, "report_epoch": "last"})
        ((_, _, found),) = run_gradient_probe(
            X, target, [Fold(fold.train, fold.validation, NONE)], last, patients=patients
        )
        by_length.append(matthews_corrcoef(target.values[120:180], found.scores[:, 1] > 0.5))
    assert best.chosen["epoch"] == int(np.argmax(np.round(by_length, 9))) + 1
    assert best.chosen["best_validation_mcc"] == pytest.approx(max(by_length))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_share_of_the_patients_is_held_out_whole(share: float) -> None:
    _, _, patients = scans()
    used, notes, _ = used_by(validation_share=share)
    assert not set(patients[used.train]) & set(patients[used.validation])
    assert len(used.train) + len(used.validation) == 180
    assert len(used.validation) / 180 == pytest.approx(share, abs=0.06)
    assert "of the training patients" in notes[0]


def test_drawn_by_record_a_patient_is_on_both_sides_and_the_note_says_so() -> None:
    _, _, patients = scans()
    used, notes, _ = used_by(validation_share=0.3, validation_by="record")
    assert len(used.validation) == 54 and len(used.train) == 126
    assert set(patients[used.train]) & set(patients[used.validation])
    assert "records of one patient train and choose" in notes[0]
    assert not set(used.test) & (set(used.train) | set(used.validation))
    again, _, _ = used_by(validation_share=0.3, validation_by="record")
    np.testing.assert_array_equal(again.validation, used.validation)


def test_a_given_split_is_taken_whatever_the_share() -> None:
    X, target, patients = scans()
    fold = Fold(np.arange(120), np.arange(180, N), np.arange(120, 180))
    method = GradientProbe(epochs=2, seeds=1, validation_share=0.4, validation_by="record")
    ((used, _, _),) = run_gradient_probe(X, target, [fold], method, patients=patients)
    np.testing.assert_array_equal(used.validation, fold.validation)


def test_more_than_two_classes_have_no_such_choice() -> None:
    target = Target("d", "multiclass", ("AD", "CN", "MCI"), np.arange(9) % 3)
    path = Path(np.zeros((1, 3, 2), np.float32), np.zeros((1, 3), np.float32))
    with pytest.raises(EvaluationError, match="two classes"):
        epoch_qualities(path, np.zeros((9, 2), np.float32), target, "mcc")


def test_the_shipped_protocols_differ_in_what_they_say() -> None:
    sound, published = load_protocol("ldae-linear@1"), load_protocol("ldae-linear-published@1")
    assert isinstance(sound.method, GradientProbe) and isinstance(published.method, GradientProbe)
    assert sound.method.validation_by == "patient" and published.method.validation_by == "record"
    same = {"validation_by": "patient", "seeds": sound.method.seeds}
    assert published.method.model_copy(update=same) == sound.method
    assert any(text.startswith("FLAW, kept") for text in published.deviations)
    assert any(text.startswith("MENDED") for text in sound.deviations)
    assert sound.scheme == published.scheme and sound.scheme.group_by_patient


def test_impossible_shares_are_refused() -> None:
    for share in (0.0, 0.9):
        with pytest.raises(ConfigError, match="validation_share"):
            load_protocol("ldae-linear@1", overrides=(f"method.validation_share={share}",))
    X, target, _ = scans()
    with pytest.raises(EvaluationError, match="single patient"):
        method = GradientProbe(epochs=1, validation_share=0.3)
        fold = Fold(np.arange(180), np.arange(180, N), NONE)
        run_gradient_probe(X, target, [fold], method, patients=np.full(N, "one", dtype=object))
