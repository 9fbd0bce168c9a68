import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medfm.core.errors import EvaluationError
from medfm.evaluation.multiple import benjamini_hochberg, bonferroni, holm

P = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(P)
def test_benjamini_hochberg_equals_scipy(p):
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), atol=1e-12)


@given(P)
def test_order_of_strictness(p):
    """p <= BH <= Holm <= Bonferroni <= 1."""
    assert (np.asarray(p) <= benjamini_hochberg(p) + 1e-12).all()
    assert (benjamini_hochberg(p) <= holm(p) + 1e-12).all()
    assert (holm(p) <= bonferroni(p) + 1e-12).all()
    assert (bonferroni(p) <= 1).all()


@given(P)
def test_correction_keeps_the_order(p):
    order = np.argsort(p, kind="stable")
    for correct in (holm, benjamini_hochberg, bonferroni):
        assert (np.diff(correct(p)[order]) >= -1e-12).all()


@given(P, st.randoms())
def test_place_in_the_list_does_not_matter(p, random):
    order = list(range(len(p)))
    random.shuffle(order)
    for correct in (holm, benjamini_hochberg, bonferroni):
        np.testing.assert_allclose(correct([p[i] for i in order]), correct(p)[order], atol=1e-12)


def test_holm_by_hand():
    # Sorted .01 .02 .04 with factors 3 2 1: .03 .04 .04.
    assert holm([0.04, 0.01, 0.02]).tolist() == pytest.approx([0.04, 0.03, 0.04])


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg, bonferroni])
def test_nothing_and_one(correct):
    assert correct([]).tolist() == []
    assert correct([0.3]).tolist() == [0.3]


@pytest.mark.parametrize("bad", [[-0.1], [1.5], [float("nan")], [[0.1]]])
def test_what_is_not_a_p_value(bad):
    with pytest.raises(EvaluationError):
        holm(bad)
