from itertools import product

import numpy as np
import pytest
from scipy import stats

from medfm.core.errors import EvaluationError
from medfm.evaluation.paired_tests import bootstrap_p, mcnemar, nadeau_bengio, wilcoxon


def test_the_correction_makes_the_test_more_careful():
    d = np.random.default_rng(0).normal(0.5, 1, (10, 5))
    corrected, naive = nadeau_bengio(d, 80, 20), stats.ttest_1samp(d.ravel(), 0)
    assert abs(corrected.t) < abs(naive.statistic)
    assert corrected.p > naive.pvalue
    assert corrected.df == 49
    # 1/J grows to 1/J + 1/4, so t shrinks by the root of the ratio.
    assert corrected.t == pytest.approx(naive.statistic / np.sqrt((1 / 50 + 1 / 4) / (1 / 50)))


def test_corrected_t_without_spread():
    assert nadeau_bengio(np.zeros(5), 80, 20).p == 1.0
    constant = nadeau_bengio(np.full(5, -0.25), 80, 20)
    assert constant.t == -np.inf
    assert constant.p == 0.0


@pytest.mark.parametrize(("d", "train", "test"), [([0.1], 8, 2), ([0.1, 0.2], 0, 2), ([0.1, 0.2], 8, 0)])
def test_corrected_t_needs_folds(d, train, test):
    with pytest.raises(EvaluationError):
        nadeau_bengio(np.array(d), train, test)


def signs_by_hand(d):
    """All 2^n choices of signs over midranks."""
    ranks = stats.rankdata(np.abs(d))
    sums = np.array([np.dot(ranks, signs) for signs in product((0, 1), repeat=len(d))])
    smaller = min(ranks[d > 0].sum(), ranks[d < 0].sum())
    return smaller, min(1.0, 2 * (sums <= smaller).mean())


def test_wilcoxon_chooses_by_size():
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=10), rng.normal(size=40)
    assert wilcoxon(small)[1] == pytest.approx(stats.wilcoxon(small, method="exact").pvalue)
    assert wilcoxon(large)[1] == pytest.approx(stats.wilcoxon(large, method="approx", correction=False).pvalue)
    tied = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0])
    assert wilcoxon(tied) == pytest.approx(signs_by_hand(tied))
    assert wilcoxon(tied, exact=False)[1] == pytest.approx(
        stats.wilcoxon(tied, method="approx", correction=False).pvalue
    )


@pytest.mark.parametrize("ties", [(6,), (2, 4), (1, 1, 4), (3, 3), (2, 2, 2), (1,) * 6])
def test_wilcoxon_of_six_runs_is_never_below_two_in_64(ties):
    """By the normal approximation tied runs of one sign would have p 0.014 to 0.028, which six runs cannot show."""
    d = np.repeat(np.arange(1, len(ties) + 1) / 10, ties)
    assert wilcoxon(d) == (0.0, pytest.approx(2 / 64)) == wilcoxon(-d)


@pytest.mark.parametrize("seed", range(8))
def test_wilcoxon_with_ties_and_zeros_counts_all_signs(seed):
    d = np.random.default_rng(seed).integers(-3, 4, size=9) / 30
    assert wilcoxon(d) == pytest.approx(signs_by_hand(d[d != 0]))


def test_wilcoxon_takes_rounding_for_ties_and_zeros():
    d = np.array([0.1 + 0.2, 0.3, -0.3, 0.1, 0.2, 1e-17])
    assert wilcoxon(d) == wilcoxon(np.array([3.0, 3.0, -3.0, 1.0, 2.0, 0.0]))
    assert wilcoxon(np.array([1e-17, -1e-17])) == (0.0, 1.0)
    assert wilcoxon(np.array([])) == (0.0, 1.0)


def test_wilcoxon_drops_zeros():
    assert wilcoxon(np.zeros(4)) == (0.0, 1.0)
    assert wilcoxon(np.array([0.0, 0.0, 1.0, 2.0, 3.0])) == wilcoxon(np.array([1.0, 2.0, 3.0]))


def test_mcnemar():
    first = np.array([True] * 9 + [False] * 3 + [True] * 5)
    second = np.array([False] * 9 + [True] * 3 + [True] * 5)
    only_first, only_second, p = mcnemar(first, second)
    assert (only_first, only_second) == (9, 3)
    assert p == pytest.approx(stats.binomtest(3, 12).pvalue)
    assert mcnemar(second, first)[2] == pytest.approx(p)
    assert mcnemar(first, first) == (0, 0, 1.0)


def test_bootstrap_p():
    rng = np.random.default_rng(0)
    assert bootstrap_p(np.zeros(100)) == 1.0
    assert bootstrap_p(np.full(999, 0.2)) == pytest.approx(2 / 1000)
    shifted = rng.normal(1.96, 1, 20_000)
    assert bootstrap_p(shifted) == pytest.approx(0.05, abs=0.006)
    assert bootstrap_p(-shifted) == pytest.approx(bootstrap_p(shifted))
    assert bootstrap_p(np.append(shifted, np.nan)) == bootstrap_p(shifted)
