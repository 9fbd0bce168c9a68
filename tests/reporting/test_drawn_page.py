"""The report's section on drawn scans and the words around it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.similarity_summary import summarise_similarity
from medfm.reporting.drawn_scans import digits, display, drawn_section
from medfm.reporting.drawn_words import drawn_verdict, similarity_words
from medfm.reporting.html import render_report
from medfm.reporting.result import Result
from medfm.reporting.text import one_screen
from medfm.reporting.words import word

VARIANTS = ("main", "autoencoder", "steps=10", "semantic, steps=10", "semantic, steps=100", "steps=20", "mean image")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1mm" height="1mm"></svg>'


def made(kind: str, variants=VARIANTS, extras=None, gain: float = 0.002, thumbnails=None) -> Result:
    rng = np.random.default_rng(0)
    name = "ldae-reconstruction@1" if kind == "reconstruction" else "ldae-interpolation@1"
    columns = ("ssim", "ssim_w11", "psnr", "mse")
    if kind == "interpolation":
        columns = (
            *columns,
            "scan_ssim",
            "scan_mse",
            "scan_gain_ssim",
            "scan_gain_mse",
            "scan_gain_decoded_mse",
            "gain_ssim",
            "gain_mse",
        )
    rows = []
    for variant in variants:
        for i in range(12):
            row = {"record_id": f"r{i}", "patient_id": f"p{i // 2}", "variant": variant, "repeat": 0, "fold": 0}
            for column in columns:
                centre = gain if "gain" in column else 0.004 if "mse" in column else 24 if column == "psnr" else 0.9
                row[column] = centre + rng.normal(0, 1e-4)
            rows.append(row)
    plan = load_protocol(name, overrides=("statistics.resamples=50",))
    predictions = Predictions(pd.DataFrame(rows), "similarity", columns, kind)
    summary = summarise_similarity(predictions, plan.statistics, plan.metrics)
    about = {"encoder": "tiny", "weights_kind": "random", "cohort": "scans"}
    return Result(kind, plan, summary, predictions, about, extras=extras or {}, thumbnails=thumbnails or {})


def distances(**changes):
    entry = {"value": 0.01, "low": -0.02, "high": 0.05, "note": "Gaussian kernel, width 3"}
    rows = [
        {"variant": "main", "left_out": 0, "mmd2": entry, "frechet": entry | {"low": None, "high": None}},
        {"variant": "semantic, steps=10", "left_out": 7, "why_not": "too few drawn scans"},
    ]
    return {"encoder": "judge", "own": False, "dim": 8, "records": 12, "rows": rows} | changes


def test_rows_go_from_the_ceiling_to_the_floor():
    section = drawn_section(made("reconstruction"))
    assert [row[0] for row in section["table"].rows] == [
        "autoencoder alone (ceiling)",
        "both codes, 10 steps",
        "both codes, 20 steps",
        "both codes, 100 steps",
        "semantic code alone, 10 steps",
        "semantic code alone, 100 steps",
        "mean training image (floor)",
    ]
    assert section["table"].header == ("variant", "scans", "SSIM", "SSIM (window 11)", "PSNR (dB)", "MSE")
    assert all("SD" in cell and " to " in cell for row in section["table"].rows for cell in row[2:])
    assert [plot.title for plot in section["plots"]] == ["SSIM", "SSIM (window 11)"]


def test_the_standard_deviation_is_that_of_the_scans():
    result = made("reconstruction", ("main",))
    values = result.predictions.table["mse"]
    (row,) = drawn_section(result)["table"].rows
    assert f"SD\u00a0{digits(float(values.std(ddof=1)))}" in row[-1]
    assert row[-1].startswith(digits(float(values.mean())))
    assert drawn_section(result)["plots"] == []


def test_gaps_are_in_order_and_gains_are_said_in_words():
    result = made("interpolation", ("main", "gap=6", "gap=24", "gap=12"))
    section = drawn_section(result)
    assert [row[0] for row in section["table"].rows] == [
        "all gaps",
        "gap of 6 months",
        "gap of 12 months",
        "gap of 24 months",
    ]
    text = " ".join(section["lines"])
    assert "interpolated codes are nearer to the true visit" in text and "12 visits of 6 patients" in text


@pytest.mark.parametrize(
    ("gain", "words"),
    [(0.002, "are nearer to the truth"), (-0.002, "are farther from"), (0.0, "are not shown to be nearer")],
)
def test_the_verdict_on_visits(gain, words):
    result = made("interpolation", ("main",), gain=gain)
    assert words in drawn_verdict(result) and "linear blending" in drawn_verdict(result)
    assert drawn_verdict(result) in one_screen(result)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"value": 0.1, "low": 0.05, "high": 0.2}, "nearer to the truth than the mean training image"),
        ({"value": -0.1, "low": -0.2, "high": -0.05}, "farther from the truth"),
        ({"value": 0.1, "low": -0.05, "high": 0.2}, "not shown"),
        ({"value": 0.1, "low": None, "high": None}, "No interval"),
        ({"value": None}, "could not be held"),
        (None, "no training records"),
    ],
)
def test_the_verdict_on_reconstruction(over, words):
    extras = {} if over is None else {"over_mean_image": over}
    assert words in drawn_verdict(made("reconstruction", ("main",), extras))


def test_without_a_comparison_with_blending_nothing_is_claimed():
    result = made("interpolation", ("main",))
    only = result.summary.model_copy(update={"headline": result.summary.headline[5:7]})
    assert [e.metric for e in only.headline] == ["ssim", "mse"]
    text = drawn_verdict(Result(result.kind, result.protocol, only, result.predictions))
    assert "blending images was not looked at" in text


def test_the_page_has_section_sheets_distances_and_terms():
    extras = {"drawn": [{"record_id": "r3", "role": "worst", "ssim": 0.5, "mse": 0.0123}], "distances": distances()}
    page = render_report(made("reconstruction", VARIANTS, extras, thumbnails={"r3": SVG}))
    for text in (
        "How near are the drawn scans?", "The worst of all: SSIM 0.500, MSE 0.012", "Slices of r3.", "image/svg+xml",
        "MMD²", "too few drawn scans", "8 numbers of judge", "semantic code, stochastic code", "Untrained weights",
    ):  # fmt: skip
        assert text in page, text
    assert "How good are the predictions?" not in page


def test_what_is_said_of_distances():
    def words(found):
        return " ".join(drawn_section(made("reconstruction", ("main",), {"distances": found}))["distance_words"])

    assert "flatters" in words(distances(own=True)) and "flatters" not in words(distances())
    assert "no more scans than features" in words(distances(dim=12))
    assert words({"encoder": "a", "own": True, "dim": 2, "why_not": "2 real scans are too few"}).startswith(
        "Not computed: 2 real"
    )
    assert words(None) == ""


def test_a_sheet_without_its_picture_is_left_out():
    extras = {"drawn": [{"record_id": "r3", "role": "best", "ssim": 0.5, "mse": 0.01, "gap": 12.0}]}
    assert drawn_section(made("interpolation", ("main",), extras))["sheets"] == []
    (sheet,) = drawn_section(made("interpolation", ("main",), extras, thumbnails={"r3": SVG}))["sheets"]
    assert "12 months between the two visits" in sheet["title"] and "against the scan" in sheet["title"]


def test_words_of_figures():
    assert similarity_words("auroc") is None and word("ssim").title == "SSIM"
    assert "above 0" in similarity_words("scan_gain_mse")[1] and "Mean squared" in similarity_words("scan_mse")[1]
    assert display("something", made("reconstruction", ("main",))) == "something"
    assert (digits(0.5), digits(0.00123), digits(-0.00123), digits(0.0)) == ("0.500", "0.0012", "−0.0012", "0.000")


def test_other_results_have_no_such_section(tmp_path):
    from tiny_results import tiny_result

    assert drawn_section(tiny_result()) is None
