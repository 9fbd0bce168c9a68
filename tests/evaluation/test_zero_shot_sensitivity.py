"""Leave one prompt out, and the published best F1, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from planted_text import PlantedTower, records
from sklearn.metrics import accuracy_score, precision_recall_curve, roc_auc_score

from medfm.core.errors import EvaluationError
from medfm.embeddings.texts import TextCache
from medfm.evaluation.zero_shot import class_vectors, zero_shot_scores
from medfm.evaluation.zero_shot_sensitivity import BEST_F1_FLAW, best_f1, label_auroc, prompt_sensitivity
from medfm.knowledge.prompts import ClassPrompts, Prompt, PromptSet, uniform

NAMES = ["circle", "square", "ellipse"]


def data() -> tuple[TextCache, np.ndarray, np.ndarray]:
    tower = PlantedTower()
    truth = (np.random.default_rng(3).random((250, 3)) < 0.4).astype(np.float64)
    return TextCache(tower, "f"), truth, records(tower, truth, NAMES, 1.5)


PROMPTS = PromptSet(
    "x@1",
    (
        ClassPrompts("circle", ((Prompt("circle", 0.3), Prompt("noise", 0.7)),)),
        ClassPrompts("square", (uniform(["square"]),)),
        ClassPrompts("either", (uniform(["ellipse"]), uniform(["noise", "box"]))),
    ),
)


def test_each_prompt_is_left_out_in_turn() -> None:
    cache, truth, embeddings = data()
    rows = prompt_sensitivity(PROMPTS, embeddings, truth, cache)
    assert [(r.label, r.text) for r in rows] == [
        ("circle", "circle"),
        ("circle", "noise"),
        ("square", "square"),
        ("either", "ellipse"),
        ("either", "noise"),
        ("either", "box"),
    ]
    for row, kept in ((rows[0], ["noise"]), (rows[1], ["circle"])):
        alone = class_vectors(PromptSet("x@1", (ClassPrompts("circle", (uniform(kept),)),)), cache)
        expected = roc_auc_score(truth[:, 0], zero_shot_scores(embeddings, alone)[:, 0])
        assert row.without == pytest.approx(expected)
    whole = zero_shot_scores(embeddings, class_vectors(PROMPTS, cache))
    assert rows[0].auroc == pytest.approx(roc_auc_score(truth[:, 0], whole[:, 0]))
    assert rows[0].change is not None
    assert rows[1].change is not None
    assert rows[0].change < 0 < rows[1].change  # the good prompt helps, the planted bad one harms


def test_the_only_prompt_cannot_be_left_out_but_a_whole_group_can() -> None:
    cache, truth, embeddings = data()
    rows = prompt_sensitivity(PROMPTS, embeddings, truth, cache)
    assert (rows[2].without, rows[2].change) == (None, None)
    assert rows[2].auroc is not None
    rest = class_vectors(PromptSet("x@1", (ClassPrompts("e", (uniform(["noise", "box"]),)),)), cache)
    expected = roc_auc_score(truth[:, 2], zero_shot_scores(embeddings, rest)[:, 0])
    assert rows[3].without == pytest.approx(expected)


def test_labels_with_single_prompts_only() -> None:
    cache, truth, embeddings = data()
    single = PromptSet("x@1", tuple(ClassPrompts(n, (uniform([n]),)) for n in NAMES))
    assert all(r.without is None for r in prompt_sensitivity(single, embeddings, truth, cache))


def test_a_label_of_one_kind_has_no_figure() -> None:
    cache, truth, embeddings = data()
    truth[:, 0] = 0
    truth[3, 0] = np.nan
    rows = prompt_sensitivity(PROMPTS, embeddings, truth, cache)
    assert (rows[0].auroc, rows[0].without, rows[0].change) == (None, None, None)


def test_unknown_truths_are_left_out() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.4])
    assert label_auroc(scores, np.array([0.0, 1.0, np.nan, 1.0])) == 1.0
    assert label_auroc(scores, np.array([0.0, 0.0, np.nan, 0.0])) is None


@pytest.mark.parametrize("seed", range(8))
def test_best_f1_is_that_of_the_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.random((80, 2)) < 0.3).astype(np.float64)
    truth[0] = 1
    scores = np.round(rng.normal(size=(80, 2)) + truth, 1 if seed % 2 else 6)  # with and without ties
    for i, row in enumerate(best_f1(scores, truth, ("a", "b"))):
        precision, recall, thresholds = precision_recall_curve(truth[:, i], scores[:, i])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        assert row.f1 == pytest.approx(f1.max())
        assert row.threshold in thresholds[np.isclose(f1[:-1], f1.max())]
        assert row.accuracy == pytest.approx(accuracy_score(truth[:, i], scores[:, i] > row.threshold))


def test_best_f1_without_positives_and_with_unknowns() -> None:
    truth = np.array([[0.0, 1.0], [0.0, np.nan], [np.nan, 0.0]])
    none, some = best_f1(np.array([[0.1, 0.8], [0.2, 0.9], [0.3, 0.1]]), truth, ("a", "b"))
    assert (none.f1, none.threshold, none.accuracy) == (None, None, None)
    # The only positive lies at the threshold, so the strict comparison counts it as negative.
    assert (some.f1, some.threshold, some.accuracy) == (1.0, 0.8, 0.5)
    assert "chosen on the very records" in BEST_F1_FLAW


def test_shapes_must_fit() -> None:
    cache, truth, embeddings = data()
    with pytest.raises(EvaluationError, match="shape"):
        prompt_sensitivity(PROMPTS, embeddings, truth[:, :2], cache)
    with pytest.raises(EvaluationError, match="shape"):
        best_f1(np.zeros((3, 2)), np.zeros((2, 2)), ("a", "b"))
    with pytest.raises(EvaluationError, match="1 labels for 2 columns"):
        best_f1(np.zeros((3, 2)), np.zeros((3, 2)), ("a",))
