"""Zero-shot scoring: MERL's rule to the digit, pooling, contexts, predictions for every statistic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from planted_text import DIM, PlantedTower, records
from sklearn.metrics import roc_auc_score

from medfm.core.errors import EvaluationError
from medfm.embeddings.texts import TextCache
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.paired import compare_pair, match
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.evaluation.target import Target
from medfm.evaluation.zero_shot import (
    class_vectors,
    prompt_vectors,
    unit_rows,
    zero_shot_in_contexts,
    zero_shot_predictions,
    zero_shot_scores,
)
from medfm.knowledge.prompts import ClassPrompts, Context, Prompt, PromptSet, uniform

NAMES = ["circle", "square", "ellipse"]


def named(*names: str, prefix: str = "") -> PromptSet:
    return PromptSet("class-name@1", tuple(ClassPrompts(n, (uniform([f"{prefix}{n}."]),)) for n in names))


@pytest.fixture
def tower() -> PlantedTower:
    return PlantedTower()


@pytest.fixture
def cache(tower: PlantedTower) -> TextCache:
    return TextCache(tower, "tower-1")


def multilabel(n: int = 200, seed: int = 3) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, 3)) < 0.4).astype(np.float64)


def table(n: int) -> pd.DataFrame:
    return pd.DataFrame({"record_id": [f"r{i}" for i in range(n)], "patient_id": [f"p{i // 2}" for i in range(n)]})


def published_scores(embeddings: np.ndarray, prompts: list[list[str]], tower: PlantedTower) -> np.ndarray:
    """The published rule step by step: lower-case, unit, mean, unit, cosine."""
    columns = []
    for texts in prompts:
        rows = tower([t.lower() for t in texts])
        rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        mean = rows.mean(axis=0)
        columns.append(mean / np.linalg.norm(mean))
    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return unit @ np.stack(columns, axis=1)


def test_the_published_rule(tower: PlantedTower, cache: TextCache) -> None:
    texts = [["A CIRCLE", "drawing of a disc", "noise"], ["square"], ["Ellipse.", "a noise"]]
    prompts = PromptSet("x@1", tuple(ClassPrompts(n, (uniform(t),)) for n, t in zip(NAMES, texts, strict=True)))
    embeddings = np.random.default_rng(0).normal(size=(50, DIM)).astype(np.float32)
    ours = zero_shot_scores(embeddings, class_vectors(prompts, cache))
    np.testing.assert_allclose(ours, published_scores(embeddings, texts, PlantedTower()), atol=1e-6)


def test_scale_does_not_matter_and_weights_do(cache: TextCache) -> None:
    embeddings = np.random.default_rng(0).normal(size=(9, DIM))
    group = (Prompt("circle", 0.9), Prompt("square", 0.1))
    heavy = class_vectors(PromptSet("x@1", (ClassPrompts("a", (group,)),)), cache)
    tripled = tuple(Prompt(p.text, 3 * p.weight) for p in group)
    same = class_vectors(PromptSet("x@1", (ClassPrompts("a", (tripled,)),)), cache)
    np.testing.assert_allclose(heavy.values, same.values, atol=1e-12)
    np.testing.assert_allclose(zero_shot_scores(embeddings, heavy), zero_shot_scores(5 * embeddings, heavy))
    only = prompt_vectors(named("circle"), cache)["circle."]
    assert heavy.values[0] @ only > 0.9


def test_planted_labels_are_found(tower: PlantedTower, cache: TextCache) -> None:
    truth = multilabel()
    cosines = zero_shot_scores(records(tower, truth, NAMES, 0.5), class_vectors(named(*NAMES), cache))
    assert min(roc_auc_score(truth[:, i], cosines[:, i]) for i in range(3)) > 0.85


def test_groups_are_pooled(cache: TextCache) -> None:
    embeddings = np.random.default_rng(0).normal(size=(20, DIM))
    groups = (uniform(["circle"]), uniform(["ellipse"]))
    single = zero_shot_scores(embeddings, class_vectors(named("circle", "ellipse", "square"), cache))
    prompts = PromptSet(
        "x@1",
        (
            ClassPrompts("round", groups, "max"),
            ClassPrompts("square", (uniform(["square"]),)),
            ClassPrompts("mean", groups, "mean"),
        ),
    )
    pooled = zero_shot_scores(embeddings, class_vectors(prompts, cache))
    np.testing.assert_allclose(pooled[:, 0], single[:, :2].max(axis=1))
    np.testing.assert_allclose(pooled[:, 1], single[:, 2])
    np.testing.assert_allclose(pooled[:, 2], single[:, :2].mean(axis=1))


def test_blocks_and_single_records_agree(cache: TextCache) -> None:
    embeddings = np.random.default_rng(0).normal(size=(8193, DIM)).astype(np.float32)  # a last block of one record
    vectors = class_vectors(named(*NAMES), cache)
    whole = zero_shot_scores(embeddings, vectors)
    assert whole.shape == (8193, 3)
    for row in (0, 8191, 8192):
        np.testing.assert_allclose(zero_shot_scores(embeddings[row : row + 1], vectors)[0], whole[row], atol=1e-12)
    assert zero_shot_scores(embeddings[:0], vectors).shape == (0, 3)


def test_lower_case_is_a_choice(tower: PlantedTower, cache: TextCache) -> None:
    tower.words["CIRCLE"] = -tower.words["circle"]
    low, as_written = (class_vectors(named("CIRCLE"), cache, lower_case=flag).values for flag in (True, False))
    np.testing.assert_allclose(low, -as_written)


def test_each_record_meets_the_prompts_of_its_context(cache: TextCache) -> None:
    embeddings = np.random.default_rng(0).normal(size=(6, DIM))
    contexts = [Context(60, "male"), Context(), Context(60, "male"), Context(20), Context(), Context(20)]
    words = {Context(60, "male"): "drawing of ", Context(): "", Context(20): "a "}
    found = zero_shot_in_contexts(embeddings, contexts, lambda c: named(*NAMES, prefix=words[c]), cache)
    for row, context in enumerate(contexts):
        alone = class_vectors(named(*NAMES, prefix=words[context]), cache)
        np.testing.assert_allclose(found[row], zero_shot_scores(embeddings[row : row + 1], alone)[0])


def test_contexts_must_fit(cache: TextCache) -> None:
    embeddings = np.ones((2, DIM))
    with pytest.raises(EvaluationError, match="1 contexts for 2 records"):
        zero_shot_in_contexts(embeddings, [Context()], lambda _: named("circle"), cache)
    with pytest.raises(EvaluationError, match="labels differ"):
        zero_shot_in_contexts(
            embeddings, [Context(), Context(20)], lambda c: named("circle" if c.age else "square"), cache
        )
    with pytest.raises(EvaluationError, match="no records"):
        zero_shot_in_contexts(embeddings[:0], [], lambda _: named("circle"), cache)


def test_multilabel_predictions_go_through_every_statistic(tower: PlantedTower, cache: TextCache) -> None:
    truth = multilabel()
    truth[0, 1] = np.nan
    cosines = zero_shot_scores(records(tower, np.nan_to_num(truth), NAMES, 1.0), class_vectors(named(*NAMES), cache))
    # The target names its labels in another order, and the prompts hold one more than it has.
    target = Target("t", "multilabel", ("square", "circle"), truth[:, [1, 0]])
    found = zero_shot_predictions(cosines, NAMES, target, table(200).assign(age=50.0))
    assert found.classes == ("square", "circle")
    assert list(found.table["age"]) == [50.0] * 200
    np.testing.assert_allclose(found.table["cosine:square"], cosines[:, 1])
    np.testing.assert_allclose(found.scores()[:, 1], (1 + cosines[:, 0]) / 2)
    summary = summarise(found, StatisticsPlan(resamples=20), metrics=("auroc_macro",))
    known = ~np.isnan(truth[:, 1])
    expected = (roc_auc_score(truth[known, 1], cosines[known, 1]) + roc_auc_score(truth[:, 0], cosines[:, 0])) / 2
    assert summary.headline[0].value == pytest.approx(expected)
    assert summary.n_patients == 100


@pytest.mark.parametrize(
    ("task", "classes"), [("multiclass", ("square", "circle", "ellipse")), ("binary", ("square", "circle"))]
)
def test_class_predictions(tower: PlantedTower, cache: TextCache, task: str, classes: tuple[str, ...]) -> None:
    position = np.random.default_rng(4).integers(0, len(classes), 120)
    embeddings = records(tower, np.eye(len(classes))[position], list(classes), 0.8)
    cosines = zero_shot_scores(embeddings, class_vectors(named(*NAMES), cache))
    found = zero_shot_predictions(
        cosines, NAMES, Target("t", task, classes, position), table(120), variant="findings@1"
    )  # type: ignore[arg-type]
    np.testing.assert_allclose(found.scores().sum(axis=1), 1.0)
    assert (found.predicted_index() == found.scores().argmax(axis=1)).all()
    assert (found.truth_index() == position).all()
    assert (found.predicted_index() == position).mean() > 0.85
    assert found.variants == ["findings@1"]
    assert summarise(found, StatisticsPlan(resamples=10)).headline


def test_what_does_not_fit_is_refused(cache: TextCache) -> None:
    vectors = class_vectors(named(*NAMES), cache)
    with pytest.raises(EvaluationError, match="embedded in one space"):
        zero_shot_scores(np.ones((3, DIM + 1)), vectors)
    with pytest.raises(EvaluationError, match="1 of 2 embeddings are zero"):
        zero_shot_scores(np.stack([np.ones(DIM), np.zeros(DIM)]), vectors)
    with pytest.raises(EvaluationError, match="not finite"):
        unit_rows(np.array([[1.0, np.nan]]), "rows")
    cosines, truth = np.zeros((2, 3)), np.zeros((2, 1))
    with pytest.raises(EvaluationError, match="did you mean 'circle'"):
        zero_shot_predictions(cosines, NAMES, Target("t", "multilabel", ("circel",), truth), table(2))
    with pytest.raises(EvaluationError, match="2 scores, 2 labels and 3 records"):
        zero_shot_predictions(cosines, NAMES, Target("t", "multilabel", ("circle",), truth), table(3))
    with pytest.raises(EvaluationError, match="zero-shot"):
        zero_shot_predictions(cosines, NAMES, Target("t", "regression", (), truth[:, 0]), table(2))
    with pytest.raises(EvaluationError, match="temperature"):
        zero_shot_predictions(cosines, NAMES, Target("t", "multilabel", ("circle",), truth), table(2), temperature=0)


def test_prompts_that_cancel_out_are_refused() -> None:
    opposite = TextCache(lambda texts: np.array([[1.0, 0.0] if t == "yes" else [-1.0, 0.0] for t in texts]), "f")
    with pytest.raises(EvaluationError, match="prompt averages are zero"):
        class_vectors(PromptSet("x@1", (ClassPrompts("a", (uniform(["yes", "no"]),)),)), opposite)


def test_columns_of_the_cohort_never_take_the_place_of_the_outcome(cache: TextCache) -> None:
    rows = table(2).assign(truth="wrong", predicted="wrong", variant="wrong", site="north")
    found = zero_shot_predictions(
        np.eye(2, 3), NAMES, Target("t", "binary", ("square", "circle"), np.array([1, 0])), rows
    )
    assert list(found.table["truth"]) == list(found.table["predicted"]) == ["circle", "square"]
    assert found.variants == ["main"]
    assert list(found.table["site"]) == ["north", "north"]
    assert found.table.columns.is_unique


def test_two_strategies_are_compared_in_pairs(tower: PlantedTower, cache: TextCache) -> None:
    truth = multilabel()
    embeddings = records(tower, truth, NAMES, 1.0)
    target = Target("t", "multilabel", tuple(NAMES), truth)
    weak, strong = (
        zero_shot_predictions(zero_shot_scores(embeddings, class_vectors(p, cache)), NAMES, target, table(200))
        for p in (named(*NAMES, prefix="noise noise noise "), named(*NAMES))
    )
    (row,) = compare_pair(
        match(weak, strong), metrics_for(("auroc_macro",), "multilabel"), StatisticsPlan(resamples=200)
    )
    assert row.difference > 0
    assert row.low is not None
    assert row.high is not None
    assert row.low <= row.difference <= row.high
