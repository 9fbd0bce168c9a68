"""A few-shot evaluation as a whole: variants, notes, comparison partner, stamps, hostile input."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "adapters"))
from adapter_data import planted, token_set

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import EvaluationError
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.few_shot import evaluate_few_shot, reference_probe
from medfm.evaluation.protocol import list_protocols, load_protocol
from medfm.evaluation.protocol_adapters import TUNED_ON_TEST

ADAPTERS = [
    "flair-lp@1",
    "clip-adapter@1",
    "tip-adapter@1",
    "tip-adapter-f@1",
    "zero-shot-lp@1",
    "tip-adapter-f-published@1",
    "flair-tip-adapter@1",
    "flair-tip-adapter-f@1",
    "flair-clip-adapter@1",
]


def quick(name, *more):
    return load_protocol(name, overrides=("few_shot.shots=[1, 4]", "few_shot.draws=2", *more))


def fewer(name):
    return () if name in ("flair-lp@1", "zero-shot-lp@1") else ("method.training.epochs=4",)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_protocol_gives_the_same_variants(name):
    inputs, truth, table = planted(90, noise=0.7)
    done, levels = evaluate_few_shot(inputs, table, truth, quick(name, *fewer(name)))
    assert levels == [1, 4]
    assert done.predictions.variants == ["main", "shots=1", "linear-probe,shots=1", "linear-probe,shots=4", "zero-shot"]
    scores = done.predictions.scores()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    main = done.predictions.of_variant("main")
    assert main.table["repeat"].nunique() == 2
    assert (main.truth_index() == main.predicted_index()).mean() > 0.6
    assert (TUNED_ON_TEST in done.notes) == (name == "tip-adapter-f-published@1")
    assert all({"shots", "train", "test"} <= set(c) for c in done.chosen if c["variant"] != "zero-shot")


def test_method_and_probe_are_scored_on_the_same_rows():
    inputs, truth, table = planted(90)
    done, _ = evaluate_few_shot(inputs, table, truth, quick("tip-adapter@1"))
    keys = ["record_id", "repeat", "fold"]
    first, second = (
        done.predictions.of_variant(v).table[keys].sort_values(keys).reset_index(drop=True)
        for v in ("main", "linear-probe,shots=4")
    )
    assert first.equals(second)


def test_test_labels_change_nothing_but_the_truth():
    """Nothing may be chosen on test records: scores are equal whatever their labels are."""
    inputs, truth, table = planted(90)
    other = truth.values.copy()
    test = (table["split"] == "test").to_numpy()
    other[test] = np.roll(other[test], 1)
    for name in ("clip-adapter@1", "tip-adapter-f@1", "zero-shot-lp@1"):
        plan = quick(name)
        a, _ = evaluate_few_shot(inputs, table, truth, plan)
        b, _ = evaluate_few_shot(inputs, table, type(truth)(truth.name, truth.task, truth.classes, other), plan)
        np.testing.assert_array_equal(a.predictions.scores(), b.predictions.scores())


def test_good_texts_help_where_shots_are_few():
    inputs, truth, table = planted(240, d=32, noise=2.0, text_noise=0.1)
    plan = load_protocol("zero-shot-lp@1", overrides=("few_shot.shots=[1]", "few_shot.draws=4"))
    done, _ = evaluate_few_shot(inputs, table, truth, plan)

    def accuracy(variant):
        part = done.predictions.of_variant(variant)
        return (part.truth_index() == part.predicted_index()).mean()

    assert accuracy("main") > accuracy("linear-probe,shots=1") + 0.1


def test_the_plain_probe_has_no_partner():
    inputs, truth, table = planted(90)
    done, _ = evaluate_few_shot(AdapterInputs(inputs.values), table, truth, quick("few-shot-lp@1"))
    assert done.predictions.variants == ["main", "shots=1"]
    assert load_protocol("few-shot-lp@1").method == reference_probe(False)
    assert reference_probe(True).selection.rule == "validation"


@pytest.mark.parametrize("name", ["attentive-probe@1", "attentive-probe-multi@1", "moment-probe@1"])
def test_token_methods(name):
    tokens, _, _ = token_set(90, d=8, classes=3)
    inputs, truth, table = planted(90)
    more = ("method.width=4",) if "moment" in name else ("method.training.epochs=3",)
    more += ("method.width=8", "method.queries=2") if "multi" in name else ()
    done, _ = evaluate_few_shot(AdapterInputs(inputs.values, tokens=tokens), table, truth, quick(name, *more))
    assert "zero-shot" not in done.predictions.variants and len(done.predictions.of_variant("main")) == 60


def test_without_a_split_folds_by_patient_test_every_record():
    inputs, truth, table = planted(90)
    table = table.assign(split=None)
    done, _ = evaluate_few_shot(inputs, table, truth, quick("tip-adapter@1", "scheme.folds=3"))
    main = done.predictions.of_variant("main").table
    assert set(main["record_id"]) == set(table["record_id"]) and sorted(main["fold"].unique()) == [0, 1, 2]


def test_published_draws_ignore_the_split_and_say_so():
    inputs, truth, table = planted(90)
    done, _ = evaluate_few_shot(inputs, table, truth, quick("flair-tip-adapter@1"))
    assert any("by record, not by patient" in note for note in done.notes)
    tested = set(done.predictions.table["record_id"])
    assert tested & set(table.loc[table["split"] == "train", "record_id"])


def test_other_methods_are_refused():
    inputs, truth, table = planted(90)
    with pytest.raises(EvaluationError, match="not fitted on shots"):
        evaluate_few_shot(inputs, table, truth, load_protocol("knn@1"))


@pytest.mark.parametrize("name", [n for n in list_protocols() if load_protocol(n).few_shot is not None])
def test_medfm_probe_sends_few_shot_protocols_on(name):
    inputs, _, table = planted(20)
    cohort = Cohort(table.assign(path="x", label="a"), "retina", Path("/"), "c")
    with pytest.raises(EvaluationError, match="a few labelled records per class") as caught:
        evaluate(Embeddings(inputs.values, tuple(table["record_id"])), cohort, "label", load_protocol(name))
    assert "medfm fewshot" in str(caught.value)


def test_every_adapter_protocol_says_where_it_comes_from():
    shipped = [load_protocol(n) for n in list_protocols()]
    ours = [p for p in shipped if p.few_shot is not None]
    assert len(ours) == 13
    for plan in ours:
        assert len(plan.source) > 60 and plan.few_shot.draws == 5
        if plan.few_shot.draw == "flair":
            assert any(d.startswith("FLAW, kept") for d in plan.deviations)
