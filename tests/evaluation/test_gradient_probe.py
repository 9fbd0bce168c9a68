"""Which epoch is reported, on which records it is chosen, and how MERL draws its fractions."""

from __future__ import annotations

import sys
from pathlib import Path as Folder

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Folder(__file__).parent))
from probe_data import cohort_of, pair, table_of

from medfm.core.errors import ConfigError, EvaluationError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.gradient import Path
from medfm.evaluation.gradient_probe import aurocs, epoch_notes, epoch_qualities, run_gradient_probe
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.protocol_gradient import CHOSEN_ON_TEST, GradientProbe
from medfm.evaluation.schemes import Fold, draw_fractions_by_record
from medfm.evaluation.summarise import summarise
from medfm.evaluation.target import Target

NONE = np.empty(0, dtype=np.int64)


def labels(n: int = 240, d: int = 6, seed: int = 0, signal: float = 1.0) -> tuple[np.ndarray, Target]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(np.float32)
    Y = (signal * X[:, :3] + rng.standard_normal((n, 3)) > 0.6).astype(np.float64)
    return X, Target("a+b+c", "multilabel", ("a", "b", "c"), Y)


def fold(n: int = 240, validation: bool = True) -> Fold:
    parts = np.split(np.random.default_rng(5).permutation(n), [n // 2, 3 * n // 4])
    return Fold(np.sort(parts[0]), np.sort(parts[1]), np.sort(parts[2]) if validation else NONE)


def run(X, target, folds, method, patients=None, seed=0):
    patients = np.arange(len(X)).astype(str).astype(object) if patients is None else patients
    return run_gradient_probe(X, target, folds, method, patients=patients, seed=seed)


def mean_auroc(target: Target, rows: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(target.values[rows], scores, average="macro"))


def test_the_epoch_is_the_best_on_validation_records():
    X, target = labels()
    part = fold()
    method = GradientProbe(epochs=30, seeds=1, lr=3e-2)
    ((_, label, outcome),) = run(X, target, [part], method)
    assert label == ""
    # The same run told to stop after each number of epochs: the best one on validation is the one reported.
    by_length = []
    for epochs in range(1, 31):
        short = GradientProbe(epochs=epochs, seeds=1, lr=3e-2, report_epoch="last")
        swapped = Fold(part.train, np.concatenate([part.validation, part.test]), NONE)
        ((_, _, out),) = run(X, target, [swapped], short)
        size = len(part.validation)
        by_length.append((mean_auroc(target, part.validation, out.scores[:size]), out.scores[size:]))
    best = int(np.argmax([v for v, _ in by_length]))
    assert outcome.chosen["epoch"] == best + 1 and 0 < best < 29
    assert outcome.chosen["best_validation_auroc"] == pytest.approx(by_length[best][0], abs=1e-9)
    np.testing.assert_allclose(outcome.scores, by_length[best][1], atol=1e-6)


def test_the_choice_never_sees_test_labels_unless_asked_by_name():
    X, target = labels()
    part = fold()
    method = GradientProbe(epochs=20, seeds=1, also_report=("last",))
    before = run(X, target, [part], method)
    shuffled = target.values.copy()
    shuffled[part.test] = shuffled[part.test][::-1]
    after = run(X, Target("a+b+c", "multilabel", target.classes, shuffled), [part], method)
    for (_, _, a), (_, _, b) in zip(before, after, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)


def test_all_reported_epochs_stand_beside_each_other():
    X, target = labels(signal=0.4)
    part = fold()
    method = GradientProbe(epochs=40, seeds=1, report_epoch="best_test", also_report=("best_validation", "last"))
    found = {label: outcome for _, label, outcome in run(X, target, [part], method)}
    assert list(found) == ["", "epoch=best_validation", "epoch=last"]
    values = {label: mean_auroc(target, part.test, o.scores) for label, o in found.items()}
    assert values[""] >= max(values.values()) and values[""] == pytest.approx(found[""].chosen["best_test_auroc"])
    assert CHOSEN_ON_TEST in found[""].notes
    assert not any(CHOSEN_ON_TEST in o.notes for label, o in found.items() if label)
    assert found["epoch=last"].chosen["epoch"] == 40


@pytest.mark.parametrize("rule", ["best_validation", "last"])
def test_the_sound_choices_are_not_stamped(rule):
    X, target = labels()
    runs = run(X, target, [fold()], GradientProbe(epochs=3, report_epoch=rule))
    assert not any(CHOSEN_ON_TEST in outcome.notes for _, _, outcome in runs)


def test_each_seed_is_a_repeat():
    X, target = labels()
    folds = [fold(), Fold(**{**fold().__dict__, "repeat": 1})]
    runs = run(X, target, folds, GradientProbe(epochs=3, seeds=3))
    assert [f.repeat for f, _, _ in runs] == [0, 1, 2, 3, 4, 5]
    assert [o.chosen["seed"] for _, _, o in runs] == [0, 1, 2, 0, 1, 2]
    assert not np.allclose(runs[0][2].scores, runs[1][2].scores)


def test_results_do_not_depend_on_the_company():
    X, target = labels()
    part = fold()
    method = GradientProbe(epochs=5, seeds=2)
    small = Fold(part.train[:40], part.test, part.validation, fraction=0.3)
    alone = run(X, target, [small], method)
    together = run(X, target, [part, small], method)[2:]
    for (_, _, a), (_, _, b) in zip(alone, together, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)
        assert a.chosen == pytest.approx(b.chosen)


def test_without_validation_whole_patients_are_held_out():
    X, target = labels()
    patients = np.array([f"p{i // 4}" for i in range(240)], dtype=object)
    part = fold(validation=False)
    ((used, _, outcome),) = run(X, target, [part], GradientProbe(epochs=3, seeds=1), patients)
    assert set(used.train) | set(used.validation) == set(part.train)
    assert not set(patients[used.train]) & set(patients[used.validation])
    assert any("chose the epoch" in note for note in outcome.notes)
    ((kept, _, last),) = run(X, target, [part], GradientProbe(epochs=3, seeds=1, report_epoch="last"), patients)
    assert len(kept.train) == len(part.train) and not last.notes


def test_one_patient_cannot_be_split():
    X, target = labels()
    patients = np.full(240, "p", dtype=object)
    with pytest.raises(EvaluationError, match="single patient"):
        run(X, target, [fold(validation=False)], GradientProbe(epochs=1), patients)


def test_a_label_without_training_positives_counts_and_is_named():
    X, target = labels()
    part = fold()
    values = target.values.copy()
    values[part.train, 1] = 0
    gone = Target("a+b+c", "multilabel", target.classes, values)
    ((_, _, outcome),) = run(X, gone, [part], GradientProbe(epochs=5, seeds=1))
    assert any(note.endswith("records: b.") for note in outcome.notes)
    assert np.isfinite(outcome.scores).all() and len(np.unique(outcome.scores[:, 1])) > 1
    values[part.train] = 0
    with pytest.raises(EvaluationError, match="No label has a positive"):
        run(X, Target("a+b+c", "multilabel", target.classes, values), [part], GradientProbe(epochs=1))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_it_comes_near_the_solved_probe(task):
    rng = np.random.default_rng(1)
    n, classes = 900, 2 if task == "binary" else 3
    y = rng.integers(classes, size=n)
    X = (rng.standard_normal((n, 5)) + 1.2 * np.eye(classes, 5)[y]).astype(np.float32)
    target = Target("label", task, tuple("xyz"[:classes]), y)
    part = Fold(np.arange(600), np.arange(600, 900), NONE)
    method = GradientProbe(epochs=60, seeds=1, weight_decay=0, report_epoch="last", batch_size=32, lr=1e-2)
    ((_, _, outcome),) = run(X, target, [part], method)
    assert outcome.scores.shape == (300, classes)
    np.testing.assert_allclose(outcome.scores.sum(axis=1), 1, atol=1e-9)
    solved = LogisticRegression(C=1e6).fit(X[:600], y[:600]).predict_proba(X[600:])
    assert log_loss(y[600:], outcome.scores) == pytest.approx(log_loss(y[600:], solved), abs=0.01)
    assert np.corrcoef(outcome.scores[:, 0], solved[:, 0])[0, 1] > 0.999


def test_a_measurement_or_a_single_class_is_refused():
    X, _ = labels()
    with pytest.raises(EvaluationError, match="not for a measurement"):
        run(X, Target("age", "regression", (), X[:, 0].astype(float)), [fold()], GradientProbe())
    one = Target("label", "binary", ("n", "y"), np.zeros(240, dtype=np.int64))
    with pytest.raises(EvaluationError, match="single class"):
        run(X, one, [fold()], GradientProbe())


def test_where_no_auroc_exists_the_log_loss_chooses():
    X, target = labels()
    part = fold()
    values = target.values.copy()
    values[part.validation] = 0
    ((_, _, outcome),) = run(
        X, Target("a", "multilabel", target.classes, values), [part], GradientProbe(epochs=4, seeds=1)
    )
    assert "best_validation_log_loss" in outcome.chosen and any("log loss chose" in n for n in outcome.notes)


@pytest.mark.parametrize("seed", range(6))
def test_aurocs_equal_sklearn_with_ties_and_unknown_truth(seed):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.standard_normal((5, 60)), seed % 3)
    scores[3] = 1.0
    truth = rng.integers(2, size=60).astype(float)
    truth[rng.random(60) < 0.2] = np.nan
    known = ~np.isnan(truth)
    expected = [roc_auc_score(truth[known], row[known]) for row in scores]
    np.testing.assert_allclose(aurocs(scores, truth), expected, atol=1e-12)
    assert np.isnan(aurocs(scores, np.ones(60))).all()


def test_qualities_of_epochs_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    X, target = labels()
    path = Path(rng.standard_normal((4, 3, 6)).astype(np.float32), rng.standard_normal((4, 3)).astype(np.float32))
    by_auroc, by_loss = (epoch_qualities(path, X, target, m) for m in ("auroc", "log_loss"))
    for epoch in range(4):
        z = X @ path.coef[epoch].T + path.intercept[epoch]
        assert by_auroc[epoch] == pytest.approx(roc_auc_score(target.values, z), abs=1e-9)
        p = 1 / (1 + np.exp(-z.astype(np.float64)))
        loss = -(target.values * np.log(p) + (1 - target.values) * np.log(1 - p)).mean()
        assert -by_loss[epoch] == pytest.approx(loss, rel=1e-5)


# Sizes of the published training parts and of their 1 and 10 % draws (finetune of the authors' code).
@pytest.mark.parametrize(
    ("train", "one", "ten"),
    [(17084, 170, 1708), (7197, 71, 719), (16832, 168, 1683), (4950, 49, 495), (16546, 165, 1654)],
)
def test_merl_fractions_have_the_published_sizes_and_rows(train, one, ten):
    rows = np.arange(train) * 2
    drawn = draw_fractions_by_record([Fold(rows, NONE, NONE)], (1.0, 0.1, 0.01), 1, seed=42)
    assert [(f.fraction, len(f.train)) for f in drawn] == [(1.0, train), (0.01, one), (0.1, ten)]
    expected, _ = train_test_split(rows, train_size=0.01, random_state=42)
    np.testing.assert_array_equal(drawn[1].train, expected)


def test_merl_fractions_refuse_what_cannot_be_drawn():
    part = Fold(np.arange(50), NONE, NONE)
    with pytest.raises(EvaluationError, match="less than one record"):
        draw_fractions_by_record([part], (0.01,), 1, seed=42)
    with pytest.raises(EvaluationError, match="cannot be drawn"):
        draw_fractions_by_record([part], (1.5,), 1, seed=42)


def test_the_published_protocol_end_to_end():
    table, X = table_of(n=400, signal=0.5)
    table["split"] = np.array(["train", "train", "val", "test"])[(np.arange(400) // 4) % 4]
    cohort = cohort_of(table)
    plan = load_protocol("merl-linear@1", overrides=("fractions=[1,0.1]", "method.epochs=20"))
    done = evaluate(Embeddings(X, tuple(table["record_id"])), cohort, ["grainy", "pale"], plan)
    variants = set(done.predictions.variants)
    ends = ("", ",epoch=best_validation", ",epoch=last")
    assert variants == {"main", "epoch=best_validation", "epoch=last"} | {f"fraction=0.1{end}" for end in ends}
    sizes = {row["variant"]: (row["train"], row["validation"], row["test"]) for row in done.chosen}
    assert sizes["main"] == (200, 100, 100) and sizes["fraction=0.1"] == (20, 100, 100)
    assert done.notes.count(CHOSEN_ON_TEST) == 1
    assert any("by record, not by patient" in note for note in done.notes)
    summary = summarise(done.predictions, plan.statistics.model_copy(update={"resamples": 0}))
    (note,) = epoch_notes(summary, plan.method)
    for variant in ("main", "epoch=best_validation", "epoch=last"):
        assert f"{summary.estimate('auroc_macro', variant).value:.4f}" in note


def test_the_sentence_on_epochs_is_about_the_figure_that_chose_them():
    cohort, embeddings = pair(n=320, signal=0.5)
    plan = load_protocol("merl-linear@1", overrides=("fractions=[1]", "method.epochs=6"))
    done = evaluate(embeddings, cohort, "label", plan)
    summary = summarise(done.predictions, plan.statistics.model_copy(update={"resamples": 0}))
    assert summary.headline[0].metric == "balanced_accuracy"
    (note,) = epoch_notes(summary, plan.method)
    for variant in ("main", "epoch=best_validation", "epoch=last"):
        assert f"{summary.estimate('auroc_ovr_macro', variant).value:.4f}" in note


def test_the_default_protocol_keeps_patients_apart_and_folds_complete():
    cohort, embeddings = pair(n=160)
    done = evaluate(embeddings, cohort, "label", load_protocol("gradient-probe@1", overrides=("method.epochs=5",)))
    assert done.predictions.variants == ["main"]
    assert sorted(done.predictions.table["repeat"].unique()) == [0, 1, 2]
    assert epoch_notes(None, load_protocol("gradient-probe@1").method) == ()  # type: ignore[arg-type]


def test_quirks_are_switches_and_the_defaults_are_sound():
    ours, theirs = GradientProbe(), load_protocol("merl-linear@1").method
    assert isinstance(theirs, GradientProbe)
    quirks = {"scheduler_step", "report_epoch", "also_report", "standardise", "seeds"}
    assert {k for k, v in ours.to_dict().items() if v != theirs.to_dict()[k]} == quirks
    assert (ours.report_epoch, ours.scheduler_step) == ("best_validation", "per_epoch")
    with pytest.raises(ConfigError, match="rise"):
        load_protocol("merl-linear@1", overrides=("method.milestones=[40,10]",))
    for words in ("after every batch", "prints the best AUROC", "batch norms", "16-bit", "by record"):
        assert words in " ".join(load_protocol("merl-linear@1").deviations)
