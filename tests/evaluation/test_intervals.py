import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medfm.core.errors import EvaluationError
from medfm.evaluation.intervals import normal_quantile, wilson_interval


@given(st.integers(1, 500), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_equals_scipy(total, data, level):
    successes = data.draw(st.integers(0, total))
    low, high = wilson_interval(successes, total, level)
    theirs = stats.binomtest(successes, total).proportion_ci(level, method="wilson")
    assert float(low) == pytest.approx(theirs.low, abs=1e-12)
    assert float(high) == pytest.approx(theirs.high, abs=1e-12)


def test_elementwise_with_empty_bins():
    low, high = wilson_interval(np.array([0, 3, 5]), np.array([0, 3, 10]))
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert high[1] == 1.0
    assert 0 < low[1] < 1
    assert low[2] + high[2] == pytest.approx(1.0)


def test_bounds_stay_within_zero_and_one():
    low, high = wilson_interval(np.array([0, 4]), np.array([4, 4]))
    assert low[0] == 0.0
    assert high[1] == 1.0


@pytest.mark.parametrize(("successes", "total"), [(5, 4), (-1, 4), (np.array([1, 9]), np.array([2, 8]))])
def test_impossible_counts(successes, total):
    with pytest.raises(EvaluationError):
        wilson_interval(successes, total)


def test_quantile():
    assert normal_quantile(0.95) == pytest.approx(1.959963984540054)
    for level in (0, 1, -0.5, 95):
        with pytest.raises(EvaluationError, match="level"):
            normal_quantile(level)
