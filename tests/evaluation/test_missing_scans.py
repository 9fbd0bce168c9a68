"""Pairs of visits and the visits between them."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError
from medfm.evaluation.missing_scans import MissingScan, missing_scans

VISITS = st.dictionaries(
    st.text(min_size=1, max_size=3), st.lists(st.integers(0, 120), max_size=6, unique=True), max_size=4
)


@given(VISITS)
@settings(max_examples=60, deadline=None)
def test_every_triple_in_order_and_no_other(visits):
    found = missing_scans(visits)
    expected = {
        MissingScan(subject, start, end, target)
        for subject, times in visits.items()
        for start, target, end in itertools.permutations(times, 3)
        if start < target < end
    }
    assert len(found) == len(expected) and set(found) == expected
    for one in found:
        assert 0 < one.share < 1
        assert one.start + one.share * one.time_gap == pytest.approx(one.target)
        assert 0 < one.prediction_gap <= one.time_gap / 2
        assert 0 <= one.position <= 1


@given(VISITS)
@settings(max_examples=30, deadline=None)
def test_the_order_of_visits_does_not_matter(visits):
    backwards = {subject: list(reversed(times)) for subject, times in visits.items()}
    assert missing_scans(visits) == missing_scans(backwards)


def test_one_by_hand():
    (found,) = missing_scans({"a": [12, 0, 3], "b": [0, 6], "c": []})
    assert (found.share, found.position, found.time_gap, found.prediction_gap) == (0.25, 0.2, 12, 3)


@pytest.mark.parametrize("times", [[0, 6, 6], [0, float("nan"), 6], [0, float("inf"), 6]])
def test_times_that_make_no_sense(times):
    with pytest.raises(ConfigError, match="subject 's'"):
        missing_scans({"s": times})
