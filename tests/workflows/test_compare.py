"""Comparing results: values, Holm over everything, refusals, folders, and the text people read."""

import json

import numpy as np
import pandas as pd
import pytest

import medfm
from medfm.core.errors import EvaluationError, StoreError, UnknownNameError
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.multiple import benjamini_hochberg, holm
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import LinearProbe, Protocol, StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.reporting.result import Result
from medfm.workflows.compare import Comparison, compare

CLASSES = ("blast", "lymphocyte", "monocyte")


def result(noise: float, name: str, *, n: int = 240, patients_known: bool = True, seed: int = 0) -> Result:
    """Same records and truths for every call; more noise is a worse model."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, n)
    owner = rng.integers(0, 60, n)
    signal = np.eye(3)[truth] * 2
    logits = signal + np.random.default_rng(seed + 1).normal(0, noise, (n, 3))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = np.array(CLASSES)
    table = pd.DataFrame(
        {
            "record_id": [f"c{i:03d}" for i in range(n)],
            "patient_id": [f"p{o}" for o in owner],
            "site": "one",
            "variant": "main",
            "repeat": 0,
            "fold": 0,
            "truth": names[truth],
            "predicted": names[scores.argmax(axis=1)],
            **{f"score:{c}": scores[:, i] for i, c in enumerate(CLASSES)},
        }
    )
    return made(table, name, patients_known=patients_known)


def made(table: pd.DataFrame, name: str, *, target: str = "label", patients_known: bool = True) -> Result:
    predictions = Predictions(table.reset_index(drop=True), "multiclass", CLASSES, target)
    summary = summarise(predictions, StatisticsPlan(resamples=10), patients_known=patients_known)
    protocol = Protocol(id="test@1", title="test", method=LinearProbe())
    return Result("linear_probe", protocol, summary, predictions, name=name)


def test_headline_metrics_are_compared_by_default():
    reference, other = result(2.0, "old"), result(0.7, "new")
    found = compare(reference, other)
    assert isinstance(found, Comparison)
    assert [row.found.metric for row in found.rows] == [e.metric for e in reference.summary.headline]
    for row in found.rows:
        assert row.found.first == pytest.approx(evaluate(reference.predictions, [row.found.metric])[row.found.metric])
        assert row.found.second == pytest.approx(evaluate(other.predictions, [row.found.metric])[row.found.metric])
        assert row.winner == "other"
        assert "new is better" in row.verdict


def test_lower_is_better_is_understood():
    (row,) = compare(result(2.0, "old"), result(0.7, "new"), metrics=["brier"], resamples=200).rows
    assert row.found.difference < 0
    assert row.winner == "other"
    (back,) = compare(result(0.7, "new"), result(2.0, "old"), metrics=["brier"], resamples=200).rows
    assert back.winner == "reference"
    assert "new is better" in back.verdict


def test_no_difference_is_not_called_equality():
    (row,) = compare(result(1.0, "a"), result(1.0, "b", seed=7), metrics=["accuracy"], resamples=200).rows
    assert row.winner is None
    assert "no difference shown" in row.verdict
    assert "these data allow differences from" in row.verdict


def test_holm_runs_over_all_results_and_metrics():
    others = [result(0.9, "b", seed=3), result(1.1, "c", seed=4)]
    found = compare(result(1.0, "a"), others, metrics=["accuracy", "brier", "f1_macro"], resamples=200)
    assert [row.other for row in found.rows] == ["b"] * 3 + ["c"] * 3
    expected = holm([row.found.p for row in found.rows])
    assert [row.p_holm for row in found.rows] == pytest.approx(expected.tolist())
    assert "corrected over the 6 comparisons" in found.notes[-1]
    same = compare(result(1.0, "a"), *others, metrics=["accuracy", "brier", "f1_macro"], resamples=200)
    assert same == found


def test_benjamini_and_hochberg_decide_when_asked():
    others = [result(0.9, "b", seed=3), result(1.3, "c", seed=4)]
    asked = {"metrics": ["accuracy", "brier", "f1_macro"], "resamples": 200}
    plain, found = (compare(result(1.0, "a"), others, **asked, **more) for more in ({}, {"correction": "bh"}))
    expected = benjamini_hochberg([row.found.p for row in found.rows])
    assert [row.p_bh for row in found.rows] == pytest.approx(expected.tolist())
    assert [(row.p_holm, row.p_bh) for row in found.rows] == [(row.p_holm, row.p_bh) for row in plain.rows]
    for row in found.rows:
        assert (row.winner is not None) == (row.p_bh < 0.05) and "after BH" in row.verdict
        assert row.corrected("bh") == row.p_bh and row.corrected("holm") == row.p_holm
    assert found.to_dict()["correction"] == "bh" and plain.to_dict()["correction"] == "holm"
    assert "BH" in str(found) and "Holm" not in str(found).split("Note:")[0] and "Holm" in str(plain)
    assert any("of the differences called shown, 5 % on average may be false" in note for note in found.notes)
    assert not any("on average" in note for note in plain.notes)


def test_an_unknown_correction_is_refused():
    with pytest.raises(EvaluationError, match="'tukey' is no correction") as caught:
        compare(result(1.0, "a"), result(1.2, "b"), resamples=10, correction="tukey")
    assert "holm or bh" in str(caught.value)


def test_the_seed_decides():
    pair = result(1.0, "a"), result(1.2, "b", seed=3)
    assert compare(*pair, resamples=100) == compare(*pair, resamples=100)
    assert compare(*pair, resamples=100) != compare(*pair, resamples=100, seed=1)


def test_a_partial_overlap_is_said():
    reference, other = result(1.0, "a"), result(1.0, "b", seed=2)
    part = made(other.predictions.table.iloc[40:], "b")
    found = compare(reference, part, metrics=["accuracy"], resamples=50)
    assert (found.overlaps[0].n_common, found.overlaps[0].n_reference, found.overlaps[0].n_other) == (200, 240, 200)
    assert "only the 200 common ones are compared" in found.notes[0]
    assert "200 common records of" in str(found)


def test_unknown_patients_are_said():
    found = compare(result(1.0, "a"), result(1.2, "b", patients_known=False), metrics=["accuracy"], resamples=50)
    assert any("Patients are unknown" in note for note in found.notes)
    assert found.overlaps[0].n_patients is None
    assert "record-level" in found.rows[0].found.method
    assert "of None patients" not in str(found)


def test_required_metric():
    weak, strong = result(2.0, "weak"), result(0.7, "strong")
    passed = compare(weak, strong, metrics=["accuracy"], require_better="brier", resamples=100)
    assert [row.found.metric for row in passed.rows] == ["accuracy", "brier"]
    assert passed.passed
    assert "better on brier: yes" in str(passed)
    failed = compare(strong, weak, require_better="accuracy", resamples=100)
    assert not failed.passed
    assert compare(weak, strong, weak, require_better="accuracy", resamples=100).passed is False
    assert compare(strong, weak, resamples=100).passed


def test_equal_titles_get_numbers():
    found = compare(result(1.0, "same"), result(1.2, "same", seed=1), metrics=["accuracy"], resamples=20)
    assert (found.reference, found.rows[0].other) == ("same [1]", "same [2]")


def test_plain_data_and_file(tmp_path):
    found = compare(result(1.0, "a"), result(1.2, "b"), resamples=50, require_better="accuracy")
    path = found.save(tmp_path / "out" / "compare.json")
    data = json.loads(path.read_text())
    assert data == json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["rows"][0]["difference"] == found.rows[0].found.difference
    assert data["passed"] is False


def test_text_has_a_row_and_a_verdict_per_metric():
    found = compare(result(2.0, "old"), result(0.7, "new"), metrics=["accuracy", "brier"], resamples=200)
    text = str(found)
    assert text.startswith("Reference: old")
    for word in ("accuracy", "Brier", "95 % interval", "Holm", "new is better"):
        assert word in text
    lines = [line for line in text.splitlines() if line.startswith("  accuracy  ")]
    assert len(lines) == 1


def test_folders_are_loaded(tmp_path):
    first, second = result(2.0, "old"), result(0.7, "new")
    folders = [r.save(tmp_path / r.name) for r in (first, second)]
    direct = compare(first, second, resamples=50)
    assert compare(*folders, resamples=50) == direct
    assert medfm.compare(str(folders[0]), second, resamples=50) == direct


def test_variants():
    def with_variant(r: Result) -> Result:
        few = r.predictions.table.assign(variant="fraction=0.1")
        return made(pd.concat([r.predictions.table, few]), r.name)

    a, b = with_variant(result(1.0, "a")), with_variant(result(1.3, "b", seed=2))
    found = compare(a, b, metrics=["accuracy"], variant="fraction=0.1", resamples=20)
    assert found.variant == "fraction=0.1"
    with pytest.raises(EvaluationError, match=r"fraction=0\.2"):
        compare(a, b, variant="fraction=0.2")


def test_refusals(tmp_path):
    a = result(1.0, "a")
    with pytest.raises(EvaluationError, match="nothing to compare"):
        compare(a)
    with pytest.raises(EvaluationError, match="target"):
        compare(a, made(a.predictions.table, "b", target="stage"))
    with pytest.raises(EvaluationError, match="no record in common"):
        compare(a, made(a.predictions.table.assign(record_id="z" + a.predictions.table["record_id"]), "b"))
    with pytest.raises(EvaluationError, match="another truth"):
        compare(a, made(a.predictions.table.assign(truth="blast"), "b"))
    with pytest.raises(UnknownNameError, match="accuracy"):
        compare(a, a, metrics=["acuracy"])
    with pytest.raises(StoreError):
        compare(a, tmp_path / "nowhere")
    with pytest.raises(StoreError):
        compare(tmp_path, a)


def test_without_resamples_nothing_is_claimed():
    (row,) = compare(result(2.0, "old"), result(0.7, "new"), metrics=["accuracy"], resamples=0).rows
    assert (row.winner, row.p_holm) == (None, None)
    assert "nothing can be said about chance" in row.verdict


def test_many_comparisons_get_enough_resamples():
    """Holm times the smallest bootstrap p must stay below 0.05, or nothing could ever be shown."""
    names = ["accuracy", "brier", "f1_macro", "f1_weighted", "balanced_accuracy", "log_loss"]
    others = [result(0.5, f"new {i}", seed=i) for i in range(5)]
    found = compare(result(2.0, "old"), others, metrics=names)
    assert all(row.winner == "other" for row in found.rows)
    assert found.rows[0].found.method.endswith("B=6000")
    assert not any("cannot show" in note for note in found.notes)
    few = compare(result(2.0, "old"), others, metrics=names, resamples=1000)
    assert all(row.winner is None for row in few.rows)
    assert any("cannot show any difference; ask for 6000" in note for note in few.notes)
