"""Figures of every query from lists of its nearest candidates, and how far these lists can be trusted.

A list holds the nearest of a query as an approximate index finds them. Hits and precision at a depth
come from it as they do from a whole order; ranks beyond the list are infinite. A query whose list
cannot settle the first places (its patient has more records than were made room for, or equal cosines
reach past the list's end) is searched exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medfm.core.extras import import_extra
from medfm.core.progress import Progress
from medfm.evaluation.retrieval_lists import SHARD_BYTES, Lists, found_share, nearest_lists, nearest_of, unit_rows
from medfm.evaluation.retrieval_ranks import Bank, Ranks, Relevance, check_request, positions_of, rank_queries
from medfm.evaluation.retrieval_ties import query_figures

SAMPLE = 200
# Further candidates than asked for, so that equal cosines at the last place are seen to end.
_SPARE = 8
_BLOCK = 1024
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Trust:
    """How an approximate search went.

    Attributes:
        depth: Places of a list that count.
        sample: Queries on which the rest was measured; others than those that the index was tuned on,
            where there are enough.
        recall: k -> share of the exact k nearest among the first k found, on the sample.
        hits_exact: k -> R@k of the sample by the exact search.
        hits_found: k -> R@k of the sample as found.
        searched_exactly: Queries whose list could not settle their first places.
        effort: efSearch of the graph, 0 when every candidate was looked at.
        shards: Of the index.
        library: Name and version.
    """

    depth: int
    sample: int
    recall: dict[int, float]
    hits_exact: dict[int, float]
    hits_found: dict[int, float]
    searched_exactly: int
    effort: int
    shards: int
    library: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``result.json``: depths as text."""
        made = dict(vars(self))
        for name in ("recall", "hits_exact", "hits_found"):
            made[name] = {str(k): v for k, v in made[name].items()}
        return made


def rank_queries_approximate(
    queries: np.ndarray,
    candidates: np.ndarray,
    relevance: Relevance,
    *,
    k: Sequence[int] = (1, 5, 10),
    depth: int = 100,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> tuple[Ranks, Trust]:
    """As :func:`rank_queries` with a depth, from the lists of an approximate index.

    Args:
        queries: (n, d), any length of the rows but zero.
        candidates: (m, d).
        relevance: Who answers whom.
        k: Depths, each from 1 to `depth`.
        depth: How many nearest candidates count.
        seed: Of the samples and of the index.
        shard_bytes: Most bytes of an index in memory.
        progress: Advanced by n in all.

    Raises:
        MissingExtraError: faiss is not installed.
        EvaluationError: As for :func:`rank_queries`, or a depth beyond the list.
    """
    check_request(queries, candidates, relevance, k, depth)
    faiss = import_extra("faiss", "faiss", "An approximate search")
    bank = Bank.of(candidates)
    relevant, allowed = _counts(relevance, len(candidates))
    # Room for the candidates that are left out, up to as many as count; who has more is searched exactly.
    room = min(int((len(candidates) - allowed).max()), depth)
    shuffled = np.random.default_rng(seed).permutation(len(queries))
    sample, tuning = np.sort(shuffled[:SAMPLE]), np.sort(shuffled[SAMPLE : 2 * SAMPLE])
    lists = nearest_lists(
        faiss,
        queries,
        bank,
        depth + room + _SPARE,
        tuning=tuning if len(tuning) else sample,
        seed=seed,
        shard_bytes=shard_bytes,
        progress=progress,
    )
    made = Ranks.empty(len(queries), tuple(k), depth)
    made.relevant[:], made.candidates[:] = relevant, allowed
    reader = _Reader.of(bank, relevance, lists)
    left = [row for row in range(len(queries)) if not reader.read(row, made)]
    if left:
        _search_exactly(made, queries, candidates, relevance, np.array(left))
    measured = sample[~np.isin(sample, left)]
    hits = _hits(made, rank_queries(queries[sample], candidates, _of_queries(relevance, sample), k=k), sample)
    return made, Trust(
        depth=depth,
        sample=len(sample),
        recall=_recall(reader, unit_rows(queries, measured), measured, bank, (*k, depth)),
        hits_exact=hits[0],
        hits_found=hits[1],
        searched_exactly=len(left),
        effort=lists.effort,
        shards=lists.shards,
        library=f"faiss {faiss.__version__}",
    )


@dataclass(frozen=True)
class _Reader:
    """Reads one list at a time into figures.

    Attributes:
        relevance: Who answers whom.
        lists: The lists.
        whole: Whether every list names every candidate.
        members: The candidates of each distinct row, ``None`` when all differ.
    """

    relevance: Relevance
    lists: Lists
    whole: bool
    members: dict[int, np.ndarray] | None

    @classmethod
    def of(cls, bank: Bank, relevance: Relevance, lists: Lists) -> _Reader:
        whole = lists.rows.shape[1] == len(bank.scale)
        return cls(relevance, lists, whole, None if bank.distinct is None else positions_of(bank.place))

    def read(self, row: int, made: Ranks) -> bool:
        """Write a query's figures; ``False`` when its list does not settle its first places."""
        assert made.depth is not None
        depth = made.depth
        at, cosines = self.entries(row, self.lists.rows[row], self.lists.cosines[row])
        if len(at) < min(depth, int(made.candidates[row])):
            return False
        if not self.whole and len(at) and cosines[min(depth, len(at)) - 1] <= self.lists.cosines[row, -1]:
            return False
        made.nearest[row] = at[0] if len(at) else -1
        if made.relevant[row]:
            own = cosines[self.relevance.candidate_group[at] == self.relevance.query_group[row]]
            above = np.searchsorted(-cosines, -own, side="left")
            tied = np.searchsorted(-cosines, -own, side="right") - above
            inside = above < depth
            total = int(made.relevant[row])
            made.put(row, query_figures(above[inside], tied[inside], made.k, depth=depth, relevant=total))
        return True

    def entries(self, row: int, at: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and cosines of the candidates that a list of a query names, without those left out."""
        at, cosines = at[at >= 0], cosines[at >= 0]
        if self.members is not None:
            parts = [self.members[int(i)] for i in at]
            cosines = np.repeat(cosines, [len(part) for part in parts])
            at = np.concatenate([_NONE, *parts])
            order = np.lexsort((at, -cosines))
            at, cosines = at[order], cosines[order]
        if self.relevance.query_owner is not None and self.relevance.candidate_owner is not None:
            kept = self.relevance.candidate_owner[at] != self.relevance.query_owner[row]
            at, cosines = at[kept], cosines[kept]
        return at, cosines


def _search_exactly(
    made: Ranks, queries: np.ndarray, candidates: np.ndarray, relevance: Relevance, rows: np.ndarray
) -> None:
    """Put the exact figures of some queries in place."""
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        exact = rank_queries(queries[part], candidates, _of_queries(relevance, part), k=made.k, depth=made.depth)
        for name in ("rank", "reciprocal", "ap", "hits", "precision", "nearest"):
            getattr(made, name)[part] = getattr(exact, name)


def _of_queries(relevance: Relevance, rows: np.ndarray) -> Relevance:
    owner = None if relevance.query_owner is None else relevance.query_owner[rows]
    return replace(relevance, query_group=relevance.query_group[rows], query_owner=owner)


def _hits(made: Ranks, exact: Ranks, sample: np.ndarray) -> tuple[dict[int, float], dict[int, float]]:
    """R@k of the sample's queries that have an answer, exact and as found; empty without any."""
    some = exact.relevant > 0
    if not some.any():
        return {}, {}
    pair = exact.hits[some].mean(axis=0), made.hits[sample][some].mean(axis=0)
    first, second = (dict(zip(made.k, map(float, part), strict=True)) for part in pair)
    return first, second


def _recall(reader: _Reader, unit: np.ndarray, rows: np.ndarray, bank: Bank, k: Sequence[int]) -> dict[int, float]:
    """Share of the exact k nearest, of those that take part, that the lists of some queries name; 1 of none."""
    shares: dict[int, list[float]] = {depth: [] for depth in k}
    exact = nearest_of(unit, bank.blocks(), reader.lists.rows.shape[1]) if len(rows) else ((), ())
    for row, at, cosines in zip(rows.tolist(), *exact, strict=True):
        _, best = reader.entries(row, at, cosines)
        _, found = reader.entries(row, reader.lists.rows[row], reader.lists.cosines[row])
        found = np.pad(found, (0, max(0, len(best) - len(found))), constant_values=-np.inf)
        for depth in k:
            if len(best):
                shares[depth].append(found_share(found[None], best[None], min(depth, len(best))))
    return {depth: float(np.mean(values)) if values else 1.0 for depth, values in shares.items()}


def _counts(relevance: Relevance, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Relevant and searched candidates of every query, int64 (n,): counted, not listed."""
    groups, group_counts = np.unique(relevance.candidate_group, return_counts=True)
    relevant = _look_up(groups, group_counts, relevance.query_group)
    if relevance.query_owner is None or relevance.candidate_owner is None:
        return relevant, np.full(len(relevant), size, np.int64)
    owners, owner_counts = np.unique(relevance.candidate_owner, return_counts=True)
    left_out = _look_up(owners, owner_counts, relevance.query_owner)
    # A pair of group and owner as one number: codes are whole numbers from 0, far below 2^31.
    span = int(max(relevance.candidate_owner.max(), relevance.query_owner.max())) + 1
    both, both_counts = np.unique(relevance.candidate_group * span + relevance.candidate_owner, return_counts=True)
    own = _look_up(both, both_counts, relevance.query_group * span + relevance.query_owner)
    return relevant - own, size - left_out


def _look_up(names: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How often each wanted name occurs: int64; 0 where never."""
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return np.where(names[place] == wanted, counts[place], 0).astype(np.int64)
