"""From embeddings and a cohort to predictions: alignment, variants, every task."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from probe_data import cohort_of, pair, table_of

from medfm.core.errors import EvaluationError
from medfm.core.progress import Silent
from medfm.embeddings.embeddings import Embeddings, Failure
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.paper import paper_average
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.summary import FoldRow, Summary


def protocol(name: str = "linear-probe@1", *overrides: str):
    return load_protocol(name, overrides=overrides)


FAST = ("method.selection.rule=fixed", "method.selection.value=1.0")


def test_a_split_is_tested_once() -> None:
    cohort, embeddings = pair()
    done = evaluate(embeddings, cohort, "label", protocol("linear-probe@1"))
    table = done.predictions.table
    test = cohort.table[cohort.table["split"] == "test"]
    assert table["record_id"].tolist() == test["record_id"].tolist()
    assert table["truth"].tolist() == test["label"].tolist()
    assert done.predictions.classes == ("a", "b", "c", "d") and done.predictions.task == "multiclass"
    assert {"age", "sex", "site"} <= set(table.columns)
    np.testing.assert_allclose(done.predictions.scores().sum(axis=1), 1)
    assert (table["truth"] == table["predicted"]).mean() > 0.7
    assert done.chosen[0]["train"] == 120 and done.chosen[0]["test"] == 40 and done.chosen[0]["C"] > 0


def test_without_a_split_every_record_is_tested_in_folds_by_patient() -> None:
    cohort, embeddings = pair()
    bare = cohort_of(cohort.table.assign(split=None))
    table = evaluate(embeddings, bare, "label", protocol("linear-probe@1", *FAST)).predictions.table
    assert sorted(table["record_id"]) == sorted(cohort.record_ids)
    assert (table.groupby("patient_id")["fold"].nunique() == 1).all() and table["fold"].nunique() == 5


def test_the_order_of_the_embeddings_does_not_matter() -> None:
    cohort, embeddings = pair()
    order = np.random.default_rng(0).permutation(len(embeddings))
    mixed = Embeddings(embeddings.values[order], tuple(embeddings.record_ids[i] for i in order))
    a = evaluate(embeddings, cohort, "label", protocol("linear-probe@1", *FAST)).predictions.table
    b = evaluate(mixed, cohort, "label", protocol("linear-probe@1", *FAST)).predictions.table
    pd.testing.assert_frame_equal(a, b)


def test_records_without_embedding_are_left_out_and_named() -> None:
    cohort, embeddings = pair()
    part = Embeddings(embeddings.values[3:], embeddings.record_ids[3:], failures=(Failure("r0", "truncated"),))
    done = evaluate(part, cohort, "label", protocol("linear-probe@1", *FAST))
    assert not {"r0", "r1", "r2"} & set(done.predictions.table["record_id"])
    assert any("3 of 160 records have no embedding" in n and "1 could not be read" in n for n in done.notes)


def test_embeddings_of_another_cohort() -> None:
    cohort, embeddings = pair()
    other = Embeddings(embeddings.values, tuple(f"x{i}" for i in range(160)))
    with pytest.raises(EvaluationError, match="No record of the cohort has an embedding"):
        evaluate(other, cohort, "label", protocol())


def test_neighbours_have_a_variant_per_k() -> None:
    cohort, embeddings = pair()
    done = evaluate(embeddings, cohort, "label", protocol("knn@1", "method.k=[7,3]"))
    assert done.predictions.variants == ["main", "k=3"]
    for variant in ("main", "k=3"):
        np.testing.assert_allclose(done.predictions.of_variant(variant).scores().sum(axis=1), 1)
    only = evaluate(embeddings, cohort, "label", protocol("knn@1", "method.k=[7]"))
    np.testing.assert_allclose(only.predictions.scores(), done.predictions.of_variant("main").scores())


def test_fractions_are_variants_beside_the_headline() -> None:
    cohort, embeddings = pair()
    plan = protocol("linear-probe@1", *FAST, "fractions=[0.2,1]", "fraction_repeats=3")
    done = evaluate(embeddings, cohort, "label", plan)
    assert done.predictions.variants == ["main", "fraction=0.2"]
    small = done.predictions.of_variant("fraction=0.2").table
    assert sorted(set(small["repeat"])) == [0, 1, 2] and len(small) == 3 * 40
    sizes = {c["variant"]: c["train"] for c in done.chosen}
    assert sizes["fraction=0.2"] < sizes["main"] == 120
    full = evaluate(embeddings, cohort, "label", protocol("linear-probe@1", *FAST))
    np.testing.assert_allclose(done.predictions.of_variant().scores(), full.predictions.scores())


def test_without_a_full_fraction_the_largest_is_the_headline() -> None:
    cohort, embeddings = pair()
    plan = protocol("linear-probe@1", *FAST, "fractions=[0.25,0.5]", "fraction_repeats=2")
    done = evaluate(embeddings, cohort, "label", plan)
    assert done.predictions.variants == ["main", "fraction=0.25"]
    assert any("headline uses 0.5" in n for n in done.notes)


def test_regression() -> None:
    cohort, embeddings = pair()
    done = evaluate(embeddings, cohort, "age", protocol())
    table = done.predictions.table
    assert done.predictions.task == "regression" and done.predictions.classes == ()
    assert np.corrcoef(table["truth"], table["predicted"])[0, 1] > 0.9


def test_multilabel() -> None:
    cohort, embeddings = pair()
    done = evaluate(embeddings, cohort, ["grainy", "pale"], protocol("linear-probe@1", *FAST))
    assert done.predictions.task == "multilabel"
    truth, scores = done.predictions.truth_matrix(), done.predictions.scores()
    assert ((scores > 0.5) == truth).mean() > 0.85


def test_binary_positive_class() -> None:
    cohort, embeddings = pair(classes=2)
    done = evaluate(embeddings, cohort, "label", protocol("linear-probe@1", *FAST), positive="c")
    assert done.predictions.classes == ("d", "c")


def test_bags_give_one_row_per_patient() -> None:
    cohort, embeddings = pair(n=240, cells=6, classes=2, signal=3.0)
    plan = protocol("mil@1", "method.epochs=15", "method.hidden=16", "method.lr=0.01")
    done = evaluate(embeddings, cohort, "label", plan)
    table = done.predictions.table
    tested = cohort.table[cohort.table["split"] == "test"]
    assert table["record_id"].tolist() == table["patient_id"].tolist() == list(dict.fromkeys(tested["patient_id"]))
    assert (table["truth"] == table["predicted"]).mean() > 0.8
    assert done.attention is not None
    assert sorted(done.attention["record_id"]) == sorted(tested["record_id"])
    np.testing.assert_allclose(done.attention.groupby("patient_id")["attention"].sum(), 1, rtol=1e-5)


def test_the_aml_protocol_runs_twenty_times() -> None:
    cohort, embeddings = pair(n=160, cells=5, classes=2)
    done = evaluate(embeddings, cohort, "label", protocol("dinobloom-aml-mil@1", "method.epochs=1"))
    table = done.predictions.table
    assert len(table.groupby(["repeat", "fold"])) == 20
    assert (table.groupby("record_id").size() == 20).all()
    assert done.attention is not None and {"attention:c", "attention:d"} <= set(done.attention.columns)
    np.testing.assert_allclose(done.attention.groupby("patient_id")["attention:c"].sum(), 1, rtol=1e-5)


def test_unused_validation_records_are_noted() -> None:
    table, X = table_of()
    train = table.index[table["split"] == "train"]
    table.loc[train[:20], "split"] = "val"
    emb = Embeddings(X, tuple(table["record_id"]))
    done = evaluate(emb, cohort_of(table), "label", protocol("linear-probe@1", *FAST))
    assert any("20 records of the split 'val' are not used" in n for n in done.notes)
    chosen = evaluate(emb, cohort_of(table), "label", protocol("linear-probe@1", "method.selection.rule=validation"))
    assert not any("not used" in n for n in chosen.notes)


def test_test_labels_never_change_the_scores() -> None:
    table, X = table_of()
    test = table.index[table["split"] == "test"]
    spoiled = table.copy()
    spoiled.loc[test, "label"] = np.random.default_rng(0).permutation(spoiled.loc[test, "label"])
    emb = Embeddings(X, tuple(table["record_id"]))
    for name in ("linear-probe@1", "knn@1"):
        a = evaluate(emb, cohort_of(table), "label", protocol(name))
        b = evaluate(emb, cohort_of(spoiled), "label", protocol(name))
        np.testing.assert_array_equal(a.predictions.scores(), b.predictions.scores())
        assert a.chosen == b.chosen


def test_progress_may_be_a_maker() -> None:
    cohort, embeddings = pair()
    made = []

    def maker(title: str, total: int, unit: str = "") -> Silent:
        made.append(Silent(title, total))
        return made[-1]

    evaluate(embeddings, cohort, "label", protocol("linear-probe@1", *FAST), progress=maker)
    assert made[0].done == made[0].total == 1


def summary_of(values: list[float | None]) -> Summary:
    rows = tuple(
        FoldRow(variant="main", repeat=0, fold=i, n_records=9, metrics={"accuracy": v}) for i, v in enumerate(values)
    )
    return Summary(task="binary", target="y", n_records=9, n_patients=9, headline=(), folds=rows)


def test_the_papers_average() -> None:
    population = paper_average(summary_of([0.5, 0.7, None]), protocol("dinobloom-linear@1"))["main"]["accuracy"]
    assert population["mean"] == pytest.approx(0.6) and population["std"] == pytest.approx(0.1)
    assert population["n"] == 2
    sample = paper_average(summary_of([0.5, 0.7]), protocol("reddino-linear@1"))["main"]["accuracy"]
    assert sample["std"] == pytest.approx(0.1 * 2**0.5)
    assert paper_average(summary_of([0.5]), protocol("reddino-linear@1"))["main"]["accuracy"]["std"] is None
    assert paper_average(summary_of([0.5]), protocol("linear-probe@1")) == {}
