"""The nearest candidates of a few queries: exact in blocks, or approximate with faiss on request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfm.core.errors import EvaluationError
from medfm.core.extras import import_extra
from medfm.evaluation.retrieval_lists import nearest_of
from medfm.evaluation.retrieval_ranks import Bank, check_one_space, inverse_lengths

_SAMPLE = 200
_LINKS = 32
_DEPTH = 10


@dataclass(frozen=True)
class Nearest:
    """The best candidates of every query.

    Attributes:
        rows: int64 (q, top): positions, best first, equal cosines in order of position; -1 where
            there are fewer candidates.
        cosines: float32 (q, top); NaN there.
        recall: Of an approximate search: the share of the exact 10 nearest that it finds, on a sample
            of candidates taken as queries; ``None`` for an exact one.
    """

    rows: np.ndarray
    cosines: np.ndarray
    recall: float | None = None


def nearest(queries: np.ndarray, candidates: np.ndarray, top: int) -> Nearest:
    """Exact search: memory grows with `top`, not with the number of candidates.

    Args:
        queries: (q, d), any length of the rows but zero.
        candidates: (m, d).
        top: How many; at least 1.

    Raises:
        EvaluationError: Widths differ, there is nothing to search, or a row has no direction.
    """
    _check(queries, candidates, top)
    unit = np.asarray(queries, np.float32) * inverse_lengths(queries, "queries")[:, None]
    # No sharing of equal rows here: what is found is named, not counted.
    bank = Bank(candidates, None, np.zeros(0, np.int64), inverse_lengths(candidates, "candidates"))
    where, best = nearest_of(unit, bank.blocks(), top)
    return _padded(best, where, top)


def nearest_approximate(queries: np.ndarray, candidates: np.ndarray, top: int, *, seed: int = 0) -> Nearest:
    """Search with an HNSW graph of faiss; its recall against the exact search is measured and returned.

    Args:
        queries: (q, d).
        candidates: (m, d).
        top: How many.
        seed: Of the sample that the recall is measured on.

    Raises:
        MissingExtraError: faiss is not installed.
        EvaluationError: As for :func:`nearest`.
    """
    _check(queries, candidates, top)
    faiss = import_extra("faiss", "faiss", "An approximate index")
    width = candidates.shape[1]
    index = faiss.IndexHNSWFlat(width, _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = max(128, 2 * top)
    bank = Bank(candidates, None, np.zeros(0, np.int64), inverse_lengths(candidates, "candidates"))
    for _, rows in bank.blocks():
        index.add(np.ascontiguousarray(rows))
    unit = np.asarray(queries, np.float32) * inverse_lengths(queries, "queries")[:, None]
    cosines, rows = index.search(np.ascontiguousarray(unit), min(top, len(candidates)))
    sample = np.sort(np.random.default_rng(seed).permutation(len(candidates))[:_SAMPLE])
    depth = min(_DEPTH, len(candidates))
    probes = np.asarray(candidates[sample], np.float32) * bank.scale[sample, None]
    _, found = index.search(np.ascontiguousarray(probes), depth)
    exact = nearest(probes, candidates, depth)
    shares = [len(set(a) & set(b)) / depth for a, b in zip(found.tolist(), exact.rows.tolist(), strict=True)]
    made = _padded(np.asarray(cosines, np.float32), np.asarray(rows, np.int64), top)
    return Nearest(made.rows, made.cosines, float(np.mean(shares)))


def _padded(cosines: np.ndarray, rows: np.ndarray, top: int) -> Nearest:
    lacking = ((0, 0), (0, max(0, top - rows.shape[1])))
    rows = np.pad(rows, lacking, constant_values=-1)
    cosines = np.pad(cosines, lacking, constant_values=np.nan)
    return Nearest(rows, np.where(rows < 0, np.float32(np.nan), cosines))


def _check(queries: np.ndarray, candidates: np.ndarray, top: int) -> None:
    check_one_space(queries, candidates)
    if top < 1:
        raise EvaluationError(f"{top} nearest candidates were asked for.", expected="1 or more")
