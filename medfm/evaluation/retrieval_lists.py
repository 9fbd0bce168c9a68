"""The nearest candidates of many queries with a faiss index: approximate, within bounded memory.

Candidates are indexed in shards (HNSW graphs, Malkov and Yashunin, arXiv 1603.09320; a small shard is
searched whole), each shard is searched with every query, and what it finds is merged into the
queries' lists. One shard and one block of queries are in memory at a time; lists that do not fit
stand in a temporary file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from medfm.core.progress import Progress
from medfm.evaluation.retrieval_ranks import Bank, inverse_lengths

# The vectors and links of one shard. Fewer, larger shards are searched quicker.
SHARD_BYTES = 2**30
# Below this many rows a graph saves nothing.
FLAT_ROWS = 4096
# Share of the exact nearest that a shard must find of the tuning queries; the effort is doubled up to it.
TARGET = 0.99
LINKS = 32
_EFFORTS = (128, 256, 512, 1024, 2048, 4096)
_QUERIES = 1024
_IN_MEMORY = 256 * 2**20
# Cosines of one pair of vectors by two orders of summation differ by less.
_EPSILON = 1e-6


@dataclass(frozen=True)
class Lists:
    """The best candidates of every query.

    Attributes:
        rows: int64 (n, top): positions among the distinct candidates of the bank, best first; -1 where
            there are fewer.
        cosines: float32 (n, top), falling; -inf there.
        effort: The largest efSearch of a shard; 0 when all were searched whole.
        shards: How many there were.
    """

    rows: np.ndarray
    cosines: np.ndarray
    effort: int
    shards: int


def nearest_lists(
    faiss: Any,
    queries: np.ndarray,
    bank: Bank,
    top: int,
    *,
    tuning: np.ndarray,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Lists:
    """The `top` nearest distinct candidates of every query. The same again with one thread and one `seed`.

    Args:
        faiss: The module.
        queries: (n, d), any length of the rows but zero; may be a memory map.
        bank: The candidates, m distinct rows.
        top: How many; at least 1.
        tuning: int (t,): queries on which each shard's effort is found.
        seed: Of the graph's levels.
        shard_bytes: Most bytes of an index.
        progress: Advanced by n in all.
    """
    size, width = queries.shape
    top = min(top, len(bank.scale))
    rows, cosines = _store(size, top, np.int64), _store(size, top, np.float32)
    rows[:], cosines[:] = -1, -np.inf
    probes = unit_rows(queries, tuning)
    effort = shards = told = 0
    total = len(bank.scale)
    for start, blocks in _shards(bank, width, shard_bytes):
        if progress is not None:
            progress.advance(0, note=f"index {shards + 1}")
        index, here = _index(faiss, blocks, width, seed)
        if here > FLAT_ROWS:
            effort = max(effort, _tune(index, probes, nearest_of(probes, blocks, min(top, here))[1]))
        shards += 1
        for first in range(0, size, _QUERIES):
            part = slice(first, min(first + _QUERIES, size))
            found, at = index.search(unit_rows(queries, np.arange(part.start, part.stop)), min(top, here))
            found = np.where(at < 0, -np.inf, found).astype(np.float32)
            at = np.where(at < 0, -1, at + start)
            found, at = np.hstack([cosines[part], found]), np.hstack([rows[part], at])
            order = np.lexsort((at, -found), axis=1)[:, :top]
            cosines[part] = np.take_along_axis(found, order, axis=1)
            rows[part] = np.take_along_axis(at, order, axis=1)
            # Shards are equal but for the last, so the share of rows done is the share of the work.
            done = int(size * (start + here * part.stop / size) / total)
            if progress is not None:
                progress.advance(done - told)
            told = done
    return Lists(rows, cosines, effort, shards)


def nearest_of(unit: np.ndarray, blocks: Iterable[tuple[int, np.ndarray]], top: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact search in blocks: positions int64 (q, top) and float32 cosines, equal ones in order of position.

    Args:
        unit: float32 (q, d), rows of length 1.
        blocks: Start and float32 rows of length 1 of the candidates.
        top: How many; fewer are given when there are fewer.
    """
    best = np.full((len(unit), 0), -np.inf, np.float32)
    where = np.zeros((len(unit), 0), np.int64)
    for start, rows in blocks:
        here = np.broadcast_to(np.arange(start, start + len(rows)), (len(unit), len(rows)))
        best = np.concatenate([best, unit @ rows.T], axis=1)
        where = np.concatenate([where, here], axis=1)
        order = np.lexsort((where, -best), axis=1)[:, :top]
        best, where = np.take_along_axis(best, order, axis=1), np.take_along_axis(where, order, axis=1)
    return where, best


def unit_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32 (len(rows), d), of length 1.

    Raises:
        EvaluationError: A row is zero or not finite.
    """
    chosen = np.asarray(values[rows], np.float32)
    return np.ascontiguousarray(chosen * inverse_lengths(chosen, "queries")[:, None])


def found_share(found: np.ndarray, exact: np.ndarray, k: int) -> float:
    """Share of the `k` nearest that lists hold, by their cosines: one equal to the k-th counts as found.

    Args:
        found: float32 (q, >= k), falling; -inf where nothing was found.
        exact: The same of the exact search.
        k: How many.
    """
    least = exact[:, k - 1 : k] - _EPSILON
    return float((found[:, :k] >= least).mean())


@dataclass(frozen=True)
class _Blocks:
    """The blocks of one shard, readable again and again, positions from the shard's start."""

    bank: Bank
    start: int
    stop: int

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        for at, rows in self.bank.blocks(self.start, self.stop):
            yield at - self.start, rows


def _shards(bank: Bank, width: int, most: int) -> Iterator[tuple[int, _Blocks]]:
    """Start and blocks of shards of equal numbers of rows, none larger than `most` bytes."""
    # A vector, twice LINKS neighbours of four bytes, and about as much as one more row of links above.
    limit = max(1, most // (4 * width + 12 * LINKS))
    total = len(bank.scale)
    step = -(-total // -(-total // limit))
    for start in range(0, total, step):
        yield start, _Blocks(bank, start, min(start + step, total))


def _index(faiss: Any, blocks: _Blocks, width: int, seed: int) -> tuple[Any, int]:
    """An index of the blocks' rows, and how many these are."""
    size = blocks.stop - blocks.start
    if size <= FLAT_ROWS:
        index = faiss.IndexFlatIP(width)
    else:
        index = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.rng = faiss.RandomGenerator(seed)
    for _, rows in blocks:
        index.add(np.ascontiguousarray(rows))
    return index, size


def _tune(index: Any, probes: np.ndarray, exact: np.ndarray) -> int:
    """Set and return the least effort that finds :data:`TARGET` of the exact nearest, or the largest."""
    top = exact.shape[1]
    for effort in _EFFORTS:
        index.hnsw.efSearch = max(effort, top)
        if found_share(index.search(probes, top)[0], exact, top) >= TARGET:
            break
    return int(index.hnsw.efSearch)


def rows_of(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32 (len(rows), d): the rows of `values`, which may be a memory map; in a file where they are many."""
    made = _store(len(rows), values.shape[1], np.float32)
    for start in range(0, len(rows), _QUERIES):
        made[start : start + _QUERIES] = values[rows[start : start + _QUERIES]]
    return made


def _store(size: int, top: int, kind: Any) -> np.ndarray:
    """Zeros (size, top), in a nameless temporary file where they are many."""
    if size * top * np.dtype(kind).itemsize <= _IN_MEMORY:
        return np.zeros((size, top), kind)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=kind, mode="w+", shape=(size, top))
