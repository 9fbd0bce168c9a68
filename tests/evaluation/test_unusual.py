"""The gate for unusual records: distances by hand, the promised rate of false alarms, hostile inputs."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from medfm.core.errors import EvaluationError
from medfm.evaluation.unusual import UnusualGate, fewest, fit_gate


def draw(seed: int, n: int, d: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.arange(1, d + 1)


def test_distances_equal_scikit_learns():
    train, fresh = draw(0, 80), draw(1, 7)
    fitted = LedoitWolf().fit(train)
    found = fit_gate(train, draw(2, 40)).distances(fresh)
    np.testing.assert_allclose(found, np.sqrt(fitted.mahalanobis(fresh)), rtol=1e-9)


def test_a_gate_by_hand():
    gate = UnusualGate(np.zeros(2), np.diag([1.0, 0.25]), np.arange(1.0, 20.0), 0.1)
    points = np.array([[3.0, 0.0], [0.0, 8.0], [0.0, 0.0], [100.0, 0.0]])
    assert gate.distances(points).tolist() == [3, 4, 0, 100]
    assert gate.threshold == 18 and gate.unusual(points).tolist() == [False, False, False, True]
    assert gate.percentiles(points) == pytest.approx([300 / 19, 400 / 19, 0, 100])


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_false_alarms_come_at_the_stated_rate(rate):
    shares = []
    for seed in range(120):
        gate = fit_gate(draw(3 * seed, 60), draw(3 * seed + 1, 39), rate)
        shares.append(gate.unusual(draw(3 * seed + 2, 50)).mean())
    # Exact on average: the threshold is the ceil((1 - rate) * 40)-th of 40 exchangeable distances.
    error = np.std(shares) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - rate) < 4 * error


def test_what_lies_elsewhere_is_unusual():
    gate = fit_gate(draw(0, 100), draw(1, 60))
    away = draw(2, 30) + 40
    assert gate.unusual(away).all() and (gate.percentiles(away) == 100).all()


def test_more_dimensions_than_records():
    gate = fit_gate(draw(0, 10, 64), draw(1, 30, 64))
    assert np.isfinite(gate.distances(draw(2, 5, 64))).all()


@pytest.mark.parametrize(("rate", "least"), [(0.05, 19), (0.1, 9), (0.5, 1)])
def test_the_fewest_validation_records(rate, least):
    assert fewest(rate) == least
    assert len(fit_gate(draw(0, 20), draw(1, least), rate).known) == least
    with pytest.raises(EvaluationError, match="too few"):
        fit_gate(draw(0, 20), draw(1, least - 1), rate)


@pytest.mark.parametrize(
    ("train", "validation", "rate", "said"),
    [
        (draw(0, 20), draw(1, 30), 0.0, "rate"),
        (draw(0, 1), draw(1, 30), 0.05, "too few"),
        (np.ones((20, 3)), draw(1, 30, 3), 0.05, "equal"),
        (np.full((20, 3), np.nan), draw(1, 30, 3), 0.05, "finite"),
        (draw(0, 20), draw(1, 30, 3), 0.05, "do not fit"),
    ],
    ids=["rate", "one record", "equal", "nan", "widths"],
)
def test_what_cannot_be_fitted(train, validation, rate, said):
    with pytest.raises(EvaluationError, match=said):
        fit_gate(train, validation, rate)
