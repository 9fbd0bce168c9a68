"""The section on survival: curves, numbers at risk, tables, words, escaping."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_results import tiny_result

from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import Protocol, StatisticsPlan
from medfm.evaluation.survival_config import Survival
from medfm.evaluation.survival_groups import group_figures
from medfm.evaluation.survival_metrics import COLUMNS
from medfm.evaluation.survival_summary import summarise_survival
from medfm.reporting.card import result_card
from medfm.reporting.glossary import glossary
from medfm.reporting.html import render_report
from medfm.reporting.result import Result, load_result
from medfm.reporting.survival import (
    curve_plot,
    hazard_table,
    logrank_sentence,
    p_text,
    proportional_sentence,
    survival_section,
)
from medfm.reporting.survival_risk import calibration_plot, calibration_table
from medfm.reporting.survival_words import survival_words
from medfm.reporting.verdict import verdict
from medfm.reporting.words import word

EVIL = "<script>alert(1)</script>"


def made(n: int = 120, competing: bool = False, groups: int = 2, **method: Any) -> Result:
    rng = np.random.default_rng(0)
    risk = rng.normal(size=n)
    own, end = 20 * rng.exponential(size=n) * np.exp(-1.5 * risk), rng.uniform(5, 50, n)
    rival = 40 * rng.exponential(size=n) if competing else np.full(n, np.inf)
    names = {2: ("lower risk", "higher risk"), 3: ("low risk", "middle risk", "high risk")}[groups]
    place = np.searchsorted(np.quantile(risk, np.arange(1, groups) / groups), risk)
    event = np.where(own <= np.minimum(end, rival), 1.0, np.where(rival < end, 2.0, 0.0))
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}{EVIL if i == 0 else ''}" for i in range(n)],
            "patient_id": [f"P{i}" for i in range(n)],
            "variant": "main",
            "repeat": 0,
            "fold": np.arange(n) % 3,
            "time": np.minimum(np.minimum(own, end), rival),
            "event": event,
            "event_code": event.astype(int),
            "risk": risk,
            "risk_group": np.array(names, dtype=object)[place],
            "stratum": 0.0,
            "censoring_weight": (event == 1).astype(float),
            "uno_weight": (event == 1).astype(float),
        }
    )
    predictions = Predictions(table, "survival", COLUMNS, f"conversion{EVIL}")
    plan = StatisticsPlan(resamples=50)
    figures = group_figures(table, names)
    return Result(
        kind="survival",
        protocol=Protocol(id="mine@1", title="Mine", method=Survival(groups=groups, **method), statistics=plan),  # type: ignore[arg-type]
        summary=summarise_survival(predictions, plan, ("c_index", "c_index_uno", "auc_at_12")),
        predictions=predictions,
        provenance={"encoder": "tiny", "weights_kind": "local file"},
        extras={"survival": {**figures, "unit": "months", "tau": 9.0, "codes": [1, 2]}},
    )


def test_the_page_shows_curves_tables_and_no_script(tmp_path: Any) -> None:
    result = made(competing=True)
    page = render_report(result)
    assert EVIL not in page and page.count("<img") == 2
    assert "Cumulative incidence by risk group" in page and "competing (code 2)" in page
    assert "Better than guessing: the whole interval of C-index" in page
    assert "survival analysis" in page and "median time (months)" in page
    result.save(tmp_path / "out")
    assert render_report(load_result(tmp_path / "out")) == page
    assert render_report(made(competing=True)) == page


def test_without_competing_events_there_is_one_picture() -> None:
    section = survival_section(made())
    assert section is not None and len(section["plots"]) == 1
    assert section["groups"].header == ("risk group", "tested", "events", "median time (months)")
    assert section["lines"][0].startswith(
        f"{sum(int(r[2]) for r in section['groups'].rows)} of 120 patients had the event"
    )
    assert survival_section(tiny_result()) is None
    by_record = survival_section(made(unit="record"))
    assert by_record is not None and "120 records" in by_record["lines"][0]


@pytest.mark.parametrize("groups", [2, 3])
def test_the_picture_says_in_words_what_it_shows(groups: int) -> None:
    found = made(groups=groups).extras["survival"]
    plot = curve_plot(found, "conversion")
    svg = base64.b64decode(plot.uri.split(",")[1])
    assert svg.startswith(b"<?xml") and plot == curve_plot(found, "conversion")
    for group in found["groups"]:
        assert f"{group['name']}: {group['events']} events of {group['n']}" in plot.alt
    assert "not reached" in curve_plot({**found, "groups": [{**g, "median": None} for g in found["groups"]]}, "x").alt


def test_one_group_and_undefined_bounds_can_be_drawn() -> None:
    found = made().extras["survival"]
    first = found["groups"][0]
    curve = {**first["curve"], "low": [None] * len(first["curve"]["low"]), "censored": []}
    assert curve_plot({**found, "groups": [{**first, "curve": curve}], "unit": ""}, "a very long name of a column").uri


def _absolute() -> dict[str, Any]:
    names = ("observed_to_expected", "horizon_slope", "horizon_intercept")
    return {
        "horizon": 12.0,
        "span": [0.5, 40.0],
        "figures": [{"metric": m, "value": 0.9, "low": 0.7, "high": 1.2, "method": "x"} for m in names],
        "groups": [
            {"n": 20, "events": 1, "predicted": 0.05, "observed": 0.0, "low": None, "high": None},
            {"n": 20, "events": 9, "predicted": 0.4, "observed": 0.5, "low": 0.3, "high": 0.7},
        ],
    }


def test_the_calibration_of_the_risk_is_drawn_and_tabled() -> None:
    plot = calibration_plot(_absolute(), " months")
    assert "0.400 predicted, 0.500 observed" in plot.alt and "12 months" in plot.title and "2 groups" in plot.caption
    assert base64.b64decode(plot.uri.split(",")[1]).startswith(b"<?xml") and plot == calibration_plot(
        _absolute(), " months"
    )
    table = calibration_table(_absolute(), " months", competing=True)
    assert [r[1] for r in table.rows] == ["0.900 (0.700–1.200)"] * 3 and "0.500 to 40.0 months" in table.note
    assert "competing" in table.note and "competing" not in calibration_table(_absolute()).note
    result = made()
    entry = {**result.extras["survival"], "absolute": _absolute()}
    page = render_report(replace(result, extras={"survival": entry}))
    assert "Can the predicted risk be taken at its word?" in page and page.count("<img") == 2
    assert "taken at its word" not in render_report(replace(result, extras={"survival": {**entry, "absolute": None}}))


def test_words_of_absolute_risks_claim_no_level_of_guessing_but_one() -> None:
    for name in ("integrated_brier", "observed_to_expected", "horizon_slope", "horizon_intercept"):
        assert word(name).meaning and word(name).chance == "" and "_" not in word(name).title
    assert word("scaled_integrated_brier").chance == "zero"


def test_sentences_on_tests() -> None:
    assert p_text(0.0004) == "< 0.001" and p_text(0.0312) == "= 0.031"
    assert "one risk group" in logrank_sentence({"note": "all records are in one risk group"})
    assert "df 2, p = 0.020" in logrank_sentence({"statistic": 7.8, "df": 2, "p": 0.02})
    assert "changes over time, so" in proportional_sentence({"statistic": 9.0, "p": 0.003})
    assert "no sign" in proportional_sentence({"statistic": 0.1, "p": 0.7})
    assert "not tested" in proportional_sentence({"note": "not tested: why"})
    rows = hazard_table([{"event": 1, "events": 4, "note": "all risks are equal"}], [1]).rows
    assert rows == (("event of interest (code 1)", "4", "all risks are equal", "–", "–"),)


def test_every_metric_has_plain_words_and_a_chance_level() -> None:
    for name in ("c_index", "c_index_uno", "auc_at_24"):
        assert word(name).chance == "half" and word(name).meaning
    assert word("auc_at_24").title == "AUC at time 24" and survival_words("auroc") is None
    assert survival_words("r@1") is None


def test_card_verdict_and_glossary_know_survival() -> None:
    result = made()
    assert verdict(result).startswith("Better than guessing")
    assert "survival-analysis" in result_card(result) and "guessing would give 0.500" in result_card(result)
    terms = dict(glossary(result))
    assert "C-index (Harrell)" in terms and any("censored" in term for term in terms)
