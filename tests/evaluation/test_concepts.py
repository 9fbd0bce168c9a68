"""Named findings: which there are, their texts, and the similarity of records to them."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from medfm.core.errors import ConfigError, EvaluationError, UnknownNameError
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.texts import TextCache
from medfm.evaluation.concepts import FEATURES, Concept, class_ids, concept_features, concept_scores, concepts_of
from medfm.knowledge.load import list_knowledge, load_knowledge


def test_similarities_are_cosines():
    rng = np.random.default_rng(0)
    X, V = rng.normal(size=(5, 4)), rng.normal(size=(3, 4))
    naive = [[float(x @ v / np.sqrt(x @ x) / np.sqrt(v @ v)) for v in V] for x in X]
    np.testing.assert_allclose(concept_scores(X * 7, V * 0.1), naive)
    for bad in (V[:, :3], V * 0, V * np.nan, V[0]):
        with pytest.raises(EvaluationError):
            concept_scores(X, bad)


def test_features_are_the_similarities_of_the_same_records_and_say_so():
    rng = np.random.default_rng(1)
    vectors = {"DRUSEN": rng.normal(size=6), "a Scar": rng.normal(size=6)}
    vectors |= {k.lower(): v[::-1] for k, v in vectors.items()}
    texts = TextCache(lambda wanted: np.stack([vectors[t] for t in wanted]), "t" * 64)
    concepts = (Concept("drusen", "DRUSEN", ("amd",)), Concept("scar", "a Scar", ("amd", "scar")))
    emb = Embeddings(rng.normal(size=(4, 6)).astype(np.float32), tuple("wxyz"), {"encoder": "e"})
    found = concept_features(emb, concepts, texts)
    assert found.record_ids == emb.record_ids and found.provenance["encoder"] == "e"
    np.testing.assert_allclose(
        found.values, concept_scores(emb.values, np.stack([vectors["DRUSEN"], vectors["a Scar"]])), atol=1e-6
    )
    lower = concept_features(emb, concepts, texts, lower_case=True)
    np.testing.assert_allclose(
        lower.values, concept_scores(emb.values, np.stack([vectors["drusen"], vectors["a scar"]])), atol=1e-6
    )
    assert FEATURES in found.provenance and FEATURES not in emb.provenance
    other = concept_features(emb, concepts[::-1], texts)
    assert other.provenance[FEATURES] != found.provenance[FEATURES]
    with pytest.raises(EvaluationError, match="no concepts"):
        concept_features(emb, (), texts)


@pytest.mark.parametrize("domain", list_knowledge())
def test_findings_of_every_shipped_label_set(domain):
    knowledge = load_knowledge(domain)
    counted = 0
    everything = concepts_of(knowledge)
    for name, label_set in knowledge.label_sets.items():
        classes = [knowledge.entry(c) for c in dict.fromkeys(label_set.labels.values())]
        distinct = {(f.seen, f.where) for c in classes for f in c.findings}
        if len(distinct) < 2:
            continue
        found = concepts_of(knowledge, name, "An image of {name}")
        assert len({c.name for c in found}) == len(found) == len(distinct)
        assert all(c.text == f"An image of {c.name}" and c.classes for c in found)
        assert {n for c in found for n in c.classes} == {c.name for c in classes if c.findings}
        assert {c.name for c in found} <= {c.name for c in everything}
        counted += 1
    assert counted


def test_all_findings_of_the_knowledge_stand_in_its_first_template():
    knowledge = load_knowledge("retina")
    found = concepts_of(knowledge)
    assert len(found) == len({(f.seen, f.where) for c in knowledge.classes for f in c.findings})
    assert all(c.text == f"A fundus photograph of {c.name}" for c in found)
    assert class_ids(knowledge, None) == [c.id for c in knowledge.classes]


def test_a_finding_of_two_classes_is_one_concept():
    knowledge = load_knowledge("retina")
    twice = concepts_of(knowledge, ["dr", "dr", "dr_severe"])
    assert twice == concepts_of(knowledge, ["dr", "dr_severe"])
    with pytest.raises(UnknownNameError):
        concepts_of(knowledge, "idrdi")
    with pytest.raises(ConfigError, match="1 named finding"):
        concepts_of(knowledge, ["dr_mild"])
    with pytest.raises(ConfigError, match="template"):
        concepts_of(knowledge, "idrid", "a fundus photograph")


def test_knowledge_without_findings_is_refused_with_the_classes_that_lack_them(tmp_path):
    content = {
        "domain": "bare", "title": "t", "version": 1, "reviewed_by": "none", "templates": ["{name}"],
        "classes": [{"id": "one", "name": "One"}, {"id": "two", "name": "Two"}],
    }  # fmt: skip
    path = tmp_path / "bare.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        concepts_of(load_knowledge(path))
    text = str(caught.value)
    assert "no named findings" in text and "2 of 2 classes" in text and "one, two" in text and "--knowledge" in text
