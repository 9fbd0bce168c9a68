"""Prompt weights without labels: planted bad prompts lose weight; the sums agree with a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
from planted_text import PlantedTower, records

from medfm.core.errors import EvaluationError, UnknownNameError
from medfm.embeddings.texts import TextCache
from medfm.evaluation.zero_shot import class_vectors, prompt_vectors, zero_shot_scores
from medfm.evaluation.zero_shot_sensitivity import label_auroc
from medfm.evaluation.zero_shot_weights import weigh_prompts, zpe_weights
from medfm.knowledge.prompts import ClassPrompts, Prompt, PromptSet, uniform

NAMES = ["circle", "square", "ellipse"]
TEMPLATES = ("{}", "drawing of a {}", "noise noise noise noise {}")


def shared() -> PromptSet:
    return PromptSet("templates@1", tuple(ClassPrompts(n, (uniform(t.format(n) for t in TEMPLATES),)) for n in NAMES))


def own() -> PromptSet:
    return PromptSet("synonyms@1", (ClassPrompts("circle", (uniform(["circle", "disc", "a circle", "noise"]),)),))


def data(noise: float = 0.7) -> tuple[PlantedTower, TextCache, np.ndarray, np.ndarray]:
    tower = PlantedTower()
    truth = (np.random.default_rng(3).random((300, 3)) < 0.4).astype(np.float64)
    return tower, TextCache(tower, "f"), truth, records(tower, truth, NAMES, noise)


def test_zpe_prefers_the_template_that_separates() -> None:
    _, cache, _, embeddings = data()
    found = weigh_prompts(shared(), embeddings, cache, "zpe")
    assert found.strategy == "templates@1+zpe@1"
    for entry in found.classes:
        weights = [p.weight for p in entry.groups[0]]
        assert sum(weights) == pytest.approx(1.0)
        assert weights[0] > weights[1] > weights[2]


def test_zpe_against_a_loop_over_records() -> None:
    _, cache, _, embeddings = data()
    prompts = shared()
    vectors = prompt_vectors(prompts, cache)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    confidence = []
    for t in TEMPLATES:
        scores = np.stack([unit @ vectors[t.format(n)] for n in NAMES], axis=1)
        confidence.append(np.mean([(row - scores.mean(axis=0)).max() / 0.07 for row in scores]))
    powers = np.exp(confidence)
    np.testing.assert_allclose(zpe_weights(prompts, embeddings, vectors), powers / powers.sum(), atol=1e-6)


def test_consensus_takes_weight_from_the_prompt_that_disagrees() -> None:
    _, cache, truth, embeddings = data()
    found = weigh_prompts(own(), embeddings, cache, "consensus")
    weights = {p.text: p.weight for p in found.classes[0].groups[0]}
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["noise"] < 0.5 * weights["circle"]
    assert found.strategy == "synonyms@1+consensus@1"
    before, after = (
        label_auroc(zero_shot_scores(embeddings, class_vectors(p, cache))[:, 0], truth[:, 0]) for p in (own(), found)
    )
    assert before is not None
    assert after is not None
    assert after >= before


def test_the_order_and_size_of_the_records_do_not_matter() -> None:
    _, cache, _, embeddings = data()
    mixed = embeddings[np.random.default_rng(0).permutation(len(embeddings))] * 3
    for prompts, method in ((shared(), "zpe"), (own(), "consensus")):
        first, second = (weigh_prompts(prompts, e, cache, method) for e in (embeddings, mixed))
        for a, b in zip(first.classes, second.classes, strict=True):
            np.testing.assert_allclose([p.weight for p in a.groups[0]], [p.weight for p in b.groups[0]], atol=1e-6)


def test_small_groups_and_records_without_spread_keep_their_weights() -> None:
    _, cache, _, embeddings = data()
    two = PromptSet("x@1", (ClassPrompts("a", ((Prompt("circle", 0.8), Prompt("noise", 0.2)),)),))
    assert weigh_prompts(two, embeddings, cache, "consensus").classes == two.classes
    same = np.tile(embeddings[:1], (5, 1))
    weights = [p.weight for p in weigh_prompts(own(), same, cache, "consensus").classes[0].groups[0]]
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1.0)


def test_a_prompt_of_weight_zero_stays_out() -> None:
    _, cache, _, embeddings = data()
    group = (Prompt("circle", 0.5), Prompt("disc", 0.5), Prompt("a circle", 0.0))
    found = weigh_prompts(PromptSet("x@1", (ClassPrompts("a", (group,)),)), embeddings, cache, "consensus")
    assert found.classes[0].groups[0][2].weight == 0.0


def test_what_cannot_be_weighed_is_refused() -> None:
    _, cache, _, embeddings = data()
    with pytest.raises(UnknownNameError, match="did you mean 'consensus'"):
        weigh_prompts(own(), embeddings, cache, "consens")
    with pytest.raises(EvaluationError, match="1 records"):
        weigh_prompts(own(), embeddings[:1], cache, "consensus")
    uneven = PromptSet("x@1", (*own().classes, ClassPrompts("square", (uniform(["square"]),))))
    grouped = PromptSet("x@1", (ClassPrompts("a", (uniform(["circle"]), uniform(["disc"]))),))
    for prompts in (uneven, grouped):
        with pytest.raises(EvaluationError, match="do not share templates"):
            weigh_prompts(prompts, embeddings, cache, "zpe")
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(EvaluationError, match="temperature"):
            weigh_prompts(shared(), embeddings, cache, "zpe", temperature=temperature)
