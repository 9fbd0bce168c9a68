"""The report's section on nested cross-validation."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from medfm.evaluation.paper import fold_values, paper_average
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.summary import FoldRow
from medfm.reporting.html import render_report
from medfm.reporting.nested import count_names, final_text, nested_line, nested_section
from medfm.reporting.result import Result
from tests.tiny_results import tiny_result

ENDS = {"value": 0.8, "low": 0.7, "high": 0.9}


def fold(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "repeat": 0, "fold": number, "train": 20, "validation": 5, "test": 20, "candidate": "lp <b>",
        "inner": [
            {"candidate": "probe", "quality": -0.7, "error": None},
            {"candidate": "lp <b>", "quality": -0.5, "error": 0.05},
        ],
        "threshold": 0.25, "threshold_rule": "rule", "kept": [{"epoch": 7 + number, "stage": "s", "loss": 0.5}],
        "recalibration": {"rule": "temperature", "slope": 0.5, "intercept": 0.0}, **changes,
    }  # fmt: skip


def rival(result: Result, ends: tuple[Any, Any, Any], p: float | None = 0.01, encoder: str = "dino") -> dict[str, Any]:
    rows = [
        {
            "metric": e.metric, "better": "lower" if e.metric == "brier" else "higher", "before": ENDS, "after": ENDS,
            "difference": dict(zip(("value", "low", "high"), ends, strict=True)), "p": 0.0004, "p_holm": 0.0008,
            "corrected_t": p, "corrected_t_holm": p, "method": "DeLong, paired",
        }
        for e in result.summary.headline
    ]  # fmt: skip
    folds = [{"metrics": {e.metric: 0.7 + 0.1 * i for e in result.summary.headline}} for i in range(2)]
    return {"encoder": encoder, "protocol": "linear-probe@1", "level": 0.95, "common": 40, "rows": rows, "folds": folds}


def made(ends: tuple[Any, Any, Any] = (0.1, 0.02, 0.2), p: float | None = 0.01, **changes: Any) -> Result:
    result = tiny_result()
    entry = {
        "trainings": 4, "metric": "log_loss", "rule": "best", "folds": [fold(0), fold(1)],
        "beside": [rival(result, ends, p)], "final": {"candidate": "lp", "train": 30, "validation": 10}, **changes,
    }  # fmt: skip
    return replace(result, extras={**result.extras, "nested": entry})


@pytest.mark.parametrize(
    ("ends", "p", "said"),
    [
        ((0.1, 0.02, 0.2), 0.01, "Fine-tuning helped"),
        ((0.1, 0.02, 0.2), None, "Fine-tuning helped"),
        ((0.1, 0.02, 0.2), 0.3, "may have helped, but the folds do not agree"),
        ((-0.1, -0.2, -0.02), 0.01, "Fine-tuning did harm"),
        ((0.1, -0.02, 0.2), 0.4, "not shown to help"),
        ((0.1, None, None), 0.4, "cannot be said"),
        ((None, None, None), None, "cannot be said"),
    ],
)
def test_one_sentence_says_whether_it_helped(ends: tuple[Any, Any, Any], p: float | None, said: str) -> None:
    assert said in nested_line(made(ends, p))


def test_the_sentence_names_the_pooled_figure_and_the_test_over_folds() -> None:
    said = nested_line(made())
    assert "pooled out of fold" in said and "95 % CI +0.020 to +0.200" in said and "over folds, p 0.010" in said
    assert "over folds" not in nested_line(made(p=None))


def test_without_a_probe_it_says_so() -> None:
    assert "No probe" in nested_line(made(beside=[]))
    assert nested_section(SimpleNamespace(extras={})) is None  # type: ignore[arg-type]


def test_pooled_figures_and_means_of_folds_have_names_of_their_own() -> None:
    result = made()
    section = nested_section(result)
    assert section is not None
    table = section["averages"]
    assert table.header[1:3] == ("pooled out of fold (CI)", "mean of folds ± SD") and "no interval" in table.note
    own = [row.metrics[result.summary.headline[0].metric] for row in result.summary.folds if row.variant == "main"]
    assert len(own) == 2
    assert table.rows[0][3] == "0.750 ± 0.071"  # of 0.7 and 0.8, divisor n - 1


def test_every_fold_has_its_choices() -> None:
    section = nested_section(made())
    assert section is not None
    table = section["folds"]
    assert [row[0] for row in table.rows] == ["1", "2"]
    assert table.rows[1][1] == "20 / 5 / 20" and table.rows[1][3] == "lp <b>, epoch 8"
    assert "probe -0.700" in table.rows[0][2] and "± 0.050" in table.rows[0][2]
    assert "0.250" in table.rows[0] and "temperature, slope 0.50" in table.rows[0]
    assert "negative" in table.note and len(table.header) == len(table.rows[0])


def test_repeats_and_folds_without_recalibration_are_told_apart() -> None:
    none = {"rule": "none", "slope": 1.0, "intercept": 0.0}
    folds = [fold(0, recalibration=none), fold(0, repeat=1, inner=[{"candidate": "a", "quality": None, "error": None}])]
    section = nested_section(made(folds=folds, metric="auroc"))
    assert section is not None
    assert [row[0] for row in section["folds"].rows] == ["1.1", "2.1"] and "–" in section["folds"].rows[0]
    assert "negative" not in section["folds"].note


def test_two_encoders_are_compared_with_holm_and_the_corrected_test() -> None:
    result = tiny_result()
    both = [rival(result, (0.1, 0.02, 0.2)), rival(result, (0.1, 0.0, 0.2), encoder="imagenet")]
    section = nested_section(made(beside=both))
    assert section is not None
    assert [title for title, _ in section["tables"]] == ["Against dino, untouched", "Against imagenet, untouched"]
    table = section["tables"][0][1]
    assert table.rows[0][4:] == ("<0.001", "<0.001", "0.010", "0.010") and "Nadeau" in table.note
    assert len(section["averages"].header) == 5


def test_the_final_model_is_said_to_be_tested_on_nobody() -> None:
    section = nested_section(made())
    assert section is not None and "tested on nobody" in dict(section["facts"])["final model"]
    other = made(rule="one_standard_error")
    del other.extras["nested"]["final"]
    facts = dict(nested_section(other)["facts"])  # type: ignore[index]
    assert facts["final model"] == "none was trained" and "one standard error" in facts["recipe chosen by"]


def test_the_section_is_on_the_page_and_escaped() -> None:
    result = made()
    page = render_report(result)
    assert 'id="nested"' in page and "What each outer fold chose" in page and "lp &lt;b&gt;" in page
    assert "lp <b>" not in page and json.dumps(result.extras["nested"])
    assert 'id="nested"' not in render_report(tiny_result())


MEMBERS = [{"repeat": 0, "fold": i, "candidate": "lp" if i else "full", "train": 20} for i in range(3)]
SOUP = {
    "kind": "soup", "members": MEMBERS, "train": 30, "validation": 10, "threshold": 0.4, "gate": True, "rule": "greedy",
    "metric": "auroc", "kept": [2, 0], "alone": [0.7, 0.6, 0.8], "quality": 0.85, "steps": [], "measured_batchnorm": 0,
}  # fmt: skip
ENSEMBLE = {
    "kind": "ensemble", "members": MEMBERS, "average": "logits", "train": 30, "validation": 10, "threshold": 0.4,
    "gate": False,
}  # fmt: skip
ALARMS = {"alarms": 3, "tested": 60, "low": 0.017, "high": 0.137, "planned": 0.05, "unit": "patient"}


def facts(**changes: Any) -> dict[str, str]:
    section = nested_section(made(**changes))
    assert section is not None
    return dict(section["facts"])


def test_a_soup_says_what_is_in_it_and_that_its_figure_is_no_test() -> None:
    said = final_text(SOUP)
    assert said.startswith("greedy soup: weights of 2 of the 3 models of the outer folds (1 x full, 2 x lp) averaged.")
    assert "0.850" in said and "0.700, 0.600, 0.800" in said and "chose its members, threshold" in said
    assert "no test" in said and "BatchNorm" not in said
    uniform = final_text({**SOUP, "rule": "uniform", "measured_batchnorm": 1})
    assert "BatchNorm statistics of 1 layer measured anew" in uniform and "its members" not in uniform


def test_an_ensemble_says_what_is_averaged() -> None:
    said = final_text(ENSEMBLE)
    assert "3 models of the outer folds (1 x full, 2 x lp), logits averaged" in said and "10 records" in said


def test_results_of_earlier_versions_are_refits() -> None:
    assert "lp, trained on 30 records of all patients" in facts()["final model"]


def test_names_are_counted_in_order() -> None:
    assert count_names(["b", "a", "b"]) == "2 x b, 1 x a" and count_names([]) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"final": ENSEMBLE}, "none: too few validation records"),
        ({"final": SOUP}, "threshold from its 10 validation records"),
        (
            {"final": SOUP, "false_alarms": ALARMS},
            "with the final model; fitted inside each outer fold it called 3 of 60",
        ),
        ({"final": ENSEMBLE, "false_alarms": ALARMS}, "not with a model; fitted inside"),
        ({"final": None, "false_alarms": ALARMS}, "5.0 % (1.7 to 13.7 %, one trial per patient); planned 5 %"),
        (
            {"final": None, "false_alarms": {k: v for k, v in ALARMS.items() if k != "unit"}},
            "5.0 % (1.7 to 13.7 %, records as independent); planned 5 %",
        ),
    ],
    ids=["no gate", "not measured", "measured", "no gate but measured", "no model", "earlier version"],
)
def test_the_gate_comes_with_its_false_alarms(changes: dict[str, Any], said: str) -> None:
    assert said in facts(**changes)["gate for unusual records"]


SETS = {"held": 45, "tested": 50, "kept": 75, "low": 0.8, "high": 0.95, "level": 0.9, "classes": 3}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"final": SOUP | {"sets": True}, "sets": SETS}, "with the final model (medfm predict --sets); made inside"),
        ({"final": None, "sets": SETS}, "not with a model; made inside"),
        (
            {"final": SOUP | {"sets": False}, "sets": SETS},
            "90.0 % (80.0 to 95.0 %) of 50 tested records, with 1.50 of 3",
        ),
        (
            {"final": SOUP | {"sets": True}, "sets": None},
            "not measured: too few validation patients in the outer folds",
        ),
        ({"final": SOUP | {"sets": False}, "sets": None}, "not with a model; what they hold was not measured"),
    ],
    ids=["both", "no model", "measured only", "model only", "neither"],
)
def test_sets_come_with_what_they_held_out_of_fold(changes: dict[str, Any], said: str) -> None:
    assert said in facts(**changes)["prediction sets"]


def test_a_reading_is_shown_and_older_results_have_neither() -> None:
    assert facts(final=SOUP | {"reading": "none: <b>"})["second opinion by texts"] == "none: <b>"
    assert not {"prediction sets", "second opinion by texts"} & set(facts(final=SOUP))


def test_without_model_and_gate_nothing_is_said_of_one() -> None:
    assert "gate for unusual records" not in facts(final=None)


def test_shared_validation_patients_and_sites_are_named() -> None:
    assert "same in every outer fold" in facts(common_validation=True)["validation patients"]
    assert "validation patients" not in facts()
    section = nested_section(made(folds=[fold(0, site="north <i>"), fold(1, site="south")]))
    assert section is not None and [row[0] for row in section["folds"].rows] == ["north <i>", "south"]
    assert section["folds"].header[0] == "site tested"


def drawn_row(step: int) -> dict[str, Any]:
    rates = {"head": 1e-3}
    return {
        "step": step, "stage": "tune", "loss": 0.5, "validation_loss": None, "rates": rates, "rates_end": rates,
        "trainable": {"stem": 0, "head": 9},
    }  # fmt: skip


def test_one_training_is_drawn_and_a_recipe_file_is_named_without_its_folder() -> None:
    training = {
        "of": "the final model",
        "candidate": "/home/someone/mine.yaml",
        "kept": {"epoch": 2},
        "rows": [drawn_row(0), drawn_row(1)],
    }
    folds = [fold(0, candidate="/home/someone/mine.yaml"), fold(1)]
    section = nested_section(made(training=training, folds=folds))
    assert section is not None and section["plot"].title.endswith("epoch by epoch: the final model, mine")
    assert section["folds"].rows[0][3] == "mine, epoch 7" and "someone" not in str(section["folds"])
    assert "9 parameters learn throughout" in section["plot"].caption
    for gone in (None, {**training, "rows": []}):
        section = nested_section(made(training=gone))
        assert section is not None and section["plot"] is None
    assert nested_section(made())["plot"] is None  # type: ignore[index]  # of earlier versions


def test_without_choices_the_table_has_no_column_for_them() -> None:
    section = nested_section(made(folds=[fold(0, inner=[], validation=0)]))
    assert section is not None
    table = section["folds"]
    assert table.header[:3] == ("fold", "records: train / test", "trained") and len(table.header) == len(table.rows[0])
    assert table.rows[0][1] == "20 / 20" and "Nothing was chosen" in table.note
    assert dict(section["facts"])["recipe chosen by"] == "nothing: there is one recipe"


def paper(**changes: Any) -> Result:
    """Two runs of two folds under the published protocol; a figure is undefined in one fold."""
    result = made(folds=[fold(k % 2, repeat=k // 2, inner=[], seed=1001 + k // 2 + k % 2) for k in range(4)])
    names = [e.metric for e in result.summary.headline]
    rows = [
        FoldRow(variant="main", repeat=k // 2, fold=k % 2, n_records=8, metrics=dict.fromkeys(names, value))
        for k, value in enumerate((0.6, 0.8, 0.5, None))
    ]
    plan = load_protocol("bpd-folds@1", overrides=tuple(f"{key}={value}" for key, value in changes.items()))
    summary = result.summary.model_copy(update={"folds": tuple(rows)})
    extras = {**result.extras, "paper_average": paper_average(summary, plan)}
    return replace(result, protocol=plan, summary=summary, extras=extras)


def test_run_means_and_an_undefined_figure_as_zero() -> None:
    result = paper()
    name = result.summary.headline[0].metric
    own = result.extras["paper_average"]["main"][name]
    assert own["runs"] == pytest.approx([0.7, 0.25]) and own["n"] == 4 and own["mean"] == pytest.approx(0.475)
    section = nested_section(result)
    assert section is not None
    runs = section["runs"]
    assert [row[:2] for row in runs.rows] == [("1", "0.700"), ("2", "0.250"), ("mean ± SD of runs", "0.475 ± 0.318")]
    assert runs.header[0] == "run" and len(runs.header) == len(runs.rows[0]) and "Wilcoxon" in runs.note
    assert section["averages"].rows[0][2] == "0.475 ± 0.340" and "counts as 0" in section["averages"].note


def test_an_undefined_figure_is_left_out_where_the_protocol_skips_it() -> None:
    result = paper(paper_undefined="skip")
    own = result.extras["paper_average"]["main"][result.summary.headline[0].metric]
    assert own["runs"] == pytest.approx([0.7, 0.5]) and own["n"] == 3
    section = nested_section(result)
    assert section is not None and "counts as 0" not in section["averages"].note
    assert fold_values([{"a": None}, {}], "a", load_protocol("linear-probe@1")) == []
    assert fold_values([{"a": None}, {"a": 0.5}], "a", load_protocol("bpd-folds@1")) == [0.0, 0.5]


def test_seeds_of_the_trainings_stand_in_the_table_and_nothing_was_chosen() -> None:
    section = nested_section(paper())
    assert section is not None and not section["chose"]
    table = section["folds"]
    place = table.header.index("seed")
    assert [row[place] for row in table.rows] == ["1001", "1002", "1002", "1003"]
    assert len(table.header) == len(table.rows[0]) and "Nothing was chosen" in table.note
    usual = nested_section(made())
    assert usual is not None and "seed" not in usual["folds"].header and usual["chose"] and usual["runs"] is None


def test_wilcoxon_has_a_column_only_where_there_are_six_runs() -> None:
    result = tiny_result()
    other = rival(result, (0.1, 0.02, 0.2))
    other["rows"][0]["wilcoxon"] = 0.03125
    section = nested_section(made(beside=[other]))
    assert section is not None
    table = section["tables"][0][1]
    assert table.header[-1] == "Wilcoxon over run means, p" and table.rows[0][-1] == "0.031"
    assert table.rows[1][-1] == "–" and {len(row) for row in table.rows} == {len(table.header)}
