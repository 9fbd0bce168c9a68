"""Whether a search runs exactly or with an approximate index, and what a reader is told of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medfm.core.errors import ConfigError, MissingExtraError
from medfm.core.extras import import_extra
from medfm.evaluation.retrieval_approximate import Trust
from medfm.evaluation.retrieval_metrics import direction_words, parts
from medfm.evaluation.retrieval_ranks import Bank, inverse_lengths

Index = Literal["auto", "exact", "faiss"]

# Pairs of query and candidate up to which "auto" is exact. Measured on one core with 128 dimensions: exact
# 6 ns a pair where a query has one right answer (50 000 x 50 000: 16 s) and 58 ns where it has thousands;
# with the index 0.33 ms a query (12 000 x 12 000: 1.6 s and 8.4 s exact, 4.0 s and 4.4 s with the index).
# The first case is then quicker with the index from 50 000 to 100 000 candidates on (extrapolated), and up
# to here takes one to ten minutes: a figure that is not exact buys little.
PAIRS_EXACT = 10**10
_FIX = "pip install 'medfm[faiss]'"
_PURPOSE = "An approximate index"
_PROBE = (64, 16_384)
_WHOLE = ("median_rank", "mrr", "map")


@dataclass(frozen=True)
class Way:
    """How a search runs.

    Attributes:
        approximate: With an index of faiss, or exactly.
        note: Why, where a reader must know; else empty.
    """

    approximate: bool
    note: str = ""


@dataclass
class ApproximateSearch:
    """Settings of an approximate measurement, and what it found out about itself.

    Attributes:
        depth: Places that count.
        seed: Of samples and index.
        trust: By direction; filled by the search.
    """

    depth: int
    seed: int = 0
    trust: dict[str, Trust] = field(default_factory=dict)


def choose_way(index: Index, pairs: int, metrics: Sequence[str] = ()) -> Way:
    """Exact or approximate.

    Args:
        index: As set. ``"auto"``: exact up to :data:`PAIRS_EXACT` pairs; above it approximate, unless faiss is
            not installed or `metrics` need whole orders.
        pairs: Queries times candidates.
        metrics: Metrics that were asked for by name.

    Raises:
        MissingExtraError: ``"faiss"`` without the package.
        ConfigError: ``"faiss"``, and a metric needs all ranks.
    """
    if index == "exact" or (index == "auto" and pairs <= PAIRS_EXACT):
        return Way(False)
    split = {name: parts(name) for name in metrics}
    whole = [name for name, found in split.items() if found is not None and found[1] in _WHOLE]
    if index == "faiss":
        import_extra("faiss", "faiss", _PURPOSE)
        if whole:
            raise ConfigError(
                f"An approximate search cannot give {', '.join(whole)}: it lists the nearest only.",
                fix="set method.index=exact, or leave these metrics out",
            )
        return Way(True)
    size = f"{pairs:.2g} pairs of query and candidate"
    if whole:
        return Way(False, f"{size} were searched exactly: {', '.join(whole)} needs all ranks.")
    try:
        import_extra("faiss", "faiss", _PURPOSE)
    except MissingExtraError:
        return Way(False, f"{size} were searched exactly; an approximate index is quicker and needs: {_FIX}.")
    return Way(True)


def exact_seconds(queries: np.ndarray, candidates: np.ndarray, *, sorting: bool = False) -> float:
    """An estimate of how long the exact search takes here, from a small piece of it.

    Args:
        queries: (n, d).
        candidates: (m, d).
        sorting: Whether queries have so many right answers that their rows are sorted.
    """
    some, rows = queries[: _PROBE[0]], candidates[: _PROBE[1]]
    bank = Bank(rows, None, np.zeros(0, np.int64), inverse_lengths(rows, "candidates"))
    start = time.perf_counter()
    cosines = bank.cosines(some)
    if sorting:
        cosines.sort(axis=1)
    seconds = time.perf_counter() - start
    return seconds * (len(queries) / len(some)) * (len(candidates) / len(rows))


def duration(seconds: float) -> str:
    """``"40 seconds"``, ``"12 minutes"``, ``"3.5 hours"``: about how long."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def approximate_notes(search: ApproximateSearch) -> list[str]:
    """What a reader of an approximate measurement must know."""
    return [
        f"The search is approximate: R@k and P@k come from the {search.depth} nearest that an index (HNSW of faiss) "
        f"finds. MRR and mAP are to place {search.depth}; a first right answer further down counts as beyond, so no "
        "median rank is given. Only results of the same way of searching can be compared.",
        *(_trust_note(direction, trust) for direction, trust in search.trust.items()),
    ]


def _trust_note(direction: str, trust: Trust) -> str:
    said = f"{direction_words(direction).capitalize()}: on {trust.sample} queries the index finds "
    said += f"{100 * trust.recall[trust.depth]:.2f} % of the exact {trust.depth} nearest"
    pairs = [f"R@{k} {trust.hits_found[k]:.3f} (exact {v:.3f})" for k, v in trust.hits_exact.items()]
    said += f"; of these queries {', '.join(pairs)}." if pairs else "."
    if trust.searched_exactly:
        said += f" {trust.searched_exactly} queries were searched exactly, for their lists were too short."
    return said


def search_record(way: Way, search: ApproximateSearch | None) -> Mapping[str, object]:
    """Plain data for ``result.json``."""
    if search is None:
        return {"way": "exact"} | ({"note": way.note} if way.note else {})
    directions = {direction: trust.to_dict() for direction, trust in search.trust.items()}
    return {"way": "approximate", "depth": search.depth, "seed": search.seed, "directions": directions}
