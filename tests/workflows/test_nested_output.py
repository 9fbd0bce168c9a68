"""Pooled predictions and comparisons of nested cross-validation, against the functions they are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.evaluation.delong import delong
from medfm.evaluation.intervals import wilson_interval
from medfm.evaluation.multiple import holm
from medfm.evaluation.nested import FoldOutcome, OuterFold
from medfm.evaluation.paired_tests import nadeau_bengio
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.recalibration import Recalibration
from medfm.evaluation.summarise import summarise
from medfm.evaluation.target import Target
from medfm.reporting.result import Result
from medfm.workflows.nested_output import _card_lines, compared, false_alarms, figure_lines, out_of_fold

COUNT, FOLDS = 60, 3
TRUTH = Target("sick", "binary", ("no", "yes"), np.arange(COUNT) % 2)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    table = pd.DataFrame({"record_id": [f"r{i}" for i in range(COUNT)], "path": "x", "site": "a"})
    table["patient_id"] = [f"P{i}" for i in range(COUNT)]
    table["split"], table["age"], table["sick"] = None, np.arange(COUNT) + 20.0, TRUTH.names(TRUTH.values)
    return Cohort(table, "ecg", Path(tmp_path_factory.mktemp("cohort")), "some")


def outcomes(
    skill: float, seed: int, repeats: int = 1, thresholds: tuple[float, ...] = (0.5, 0.5, 0.5)
) -> list[FoldOutcome]:
    """Scores of that skill; record i is in fold (i // 2) % 3 of repeat 0, shifted in the next."""
    rng = np.random.default_rng(seed)
    found = []
    for repeat in range(repeats):
        for fold in range(FOLDS):
            test = np.flatnonzero((np.arange(COUNT) // 2 + repeat) % FOLDS == fold)
            raw = skill * (TRUTH.values[test] - 0.5) + rng.normal(size=len(test))
            positive = 1 / (1 + np.exp(-raw))
            outer = OuterFold(repeat, fold, np.setdiff1d(np.arange(COUNT), test), test, ())
            scores = np.column_stack([1 - positive, positive])
            found.append(FoldOutcome(outer, scores, thresholds[fold], {"candidate": "a" if fold else "b"}))
    return found


def predictions(cohort: Cohort, skill: float, seed: int, **more: Any) -> Predictions:
    return out_of_fold(outcomes(skill, seed, **more), cohort, TRUTH)


@pytest.fixture(scope="module")
def result(cohort: Cohort) -> Result:
    protocol = load_protocol("nested-cv@1", overrides=("statistics.resamples=50", "scheme.folds=3"))
    found = predictions(cohort, 2.0, 0)
    return Result("nested_finetune", protocol, summarise(found, protocol.statistics), found)


def test_every_record_is_there_once_per_repeat_with_its_truth(cohort: Cohort) -> None:
    table = predictions(cohort, 1.0, 0, repeats=2).table
    assert len(table) == 2 * COUNT and not table.duplicated(["record_id", "repeat"]).any()
    places = table["record_id"].str[1:].astype(int).to_numpy()
    assert (table["truth"].to_numpy() == TRUTH.names(TRUTH.values)[places]).all()
    assert (table["age"].to_numpy() == places + 20).all()
    assert (table["fold"].to_numpy() == (places // 2 + table["repeat"].to_numpy()) % FOLDS).all()


def test_columns_of_subgroups_are_carried_along(cohort: Cohort) -> None:
    wards = np.where(np.arange(COUNT) % 4 < 2, "north", "south")
    asked = replace(cohort, table=cohort.table.assign(ward=wards))
    table = out_of_fold(outcomes(1.0, 0), asked, TRUTH, ("ward", "age", "site", "nowhere")).table
    places = table["record_id"].str[1:].astype(int).to_numpy()
    assert (table["ward"].to_numpy() == wards[places]).all() and "nowhere" not in table.columns
    assert table.columns.is_unique and "ward" not in predictions(asked, 1.0, 0).table.columns
    plan = load_protocol("nested-cv@1", overrides=("statistics.resamples=0", "statistics.subgroups=[ward]")).statistics
    rows = summarise(Predictions(table, "binary", TRUTH.classes, "sick"), plan).subgroups
    assert {r.value for r in rows} == {"north", "south"}


def test_each_fold_decides_by_its_own_threshold(cohort: Cohort) -> None:
    table = predictions(cohort, 1.0, 0, thresholds=(0.0, 1.1, 0.5)).table
    assert set(table.loc[table["fold"] == 0, "predicted"]) == {"yes"}
    assert set(table.loc[table["fold"] == 1, "predicted"]) == {"no"}
    part = table[table["fold"] == 2]
    assert (part["predicted"] == np.where(part["score:yes"] >= 0.5, "yes", "no")).all()


def test_measurements_are_pooled_as_they_are(cohort: Cohort) -> None:
    truth = Target("age", "regression", (), np.arange(COUNT) + 20.0)
    own = [replace(o, scores=(o.outer.test + 21.0)[:, None]) for o in outcomes(1.0, 0)]
    table = out_of_fold(own, cohort, truth).table
    assert (table["predicted"] - table["truth"] == 1).all()


def test_the_difference_of_aurocs_is_delongs(cohort: Cohort, result: Result) -> None:
    rival = predictions(cohort, 0.5, 1)
    (entry,) = compared(result, [("plain", "linear-probe@1", rival)])
    row = next(r for r in entry["rows"] if r["metric"] == "auroc")
    order = result.predictions.table["record_id"]
    other = rival.table.set_index("record_id")["score:yes"].loc[order].to_numpy()
    ours = result.predictions.table["score:yes"].to_numpy()
    truth = (result.predictions.table["truth"] == "yes").to_numpy()
    difference, error, _, p = delong(np.stack([other, ours]), truth).paired(1, 0)
    assert row["difference"]["value"] == pytest.approx(difference) and row["p"] == pytest.approx(p)
    assert row["difference"]["high"] - row["difference"]["low"] == pytest.approx(2 * 1.959964 * error, rel=1e-5)
    assert row["method"] == "DeLong, paired" and entry["common"] == COUNT


def test_the_test_over_folds_is_nadeau_and_bengios(cohort: Cohort, result: Result) -> None:
    rival = predictions(cohort, 0.5, 1)
    (entry,) = compared(result, [("plain", "linear-probe@1", rival)])
    theirs = summarise(rival, result.protocol.statistics).folds
    for row in entry["rows"]:
        pairs = zip(result.summary.folds, theirs, strict=True)
        differences = np.array([a.metrics[row["metric"]] - b.metrics[row["metric"]] for a, b in pairs], dtype=float)
        expected = nadeau_bengio(differences, COUNT * 2 / 3, COUNT / 3).p
        assert row["corrected_t"] == pytest.approx(expected)


def test_holm_is_over_the_encoders_figure_by_figure(cohort: Cohort, result: Result) -> None:
    rivals = [(f"e{i}", "linear-probe@1", predictions(cohort, skill, i)) for i, skill in enumerate((0.5, 1.0, 1.8), 1)]
    found = compared(result, rivals)
    alone = [compared(result, [rival])[0] for rival in rivals]
    for place in range(len(found[0]["rows"])):
        for key in ("p", "corrected_t"):
            plain = [entry["rows"][place][key] for entry in alone]
            assert [entry["rows"][place][key] for entry in found] == pytest.approx(plain)
            assert [entry["rows"][place][f"{key}_holm"] for entry in found] == pytest.approx(holm(plain).tolist())
            assert all(entry["rows"][place][f"{key}_holm"] == entry["rows"][place][key] for entry in alone)


def test_a_rival_that_is_the_same_differs_by_nothing(result: Result) -> None:
    (entry,) = compared(result, [("same", "linear-probe@1", result.predictions)])
    assert all(
        row["difference"]["value"] == 0 and row["p_holm"] == pytest.approx(1) for row in entry["rows"] if row["p"]
    )
    assert compared(result, []) == []


def test_the_card_counts_votes_and_names_the_pooled_figures(result: Result) -> None:
    own = outcomes(2.0, 0)
    text = _card_lines(result, own, "a", Recalibration(0.5, 0.0, "temperature"), len(own))
    assert "`a` was chosen in 2 of 3 outer folds" in text and "temperature, slope 0.500" in text
    auroc = result.summary.estimate("auroc")
    assert f"- AUROC: {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})" in text
    assert "recalibrated" not in _card_lines(result, own, "a", Recalibration(), len(own))


def with_alarms(repeats: int, called: int) -> list[FoldOutcome]:
    """Every fold's gate calls that many of its 20 tested records unusual."""
    return [replace(o, chosen={**o.chosen, "alarms": [called, 20]}) for o in outcomes(1.0, 0, repeats)]


def test_false_alarms_have_one_trial_per_patient() -> None:
    assert false_alarms(outcomes(1.0, 0)) is None
    found = false_alarms(with_alarms(2, 2))
    assert found is not None and (found["alarms"], found["tested"], found["unit"]) == (12, 120, "record")
    # Two repeats of the same 60 records say no more than one about how other records would do.
    assert (found["low"], found["high"]) == pytest.approx(tuple(map(float, wilson_interval(6, 60))))
    owners = np.array([f"P{i // 4}" for i in range(COUNT)])
    wider = false_alarms(with_alarms(2, 2), owners)
    assert wider is not None and wider["unit"] == "patient"
    assert (wider["low"], wider["high"]) == pytest.approx(tuple(map(float, wilson_interval(1.5, 15))))


def test_the_card_of_the_model_says_them(result: Result) -> None:
    measured = false_alarms(with_alarms(1, 1), np.array([f"P{i}" for i in range(COUNT)]))
    text = figure_lines(replace(result, extras={"nested": {"false_alarms": measured}}))
    assert text.splitlines()[-1].startswith("- Gate for unusual records, where one is in this folder:")
    assert "3 of 60 tested records unusual, 5.0 % (1.7 to 13.7 %, one trial per patient); planned 5 %" in text
    assert "Gate" not in figure_lines(result)
