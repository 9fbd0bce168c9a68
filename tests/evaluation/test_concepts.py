"""Concept-bottleneck probe on records whose findings are planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ConfigError, EvaluationError, MedfmError, UnknownNameError
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.texts import TextCache
from medfm.evaluation.concepts import Concept, concept_probe, concept_scores, concepts_of
from medfm.evaluation.protocol import Selection, StatisticsPlan
from medfm.knowledge.load import list_knowledge, load_knowledge

DIM = 24
FINDINGS = ("exudates", "new vessels", "drusen", "cupping", "blur", "floaters", "scar", "gliosis")
CONCEPTS = tuple(Concept(name, f"a photograph of {name}", ("listed",)) for name in FINDINGS)
PLAN = StatisticsPlan(resamples=200)
AXES = np.linalg.qr(np.random.default_rng(7).normal(size=(DIM, DIM)))[0].astype(np.float32)


def tower(texts: list[str]) -> np.ndarray:
    """A fixed direction per text, whatever the other texts are."""
    return np.stack([3.0 * AXES[FINDINGS.index(t.removeprefix("a photograph of "))] for t in texts])


def study(classes: int = 3, n: int = 240, noise: float = 0.35, seed: int = 0) -> tuple[Cohort, Embeddings]:
    """Class i shows finding i; the other findings come and go with the patient, whatever the class."""
    rng = np.random.default_rng(seed)
    patient = np.arange(n) // 4
    y = (patient // 2) % classes
    shown = np.zeros((n, len(FINDINGS)))
    shown[np.arange(n), y] = 1.0
    shown[:, classes:] += rng.normal(size=(patient.max() + 1, len(FINDINGS) - classes))[patient]
    X = (shown @ AXES[: len(FINDINGS)] + noise * rng.normal(size=(n, DIM))).astype(np.float32)
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "path": [f"{i}.png" for i in range(n)],
            "patient_id": [f"p{i}" for i in patient],
            "site": "north",
            "split": np.where(patient % 3 == 0, "test", "train"),
            "label": np.array(list("abcdefgh"))[y],
        }
    )
    about = {"encoder": "test-encoder", "fingerprint": "f" * 64, "weights_kind": "random"}
    return Cohort(table, "retina", Path("/nowhere")), Embeddings(X, tuple(table["record_id"]), about)


def run(cohort: Cohort, embeddings: Embeddings, concepts: tuple[Concept, ...] = CONCEPTS, **options):
    options = {"plan": PLAN} | options
    return concept_probe(embeddings, cohort, "label", concepts, TextCache(tower, "t" * 64), **options)


def test_weights_name_the_finding_of_each_class():
    found = run(*study())
    table = found.weights.set_index("finding")
    for i, name in enumerate("abc"):
        assert table[name].idxmax() == FINDINGS[i], "the finding planted for this class speaks for it"
    top = set(found.weights["finding"][:3])
    assert top == set(FINDINGS[:3]) and list(found.weights["listed under"]) == ["listed"] * 8
    heaviest = found.weights[list("abc")].abs().max(axis=1)
    assert heaviest.is_monotonic_decreasing
    assert found.used == int((table[list("abc")] != 0).any(axis=1).sum()) <= 8


def test_accuracy_stands_beside_the_black_box_with_a_paired_difference():
    found = run(*study(noise=0.8))
    table = found.predictions.table
    accuracy = float((table["truth"] == table["predicted"]).mean())
    black = found.black_box_predictions.table
    assert list(black["record_id"]) == list(table["record_id"]) and len(table) == 80
    figures = {e.metric: e for e in found.concepts}
    assert figures["accuracy"].value == pytest.approx(accuracy)
    assert figures["accuracy"].low < accuracy < figures["accuracy"].high
    assert "patient-clustered" in figures["accuracy"].method and figures["accuracy"].n_patients == 20
    difference = {d.metric: d for d in found.differences}["accuracy"]
    black_accuracy = float((black["truth"] == black["predicted"]).mean())
    assert difference.difference == pytest.approx(accuracy - black_accuracy)
    assert difference.low <= difference.difference <= difference.high and "paired patient" in difference.method
    assert {e.metric: e.value for e in found.black_box}["accuracy"] == pytest.approx(black_accuracy)
    np.testing.assert_allclose(found.predictions.scores().sum(axis=1), 1)
    row = found.figures().set_index("metric").loc["accuracy"]
    assert row["concepts"] - row["black box"] == pytest.approx(row["difference"])
    assert row["black box low"] < row["black box"] < row["black box high"] and row["p"] == difference.p


def test_findings_that_do_not_separate_the_classes_lose_to_the_black_box():
    cohort, embeddings = study()
    blind = tuple(c for c in CONCEPTS if c.name not in FINDINGS[:3])
    found = run(cohort, embeddings, blind)
    difference = {d.metric: d for d in found.differences}["accuracy"]
    assert difference.difference < -0.3 and difference.high < 0


def test_where_no_finding_helps_none_is_used_and_the_note_says_so():
    """The classes lie in directions that no finding has; only rounding moves the similarities."""
    cohort, embeddings = study()
    y = np.unique(cohort.table["label"].to_numpy(), return_inverse=True)[1]
    hidden = AXES[len(FINDINGS) + y]
    found = run(cohort, Embeddings(hidden, embeddings.record_ids, embeddings.provenance))
    assert found.used == 0 and not found.weights[list("abc")].to_numpy().any()
    assert any("no finding helped" in note for note in found.notes)
    black = {e.metric: e.value for e in found.black_box}
    assert black["accuracy"] == 1.0, "the black box sees what no finding names"


def test_two_classes_have_one_column_that_speaks_for_the_positive_one():
    cohort, embeddings = study(classes=2)
    found = run(cohort, embeddings)
    assert [c for c in found.weights.columns if c not in ("finding", "listed under")] == ["b"]
    table = found.weights.set_index("finding")["b"]
    assert table[FINDINGS[1]] > 0 > table[FINDINGS[0]]
    turned = run(cohort, embeddings, positive="a").weights.set_index("finding")["a"]
    np.testing.assert_allclose(turned[list(FINDINGS)], -table[list(FINDINGS)], atol=1e-4)


def test_test_records_do_not_touch_the_model():
    cohort, embeddings = study()
    values = embeddings.values.copy()
    test = (cohort.table["split"] == "test").to_numpy()
    values[test] = np.random.default_rng(9).normal(size=values[test].shape)
    other = run(cohort, Embeddings(values, embeddings.record_ids, embeddings.provenance))
    first = run(cohort, embeddings)
    pd.testing.assert_frame_equal(first.weights, other.weights)
    assert first.penalty == other.penalty


def test_the_weights_say_the_log_odds_of_the_predictions():
    """The table alone, on standardised similarities, gives the predictions up to one constant."""
    cohort, embeddings = study(classes=2)
    found = run(cohort, embeddings)
    scores = concept_scores(embeddings.values, tower([c.text for c in CONCEPTS]))
    train, test = ((cohort.table["split"] == s).to_numpy() for s in ("train", "test"))
    z = (scores - scores[train].mean(axis=0)) / scores[train].std(axis=0)
    weight = found.weights.set_index("finding")["b"][list(FINDINGS)].to_numpy()
    p = found.predictions.table.set_index("record_id")["score:b"][cohort.table["record_id"][test]].to_numpy()
    rest = np.log(p / (1 - p)) - z[test] @ weight
    np.testing.assert_allclose(rest, rest[0], atol=1e-6)


def test_order_of_records_and_scale_of_embeddings_do_not_matter():
    cohort, embeddings = study()
    mixed = np.random.default_rng(3).permutation(len(cohort))
    turned = Embeddings(
        embeddings.values[mixed] * 5, tuple(np.array(embeddings.record_ids)[mixed]), embeddings.provenance
    )
    first, second = run(cohort, embeddings), run(cohort, turned)
    pd.testing.assert_frame_equal(first.weights, second.weights, atol=1e-4)


def test_similarities_are_cosines():
    rng = np.random.default_rng(0)
    X, V = rng.normal(size=(5, 4)), rng.normal(size=(3, 4))
    naive = [[float(x @ v / np.sqrt(x @ x) / np.sqrt(v @ v)) for v in V] for x in X]
    np.testing.assert_allclose(concept_scores(X * 7, V * 0.1), naive)
    for bad in (V[:, :3], V * 0, V * np.nan, V[0]):
        with pytest.raises(EvaluationError):
            concept_scores(X, bad)


@pytest.mark.parametrize("domain", list_knowledge())
def test_findings_of_every_shipped_label_set(domain):
    knowledge = load_knowledge(domain)
    counted = 0
    for name, label_set in knowledge.label_sets.items():
        classes = [knowledge.entry(c) for c in dict.fromkeys(label_set.labels.values())]
        distinct = {(f.seen, f.where) for c in classes for f in c.findings}
        if len(distinct) < 2:
            continue
        found = concepts_of(knowledge, name, "An image of {name}")
        assert len({c.name for c in found}) == len(found) == len(distinct)
        assert all(c.text == f"An image of {c.name}" and c.classes for c in found)
        assert {n for c in found for n in c.classes} == {c.name for c in classes if c.findings}
        counted += 1
    assert counted


def test_a_finding_of_two_classes_is_one_concept():
    knowledge = load_knowledge("retina")
    twice = concepts_of(knowledge, ["dr", "dr", "dr_severe"])
    assert twice == concepts_of(knowledge, ["dr", "dr_severe"])
    with pytest.raises(UnknownNameError):
        concepts_of(knowledge, "idrdi")
    with pytest.raises(ConfigError, match="findings"):
        concepts_of(knowledge, ["dr_mild"])
    with pytest.raises(ConfigError, match="template"):
        concepts_of(knowledge, "idrid", "a fundus photograph")


@pytest.mark.parametrize("case", ["no concepts", "no test", "regression", "absent class", "metric", "no embeddings"])
def test_refusals(case):
    cohort, embeddings = study()
    table, options, concepts = cohort.table.copy(), {}, CONCEPTS
    if case == "no concepts":
        concepts = ()
    elif case == "no test":
        table["split"] = "train"
    elif case == "regression":
        table["label"] = np.random.default_rng(0).normal(size=len(table))
    elif case == "absent class":
        table.loc[table["label"] == "c", "split"] = "test"
    elif case == "metric":
        options["metrics"] = ("acuracy",)
    else:
        embeddings = Embeddings(embeddings.values, tuple(f"x{i}" for i in range(len(cohort))), embeddings.provenance)
    with pytest.raises(MedfmError):
        run(Cohort(table, "retina", Path("/nowhere")), embeddings, concepts, **options)


def test_one_training_patient_per_class_still_runs_and_unlabelled_records_are_left_out():
    cohort, embeddings = study(classes=2, n=48)
    table = cohort.table.copy()
    table.loc[table.index[:3], "label"] = None
    found = run(Cohort(table, "retina", Path("/nowhere")), embeddings, selection=Selection(folds=2))
    assert "r0" not in set(found.predictions.table["record_id"]) and np.isfinite(found.predictions.scores()).all()
