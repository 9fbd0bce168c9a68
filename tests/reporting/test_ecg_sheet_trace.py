from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.reporting.ecg_sheet_trace import COLUMN, TOLERANCE, thinned, trace


def wave(samples: int = 5000, seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.arange(samples) / 500 * 25.0
    y = 4 * np.sin(x / 6) + 12 * np.exp(-0.5 * (((x % 25) - 10) / 0.3) ** 2) + noise * rng.normal(size=samples)
    return x, y


@pytest.mark.parametrize("noise", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_in_every_column_the_lowest_and_the_highest_are_drawn(noise, seed):
    x, y = wave(seed=seed, noise=noise)
    kept = thinned(x, y)
    line = np.interp(x, x[kept], y[kept])
    column = np.floor(x / COLUMN).astype(int)
    for number in np.unique(column):  # the naive loop
        own = np.flatnonzero(column == number)
        for extreme in (own[y[own].argmax()], own[y[own].argmin()]):
            assert abs(line[extreme] - y[extreme]) <= TOLERANCE + 1e-9
        near = y[np.abs(column - number) <= 1]
        assert near.min() - TOLERANCE <= line[own].min() and line[own].max() <= near.max() + TOLERANCE


@given(st.integers(0, 2**31), st.integers(1, 60), st.floats(0.01, 3))
@settings(max_examples=60, deadline=None)
def test_sparse_samples_are_passed_within_the_tolerance(seed, samples, spread):
    # One sample per column: then nothing but the tolerance may be lost.
    x = np.arange(samples) * (COLUMN * 1.01)
    y = np.cumsum(np.random.default_rng(seed).normal(0, spread, samples))
    kept = thinned(x, y)
    assert kept[0] == 0 and kept[-1] == samples - 1
    assert (np.diff(kept) > 0).all()
    assert np.abs(np.interp(x, x[kept], y[kept]) - y).max() <= TOLERANCE + 1e-9


def test_a_spike_of_one_sample_stays():
    x, y = np.arange(5000) / 500 * 25.0, np.zeros(5000)
    y[1234] = 7.0
    kept = thinned(x, y)
    assert 1234 in kept and len(kept) <= 8


def test_few_points_are_left():
    x, y = wave(noise=0.0)
    assert len(thinned(x, y)) < 700
    x, y = wave(50_000, noise=2.0)  # however noisy, two points a column
    assert len(thinned(x, y)) <= 2 * (x[-1] / COLUMN + 1) + 2
    assert list(thinned(np.array([0.0]), np.array([1.0]))) == [0]
    assert len(thinned(np.zeros(0), np.zeros(0))) == 0


def test_gaps_split_the_line_and_are_named():
    x, y = wave(noise=0.1)
    y[100:200] = np.nan
    y[4990:] = np.nan
    drawn = trace(x, y, 30, -30)
    assert len(drawn.lines) == 2
    assert drawn.lines[0][-1, 0] == x[99] and drawn.lines[1][0, 0] == x[200]
    # A gap reaches from the last known sample to the next one.
    assert np.allclose(drawn.gaps[0], (x[99], x[200]))
    assert np.allclose(drawn.gaps[1], (x[4989], x[-1] + x[1]))
    assert all(np.isfinite(line).all() for line in drawn.lines)


def test_nothing_but_gaps():
    x = np.arange(100) * 0.05
    drawn = trace(x, np.full(100, np.nan), 10, -10)
    assert drawn.lines == [] and len(drawn.gaps) == 1 and drawn.above == drawn.below == []


def test_what_leaves_is_cut_and_marked_where_it_leaves():
    x, y = np.arange(5000) / 500 * 25.0, np.zeros(5000)
    y[1000:1005], y[3000:3400] = 50.0, -50.0
    drawn = trace(x, y, 10.0, -8.0)
    values = np.concatenate([line[:, 1] for line in drawn.lines])
    assert values.max() == 10.0 and values.min() == -8.0
    assert np.allclose(drawn.above, [x[1002]]) and np.allclose(drawn.below, [(x[3000] + x[3399]) / 2])


def test_marks_close_together_are_one():
    x, y = np.arange(5000) / 500 * 25.0, np.zeros(5000)
    y[1000:1100:4] = 50.0
    assert len(trace(x, y, 10.0, -10.0).above) == 2  # 5 mm hold two marks of 2.5 mm
