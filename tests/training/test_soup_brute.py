"""Soups against brute force: means in exact fractions, the greedy walk replayed, and optima on toy problems."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.training.soup import average_states, greedy_choice


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]), st.integers(0, 99))
def test_every_entry_is_the_exact_mean_rounded_once(models: int, dtype: torch.dtype, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    states = [{"w": (100 * torch.randn(2, 3, generator=source)).to(dtype), "n": torch.tensor(i)} for i in range(models)]
    mixed = average_states(states)
    for place in np.ndindex(2, 3):
        exact = sum((Fraction(float(s["w"][place])) for s in states), Fraction(0)) / models
        assert mixed["w"][place] == torch.tensor(float(exact), dtype=torch.float64).to(dtype)
    assert mixed["w"].dtype == dtype and int(mixed["n"]) == models - 1


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)))
def test_the_order_of_the_models_does_not_matter(order: list[int]) -> None:
    states = [{"w": torch.arange(3.0) * (i + 1)} for i in range(4)]
    assert torch.equal(average_states([states[i] for i in order])["w"], torch.arange(3.0) * 2.5)


def replayed(alone: Sequence[float], points: np.ndarray, goal: np.ndarray) -> list[int]:
    """The published algorithm once more, from its text: sort, then keep each that does not lower the score."""
    order = sorted(range(len(alone)), key=lambda i: alone[i], reverse=True)
    bowl: list[int] = []
    for i in order:
        now = -np.inf if not bowl else -np.linalg.norm(points[bowl].mean(0) - goal)
        if -np.linalg.norm(points[[*bowl, i]].mean(0) - goal) >= now:
            bowl.append(i)
    return bowl


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7), st.integers(0, 999))
def test_the_walk_is_the_published_one_on_points_in_a_plane(models: int, seed: int) -> None:
    """Weights are points, quality is nearness to a goal: between the best alone and the best of all subsets."""
    rng = np.random.default_rng(seed)
    points, goal = rng.normal(size=(models, 2)), rng.normal(size=2) / 2

    def quality(numbers: Sequence[int]) -> float:
        mixed = average_states([{"w": torch.from_numpy(points[i])} for i in numbers])["w"].numpy()
        return -float(np.linalg.norm(mixed - goal))

    alone = [quality([i]) for i in range(models)]
    kept, steps = greedy_choice(alone, quality)
    assert kept == replayed(alone, points, goal)
    every = [quality(s) for k in range(1, models + 1) for s in combinations(range(models), k)]
    assert max(alone) - 1e-12 <= quality(kept) <= max(every) + 1e-12
    assert [s.model for s in steps] == sorted(range(models), key=lambda i: -alone[i])
    best = -np.inf
    for step in steps:
        assert step.kept == (step.quality >= best)
        best = max(best, step.quality) if step.kept else best


def test_where_every_model_helps_the_greedy_soup_is_the_uniform_one() -> None:
    """Models around the goal, the best first: each further one brings the mean nearer or leaves it."""
    points = np.array([1.0, -1.0, 2.0, -2.0])

    def quality(numbers: Sequence[int]) -> float:
        return -abs(float(points[list(numbers)].mean())) if len(numbers) in (1, 2, 4) else -0.0

    kept, _ = greedy_choice([quality([i]) for i in range(4)], quality)
    assert kept == [0, 1, 2, 3]


def test_one_far_model_is_left_out_where_a_uniform_soup_takes_it() -> None:
    points = {0: 0.1, 1: -0.2, 2: 30.0}

    def quality(numbers: Sequence[int]) -> float:
        return -abs(float(np.mean([points[i] for i in numbers])))

    kept, steps = greedy_choice([quality([i]) for i in points], quality)
    assert kept == [0, 1] and not steps[-1].kept
    assert quality(kept) == pytest.approx(-0.05) and quality([0, 1, 2]) < quality(kept)
