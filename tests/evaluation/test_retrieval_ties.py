"""Expected figures under ties against every order written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medfm.evaluation.retrieval_ties import (
    chance_figures,
    chance_median_rank,
    harmonic,
    hit_chance,
    query_figures,
)

K = (1, 2, 3, 5)


def of_order(relevant: list[bool], k: tuple[int, ...] = K) -> np.ndarray:
    """rank, reciprocal, ap, hits, precisions of one order, by their definitions."""
    places = [i + 1 for i, hit in enumerate(relevant) if hit]
    ap = float(np.mean([(j + 1) / place for j, place in enumerate(places)]))
    hits = [float(any(relevant[:d])) for d in k]
    precision = [sum(relevant[:d]) / d for d in k]
    return np.array([places[0], 1 / places[0], ap, *hits, *precision])


def every_order(groups: list[list[bool]]) -> np.ndarray:
    """The mean over all orders within groups of equal score, best group first."""
    orders = [list(itertools.permutations(group)) for group in groups]
    return np.mean([of_order(list(itertools.chain(*chosen))) for chosen in itertools.product(*orders)], axis=0)


def flat(above: list[int], tied: list[int], k: tuple[int, ...] = K) -> np.ndarray:
    f = query_figures(np.array(above), np.array(tied), k)
    return np.array([f.rank, f.reciprocal, f.ap, *f.hits, *f.precision])


@pytest.mark.parametrize(
    "groups",
    [
        [[True]],
        [[False], [True]],
        [[True, False]],
        [[True, True]],
        [[False, False], [True, False, False, True]],
        [[True, False, True, False, False]],
        [[False], [True, True, False], [False], [True, False]],
        [[True], [False, False, False, True], [True, True]],
        [[False, False, True], [True, True, False, False]],
    ],
)
def test_equals_the_mean_over_all_orders(groups: list[list[bool]]) -> None:
    above, tied, seen = [], [], 0
    for group in groups:
        above += [seen] * sum(group)
        tied += [len(group)] * sum(group)
        seen += len(group)
    np.testing.assert_allclose(flat(above, tied), every_order(groups), atol=1e-12)
    shuffled = np.random.default_rng(0).permutation(len(above))
    np.testing.assert_array_equal(flat([above[i] for i in shuffled], [tied[i] for i in shuffled]), flat(above, tied))


def test_without_ties_it_is_the_definition() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        relevant = rng.random(12) < 0.3
        relevant[rng.integers(12)] = True
        places = np.flatnonzero(relevant)
        np.testing.assert_allclose(flat(places.tolist(), [1] * len(places)), of_order(relevant.tolist()), atol=1e-12)


@pytest.mark.parametrize(("m", "r", "draws"), [(7, 2, 3), (7, 3, 5), (4, 4, 1), (5, 1, 2), (6, 2, 0), (6, 2, 9)])
def test_the_chance_of_a_hit_by_counting(m: int, r: int, draws: int) -> None:
    chosen = list(itertools.combinations(range(m), min(draws, m)))
    counted = np.mean([any(c < r for c in combination) for combination in chosen])
    assert hit_chance(m, r, draws) == pytest.approx(counted, abs=1e-12)
    assert hit_chance(m, r, -1) == 0.0


def test_harmonic_sums() -> None:
    before, sizes = np.array([0, 3, 100_000, 7]), np.array([5, 1, 1000, 40])
    expected = [sum(1 / (b + i) for i in range(1, m + 1)) for b, m in zip(before, sizes, strict=True)]
    np.testing.assert_allclose(harmonic(before, sizes), expected, rtol=1e-9)


def test_chance_is_what_random_scores_give() -> None:
    rng = np.random.default_rng(2)
    relevant = np.zeros(20, dtype=bool)
    relevant[:3] = True
    drawn = np.mean([of_order(rng.permutation(relevant).tolist()) for _ in range(20_000)], axis=0)
    f = chance_figures(3, 20, K)
    np.testing.assert_allclose(drawn, [f.rank, f.reciprocal, f.ap, *f.hits, *f.precision], rtol=0.03)
    one = chance_figures(1, 1000, (1, 10))
    assert one.hits == pytest.approx((0.001, 0.01))


def test_the_median_rank_of_chance() -> None:
    rng = np.random.default_rng(3)
    relevant, candidates = np.array([1, 1, 4]), np.array([10, 100, 60])
    ranks = [
        1 + int(rng.permutation(m)[:r].min()) for r, m in zip(relevant, candidates, strict=True) for _ in range(20_000)
    ]
    assert abs(chance_median_rank(relevant, candidates) - np.median(ranks)) <= 1
    assert chance_median_rank(np.array([1]), np.array([1])) == 1
    assert chance_median_rank(np.array([5]), np.array([5])) == 1
    assert chance_median_rank(np.array([1]), np.array([101])) == 51
