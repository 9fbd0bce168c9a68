"""The shipped zero-shot protocols, and summaries of scores that are no probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from statistics_cases import binary_case, multiclass_case, multilabel_case

from medfm.evaluation.curves import GRID, precision_columns, roc_columns
from medfm.evaluation.protocol import StatisticsPlan, ZeroShot, load_protocol
from medfm.evaluation.statistics_classes import per_class_metrics
from medfm.evaluation.summarise import summarise

PLAN = StatisticsPlan(resamples=30)


def test_our_default() -> None:
    protocol = load_protocol("zero-shot@1")
    method = protocol.method
    assert isinstance(method, ZeroShot)
    assert (method.strategy, method.split, method.weighting, method.best_f1) == ("synonyms@1", "test", "none", False)
    assert protocol.metrics == () and method.without_file is None
    assert "fixed beforehand" in protocol.source


def test_merl_as_published() -> None:
    protocol = load_protocol("merl-zeroshot@1")
    method = protocol.method
    assert isinstance(method, ZeroShot)
    assert (method.strategy, method.without_file, method.prompt_file) == ("file@1", "findings@1", None)
    assert method.lower_case is True and method.best_f1 and method.multiclass_score == "cosine"
    assert protocol.metrics == ("auroc_macro",) and method.split == "test"
    for words in ("arXiv 2403.06659", "38799b7"):
        assert words in protocol.source
    text = " ".join(protocol.deviations)
    for words in ("best F1", "0 to 100", "validation splits", "cpsc2018", "mean of six"):
        assert words in text


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"split": "tests"}, {"weighting": "x"}, {"tau": 1}])
def test_wrong_settings_are_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        ZeroShot.model_validate(wrong)


@pytest.mark.parametrize("maker", [binary_case, multiclass_case, multilabel_case])
def test_the_figures_of_rankings_are_the_same_without_probabilities(maker) -> None:
    predictions = maker()
    name = "auroc" if maker is binary_case else "auroc_macro" if maker is multilabel_case else "auroc_ovr_macro"
    whole = summarise(predictions, PLAN, metrics=[name])
    ranks = summarise(predictions, PLAN, metrics=[name], probabilities=False)
    assert ranks.headline == whole.headline and (ranks.roc, ranks.pr) == (whole.roc, whole.pr)
    assert ranks.calibration is None and ranks.decision == () and whole.calibration is not None
    kept = {"auroc", "average_precision"} if maker is multilabel_case else set(per_class_metrics("binary"))
    for row, full in zip(ranks.per_class, whole.per_class, strict=True):
        assert {e.metric for e in row.estimates} == kept
        assert list(row.estimates) == [e for e in full.estimates if e.metric in kept]
    assert ranks.confusion == whole.confusion


def old_roc_at(false_rate: np.ndarray, true_rate: np.ndarray) -> np.ndarray:
    """One curve at a time, point by point."""
    x, y = np.append(0.0, false_rate), np.append(0.0, true_rate)
    result = []
    for g in GRID:
        before = max(i for i in range(len(x)) if x[i] <= g + 1e-12)
        after = min(before + 1, len(x) - 1)
        width = x[after] - x[before]
        share = min(max((g - x[before]) / width, 0.0), 1.0) if width > 0 else 0.0
        result.append(y[before] + (y[after] - y[before]) * share)
    return np.array(result)


def old_precision_at(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    result = []
    for g in GRID:
        wanted = max(g * true[-1], 1e-9) * (1 - 1e-12)
        place = next((i for i in range(len(true)) if true[i] >= wanted), len(true) - 1)
        result.append(true[place] / (true[place] + false[place]))
    return np.array(result)


@pytest.mark.parametrize("size", [3, 40, 5000])
def test_many_curves_at_once_equal_one_by_one(size: int) -> None:
    rng = np.random.default_rng(size)
    shape = (25, 300)
    true = np.cumsum(rng.integers(0, size, shape) * (rng.random(shape) < 0.6), axis=0).astype(float)
    false = np.cumsum(rng.integers(0, size, shape) * (rng.random(shape) < 0.6), axis=0).astype(float)
    good = (true[-1] > 0) & (false[-1] > 0)
    true, false = true[:, good], false[:, good]
    roc, precision = roc_columns(false / false[-1], true / true[-1]), precision_columns(true, false)
    for b in range(0, true.shape[1], 7):
        np.testing.assert_allclose(
            roc[:, b], old_roc_at(false[:, b] / false[-1, b], true[:, b] / true[-1, b]), atol=1e-9
        )
        np.testing.assert_array_equal(precision[:, b], old_precision_at(true[:, b], false[:, b]))
