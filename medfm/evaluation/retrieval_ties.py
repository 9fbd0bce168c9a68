"""Figures of one query whose candidates may have equal scores: their expectation over random orders.

An order among equal scores that a sort happens to give is no property of the encoder. The formulas
are those of McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently
in the Presence of Tied Scores (ECIR 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln


@dataclass(frozen=True)
class QueryFigures:
    """Expected figures of one query.

    Attributes:
        rank: Of the first relevant candidate, from 1; infinite beyond a given depth.
        reciprocal: 1 / that rank; 0 beyond a given depth.
        ap: Average precision; to a given depth: the precisions at the relevant ones among the first
            `depth`, summed, divided by the smaller of `depth` and the number of relevant candidates.
        hits: Per k: the chance (0 to 1) that at least one of the first k is relevant.
        precision: Per k: the share of the first k that is relevant.
    """

    rank: float
    reciprocal: float
    ap: float
    hits: tuple[float, ...]
    precision: tuple[float, ...]


def query_figures(
    above: np.ndarray, tied: np.ndarray, k: Sequence[int], *, depth: int | None = None, relevant: int | None = None
) -> QueryFigures:
    """Figures from the place of every relevant candidate.

    Args:
        above: int (r,), r >= 1: candidates with a higher score than each relevant one.
        tied: int (r,): candidates with the same score, itself counted.
        k: Numbers of first candidates looked at.
        depth: Look no further than the first so many; all of them when ``None``. `k` is at most this.
        relevant: With a depth: how many relevant candidates there are, where `above` names only those
            that can be among the first `depth`; then r may be 0.
    """
    if depth is not None and not len(above):
        return QueryFigures(np.inf, 0.0, 0.0, (0.0,) * len(k), (0.0,) * len(k))
    before, first, own = np.unique(np.asarray(above, np.int64), return_index=True, return_counts=True)
    sizes = np.asarray(tied, np.int64)[first]
    found = np.concatenate([[0], np.cumsum(own)[:-1]])
    # Sum over the places i = 1..m of a group of (found + 1 + slope (i - 1)) / (before + i).
    slope = np.where(sizes > 1, (own - 1) / np.maximum(sizes - 1, 1), 0.0)
    seen = sizes if depth is None else np.clip(depth - before, 0, sizes)
    steps = np.where(seen > 0, harmonic(before, np.maximum(seen, 1)), 0.0)
    sums = slope * seen + (found + 1 - slope * (before + 1)) * steps
    total = int(own.sum()) if relevant is None else relevant
    n, m, r = int(before[0]), int(sizes[0]), int(own[0])
    shares = [own * np.clip((depth - before) / sizes, 0.0, 1.0) for depth in k]
    rank = n + (m + 1) / (r + 1)
    return QueryFigures(
        rank=rank if depth is None or rank <= depth else np.inf,
        reciprocal=_reciprocal(n, m, r, m if depth is None else max(0, depth - n)),
        ap=float((own / sizes * sums).sum() / (total if depth is None else min(total, depth))),
        hits=tuple(hit_chance(m, r, depth - n) for depth in k),
        precision=tuple(float(share.sum()) / depth for share, depth in zip(shares, k, strict=True)),
    )


def hit_chance(m: int, r: int, draws: int) -> float:
    """Chance that `draws` of `m` candidates, drawn without replacement, hold one of `r` relevant ones."""
    drawn = min(max(draws, 0), m)
    if drawn == 0:
        return 0.0
    if drawn > m - r:
        return 1.0
    if m == drawn or r == 1:
        return drawn / m
    missed = gammaln(m - r + 1) + gammaln(m - drawn + 1) - gammaln(m - r - drawn + 1) - gammaln(m + 1)
    return float(-np.expm1(missed))


def harmonic(before: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Sum of 1 / (before + i) over i = 1..sizes: float64, shape of the arguments."""
    start = np.asarray(before, dtype=np.float64)
    spread = digamma(start + sizes + 1) - digamma(start + 1)
    # A difference of two large numbers is exact to fewer digits than the quotient itself.
    return np.asarray(np.where(np.asarray(sizes) == 1, 1.0 / (start + 1.0), spread), dtype=np.float64)


def chance_figures(relevant: int, candidates: int, k: Sequence[int], *, depth: int | None = None) -> QueryFigures:
    """What a random order of `candidates`, `relevant` (at least 1) of them relevant, gives on average."""
    return query_figures(np.zeros(relevant, np.int64), np.full(relevant, candidates), k, depth=depth)


def chance_median_rank(relevant: np.ndarray, candidates: np.ndarray) -> float:
    """The median rank of the first relevant candidate when every query's order is random.

    Args:
        relevant: int (n,), at least 1 each.
        candidates: int (n,).
    """
    kinds, counts = np.unique(np.stack([relevant, candidates], axis=1), axis=0, return_counts=True)
    low, high = 1, int(candidates.max())
    while low < high:
        middle = (low + high) // 2
        reached = sum(c * hit_chance(int(m), int(r), middle) for (r, m), c in zip(kinds, counts, strict=True))
        low, high = (low, middle) if reached >= counts.sum() / 2 else (middle + 1, high)
    return float(low)


def _reciprocal(before: int, m: int, r: int, places: int) -> float:
    """Expectation of 1 / rank; ranks further than `places` into the group count as 0."""
    places = min(places, m)
    if places == 0:
        return 0.0
    if m == r:
        return 1.0 / (before + 1)
    if r == 1:
        return float(harmonic(np.array(before), np.array(places))) / m
    # Chance that the first x places of the group hold no relevant one, x = 0 .. m - r.
    x = np.arange(1, m - r + 1)
    none = np.concatenate([[1.0], np.cumprod((m - r - x + 1) / (m - x + 1))])
    here = none - np.append(none[1:], 0.0)
    return float((here / (before + np.arange(1, m - r + 2)))[:places].sum())
