"""Zero-shot as a whole: symmetries of the scores, and the shipped ECG knowledge through a tower of words."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from planted_text import DIM, PlantedTower

from medfm.core.hashing import sha256_bytes
from medfm.embeddings.texts import TextCache
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.evaluation.target import Target
from medfm.evaluation.zero_shot import ClassVectors, class_vectors, zero_shot_predictions, zero_shot_scores
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import ClassPrompts, PromptSet, build_prompts, list_strategies, uniform
from medfm.knowledge.schema import Knowledge
from medfm.knowledge.terms import terms

WIDE = 256
SETS = ("ptbxl-super", "ptbxl-sub", "ptbxl-form", "ptbxl-rhythm", "cpsc2018", "csn")


@cache
def ecg() -> Knowledge:
    return load_knowledge("ecg")


@cache
def direction(term: str) -> np.ndarray:
    """A fixed direction for every term, the same on every machine."""
    return np.random.default_rng(int(sha256_bytes(term.encode())[:12], 16)).normal(size=WIDE)


def bag_of_terms(texts: list[str]) -> np.ndarray:
    """A tower that knows which terms a text has, and nothing else."""
    return np.stack([sum((direction(t) for t in sorted(terms(text))), np.zeros(WIDE)) for text in texts])


def random_prompts() -> PromptSet:
    words = ["circle", "square", "ellipse", "disc", "noise"]
    return PromptSet("x@1", tuple(ClassPrompts(w, (uniform([w, f"a {w}"]),)) for w in words))


def test_the_order_of_labels_only_permutes_the_columns() -> None:
    texts = TextCache(PlantedTower(), "f")
    embeddings = np.random.default_rng(0).normal(size=(30, DIM))
    prompts = random_prompts()
    turned = PromptSet("x@1", prompts.classes[::-1])
    first, second = (zero_shot_scores(embeddings, class_vectors(p, texts)) for p in (prompts, turned))
    np.testing.assert_allclose(first, second[:, ::-1], atol=1e-12)


def test_scores_are_cosines_and_survive_a_rotation_of_the_space() -> None:
    rng = np.random.default_rng(1)
    vectors = class_vectors(random_prompts(), TextCache(PlantedTower(), "f"))
    embeddings = rng.normal(size=(40, DIM))
    rotation, _ = np.linalg.qr(rng.normal(size=(DIM, DIM)))
    turned = ClassVectors(vectors.labels, vectors.values @ rotation, vectors.owner, vectors.pools)
    scores = zero_shot_scores(embeddings, vectors)
    assert np.abs(scores).max() <= 1 + 1e-12
    np.testing.assert_allclose(scores, zero_shot_scores(embeddings @ rotation, turned), atol=1e-10)


@pytest.mark.parametrize("label_set", SETS)
@pytest.mark.parametrize("strategy", list_strategies())
def test_every_label_is_asked_for_in_words_of_its_own(label_set: str, strategy: str) -> None:
    prompts = build_prompts(ecg(), label_set, strategy)
    assert len({c.groups for c in prompts.classes}) == len(prompts.classes)
    if strategy.startswith("hierarchy"):
        return  # a parent shares prompts with those of its descendants that the label set has too
    vectors = class_vectors(prompts, TextCache(bag_of_terms, "bag"))
    gram = vectors.values @ vectors.values.T
    different = vectors.owner[:, None] != vectors.owner[None, :]
    assert gram[different].max() < 0.98


@pytest.mark.parametrize("label_set", SETS)
def test_a_report_in_other_words_finds_its_label(label_set: str) -> None:
    """Records described by name and synonyms are ranked by prompts of findings, well above chance."""
    knowledge = ecg()
    labels = list(knowledge.label_set(label_set).labels)
    entries = [knowledge.entry(c) for c in knowledge.label_set(label_set).labels.values()]
    reports = [", ".join([e.name, *e.synonyms, *(f.seen for f in e.findings[:1])]) for e in entries for _ in range(6)]
    position = np.repeat(np.arange(len(labels)), 6)
    rng = np.random.default_rng(5)
    clean = bag_of_terms(reports)
    embeddings = (clean + 1.5 * rng.normal(size=clean.shape)).astype(np.float32)
    vectors = class_vectors(build_prompts(knowledge, label_set, "findings@1"), TextCache(bag_of_terms, "bag"))
    cosines = zero_shot_scores(embeddings, vectors)
    truth = (position[:, None] == np.arange(len(labels))).astype(np.float64)
    rows = pd.DataFrame({"record_id": [f"r{i}" for i in range(len(reports))]})
    rows["patient_id"] = [f"p{i // 2}" for i in range(len(reports))]
    found = zero_shot_predictions(cosines, labels, Target(label_set, "multilabel", tuple(labels), truth), rows)
    summary = summarise(found, StatisticsPlan(resamples=20), metrics=("auroc_macro",))
    assert summary.headline[0].value is not None
    assert summary.headline[0].value > 0.9
    assert {r.name for r in summary.per_class} == set(labels)


def test_a_parent_is_found_through_a_child_it_does_not_name() -> None:
    """An inferior infarct described only by its findings: the hierarchy finds it as an infarct."""
    inferior = ecg().entry("mi_inferior")
    report = ", ".join(f"{f.seen} in {f.where}" for f in inferior.findings)
    embedding = bag_of_terms([report])
    texts = TextCache(bag_of_terms, "bag")
    scores = {
        s: zero_shot_scores(embedding, class_vectors(build_prompts(ecg(), "ptbxl-super", s), texts))[0]
        for s in ("class-name@1", "hierarchy@1")
    }
    labels = list(ecg().label_set("ptbxl-super").labels)
    assert labels[int(scores["hierarchy@1"].argmax())] == "MI"
    assert scores["hierarchy@1"][labels.index("MI")] > scores["class-name@1"][labels.index("MI")] + 0.2
