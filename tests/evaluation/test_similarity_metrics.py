"""Names, figures and means of similarity: against independent arithmetic and by their properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError, EvaluationError, UnknownNameError
from medfm.evaluation.metrics import evaluate, list_metrics, metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.similarity_metrics import blended, figure_names, figures, gains, mean, spec
from medfm.evaluation.similarity_summary import summarise_similarity

PREFIXES = ("", "blend_", "blend_decoded_", "gain_", "gain_decoded_")


def volumes(seed: int, n: int = 3) -> torch.Tensor:
    return torch.rand((n, 1, 7, 6, 5), generator=torch.Generator().manual_seed(seed))


def table(seed: int = 0, patients: int = 6, variants: tuple[str, ...] = ("main", "steps=10")) -> Predictions:
    rng = np.random.default_rng(seed)
    rows = []
    for variant in variants:
        for i in range(2 * patients):
            rows.append(
                {
                    "record_id": f"r{i}",
                    "patient_id": f"p{i // 2}",
                    "variant": variant,
                    "repeat": 0,
                    "fold": 0,
                    "site": "north" if i % 4 < 2 else "south",
                    "ssim": rng.uniform(0.5, 1),
                    "psnr": rng.uniform(20, 30),
                    "mse": rng.uniform(0, 0.01),
                }
            )
    return Predictions(pd.DataFrame(rows), "similarity", ("ssim", "psnr", "mse"), "reconstruction")


@pytest.mark.parametrize("against", ["", "scan_"])
@pytest.mark.parametrize("what", PREFIXES)
@pytest.mark.parametrize("figure", ["ssim", "ssim_w11", "psnr", "mse"])
def test_every_name_is_taken_apart_and_is_a_metric(against, what, figure):
    name = f"{against}{what}{figure}"
    found = spec(name)
    assert found is not None and (found.against_scan, found.what, found.figure) == (bool(against), what, figure)
    assert found.is_gain == what.startswith("gain")
    entry = metric(name, "similarity")
    lower = figure == "mse" and not what.startswith("gain")
    assert entry.better == ("lower" if lower else "higher") and entry.title == found.title
    low, high = found.bounds
    assert low < high and (low == -np.inf) == (found.is_gain or figure == "psnr")


@pytest.mark.parametrize(
    "name",
    ["", "ssim_w", "ssim_w0", "ssim_w011", "ssim_11", "scan_", "gain_blend_mse", "mse_w4", "SSIM", "scanmse", "mse "],
)
def test_other_names_are_no_figures(name):
    assert spec(name) is None
    with pytest.raises(UnknownNameError):
        metric(name, "similarity")


def test_titles_are_different_and_name_the_window():
    names = [f"{a}{w}{f}" for a in ("", "scan_") for w in PREFIXES for f in ("ssim", "ssim_w7", "psnr", "mse")]
    titles = [spec(name).title for name in names]
    assert len(set(titles)) == len(names)
    assert spec("scan_gain_ssim_w7").title == "SSIM (window 7), gain over blended scans, against the scan"
    assert list_metrics("similarity") == ["ssim", "psnr", "mse"]


def test_a_figure_of_another_task_says_so():
    with pytest.raises(EvaluationError, match="this one is similarity"):
        metric("auroc", "similarity")
    with pytest.raises(EvaluationError, match="for similarity"):
        metric("psnr", "binary")


def test_figures_equal_plain_arithmetic():
    first, second = volumes(0), volumes(1)
    found = figures(first, second, (3, 5))
    assert tuple(found) == figure_names((3, 5)) == ("ssim", "ssim_w5", "psnr", "mse")
    for i in range(3):
        error = float(((first[i].double() - second[i].double()) ** 2).mean())
        assert found["mse"][i] == pytest.approx(error, rel=1e-5)
        assert found["psnr"][i] == pytest.approx(10 * np.log10(1 / error), abs=1e-4)
    assert all(values.dtype == np.float64 and values.shape == (3,) for values in found.values())


def test_the_window_of_one_voxel_is_the_formula_voxel_by_voxel():
    """With a window of one voxel variances vanish, and what is left is the luminance term."""
    first, second = volumes(2), volumes(3)
    x, y = first.double().numpy(), second.double().numpy()
    c1 = 0.01**2
    expected = ((2 * x * y + c1) / (x**2 + y**2 + c1)).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(figures(first, second, (1,))["ssim"], expected, atol=1e-5)


def test_equal_volumes():
    found = figures(volumes(0), volumes(0), (3,))
    np.testing.assert_allclose(found["ssim"], 1, atol=1e-6)
    assert (found["mse"] == 0).all() and (found["psnr"] == 120).all()


def test_figures_refuse_what_does_not_fit():
    with pytest.raises(ConfigError, match="window of 6"):
        figures(volumes(0), volumes(1), (6,))
    with pytest.raises(ConfigError, match="cannot be compared"):
        figures(volumes(0), volumes(1, 2), (3,))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_blending_is_linear_and_gains_are_turned(seed, share):
    first, last = volumes(seed), volumes(seed + 1)
    made = blended(first, last, share)
    np.testing.assert_allclose(made.numpy(), (1 - share) * first.numpy() + share * last.numpy(), atol=1e-6)
    own = {"ssim": np.array([0.9]), "psnr": np.array([30.0]), "mse": np.array([0.1])}
    other = {"ssim": np.array([0.8]), "psnr": np.array([31.0]), "mse": np.array([0.3])}
    found = gains(own, other)
    assert found["ssim"] == pytest.approx(0.1) and found["psnr"] == -1 and found["mse"] == pytest.approx(0.2)
    back = gains(other, own)
    assert all(back[name] == -found[name] for name in found)


def test_the_mean_is_weighted_and_absent_figures_are_named():
    predictions = table().of_variant("main")
    outcomes = Outcomes.of(predictions)
    weights = np.stack([np.ones(12), np.arange(12.0), np.zeros(12)], axis=1)
    values = predictions.table["ssim"].to_numpy()
    found = mean("ssim", Weighted(outcomes, weights))
    assert found[0] == pytest.approx(values.mean()) and found[1] == pytest.approx(
        np.average(values, weights=np.arange(12))
    )
    assert np.isnan(found[2])
    with pytest.raises(EvaluationError, match="LPIPS is not computed"):
        evaluate(predictions, ["lpips"])
    with pytest.raises(EvaluationError, match="no figures 'scan_mse'"):
        evaluate(predictions, ["scan_mse"])


def test_the_summary_has_every_variant_with_intervals_over_patients():
    predictions = table()
    summary = summarise_similarity(
        predictions, StatisticsPlan(resamples=200, minimum_cell=1), ("ssim", "mse"), said=("x",)
    )
    assert summary.task == "similarity" and summary.n_records == 12 and summary.n_patients == 6
    assert (
        [e.metric for e in summary.headline] == ["ssim", "mse"]
        and summary.notes[-1] == "x"
        and summary.notes[0].startswith("Only 6 patients")
    )
    for variant in ("main", "steps=10"):
        own = predictions.of_variant(variant).table
        found = summary.estimate("ssim", variant)
        assert found.value == pytest.approx(own["ssim"].mean()) and found.low < found.value < found.high
        assert "patient-clustered" in found.method
        # Half as wide as the range of patients' means at most, and never a point.
        means = own.groupby("patient_id")["ssim"].mean()
        assert 0 < found.high - found.low <= means.max() - means.min()
    assert {row.value for row in summary.sites} == {"north", "south"}


def test_intervals_count_patients_and_not_scans():
    """Doubling every scan of a patient tells nothing new, and the interval stays the same."""
    once = table(variants=("main",))
    doubled = pd.concat([once.table, once.table.assign(record_id=once.table["record_id"] + "b")], ignore_index=True)
    plan = StatisticsPlan(resamples=100)
    a, b = (
        summarise_similarity(Predictions(t, "similarity", once.classes, "x"), plan, ("mse",)).headline[0]
        for t in (once.table, doubled)
    )
    assert (a.low, a.high) == pytest.approx((b.low, b.high)) and a.n_records * 2 == b.n_records


def test_predictions_need_their_columns_and_finite_figures():
    good = table().table
    with pytest.raises(EvaluationError, match="lack the columns mse"):
        Predictions(good.drop(columns="mse"), "similarity", ("ssim", "mse"), "x")
    broken = good.assign(mse=[np.nan, *good["mse"][1:]])
    with pytest.raises(EvaluationError, match="not finite"):
        evaluate(Predictions(broken, "similarity", ("ssim", "mse"), "x"), ["ssim"])
