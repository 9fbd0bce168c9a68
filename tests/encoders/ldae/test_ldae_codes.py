"""Arithmetic on codes: ends, lengths, directions, and what has no answer."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError
from medfm.encoders.ldae.codes import angle, lerp, manipulate, slerp, standardise

SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 1000)


def pair(seed: int, shape: tuple[int, ...] = (2, 3, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_both_ends_are_exact(seed):
    first, second = pair(seed)
    for function in (lerp, slerp):
        assert torch.equal(function(first, second, 0), first)
        assert torch.equal(function(first, second, 1), second)
    assert lerp(first, second, 0) is not first


@given(SEEDS, SHARES)
@settings(max_examples=30, deadline=None)
def test_the_arc_is_the_same_from_both_sides(seed, share):
    first, second = pair(seed)
    torch.testing.assert_close(slerp(first, second, share), slerp(second, first, 1 - share), atol=1e-5, rtol=1e-4)


@given(SEEDS, SHARES)
@settings(max_examples=30, deadline=None)
def test_on_the_arc_lengths_stay_and_angles_are_shared_out(seed, share):
    first, second = (part / part.norm() for part in pair(seed))
    between = slerp(first, second, share)
    assert float(between.norm()) == pytest.approx(1, abs=1e-5)
    assert angle(first, between) == pytest.approx(share * angle(first, second), abs=1e-3)


@pytest.mark.parametrize("degrees", [1e-4, 0.01, 1, 45, 90, 135, 179])
def test_angles(degrees):
    radians = math.radians(degrees)
    first = torch.tensor([2.0, 0.0], dtype=torch.float64)
    second = torch.tensor([3 * math.cos(radians), 3 * math.sin(radians)], dtype=torch.float64)
    assert angle(first, second) == pytest.approx(radians, rel=1e-9)


def test_the_angle_is_one_number_for_the_whole_tensor():
    first, second = pair(0, (2, 5))
    whole = slerp(first, second, 0.5)
    each = slerp(first, second, 0.5, each=True)
    assert not torch.allclose(whole, each, atol=1e-3)
    for i in range(2):
        assert torch.equal(each[i], slerp(first[i], second[i], 0.5))
    assert torch.equal(slerp(first[:1], second[:1], 0.5, each=True), slerp(first[:1], second[:1], 0.5))


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_parallel_codes_are_interpolated_on_a_line(factor):
    first, _ = pair(3)
    ours = slerp(first, factor * first, 0.25)
    torch.testing.assert_close(ours, (0.75 + 0.25 * factor) * first)
    # Nearly parallel: still finite, and close to the line.
    near = slerp(first, first + 1e-5, 0.5)
    torch.testing.assert_close(near, first + 5e-6, atol=1e-5, rtol=1e-5)


def test_opposite_codes_have_no_shortest_arc():
    first, _ = pair(3)
    with pytest.raises(ConfigError, match="opposite"):
        slerp(first, -first, 0.5)
    assert torch.equal(slerp(first, -first, 0), first)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_slerp_stays_between_its_ends(share):
    with pytest.raises(ConfigError, match="0 to 1"):
        slerp(*pair(0), share)


@pytest.mark.parametrize("function", [lerp, slerp])
def test_codes_that_do_not_fit(function):
    with pytest.raises(ConfigError, match="of shapes"):
        function(torch.ones(2), torch.ones(3), 0.5)
    with pytest.raises(ConfigError, match="of shapes"):
        function(torch.ones(0), torch.ones(0), 0.5)


def test_a_code_of_zeros_has_no_direction():
    for broken in (torch.zeros(3), torch.full((3,), math.nan)):
        with pytest.raises(ConfigError, match="no direction"):
            angle(torch.ones(3), broken)


def codes(n: int = 40, d: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(1)
    values = torch.from_numpy(random.standard_normal((n, d)) * 3 + 1)
    return values, values.mean(0), values.std(0, correction=0), torch.from_numpy(random.standard_normal(d))


def test_standardised_codes():
    values, mean, std, _ = codes()
    standard = standardise(values, mean, std)
    torch.testing.assert_close(standard.mean(0), torch.zeros(6, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(standard.std(0, correction=0), torch.ones(6, dtype=torch.float64))


@given(st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_a_move_changes_the_score_by_what_it_says(strength):
    """Along w the score of the probe grows by strength * sqrt(d) * |w|; whatever lies across stays."""
    values, mean, std, w = codes()
    moved = manipulate(values, w, mean, std, strength)
    before, after = standardise(values, mean, std), standardise(moved, mean, std)
    growth = strength * math.sqrt(6) * float(w.norm())
    torch.testing.assert_close(after @ w, before @ w + growth)
    across = torch.linalg.qr(torch.stack([w, *torch.eye(6, dtype=w.dtype)[:5]]).T).Q[:, 1:]
    torch.testing.assert_close(after @ across, before @ across, atol=1e-9, rtol=0)


def test_moving_there_and_back():
    values, mean, std, w = codes()
    torch.testing.assert_close(manipulate(values, w, mean, std, 0), values)
    there = manipulate(values, w, mean, std, 2.5)
    torch.testing.assert_close(manipulate(there, w, mean, std, -2.5), values)
    # The length of the direction does not matter, its shape (1, d) neither.
    torch.testing.assert_close(there, manipulate(values, 10 * w[None], mean, std, 2.5))


def test_moves_that_make_no_sense():
    values, mean, std, w = codes()
    for broken in (w[:5], torch.zeros(6), torch.full((6,), math.nan)):
        with pytest.raises(ConfigError, match="cannot move"):
            manipulate(values, broken, mean, std, 1)
    with pytest.raises(ConfigError, match="do not fit"):
        standardise(values, mean[:5], std)
    with pytest.raises(ConfigError, match="standard deviation"):
        standardise(values, mean, torch.zeros(6))
