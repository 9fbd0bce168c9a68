"""Exact ranks of every query's relevant candidates, in blocks: memory never holds queries x candidates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress
from medfm.evaluation.retrieval_ties import QueryFigures, query_figures

BLOCK_BYTES = 64 * 2**20
_CANDIDATES = 8192
# Up to so many relevant candidates of a query, counting is quicker than sorting the row.
_FEW = 3


@dataclass(frozen=True)
class Relevance:
    """Which candidate answers which query.

    Attributes:
        query_group: int (n,): a candidate is relevant when its group is equal.
        candidate_group: int (m,).
        query_owner: int (n,) or ``None``: candidates of the same owner are not searched (the query
            itself, or all records of its patient).
        candidate_owner: int (m,) or ``None``.
    """

    query_group: np.ndarray
    candidate_group: np.ndarray
    query_owner: np.ndarray | None = None
    candidate_owner: np.ndarray | None = None


@dataclass(frozen=True)
class Ranks:
    """One entry per query.

    Attributes:
        k: The depths of `hits` and `precision`.
        rank, reciprocal, ap: float64 (n,); NaN for a query without a relevant candidate.
        hits, precision: float64 (n, len(k)); NaN likewise.
        relevant, candidates: int64 (n,): how many there were.
        nearest: int64 (n,): position of the best candidate (the first of equal ones), -1 without any.
        depth: How far was looked, ``None`` for all the way; ranks beyond it are infinite, and `reciprocal`
            and `ap` are to that depth.
    """

    k: tuple[int, ...]
    rank: np.ndarray
    reciprocal: np.ndarray
    ap: np.ndarray
    hits: np.ndarray
    precision: np.ndarray
    relevant: np.ndarray
    candidates: np.ndarray
    nearest: np.ndarray
    depth: int | None = None

    @classmethod
    def empty(cls, size: int, k: tuple[int, ...], depth: int | None = None) -> Ranks:
        """Of `size` queries, none answered yet."""
        rank, reciprocal, ap = (np.full(size, np.nan) for _ in range(3))
        hits, precision = (np.full((size, len(k)), np.nan) for _ in range(2))
        relevant, candidates = (np.zeros(size, np.int64) for _ in range(2))
        return cls(k, rank, reciprocal, ap, hits, precision, relevant, candidates, np.full(size, -1, np.int64), depth)

    def put(self, row: int, figures: QueryFigures) -> None:
        """Write the figures of one query."""
        self.rank[row], self.reciprocal[row], self.ap[row] = figures.rank, figures.reciprocal, figures.ap
        self.hits[row], self.precision[row] = figures.hits, figures.precision


def rank_queries(
    queries: np.ndarray,
    candidates: np.ndarray,
    relevance: Relevance,
    *,
    k: Sequence[int] = (1, 5, 10),
    depth: int | None = None,
    block_bytes: int = BLOCK_BYTES,
    progress: Progress | None = None,
) -> Ranks:
    """Rank all candidates for every query by cosine; equal cosines count as in random order.

    Equal rows of `candidates` have exactly equal cosines. Memory: a few times `block_bytes`, plus
    a few numbers per query and candidate; the vectors themselves may be memory maps.

    Args:
        queries: (n, d), any length of the rows but zero.
        candidates: (m, d).
        relevance: Who answers whom.
        k: Depths, each at least 1.
        depth: Count ranks, reciprocal ranks and average precision no further than this.
        block_bytes: Size of one block of cosines.
        progress: Advanced by one per query.

    Raises:
        EvaluationError: No query or candidate, widths or sizes differ, or a row has no direction.
    """
    check_request(queries, candidates, relevance, k, depth)
    size = len(queries)
    bank = Bank.of(candidates)
    groups = positions_of(relevance.candidate_group)
    owners = None if relevance.candidate_owner is None else positions_of(relevance.candidate_owner)
    made = Ranks.empty(size, tuple(k), depth)
    step = max(1, min(1024, block_bytes // (4 * len(candidates))))
    for start in range(0, size, step):
        rows = range(start, min(start + step, size))
        cosines = bank.cosines(queries[start : rows.stop])
        found: list[np.ndarray] = []
        for i, row in enumerate(rows):
            answers = groups.get(int(relevance.query_group[row]), _NONE)
            if owners is not None and relevance.query_owner is not None and relevance.candidate_owner is not None:
                owner = int(relevance.query_owner[row])
                own = owners.get(owner, _NONE)
                cosines[i, own] = -np.inf
                made.candidates[row] = len(candidates) - len(own)
                answers = answers[relevance.candidate_owner[answers] != owner]
            else:
                made.candidates[row] = len(candidates)
            made.relevant[row] = len(answers)
            found.append(answers)
        made.nearest[start : rows.stop] = np.where(made.candidates[start : rows.stop] > 0, cosines.argmax(axis=1), -1)
        for i, figures in _figures(cosines, found, k, depth):
            made.put(start + i, figures)
        if progress is not None:
            progress.advance(len(rows))
    return made


_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Bank:
    """Candidates ready to be multiplied with: distinct rows once, so that equal rows tie exactly.

    Attributes:
        values: (m, d) as given.
        distinct: int64 (u,): the rows that are computed, or ``None`` when all differ.
        place: int64 (m,): which of these stands for each candidate; empty when all differ.
        scale: float32 (u,): 1 / length of each.
    """

    values: np.ndarray
    distinct: np.ndarray | None
    place: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Bank:
        """Look at all rows once, in blocks.

        Raises:
            EvaluationError: A row is zero or not finite.
        """
        scale = inverse_lengths(values, "candidates")
        seen: dict[bytes, int] = {}
        place = np.empty(len(values), np.int64)
        kept: list[int] = []
        for start in range(0, len(values), _CANDIDATES):
            block = np.ascontiguousarray(values[start : start + _CANDIDATES])
            for i, row in enumerate(block):
                key = hashlib.blake2b(row, digest_size=16).digest()
                place[start + i] = seen.setdefault(key, len(kept))
                if place[start + i] == len(kept):
                    kept.append(start + i)
        if len(kept) == len(values):
            return cls(values, None, np.zeros(0, np.int64), scale)
        distinct = np.array(kept, np.int64)
        return cls(values, distinct, place, scale[distinct])

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Start and float32 rows (at most 8192, d), of length 1, of the distinct candidates (`first` to `last`)."""
        end = len(self.scale) if last is None else last
        for start in range(first, end, _CANDIDATES):
            stop = min(start + _CANDIDATES, end)
            rows = self.values[start:stop] if self.distinct is None else self.values[self.distinct[start:stop]]
            yield start, np.asarray(rows, np.float32) * self.scale[start:stop, None]

    def cosines(self, queries: np.ndarray) -> np.ndarray:
        """float32 (q, m) of a block of queries (q, d)."""
        unit = np.asarray(queries, np.float32) * inverse_lengths(queries, "queries")[:, None]
        result = np.empty((len(queries), len(self.scale)), np.float32)
        for start, rows in self.blocks():
            np.matmul(unit, rows.T, out=result[:, start : start + len(rows)])
        return result if self.distinct is None else result[:, self.place]


def inverse_lengths(values: np.ndarray, what: str) -> np.ndarray:
    """1 / length of every row: float32 (n,).

    Raises:
        EvaluationError: A row is zero or not finite, which has no direction.
    """
    lengths = np.empty(len(values))
    for start in range(0, len(values), _CANDIDATES):
        block = np.asarray(values[start : start + _CANDIDATES], np.float64)
        lengths[start : start + _CANDIDATES] = np.sqrt(np.einsum("ij,ij->i", block, block))
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise EvaluationError(
            f"{len(bad)} of {len(values)} {what} are zero or not finite, so they have no direction.",
            where=f"row {int(bad[0])}",
        )
    return (1.0 / lengths).astype(np.float32)


def _figures(
    cosines: np.ndarray, found: list[np.ndarray], k: Sequence[int], depth: int | None
) -> Iterator[tuple[int, QueryFigures]]:
    """Figures of every query of a block that has a relevant candidate; sorts `cosines` in place."""
    scores = [cosines[i, answers] for i, answers in enumerate(found)]
    many = [i for i, own in enumerate(scores) if len(own) > _FEW]
    for i, own in enumerate(scores):
        if 0 < len(own) <= _FEW:
            above = np.array([np.count_nonzero(cosines[i] > s) for s in own])
            tied = np.array([np.count_nonzero(cosines[i] == s) for s in own])
            yield i, query_figures(above, tied, k, depth=depth)
    for i in many:
        row = np.sort(cosines[i])
        below = np.searchsorted(row, scores[i], side="left")
        upto = np.searchsorted(row, scores[i], side="right")
        yield i, query_figures(len(row) - upto, upto - below, k, depth=depth)


def positions_of(codes: np.ndarray) -> dict[int, np.ndarray]:
    """Positions of every code."""
    order = np.argsort(codes, kind="stable")
    names, starts = np.unique(codes[order], return_index=True)
    return {int(n): part for n, part in zip(names, np.split(order, starts[1:]), strict=True)}


def check_one_space(queries: np.ndarray, candidates: np.ndarray) -> None:
    """Raise EvaluationError unless both are vectors (rows, d) of one width, and there are some of each."""
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1] != candidates.shape[1]:
        raise EvaluationError(
            f"Queries of shape {queries.shape} cannot be compared with candidates of shape {candidates.shape}.",
            expected="both (rows, d), embedded in one space",
        )
    if not len(queries) or not len(candidates):
        raise EvaluationError(f"There are {len(queries)} queries and {len(candidates)} candidates.", expected="some")


def check_request(
    queries: np.ndarray, candidates: np.ndarray, relevance: Relevance, k: Sequence[int], depth: int | None
) -> None:
    """Check that queries, candidates, their groups and the depths fit together.

    Raises:
        EvaluationError: They do not.
    """
    check_one_space(queries, candidates)
    sizes = [(relevance.query_group, queries), (relevance.candidate_group, candidates)]
    sizes += [
        (c, v) for c, v in ((relevance.query_owner, queries), (relevance.candidate_owner, candidates)) if c is not None
    ]
    if any(len(codes) != len(values) for codes, values in sizes):
        raise EvaluationError("Groups or owners are not as many as the vectors they belong to.")
    if not k or min(k) < 1:
        raise EvaluationError(f"k is {tuple(k)}.", expected="whole numbers from 1")
    if depth is not None and max(k) > depth:
        raise EvaluationError(f"k is {tuple(k)}, but only the first {depth} are looked at.", expected="k up to that")
