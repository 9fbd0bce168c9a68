import numpy as np
import pytest
from statistics_cases import binary_case, binary_outcomes

from medfm.evaluation.bootstrap import Clusters, collect
from medfm.evaluation.decision import THRESHOLDS, NetBenefit, decision_curves, thresholds_within
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise


def by_definition(truth: np.ndarray, scores: np.ndarray, t: float) -> float:
    chosen = scores >= t
    return (chosen & (truth == 1)).mean() - (chosen & (truth == 0)).mean() * t / (1 - t)


@pytest.mark.parametrize("ties", [True, False])
def test_every_threshold_is_the_definition(ties):
    outcomes = Outcomes.of(binary_case(ties=ties))
    model, everybody, none = decision_curves(outcomes, None, 0.95)
    prevalence = (outcomes.truth == 1).mean()
    for t, y, whole in zip(model.x, model.y, everybody.y, strict=True):
        assert y == pytest.approx(by_definition(outcomes.truth, outcomes.scores[:, 1], t))
        assert whole == pytest.approx(prevalence - (1 - prevalence) * t / (1 - t))
    assert set(none.y) == {0.0}
    assert (model.name, everybody.name, none.name) == ("model", "treat all", "treat none")


def test_the_range_at_which_somebody_would_act():
    assert thresholds_within((0.01, 0.99)).tolist() == THRESHOLDS.tolist()
    assert thresholds_within((0.1, 0.3)).tolist() == pytest.approx([t / 100 for t in range(10, 31)])
    base = binary_case()
    plan = {"resamples": 20, "seed": 0}
    whole, part = (
        summarise(base, StatisticsPlan(**plan, **more)).decision for more in ({}, {"decision_range": (0.1, 0.3)})
    )
    assert part[0].x == pytest.approx(whole[0].x[9:30]) and part[0].y == pytest.approx(whole[0].y[9:30])
    assert part[0].low == pytest.approx(whole[0].low[9:30]) and len(part[2].y) == 21
    for bad in ((0.3, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)):
        with pytest.raises(ValueError, match="rising"):
            StatisticsPlan(decision_range=bad)


def test_a_score_on_the_threshold_counts_as_positive():
    benefit = NetBenefit(binary_outcomes([1, 0], [0.3, 0.1]), np.array([0.3, 0.31]))
    found = benefit(Weighted(binary_outcomes([1, 0], [0.3, 0.1]), np.ones((2, 1))))
    assert found[0, :, 0].tolist() == [0.5, 0.0]


def test_weights_equal_repeated_records():
    outcomes = Outcomes.of(binary_case())
    counts = np.random.default_rng(0).integers(0, 4, len(outcomes))
    rows = np.repeat(np.arange(len(outcomes)), counts)
    weighted = NetBenefit(outcomes)(Weighted(outcomes, counts[:, None].astype(float)))
    repeated = outcomes.take(rows)
    literal = NetBenefit(repeated)(Weighted(repeated, np.ones((len(rows), 1))))
    np.testing.assert_allclose(weighted, literal, atol=1e-12)


def test_bands_hold_the_curve():
    predictions = binary_case(300, 100)
    outcomes = Outcomes.of(predictions)
    clusters = Clusters.of(predictions.patients(), outcomes.truth)
    drawn = collect(outcomes, clusters, {"d": NetBenefit(outcomes)}, resamples=200, seed=0)["d"]
    assert drawn.shape == (2, len(THRESHOLDS), 200)
    model, everybody, none = decision_curves(outcomes, drawn, 0.95)
    for curve in (model, everybody):
        inside = [low - 1e-9 <= y <= high + 1e-9 for low, y, high in zip(curve.low, curve.y, curve.high, strict=True)]
        assert np.mean(inside) > 0.97
    assert none.low == ()


def test_a_useful_model_beats_both_defaults():
    outcomes = Outcomes.of(binary_case(2000, 2000, effect=2.0))
    model, everybody, _ = decision_curves(outcomes, None, 0.95)
    middle = model.x.index(0.5)
    assert model.y[middle] > max(everybody.y[middle], 0.0) + 0.1
